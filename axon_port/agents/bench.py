"""From a model's call to whoever runs it: the parent, a function of the worker, or nobody yet (PROTOCOL.md, TOOL-*).

An agent lists its tools once, for all its runs (`Toolset`); each run has a bench that its calls are made on.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Final

import anyio
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.tools import RunContext
from pydantic_ai.tools import Tool as FunctionTool
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool

from axon_port.agents.deferral import ARGS_AFTER_APPROVAL
from axon_port.agents.ends import ToolFault, denial, fault_of, heard_out, too_late
from axon_port.agents.functions import call_function
from axon_port.agents.history import plain, whole
from axon_port.agents.host import Broken, Call, Failed, Happened, Host, Retry, Returned
from axon_port.agents.tools import ToolSpec

THREADS: Final = 256
"""Plain functions that run at once, those that were given up included: a hung one holds its thread until it ends."""

STOP_SECONDS: Final = 0.1
"""How long a function that is cancelled may take to stop before it counts as left behind."""

_bench: ContextVar[ToolBench] = ContextVar("axon_port_bench")


class Toolset(AbstractToolset[Any]):
    """The tools of an agent. A call goes to the bench of the run that it is made in."""

    def __init__(self, specs: Mapping[str, ToolSpec]) -> None:
        self._specs = specs
        self._listed: dict[int, dict[str, ToolsetTool[Any]]] = {}

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
                for name, spec in self._specs.items()
            }
        return self._listed[budget]

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        return await _bench.get().call(name, tool_args, ctx)


@dataclass
class ToolBench:
    """Where the tools of one run are called. Calls come from pydantic-ai's tool manager, several at once."""

    specs: Mapping[str, ToolSpec]
    host: Host
    threads: anyio.CapacityLimiter
    call_ids: dict[str, str] = field(default_factory=dict[str, str])
    answered: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the calls of this step returned, by the model's ids: a run that is left behind has not noted it yet."""

    def take_calls(self) -> None:
        """From now on the calls made in this context, and in the tasks that are started in it, are this bench's."""
        _bench.set(self)

    def begin_step(self) -> None:
        """A new answer of the model: its calls are new, whatever ids it gives them."""
        self.call_ids.clear()
        self.answered.clear()

    def call_id(self, tool_call_id: str | None) -> str:
        """The worker's own id of a call of this step."""
        key = tool_call_id or ""
        if key not in self.call_ids:
            self.call_ids[key] = self.host.new_call_id()
        return self.call_ids[key]

    async def call(self, name: str, args: dict[str, Any], ctx: RunContext[Any]) -> Any:
        """What the model is told of its call. Raises what pydantic-ai has a meaning for, and `ToolFault`."""
        spec = self.specs[name]
        call = Call(self.call_id(ctx.tool_call_id), name, args, spec.timeout)
        if spec.requires_approval and not ctx.tool_call_approved:
            if spec.approval == "deferred":
                raise ApprovalRequired
            decision = await self.host.ask_approval(call, faults=spec.faults)
            if not decision.approved:
                return denial(decision.message)
            call = call if decision.args is None else replace(call, args=decision.args)
        if spec.handler == "deferred":
            raise CallDeferred(metadata={ARGS_AFTER_APPROVAL: call.args} if spec.requires_approval else None)
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
            raise too_late(math.ceil((call.timeout or 0) * 1000)) from None
        except (ModelRetry, ToolFailed, ToolFault):
            self.host.note(Happened("tool_failed", time.monotonic() - started))
            raise
        self.host.note(Happened("tool_answered", time.monotonic() - started))
        self.answered[ctx.tool_call_id or ""] = value
        return value

    async def _call_parent(self, call: Call) -> Any:
        match await self.host.call_parent(call):
            case Returned(value, content):
                kept = plain(value)
                return replace(whole(kept), content=list(content)) if content else kept
            case Retry(message):
                raise ModelRetry(message)
            case Failed(message):
                raise ToolFailed(message)
            case Broken(message, details):
                raise ToolFault(message, details)

    async def _call_function(self, spec: ToolSpec, tool: FunctionTool[Any], call: Call, ctx: RunContext[Any]) -> Any:
        work = call_function(tool, call, ctx, self.threads)
        return await self.within(spec.timeout, call.name, work, in_thread=not tool.function_schema.is_async)

    async def within(
        self, timeout: float | None, name: str, called: Coroutine[Any, Any, Any], *, in_thread: bool = False
    ) -> Any:
        """What a function or a foreign tool returned. In a task of its own: who cancels that does not end the run.

        Raises `TimeoutError` after `timeout` seconds, `ToolFault` where the tool cancelled itself, and what it raised.
        """
        work = asyncio.create_task(called)
        try:
            await asyncio.wait([work], timeout=timeout)
        finally:
            late = not work.done()
            if late:
                with anyio.CancelScope(shield=True):
                    await self._give_up(work, in_thread=in_thread)
        if late:
            raise TimeoutError
        if work.cancelled():
            raise fault_of(name, asyncio.CancelledError("it cancelled itself"))
        return work.result()

    async def _give_up(self, work: asyncio.Task[Any], *, in_thread: bool) -> None:
        """Cancel once and wait for a moment: what goes on all the same, a thread for one, is left behind."""
        work.add_done_callback(heard_out)
        work.cancel()
        stopped, _ = await asyncio.wait([work], timeout=STOP_SECONDS)
        if in_thread or not stopped:
            self.host.note(Happened("tool_abandoned"))
