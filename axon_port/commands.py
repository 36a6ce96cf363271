"""Runs a subcommand: its descriptors, its encoding, and how it ends where it cannot go on (PROTOCOL.md, SHELL-*)."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from axon_port.statuses import EX_INTERRUPTED, EX_IOERR, EX_SOFTWARE, EX_USAGE
from axon_port.worker.stdio import fill_standard

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_WRITES_UTF8: Final = frozenset({"schema", "completion", "timeline"})
"""What they write is for a program, which expects that encoding; the rest is for a person with a terminal."""

_JUDGES: Final = frozenset({"doctor", "replay"})
"""Their status says what they found, whether somebody reads it or not."""


def run_command(parsed: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run the subcommand that was parsed; its exit status."""
    has_output = _is_there(sys.stdout)
    _open_streams(parsed.command)
    if not has_output:
        return _complain(parsed.command, "descriptor 1 is not open for writing", EX_USAGE)
    try:
        return _run(parsed, parser)
    except KeyboardInterrupt:
        # Somebody at a terminal has seen enough, and wants no traceback.
        return EX_INTERRUPTED


def _run(parsed: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        runner = _runner(parsed, parser)
    except Exception as error:  # noqa: BLE001  whatever a broken library raises when it is imported
        return _complain(parsed.command, f"cannot start: {str(error) or repr(error)}", EX_SOFTWARE)
    try:
        status = runner()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough.
        _give_up_output()
        return 0
    except OSError as error:
        _give_up_output()
        return _complain(parsed.command, error.strerror or str(error), EX_IOERR)
    except ImportError as error:
        return _complain(parsed.command, f"cannot start: {error}", EX_SOFTWARE)
    return status


def _complain(command: str, message: str, status: int) -> int:
    print(f"axon-port {command}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _runner(parsed: argparse.Namespace, parser: argparse.ArgumentParser) -> Callable[[], int]:
    """What runs a subcommand, when everything that it needs has been imported."""
    match parsed.command:
        case "pack":
            from axon_port.shell import pack

            return partial(pack, sys.stdin.buffer, sys.stdout.buffer)
        case "unpack":
            from axon_port.shell import unpack

            return partial(unpack, sys.stdin.buffer, sys.stdout.buffer)
        case "schema":
            from axon_port.wire.schema import print_schema

            return partial(print_schema, sys.stdout)
        case "doctor":
            from axon_port.doctor import doctor

            return partial(
                doctor,
                sys.stdout,
                as_json=parsed.json,
                modules=parsed.modules,
                endpoints=parsed.endpoint,
                ask_endpoints=parsed.endpoints,
            )
        case "completion":
            from axon_port.completion import print_script

            return partial(print_script, parsed.shell, parser, sys.stdout)
        case "replay":
            from axon_port.records.replay import replay

            file = Path(parsed.file)
            return partial(replay, file, parsed.option, sys.stdout, timed=parsed.timed, as_json=parsed.json)
        case "timeline":
            from axon_port.records.timeline import timeline

            return partial(timeline, Path(parsed.file), sys.stdout)
        case _:
            from axon_port.demo import demo

            return partial(demo, sys.stdout)


# --- the standard streams


class _Forgiving(io.FileIO):
    """An output that takes everything, written or not, where it fails in the way that is forgiven."""

    def __init__(self, fd: int, forgiven: type[OSError]) -> None:
        super().__init__(fd, "w", closefd=False)
        self._forgiven = forgiven

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except self._forgiven:
            return memoryview(data).nbytes


def _is_there(stream: object) -> bool:
    return stream is not None


def _open_streams(command: str) -> None:
    """Streams for all three descriptors, that can write every character."""
    no_input, no_stderr = not _is_there(sys.stdin), not _is_there(sys.stderr)
    fill_standard()
    if no_input:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    # A complaint that nobody can hear must not change the status.
    sys.stderr = _text(_Forgiving(2, OSError), "utf-8" if no_stderr else sys.stderr.encoding)
    if not _is_there(sys.stdout):
        return
    if command in _JUDGES:
        sys.stdout = _text(_Forgiving(1, BrokenPipeError), sys.stdout.encoding)
    stdout = cast("io.TextIOWrapper", sys.stdout)
    if command in _WRITES_UTF8:
        stdout.reconfigure(encoding="utf-8")
    else:
        stdout.reconfigure(errors="replace")


def _text(raw: io.FileIO, encoding: str) -> io.TextIOWrapper:
    is_prompt = raw.fileno() == 2 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=is_prompt)


def _give_up_output() -> None:
    # What is still buffered must not fail when the interpreter ends.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
