"""Finalizers that log, run by the collector wherever something is made: nobody waits for a lock that his thread has."""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from axon_port.wire.events import result_frame
from axon_port.worker.exchanges import Exchange, Exchanges
from axon_port.worker.logs import FrameHandler, LogSink, RunTag, current_run
from axon_port.worker.outbox import Outbox
from axon_port.worker.recorder import Recorder
from axon_port.worker.redaction import Redactor

from .rig import SECONDS, pipe

SWEEP = range(1, 120)
"""Thresholds of the collector: with one of them or other it comes at each place where something is made."""

_finalizers = logging.getLogger("tests.finalizers")


class Unclosed:
    """Garbage for the collector only, that logs on its way out."""

    def __init__(self, closed: list[None]) -> None:
        self.itself = self
        self.closed = closed

    def __del__(self) -> None:
        _finalizers.warning("unclosed")
        self.closed.append(None)


class Office:
    """What frames leave by, without a loop."""

    def __init__(self, fd: int, recorder: Recorder | None) -> None:
        redactor = Redactor({})
        self.exchanges = Exchanges(Outbox(fd, lambda: None, lambda: None, recorder), redactor, 2**20)
        self.handler = FrameHandler(LogSink(self.exchanges, redactor, "debug"))

    def serve(self, number: int) -> None:
        """A run, pings and logs, with garbage about."""
        run = self.exchanges.claim(f"run {number}", "run")
        assert isinstance(run, Exchange)
        token = current_run.set(RunTag(run, "a"))
        with self.exchanges.outbox.gathered():
            self.exchanges.answer([f"ping {number}.{n}" for n in range(3)], {"status": "ok"})
        _finalizers.info("at work")
        run.send(json.dumps({"type": "chunk", "id": run.id}).encode())
        run.settle(result_frame(run.id, "done"))
        current_run.reset(token)

    def sweep(self) -> None:
        closed: list[None] = []
        for number in SWEEP:
            gc.collect()
            Unclosed(closed)
            gc.set_threshold(number, 1000, 1000)
            self.serve(number)
        gc.set_threshold(0)
        # A collection does nothing while another thread's is under way, and that of the one who reads may be.
        until = time.monotonic() + SECONDS / 2
        while len(closed) < len(SWEEP) and time.monotonic() < until:
            gc.collect()
            time.sleep(0.001)
        self.exchanges.say({"type": "goodbye", "reason": "shutdown"})


@pytest.fixture(autouse=True)
def thresholds() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    before = gc.get_threshold()
    # So that each of many collections looks at little.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.fixture
def recorder(request: pytest.FixtureRequest, tmp_path: Path) -> Recorder | None:
    if not request.param:
        return None
    recorder = Recorder(tmp_path / "record", Redactor({}), {})
    recorder.start(lambda error: pytest.fail(str(error)))
    return recorder


@pytest.mark.parametrize("recorder", [False, True], ids=["plain", "recorded"], indirect=True)
def test_a_finalizer_that_logs_holds_up_nothing_and_is_heard(recorder: Recorder | None) -> None:
    """clause: OUT-WRITER, ENV-ONE-TERMINAL"""
    frames: list[dict[str, Any]] = []
    with pipe() as ends:
        office = Office(ends.write_fd, recorder)
        _finalizers.propagate = False
        _finalizers.setLevel(logging.DEBUG)
        _finalizers.addHandler(office.handler)
        try:
            # A daemon: if it waits for itself, the test fails and goes on.
            thread = threading.Thread(target=office.sweep, daemon=True)
            thread.start()
            while not frames or frames[-1]["type"] != "goodbye":
                frames.append(json.loads(ends.read_payload()))
            thread.join(SECONDS)
        finally:
            _finalizers.removeHandler(office.handler)
            office.exchanges.outbox.break_off()
            if recorder is not None:
                recorder.close(SECONDS)
    assert sum(frame.get("message") == "unclosed" for frame in frames) == len(SWEEP)
    for number in SWEEP:
        mine = [frame["type"] for frame in frames if frame.get("id") == f"run {number}"]
        assert [kind for kind in mine if kind != "log"] == ["chunk", "result"]
        assert mine[-1] == "result"
    assert sum(str(frame.get("id")).startswith("ping") for frame in frames) == 3 * len(SWEEP)
