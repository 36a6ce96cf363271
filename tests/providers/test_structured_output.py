"""Structured output in its three modes: what the service is told, and what the parent gets (PROTOCOL.md, OUT-*)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jsonschema_rs
import pytest

from tests.kit import Worker, failed, succeeded, texts
from tests.kit.providers import Interface, Provider
from tests.kit.providers.answers import make_answer

from . import asked
from .asked import OutputMode
from .scenes import LOOKUP, Kind, agent_on, chunks_of, end_of, lookup_calls

MODES: Sequence[OutputMode] = ("tool", "native", "prompted")

Json = Any

CITY: Json = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
OSLO: Json = {"city": "Oslo", "people": 709037}

TREE: Json = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"value": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["value", "kids"],
            "additionalProperties": False,
        }
    },
}

OBJECTS: dict[str, tuple[Json, Json]] = {
    "closed": (CITY, OSLO),
    "open": ({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}, {"city": "Oslo"}),
    "bounded": (
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 1, "pattern": "^[A-Z]", "description": "Its name."},
                "founded": {"type": "string", "format": "date"},
                "people": {"type": "integer", "minimum": 0},
            },
            "required": ["city"],
        },
        {"city": "Oslo", "founded": "1048-01-01"},
    ),
    "named": ({**CITY, "title": "Town", "description": "A town."}, OSLO),
    "several types": (
        {"type": "object", "properties": {"city": {"type": ["string", "null"]}}, "required": ["city"]},
        {"city": None},
    ),
    "choices": (
        {"type": "object", "properties": {"size": {"oneOf": [{"const": 1}, {"const": "big"}]}}, "required": ["size"]},
        {"size": "big"},
    ),
    "a map": ({"type": "object", "additionalProperties": {"type": "integer"}}, {"Oslo": 1, "Bergen": 2}),
    "recursive": (TREE, {"root": {"value": 1, "kids": [{"value": 2, "kids": []}]}}),
}

OTHERS: dict[str, tuple[Json, Json]] = {
    "array": ({"type": "array", "items": {"type": "string"}}, ["Oslo", "Bergen"]),
    "string": ({"type": "string", "enum": ["yes", "no"]}, "yes"),
    "number": ({"type": "number"}, 17.5),
    "integer": ({"type": "integer", "minimum": 1}, 17),
    "boolean": ({"type": "boolean"}, False),
    "null": ({"type": "null"}, None),
    "choice": ({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}, [1, 2]),
    "anything": (True, {"response": [1]}),
    "recursive array": (
        {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}},
        [[], [[]]],
    ),
    "self": ({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}}]}, [1, [2, [3]]]),
    "untyped object": ({"properties": {"city": {"type": "string"}}, "required": ["city"]}, {"city": "Oslo"}),
}

mode_of = pytest.mark.parametrize("mode", MODES)

free_modes = pytest.mark.parametrize("mode", ["tool", "prompted"])
"""Native mode is the service's own: each has a dialect, and some close every object."""


def agent_for(worker: Worker, server: Provider, schema: Json, mode: OutputMode, **fields: Any) -> str:
    """An agent whose result meets the schema."""
    return agent_on(worker, server, output_schema=schema, output_mode=mode, **fields)


# ---------------------------------------------------------------- what the service is told


def as_sent(schema: Json) -> Json:
    """A schema as every service is told it: the name and the description stand beside it, an object has properties."""
    plain: Json = {key: value for key, value in schema.items() if key not in ("title", "description")}
    return {"properties": {}, **plain}


@free_modes
def test_the_schema_of_an_object_is_sent_as_it_was_written(
    worker: Worker, server: Provider, interface: Interface, mode: OutputMode
) -> None:
    """clause: OUT-SCHEMA, OUT-MODES"""
    if interface == "google":
        # Its dialect has no `const` and other formats; the test below compares what the schemas take.
        return
    differently: dict[str, Json] = {}
    for name, (schema, value) in OBJECTS.items():
        server.respond(lambda _request, value=value: make_answer(output=value))
        answer = worker.run(agent_for(worker, server, schema, mode))
        if answer.get("result") != value:
            differently[name] = answer
        elif as_sent(sent := asked.output_schema(interface, server.requests[-1], mode)) != as_sent(schema):
            differently[name] = {"given": schema, "sent": sent}
    assert differently == {}


@free_modes
def test_a_schema_that_is_sent_takes_the_same_objects_as_the_parents(
    worker: Worker, server: Provider, interface: Interface, mode: OutputMode
) -> None:
    """clause: OUT-SCHEMA"""
    differently: dict[str, Json] = {}
    for name, (schema, value) in OBJECTS.items():
        server.respond(lambda _request, value=value: make_answer(output=value))
        answer = worker.run(agent_for(worker, server, schema, mode))
        if answer["type"] == "error":
            differently[name] = answer
            continue
        sent = asked.output_schema(interface, server.requests[-1], mode)
        own, told = jsonschema_rs.validator_for(schema), jsonschema_rs.validator_for(sent)
        for instance in (value, {**value, "more": 1}, {}, {"city": "oslo"}, {"city": ""}, {"size": 1}, {"root": 1}):
            if own.is_valid(instance) != told.is_valid(instance):
                differently[f"{name}: {instance}"] = sent
    assert differently == {}


@free_modes
def test_any_other_schema_is_sent_under_a_key_and_its_value_comes_back_without_it(
    worker: Worker, server: Provider, interface: Interface, mode: OutputMode
) -> None:
    """clause: OUT-WRAPPED, SCHEMA-REFERENCES"""
    wrong: dict[str, Json] = {}
    for name, (schema, value) in OTHERS.items():
        server.respond(lambda _request, value=value: make_answer(output={"response": value}))
        answer = worker.run(agent_for(worker, server, schema, mode))
        if answer.get("result", "no result") != value:
            wrong[name] = answer
            continue
        sent = asked.output_schema(interface, server.requests[-1], mode)
        if (sent["type"], list(sent["properties"]), sent["required"]) != ("object", ["response"], ["response"]):
            wrong[name] = sent
        if "$ref" not in str(schema) and sent["properties"]["response"] != schema:
            wrong[name] = sent
        own, told = jsonschema_rs.validator_for(schema), jsonschema_rs.validator_for(sent)
        for instance in (value, [value], "no such word", 0, -1.5, {"x": [value]}, None, True, [["x"]]):
            if told.is_valid({"response": instance}) != own.is_valid(instance):
                wrong[f"{name}: {instance}"] = sent
    assert wrong == {}


def test_in_native_mode_there_is_no_output_tool_and_in_prompted_mode_only_words(
    worker: Worker, server: Provider, interface: Interface
) -> None:
    """clause: OUT-MODES"""
    for mode in MODES:
        server.say(output=OSLO)
        succeeded(worker.run(agent_for(worker, server, CITY, mode)))
    by_tool, native, prompted = server.requests
    assert list(asked.tools(interface, by_tool)) == ["final_result"]
    assert asked.tools(interface, native) == asked.tools(interface, prompted) == {}
    assert "people" not in asked.system_text(interface, native)
    assert "people" in asked.system_text(interface, prompted)


# ---------------------------------------------------------------- what the parent gets


@mode_of
def test_a_result_grows_in_chunks(worker: Worker, server: Provider, mode: OutputMode) -> None:
    """clause: STREAM-OUTPUT"""
    server.say(output=OSLO)
    agent = agent_for(worker, server, CITY, mode)
    frames = worker.collect(worker.start_stream(agent, events=["text", "output", "tool_call", "tool_return"]))
    assert succeeded(frames[-1])["result"] == OSLO
    assert {kind for _, _, kind, _ in chunks_of(frames)} == {"output"}
    grown = texts(frames, "output")
    assert grown[-1] == OSLO
    assert all(earlier != later for earlier, later in pairwise(grown))
    assert all(set(state) <= set(OSLO) for state in grown)


@mode_of
def test_a_wrapped_result_grows_without_its_key(worker: Worker, server: Provider, mode: OutputMode) -> None:
    """clause: STREAM-OUTPUT, OUT-WRAPPED"""
    value = ["Oslo", "Bergen", "Trondheim"]
    server.say(output={"response": value})
    agent = agent_for(worker, server, {"type": "array", "items": {"type": "string"}}, mode)
    frames = worker.collect(worker.start_stream(agent, events=["output"]))
    assert succeeded(frames[-1])["result"] == value
    grown = texts(frames, "output")
    assert grown[-1] == value
    assert all(isinstance(state, list) for state in grown)


@mode_of
def test_tools_and_a_structured_result_go_together(
    worker: Worker, server: Provider, interface: Interface, kind: Kind, mode: OutputMode
) -> None:
    """clause: OUT-MODES, STREAM-LOOP"""
    server.say(tool_calls=lookup_calls("a"))
    server.say(output=OSLO)
    agent = agent_for(worker, server, CITY, mode, tools=[LOOKUP])
    run = worker.submit(kind, agent_id=agent, prompt="go")
    worker.answer(worker.wait_for("tool_call", of=run), result={"people": 709037})
    assert succeeded(worker.terminal(run))["result"] == OSLO
    assert [content for _, content in asked.tool_returns(interface, server.requests[1])] == [{"people": 709037}]


@mode_of
def test_an_answer_that_fails_goes_back_with_paths_and_reasons(
    worker: Worker, server: Provider, either: Kind, mode: OutputMode
) -> None:
    """clause: OUT-RETRIES"""
    server.say(output={"city": "Oslo", "people": "many"})
    server.say(output=OSLO)
    assert succeeded(end_of(worker, either, agent_for(worker, server, CITY, mode)))["result"] == OSLO
    first, second = (request.body.decode() for request in server.requests)
    # The schema speaks of both as well, so that the second request has to do it once more.
    assert second.count("people") > first.count("people") + 1
    assert second.count("integer") > first.count("integer")


@mode_of
def test_answers_that_fail_to_the_end_are_a_validation_error(
    worker: Worker, server: Provider, either: Kind, mode: OutputMode
) -> None:
    """clause: OUT-RETRIES"""
    server.say(output={"city": "Oslo", "people": "many"}, times=3)
    error = failed(end_of(worker, either, agent_for(worker, server, CITY, mode, result_retries=2)), "ValidationError")
    assert error["retryable"] is False
    assert [fault["loc"] for fault in error["details"]] == [["people"]]
    assert error["usage"]["requests"] == 3


def test_text_in_place_of_a_result_goes_back(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: OUT-TEXT"""
    server.say(text="Oslo, I think")
    server.say(output=OSLO)
    assert succeeded(end_of(worker, either, agent_for(worker, server, CITY, "tool")))["result"] == OSLO


@mode_of
def test_a_run_may_bring_its_own_schema(
    worker: Worker, server: Provider, interface: Interface, mode: OutputMode
) -> None:
    """clause: RUN-OVERRIDES"""
    server.say(output={"response": 4})
    agent = agent_for(worker, server, CITY, mode)
    assert succeeded(worker.run(agent, output_schema={"type": "integer"}))["result"] == 4
    sent = asked.output_schema(interface, server.requests[0], mode)
    assert sent["properties"] == {"response": {"type": "integer"}}


def test_a_schema_that_a_provider_has_no_form_for_is_the_agents_fault(server: Provider, worker: Worker) -> None:
    """Anthropic's own structured output knows no schema without a type; nothing is asked, and nothing tried again.

    clause: OUT-SCHEMA
    """
    if server.interface != "anthropic":
        return
    schema: Json = {"type": "object", "properties": {"city": {}}, "required": ["city"]}
    error = failed(worker.run(agent_for(worker, server, schema, "native")), "InvalidAgent")
    assert error["retryable"] is False
    assert server.requests == []
