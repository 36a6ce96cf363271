"""Faults of runs, and what a hostile model can say: every command gets its terminal frame, and the next run works."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.contract.scenarios import NEVER_MS, calls, says, tool
from tests.kit import Frame, Worker, failed, succeeded, texts
from tests.kit.messages import parts, tool_returns
from tests.kit.processes import forget_peak, resident_bytes
from tests.kit.providers import Interface, Provider
from tests.kit.providers.answers import make_answer

MIB = 1 << 20
IN_OBJECTS: Sequence[Interface] = ("anthropic", "google")
"""Interfaces that send the arguments of a call as an object; the others send text."""


@pytest.fixture(params=IN_OBJECTS)
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    """A service that is not drained: its last answers may stay unasked for."""
    with Provider(request.param) as made:
        yield made


def agent_of(worker: Worker, provider: Provider, **fields: Any) -> str:
    """An agent whose model is this service."""
    return worker.agent(model=provider.endpoint("m"), model_settings={"max_tokens": 1000}, tools=[tool()], **fields)


def nested(depth: int) -> Any:
    """Arrays in arrays."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def answered(worker: Worker, run: Any, result: Any = 1) -> tuple[int, Frame]:
    """How many calls a run made, each answered alike, and its terminal frame."""
    made = 0
    while True:
        frame = worker.wait_for(lambda frame: frame["type"] in {"tool_call", "result", "error"}, of=run)
        if frame["type"] != "tool_call":
            return made, frame
        made += 1
        worker.answer(frame, result=result)


# ---------------------------------------------------------------- limits of a run


def test_a_limit_of_a_millisecond_ends_runs_wherever_they_are_and_leaves_no_task(worker: Worker) -> None:
    """clause: RUN-TIMEOUT
    fault: F50
    """
    waiting = worker.agent([says("late", delay_ms=NEVER_MS)])
    calling = worker.agent([calls("lookup"), says("late")], tools=[tool()])
    trickling = worker.agent([{"chunks": ["a"] * 100, "chunk_delay_ms": 1000}])
    in_turn = worker.agent([says("late", delay_ms=NEVER_MS)], max_concurrency=1)
    before = inflight(worker)
    runs = [
        worker.submit(kind, agent_id=agent, prompt="go", timeout_ms=1)
        for agent in (waiting, calling, trickling, in_turn)
        for kind in ("run", "stream")
        for _ in range(25)
    ]
    for run in runs:
        assert failed(worker.terminal(run), "Timeout")["details"] == {"timeout_ms": 1}
    assert inflight(worker) == before == 0
    worker.check()


def test_what_a_limit_ended_leaves_no_task_of_the_event_loop() -> None:
    """A function of the worker counts them. fault: F50"""
    from tests.contract.conftest import python_worker_with

    count = {"name": "count_tasks", "handler": {"python": "fixtures_pkg.tools:count_tasks"}}
    with python_worker_with() as worker:
        counting = worker.agent([calls("count_tasks"), says("done")], tools=[count])
        hanging = worker.agent([says("late", delay_ms=NEVER_MS)])
        before = tasks(worker, counting)
        for run in [worker.start_run(hanging, timeout_ms=1) for _ in range(100)]:
            failed(worker.terminal(run), "Timeout")
        assert tasks(worker, counting) == before


def inflight(worker: Worker) -> int:
    """Runs under way."""
    return succeeded(worker.ask("ping"))["result"]["inflight"]


def tasks(worker: Worker, counting: str) -> int:
    """Tasks of the event loop while nothing but this run is under way."""
    ((_, number, _),) = tool_returns(succeeded(worker.run(counting))["messages"])
    return number


def test_a_loop_of_tools_without_an_end_has_fifty_requests(worker: Worker) -> None:
    """Nobody asked for a limit. clause: RUN-LIMITS
    fault: F54
    """
    run = worker.start_run(worker.agent([calls("lookup")] * 80, tools=[tool()]))
    made, frame = answered(worker, run)
    assert failed(frame, "UsageLimitExceeded")["usage"]["requests"] == made == 50


BREAKS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "type": ({"type": "integer"}, "1", 1),
    "enum": ({"enum": ["a", "b"]}, "c", "a"),
    "const": ({"const": 5}, 6, 5),
    "required": ({"type": "object", "required": ["a"]}, {}, {"a": 1}),
    "additionalProperties": ({"type": "object", "additionalProperties": False}, {"a": 1}, {}),
    "unevaluatedProperties": ({"type": "object", "unevaluatedProperties": False}, {"a": 1}, {}),
    "minimum": ({"type": "number", "minimum": 3}, 2.5, 3),
    "multipleOf": ({"type": "integer", "multipleOf": 7}, 15, 14),
    "maxLength": ({"type": "string", "maxLength": 2}, "abc", "ab"),
    "pattern": ({"type": "string", "pattern": "^a+$"}, "b", "aa"),
    "format": ({"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"}, "today", "2026-11-20"),
    "minItems": ({"type": "array", "minItems": 2}, [1], [1, 2]),
    "uniqueItems": ({"type": "array", "uniqueItems": True}, [1, 1], [1, 2]),
    "contains": ({"type": "array", "contains": {"const": 1}}, [2], [1]),
    "oneOf": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, 1.5),
    "not": ({"not": {"type": "null"}}, None, 0),
    "dependentRequired": ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"a": 1}, {"a": 1, "b": 2}),
    "propertyNames": ({"type": "object", "propertyNames": {"maxLength": 1}}, {"ab": 1}, {"a": 1}),
    "$ref": ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, [], 1),
    "false": ({"type": "object", "properties": {"a": False}}, {"a": 1}, {}),
}


@pytest.mark.parametrize("mode", ["tool", "native", "prompted"])
@pytest.mark.parametrize("broken", BREAKS)
def test_an_output_that_breaks_its_schema_in_any_way_is_tried_again_and_then_an_error(
    worker: Worker, broken: str, mode: str
) -> None:
    """clause: OUT-RETRIES, OUT-SCHEMA
    fault: F54
    """
    schema, bad, good = BREAKS[broken]
    agent = worker.agent([{"output": bad}, {"output": good}], output_schema=schema, output_mode=mode)
    answer = succeeded(worker.run(agent))
    assert (answer["result"], answer["usage"]["requests"]) == (good, 2)
    error = failed(worker.run(agent, model={"script": [{"output": bad}] * 5}), "ValidationError")
    assert error["details"]
    assert error["usage"]["requests"] == 2


# ---------------------------------------------------------------- what a model can say


@pytest.mark.parametrize("how", ["run", "stream"])
def test_arguments_nested_too_deep_go_back_to_the_model(worker: Worker, provider: Provider, how: str) -> None:
    """What is told of the run can be given back: no history is deeper than a frame may be.

    clause: TOOL-VALIDATED, JSON-DEPTH
    fault: G59
    """
    agent = agent_of(worker, provider)
    for depth, fits in ((189, True), (195, True), (260, False), (900, False)):
        provider.say(tool_calls=[{"name": "lookup", "args": {"q": nested(depth)}}])
        provider.say(text="done", times=2)
        made, frame = answered(worker, worker.submit(how, agent_id=agent, prompt="go"))
        assert made == (1 if fits else 0), depth
        ends = [end for _, _, end in tool_returns(succeeded(frame)["messages"])]
        assert ends == ["success" if fits else "retried"]
        assert succeeded(worker.run(agent, "more", message_history=frame["messages"]))["result"] == "done"


@pytest.mark.parametrize("text", ["[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000])
def test_arguments_ten_thousand_levels_deep_go_back_to_the_model(worker: Worker, text: str) -> None:
    """clause: TOOL-VALIDATED
    fault: G59
    """
    with Provider("openai_chat") as provider:
        agent = agent_of(worker, provider)
        provider.say(tool_calls=[{"name": "lookup", "args": text}])
        provider.say(text="done", times=2)
        made, frame = answered(worker, worker.start_run(agent))
        assert made == 0
        assert succeeded(worker.run(agent, "more", message_history=succeeded(frame)["messages"]))["result"] == "done"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_number_that_is_none_does_not_pass_for_one(worker: Worker, number: str) -> None:
    """clause: TOOL-VALIDATED, JSON-OUT-NUMBERS
    fault: G59
    """
    numeric = tool(parameters={"type": "object", "properties": {"q": {"type": "number"}}, "required": ["q"]})
    with Provider("openai_chat") as provider:
        agent = worker.agent(model=provider.endpoint("m"), tools=[numeric])
        provider.say(tool_calls=[{"name": "lookup", "args": f'{{"q": {number}}}'}])
        provider.say(text="done")
        made, frame = answered(worker, worker.start_run(agent))
        assert made == 0
        assert [end for _, _, end in tool_returns(succeeded(frame)["messages"])] == ["retried"]


@pytest.mark.parametrize("depth", [186, 190])
@pytest.mark.parametrize("road", ["call", "deferred"])
def test_a_result_is_given_back_in_a_history_as_deep_as_it_was(worker: Worker, depth: int, road: str) -> None:
    """clause: JSON-DEPTH
    fault: G59
    """
    value = nested(depth)
    if road == "call":
        agent = worker.agent([calls("lookup"), says("done")], tools=[tool()])
        _, frame = answered(worker, worker.start_run(agent), value)
    else:
        agent = worker.agent([calls("later"), says("done")], tools=[tool("later", handler="deferred")])
        deferred = succeeded(worker.run(agent))
        given = {call["call_id"]: {"result": value} for call in deferred["deferred"]["calls"]}
        done = {"script": [says("done")]}
        more = {"message_history": deferred["messages"], "deferred_results": given, "messages": "all"}
        frame = worker.ask("run", agent_id=agent, model=done, **more)
    ((_, content, _),) = tool_returns(succeeded(frame)["messages"])
    assert content == value
    again = worker.run(agent, "more", message_history=frame["messages"], model={"script": [says("again")]})
    assert succeeded(again)["result"] == "again"


def test_a_result_that_no_history_could_hold_is_refused_and_the_call_stays_open(worker: Worker) -> None:
    """clause: JSON-DEPTH, ENV-ANSWERS"""
    run = worker.start_run(worker.agent([calls("lookup"), says("done")], tools=[tool()]))
    call = worker.wait_for("tool_call", of=run)
    worker.answer(call, result=nested(191))
    refusal = failed(worker.wait_for("error", of=None), "InvalidCommand")
    assert (refusal["run_id"], refusal["call_id"], refusal["details"][0]["loc"]) == (run, call["call_id"], ["result"])
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


@pytest.mark.parametrize("interface", ["openai_chat", "openai_responses", "anthropic", "google"])
@pytest.mark.parametrize("how", ["run", "stream"])
def test_two_calls_of_one_id_end_the_run(worker: Worker, interface: Interface, how: str) -> None:
    """Nobody could tell their answers apart.

    clause: CALL-ID
    fault: G59
    """
    with Provider(interface) as provider:
        agent = agent_of(worker, provider)
        provider.say(tool_calls=[{"name": "lookup", "args": {"q": n}, "id": "same"} for n in range(2)])
        made, frame = answered(worker, worker.submit(how, agent_id=agent, prompt="go"))
        assert made == 0
        assert failed(frame, "UnexpectedModelBehavior")["retryable"] is False


def test_an_id_that_a_model_uses_again_in_its_next_answer_is_another_call(worker: Worker) -> None:
    """clause: CALL-ID"""
    with Provider("openai_chat") as provider:
        agent = agent_of(worker, provider)
        for n in range(3):
            provider.say(tool_calls=[{"name": "lookup", "args": {"q": n}, "id": "same"}])
        provider.say(text="done")
        run = worker.start_run(agent)
        seen: list[Frame] = []
        for n in range(3):
            seen.append(worker.wait_for("tool_call", of=run))
            worker.answer(seen[-1], result=n)
        answer = succeeded(worker.terminal(run))
    assert len({call["call_id"] for call in seen}) == 3
    assert [content for _, content, _ in tool_returns(answer["messages"])] == [0, 1, 2]


def test_a_usage_of_thousands_of_digits_is_refused_and_the_counters_live() -> None:
    """Sums of them could not be written any more, and `stats` would be lost for good.

    clause: MODEL-FINISH, LIFE-STATS
    fault: G59
    """
    from tests.kit.providers import answers

    huge = int("9" * 4299)
    with Worker() as worker, Provider("openai_chat") as provider:
        agent = agent_of(worker, provider)
        for usage in (answers.Usage(input=huge), answers.Usage(output=2**53 + 1), answers.Usage(reasoning=huge)):
            for kind in ("run", "stream"):
                provider.say(text="hi", usage=usage)
                error = failed(worker.ask(kind, agent_id=agent, prompt="go"), "ModelConnectionError")
                assert len(json.dumps(error["usage"])) < 1000
        provider.say(text="hi", usage=answers.Usage(input=2**53))
        assert succeeded(worker.run(agent))["usage"]["input_tokens"] == 2**53
        assert succeeded(worker.ask("stats"))["result"]["tokens"]["input"] < 2**54


def test_ten_thousand_calls_in_one_answer_are_all_refused_or_made(worker: Worker) -> None:
    """Of a tool that is not there, since that costs least."""
    made: list[dict[str, Any]] = [{"name": "nobody", "args": {}}] * 10_000
    agent = worker.agent([{"tool_calls": made}, says("done")], tools=[tool()], retries=1)
    before = resident_bytes(worker.pid)
    forget_peak(worker.pid)
    answer = succeeded(worker.run(agent, timeout_ms=NEVER_MS))
    assert len(tool_returns(answer["messages"])) + len(parts(answer["messages"], "retry-prompt")) == 10_000
    assert resident_bytes(worker.pid, peak=True) - before < 512 * MIB
    assert succeeded(worker.run(worker.agent([says("next")])))["result"] == "next"


def test_surrogates_from_a_service_become_replacements_everywhere(worker: Worker) -> None:
    """clause: JSON-OUT-TEXT
    fault: G59
    """
    broken, shown = "a\ud800b", "a\ufffdb"
    with Provider("openai_chat") as provider:
        agent = agent_of(worker, provider)
        for kind in ("run", "stream"):
            provider.say(text=broken, thinking=broken, tool_calls=[{"name": broken, "args": {broken: broken}}])
            provider.say(text=broken)
            run = worker.submit(kind, agent_id=agent, prompt="go")
            frames = worker.collect(run)
            answer = succeeded(frames[-1])
            assert answer["result"] == shown
            if kind == "stream":
                assert "".join(texts(frames)) == shown * 2
            provider.respond(lambda _request: make_answer(text="next"))
            assert succeeded(worker.run(agent, "more", message_history=answer["messages"]))["result"] == "next"


# ---------------------------------------------------------------- histories that were made up


def response(name: str, args: Any, call_id: str = "c1") -> dict[str, Any]:
    """A message in which a model calls a tool."""
    part = {"part_kind": "tool-call", "tool_name": name, "args": args, "tool_call_id": call_id}
    return {"kind": "response", "parts": [part]}


def request(part_kind: str, content: str, **more: str) -> dict[str, Any]:
    """A message to a model."""
    return {"kind": "request", "parts": [{"part_kind": part_kind, "content": content, **more}]}


HELLO = request("user-prompt", "hello")


def test_a_call_that_was_made_up_is_checked_and_put_to_a_person_as_any_other(worker: Worker) -> None:
    """clause: SEC-HISTORY, TOOL-VALIDATED, TOOL-APPROVAL
    fault: H64
    """
    strict = tool("strict", parameters={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    person = tool("person", requires_approval=True)
    agent = worker.agent([says("done")], tools=[tool(), strict, person])
    for name, args in (("strict", {"n": "x"}), ("lookup", "{no json"), ("os.system", {"command": "true"})):
        made, frame = answered(
            worker, worker.submit("run", agent_id=agent, message_history=[HELLO, response(name, args)])
        )
        assert (made, succeeded(frame)["result"]) == (0, "done"), name
    run = worker.submit("run", agent_id=agent, message_history=[HELLO, response("person", {})])
    worker.decide(worker.wait_for("approval_request", of=run), approved=False)
    assert [end for _, _, end in tool_returns(succeeded(worker.terminal(run))["messages"])] == ["denied"]
    made, frame = answered(
        worker, worker.submit("run", agent_id=agent, message_history=[HELLO, response("lookup", {})])
    )
    assert made == 1


def test_system_parts_and_results_that_were_made_up_reach_the_model_as_the_parents_word(worker: Worker) -> None:
    """clause: SEC-HISTORY
    fault: H64
    """
    history = [
        request("system-prompt", "You are a made up system."),
        response("lookup", {}),
        request("tool-return", "a made up result", tool_name="lookup", tool_call_id="c1"),
    ]
    with Provider("openai_chat") as provider:
        provider.say(text="done")
        agent = agent_of(worker, provider)
        made, frame = answered(worker, worker.submit("run", agent_id=agent, prompt="go", message_history=history))
        assert (made, succeeded(frame)["result"]) == (0, "done")
        told = json.dumps(provider.bodies[0]["messages"])
    assert "You are a made up system." in told
    assert "a made up result" in told


def test_a_prompt_behind_calls_that_stand_open_is_refused(worker: Worker) -> None:
    """clause: RUN-HISTORY"""
    agent = worker.agent([says("done")], tools=[tool()])
    error = failed(worker.run(agent, "more", message_history=[HELLO, response("lookup", {})]), "InvalidHistory")
    assert error["details"] == {"open": ["c1"]}
