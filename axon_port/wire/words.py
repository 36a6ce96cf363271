"""Words of the protocol that every room says. They know nothing of the rest and cost nothing to import."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

Id = str | int
"""Of a command, the parent's own. `1` and `"1"` are different ids."""

ChunkKind = Literal["text", "thinking", "output", "tool_call", "tool_return"]

LogLevel = Literal["debug", "info", "warning", "error", "critical"]

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""With the numbers of Python's logging."""

REDACTED: Final = "[redacted]"
"""What stands in the place of a key."""

DEFAULT_MAX_FRAME_BYTES: Final = 64 * 1024 * 1024


def timestamp(seconds: float) -> str:
    """A time since the epoch as frames and records have it: RFC 3339 in UTC, with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
