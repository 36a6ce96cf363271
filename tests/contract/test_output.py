"""Section 4 and 11: structured output, in three modes, whole and in chunks."""

import itertools
from typing import Any

import pytest

from tests.kit import Frame, Worker, failed, succeeded, texts
from tests.kit.messages import parts

from .scenarios import calls, says, tool

MODES = ["tool", "native", "prompted"]
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "required": ["v"],
        }
    },
}
DRAFT_7 = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "array",
    "items": [{"$ref": "#/definitions/n"}, {"type": "string"}],
    "additionalItems": False,
    "definitions": {"n": {"type": "integer"}},
}

ROOTS: dict[str, tuple[Any, Any, Any]] = {
    "object": (POINT, {"x": 1, "y": 2}, {"y": 2}),
    "array": ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [1, 2, 3], ["a"]),
    "empty array": ({"type": "array"}, [], {}),
    "string": ({"type": "string", "minLength": 2}, "ja", "n"),
    "integer": ({"type": "integer"}, 7, 7.5),
    "great integer": ({"type": "integer"}, 2**53 + 1, "7"),
    "number": ({"type": "number"}, 1.5, "1.5"),
    "boolean": ({"type": "boolean"}, False, 0),
    "null": ({"type": "null"}, None, False),
    "enum": ({"enum": ["red", "green"]}, "green", "blue"),
    "union": ({"anyOf": [{"type": "integer"}, POINT]}, {"x": 1}, {"y": 1}),
    "several types": ({"type": ["string", "null"]}, None, 1),
    "recursive": (TREE, {"v": 1, "kids": [{"v": 2, "kids": []}]}, {"v": 1, "kids": [{}]}),
    "draft 7": (DRAFT_7, [1, "a"], ["a", 1]),
    "conditional": ({"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"b": 1}, {"a": 1}),
    "no dependants": (
        {"type": "object", "unevaluatedProperties": False, "properties": {"a": True}},
        {"a": 1},
        {"b": 1},
    ),
    "an envelope of our own": ({"type": "object", "required": ["response"]}, {"response": [1]}, {"respons": 1}),
}

over_roots = pytest.mark.parametrize(("schema", "right", "wrong"), ROOTS.values(), ids=ROOTS.keys())
over_modes = pytest.mark.parametrize("mode", MODES)
over_kinds = pytest.mark.parametrize("kind", ["run", "stream"])


@over_kinds
@over_modes
@over_roots
def test_a_structured_result_of_any_root_type_is_the_result(
    worker: Worker, schema: Any, right: Any, wrong: Any, mode: str, kind: str
) -> None:
    """clause: OUT-SCHEMA, OUT-MODES, OUT-WRAPPED, SCRIPT-OUTPUT"""
    agent = worker.agent([{"output": right}], output_schema=schema, output_mode=mode)
    answer = succeeded(worker.ask(kind, agent_id=agent, prompt="p"))
    assert answer["result"] == right
    assert type(answer["result"]) is type(right)
    assert answer["usage"]["requests"] == 1


@over_kinds
@over_modes
@over_roots
def test_a_result_that_fails_its_schema_goes_back_to_the_model(
    worker: Worker, schema: Any, right: Any, wrong: Any, mode: str, kind: str
) -> None:
    script = [{"output": wrong}, {"output": right}]
    agent = worker.agent(script, output_schema=schema, output_mode=mode, result_retries=1)
    answer = succeeded(worker.ask(kind, agent_id=agent, prompt="p"))
    assert answer["result"] == right
    assert answer["usage"]["requests"] == 2


@over_kinds
@over_modes
@over_roots
def test_a_result_that_goes_on_failing_is_a_validation_error(
    worker: Worker, schema: Any, right: Any, wrong: Any, mode: str, kind: str
) -> None:
    """clause: OUT-RETRIES"""
    agent = worker.agent([{"output": wrong}] * 5, output_schema=schema, output_mode=mode, result_retries=1)
    error = failed(worker.ask(kind, agent_id=agent, prompt="p"), "ValidationError")
    assert error["details"]
    assert error["usage"]["requests"] == 2
    assert error["agent_id"] == agent


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_the_output_has_a_budget_of_its_own(worker: Worker, budget: int) -> None:
    wrong, right = {"output": "wrong"}, {"output": {"x": 1}}
    fields = {"output_schema": POINT, "result_retries": budget, "retries": 0}
    succeeded(worker.run(worker.agent([wrong] * budget + [right], **fields)))
    error = failed(worker.run(worker.agent([wrong] * (budget + 1) + [right], **fields)), "ValidationError")
    assert error["usage"]["requests"] == budget + 1


def test_retries_of_the_output_are_counted_as_such() -> None:
    with Worker() as worker:
        agent = worker.agent([{"output": 1}, {"output": {"x": 1}}], output_schema=POINT, result_retries=1)
        succeeded(worker.run(agent))
        assert succeeded(worker.ask("stats"))["result"]["retries"] == {"model": 0, "tools": 0, "output": 1}


def test_a_validation_error_names_the_place(worker: Worker) -> None:
    agent = worker.agent([{"output": {"x": "one"}}], output_schema=POINT, result_retries=0)
    error = failed(worker.run(agent), "ValidationError")
    assert "x" in str(error["details"])


@over_modes
def test_text_where_a_structured_result_is_due_is_an_invalid_output(worker: Worker, mode: str) -> None:
    """clause: OUT-TEXT"""
    fields = {"output_schema": POINT, "output_mode": mode}
    agent = worker.agent([says("not now"), {"output": {"x": 1}}], result_retries=1, **fields)
    assert succeeded(worker.run(agent))["result"] == {"x": 1}
    agent = worker.agent([says("not now")] * 3, result_retries=1, **fields)
    failed(worker.run(agent), "ValidationError")


def test_result_type_is_another_name_of_output_schema(worker: Worker) -> None:
    agent = worker.agent([{"output": "one"}, {"output": {"x": 1}}], result_type=POINT, result_retries=1)
    assert succeeded(worker.run(agent))["result"] == {"x": 1}


def test_a_schema_that_allows_everything_is_one(worker: Worker) -> None:
    for value in ({"a": 1}, [1], "text", 1, None):
        assert succeeded(worker.run(worker.agent([{"output": value}], output_schema=True)))["result"] == value


@over_modes
def test_tools_may_be_called_before_the_result(worker: Worker, mode: str) -> None:
    script = [calls("lookup"), {"output": {"x": 5}}]
    run = worker.start_run(worker.agent(script, tools=[tool()], output_schema=POINT, output_mode=mode))
    worker.answer(worker.wait_for("tool_call", of=run), result=5)
    assert succeeded(worker.terminal(run))["result"] == {"x": 5}


@over_modes
def test_a_conversation_with_a_structured_result_can_be_gone_on_from(worker: Worker, mode: str) -> None:
    agent = worker.agent([{"output": {"x": 1}}], output_schema=POINT, output_mode=mode)
    history = succeeded(worker.run(agent))["messages"]
    answer = succeeded(worker.run(agent, "again", message_history=history, messages="all"))
    assert answer["result"] == {"x": 1}
    assert len(parts(answer["messages"], "user-prompt")) == 2


def test_without_a_schema_an_output_turn_is_no_fault_of_the_worker(worker: Worker) -> None:
    answer = worker.run(worker.agent([{"output": {"x": 1}}]))
    assert answer.get("error_type") != "InternalError"


# ---------------------------------------------------------------- chunks

LONG = {"x": 12345, "y": 67890}


def stream_output(worker: Worker, script: list[Frame], mode: str, **fields: Any) -> list[Frame]:
    """The frames of a stream that was asked for all kinds."""
    agent = worker.agent(script, **{"output_schema": POINT, "output_mode": mode, **fields})
    events = ["text", "thinking", "output", "tool_call", "tool_return"]
    return worker.collect(worker.start_stream(agent, events=events))


def grows(earlier: Any, later: Any) -> bool:
    """Whether a value may be an earlier state of another one."""
    match earlier, later:
        case {}, {}:
            return all(key in later and grows(value, later[key]) for key, value in earlier.items())
        case [*_], [*_]:
            return len(earlier) <= len(later) and all(map(grows, earlier, later))
        case str(), str():
            return later.startswith(earlier)
        case _:
            return earlier is None or type(earlier) is type(later)


@over_modes
def test_the_output_chunks_grow_into_the_result(worker: Worker, mode: str) -> None:
    frames = stream_output(worker, [{"output": LONG}], mode)
    seen = texts(frames, "output")
    assert seen[-1] == succeeded(frames[-1])["result"] == LONG
    assert all(grows(earlier, later) for earlier, later in itertools.pairwise(seen))


@over_modes
def test_the_structured_result_is_neither_text_nor_a_tool_call(worker: Worker, mode: str) -> None:
    """clause: STREAM-OUTPUT, STREAM-TOOLS"""
    frames = stream_output(worker, [{"output": LONG}], mode)
    assert {frame["kind"] for frame in frames[:-1]} == {"output"}


@over_modes
def test_after_a_failed_validation_the_output_begins_anew(worker: Worker, mode: str) -> None:
    """clause: STREAM-OUTPUT"""
    script: list[Frame] = [{"output": {"y": 1}}, {"output": LONG}]
    frames = stream_output(worker, script, mode, result_retries=1)
    assert succeeded(frames[-1])["result"] == LONG
    by_step = {step: [f["data"] for f in frames[:-1] if f["step"] == step and f["kind"] == "output"] for step in (1, 2)}
    assert by_step[2][-1] == LONG
    assert all("y" in value or value == {} for value in by_step[1])


@over_modes
@over_roots
def test_the_last_output_chunk_of_any_root_type_is_the_result(
    worker: Worker, schema: Any, right: Any, wrong: Any, mode: str
) -> None:
    frames = stream_output(worker, [{"output": right}], mode, output_schema=schema)
    assert succeeded(frames[-1])["result"] == right
    assert texts(frames, "output")[-1] == right


def test_output_chunks_cost_credit_and_are_joined(worker: Worker) -> None:
    agent = worker.agent([{"output": LONG}], output_schema=POINT)
    stream = worker.start_stream(agent, events=["output"], credit=0)
    succeeded(worker.run(worker.agent([says("another", delay_ms=200)])))
    worker.send({"type": "credit", "id": stream, "n": 1})
    first = worker.wait_for("chunk", of=stream)
    worker.send({"type": "credit", "id": stream, "n": 1000})
    frames = [first, *worker.collect(stream)]
    assert texts(frames, "output")[-1] == succeeded(frames[-1])["result"] == LONG
