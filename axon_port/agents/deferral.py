"""Runs that end with calls still open, and runs that carry on from there (PROTOCOL.md, DEFER-*)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_ai.exceptions import ModelRetry, ToolFailed
from pydantic_ai.messages import ModelMessage, ToolCallPart
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolApproved

from axon_port.agents.ends import denial
from axon_port.agents.history import unanswered_calls
from axon_port.wire import commands
from axon_port.wire.errors import WireError

ARGS_AFTER_APPROVAL: Final = "args"
"""Metadata of a deferred call: the arguments that a person put in place of the model's."""


def open_calls(requests: DeferredToolRequests) -> list[dict[str, Any]]:
    """The calls a run ended with, as `{"call_id", "name", "args"}`; those that wait for a person say `approval`."""
    waiting = [_open_call(part, requests) for part in requests.calls]
    return waiting + [{**_open_call(part, requests), "approval": True} for part in requests.approvals]


def deferred_results(
    given: Mapping[str, commands.DeferredResult], history: Sequence[ModelMessage]
) -> DeferredToolResults:
    """What became of the open calls of a history.

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
    return result.result if result.failed is None else ToolFailed(result.failed)
