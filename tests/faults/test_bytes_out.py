"""Faults C: what tools print, raise and return, and a parent that reads badly, against real workers."""

import contextlib
import os
import resource
from collections.abc import Generator
from pathlib import Path

import pytest

from axon_port.wire.events import CUT, MAX_DETAILS_BYTES, MAX_MESSAGE_CHARACTERS
from axon_port.worker.logs import BURST, MAX_TRACEBACK_CHARACTERS, RATE_PER_SECOND
from tests.contract.scenarios import NEVER_MS, says, start_asking
from tests.kit import Worker, failed, succeeded, texts
from tests.kit.channels import Channel
from tests.kit.messages import tool_returns

from .scenes import MIB, faulty_worker, run_faulty, start_faulty, wait_until_held_back

RECORDS = int(os.environ.get("FAULTS_RECORDS", "100000"))
"""Logs of a flood. A million take minutes on a small machine: set the variable for those."""

OUT_S = 25.0
"""Less than the drain timeout, which is 30 s."""


# ---------------------------------------------------------------- stdout and stdin


ROADS_OUT = ("print", "sys.stdout.write", "os.write", "puts", "warnings", "console", "child", "module")


@pytest.mark.parametrize("nouse_stdio", [False, True], ids=["stdio", "3-and-4"])
def test_whatever_user_code_writes_to_stdout_is_a_log_and_no_frame_is_harmed(nouse_stdio: bool) -> None:
    """Any byte that is not ours breaks the kit's decoder.

    fault: C20
    """
    with faulty_worker(nouse_stdio=nouse_stdio) as worker:
        for tag, function in (("thread", "roads.take_all"), ("loop", "roads.take_all_on_the_loop")):
            succeeded(run_faulty(worker, function, tag=tag))
        for tag in ("import", "thread", "loop"):
            for road in ROADS_OUT:
                log = worker.wait_for_log(lambda log, text=f"{tag} by {road}": text in log["message"])
                logger = {"warnings": "py.warnings", "module": "root"}.get(road, "stdout")
                assert log["logger"] == logger
        assert worker.stray == b""


ROADS_IN = {"input": "end of file", "sys.stdin": "end of file", "os.read": "end of file", "child": "end of file"}


def test_whatever_user_code_reads_from_stdin_has_ended_and_no_frame_is_eaten() -> None:
    """fault: C21"""
    with faulty_worker() as worker:
        for road, seen in ROADS_IN.items():
            run = start_faulty(worker, "roads.read", road=road)
            pings = [worker.submit("ping") for _ in range(50)]
            assert tool_returns(succeeded(worker.terminal(run))["messages"])[0][1] == seen
            for ping in pings:
                succeeded(worker.terminal(ping))
        run = start_faulty(worker, "roads.read", road="breakpoint")
        pings = [worker.submit("ping") for _ in range(50)]
        assert "BdbQuit" in failed(worker.terminal(run), "ToolError")["message"]
        for ping in pings:
            succeeded(worker.terminal(ping))


# ---------------------------------------------------------------- errors

HOSTILE = ["surrogates", "long", "mute", "mute cause", "causes", "round", "group", "deep group", "arguments"]


@pytest.mark.parametrize("function", ["errors.throw", "errors.throw_on_the_loop"])
def test_a_hostile_error_is_one_error_frame_of_a_named_length(function: str) -> None:
    """fault: C23"""
    with faulty_worker("--log-level", "debug") as worker:
        canary, call = start_asking(worker)
        for kind in HOSTILE:
            error = failed(run_faulty(worker, function, kind=kind), "ToolError")
            message, _, cut = error["message"].partition(CUT)
            assert len(message) <= MAX_MESSAGE_CHARACTERS
            assert len(cut) < 50
            assert len(str(error.get("details", ""))) <= MAX_DETAILS_BYTES
        worker.answer(call, result=1)
        succeeded(worker.terminal(canary))
        for log in worker.logs:
            assert len(log["message"].partition(CUT)[0]) <= MAX_MESSAGE_CHARACTERS
            assert len(log.get("traceback", "")) <= MAX_TRACEBACK_CHARACTERS


# ---------------------------------------------------------------- pipes


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "nonblocking"])
def test_eight_threads_and_the_loop_interleave_nothing(blocking: bool) -> None:
    """fault: C26, C27"""
    pieces = ["x" * 700] * 300
    channel: Channel = "pipe" if blocking else "nonblocking"
    with faulty_worker(stdout=channel) as worker:
        noise = start_faulty(worker, "floods.eight_threads", each=200)
        agent = worker.agent([says("".join(pieces), chunks=pieces)])
        streams = [worker.start_stream(agent, messages="none") for _ in range(5)]
        pings = [worker.submit("ping") for _ in range(200)]
        for stream in streams:
            assert "".join(texts(worker.collect(stream))) == "".join(pieces)
        for ping in pings:
            succeeded(worker.terminal(ping))
        succeeded(worker.terminal(noise))

        def told() -> list[str]:
            return [log["message"] for log in worker.logs if log["logger"] in ("stdout", "faulty")]

        # The reader of a captured descriptor may be behind; each round is an answer from the worker.
        while len(told()) + succeeded(worker.ask("stats"))["result"]["logs_dropped"] < 8 * 200:
            pass
        for text in told():
            _name, number, rest = text.split(".")
            assert rest == "x" * (int(number) * 97 % 3000)


@contextlib.contextmanager
def stderr_that_is(state: str) -> Generator[Channel]:
    """A stderr that is closed, full or broken."""
    if state == "closed":
        yield "closed"
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while state == "full":
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    try:
        if state == "broken":
            os.close(reading)
        yield writing
    finally:
        os.close(writing)
        if state == "full":
            os.close(reading)


@pytest.mark.parametrize("state", ["closed", "full", "broken"])
def test_a_stderr_that_takes_nothing_stops_no_loop(state: str) -> None:
    """clause: STDIO-STDERR
    fault: C29
    """
    with stderr_that_is(state) as stderr, faulty_worker("--log-level", "debug", stderr=stderr) as worker:
        succeeded(run_faulty(worker, "floods.fill_stderr", size=200_000))
        assert succeeded(worker.run(worker.agent([says("on")])))["result"] == "on"


def test_what_is_written_to_a_stderr_that_is_read_arrives_there() -> None:
    """clause: STDIO-STDERR"""
    with faulty_worker() as worker:
        succeeded(run_faulty(worker, "floods.fill_stderr", size=1000))
        for letter in "xyzwvt":
            worker.wait_for_stderr(letter * 1000)
        worker.wait_for_stderr("in a thread")


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def computed_by_children() -> float:
    """What the children that have ended computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_where_only_the_reading_end_is_closed_nothing_storms_and_nothing_spins() -> None:
    """clause: LIFE-STDOUT
    fault: C28
    """
    pieces = ["x" * 1000] * 2000
    with faulty_worker() as worker:
        succeeded(worker.run(worker.agent([says("warm")])))
        started = cpu_seconds(worker.pid)
        agent = worker.agent([says("".join(pieces), chunks=pieces, chunk_delay_ms=1)])
        streams = [worker.start_stream(agent) for _ in range(20)]
        worker.start_run(worker.agent([says("never", delay_ms=NEVER_MS)]))
        start_asking(worker)
        for stream in streams:
            worker.wait_for("chunk", of=stream)
        before = computed_by_children()
        computed = cpu_seconds(worker.pid)
        worker.close_stdout()
        worker.wait_exit(OUT_S)
        assert worker.returncode == 0
        assert worker.survivors() == []
        # Its start is the measure: a loop that spins until it ends computes for longer, on any machine.
        assert computed_by_children() - before - computed < started
        assert worker.stderr == ""


# ---------------------------------------------------------------- logs


def reported(worker: Worker) -> int:
    """How many logs the worker has said that it dropped."""
    return sum(log["fields"]["dropped"] for log in worker.logs if log["logger"] == "axon_port.logs")


def test_of_a_flood_of_logs_so_many_arrive_and_the_rest_is_counted() -> None:
    """clause: LOG-DROPPED
    fault: C30
    """
    with faulty_worker(timeout=240) as worker:
        started = succeeded(worker.ask("ping"))["result"]["uptime_ms"]
        flood, answered = start_faulty(worker, "floods.log_many", count=RECORDS), 0
        while not any(frame.get("id") == flood and frame["type"] == "result" for frame in worker.frames[-100:]):
            # Replies are not held up: each of these is asked and answered while the flood goes on.
            succeeded(worker.ask("ping"))
            answered += 1
        succeeded(worker.terminal(flood))
        assert answered > 0
        figures = succeeded(worker.ask("stats"))["result"]
        seconds = (figures["uptime_ms"] - started) / 1000
        arrived = [log for log in worker.logs if log["message"].startswith("record ")]
        assert len(arrived) <= BURST + RATE_PER_SECOND * (seconds + 1)
        assert len(arrived) + figures["logs_dropped"] == RECORDS
        succeeded(run_faulty(worker, "floods.log_many", count=1))
        assert reported(worker) == figures["logs_dropped"] > 0


# ---------------------------------------------------------------- large results


def test_small_pings_go_between_large_results() -> None:
    """Of all the results that wait, one at a time goes before a ping: the order says so, and no clock.

    clause: OUT-MARKS
    fault: E47
    """
    with Worker(timeout=120) as worker:
        agent = worker.agent([says("x" * (16 * MIB))])
        worker.stop_reading()
        runs = [worker.start_run(agent, messages="none") for _ in range(16)]
        wait_until_held_back(worker)
        pings = [worker.submit("ping") for _ in range(100)]
        wait_until_held_back(worker)
        worker.resume_reading()
        for run in runs:
            assert len(succeeded(worker.terminal(run))["result"]) == 16 * MIB
        for ping in pings:
            succeeded(worker.terminal(ping))
        order = [frame["id"] for frame in worker.frames if frame.get("id") in (*runs, *pings)]
        assert sum(run in order[: order.index(pings[-1])] for run in runs) == 1
