"""Python functions as tools: their schema from the signature, their arguments as the types that stand there.

The worker has checked a call's arguments against the schema before they come here; what is left to do is to make
dates, enums and models of them, and JSON of what the function returns.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_jsonable_python

from axon_port.client.results import Call

ToolFunction = Callable[..., Any]
"""Plain or `async`. A plain one runs in a thread. It may raise `Retry` or `Failed`; anything else ends the run."""


class Retry(Exception):
    """Raised by a tool: the model is told this and may call again, at the cost of the tool's retry budget."""


class Failed(Exception):
    """Raised by a tool: the model is told this and goes on, at no cost."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Returned by a tool that has more to show than JSON can hold: `content` are parts as in a prompt."""

    result: Any
    content: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function as a tool. `settings` are the tool's further fields on the wire."""

    function: ToolFunction
    name: str
    description: str
    arguments: type[BaseModel]
    takes_call: bool
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def definition(self) -> dict[str, Any]:
        """The tool as `create_agent` has it."""
        parameters = self.arguments.model_json_schema(by_alias=True, schema_generator=_Untitled)
        parameters.pop("title", None)
        return {"name": self.name, "description": self.description, "parameters": parameters, **self.settings}

    def bound(self, call: Call) -> Callable[[], Any]:
        """The function with the arguments of a call. Raises `Retry` where they are not what its types want."""
        try:
            read = self.arguments.model_validate(dict(call.args))
        except ValidationError as error:
            raise Retry(_faults(error)) from None
        given = {
            str(info.alias): getattr(read, name)
            for name, info in self.arguments.model_fields.items()
            if name in read.model_fields_set
        }
        first = (call,) if self.takes_call else ()
        return lambda: self.function(*first, **given)


def tool(
    function: ToolFunction,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_ms: int | None = None,
    retries: int | None = None,
    sequential: bool = False,
    requires_approval: bool = False,
    approval: Literal["parent", "deferred"] = "parent",
    strict: bool | None = None,
) -> Tool:
    """A function as a tool, where its name, docstring and signature do not say all of it.

    Raises `TypeError` for a signature that no object of named arguments can fill.
    """
    settings: dict[str, Any] = {
        "timeout_ms": timeout_ms,
        "retries": retries,
        "sequential": sequential or None,
        "requires_approval": requires_approval or None,
        "approval": approval if approval != "parent" else None,
        "strict": strict,
    }
    tool_name = name or getattr(function, "__name__", type(function).__name__)
    arguments, takes_call = _arguments(function, tool_name)
    return Tool(
        function,
        tool_name,
        description if description is not None else inspect.getdoc(function) or "",
        arguments,
        takes_call,
        {key: value for key, value in settings.items() if value is not None},
    )


def split_tools(tools: Iterable[Any]) -> tuple[list[dict[str, Any]], dict[str, Tool]]:
    """The definitions for `create_agent`, and the functions among them by name.

    A tool is a function, a `Tool`, or a mapping that goes to the worker as it is: for handlers that are no functions
    of ours. Raises `TypeError` for anything else.
    """
    definitions: list[dict[str, Any]] = []
    functions: dict[str, Tool] = {}
    for one in tools:
        if isinstance(one, Mapping):
            definitions.append(dict(cast("Mapping[str, Any]", one)))
            continue
        if not isinstance(one, Tool) and not callable(one):
            raise TypeError(f"{one!r} is no tool: give a function, a Tool or a mapping")
        ours = one if isinstance(one, Tool) else tool(one)
        definitions.append(ours.definition())
        functions[ours.name] = ours
    return definitions, functions


def returned(value: Any) -> dict[str, Any]:
    """The fields of a `tool_result` for what a function returned. Raises `TypeError` for what has no JSON form."""
    if isinstance(value, Shown):
        return {"result": _plain(value.result), "content": [dict(part) for part in value.content]}
    return {"result": _plain(value)}


def _plain(value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError) as error:
        raise TypeError(f"a {type(value).__name__} was returned that has no JSON form: {error}") from None


def _arguments(function: ToolFunction, name: str) -> tuple[type[BaseModel], bool]:
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    takes_call = bool(parameters) and parameters[0].annotation is Call
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(parameters[takes_call:]):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{name}: a tool's arguments have names, and {parameter} has none of its own")
        default: Any = ... if parameter.default is parameter.empty else parameter.default
        # Under an alias, because a field of a model may not have every name that a parameter may.
        hint = Any if parameter.annotation is parameter.empty else parameter.annotation
        fields[f"argument_{number}"] = (hint, Field(default, alias=parameter.name))
    model = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    return model, takes_call


class _Untitled(GenerateJsonSchema):
    """Without titles that only repeat a name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )
