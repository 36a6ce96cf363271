"""Deaths of the worker and of its parent that leave somebody behind, signals that come in other ways, forks.

What ends in good order is in tests/contract/test_life.py, a BEAM as the parent in tests/beam.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import REPOSITORY, Worker, failed, succeeded
from tests.kit.worker import PROGRAM

from .workers import Survivors, doing, done, refused, worker_with_deeds

FAMILY = 7
"""What `raise_family` leaves at least, with the worker and the process that watches over it."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker]:
    """A worker that goes on whatever its tools do; its orderly end is a test too."""
    with worker_with_deeds() as worker:
        yield worker


def serves(worker: Worker) -> None:
    """Proves that the worker goes on."""
    assert done(worker, "add", x=2, y=3) == 5


# ---------------------------------------------------------------- descendants


def crash(worker: Worker) -> None:
    worker.forgive(worker.start_run(doing(worker, ("crash", {}))))


def leave(worker: Worker) -> None:
    worker.forgive(worker.start_run(doing(worker, ("leave", {}))))


def terminate_twice(worker: Worker) -> None:
    never = worker.agent([{"text": "never", "delay_ms": 600_000}])
    worker.forgive(worker.start_run(never))
    quick = worker.agent([{"text": "quick"}])
    worker.signal(signal.SIGTERM)
    while worker.run(quick)["type"] == "result":
        # Two signals of a kind that wait together are one: the first has to be taken before the second.
        pass
    worker.signal(signal.SIGTERM)


DEATHS: dict[str, tuple[Callable[[Worker], Any], int]] = {
    "the input ends": (Worker.close_stdin, 0),
    "nobody listens": (Worker.close_stdout, 0),
    "the framing is lost": (lambda worker: worker.send_raw(b"GET / HTTP/1.1\r\n\r\n"), 65),
    "SIGTERM": (lambda worker: worker.signal(signal.SIGTERM), 0),
    "SIGTERM twice": (terminate_twice, 128 + signal.SIGTERM),
    "SIGKILL": (lambda worker: worker.signal(signal.SIGKILL), -signal.SIGKILL),
    "a fault of C code": (crash, -signal.SIGSEGV),
    "os._exit": (leave, 3),
}


@pytest.mark.parametrize(("death", "status"), DEATHS.values(), ids=DEATHS.keys())
def test_no_descendant_outlives_the_worker_whatever_it_dies_of(death: Callable[[Worker], Any], status: int) -> None:
    """Children, daemons, forks, those that ignore SIGTERM or start others anew, in sessions of their own. What becomes
    of MCP servers is in tests/capabilities.

    clause: LIFE-CHILDREN, LIFE-EXIT
    fault: D37
    """
    with worker_with_deeds(at_exit="kill") as worker:
        assert done(worker, "raise_family") == "raised"
        succeeded(worker.ask("ping"))
        family = Survivors(worker)
        assert len(family) >= FAMILY
        death(worker)
        assert worker.wait_exit() == status
        family.wait_until_gone()
        assert worker.survivors() == []


def test_a_fault_of_c_code_leaves_its_traceback_on_stderr() -> None:
    """The parent sees the status of the signal, and on stderr, where no frame can be sent any more, who did it.

    clause: LIFE-CRASH
    """
    with worker_with_deeds(at_exit="kill") as worker:
        worker.forgive(worker.start_run(doing(worker, ("crash", {}))))
        assert worker.wait_exit() == -signal.SIGSEGV
        worker.wait_for_stderr("Segmentation fault")
        worker.wait_for_stderr("in crash")


def test_memory_that_there_is_not_fails_the_run_alone(shared: Worker) -> None:
    assert "MemoryError" in failed(refused(shared, "allocate"), "ToolError")["message"]
    serves(shared)


# ---------------------------------------------------------------- the parent's death

PARENTS = {
    # The shell is the parent, and does not become the worker.
    "a shell": ("/bin/sh", "-c", 'exec 3<&0; "$@" <&3 3<&- & wait', "sh"),
    "a Python": (sys.executable, "-I", "-S", "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"),
}


@pytest.mark.parametrize("parent", PARENTS.values(), ids=PARENTS.keys())
def test_the_death_of_the_parent_is_noticed_though_somebody_holds_all_pipes(parent: tuple[str, ...]) -> None:
    """This process holds the other ends: the worker's input does not end, and its output is read.

    clause: LIFE-PARENT
    fault: D32
    """
    with Worker(program=(*parent, *PROGRAM), timeout=60, at_exit="kill") as worker:
        asking = worker.agent(
            [{"tool_calls": [{"name": "ask", "args": {}}]}], tools=[{"name": "ask", "parameters": {}}]
        )
        run = worker.start_run(asking)
        worker.wait_for("tool_call", of=run)
        family = Survivors(worker)
        worker.signal(signal.SIGKILL)
        failed(worker.terminal(run), "ParentGone")
        assert worker.wait_for("goodbye")["reason"] == "eof"
        family.wait_until_gone()


# ---------------------------------------------------------------- signals


def inherited(how: str) -> tuple[str, ...]:
    """A program that becomes the worker, with signals as it has set them."""
    return (sys.executable, "-I", "-S", "-c", f"import os, signal, sys; {how}; os.execv(sys.argv[1], sys.argv[1:])")


HARD_OF_HEARING = {
    "ignored": "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]",
    "blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, {1, 2, 15})",
}


@pytest.mark.parametrize(("how", "number"), [("ignored", signal.SIGHUP), ("blocked", signal.SIGTERM)], ids=str)
def test_a_signal_is_heard_however_it_was_inherited(how: str, number: signal.Signals) -> None:
    """clause: LIFE-SIGNAL
    fault: D36
    """
    with Worker(program=(*inherited(HARD_OF_HEARING[how]), *PROGRAM), timeout=60) as worker:
        succeeded(worker.ask("list_agents"))
        worker.signal(number)
        assert worker.wait_for("goodbye")["reason"] == "signal"
        assert worker.wait_exit() == 0


def test_tools_learn_how_their_children_ended_though_the_parent_ignores_children() -> None:
    program = (*inherited("signal.signal(signal.SIGCHLD, signal.SIG_IGN)"), *PROGRAM)
    with worker_with_deeds(program=program) as worker:
        assert done(worker, "status_of_false") == 1


def test_a_broken_pipe_of_somebody_else_is_no_end(shared: Worker) -> None:
    serves(shared)
    shared.signal(signal.SIGPIPE)
    serves(shared)


# ---------------------------------------------------------------- forks

FORKED = {"return": 0, "raise": 1, "exit": 5}


@pytest.mark.parametrize("deed", FORKED)
@pytest.mark.parametrize("how", ["fork_and", "fork_later_and"])
def test_a_fork_goes_on_as_nobody(shared: Worker, how: str, deed: str) -> None:
    """The child comes back to where the worker's own code called the tool, and ends there; runs beside it go on.

    clause: STDIO-CHILDREN, LIFE-FORK
    fault: D42
    """
    before = set(shared.survivors())
    beside = shared.start_run(doing(shared, ("nap", {"seconds": 0.2}), ("add", {"x": 1, "y": 1})))
    assert done(shared, how, deed=deed) == FORKED[deed]
    assert succeeded(shared.terminal(beside))["result"] == "done"
    assert set(shared.survivors()) == before
    if deed == "return":
        shared.wait_for_log(lambda log: log["message"] == "the child did return")


def test_a_fork_that_waits_for_our_event_loop_has_none(shared: Worker) -> None:
    """clause: STDIO-CHILDREN"""
    assert done(shared, "fork_later_and", deed="wait") == 1
    serves(shared)


def test_a_signal_for_a_fork_is_not_for_the_worker() -> None:
    """At whatever moment it comes: a child that has only just been forked still looks like the worker.

    clause: LIFE-FORK
    fault: D42
    """
    with worker_with_deeds() as worker:
        deed: tuple[str, dict[str, Any]] = ("terminate_fork", {})
        runs = [worker.start_run(doing(worker, *[deed] * 5)) for _ in range(5)]
        for run in runs:
            answer = succeeded(worker.terminal(run))
            seen = [part.get("content") for message in answer["messages"] for part in message["parts"]]
            assert seen.count(-signal.SIGTERM) == 5
        serves(worker)
        worker.signal(signal.SIGTERM)
        assert worker.wait_for("goodbye")["reason"] == "signal"
        assert worker.wait_exit() == 0


def test_the_process_that_watches_holds_nothing_that_somebody_waits_for(shared: Worker) -> None:
    """clause: LIFE-CHILDREN, STDIO-CHILDREN"""
    serves(shared)
    (guardian,) = set(shared.survivors()) - {shared.pid}
    links = {os.readlink(f"/proc/{guardian}/fd/{name}") for name in os.listdir(f"/proc/{guardian}/fd")}
    assert links == {os.devnull}
    assert os.getsid(guardian) == guardian


# ---------------------------------------------------------------- a start that takes too long


def test_a_worker_whose_imports_do_not_end_answers_and_goes_when_the_input_ends(tmp_path: Path) -> None:
    """clause: LIFE-EOF, LIFE-GOODBYE, ENV-ONE-TERMINAL"""
    library = tmp_path / "pydantic_ai"
    library.mkdir()
    (library / "__init__.py").write_text("import threading\nthreading.Event().wait()\n")
    with Worker("--drain-timeout", "0", pythonpath=[tmp_path, REPOSITORY]) as worker:
        waiting = [
            worker.submit("create_agent", agent_id="a", model={"script": []}),
            worker.submit("run", agent_id="a", prompt="go"),
        ]
        succeeded(worker.ask("ping"))
        worker.close_stdin()
        failed(worker.terminal(waiting[0]), "ShuttingDown")
        failed(worker.terminal(waiting[1]), "Cancelled")
        assert worker.wait_for("goodbye")["reason"] == "eof"
        assert worker.wait_exit() == 0
