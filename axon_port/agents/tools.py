"""Tools: from data to what a bench can call (PROTOCOL.md, TOOL-*).

pydantic-ai's own tools made from a schema are not validated; these are, before a parent, a person or a function
sees the arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import ValidationError
from pydantic_ai.tools import Tool as FunctionTool
from pydantic_ai.tools import ToolDefinition
from pydantic_core import SchemaValidator

from axon_port.agents.allow import Allowed
from axon_port.agents.functions import signature_validator
from axon_port.agents.schemas import Schema, SchemaCache
from axon_port.wire import commands
from axon_port.wire.errors import WireError, faults_of


@dataclass(frozen=True)
class ToolSpec:
    """A tool of an agent, ready to be called. `timeout` is in seconds."""

    definition: ToolDefinition
    validator: SchemaValidator
    handler: Literal["parent", "deferred"] | FunctionTool[Any]
    schema: Schema | None = None
    timeout: float | None = None
    retries: int | None = None
    requires_approval: bool = False
    approval: Literal["parent", "deferred"] = "parent"

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def may_defer(self) -> bool:
        """Whether a run can end with a call of this tool still open."""
        return self.handler == "deferred" or (self.requires_approval and self.approval == "deferred")

    def faults(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        """What is wrong with arguments that somebody put in place of the model's; they are not repeated."""
        if self.schema is not None:
            return self.schema.silent_faults(args)
        try:
            self.validator.validate_python(args)
        except ValidationError as error:
            return faults_of(error)
        return []


def compile_tools(
    tools: Sequence[commands.Tool], *, timeout_ms: int | None, schemas: SchemaCache, allowed: Allowed
) -> tuple[ToolSpec, ...]:
    """Blocking: python handlers are imported. Raises `WireError` `InvalidAgent` or `ImportNotAllowed`."""
    specs = tuple(_compile(tool, timeout_ms, schemas, allowed) for tool in tools)
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise WireError("InvalidAgent", f"two tools are called {twice[:256]!r}: a tool's name is its own")
    return specs


def _compile(tool: commands.Tool, timeout_ms: int | None, schemas: SchemaCache, allowed: Allowed) -> ToolSpec:
    handler: Literal["parent", "deferred"] | FunctionTool[Any]
    schema: Schema | None = None
    if isinstance(tool.handler, commands.PythonHandler):
        handler = _function_tool(tool, allowed.function(tool.handler.python))
        parameters, validator = handler.function_schema.json_schema, signature_validator(handler)
        description = tool.description or handler.description or ""
    else:
        handler, parameters, description = tool.handler, {}, tool.description
        validator = None
    if tool.parameters is not None:
        parameters = _object_schema(tool)
        schema = schemas.compile(parameters, f"`parameters` of tool {tool.name[:256]!r}")
        # Of equal schemas one is kept, with its validator.
        parameters, validator = cast("dict[str, Any]", schema.raw), schema.core
    if validator is None:
        raise WireError("InvalidAgent", f"tool {tool.name[:256]!r} needs `parameters`")
    milliseconds = tool.timeout_ms or timeout_ms
    return ToolSpec(
        definition=ToolDefinition(
            name=tool.name,
            description=description,
            parameters_json_schema=parameters,
            sequential=tool.sequential,
            strict=tool.strict,
        ),
        validator=validator,  # pyright: ignore[reportArgumentType]
        handler=handler,
        schema=schema,
        timeout=None if milliseconds is None else milliseconds / 1000,
        retries=tool.retries,
        requires_approval=tool.requires_approval,
        approval=tool.approval,
    )


def _object_schema(tool: commands.Tool) -> dict[str, Any]:
    parameters = dict(tool.parameters or {})
    if parameters.setdefault("type", "object") != "object":
        message = f"`parameters` of tool {tool.name[:256]!r} must be the schema of an object: arguments have names"
        raise WireError("InvalidAgent", message)
    parameters.setdefault("properties", {})
    return parameters


def _function_tool(tool: commands.Tool, function: Callable[..., Any]) -> FunctionTool[Any]:
    try:
        return FunctionTool(function, name=tool.name, description=tool.description or None)
    except Exception as error:  # noqa: BLE001  any annotation of somebody's function can make the schema fail
        message = f"tool {tool.name[:256]!r}: no schema can be taken from the function: {error}"
        raise WireError("InvalidAgent", message) from None
