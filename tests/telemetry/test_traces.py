"""What a run looks like to a collector: its spans, who is whose child, and how they end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.kit import Worker, failed, succeeded

from .collector import ERROR, NO_PARENT, Collector, Span

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"
NEVER_MS = 3_600_000

LOOKING = [{"tool_calls": [{"name": "lookup", "args": {"q": "x"}}]}, {"text": "done"}]
LOOKUP = {"name": "lookup", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}


def root_of(collector: Collector, name: str, command: Any) -> Span:
    """The span of a run, and with it those beneath, which ended before."""
    return collector.wait_for_span(name, axon_port__command__id=command)


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in spans]


def test_a_run_is_one_trace_from_its_arrival_to_its_answer(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-RUN"""
    agent = worker.agent([{"text": "hello"}])
    answer = succeeded(worker.run(agent))
    root = root_of(collector, "run", answer["id"])
    queue, invoked, written = collector.children(root)
    assert root.parent == NO_PARENT
    assert names([root, queue, invoked, written]) == [f"run {agent}", "queue", f"invoke_agent {agent}", "write"]
    assert names(collector.children(invoked)) == ["chat script"]
    assert {span.trace for span in (queue, invoked, written)} == {root.trace}
    assert root.start == queue.start <= queue.end <= invoked.start <= invoked.end <= written.start <= written.end
    assert written.end <= root.end
    told = root.attributes
    assert told["gen_ai.agent.name"] == agent
    assert told["gen_ai.agent.call.id"] == answer["run_id"]
    assert told["axon_port.model"] == "script"
    assert told["axon_port.outcome"] == "complete"
    assert {name: told[f"axon_port.usage.{name}"] for name in answer["usage"]} == answer["usage"]
    assert root.status != ERROR
    assert {root.scope, queue.scope, written.scope} == {"axon-port"}
    assert invoked.scope == "pydantic-ai"


def test_a_traceparent_is_the_parent(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-RUN, RUN-TRACE"""
    run = worker.start_run(worker.agent([{"text": "hello"}]), traceparent=TRACEPARENT)
    succeeded(worker.terminal(run))
    root = root_of(collector, "run", run)
    assert (root.trace, root.parent) == (TRACE, PARENT)


def test_what_is_no_traceparent_begins_a_trace(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-RUN, RUN-TRACE"""
    run = worker.start_run(worker.agent([{"text": "hello"}]), traceparent="00-none")
    succeeded(worker.terminal(run))
    assert root_of(collector, "run", run).parent == NO_PARENT


def test_what_the_parent_does_not_sample_is_not_exported(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-RUN"""
    agent = worker.agent(LOOKING, tools=[LOOKUP])
    run = worker.start_run(agent, traceparent=UNSAMPLED)
    call = worker.wait_for("tool_call", of=run)
    assert call["traceparent"].endswith("-00")
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))
    later = worker.start_run(worker.agent([{"text": "hello"}]))
    succeeded(worker.terminal(later))
    root_of(collector, "run", later)
    assert [span for span in collector.spans if span.trace == "a" * 32] == []


def test_the_parent_at_work_on_a_call_is_a_span_that_it_can_join(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-CALL, EVT-TOOL-CALL"""
    run = worker.start_run(worker.agent(LOOKING, tools=[LOOKUP]))
    call = worker.wait_for("tool_call", of=run)
    worker.answer(call, result={"hits": 1})
    succeeded(worker.terminal(run))
    root = root_of(collector, "run", run)
    spans = collector.trace(root.trace)
    waited = spans["tool_call lookup"]
    assert call["traceparent"].startswith(f"00-{root.trace}-{waited.id}-")
    assert waited.parent == spans["execute_tool lookup"].id
    assert waited.attributes == {
        "gen_ai.tool.name": "lookup",
        "axon_port.call_id": call["call_id"],
        "axon_port.answer": "result",
    }
    assert [event.name for event in waited.events] == ["axon_port.sent"]


@pytest.mark.parametrize(
    ("answer", "said", "error"),
    [
        ({"retry": "once more"}, "retry", None),
        ({"failed": "out of stock"}, "failed", None),
        ({"error": "no database"}, "error", "ToolError"),
    ],
)
def test_an_answer_is_told_by_its_kind(
    collector: Collector, worker: Worker, answer: dict[str, Any], said: str, error: str | None
) -> None:
    """clause: OTEL-CALL"""
    run = worker.start_run(worker.agent(LOOKING, tools=[LOOKUP]))
    call = worker.wait_for("tool_call", of=run)
    worker.answer(call, **answer)
    worker.terminal(run)
    span = collector.wait_for_span("tool_call lookup", axon_port__call_id=call["call_id"])
    assert span.attributes["axon_port.answer"] == said
    assert span.attributes.get("error.type") == error
    assert (span.status == ERROR) == (error is not None)


def test_a_call_that_takes_too_long_is_an_error_of_its_span(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-CALL"""
    run = worker.start_run(worker.agent(LOOKING, tools=[{**LOOKUP, "timeout_ms": 1}]))
    call = worker.wait_for("tool_call", of=run)
    worker.terminal(run)
    span = collector.wait_for_span("tool_call lookup", axon_port__call_id=call["call_id"])
    assert (span.attributes["error.type"], span.status) == ("timeout", ERROR)


def test_a_person_s_decision_is_a_span(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-CALL"""
    run = worker.start_run(worker.agent(LOOKING, tools=[{**LOOKUP, "requires_approval": True}]))
    request = worker.wait_for("approval_request", of=run)
    worker.decide(request, approved=False)
    succeeded(worker.terminal(run))
    span = collector.wait_for_span("approval_request lookup", axon_port__call_id=request["call_id"])
    assert span.attributes["axon_port.answer"] == "denied"
    assert "traceparent" not in request


def test_a_stream_says_what_held_it_back(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-WRITE"""
    run = worker.start_stream(worker.agent([{"chunks": ["Roses ", "are ", "red"]}]), credit=1)
    first = worker.wait_for("chunk", of=run)
    assert worker.ask("ping")["type"] == "result"
    worker.send({"type": "credit", "id": run, "n": 10})
    chunks = [first, *worker.collect(run)[:-1]]
    told = root_of(collector, "stream", run).attributes
    assert told["axon_port.chunks"] == len(chunks)
    assert told["axon_port.chunk_bytes"] > len("Roses are red")
    assert told["axon_port.credit_wait"] > 0
    assert told["axon_port.room_wait"] == 0


def test_ten_thousand_chunks_are_no_more_spans_than_one(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-WRITE"""
    run = worker.start_stream(worker.agent([{"chunks": ["word "] * 10_000}]), messages="none")
    chunks = worker.collect(run)[:-1]
    root = root_of(collector, "stream", run)
    assert root.attributes["axon_port.chunks"] == len(chunks)
    assert len([span for span in collector.spans if span.trace == root.trace]) == 5


def test_a_run_that_fails_says_how(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-ERROR"""
    agent = worker.agent([{"error": {"status": 400, "message": "what the provider said"}}])
    failed(worker.run(agent), "ModelHTTPError")
    root = collector.wait_for_span("run", gen_ai__agent__name=agent)
    assert root.attributes["error.type"] == "ModelHTTPError"
    assert root.attributes["axon_port.outcome"] == "error"
    assert (root.status, root.described) == (ERROR, "")
    assert collector.trace(root.trace)["chat script"].status == ERROR
    assert b"what the provider said" not in collector.everything()


def test_attempts_at_a_model_are_events_of_its_request(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-RUN"""
    script = [{"error": {"status": 503, "message": "busy"}}, {"text": "well"}]
    agent = worker.agent(script, retry={"attempts": 2, "base_ms": 1})
    succeeded(worker.run(agent))
    root = collector.wait_for_span("run", gen_ai__agent__name=agent)
    chat = collector.trace(root.trace)["chat script"]
    assert [event.name for event in chat.events] == ["axon_port.model_retry"]


def test_a_run_that_is_cancelled_has_its_whole_trace(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-ERROR"""
    run = worker.start_run(worker.agent(LOOKING, tools=[LOOKUP]))
    call = worker.wait_for("tool_call", of=run)
    succeeded(worker.ask("cancel", target=run))
    failed(worker.terminal(run), "Cancelled")
    root = root_of(collector, "run", run)
    assert (root.attributes["error.type"], root.status) == ("Cancelled", ERROR)
    span = collector.wait_for_span("tool_call lookup", axon_port__call_id=call["call_id"])
    assert (span.trace, span.attributes["axon_port.answer"]) == (root.trace, "none")


def test_a_run_that_never_had_its_turn_has_waited(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-ERROR, OTEL-RUN"""
    agent = worker.agent([{"text": "late", "delay_ms": NEVER_MS}], max_concurrency=1)
    first, second = worker.start_run(agent), worker.start_run(agent)
    # Through the loop, unlike a ping: both have arrived.
    assert worker.ask("stats")["result"]["runs"]["inflight"] == 2
    for run in (second, first):
        worker.ask("cancel", target=run)
        failed(worker.terminal(run), "Cancelled")
    root = root_of(collector, "run", second)
    (queue,) = collector.children(root)
    assert queue.name == "queue"
    assert root.start == queue.start < queue.end <= root.end


def test_what_a_function_traces_by_itself_joins(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-TOOLS"""
    tool = {"name": "traced", "handler": {"python": "shop:traced"}}
    run = worker.start_run(
        worker.agent([{"tool_calls": [{"name": "traced", "args": {"text": "x"}}]}, {"text": "done"}], tools=[tool])
    )
    succeeded(worker.terminal(run))
    spans = collector.trace(root_of(collector, "run", run).trace)
    assert spans["look into the shop"].parent == spans["execute_tool traced"].id


@pytest.mark.parametrize(
    ("module", "invoked", "chats"),
    [("plain", 1, 1), ("told", 1, 1), ("capable", 1, 1), ("wrapped", 1, 1), ("off", 0, 0)],
)
def test_an_agent_that_brings_an_instrumentation_is_instrumented_once(
    collector: Collector, worker: Worker, module: str, invoked: int, chats: int
) -> None:
    """clause: OTEL-TOOLS"""
    run = worker.start_run(worker.agent(module=f"shop:{module}"))
    succeeded(worker.terminal(run))
    root = root_of(collector, "run", run)
    counted = Counter(span.name.split()[0] for span in collector.spans if span.trace == root.trace)
    assert (counted["invoke_agent"], counted["chat"]) == (invoked, chats)


def test_an_instrumentation_among_the_capabilities_is_the_only_one(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-TOOLS"""
    run = worker.start_run(worker.agent([{"text": "hello"}], capabilities=[{"Instrumentation": {}}]))
    succeeded(worker.terminal(run))
    root = root_of(collector, "run", run)
    counted = Counter(span.name.split()[0] for span in collector.spans if span.trace == root.trace)
    assert (counted["invoke_agent"], counted["chat"]) == (1, 1)


def test_a_hundred_runs_at_once_are_a_hundred_whole_traces(collector: Collector, worker: Worker) -> None:
    """clause: OTEL-RUN, OTEL-CALL"""
    agent = worker.agent(LOOKING, tools=[LOOKUP])
    runs = [worker.start_run(agent, messages="none") for _ in range(100)]
    calls = [worker.wait_for("tool_call", of=run) for run in runs]
    for call in reversed(calls):
        worker.answer(call, result=1)
    for run in runs:
        succeeded(worker.terminal(run))
    roots = [root_of(collector, "run", run) for run in runs]
    assert len({root.trace for root in roots}) == 100
    whole = sorted(
        [
            f"run {agent}",
            "queue",
            f"invoke_agent {agent}",
            "execute_tool lookup",
            "tool_call lookup",
            "chat script",
            "chat script",
            "write",
        ]
    )
    for root, call in zip(roots, calls, strict=True):
        spans = [span for span in collector.spans if span.trace == root.trace]
        assert sorted(names(spans)) == whole
        ids = {span.id for span in spans}
        assert [span for span in spans if span.parent not in ids] == [root]
        assert call["traceparent"].split("-")[1] == root.trace
