"""Framing: however the bytes are cut, the same comes out."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize, encode_frame
from tests.wire.feeds import Event, fed, plain

from .profile import bounded

MAX = 64

PAYLOADS = st.lists(st.binary(max_size=MAX), max_size=12)
HEADERS = st.one_of(
    st.integers(0, MAX * 9).map(lambda length: length.to_bytes(4, "big")),
    st.binary(min_size=4, max_size=4),
    st.sampled_from([b"text", b"\xff\xff\xff\xff", b"\0\0\0\0"]),
)
STREAMS = st.one_of(
    PAYLOADS.map(lambda payloads: b"".join(map(encode_frame, payloads))),
    st.lists(st.tuples(HEADERS, st.binary(max_size=MAX * 2)).map(b"".join), max_size=6).map(b"".join),
    st.binary(max_size=200),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in pieces, some of them empty."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@bounded(500)
@given(PAYLOADS)
def test_what_was_framed_comes_out(payloads: list[bytes]) -> None:
    events, decoder = fed([b"".join(map(encode_frame, payloads))], MAX)
    assert events == [payload for payload in payloads if payload]
    assert not decoder.inside_frame


@bounded(1500)
@given(STREAMS, st.lists(st.integers(0, 10**6), max_size=20))
def test_any_cut_of_the_same_bytes_gives_the_same(data: bytes, places: list[int]) -> None:
    """clause: FRAME-SPLIT"""
    whole, decoder = fed([data], MAX)
    pieces, other = fed(cut(data, places), MAX)
    assert pieces == whole
    assert other.inside_frame == decoder.inside_frame


@bounded(800)
@given(STREAMS)
def test_every_byte_is_accounted_for(data: bytes) -> None:
    """A reader without a memory, written from the contract, hears the same."""
    assert fed([data], MAX)[0] == expected(data)


def expected(data: bytes) -> list[Event]:
    events: list[Event] = []
    while len(data) >= 4:
        header, length = data[:4], int.from_bytes(data[:4], "big")
        text = all(byte in b"\t\n\v\f\r" or 0x20 <= byte <= 0x7E for byte in header)
        if length > 8 * MAX or (length > MAX and text):
            return [*events, FramingLost(header)]
        if length > MAX:
            events.append(Oversize(length))
        elif length and len(data) >= 4 + length:
            events.append(data[4 : 4 + length])
        data = data[4 + length :]
    return events


@bounded(300)
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_bytes_make_it_raise_and_what_it_holds_is_one_frame(pieces: list[bytes]) -> None:
    decoder = FrameDecoder(MAX)
    for piece in pieces:
        for event in decoder.receive(piece):
            found: Any = plain(event)
            assert isinstance(found, bytes | Oversize | FramingLost)
            assert not isinstance(found, bytes) or 0 < len(found) <= MAX
