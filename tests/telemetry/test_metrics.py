"""The worker's figures as metrics."""

from __future__ import annotations

import re

from tests.kit import REPOSITORY, Worker, failed, succeeded

from .collector import Collector

PROTOCOL = (REPOSITORY / "axon_port" / "wire" / "PROTOCOL.md").read_text("utf-8")


def test_what_happened_is_counted(collector: Collector) -> None:
    """clause: OTEL-METRICS"""
    with Collector() as own, Worker(env=own.environment()) as worker:
        lookup = {"name": "lookup", "parameters": {"type": "object"}}
        agent = worker.agent([{"tool_calls": [{"name": "lookup"}]}, {"text": "done"}], tools=[lookup])
        waiting = worker.start_run(agent)
        call = worker.wait_for("tool_call", of=waiting)
        own.wait_for_value("axon_port.runs.inflight", 1)
        worker.answer(call, result=1)
        usage = succeeded(worker.terminal(waiting))["usage"]
        failed(worker.run(worker.agent([{"error": {"status": 400, "message": "no"}}])), "ModelHTTPError")
        cancelled = worker.start_run(agent)
        worker.wait_for("tool_call", of=cancelled)
        worker.ask("cancel", target=cancelled)
        failed(worker.terminal(cancelled), "Cancelled")
        own.wait_for_value("axon_port.runs", 1, axon_port__outcome="succeeded")
        own.wait_for_value("axon_port.runs", 1, axon_port__outcome="failed", error__type="ModelHTTPError")
        own.wait_for_value("axon_port.runs", 1, axon_port__outcome="cancelled", error__type="Cancelled")
        own.wait_for_value("axon_port.runs.inflight", 0)
        own.wait_for_value("axon_port.run.duration", 1, axon_port__outcome="complete", axon_port__command="run")
        own.wait_for_value("axon_port.run.duration", 1, error__type="ModelHTTPError")
        own.wait_for_value("axon_port.tool.calls", 2)
        own.wait_for_value("axon_port.commands", 2, axon_port__command="create_agent")
        own.wait(lambda: own.points.get("gen_ai.client.token.usage"), "pydantic-ai's own")
        own.wait(
            lambda: sum(point.value for point in own.points.get("axon_port.tokens", [])) > usage["total_tokens"],
            "tokens",
        )
        stats = succeeded(worker.ask("stats"))["result"]
        own.wait(
            lambda: any(
                point.attributes["axon_port.direction"] == "in" and point.value >= stats["frames"]["in"]
                for point in own.points["axon_port.frames"]
            ),
            "the frames that came in",
        )
        assert all(point.value > 0 for point in own.points["process.memory.usage"])
        listed = set(re.findall(r"^\| `((?:axon_port|process)\.[a-z_.]+)` \|", PROTOCOL, re.MULTILINE))
        assert listed == {name for name in own.points if name.startswith(("axon_port.", "process."))}


def test_the_last_figures_are_exported_at_the_end() -> None:
    """clause: OTEL-METRICS, OTEL-END"""
    with Collector() as own:
        with Worker(
            env=own.environment(OTEL_METRIC_EXPORT_INTERVAL="3600000", OTEL_BSP_SCHEDULE_DELAY="3600000")
        ) as worker:
            succeeded(worker.run(worker.agent([{"text": "hello"}])))
        own.wait_for_value("axon_port.runs", 1, axon_port__outcome="succeeded")
        assert own.wait_for_span("run").attributes["axon_port.outcome"] == "complete"


def test_a_signal_can_be_had_alone() -> None:
    """clause: OTEL-ON, OTEL-METRICS"""
    with Collector() as own:
        with Worker(env=own.environment(OTEL_TRACES_EXPORTER="none")) as worker:
            lookup = {"name": "lookup", "parameters": {"type": "object"}}
            agent = worker.agent([{"tool_calls": [{"name": "lookup"}]}, {"text": "done"}], tools=[lookup])
            run = worker.start_run(agent)
            call = worker.wait_for("tool_call", of=run)
            assert "traceparent" not in call
            worker.answer(call, result=1)
            succeeded(worker.terminal(run))
        own.wait_for_value("axon_port.run.duration", 1)
        own.wait(lambda: own.points.get("gen_ai.client.token.usage"), "pydantic-ai's own")
        assert own.spans == []
