"""Tools that are not ours, in a run that is: an imported agent's, a capability's (PROTOCOL.md, TOOL-FOREIGN).

pydantic-ai runs them; this capability of the run sees to it that they keep the same promises as a parent's tools: a
call that raises ends the run with `ToolError`, and one that needs approval asks the parent.
"""

from __future__ import annotations

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
from axon_port.agents.ends import SAID_TO_PYDANTIC_AI, denial, fault_of, is_our_cancellation
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

    def __init__(self, bench: ToolBench) -> None:
        self._bench = bench

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
            value = portable(await handler(args))
        except _PASSED_ON:
            raise
        except BaseException as error:
            if is_our_cancellation(error):
                raise
            host.note(Happened("tool_failed", time.monotonic() - started))
            raise fault_of(call.tool_name, error) from error
        host.note(Happened("tool_answered", time.monotonic() - started))
        return value

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Ask the parent about the calls that need approval and are not ours to defer."""
        results = DeferredToolResults()
        for part in requests.approvals:
            if part.tool_name not in self._bench.specs:
                results.approvals[part.tool_call_id] = await self._ask(part)
        return results if results.approvals else None

    async def _ask(self, part: ToolCallPart) -> ToolApproved | ToolDenied:
        call = Call(self._bench.call_id(part.tool_call_id), part.tool_name, part.args_as_dict())
        decision: Decision = await self._bench.host.ask_approval(call, faults=lambda _args: [])
        if decision.approved:
            return ToolApproved(override_args=decision.args)
        return denial(decision.message)
