"""One input, three feeds: whole, byte by byte, and with the beginning of a further frame behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize, encode_frame

Event = bytes | Oversize | FramingLost

TRAILING = b"\x00\x00"


def plain(event: bytes | bytearray | Oversize | FramingLost) -> Event:
    """An event that compares by value: a payload may come as either kind of bytes."""
    return bytes(event) if isinstance(event, bytearray) else event


def fed(pieces: Iterable[bytes], max_frame_bytes: int) -> tuple[list[Event], FrameDecoder]:
    """The events of one feed, and the decoder after it."""
    decoder = FrameDecoder(max_frame_bytes)
    return [plain(event) for piece in pieces for event in decoder.receive(piece)], decoder


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    """Each byte by itself."""
    return (data[place : place + 1] for place in range(len(data)))


def fed_every_way(data: bytes, max_frame_bytes: int = 1024) -> list[Event]:
    """The events of `data`, after making sure that they are the same however it comes."""
    whole, decoder = fed([data], max_frame_bytes)
    singly, other = fed(byte_by_byte(data), max_frame_bytes)
    assert singly == whole
    assert other.inside_frame == decoder.inside_frame
    if not decoder.inside_frame:
        lost = any(isinstance(event, FramingLost) for event in whole)
        followed, third = fed([data + TRAILING], max_frame_bytes)
        assert followed == whole
        assert third.inside_frame is not lost
    return whole


def framed_every_way(payload: bytes) -> bytes:
    """The payload as a worker reads it from its frame, after each feed has given the same."""
    (event,) = fed_every_way(encode_frame(payload), max(1024, len(payload)))
    assert isinstance(event, bytes)
    return event
