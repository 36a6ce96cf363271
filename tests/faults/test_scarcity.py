"""Surroundings that lack something, or lie: descriptors, threads, disk, home, locale, libraries, the time."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kit import REPOSITORY, Decoder, Frame, Worker, failed, loads, succeeded
from tests.kit.worker import PROGRAM

from .workers import HERE, SECONDS, Survivors, doing, done, refused, worker_with_deeds

LIMITED = (sys.executable, "-I", "-S", str(HERE / "scarce.py"))


def with_little(limits: str, *options: str, **how: Any) -> Worker:
    """A worker with limits, an object as `scarce.py` takes it."""
    return worker_with_deeds(*options, program=(*LIMITED, limits, *PROGRAM), **how)


def ended(command: Sequence[str], **env: str) -> tuple[int, list[Frame], str]:
    """Runs a worker whose input has ended: its status, its frames, what it said on stderr."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **env}
    run = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    decoder = Decoder()
    frames = [loads(payload) for payload in decoder.feed(run.stdout)]
    assert decoder.pending == 0, "a frame was cut"
    return run.returncode, frames, run.stderr.decode()


def says_why(outcome: tuple[int, list[Frame], str]) -> None:
    """A worker that could not begin has said so, in one line or in frames, and has told by its status."""
    status, frames, stderr = outcome
    assert status == 70
    if frames:
        assert (frames[0]["type"], frames[-1]) == ("ready", {"type": "goodbye", "reason": "fatal"})
        assert [log["level"] for log in frames if log["type"] == "log"] == ["critical"]
        assert stderr == ""
    else:
        assert stderr.startswith("axon-port: the worker cannot start: ")
        assert stderr.count("\n") == 1


# ---------------------------------------------------------------- descriptors and threads

FEWEST = {"NOFILE": 5, "NPROC": 1}
"""With fewer descriptors not even an interpreter starts."""

ENOUGH = {"NOFILE": 16, "NPROC": 12}


@pytest.mark.parametrize("resource", FEWEST)
def test_the_worker_says_which_it_has_too_few_of_whichever_it_is_that_fails(resource: str) -> None:
    """One more each time, until it begins.

    clause: LIFE-EXIT, LIFE-START
    fault: D39
    """
    if resource == "NPROC" and os.getuid() != 0:
        pytest.skip("only root can become somebody who has no processes yet")
    for limit in range(FEWEST[resource], ENOUGH[resource] + 1):
        outcome = ended([*LIMITED, f'{{"{resource}": {limit}}}', *PROGRAM])
        if outcome[0] == 0:
            assert [frame["type"] for frame in outcome[1]] == ["ready", "goodbye"]
            return
        says_why(outcome)
    raise AssertionError(f"{ENOUGH[resource]} were not enough")


def test_sixteen_descriptors_are_enough_to_serve() -> None:
    """fault: D39"""
    with with_little('{"NOFILE": 16}') as worker:
        assert done(worker, "say", text="ü") == "ü"
        failed(refused(worker, "hoard"), "ToolError")
        assert done(worker, "share") > 0
        assert done(worker, "status_of_false") == 1


@pytest.mark.parametrize("end", ["the input ends", "SIGTERM"])
def test_a_tool_that_takes_all_descriptors_holds_up_no_end_and_saves_no_child(end: str) -> None:
    """clause: LIFE-CHILDREN, LIFE-THREADS
    fault: D39
    """
    with with_little('{"NOFILE": 64}') as worker:
        done(worker, "raise_family")
        assert "OSError" in failed(refused(worker, "hoard"), "ToolError")["message"]
        assert done(worker, "add", x=2, y=3) == 5
        family = Survivors(worker)
        if end == "SIGTERM":
            worker.signal(signal.SIGTERM)
        else:
            worker.close_stdin()
        assert worker.wait_exit() == 0
        family.wait_until_gone()


def test_without_a_thread_for_it_a_tool_fails_and_no_other() -> None:
    """The worker may have no more threads and processes than it has when the tool is called.

    fault: D39
    """
    if os.getuid() != 0:
        pytest.skip("only root can become somebody who has no processes yet")
    with with_little('{"NPROC": 100}') as worker:
        waking = doing(worker, ("wake", {}))
        assert done(worker, "limit_processes", limit=1) == "limited"
        dozing = doing(worker, ("doze", {}))
        runs = [worker.start_run(dozing) for _ in range(3)]
        refused_one = worker.wait_for(lambda frame: frame["type"] == "error" and frame["id"] in runs)
        # Its agent is there: making one would take a thread.
        succeeded(worker.run(waking))
        answers = [refused_one, *(worker.terminal(run) for run in runs if run != refused_one["id"])]
        assert {answer["error_type"] for answer in answers if answer["type"] == "error"} == {"ToolError"}
        assert done(worker, "nap", seconds=0) == "awake"
        assert done(worker, "limit_processes", limit=100) == "limited"
        assert done(worker, "status_of_false") == 1


# ---------------------------------------------------------------- disk, home, locale


def test_a_full_disk_is_the_fault_of_the_tool_that_writes(tmp_path: Path) -> None:
    """fault: D39"""
    with with_little('{"FSIZE": 0}') as worker:
        assert "OSError" in failed(refused(worker, "write", path=str(tmp_path / "file")), "ToolError")["message"]
        assert done(worker, "add", x=2, y=3) == 5


def test_an_output_on_a_full_disk_has_no_listener() -> None:
    """clause: LIFE-STDOUT
    fault: D39
    """
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with Worker(stdout=full, timeout=SECONDS) as worker:
            assert worker.wait_exit() == 0
            assert "Traceback" not in worker.stderr
    finally:
        os.close(full)


POOR: dict[str, dict[str, str | None]] = {
    "no home, and a C locale": {"HOME": None, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
    "an unwritable home, and a C locale that is meant": {
        "HOME": "/proc",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    },
}


@pytest.mark.parametrize("env", POOR.values(), ids=POOR.keys())
def test_text_is_utf_8_whatever_the_home_and_the_locale(env: dict[str, str | None]) -> None:
    """In frames both ways, and in what is printed; a lone surrogate fails no print.

    clause: STDIO-CAPTURE
    fault: D39
    """
    with worker_with_deeds(env=env) as worker:
        assert done(worker, "say", text="Ä 字 😀") == "Ä 字 😀"
        worker.wait_for_log(lambda log: log["logger"] == "stdout" and log["message"] == "Ä 字 😀")


# ---------------------------------------------------------------- what is imported

BROKEN = ["orjson", "anyio", "pydantic", "pydantic_ai"]


@pytest.mark.parametrize("library", BROKEN)
def test_a_worker_with_a_broken_library_says_why(library: str, tmp_path: Path) -> None:
    """clause: LIFE-EXIT, LIFE-START
    fault: D38
    """
    (tmp_path / f"{library}.py").write_text("raise ImportError('it is broken')\n")
    outcome = ended(PROGRAM, PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}")
    says_why(outcome)
    assert "it is broken" in f"{outcome[1]}{outcome[2]}"


def test_a_missing_library_of_a_provider_is_the_fault_of_the_agent(tmp_path: Path) -> None:
    """The message says what is missing, in one line; other agents work.

    fault: D38
    """
    (tmp_path / "anthropic.py").write_text("raise ModuleNotFoundError('No module named anthropic', name='anthropic')\n")
    with Worker(pythonpath=[tmp_path, REPOSITORY], env={"ANTHROPIC_API_KEY": "sk-none-of-your-business"}) as worker:
        answer = worker.ask("create_agent", agent_id="claude", model="anthropic:claude-sonnet-4-5")
        assert "anthropic" in failed(answer, "InvalidAgent")["message"]
        assert succeeded(worker.run(worker.agent([{"text": "still here"}])))["result"] == "still here"


HOSTILE = ("orjson", "anyio", "json", "logging", "argparse", "pydantic_ai", "typing")


@pytest.mark.parametrize("path", ["", "here"])
def test_the_working_directory_is_looked_into_last_however_it_came_into_the_path(path: str, tmp_path: Path) -> None:
    """An empty entry of PYTHONPATH is the working directory.

    fault: D41
    """
    for name in HOSTILE:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'a').write({name!r})\n")
    entry = str(tmp_path) if path == "here" else path
    with Worker(cwd=tmp_path, env={"PYTHONPATH": f"{entry}{os.pathsep}{REPOSITORY}"}, timeout=SECONDS) as worker:
        assert succeeded(worker.run(worker.agent([{"text": "untouched"}])))["result"] == "untouched"
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize(("arguments", "status"), [(["--nonsense"], 64), (["--version"], 0)], ids=str)
def test_an_interpreter_that_shall_inspect_does_not_stay(arguments: list[str], status: int) -> None:
    """clause: OPT-WRONG
    fault: D41
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONINSPECT": "1"}
    command = [*PROGRAM, *arguments]
    run = subprocess.run(
        command, cwd=REPOSITORY, env=environment, input=b"", capture_output=True, timeout=SECONDS, check=False
    )
    assert run.returncode == status
    assert b"Traceback" not in run.stderr


# ---------------------------------------------------------------- the time

JUMPING = """
import time

_true, _jumps = time.time, [0]


def _jumping():
    _jumps[0] += 1
    return _true() + (3.2e7 if _jumps[0] % 2 else -3.2e7)


time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
"""


def test_the_jumps_of_a_clock_end_nothing_and_hold_up_nothing(tmp_path: Path) -> None:
    """The time of day is a year early and a year late by turns: what waits, waits as long as it would have.

    fault: D40
    """
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    with worker_with_deeds("--drain-timeout", "1", pythonpath=[tmp_path, HERE, REPOSITORY]) as worker:
        jumps = {log["timestamp"][:4] for log in (noted(worker) for _ in range(4))}
        assert len(jumps) > 1, "the clock does not jump"
        slow = {"text": "there", "delay_ms": 300}
        patient = worker.agent([slow], timeout_ms=60_000)
        assert succeeded(worker.run(patient))["duration_ms"] in range(290, 60_000)
        hasty = worker.agent([{"text": "never", "delay_ms": 600_000}])
        failed(worker.run(hasty, timeout_ms=50), "Timeout")
        tool = {"name": "ask", "parameters": {"type": "object"}, "timeout_ms": 50, "retries": 0}
        asking = worker.agent([{"tool_calls": [{"name": "ask", "args": {}}]}], tools=[tool])
        failed(worker.terminal(worker.start_run(asking)), "ToolRetriesExceeded")
        left = worker.start_run(hasty)
        assert succeeded(worker.ask("ping"))["result"]["uptime_ms"] < 600_000
        worker.close_stdin()
        failed(worker.terminal(left), "Cancelled")
        assert worker.wait_exit() == 0


def noted(worker: Worker) -> Frame:
    """A log of a printed line."""
    worker.forget()
    done(worker, "say", text="the time is")
    return worker.wait_for("log")


def test_a_process_that_stood_still_goes_on() -> None:
    """As on a machine that slept: what is due is due, and nothing else has ended.

    fault: D40
    """
    with worker_with_deeds("--drain-timeout", "1") as worker:
        late = worker.agent([{"text": "never", "delay_ms": 600_000}])
        waiting = worker.start_run(late)
        succeeded(worker.ask("list_agents"))
        due = worker.start_run(late, timeout_ms=500)
        worker.signal(signal.SIGSTOP)
        ping = worker.submit("ping")
        slept = subprocess.run(["/bin/sleep", "3"], check=False)
        worker.signal(signal.SIGCONT)
        assert slept.returncode == 0
        failed(worker.terminal(due), "Timeout")
        succeeded(worker.terminal(ping))
        succeeded(worker.ask("cancel", target=waiting))
        failed(worker.terminal(waiting), "Cancelled")
        assert done(worker, "add", x=2, y=3) == 5


WALL_CLOCKS = ("time.time", "datetime.now", "datetime.utcnow", "date.today", "CLOCK_REALTIME", "localtime", "gmtime")
TOLD = {
    "axon_port/agents/history.py": "when what was enqueued was put into the messages",
    "axon_port/agents/lines.py": "when an answer of a model was received",
    "axon_port/agents/script.py": "when an answer of the scripted model was made",
    "axon_port/cli.py": "when a log was made",
    "axon_port/worker/exchanges.py": "when the frame of a traced run came",
    "axon_port/worker/logs.py": "when a log was made",
    "axon_port/worker/recorder.py": "when a record was begun",
    "axon_port/worker/spans.py": "when a part of a traced run began",
}
"""Where the time of day is told, and nothing waits for it."""


def test_nothing_waits_by_the_time_of_day() -> None:
    """fault: D40"""
    found = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "axon_port").rglob("*.py")
        if any(name in path.read_text("utf-8") for name in WALL_CLOCKS)
    }
    assert found == TOLD.keys()
