"""Tools: from data to a pydantic-ai toolset, and from a model's call to whoever runs it (PROTOCOL.md, TOOL-*).

pydantic-ai's own tools made from a schema are not validated; these are, before a parent, a person or a function
sees the arguments. Who runs a call is decided here: the parent, a function of the worker, or nobody yet.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

import anyio
from pydantic import ValidationError
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.messages import ToolReturn
from pydantic_ai.tools import RunContext, ToolDefinition
from pydantic_ai.tools import Tool as FunctionTool
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator

from axon_port.agents.allow import Allowed
from axon_port.agents.deferral import ARGS_AFTER_APPROVAL
from axon_port.agents.ends import ToolFault, denial
from axon_port.agents.functions import call_function
from axon_port.agents.host import Broken, Call, Failed, Happened, Host, Retry, Returned
from axon_port.agents.schemas import Schema, SchemaCache
from axon_port.wire import commands
from axon_port.wire.errors import WireError, faults_of

THREADS: Final = 256
"""Plain functions that run at once. Hung ones hold their thread; the others must still find one."""


STOP_SECONDS: Final = 0.1
"""How long a function that is cancelled may take to stop before it counts as left behind."""

_logger = logging.getLogger("axon_port.tools")


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
        parameters, validator = handler.function_schema.json_schema, handler.function_schema.validator
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


@dataclass
class ToolBench(AbstractToolset[Any]):
    """The tools of one run. Calls come from pydantic-ai's tool manager, several at once."""

    specs: Mapping[str, ToolSpec]
    host: Host
    threads: anyio.CapacityLimiter
    call_ids: dict[str, str] = field(default_factory=dict[str, str])
    _listed: dict[int, dict[str, ToolsetTool[Any]]] = field(default_factory=dict[int, dict[str, ToolsetTool[Any]]])

    @property
    def id(self) -> str:
        return "axon-port"

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        budget = ctx.max_retries
        if budget not in self._listed:
            self._listed[budget] = {
                name: ToolsetTool(
                    toolset=self,
                    tool_def=spec.definition,
                    max_retries=budget if spec.retries is None else spec.retries,
                    args_validator=spec.validator,
                )
                for name, spec in self.specs.items()
            }
        return self._listed[budget]

    def begin_step(self) -> None:
        """A new answer of the model: its calls are new, whatever ids it gives them."""
        self.call_ids.clear()

    def call_id(self, tool_call_id: str | None) -> str:
        """The worker's own id of a call of this step."""
        key = tool_call_id or ""
        if key not in self.call_ids:
            self.call_ids[key] = self.host.new_call_id()
        return self.call_ids[key]

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        spec = self.specs[name]
        call = Call(self.call_id(ctx.tool_call_id), name, tool_args, spec.timeout)
        approved_by = None
        if spec.requires_approval and not ctx.tool_call_approved:
            if spec.approval == "deferred":
                raise ApprovalRequired
            decision = await self.host.ask_approval(call, faults=spec.faults)
            if not decision.approved:
                return denial(decision.message)
            approved_by = decision.args
            call = call if approved_by is None else replace(call, args=approved_by)
        if spec.handler == "deferred":
            raise CallDeferred(metadata=None if approved_by is None else {ARGS_AFTER_APPROVAL: approved_by})
        return await self._answered(spec, call, ctx)

    async def _answered(self, spec: ToolSpec, call: Call, ctx: RunContext[Any]) -> Any:
        started = time.monotonic()
        self.host.note(Happened("tool_called"))
        try:
            if isinstance(spec.handler, FunctionTool):
                value = await self._call_function(spec, spec.handler, call, ctx)
            else:
                value = await self._call_parent(call)
        except TimeoutError:
            self.host.note(Happened("tool_timed_out", time.monotonic() - started))
            raise ModelRetry(f"the tool did not answer within {math.ceil((call.timeout or 0) * 1000)} ms") from None
        except (ModelRetry, ToolFailed, ToolFault):
            self.host.note(Happened("tool_failed", time.monotonic() - started))
            raise
        self.host.note(Happened("tool_answered", time.monotonic() - started))
        return value

    async def _call_parent(self, call: Call) -> Any:
        match await self.host.call_parent(call):
            case Returned(value, content):
                return ToolReturn[Any](return_value=value, content=list(content)) if content else value
            case Retry(message):
                raise ModelRetry(message)
            case Failed(message):
                raise ToolFailed(message)
            case Broken(message, details):
                raise ToolFault(message, details)

    async def _call_function(self, spec: ToolSpec, tool: FunctionTool[Any], call: Call, ctx: RunContext[Any]) -> Any:
        work = asyncio.create_task(call_function(tool, call, ctx, self.threads))
        try:
            await asyncio.wait([work], timeout=spec.timeout)
        finally:
            if not work.done():
                await self._give_up(work, in_thread=not tool.function_schema.is_async)
        if work.cancelled() or not work.done():
            raise TimeoutError
        return work.result()

    async def _give_up(self, work: asyncio.Task[Any], *, in_thread: bool) -> None:
        """Cancel once and wait for a moment: what goes on all the same, a thread for one, is left behind."""
        work.add_done_callback(_heard_out)
        work.cancel()
        stopped, _ = await asyncio.wait([work], timeout=STOP_SECONDS)
        if in_thread or not stopped:
            self.host.note(Happened("tool_abandoned"))


def _heard_out(work: asyncio.Task[Any]) -> None:
    # Nobody wants the answer any more, but asyncio complains of an exception that nobody took.
    if not work.cancelled() and (error := work.exception()) is not None:
        _logger.debug("a tool that was given up ended with %r", error)
