"""Imports a module in a process of its own, for `axon-port doctor --import`: does it fail, print, or end the process?

Whatever it does there, the one who asks gets an answer: nothing that the module has started is waited for, and all of
it is killed, except what has made a session of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

SECONDS: Final = 60.0
"""For a module to be imported; some load a model."""

READ_BYTES: Final = 1_048_576
"""Of what it printed. A person is shown much less."""

_IMPORTER: Final = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); end = sys.argv[3]; "
    "importlib.import_module(sys.argv[2]); open(end, 'x').close()"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an import went. `failure` is None where it came to its end."""

    failure: str | None
    printed: str
    printed_bytes: int


def import_apart(module: str) -> Outcome:
    """Import a module as a worker that was started here would."""
    with TemporaryDirectory(prefix="axon-port-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        status = _run(module, folder)
        # A module that ends the process with status 0 has not been imported.
        came_to_end = (folder / "end").exists() and status in {None, 0}
        failure = None if came_to_end else _failure(status, folder / "stderr")
        with (folder / "stdout").open("rb") as stdout:
            return Outcome(failure, _text(stdout.read(READ_BYTES)), os.fstat(stdout.fileno()).st_size)


def _run(module: str, folder: Path) -> int | None:
    """The exit status, None where the process did not end in time."""
    command = [sys.executable, "-c", _IMPORTER, json.dumps(sys.path), module, str(folder / "end")]
    # Not into pipes: a child of the module could hold them open for as long as it likes.
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603  our own interpreter
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _failure(status: int | None, stderr: Path) -> str:
    if status is None:
        return f"the import did not end within {SECONDS:g} s"
    if status == 0:
        return "it ended the process, with status 0"
    said = _text(_end_of(stderr)).strip().splitlines()
    if said:
        return said[-1]
    return f"it ended the process, with status {status}" if status > 0 else f"signal {-status} ended the process"


def _end_of(path: Path) -> bytes:
    """The last lines, all of them whole: half a key would not be known for one."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - READ_BYTES))
        if file.tell():
            file.readline()
        return file.read()


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
