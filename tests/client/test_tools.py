"""Python functions as tools: schema, arguments, results."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any

import jsonschema_rs
import pytest
from pydantic import BaseModel, Field

from axon_port.client import Call, Retry, Shown, Tool, tool
from axon_port.client.tools import returned, split_tools
from axon_port.wire.commands import Tool as WireTool


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Parcel(BaseModel):
    weight: float
    sent: date


def ship(
    parcel: Parcel,
    size: Size,
    to: Annotated[str, Field(description="A city", min_length=2)] = "Riga",
    *,
    notes: list[str] | None = None,
) -> Any:
    """Ships a parcel."""
    return parcel, size, to, notes


def call(**args: Any) -> Call:
    return Call("agent", "1", "ship", args)


def schema_of(function: Any) -> dict[str, Any]:
    return tool(function).definition()["parameters"]


def test_a_definition_is_made_of_name_docstring_and_signature() -> None:
    definition = tool(ship).definition()
    assert (definition["name"], definition["description"]) == ("ship", "Ships a parcel.")
    parameters = definition["parameters"]
    assert parameters["required"] == ["parcel", "size"]
    assert parameters["properties"]["to"] == {
        "default": "Riga",
        "description": "A city",
        "minLength": 2,
        "type": "string",
    }
    assert parameters["additionalProperties"] is False
    assert "title" not in parameters
    jsonschema_rs.meta.validate(parameters)


def test_a_definition_is_one_that_the_worker_takes() -> None:
    made = tool(ship, timeout_ms=5, retries=0, sequential=True, requires_approval=True, approval="deferred")
    read = WireTool.model_validate(made.definition())
    assert (read.timeout_ms, read.retries, read.sequential) == (5, 0, True)
    assert (read.requires_approval, read.approval) == (True, "deferred")


def test_arguments_arrive_as_the_types_that_stand_there() -> None:
    args = {"parcel": {"weight": 1, "sent": "2026-11-20"}, "size": "l", "notes": ["fragile"]}
    assert tool(ship).bound(call(**args))() == (
        Parcel(weight=1.0, sent=date(2026, 11, 20)),
        Size.LARGE,
        "Riga",
        ["fragile"],
    )


def test_arguments_that_do_not_fit_are_told_to_the_model() -> None:
    with pytest.raises(Retry, match=r"parcel: Field required; size: Input should be"):
        tool(ship).bound(call(size="m"))


def test_a_name_that_a_model_could_not_have_is_one_that_a_parameter_may() -> None:
    def odd(_private: int, copy: int, model_config: int, json: int = 4) -> tuple[int, ...]:
        return _private, copy, model_config, json

    assert set(schema_of(odd)["properties"]) == {"_private", "copy", "model_config", "json"}
    assert tool(odd).bound(call(_private=1, copy=2, model_config=3))() == (1, 2, 3, 4)


def test_a_first_parameter_may_be_the_call_itself() -> None:
    def whose(asked: Call, city: str) -> str:
        return f"{asked.agent_id} {asked.call_id} {city}"

    assert set(schema_of(whose)["properties"]) == {"city"}
    assert tool(whose).bound(call(city="Riga"))() == "agent 1 Riga"


def test_a_function_without_parameters_is_a_tool() -> None:
    def now() -> int:
        return 12

    assert schema_of(now)["type"] == "object"
    assert tool(now).bound(call())() == 12


def test_partials_and_objects_that_can_be_called_are_tools() -> None:
    class Shop:
        """Sells."""

        def __call__(self, item: str) -> str:
            return f"sold {item}"

        def price(self, item: str) -> int:
            return len(item)

    def add(a: int, b: int) -> int:
        return a + b

    assert tool(Shop()).bound(call(item="tea"))() == "sold tea"
    assert tool(Shop()).name == "Shop"
    assert tool(Shop().price).bound(call(item="tea"))() == 3
    assert tool(functools.partial(add, 2), name="add_two").bound(call(b=3))() == 5


def many(*args: int) -> None: ...


def named(**kwargs: int) -> None: ...


def placed(a: int, /) -> None: ...


@pytest.mark.parametrize("function", [many, named, placed])
def test_arguments_without_names_of_their_own_are_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="arguments have names"):
        tool(function, name="it")


def test_functions_tools_and_mappings_are_told_apart() -> None:
    elsewhere = {"name": "tax", "handler": {"python": "shop.tools:tax"}}
    definitions, functions = split_tools([ship, tool(ship, name="send"), elsewhere])
    assert [one["name"] for one in definitions] == ["ship", "send", "tax"]
    assert definitions[2] == elsewhere
    assert {name: type(one) for name, one in functions.items()} == {"ship": Tool, "send": Tool}


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(TypeError, match="is no tool"):
        split_tools(["ship"])


@dataclass
class Found:
    at: date


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        (Found(date(2026, 1, 2)), {"at": "2026-01-02"}),
        (Parcel(weight=1, sent=date(2026, 1, 2)), {"weight": 1.0, "sent": "2026-01-02"}),
        ((1, {2}), [1, [2]]),
        (Size.SMALL, "s"),
        (2**70, 2**70),
    ],
)
def test_what_a_function_returns_is_made_json(value: Any, result: Any) -> None:
    assert returned(value) == {"result": result}


def test_what_json_cannot_hold_is_shown_beside_the_result() -> None:
    picture = {"type": "image_url", "url": "https://example.com/a.png"}
    assert returned(Shown("a label", [picture])) == {"result": "a label", "content": [picture]}


def test_what_has_no_json_form_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="object was returned that has no JSON form"):
        returned(object())
