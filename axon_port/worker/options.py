"""What the command line and the environment decide, checked once before anything starts (PROTOCOL.md, OPT-*)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a worker. Sizes in bytes, times in seconds."""

    max_frame_bytes: int = 64 * 1024 * 1024
    max_inflight: int = 1024
    max_tool_calls: int = 64
    drain_timeout: float = 30.0
    log_level: str = "info"
    nouse_stdio: bool = False
    allow_import: tuple[str, ...] = ()
    allow_capability: tuple[str, ...] = ()
    allow_recordings: str | None = None
    record: str | None = None
