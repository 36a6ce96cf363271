"""The scripted model: the same every time, whole or streamed."""

from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from axon_port.agents import script
from axon_port.agents.lines import NoAnswer
from axon_port.agents.output import OUTPUT_TOOL, structured_output
from axon_port.agents.schemas import Schema
from axon_port.agents.script import ScriptedModel
from axon_port.wire.commands import Turn

from .stand_ins import run_async

ASKED = [ModelRequest.user_text_prompt("Hello?")]
PLAIN = ModelRequestParameters()
OUTPUT = ModelRequestParameters(
    output_mode="tool",
    output_tools=[ToolDefinition(name=OUTPUT_TOOL, parameters_json_schema={"type": "object"})],
    allow_text_output=False,
)


def scripted(*turns: dict[str, Any], output: Any = None) -> ScriptedModel:
    return ScriptedModel([Turn.model_validate(turn) for turn in turns], output)


def whole(model: ScriptedModel, parameters: ModelRequestParameters = PLAIN) -> ModelResponse:
    return run_async(lambda: model.request(list(ASKED), None, parameters))


def streamed(model: ScriptedModel, parameters: ModelRequestParameters = PLAIN) -> tuple[ModelResponse, int]:
    """The whole of a streamed answer, and in how many events it came."""

    async def main() -> tuple[ModelResponse, int]:
        async with model.request_stream(list(ASKED), None, parameters) as stream:
            events = [event async for event in stream]
            return stream.get(), len(events)

    return run_async(main)


def parts(response: ModelResponse) -> list[Any]:
    found: list[Any] = []
    for part in response.parts:
        match part:
            case TextPart(content=content):
                found.append(content)
            case ThinkingPart(content=content):
                found.append(("thinking", content))
            case ToolCallPart():
                found.append((part.tool_name, "{broken" if part.args == "{broken" else part.args_as_dict()))
            case _:
                raise AssertionError(part)
    return found


TURNS: list[tuple[dict[str, Any], list[Any]]] = [
    ({"text": "hello"}, ["hello"]),
    ({"text": ""}, [""]),
    ({"chunks": ["a", "b", "c"]}, ["abc"]),
    ({"text": "ab", "chunks": ["a", "b"]}, ["ab"]),
    ({"thinking": "hm", "text": "so"}, [("thinking", "hm"), "so"]),
    ({"tool_calls": [{"name": "t", "args": {"a": 1}}, {"name": "u"}]}, [("t", {"a": 1}), ("u", {})]),
    ({"text": "wait", "tool_calls": [{"name": "t", "args": {}}]}, ["wait", ("t", {})]),
    ({"tool_calls": [{"name": "t", "args": "{broken"}]}, [("t", "{broken")]),
    ({"output": [1, 2]}, ["[1,2]"]),
]


@pytest.mark.parametrize(("turn", "expected"), TURNS, ids=repr)
def test_a_turn_says_the_same_whole_and_streamed(turn: dict[str, Any], expected: list[Any]) -> None:
    assert parts(whole(scripted(turn))) == expected
    response, _ = streamed(scripted(turn))
    assert [part for part in parts(response) if part != ""] == [part for part in expected if part != ""]


def test_each_request_takes_the_next_turn() -> None:
    """clause: SCRIPT-TURNS"""
    model = scripted({"text": "one"}, {"text": "two"})
    assert parts(whole(model)) == ["one"]
    assert parts(streamed(model)[0]) == ["two"]


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_a_script_that_runs_out_says_so(turns: int) -> None:
    """clause: SCRIPT-END"""
    model = scripted(*[{"text": "x"}] * turns)
    for _ in range(turns):
        whole(model)
    for ask in (whole, streamed):
        with pytest.raises(NoAnswer, match="no further turn"):
            ask(model)


@pytest.mark.parametrize("ask", [whole, streamed])
def test_an_error_is_a_providers_and_comes_before_the_text(ask: Any) -> None:
    """clause: SCRIPT-ERROR"""
    turn = {"text": "never", "error": {"status": 429, "message": "slow down", "retry_after_ms": 1500}}
    with pytest.raises(ModelHTTPError) as caught:
        ask(scripted(turn, {"text": "next"}))
    error = caught.value
    assert (error.status_code, error.model_name, error.retry_after) == (429, "script", 1.5)
    assert error.body == {"error": {"message": "slow down"}}


def test_an_error_without_a_time_to_come_back_has_none() -> None:
    with pytest.raises(ModelHTTPError) as caught:
        whole(scripted({"error": {"status": 500}}))
    assert caught.value.retry_after is None


def test_a_text_is_streamed_in_the_chunks_it_was_given() -> None:
    """clause: SCRIPT-CHUNKS"""

    async def main() -> list[str]:
        async with scripted({"chunks": ["Hel", "lo", "!"]}).request_stream(list(ASKED), None, PLAIN) as stream:
            found: list[str] = []
            async for event in stream:
                text = getattr(getattr(event, "part", None), "content", None) or getattr(
                    getattr(event, "delta", None), "content_delta", None
                )
                if text and getattr(event, "event_kind", "") != "part_end":
                    found.append(text)
            return found

    assert run_async(main)[:3] == ["Hel", "lo", "!"]


@pytest.mark.parametrize(
    ("turn", "pauses"),
    [
        ({"text": "x", "delay_ms": 250}, [0.25]),
        ({"chunks": ["a", "b", "c"], "chunk_delay_ms": 100}, [0.1, 0.1]),
        ({"chunks": ["a", "b"], "chunk_delay_ms": 100, "delay_ms": 50}, [0.05, 0.1]),
        ({"text": "x"}, []),
    ],
)
def test_delays_are_kept_before_the_answer_and_between_its_chunks(
    turn: dict[str, Any], pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(script.anyio, "sleep", sleep)
    streamed(scripted(turn))
    assert slept == pauses


def test_usage_is_counted_the_same_way_every_time() -> None:
    """clause: SCRIPT-USAGE"""
    turn = {"thinking": "hm" * 10, "text": "x" * 40, "tool_calls": [{"name": "t", "args": {"a": 1}}]}
    usage = whole(scripted(turn)).usage
    assert usage.input_tokens > 0
    assert usage.output_tokens == 5 + 10 + 2
    assert streamed(scripted(turn))[0].usage == usage


def test_an_answer_says_why_it_ended() -> None:
    def streamed_whole(model: ScriptedModel) -> ModelResponse:
        return streamed(model)[0]

    for ask in (whole, streamed_whole):
        assert ask(scripted({"text": "x"})).finish_reason == "stop"
        assert ask(scripted({"tool_calls": [{"name": "t"}]})).finish_reason == "tool_call"


@pytest.mark.parametrize(
    ("raw", "value", "args"),
    [
        ({"type": "object"}, {"a": 1}, {"a": 1}),
        ({"type": "array"}, [1], {"response": [1]}),
        (True, None, {"response": None}),
    ],
)
def test_a_result_is_given_as_the_run_asks_for_it(raw: Any, value: Any, args: Any) -> None:
    """clause: SCRIPT-OUTPUT"""
    output = structured_output(Schema(raw), "tool")
    assert parts(whole(scripted({"output": value}, output=output), OUTPUT)) == [(OUTPUT_TOOL, args)]
    response, events = streamed(scripted({"output": value}, output=output), OUTPUT)
    assert parts(response) == [(OUTPUT_TOOL, args)]
    assert events > 1
    native = structured_output(Schema(raw), "native")
    (text,) = parts(whole(scripted({"output": value}, output=native)))
    assert native.wrapped(value) == args
    assert text.startswith("{")


def test_a_long_result_is_streamed_in_a_few_pieces() -> None:
    output = structured_output(Schema({"type": "object"}), "tool")
    _, events = streamed(scripted({"output": {"text": "x" * 10_000}}, output=output), OUTPUT)
    assert 2 <= events <= 12


def test_a_script_is_named_everywhere_the_same() -> None:
    model = scripted({"text": "x"})
    response = whole(model)
    assert (model.model_name, model.system, response.model_name, response.provider_name) == ("script",) * 4


def test_an_agent_that_wraps_its_result_itself_is_answered_in_its_wrapping() -> None:
    """An agent written in Python, whose output is no object."""
    agent: Agent[None, list[int]] = Agent(scripted({"output": [1, 2]}), output_type=list[int])
    assert run_async(lambda: agent.run("go")).output == [1, 2]
