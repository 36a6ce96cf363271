"""Structured output: any JSON Schema, sent to the model as it is and checked by a real validator (OUT-SCHEMA).

pydantic-ai would translate the schema; this module gives it a type that translates nothing. The model's request
gets the parent's schema in its place (`refine`), the answer is checked by `schemas.py`, and what fails goes back to
the model with paths and reasons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import NativeOutput, PromptedOutput, ToolOutput
from pydantic_core import CoreSchema, core_schema, from_json

from axon_port.agents.schemas import Schema, checked

OUTPUT_TOOL: Final = "final_result"
"""pydantic-ai's name of the tool whose arguments are the result."""

WRAP_KEY: Final = "response"
"""A tool's arguments are an object: a result that is none travels under this key, to the model and back."""

_NAMED_SCHEMAS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose value holds schemas under names that the parent chose."""

_FENCE: Final = re.compile(r"```\w*\r?\n(?=\{)")

_OPEN_NUMBER: Final = re.compile(r"(?<=[:\[,\s])-?(?:[0-9][0-9.eE+-]*)?\Z")
_TAIL: Final = 64
"""Characters at the end of a text in which a number is looked for."""

_DRAFT_4: Final = "json-schema.org/draft-04/"
_DRAFT_2019: Final = "json-schema.org/draft/2019-09/"
"""What `$schema` holds where a schema's name is its `id`, and where `$recursiveRef` is a reference."""

OutputMode = Literal["tool", "native", "prompted"]


@dataclass(frozen=True, slots=True)
class StructuredOutput:
    """What a run must end with."""

    schema: Schema
    mode: OutputMode
    output_type: Any
    wrap_key: str | None
    sent_schema: dict[str, Any]

    def wrapped(self, value: Any) -> Any:
        """The arguments, or the JSON, with which a model would give `value`."""
        return value if self.wrap_key is None else {self.wrap_key: value}

    def refine(self, parameters: ModelRequestParameters) -> ModelRequestParameters:
        """The request with the parent's schema where pydantic-ai knows only a placeholder."""
        tools = [replace(tool, parameters_json_schema=self.sent_schema) for tool in parameters.output_tools]
        target = parameters.output_object
        if target is not None:
            # In prompted mode no service asks for its own dialect: nothing need be closed or rewritten.
            strict = False if self.mode == "prompted" else target.strict
            target = replace(target, json_schema=self.sent_schema, strict=strict)
        return replace(parameters, output_tools=tools, output_object=target)


def structured_output(schema: Schema, mode: OutputMode) -> StructuredOutput:
    """The output of a run with this schema."""
    raw = schema.raw
    is_object = isinstance(raw, dict) and raw.get("type") == "object"
    wrap_key = None if is_object else WRAP_KEY
    kind = _kind(schema, wrap_key)
    title = raw.get("title") if isinstance(raw, dict) else None
    name = title if isinstance(title, str) else None
    description = raw.get("description") if isinstance(raw, dict) else None
    about = description if isinstance(description, str) else None
    match mode:
        case "native":
            output_type: Any = NativeOutput(kind, name=name, description=about)
        case "prompted":
            output_type = PromptedOutput(kind, name=name, description=about)
        case "tool":
            output_type = ToolOutput(kind, name=OUTPUT_TOOL, description=about, strict=False)
    sent = cast("dict[str, Any]", raw) if is_object else _wrapped_schema(raw)
    return StructuredOutput(schema, mode, output_type, wrap_key, sent)


class PartialOutput:
    """A structured result while it grows: JSON text in pieces, and the value it makes so far."""

    def __init__(self, wrap_key: str | None) -> None:
        self._pieces: list[str] = []
        self._wrap_key = wrap_key
        self._told: tuple[Any] | None = None

    def add(self, piece: str) -> None:
        self._pieces.append(piece)

    def value(self) -> tuple[bool, Any]:
        """Whether there is a value that was not told yet, and it."""
        known, value = self._parsed()
        if not known or self._told == (value,):
            return False, None
        self._told = (value,)
        return True, value

    def _parsed(self) -> tuple[bool, Any]:
        text = "".join(self._pieces)
        self._pieces = [text]
        try:
            value: Any = from_json(
                _whole_numbers(_unfenced(text)), allow_partial="trailing-strings", allow_inf_nan=False
            )
        except ValueError:
            return False, None
        if self._wrap_key is None:
            return True, value
        if isinstance(value, dict) and self._wrap_key in value:
            return True, cast("dict[str, Any]", value)[self._wrap_key]
        return False, None


def _unfenced(text: str) -> str:
    """Without the fence that models put around JSON, which pydantic-ai takes off a whole answer."""
    if text.startswith(("{", "[")) or (fence := _FENCE.search(text)) is None:
        return text
    # No line break of a string stands as such in JSON.
    return text[fence.end() :].split("\n```", 1)[0]


def _whole_numbers(text: str) -> str:
    """Without a number at the end: more of it may come, and what is there is another number."""
    return text[:-_TAIL] + _OPEN_NUMBER.sub("", text[-_TAIL:])


def _kind(schema: Schema, wrap_key: str | None) -> type[Any]:
    def check(value: Any) -> Any:
        return checked(schema, value, unwrap=wrap_key)

    class JsonInstance:
        """An instance of a JSON Schema. pydantic-ai asks it for two schemas and gets two that say nothing."""

        __is_model_like__ = True

        @classmethod
        def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
            return core_schema.no_info_after_validator_function(check, core_schema.any_schema())

        @classmethod
        def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
            return {"type": "object", "title": OUTPUT_TOOL}

    return JsonInstance


def _wrapped_schema(raw: dict[str, Any] | bool) -> dict[str, Any]:
    inner: Any = raw
    if isinstance(raw, dict):
        dialect = str(raw.get("$schema"))
        inner = dict(raw) if _has_own_base(raw, dialect) else _moved(raw, f"#/properties/{WRAP_KEY}", dialect)
    wrapped: dict[str, Any] = {
        "type": "object",
        "properties": {WRAP_KEY: inner},
        "required": [WRAP_KEY],
        "additionalProperties": False,
    }
    if isinstance(inner, dict) and "$schema" in inner:
        wrapped["$schema"] = cast("dict[str, Any]", inner).pop("$schema")
    return wrapped


def _has_own_base(raw: dict[str, Any], dialect: str) -> bool:
    """Whether references in a schema point into itself, wherever it stands. Until draft 7 `#name` is an anchor."""
    name = raw.get("id" if _DRAFT_4 in dialect else "$id")
    return isinstance(name, str) and name[:1] not in {"", "#"}


def _moved(raw: Any, base: str, dialect: str) -> Any:
    """A copy in which references into the schema itself point to where it now stands."""
    if isinstance(raw, list):
        return [_moved(item, base, dialect) for item in cast("list[Any]", raw)]
    if not isinstance(raw, dict):
        return raw
    schema = cast("dict[str, Any]", raw)
    if _has_own_base(schema, dialect):
        return schema
    moved: dict[str, Any] = {}
    for key, value in schema.items():
        if key in {"$ref", "$dynamicRef"} and isinstance(value, str) and (value == "#" or value.startswith("#/")):
            moved[key] = base + value[1:]
        elif key == "$recursiveRef" and _DRAFT_2019 in dialect:
            # It can only point to the root, which is another one now.
            moved["$ref"] = base
        elif key in {"const", "enum", "default", "examples"}:
            moved[key] = value
        elif key in _NAMED_SCHEMAS and isinstance(value, dict):
            named = cast("dict[str, Any]", value)
            moved[key] = {name: _moved(inner, base, dialect) for name, inner in named.items()}
        else:
            moved[key] = _moved(value, base, dialect)
    return moved
