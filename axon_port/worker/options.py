"""What the command line and the environment decide, checked once before anything starts (PROTOCOL.md, OPT-*)."""

from __future__ import annotations

from dataclasses import dataclass

from axon_port.wire.words import DEFAULT_MAX_FRAME_BYTES


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a worker. Sizes in bytes, times in seconds."""

    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    max_inflight: int = 1024
    max_tool_calls: int = 64
    drain_timeout: float = 30.0
    log_level: str = "info"
    nouse_stdio: bool = False
    allow_import: tuple[str, ...] = ()
    allow_capability: tuple[str, ...] = ()
    allow_recordings: str | None = None
    record: str | None = None
