"""Frames without I/O: bytes in, payloads or one documented event out.

A frame is a 4-byte unsigned big-endian length N and N bytes, as Erlang's port option `{packet, 4}` sends and
expects them (PROTOCOL.md, FRAME-*). This module knows lengths and bytes, not JSON and not descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HEADER_BYTES: Final = 4

LOST_FRAMING_FACTOR: Final = 8
"""A length above this many times `max_frame_bytes` is no length: some bytes are missing, or were never a frame."""

_TEXT: Final = frozenset(b"\t\n\v\f\r") | frozenset(range(0x20, 0x7F))


@dataclass(frozen=True, slots=True)
class Oversize:
    """A frame announced more than `max_frame_bytes`, or than there is memory for. Its bytes are skipped as they come;
    the next frame is read."""

    length: int
    allowed: bool = False


@dataclass(frozen=True, slots=True)
class FramingLost:
    """What stands where a length belongs cannot be one. Nothing after it can be read; the decoder stays silent."""

    header: bytes

    @property
    def length(self) -> int:
        return int.from_bytes(self.header, "big")

    @property
    def is_text(self) -> bool:
        """Whether somebody wrote plain text into the pipe."""
        return _TEXT.issuperset(self.header)


class FrameDecoder:
    """Cuts a byte stream into payloads, however it was split.

    `receive` gives a `bytearray` or `bytes` for each whole payload, in order, and `Oversize` or `FramingLost` as soon
    as a length says so. It raises nothing. Memory: at most one partial frame, grown as its bytes arrive, so
    that a length alone allocates nothing.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max = max_frame_bytes
        self._partial = bytearray()
        self._skip = 0
        self._lost = False

    def receive(self, data: bytes) -> list[bytes | bytearray | Oversize | FramingLost]:
        """What `data` completes."""
        found: list[bytes | bytearray | Oversize | FramingLost] = []
        position = 0
        end = len(data)
        while position < end and not self._lost:
            if self._skip:
                skipped = min(self._skip, end - position)
                self._skip -= skipped
                position += skipped
                continue
            if self._partial:
                try:
                    position += self._extend_partial(data, position)
                except MemoryError:
                    found.append(self._let_go())
                    continue
                if (event := self._take_partial()) is not None:
                    found.append(event)
                continue
            body = position + HEADER_BYTES
            if end < body:
                self._partial += data[position:]
                break
            length = int.from_bytes(data[position:body], "big")
            if length > self._max:
                found.append(self._refuse(data[position:body], length))
                position = body
                continue
            if end - body < length:
                self._partial += data[position:]
                break
            position = body + length
            if length:
                found.append(data[body:position])
        return found

    @property
    def inside_frame(self) -> bool:
        """Whether the input would be torn if it ended here (FRAME-TRUNCATED)."""
        return bool(self._partial or self._skip)

    def _extend_partial(self, data: bytes, position: int) -> int:
        missing = HEADER_BYTES - len(self._partial)
        if missing <= 0:
            missing += int.from_bytes(self._partial[:HEADER_BYTES], "big")
        piece = data[position : position + missing]
        self._partial += piece
        return len(piece)

    def _let_go(self) -> Oversize:
        length = int.from_bytes(self._partial[:HEADER_BYTES], "big")
        self._skip = HEADER_BYTES + length - len(self._partial)
        self._partial = bytearray()
        return Oversize(length, allowed=True)

    def _take_partial(self) -> bytearray | Oversize | FramingLost | None:
        if len(self._partial) < HEADER_BYTES:
            return None
        header = bytes(self._partial[:HEADER_BYTES])
        length = int.from_bytes(header, "big")
        if length > self._max:
            self._partial = bytearray()
            return self._refuse(header, length)
        if len(self._partial) < HEADER_BYTES + length:
            return None
        payload, self._partial = self._partial, bytearray()
        if not length:
            return None
        del payload[:HEADER_BYTES]
        return payload

    def _refuse(self, header: bytes, length: int) -> Oversize | FramingLost:
        lost = FramingLost(header)
        if length > LOST_FRAMING_FACTOR * self._max or lost.is_text:
            self._lost = True
            return lost
        self._skip = length
        return Oversize(length)


def encode_frame(payload: bytes) -> bytes:
    """The frame of a payload shorter than 4 GiB."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload
