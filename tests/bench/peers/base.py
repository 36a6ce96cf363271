"""What every peer has in common: a process that is started, asked and stopped."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Generic, TypeVar

from tests.bench.clocks import cpu_seconds
from tests.bench.driver import Connection, drive
from tests.bench.task import Holding, Op, PeerFailed, Sample, Task

REPOSITORY: Final = Path(__file__).resolve().parents[3]
PROGRAMS: Final = Path(__file__).parent / "programs"

STOP_SECONDS: Final = 20.0
"""How long a peer may take to end when it is no longer needed."""

AGENT_OPS: Final[frozenset[Op]] = frozenset({"run", "stream", "tool", "prompt", "answer", "history"})
ALL_OPS: Final[frozenset[Op]] = frozenset({"ping", *AGENT_OPS})

C = TypeVar("C", bound=Connection)


class Peer(ABC):
    """One way to reach the agents. `start`, `measure` as often as you like, `stop`; then it may be started again."""

    name: ClassVar[str]
    title: ClassVar[str]
    ops: ClassVar[frozenset[Op]]
    needs: ClassVar[tuple[str, ...]] = ()
    """Packages of the extra `bench`."""
    drives_busy: ClassVar[bool] = False
    """Whether a task may keep it busy besides."""

    _process: subprocess.Popen[bytes] | None = None

    def missing(self) -> str | None:
        """Why it cannot be measured here; None where it can."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)} (pip install '.[bench]')" if absent else None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start it first"
        return self._process

    @property
    def pid(self) -> int:
        """The process whose time and memory count."""
        return self.process.pid

    @abstractmethod
    def start(self) -> None:
        """Start it. It need not be ready: what it is asked meanwhile waits."""

    @abstractmethod
    def measure(self, task: Task) -> Sample:
        """Raises `PeerFailed`."""

    def hold(self, what: Holding, count: int) -> None:
        """Make it hold so many more agents, or runs that wait on a tool, until it is stopped."""
        raise NotImplementedError(f"{self.name} holds no {what}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for end in (process.stdin, process.stdout):
            if end is not None:
                end.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def spawn(self, command: Sequence[str | Path], *, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Start the process with pipes, unbuffered."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYDANTIC_AI_NO_BANNER": "1"}
        # What is installed has its bytecode; some machines tell Python to write none for a checkout.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=REPOSITORY,
            env=environment,
            pass_fds=pass_fds,
        )
        return self._process

    def spawn_python(self, program: str, *arguments: str, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        return self.spawn([sys.executable, PROGRAMS / program, *arguments], pass_fds=pass_fds)


class Served(Peer, Generic[C]):
    """A peer that the driver asks over a connection."""

    drives_busy: ClassVar[bool] = True
    connection: C

    def measure(self, task: Task) -> Sample:
        pid = self.pid
        return drive(self.connection, task, lambda: cpu_seconds(pid))


def pipe_ends(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """The descriptors to write to and to read from."""
    if process.stdin is None or process.stdout is None:
        raise PeerFailed("the process has no pipes")
    return process.stdin.fileno(), process.stdout.fileno()
