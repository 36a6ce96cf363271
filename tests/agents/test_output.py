"""Structured output: what is sent to the model, what comes back, and how it grows."""

import copy
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.tools import ToolDefinition

from axon_port.agents.output import OUTPUT_TOOL, WRAP_KEY, PartialOutput, structured_output
from axon_port.agents.schemas import Schema

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}

ROOTS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "object", "required": ["a"]}, [{"a": 1}], [{}]),
    ({"type": "array", "items": {"type": "integer"}}, [[], [1]], [["x"], 5]),
    ({"type": "integer"}, [5], ["5"]),
    ({"type": "null"}, [None], [0]),
    (True, [None, 1, "x"], []),
    ({"anyOf": [{"type": "object"}, {"type": "string"}]}, [{}, "x"], [1]),
    ({"type": ["object", "null"]}, [{}, None], [1]),
    ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, [{}, {"next": {"next": {}}}], [1, {"next": 1}]),
    ({"type": "array", "items": {"$ref": "#"}}, [[], [[], [[]]]], [[1]]),
    ({"type": "array", "items": {"$ref": "#/$defs/a~1b"}, "$defs": {"a/b": {"type": "integer"}}}, [[1]], [["x"]]),
    ({"$anchor": "here", "type": "array", "items": {"$ref": "#here"}}, [[[]]], [[1]]),
    (
        {"$id": "http://127.0.0.1/s", "type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"const": 1}}},
        [[1]],
        [[2]],
    ),
    (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "items": [{"type": "null"}],
            "additionalItems": False,
            "type": "array",
        },
        [[None]],
        [[1], [None, 1]],
    ),
    ({"enum": ["#/$defs/x", {"$ref": "#/$defs/x"}]}, [{"$ref": "#/$defs/x"}], [{"$ref": "#"}]),
    (
        {
            "type": "array",
            "items": {
                "$id": "urn:pair",
                "properties": {"left": {"$ref": "#/$defs/n"}, "$id": {"$ref": "#/$defs/n"}},
                "$defs": {"n": {"type": "integer"}},
            },
            "minItems": 1,
        },
        [[{"left": 1, "$id": 2}]],
        [[], [{"left": "x"}], [{"$id": "x"}]],
    ),
    (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "array",
            "items": {"$id": "#item", "properties": {"n": {"$ref": "#/definitions/n"}}},
            "definitions": {"n": {"type": "integer"}},
        },
        [[{"n": 1}]],
        [[{"n": "x"}]],
    ),
    (
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "id": "http://127.0.0.1/s",
            "type": "array",
            "items": {"$ref": "#/definitions/n"},
            "definitions": {"n": {"type": "integer"}},
        },
        [[1]],
        [["x"]],
    ),
    (
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "$id": "http://127.0.0.1/s",
            "type": "array",
            "items": [
                {
                    "id": "urn:item",
                    "properties": {"n": {"$ref": "#/definitions/n"}},
                    "definitions": {"n": {"enum": [1]}},
                },
                {"id": "#item", "properties": {"id": {"$ref": "#/definitions/n"}}},
            ],
            "definitions": {"n": {"enum": [2]}},
        },
        [[{"n": 1}, {"id": 2}]],
        [[{"n": 2}], [{}, {"id": 1}]],
    ),
    ({"id": "a name", "type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"const": 1}}}, [[1]], [[2]]),
    ({"$id": "", "type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"const": 1}}}, [[1]], [[2]]),
    (
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "$recursiveAnchor": True,
            "type": "array",
            "items": {"maxItems": 1, "$recursiveRef": "#"},
        },
        [[], [[], [[]]]],
        [[1], [[[1]]], [[[], []]], [{"response": []}]],
    ),
    (
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "type": "array",
            "items": {"$id": "urn:node", "type": "object", "additionalProperties": {"$recursiveRef": "#"}},
        },
        [[{"a": {"b": {}}}]],
        [[{"a": []}], [{"a": {"b": 1}}]],
    ),
    ({"type": "array", "items": {"$recursiveRef": "#"}}, [[1]], [1]),
    (
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"default": {"$ref": "#/$defs/n"}, "enum": {"$ref": "#/$defs/n"}},
            },
            "$defs": {"n": {"type": "integer"}},
        },
        [[{"default": 1, "enum": 2}]],
        [[{"default": "x"}], [{"enum": "x"}]],
    ),
]

ids = repr


@pytest.mark.parametrize(("raw", "good", "bad"), ROOTS, ids=ids)
def test_the_schema_that_is_sent_says_what_the_parents_schema_says(raw: Any, good: list[Any], bad: list[Any]) -> None:
    """clause: OUT-SCHEMA, OUT-WRAPPED"""
    output = structured_output(Schema(raw), "tool")
    assert output.sent_schema["type"] == "object"
    sent = Schema(output.sent_schema)
    for value in good:
        assert sent.faults(output.wrapped(value)) == []
    for value in bad:
        assert sent.faults(output.wrapped(value))


@pytest.mark.parametrize(("raw", "good", "bad"), ROOTS, ids=ids)
def test_an_answer_is_checked_against_the_parents_schema(raw: Any, good: list[Any], bad: list[Any]) -> None:
    """clause: OUT-SCHEMA"""
    output = structured_output(Schema(raw), "tool")
    adapter: TypeAdapter[Any] = TypeAdapter(output.output_type.output)
    for value in good:
        assert adapter.validate_python(output.wrapped(value)) == value
    for value in bad:
        with pytest.raises(ValidationError):
            adapter.validate_python(output.wrapped(value))


@pytest.mark.parametrize(("raw", "_good", "_bad"), ROOTS, ids=ids)
def test_the_parents_schema_stays_as_it_was(raw: Any, _good: object, _bad: object) -> None:
    before = copy.deepcopy(raw)
    schema = Schema(raw)
    first = structured_output(schema, "tool").sent_schema
    assert raw == before
    assert structured_output(schema, "tool").sent_schema == first


def test_a_schema_with_both_a_name_and_a_dialect_stays_as_it_was() -> None:
    raw = {"$id": "urn:x", "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "array"}
    before = dict(raw)
    first = structured_output(Schema(raw), "tool").sent_schema
    assert raw == before
    assert structured_output(Schema(raw), "tool").sent_schema == first


def test_an_object_is_sent_as_it_is_and_anything_else_under_a_key() -> None:
    raw: dict[str, Any] = {"type": "object", "properties": {"a": {}}}
    assert structured_output(Schema(raw), "tool").sent_schema == raw
    assert structured_output(Schema(raw), "tool").wrap_key is None
    wrapped = structured_output(Schema({"type": "integer"}), "tool")
    assert wrapped.wrap_key == WRAP_KEY
    assert wrapped.wrapped(5) == {WRAP_KEY: 5}
    assert wrapped.sent_schema == {
        "type": "object",
        "properties": {WRAP_KEY: {"type": "integer"}},
        "required": [WRAP_KEY],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("mode", ["tool", "native", "prompted"])
def test_a_request_carries_the_parents_schema_in_place_of_a_placeholder(mode: Any) -> None:
    output = structured_output(Schema({"type": "object", "required": ["a"]}), mode)
    placeholder = {"type": "object"}
    parameters = ModelRequestParameters(
        output_tools=[ToolDefinition(name=OUTPUT_TOOL, parameters_json_schema=placeholder)],
        output_object=OutputObjectDefinition(json_schema=placeholder),
        function_tools=[ToolDefinition(name="other", parameters_json_schema=placeholder)],
    )
    refined = output.refine(parameters)
    assert refined.output_tools[0].parameters_json_schema == output.sent_schema
    assert refined.output_object is not None
    assert refined.output_object.json_schema == output.sent_schema
    assert refined.function_tools[0].parameters_json_schema == placeholder
    assert parameters.output_tools[0].parameters_json_schema == placeholder


def told(partial: PartialOutput, *pieces: str) -> list[Any]:
    """The values that are told while the pieces come."""
    values: list[Any] = []
    for piece in pieces:
        partial.add(piece)
        known, value = partial.value()
        if known:
            values.append(value)
    return values


def test_a_result_grows_and_each_state_is_json() -> None:
    values = told(PartialOutput(None), '{"ci', 'ty": "Pa', 'ris", "n": [1', ", 2]}")
    assert values[-1] == {"city": "Paris", "n": [1, 2]}
    assert {"city": "Pa"} in values


@pytest.mark.parametrize("fence", ["```json\n", "```\n", "Here it is:\n```json\r\n"])
def test_what_models_put_around_json_is_left_out(fence: str) -> None:
    """clause: STREAM-OUTPUT"""
    pieces = [fence[:2], fence[2:], '{"code": "', "a\\n```", 'b", "n"', ": [1", "]}", "\n``", "`", "\nIs that all?"]
    assert told(PartialOutput(None), *pieces)[-1] == {"code": "a\n```b", "n": [1]}


def test_a_number_is_told_when_it_is_whole() -> None:
    """The beginning of one is another one. clause: STREAM-OUTPUT"""
    pieces = ['{"price": 1', "29", ".95", ', "n": -', "1", "e", "2", "}"]
    assert told(PartialOutput(None), *pieces) == [{}, {"price": 129.95}, {"price": 129.95, "n": -100.0}]


def test_digits_in_a_text_are_told() -> None:
    values = told(PartialOutput(None), '{"text": "call ', "9", "11", ' now", "n": 1', "}")
    assert values[-2:] == [{"text": "call 911 now"}, {"text": "call 911 now", "n": 1}]


def test_a_state_that_says_nothing_new_is_not_told() -> None:
    """clause: STREAM-OUTPUT"""
    values = told(PartialOutput(None), '{"a": "x"', ",", " ", '"b": 1}')
    assert values == [{"a": "x"}, {"a": "x", "b": 1}]


def test_what_is_wrapped_is_told_unwrapped_and_only_once_it_is_there() -> None:
    """clause: OUT-WRAPPED"""
    assert told(PartialOutput(WRAP_KEY), "{", '"resp', 'onse"', ": [1", ", 2]}")[-1] == [1, 2]
    assert told(PartialOutput(WRAP_KEY), '{"other": 1}') == []
    assert told(PartialOutput(WRAP_KEY), "[1]") == []


@pytest.mark.parametrize("text", ["", "no json", "}", "NaN"])
def test_what_is_no_json_is_not_told(text: str) -> None:
    assert told(PartialOutput(None), text) == []
