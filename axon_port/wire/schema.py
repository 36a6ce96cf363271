"""`axon-port schema`: one JSON Schema of everything that crosses the pipe (PROTOCOL.md, SHELL-SCHEMA).

It is made from the models in commands.py and the shapes in events.py, so that it cannot say anything else than they
do. What those models check in code (one of two fields, an alias) stands here in `_RULES`; the tests compare the
schema's verdict with the parser's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TextIO, cast, get_type_hints

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import CoreSchema
from typing_extensions import TypedDict

from axon_port.wire import commands
from axon_port.wire.commands import COMMANDS, Data
from axon_port.wire.errors import ErrorType
from axon_port.wire.events import EVENTS, PROTOCOL_VERSION

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

JsonSchema = dict[str, Any]

_NULL: Final[JsonSchema] = {"type": "null"}


def print_schema(out: TextIO) -> int:
    """Write the schema as text. The exit status: 0."""
    json.dump(protocol_schema(), out, indent=2, ensure_ascii=False)
    out.write("\n")
    return 0


def protocol_schema() -> JsonSchema:
    """The schema: any command or event at its root, `Command`, `Event` and each of them by name under `$defs`.

    Commands are closed, as the worker is strict about them. Events are open: a parent ignores what it does not know.
    """
    command_names = [model.__name__ for model in COMMANDS.values()]
    event_names = [shape.__name__ for shape in EVENTS]
    definitions = {**_command_definitions(), **_event_definitions()}
    return {
        "$schema": DIALECT,
        "$id": f"urn:axon-port:protocol:{PROTOCOL_VERSION}",
        "title": f"axon-port protocol {PROTOCOL_VERSION}",
        "description": "The payload of a frame: a command of the parent or an event of the worker. PROTOCOL.md says "
        "what they mean. Two things a schema cannot say: 1.0 is no integer to the worker, and of a scripted turn "
        "`chunks` joined must be `text`.",
        "oneOf": [_ref("Command"), _ref("Event")],
        "$defs": {
            "Command": _any_of_these(command_names, "What a parent sends."),
            "Event": _any_of_these(event_names, "What the worker sends."),
            **dict(sorted(definitions.items())),
        },
    }


# --- rules that the models check in code


def _given(name: str) -> JsonSchema:
    """The field is there and no null, which would stand for its absence."""
    return {"required": [name], "properties": {name: {"not": _NULL}}}


def _there(name: str) -> JsonSchema:
    """The field is there; null is one of its values."""
    return {"required": [name]}


def _exactly_one(*schemas: JsonSchema) -> JsonSchema:
    return {"oneOf": list(schemas)}


def _at_least_one(*schemas: JsonSchema) -> JsonSchema:
    return {"anyOf": list(schemas)}


def _if(condition: JsonSchema, consequence: JsonSchema) -> JsonSchema:
    return {"if": condition, "then": consequence}


def _never(*schemas: JsonSchema) -> JsonSchema:
    return {"not": {"allOf": list(schemas)}}


_ONE_OUTPUT_SCHEMA: Final = _never(_given("output_schema"), _given("result_type"))

_HISTORY: Final[JsonSchema] = {
    "required": ["message_history"],
    "properties": {"message_history": {"type": "array", "minItems": 1}},
}
_DEFERRED: Final[JsonSchema] = {
    "required": ["deferred_results"],
    "properties": {"deferred_results": {"type": "object", "minProperties": 1}},
}
_SOMETHING_TO_DO: Final = _at_least_one(_given("prompt"), _HISTORY, _DEFERRED)

_RULES: Final[Mapping[type[Data], Sequence[JsonSchema]]] = {
    commands.Tool: (
        _at_least_one(_given("parameters"), {"required": ["handler"], "properties": {"handler": {"type": "object"}}}),
    ),
    commands.DeferredResult: (
        _exactly_one(_there("result"), _given("retry"), _given("failed"), _given("approved")),
        _if(_at_least_one(_given("message"), _given("args")), _given("approved")),
    ),
    commands.CreateAgent: (_exactly_one(_given("model"), _given("module")), _ONE_OUTPUT_SCHEMA),
    commands.Run: (_SOMETHING_TO_DO, _ONE_OUTPUT_SCHEMA),
    commands.Stream: (_SOMETHING_TO_DO, _ONE_OUTPUT_SCHEMA),
    commands.ToolResult: (
        _exactly_one(_there("result"), _given("retry"), _given("failed"), _given("error")),
        _if(_given("details"), _given("error")),
        _if(_given("content"), _there("result")),
    ),
}


# --- from the models


class _Generator(GenerateJsonSchema):
    """pydantic's generator without titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _command_definitions() -> dict[str, JsonSchema]:
    generated = _generated([(model.__name__, TypeAdapter(model)) for model in COMMANDS.values()], "validation")
    models = {model.__name__: model for model in _data_models()}
    return {name: _finished(schema, models[name]) for name, schema in generated.items()}


def _generated(adapters: Sequence[tuple[str, TypeAdapter[Any]]], mode: JsonSchemaMode) -> dict[str, JsonSchema]:
    inputs: list[tuple[str, JsonSchemaMode, CoreSchema]] = [(name, mode, one.core_schema) for name, one in adapters]
    _, definitions = _Generator(ref_template="#/$defs/{model}").generate_definitions(inputs)
    return cast("dict[str, JsonSchema]", definitions)


def _data_models() -> Iterator[type[Data]]:
    waiting: list[type[Data]] = [Data]
    while waiting:
        model = waiting.pop()
        yield model
        waiting.extend(model.__subclasses__())


def _finished(schema: JsonSchema, model: type[Data]) -> JsonSchema:
    properties: JsonSchema = {}
    required: list[str] = schema.get("required", [])
    for name, field in model.model_fields.items():
        shown = _property_names(name, field)
        found = cast("JsonSchema", schema["properties"][shown[0]])
        for one in shown:
            properties[one] = found if one in required else _nullable(found)
    finished = {key: value for key, value in schema.items() if key != "title"}
    finished["properties"] = properties
    if rules := _RULES.get(model):
        finished["allOf"] = list(rules)
    return finished


def _property_names(name: str, field: FieldInfo) -> list[str]:
    aliases = field.validation_alias
    if aliases is None:
        return [name]
    return [alias for alias in _choices(aliases) if isinstance(alias, str)]


def _choices(aliases: Any) -> list[Any]:
    return [aliases] if isinstance(aliases, str) else list(aliases.choices)


def _nullable(schema: JsonSchema) -> JsonSchema:
    """A null for an optional field is as if it were absent; where null is a value, the schema takes it anyway."""
    kept = {key: value for key, value in schema.items() if key != "default" or value is not None}
    options: list[JsonSchema] = kept.get("anyOf", [])
    if _NULL in options or not set(kept) - {"default"}:
        return kept
    default = {"default": kept.pop("default")} if "default" in kept else {}
    return {"anyOf": [kept, _NULL], **default}


# --- from the shapes of events


def _event_definitions() -> dict[str, JsonSchema]:
    shapes = [(shape.__name__, TypeAdapter[Any](_understood(shape))) for shape in EVENTS]
    definitions = _generated(shapes, "serialization")
    definitions["Error"]["properties"]["error_type"] = _ref("ErrorType")
    definitions["ErrorType"] = TypeAdapter[Any](ErrorType).json_schema()
    return {
        name: {key: value for key, value in schema.items() if key != "title"} for name, schema in definitions.items()
    }


def _understood(shape: type[Any]) -> Any:
    """The same shape as a `TypedDict` that pydantic takes on Python 3.11 too, its own shapes included."""
    hints: dict[str, Any] = {}
    for name, hint in get_type_hints(shape, include_extras=True).items():
        hints[name] = _understood(hint) if _is_shape(hint) else hint
    made = cast("Any", TypedDict)(shape.__name__, hints)
    made.__doc__ = shape.__doc__
    return made


def _is_shape(hint: Any) -> bool:
    return hasattr(hint, "__total__")


def _ref(name: str) -> JsonSchema:
    return {"$ref": f"#/$defs/{name}"}


def _any_of_these(names: Sequence[str], description: str) -> JsonSchema:
    return {"description": description, "oneOf": [_ref(name) for name in names]}
