"""A real Erlang port as the parent: the scenes of port_scenes.erl, and what becomes of the worker's process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
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

    def crowd(self) -> list[int]:
        """The process numbers of the workers that the scene has opened."""
        pids: list[int] = []
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) != "crowd\n":
            assert line.startswith("worker "), line + self.process.stdout.read()
            pids.append(int(line.split()[1]))
        return pids

    def ended(self) -> None:
        """The scene has ended and all of it was right."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        assert self.process.wait(TIMEOUT) == 0, output
        assert output == "done\n"


@contextmanager
def playing(scene: str, compiled: Path, **variables: str) -> Generator[Beam]:
    """A node with a deadline: a scene that hangs is killed, and its output ends."""
    env = environment(WORKER_PYTHON=sys.executable, ERL_CRASH_DUMP_SECONDS="0", **variables)
    env["PYTHONPATH"] += f"{os.pathsep}{HERE}"
    command = [needed("erl"), "-noshell", "-pa", str(compiled), "-run", "port_scenes", "main", scene]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = threading.Timer(TIMEOUT, process.kill)
        deadline.start()
        try:
            yield Beam(process)
            assert not deadline.finished.is_set(), f"the scene was killed after {TIMEOUT:.0f} s"
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
    """clause: LIFE-STDOUT
    fault: D31
    """
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


CROWD = int(os.environ.get("CROWD", "1"))
"""Workers of each state at each death of the parent. `CROWD=10` five times makes a thousand
cycles, with forty workers at once."""

DEATHS: dict[str, Callable[[Beam], None]] = {
    "its owner is killed": lambda beam: beam.say("kill"),
    "the node halts": lambda beam: beam.say("halt"),
    "the node gets SIGTERM": lambda beam: beam.process.terminate(),
    "the node gets SIGINT": lambda beam: beam.process.send_signal(signal.SIGINT),
    "the node is killed": lambda beam: beam.process.kill(),
}


@pytest.mark.parametrize("death", DEATHS)
def test_none_of_a_crowd_is_left_whatever_its_parent_dies_of(death: str, compiled: Path) -> None:
    """Hardly begun, importing, with a stream, a call and a slow model under way, with 800 open calls.

    clause: LIFE-STDOUT
    fault: D31
    """
    with playing("crowd", compiled, CROWD=str(CROWD), ERL_FLAGS="+Bd") as beam, ExitStack() as all_gone:
        for pid in beam.crowd():
            all_gone.enter_context(watched(pid))
        DEATHS[death](beam)


def test_a_worker_whose_pipes_somebody_else_holds_notices_that_its_node_was_killed(compiled: Path) -> None:
    """Its input does not end, and its output has a reader.

    clause: LIFE-PARENT
    fault: D32
    """
    with playing("wait_idle", compiled) as beam, ExitStack() as held:
        pid = beam.worker()
        for link in _shared_pipes(pid, beam.process.pid):
            held.callback(os.close, os.open(link, os.O_RDWR))
        with watched(pid):
            os.kill(beam.process.pid, signal.SIGKILL)


def _shared_pipes(pid: int, other: int) -> list[Path]:
    """The descriptors of a process, as files, that are pipes which it shares with another."""
    ours, theirs = _pipes(pid), set(_pipes(other).values())
    found = [entry for entry, link in ours.items() if link in theirs]
    assert len(found) >= 2
    return found


def _pipes(pid: int) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found[entry] = os.readlink(entry)
    return {entry: link for entry, link in found.items() if link.startswith("pipe:")}
