"""Tools that are not ours, in a run that is: an imported agent's, a capability's (PROTOCOL.md, TOOL-FOREIGN).

pydantic-ai runs them; this capability of the run sees to it that they keep the same promises as a parent's tools: a
call that raises ends the run with `ToolError`, and one that needs approval asks the parent.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import SkipToolExecution, ToolFailedError, ToolRetryError, UnexpectedModelBehavior
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.tools import (
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolApproved,
    ToolDefinition,
    ToolDenied,
)

from axon_port.agents.bench import ToolBench
from axon_port.agents.ends import SAID_TO_PYDANTIC_AI, ToolFault, denial, fault_of, too_late
from axon_port.agents.functions import portable
from axon_port.agents.host import Call, Decision, Happened
from axon_port.wire.errors import WireError

_PASSED_ON: Final = (
    *SAID_TO_PYDANTIC_AI,
    SkipToolExecution,
    ToolFailedError,
    ToolRetryError,
    UnexpectedModelBehavior,
    ValidationError,
    WireError,
)
"""More than a function of ours may say: between the guard and the tool stand pydantic-ai's count of retries and the
hooks of other capabilities, whose words these are."""


@dataclass(init=False)
class RunGuard(AbstractCapability[Any]):
    """Watches the tools of one run that are not on its bench."""

    def __init__(self, bench: ToolBench, timeout_ms: int | None) -> None:
        self._bench = bench
        self._timeout_ms = timeout_ms

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: Any,
    ) -> Any:
        if call.tool_name in self._bench.specs:
            return await handler(args)
        host, started = self._bench.host, time.monotonic()
        host.note(Happened("tool_called"))
        try:
            timeout = None if self._timeout_ms is None else self._timeout_ms / 1000
            value = await self._bench.within(timeout, call.tool_name, _called(call.tool_name, handler, args))
        except TimeoutError:
            host.note(Happened("tool_timed_out", time.monotonic() - started))
            raise too_late(self._timeout_ms) from None
        except ToolFault:
            host.note(Happened("tool_failed", time.monotonic() - started))
            raise
        host.note(Happened("tool_answered", time.monotonic() - started))
        self._bench.answered[call.tool_call_id] = value
        return value

    async def on_tool_execute_error(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        error: Exception,
    ) -> Any:
        # Of the tool itself: its arguments have been checked. From a hook it is what the model did wrong.
        if isinstance(error, ValidationError) and call.tool_name not in self._bench.specs:
            raise fault_of(call.tool_name, error) from error
        raise error

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Ask the parent about the calls that need approval and are not ours to defer, all at once."""
        foreign = [part for part in requests.approvals if part.tool_name not in self._bench.specs]
        if not foreign:
            return None
        decisions = await asyncio.gather(*map(self._ask, foreign))
        ids = [part.tool_call_id for part in foreign]
        return DeferredToolResults(approvals=dict(zip(ids, decisions, strict=True)))

    async def _ask(self, part: ToolCallPart) -> ToolApproved | ToolDenied:
        call = Call(self._bench.call_id(part.tool_call_id), part.tool_name, part.args_as_dict())
        decision: Decision = await self._bench.host.ask_approval(call, faults=lambda _args: [])
        if decision.approved:
            return ToolApproved(override_args=decision.args)
        return denial(decision.message)


async def _called(name: str, handler: Any, args: dict[str, Any]) -> Any:
    try:
        return portable(await handler(args))
    except (*_PASSED_ON, asyncio.CancelledError):
        raise
    except BaseException as error:
        # Here, because a `SystemExit` that leaves a task ends the event loop.
        raise fault_of(name, error) from error
