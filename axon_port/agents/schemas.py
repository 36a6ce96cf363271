"""JSON Schema, checked by a real validator (PROTOCOL.md, SCHEMA-*).

Nothing is fetched: a reference to another document is a fault of the schema. A pattern is matched by an engine
that gives up after `BACKTRACK_LIMIT` steps, so that no schema can freeze the process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from itertools import islice
from typing import Any, Final

import jsonschema_rs
from pydantic import ValidationError
from pydantic_core import CoreConfig, InitErrorDetails, PydanticCustomError, SchemaValidator, core_schema

from axon_port.wire import codec
from axon_port.wire.errors import WireError
from axon_port.wire.events import shortened

BACKTRACK_LIMIT: Final = 200_000
"""Steps of a pattern with look-around or back-references: some milliseconds. The others match in linear time."""

MAX_FAULTS: Final = 32
"""How many faults of one instance are told. A model does not profit from more."""

MAX_FAULT_TEXT: Final = 500
"""Characters of one fault: it repeats the instance, which can be long."""

MASK: Final = "the value"
"""What stands for an instance that is not to be repeated."""

CACHED_SCHEMAS: Final = 1_024
"""Compiled schemas kept for reuse: agents made from one template share theirs."""

_PATTERNS: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACK_LIMIT)


class Schema:
    """A compiled JSON Schema."""

    def __init__(self, raw: dict[str, Any] | bool) -> None:
        self.raw = raw
        self._validator = _compile(raw, mask=None)

    @cached_property
    def core(self) -> SchemaValidator:
        """What pydantic-ai validates arguments with."""
        return core_validator(self)

    def faults(self, instance: Any) -> list[dict[str, Any]]:
        """What is wrong with `instance`: `{"loc", "msg", "type"}` each, at most `MAX_FAULTS`; empty if valid.

        The messages repeat the instance: they are for the model that wrote it.
        """
        return self._told(self._validator, instance)

    def silent_faults(self, instance: Any) -> list[dict[str, Any]]:
        """As `faults`, for data of the parent: the messages do not repeat it, it can hold a key."""
        if self._validator.is_valid(instance):
            return []
        return self._told(_compile(self.raw, mask=MASK), instance)

    def _told(self, validator: Any, instance: Any) -> list[dict[str, Any]]:
        if validator.is_valid(instance):
            return []
        return [
            {"loc": list(error.instance_path), "msg": shortened(error.message, MAX_FAULT_TEXT), "type": error.kind.name}
            for error in islice(validator.iter_errors(instance), MAX_FAULTS)
        ]


class SchemaCache:
    """Compiled schemas by their text; equal ones are compiled once. For use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._schemas: OrderedDict[bytes, Schema] = OrderedDict()

    def compile(self, raw: dict[str, Any] | bool, what: str) -> Schema:
        """Raises `WireError` `InvalidAgent`, which says what is wrong with `what`."""
        key = codec.encode(raw)
        with self._lock:
            if (known := self._schemas.get(key)) is not None:
                self._schemas.move_to_end(key)
                return known
        try:
            schema = Schema(raw)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            reason = str(error).split("\n", 1)[0]
            raise WireError("InvalidAgent", f"{what} is no usable JSON Schema: {reason}") from None
        with self._lock:
            self._schemas[key] = schema
            if len(self._schemas) > CACHED_SCHEMAS:
                self._schemas.popitem(last=False)
        return schema


def core_validator(check: Schema, *, unwrap: str | None = None) -> SchemaValidator:
    """A pydantic-core validator that lets through what meets the schema, unchanged.

    It raises pydantic's `ValidationError` with a fault for each place, which is what pydantic-ai sends back to the
    model. With `unwrap` the value stands under that key of an object.
    """

    def validate(value: Any) -> Any:
        return checked(check, value, unwrap=unwrap)

    config = CoreConfig(hide_input_in_errors=True)
    return SchemaValidator(core_schema.no_info_after_validator_function(validate, core_schema.any_schema()), config)


def checked(check: Schema, value: Any, *, unwrap: str | None = None) -> Any:
    """`value`, or what stands under `unwrap`, if it meets the schema. Raises pydantic's `ValidationError`."""
    if unwrap is not None:
        if not isinstance(value, dict) or unwrap not in value:
            raise PydanticCustomError("missing", "an object with the key {key} is expected", {"key": unwrap})
        value = value[unwrap]  # pyright: ignore[reportUnknownVariableType]
    faults = check.faults(value)
    if faults:
        raise ValidationError.from_exception_data("JSON Schema", [_line(fault) for fault in faults])
    return value  # pyright: ignore[reportUnknownVariableType]


def _line(fault: dict[str, Any]) -> InitErrorDetails:
    error = PydanticCustomError(fault["type"], "{msg}", {"msg": fault["msg"]})
    return InitErrorDetails(type=error, loc=tuple(fault["loc"]), input=None)


def _compile(raw: dict[str, Any] | bool, *, mask: str | None) -> Any:
    # Draft 2020-12 where `$schema` does not say otherwise; `format` asserts where the draft says so (7 and older).
    return jsonschema_rs.validator_for(raw, pattern_options=_PATTERNS, offline=True, mask=mask)
