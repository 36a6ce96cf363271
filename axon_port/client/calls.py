"""The worker's questions during a run: tool calls, approvals, deferred calls. Each becomes one answer, whatever the
function does that is asked."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
import anyio.to_thread

from axon_port.client.exchange import Callbacks, Exchange, Resolve
from axon_port.client.results import Approved, Call, DeferredCall, Denied
from axon_port.client.tools import Failed, Retry, returned

log = logging.getLogger("axon_port.client")

THREADS: Final = 64
"""Plain functions of one worker at once, beside those that nobody waits for any more; others wait for a thread. As
many as a run's calls by default."""

Fields = dict[str, Any]


async def tool_result(exchange: Exchange, call: Call, threads: anyio.CapacityLimiter) -> Fields:
    """The fields of the answer to a tool call."""
    callbacks = exchange.callbacks
    tool = callbacks.tools.get(call.name)
    if tool is None:
        return {"error": f"the parent has no function for the tool {call.name!r}"}
    try:
        return returned(await _called(tool.bound(call), tool.function, threads))
    except Retry as retry:
        return {"retry": str(retry)}
    except Failed as failed:
        return {"failed": str(failed)}
    except BaseException as error:
        if _is_our_cancellation(error):
            raise
        exchange.raised = error
        log.exception("the tool %s failed", call.name)
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise  # the program's own end is not held up by a tool
        return {"error": f"the tool {call.name} raised {type(error).__name__}"}


async def approval(callbacks: Callbacks, call: Call) -> Fields:
    """The fields of the answer to an approval request. What is not allowed by anybody is refused."""
    if callbacks.on_approval is None:
        log.warning("nobody was there to approve a call of %s: give an `on_approval`", call.name)
        return {"approved": False, "message": "nobody is there to approve this call"}
    try:
        word = await _awaited(callbacks.on_approval(call))
    except BaseException as error:
        if _is_our_cancellation(error):
            raise
        log.exception("asking for the approval of %s failed", call.name)
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise
        return {"approved": False, "message": "the approval could not be asked for"}
    return _word(word)


async def deferred_results(resolve: Resolve, calls: Sequence[DeferredCall]) -> dict[str, Fields]:
    """An entry of `deferred_results` for each call; they are asked for together. Raises what `resolve` raises."""
    results: dict[str, Fields] = {}

    async def ask(call: DeferredCall) -> None:
        results[call.call_id] = await _deferred_result(resolve, call)

    try:
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(ask, call)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return results


async def _deferred_result(resolve: Resolve, call: DeferredCall) -> Fields:
    try:
        value = await _awaited(resolve(call))
    except Retry as retry:
        return {"retry": str(retry)}
    except Failed as failed:
        return {"failed": str(failed)}
    except asyncio.CancelledError as error:
        if _is_our_cancellation(error):
            raise
        # A task group would take it for its own, and leave the call without an entry.
        raise RuntimeError(f"asking what became of a call of {call.name} was cancelled") from error
    if call.approval or isinstance(value, Approved | Denied):
        return _word(value)
    return returned(value)


def _word(word: object) -> Fields:
    match word:
        case Approved(args=None) | True:
            return {"approved": True}
        case Approved(args=args):
            return {"approved": True, "args": dict(args or {})}
        case Denied(message=str() as message):
            return {"approved": False, "message": message}
        case _:
            return {"approved": False}


async def _called(bound: Callable[[], Any], function: object, threads: anyio.CapacityLimiter) -> Any:
    if _is_async(function):
        return await bound()
    return await _awaited(await anyio.to_thread.run_sync(bound, limiter=threads, abandon_on_cancel=True))


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _is_our_cancellation(error: BaseException) -> bool:
    """Whether somebody cancelled this task; a function may raise the same of its own accord."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
