"""JSON Schema, checked by a real validator: verdicts, faults, bounds, and what is no schema."""

from typing import Any

import pytest
from pydantic import ValidationError

from axon_port.agents import schemas
from axon_port.agents.schemas import Schema, SchemaCache, checked, core_validator
from axon_port.wire.errors import WireError

RECURSIVE = {
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["value"]}},
    "$ref": "#/$defs/node",
}


VERDICTS: list[tuple[Any, list[Any], list[Any]]] = [
    (True, [1, None, {}], []),
    (False, [], [1, None, {}]),
    ({}, [1, "x"], []),
    ({"type": "integer"}, [1, 1.0, 2**70, -(10**400)], [1.5, True, "1", None]),
    ({"const": 2**64 + 1}, [2**64 + 1], [2**64, 2**64 + 2]),
    ({"const": 2**53 + 1}, [2**53 + 1], [2**53]),
    ({"enum": [None, "a"]}, [None, "a"], ["b", 0]),
    ({"type": "array", "items": {"type": "string"}}, [[], ["a"]], [[1], {}]),
    (RECURSIVE, [{"value": 1}, {"value": 1, "next": {"value": 2}}], [{}, {"value": 1, "next": {}}]),
    ({"pattern": "^a"}, ["ab", 5], ["ba"]),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "format": "email"}, ["a@b.example"], ["nobody"]),
    ({"format": "email"}, ["nobody"], []),
    ({"prefixItems": [{"type": "null"}], "unevaluatedItems": False}, [[None]], [[None, 1]]),
]


@pytest.mark.parametrize(("raw", "good", "bad"), VERDICTS, ids=repr)
def test_the_verdict_is_that_of_the_schema(raw: Any, good: list[Any], bad: list[Any]) -> None:
    """clause: SCHEMA-DRAFT, SCHEMA-REFERENCES, SCHEMA-FORMAT"""
    schema = Schema(raw)
    for instance in good:
        assert schema.faults(instance) == []
    for instance in bad:
        assert schema.faults(instance)


def test_a_fault_says_where_what_and_of_which_kind() -> None:
    schema = Schema({"type": "object", "properties": {"a": {"items": {"type": "integer"}}}, "required": ["b"]})
    faults = schema.faults({"a": [1, "x"]})
    assert {(tuple(fault["loc"]), fault["type"]) for fault in faults} == {((), "required"), (("a", 1), "type")}
    assert all(set(fault) == {"loc", "msg", "type"} for fault in faults)


def test_faults_have_a_bound_in_number_and_length() -> None:
    """clause: SCHEMA-FAULTS"""
    faults = Schema({"items": {"type": "integer"}}).faults(["x" * 10_000] * 1000)
    assert len(faults) == schemas.MAX_FAULTS
    assert all(len(fault["msg"]) < schemas.MAX_FAULT_TEXT + 50 for fault in faults)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(?=(a+)+$)(a+)+b", "^(?=(a|aa)+$)(a|aa)+\\1x"])
def test_a_pattern_that_explodes_is_given_up(pattern: str) -> None:
    """clause: SCHEMA-PATTERNS"""
    assert Schema({"pattern": pattern}).faults("a" * 5000 + "!")


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "nothing"},
        {"type": 5},
        {"pattern": "("},
        {"required": "a"},
        {"$ref": "#/nowhere"},
        {"$ref": "http://127.0.0.1:1/schema"},
        {"$ref": "file:///etc/passwd"},
        {"$schema": "http://127.0.0.1:1/none"},
        {"properties": {"a": {"minimum": "x"}}},
    ],
    ids=repr,
)
def test_what_is_no_schema_is_an_invalid_agent(raw: Any) -> None:
    """clause: SCHEMA-INVALID, SCHEMA-REFERENCES"""
    with pytest.raises(WireError) as caught:
        SchemaCache().compile(raw, "`deps_schema`")
    assert caught.value.error_type == "InvalidAgent"
    assert caught.value.message.startswith("`deps_schema` is no usable JSON Schema: ")
    assert "\n" not in caught.value.message


def test_equal_schemas_are_compiled_once() -> None:
    cache = SchemaCache()
    first = cache.compile({"type": "integer"}, "x")
    assert cache.compile({"type": "integer"}, "y") is first
    assert cache.compile({"type": "string"}, "x") is not first
    assert cache.compile(True, "x") is not cache.compile({}, "x")


def test_the_oldest_schema_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "CACHED_SCHEMAS", 2)
    cache = SchemaCache()
    first = cache.compile({"const": 1}, "x")
    second = cache.compile({"const": 2}, "x")
    assert cache.compile({"const": 1}, "x") is first
    cache.compile({"const": 3}, "x")
    assert cache.compile({"const": 1}, "x") is first
    assert cache.compile({"const": 2}, "x") is not second


def test_a_schema_too_many_does_not_spoil_the_cache() -> None:
    cache = SchemaCache()
    for _ in range(2):
        with pytest.raises(WireError):
            cache.compile({"type": "nothing"}, "x")


def test_what_meets_a_schema_passes_unchanged() -> None:
    value = {"a": [2**70, 0.1, None]}
    assert checked(Schema({"type": "object"}), value) is value
    assert checked(Schema({"type": "integer"}), {"response": 5}, unwrap="response") == 5
    assert checked(Schema(True), {"response": None}, unwrap="response") is None


def test_what_does_not_is_a_validation_error_with_its_places() -> None:
    with pytest.raises(ValidationError) as caught:
        checked(Schema({"items": {"type": "integer"}}), [1, "x"])
    (fault,) = caught.value.errors()
    assert (fault["loc"], fault["type"]) == ((1,), "type")


@pytest.mark.parametrize("value", [None, [], "x", {}, {"other": 1}])
def test_a_wrapped_value_that_is_missing_is_told(value: Any) -> None:
    validator = core_validator(Schema({"type": "integer"}), unwrap="response")
    with pytest.raises(ValidationError) as caught:
        validator.validate_python(value)
    assert caught.value.errors()[0]["type"] == "missing"


def test_a_core_validator_reads_json_and_values_alike() -> None:
    validator = core_validator(Schema({"type": "object", "required": ["a"]}))
    assert validator.validate_json('{"a": 1}') == {"a": 1}
    assert validator.validate_python({"a": 1}) == {"a": 1}
    for bad in ("{}", "[]", "{", "null"):
        with pytest.raises(ValidationError):
            validator.validate_json(bad)


def test_a_validation_error_repeats_no_input_of_its_own() -> None:
    validator = core_validator(Schema({"properties": {"a": {"type": "integer"}}}))
    with pytest.raises(ValidationError) as caught:
        validator.validate_python({"a": "x", "key": "sk-secret"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_a_value_that_is_no_unicode_does_not_break_the_check(text: str) -> None:
    validator = core_validator(Schema({"properties": {"a": {"type": "integer"}}}))
    with pytest.raises(ValidationError):
        validator.validate_python({"a": text})
