"""A real Erlang port as the parent: the scenes of port_scenes.erl, and what becomes of the worker's process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.beam.programs import environment, needed
from tests.kit.processes import is_running, kill, wait_for_end

HERE = Path(__file__).parent
TIMEOUT = 120.0


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the compiled scenes."""
    directory = tmp_path_factory.mktemp("beam")
    subprocess.run([needed("erlc"), "-Werror", "-o", directory, HERE / "port_scenes.erl"], timeout=TIMEOUT, check=True)
    return directory


class Beam:
    """A node that plays one scene."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def worker(self) -> int:
        """The process number of the worker, once the scene has got that far."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("worker "), line + self.process.stdout.read()
        return int(line.split()[1])

    def ended(self) -> None:
        """The scene has ended and all of it was right."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        assert self.process.wait(TIMEOUT) == 0, output
        assert output == "done\n"


@contextmanager
def playing(scene: str, compiled: Path) -> Generator[Beam]:
    """A node with a deadline: a scene that hangs is killed, and its output ends."""
    env = environment(WORKER_PYTHON=sys.executable, ERL_CRASH_DUMP_SECONDS="0")
    env["PYTHONPATH"] += f"{os.pathsep}{HERE}"
    command = [needed("erl"), "-noshell", "-pa", str(compiled), "-run", "port_scenes", "main", scene]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = threading.Timer(TIMEOUT, process.kill)
        deadline.start()
        try:
            yield Beam(process)
        finally:
            deadline.cancel()
            process.kill()


@contextmanager
def watched(pid: int) -> Generator[None]:
    """The process, which is no child of ours, has to be gone at the end of the block, and not only as a zombie."""
    try:
        yield
        assert _has_ended(pid), "the worker is still there"
    finally:
        kill(pid)


def _has_ended(pid: int) -> bool:
    try:
        return wait_for_end(pid, TIMEOUT) and not is_running(pid)
    except ProcessLookupError:
        return True


def play(scene: str, compiled: Path) -> None:
    with playing(scene, compiled) as beam:
        beam.ended()


def test_a_hundred_runs_get_one_answer_each(compiled: Path) -> None:
    """clause: ENV-ONE-TERMINAL"""
    play("runs", compiled)


def test_a_stream_keeps_to_its_credit(compiled: Path) -> None:
    """clause: STREAM-CREDIT"""
    play("stream", compiled)


def test_parallel_tool_calls_are_answered_in_any_order(compiled: Path) -> None:
    """clause: TOOL-PARALLEL, CALL-ANSWER"""
    play("tools", compiled)


def test_a_thousand_runs_wait_on_the_parent_at_once(compiled: Path) -> None:
    play("thousand", compiled)


def test_what_a_tool_prints_arrives_as_logs_and_harms_no_frame(compiled: Path) -> None:
    """clause: STDIO-CAPTURE, STDIO-STDERR"""
    play("noise", compiled)


def test_large_frames_are_intact_both_ways(compiled: Path) -> None:
    play("large", compiled)


def test_a_frame_too_long_is_answered_and_the_next_one_works(compiled: Path) -> None:
    """clause: FRAME-OVERSIZE"""
    play("too_long", compiled)


def test_frames_may_use_descriptors_3_and_4(compiled: Path) -> None:
    """clause: STDIO-NOUSE"""
    play("descriptors", compiled)


def test_a_usage_error_is_a_frame_where_stderr_is_joined(compiled: Path) -> None:
    """clause: STDIO-STDERR, OPT-WRONG"""
    play("usage", compiled)


def test_a_killed_worker_is_seen_by_its_exit_status(compiled: Path) -> None:
    play("killed", compiled)


def test_a_terminated_worker_says_goodbye(compiled: Path) -> None:
    """clause: LIFE-SIGNAL"""
    play("terminated", compiled)


def test_a_worker_terminated_twice_goes_at_once(compiled: Path) -> None:
    """clause: LIFE-SIGNAL"""
    play("terminated_twice", compiled)


@pytest.mark.parametrize("scene", ["close_idle", "close_busy", "owner_killed"])
def test_a_worker_goes_when_its_port_is_closed(scene: str, compiled: Path) -> None:
    """clause: LIFE-STDOUT"""
    with playing(scene, compiled) as beam:
        with watched(beam.worker()):
            beam.say("go")
        beam.say("end")
        beam.ended()


@pytest.mark.parametrize("scene", ["wait_idle", "wait_busy", "wait_blocked"])
def test_a_worker_goes_when_its_node_is_killed(scene: str, compiled: Path) -> None:
    """clause: LIFE-STDOUT, LIFE-WATCHDOG
    fault: D33
    """
    with playing(scene, compiled) as beam, watched(beam.worker()):
        os.kill(beam.process.pid, signal.SIGKILL)
