"""How a worker is started: the command with its options, the environment, the limits of its start and end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from axon_port.wire.words import DEFAULT_MAX_FRAME_BYTES

WORKER: Final = (sys.executable, "-m", "axon_port")


@dataclass(frozen=True, slots=True)
class Launch:
    """The command line of a worker. Sizes in bytes, times in seconds; what is None is the worker's own default."""

    command: Sequence[str] = WORKER
    env: Mapping[str, str] | None = None
    """The whole environment; None for our own."""
    cwd: Path | str | None = None
    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    max_inflight: int | None = None
    max_tool_calls: int | None = None
    drain_timeout: float | None = None
    log_level: str | None = None
    allow_import: Sequence[str] = ()
    allow_capability: Sequence[str] = ()
    allow_recordings: Path | str | None = None
    """The folder of recordings, where models may be `{"record": …}` and `{"replay": …}`."""
    record: Path | str | None = None
    """The file that every frame is written to. A process that takes this one's place begins it anew."""
    start_timeout: float = 30.0
    """Until `ready`, which comes before pydantic-ai is imported: more than a cold disk needs."""

    def argv(self) -> list[str]:
        """The command and its arguments."""
        options = {
            "--max-frame-bytes": self.max_frame_bytes,
            "--max-inflight": self.max_inflight,
            "--max-tool-calls": self.max_tool_calls,
            "--drain-timeout": self.drain_timeout,
            "--log-level": self.log_level,
            "--allow-recordings": self.allow_recordings,
            "--record": self.record,
        }
        words = [f"{name}={value}" for name, value in options.items() if value is not None]
        words += [f"--allow-import={prefix}" for prefix in self.allow_import]
        words += [f"--allow-capability={name}" for name in self.allow_capability]
        return [*self.command, *words]

    def environment(self) -> dict[str, str]:
        """Ours or the one given, without what would move the frames to descriptors that nobody holds."""
        chosen = dict(os.environ if self.env is None else self.env)
        chosen.pop("AXON_PORT_NOUSE_STDIO", None)
        return chosen


@dataclass(frozen=True, slots=True)
class Restarts:
    """What happens when a worker dies: another one after a growing wait, until too many have died in a row.

    A worker that has lived for `healthy` seconds begins a new row. Times in seconds; `limit=0` for no restart at all.
    """

    limit: int = 5
    first: float = 0.1
    most: float = 10.0
    healthy: float = 30.0

    def wait(self, attempt: int, jitter: float) -> float:
        """Seconds before attempt 1, 2, …; `jitter` is from 0 to 1, so that many workers do not rise at once."""
        return min(self.most, self.first * 2 ** (attempt - 1)) * (0.5 + jitter / 2)


def without_options() -> dict[str, str]:
    """Our environment, without what is meant for a worker that somebody starts here, as where to keep its record."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AXON_PORT_")}
