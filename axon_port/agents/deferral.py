"""Runs that end with calls still open, and runs that carry on from there (PROTOCOL.md, DEFER-*)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ModelRetry, ToolFailed
from pydantic_ai.messages import ModelMessage, ToolCallPart, ToolReturnPart
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext, ToolApproved
from pydantic_graph import End

from axon_port.agents.ends import denial
from axon_port.agents.history import close_calls, enqueued, plain, unanswered_calls
from axon_port.wire import commands
from axon_port.wire.errors import WireError

ARGS_AFTER_APPROVAL: Final = "args"
"""Metadata of a deferred call: the arguments that a person put in place of the model's."""


NOT_MADE: Final = "The call was not made: the same answer held the final result."
"""What the model is told of a deferred call beside its result, as of every other that nobody needs any more."""


@dataclass(init=False)
class DeferredEnd(AbstractCapability[Any]):
    """Sees to the end of a run that may leave calls open (DEFER-TOOL, RUN-ENQUEUE).

    `on_deferred` is called when nothing more can be added to the run, `on_closed` for each call that is not made.
    """

    def __init__(self, on_deferred: Callable[[], None], on_closed: Callable[[ToolReturnPart], None]) -> None:
        self._on_deferred = on_deferred
        self._on_closed = on_closed

    async def after_node_run(self, ctx: RunContext[Any], *, node: Any, result: Any) -> Any:
        if _has_ended(result):
            self._see_to_the_end(ctx, result.data.output)
        return result

    def _see_to_the_end(self, ctx: RunContext[Any], output: Any) -> None:
        if isinstance(output, DeferredToolRequests):
            self._on_deferred()
            _keep_enqueued(ctx)
            return
        # pydantic-ai closes calls that it knew to be deferred, not those of which their tool says so.
        for part in close_calls(ctx.messages, NOT_MADE, outcome="success"):
            self._on_closed(part)


def _has_ended(result: Any) -> bool:
    return isinstance(result, End)


def _keep_enqueued(ctx: RunContext[Any]) -> None:
    """What was enqueued is for the run that carries on: now the model would not know what became of its calls."""
    if ctx.pending_messages is not None:
        ctx.messages.extend(enqueued(ctx.pending_messages, ctx.messages[-1]))
        ctx.pending_messages.clear()


def open_calls(requests: DeferredToolRequests) -> list[dict[str, Any]]:
    """The calls a run ended with, as `{"call_id", "name", "args"}`; those that wait for a person say `approval`."""
    waiting = [_open_call(part, requests) for part in requests.calls]
    return waiting + [{**_open_call(part, requests), "approval": True} for part in requests.approvals]


def deferred_results(
    given: Mapping[str, commands.DeferredResult], history: Sequence[ModelMessage]
) -> DeferredToolResults | None:
    """What became of the open calls of a history; None where there are none, and none are given.

    Raises `WireError` `InvalidHistory` where the results are for other calls, or leave one open.
    """
    expected = set(unanswered_calls(history))
    if set(given) != expected:
        message = "`deferred_results` do not fit the history: one is needed for each open call and for no other"
        details = {
            "open": sorted(expected),
            "missing": sorted(expected - set(given)),
            "unknown": sorted(set(given) - expected),
        }
        raise WireError("InvalidHistory", message, details=details)
    if not given:
        return None
    results = DeferredToolResults()
    for call_id, result in given.items():
        if result.approved is None:
            results.calls[call_id] = _outcome(result)
        elif result.approved:
            results.approvals[call_id] = ToolApproved(override_args=result.args)
        else:
            results.approvals[call_id] = denial(result.message)
    return results


def call_args(part: ToolCallPart) -> Any:
    """A call's arguments as JSON; as the text that the model sent, where that is none."""
    try:
        return part.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        return part.args


def _open_call(part: ToolCallPart, requests: DeferredToolRequests) -> dict[str, Any]:
    metadata = requests.metadata.get(part.tool_call_id) or {}
    args = metadata.get(ARGS_AFTER_APPROVAL)
    return {"call_id": part.tool_call_id, "name": part.tool_name, "args": call_args(part) if args is None else args}


def _outcome(result: commands.DeferredResult) -> Any:
    if result.retry is not None:
        return ModelRetry(result.retry)
    return plain(result.result) if result.failed is None else ToolFailed(result.failed)
