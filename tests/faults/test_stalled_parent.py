"""Fault C25: a parent that stops reading under full load, and goes on."""

import os
import time
from typing import Any

from tests.contract.scenarios import calls, says, tool
from tests.kit import Frame, Worker, succeeded, texts
from tests.kit.processes import forget_peak, resident_bytes

from .scenes import MIB, faulty_agent, faulty_worker, wait_until_held_back

STALL_S = float(os.environ.get("FAULTS_STALL_S", "0"))
"""How long the parent goes on not reading once everything waits for it. A minute of it is run by hand."""

STREAMS, RUNS, ASKING, FLOODS = 30, 60, 5, 2
LOGS = 5000
PINGS = 2500
RESULT = "r" * (2 * MIB)
PIECES = [f"{number:07d}," + "x" * 992 for number in range(200)]
CALLS = 100

ALLOWED_BYTES = RUNS * len(RESULT) + 80 * MIB
"""A run that may not leave holds its result. Encoded all at once, each would take twice its length besides."""


class Load:
    """Streams, large results, tool calls, pings and logs, all at once; sent while nobody reads."""

    def __init__(self, worker: Worker) -> None:
        streaming = worker.agent([says("".join(PIECES), chunks=PIECES)])
        resulting = worker.agent([says(RESULT)])
        asking = worker.agent([calls(*(("lookup", {"n": n}) for n in range(CALLS))), says("done")], tools=[tool()])
        flooding = faulty_agent(worker, "floods.log_many", count=LOGS)
        forget_peak(worker.pid)
        self.before = resident_bytes(worker.pid)
        self.worker = worker
        worker.stop_reading()
        self.floods = [worker.start_run(flooding) for _ in range(FLOODS)]
        self.streams = [worker.start_stream(streaming, messages="none") for _ in range(STREAMS)]
        self.runs = [worker.start_run(resulting) for _ in range(RUNS)]
        self.asking = [worker.start_run(asking, messages="none") for _ in range(ASKING)]
        # More than a pipe holds: the worker must go on reading.
        self.pings = [worker.submit("ping") for _ in range(PINGS)]

    def grown(self, *, peak: bool = False) -> int:
        """The bytes that the process holds, or held at most, beyond those before the load."""
        return resident_bytes(self.worker.pid, peak=peak) - self.before

    def finish(self) -> None:
        """Reads on; everything has to come, in its order."""
        worker = self.worker
        worker.resume_reading()
        for run in self.asking:
            asked = list[int]()
            for _ in range(CALLS):
                call = worker.wait_for("tool_call", of=run)
                asked.append(call["args"]["n"])
                worker.answer(call, result=1)
            assert asked == list(range(CALLS))
            assert succeeded(worker.terminal(run))["result"] == "done"
        for run in self.runs:
            assert succeeded(worker.terminal(run))["result"] == RESULT
        for stream in self.streams:
            chunks = texts(worker.collect(stream))
            assert "".join(chunks) == "".join(PIECES)
        for ping in self.pings:
            succeeded(worker.terminal(ping))
        for flood in self.floods:
            succeeded(worker.terminal(flood))


def records(worker: Worker, flood: Any) -> list[Frame]:
    """The records of one flood that came, in their order."""
    return [
        log
        for log in worker.logs
        if log["logger"] == "faulty" and flood in (log.get("id"), log.get("fields", {}).get("run_id"))
    ]


def test_a_parent_that_stops_reading_under_full_load_loses_nothing() -> None:
    """clause: OUT-MARKS, IN-READER, LOG-DROPPED
    fault: C25
    """
    with faulty_worker(timeout=120 + STALL_S) as worker:
        load = Load(worker)
        wait_until_held_back(worker)
        assert load.grown() < ALLOWED_BYTES
        time.sleep(STALL_S)
        assert load.grown() < ALLOWED_BYTES
        load.finish()
        # Those that waited were not let out all at once either.
        assert load.grown(peak=True) < ALLOWED_BYTES
        figures = succeeded(worker.ask("stats"))["result"]
        arrived = [records(worker, flood) for flood in load.floods]
        for logs in arrived:
            numbers = [int(log["message"].split()[1]) for log in logs]
            assert numbers == sorted(numbers)
        assert sum(map(len, arrived)) + figures["logs_dropped"] == FLOODS * LOGS
        chunks = sum(frame["type"] == "chunk" for frame in worker.frames)
        assert chunks < STREAMS * len(PIECES)


def test_a_parent_that_stops_and_goes_on_again_and_again_loses_nothing() -> None:
    """fault: C25"""
    with Worker(timeout=120) as worker:
        agent = worker.agent([says("".join(PIECES * 5), chunks=PIECES * 5)])
        streams = [worker.start_stream(agent, messages="none") for _ in range(20)]
        for number in range(5):
            worker.stop_reading()
            wait_until_held_back(worker)
            seen = len(worker.frames)
            worker.resume_reading()
            worker.submit("ping", id=f"ping {number}")
            succeeded(worker.terminal(f"ping {number}"))
            assert len(worker.frames) > seen
        for stream in streams:
            assert "".join(texts(worker.collect(stream))) == "".join(PIECES * 5)
