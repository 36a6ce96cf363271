"""A collector that is down, slow or wrong, and a worker that goes on and ends all the same."""

from __future__ import annotations

import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.kit import REPOSITORY, Worker, succeeded
from tests.kit.messages import tool_returns

from .collector import Answers, Collector

SOON = {"OTEL_BSP_SCHEDULE_DELAY": "1", "OTEL_METRIC_EXPORT_INTERVAL": "5", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
LATE = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
"""At the end, or when it is asked for."""

RUNS = 300

SLOW_EXIT_S = 20.0
"""Less than the SDK's own patience, which is 30 s."""


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}"


def many_runs(worker: Worker, count: int = RUNS) -> None:
    agent = worker.agent([{"text": "hello"}])
    runs = [worker.start_run(agent, messages="none") for _ in range(count)]
    for run in runs:
        succeeded(worker.terminal(run))


def assert_few_logs(worker: Worker) -> None:
    """Each thing is said once, however often it happened."""
    said = Counter((log["logger"], log["message"].split(",")[0][:40]) for log in worker.logs if log["level"] != "debug")
    assert said
    assert max(said.values()) <= 2, said
    assert len(said) <= 12, said


@pytest.mark.parametrize("answers", ["hangs", "500", "503", "garbage"])
def test_a_collector_that_is_wrong_hinders_no_run_and_no_end(answers: Answers) -> None:
    """clause: OTEL-FAULTS, OTEL-END"""
    with Collector(answers) as collector:
        with Worker(env=collector.environment(**SOON)) as worker:
            many_runs(worker)
            collector.wait(lambda: collector.bodies, "an export")
            worker.close_stdin()
            assert worker.wait_exit(SLOW_EXIT_S) == 0
        assert_few_logs(worker)


def test_a_collector_that_is_down_hinders_no_run_and_no_end() -> None:
    """clause: OTEL-FAULTS, OTEL-END"""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": closed_port(), "NO_PROXY": "*", **SOON}
    with Worker(env=env) as worker:
        many_runs(worker)
        worker.wait_for_log(lambda log: log["logger"].startswith("opentelemetry."))
        worker.close_stdin()
        assert worker.wait_exit(SLOW_EXIT_S) == 0
    assert_few_logs(worker)


def test_a_collector_that_comes_back_is_told_what_follows() -> None:
    """clause: OTEL-FAULTS"""
    with Collector("500") as collector, Worker(env=collector.environment(**SOON)) as worker:
        many_runs(worker, 20)
        collector.wait(lambda: collector.bodies, "an export")
        collector.answers = "well"
        last = worker.start_run(worker.agent([{"text": "hello"}]))
        succeeded(worker.terminal(last))
        collector.wait_for_span("run", axon_port__command__id=last)


@pytest.mark.parametrize("how", ["shutdown", "signal", "eof"])
def test_at_every_orderly_end_what_is_left_is_exported(how: str) -> None:
    """clause: OTEL-END"""
    with Collector() as collector:
        with Worker(env=collector.environment(**LATE)) as worker:
            lookup = {"name": "lookup", "parameters": {"type": "object"}}
            agent = worker.agent([{"tool_calls": [{"name": "lookup"}]}, {"text": "done"}], tools=[lookup])
            run = worker.start_run(agent)
            call = worker.wait_for("tool_call", of=run)
            match how:
                case "shutdown":
                    worker.submit("shutdown")
                    worker.answer(call, result=1)
                case "signal":
                    worker.signal(signal.SIGTERM)
                    worker.answer(call, result=1)
                case _:
                    worker.close_stdin()
            assert worker.wait_exit() == 0
            assert worker.frames[-1]["type"] == "goodbye"
        root = collector.wait_for_span("run", axon_port__command__id=run)
        assert root.attributes.get("error.type") == (None if how != "eof" else "ParentGone")
        collector.wait(lambda: collector.points.get("axon_port.runs"), "the last figures")


def test_the_end_of_a_drain_is_not_put_off() -> None:
    """clause: OTEL-END"""
    with Collector("hangs") as collector:
        with Worker("--drain-timeout", "0.5", env=collector.environment(**SOON)) as worker:
            run = worker.start_run(worker.agent([{"text": "late", "delay_ms": 3_600_000}]))
            many_runs(worker, 20)
            worker.close_stdin()
            # 70 would say that the watchdog had to end it.
            assert worker.wait_exit() == 0
        assert worker.terminal(run)["error_type"] == "Cancelled"


def test_a_reader_that_is_gone_is_not_made_to_wait() -> None:
    """clause: OTEL-END"""
    with Collector("hangs") as collector, Worker(env=collector.environment(**SOON), at_exit="kill") as worker:
        many_runs(worker, 20)
        worker.close_stdout()
        assert worker.wait_exit(SLOW_EXIT_S) == 0


FORKING = """
import os
from opentelemetry import metrics, trace
def fork():
    with trace.get_tracer("shop").start_as_current_span("before"):
        child = os.fork()
        if child == 0:
            with trace.get_tracer("shop").start_as_current_span("in the child"):
                pass
            metrics.get_meter("shop").create_counter("shop.in_the_child").add(1)
            providers = trace.get_tracer_provider(), metrics.get_meter_provider()
            os._exit(0 if all([provider.force_flush() for provider in providers]) else 1)
        return os.waitpid(child, 0)[1]
"""


def test_a_forked_child_exports_nothing(tmp_path: Path) -> None:
    """clause: OTEL-FAULTS"""
    (tmp_path / "forking.py").write_text(FORKING)
    # No export of the parent is under way when it forks: its locks would stay locked in the child.
    with Collector() as collector:
        with Worker(
            "--allow-import", "forking", env=collector.environment(**LATE), pythonpath=[tmp_path, REPOSITORY]
        ) as worker:
            tool = {"name": "fork", "handler": {"python": "forking:fork"}}
            agent = worker.agent([{"tool_calls": [{"name": "fork"}]}, {"text": "done"}], tools=[tool])
            ((_, status, _),) = tool_returns(succeeded(worker.run(agent))["messages"])
            assert status == 0
        names = [span.name for span in collector.spans]
        assert names.count("before") == 1
        assert "in the child" not in names
        assert "shop.in_the_child" not in collector.points
        assert {resource["process.pid"] for resource in collector.resources} == {worker.pid}
