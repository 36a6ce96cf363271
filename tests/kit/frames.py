"""Framing for the tests, written from the contract and sharing no line with the worker's.

`pack` and `encode` make bytes for the worker; `Decoder` and `loads` take its bytes apart and accept nothing
that section 1 forbids: no duplicate key, no NaN, no lone surrogate, no bad UTF-8.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

Frame = dict[str, Any]

HEADER_BYTES = 4
LONGEST_BYTES = 1 << 30
"""No test sends more, so a greater length means that something else than frames is on the wire."""

DEEPEST = 10_000
"""The parser of the standard library counts against Python's recursion limit, which is less deep than frames
may be.
"""

sys.setrecursionlimit(max(DEEPEST, sys.getrecursionlimit()))


class NotAFrame(AssertionError):
    """Bytes from the worker that are no frame of the contract."""


def pack(payload: bytes) -> bytes:
    """The payload with its length before it; the payload may be anything."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


def encode(command: Mapping[str, Any]) -> bytes:
    """One whole frame of a well-formed command."""
    text = json.dumps(command, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return pack(text.encode("utf-8"))


def loads(payload: bytes) -> Frame:
    """The JSON object in a payload.

    Raises:
        NotAFrame: for anything that a worker must not send.
    """
    try:
        text = payload.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (UnicodeError, ValueError, RecursionError) as problem:
        raise NotAFrame(f"{problem} in {payload[:200]!r}") from problem
    if not isinstance(value, dict):
        raise NotAFrame(f"not an object: {payload[:200]!r}")
    return cast(Frame, value)


class Decoder:
    """Bytes in, payloads out, however the bytes are cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields each payload that is complete, empty ones included.

        Raises:
            NotAFrame: where a length is so great that the framing must be lost.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
            if length > LONGEST_BYTES:
                raise NotAFrame(f"the framing is lost at {bytes(self._buffer[:100])!r}")
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[HEADER_BYTES:end])
            del self._buffer[:end]
            yield payload


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError(f"a key stands twice in {[key for key, _ in pairs]}")
    return members
