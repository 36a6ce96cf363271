"""Records as the commands here take them: with nothing in them that no worker says or is told.

Anybody can write a file. What is checked here nobody behind has to doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from axon_port.wire.record import Entry, Head, NotARecord, read_record

LIMITS: Final = ("max_frame_bytes", "max_inflight", "max_tool_calls", "drain_timeout")
"""Options that the worker of a replay takes from the record. What lets code in has to be said again."""

_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "tool_call": ("call_id", "name"),
    "approval_request": ("call_id", "name"),
    "tool_cancel": ("call_id",),
    "error": ("error_type",),
    "chunk": ("kind",),
}
"""Fields of a frame of the worker that are text."""


def read(lines: Iterable[bytes]) -> tuple[Head, Iterator[Entry]]:
    """As `read_record`, which raises `NotARecord` for fewer lines."""
    head, entries = read_record(lines)
    for name in LIMITS:
        if type(head.options.get(name, 0)) not in {int, float}:
            raise NotARecord(f"line 1 is not the head of a record: {name} is no number")
    return head, _checked(entries)


def _checked(entries: Iterator[Entry]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, start=2):
        if entry.direction == "out" and not _can_be_said(entry.frame):
            raise NotARecord(f"line {number} is no frame that a worker says")
        yield entry


def _can_be_said(frame: Mapping[str, Any]) -> bool:
    kind = frame.get("type")
    if not isinstance(kind, str):
        return set(frame) == {"left_out_frames"}
    if type(frame.get("id")) not in {str, int, type(None)}:
        return False
    if kind == "chunk" and not _has_data(frame):
        return False
    return all(isinstance(frame.get(name), str) for name in _TEXTS.get(kind, ()))


def _has_data(chunk: Mapping[str, Any]) -> bool:
    return "data" in chunk and (chunk.get("kind") not in ("text", "thinking") or isinstance(chunk["data"], str))
