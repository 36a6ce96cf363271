"""Tools that are Python functions of the worker (PROTOCOL.md, TOOL-PYTHON).

A plain function runs in a thread of its own and is not waited for once nobody wants its answer; a coroutine runs on
the loop. Whatever a function raises, one answer comes of it: `SystemExit` would end the event loop, a stray
`CancelledError` would leave no answer at all.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import anyio
import anyio.to_thread
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.messages import ToolReturn, tool_return_ta
from pydantic_ai.tools import RunContext
from pydantic_ai.tools import Tool as FunctionTool
from pydantic_core import PydanticSerializationError

from axon_port.agents.ends import ToolFault, fault_of, is_our_cancellation
from axon_port.agents.host import Call
from axon_port.wire import codec
from axon_port.wire.data import MAX_KEPT_DEPTH, too_deep
from axon_port.wire.errors import WireError

_SAID_TO_PYDANTIC_AI = (ModelRetry, ToolFailed, CallDeferred, ApprovalRequired)


async def call_function(
    tool: FunctionTool[Any], call: Call, ctx: RunContext[Any], threads: anyio.CapacityLimiter
) -> Any:
    """What the function returned.

    Raises what pydantic-ai has a meaning for (`ModelRetry`, `ToolFailed`, …), `TimeoutError` where the deadline of the
    caller passed, and `ToolFault` for everything else.
    """
    schema = tool.function_schema
    args: dict[str, Any] = schema.validator.validate_python(call.args)
    positional, keywords = schema._call_args(args, ctx)  # pyright: ignore[reportPrivateUsage]
    try:
        if schema.is_async:
            with _this_process_only():
                return portable(await schema.function(*positional, **keywords))
        bound = functools.partial(_guarded, schema.function, *positional, **keywords)
        value = await anyio.to_thread.run_sync(bound, limiter=threads, abandon_on_cancel=True)
        return portable(await value if inspect.isawaitable(value) else value)
    except (*_SAID_TO_PYDANTIC_AI, WireError):
        raise
    except BaseException as error:
        if is_our_cancellation(error):
            raise
        raise _fault(call, error) from error


def portable(value: Any) -> Any:
    """What a function returned, if messages can hold it; a lone surrogate in it becomes U+FFFD.

    Sets become arrays, bytes base64, dataclasses and models objects, NaN null, as pydantic writes them. Raises
    `TypeError` for what has no such form: an object without fields, a cycle, a value nested too deep.
    """
    content: Any = value.return_value if isinstance(value, ToolReturn) else value
    try:
        written = tool_return_ta.dump_json(content)
        # Neither a long integer nor a deep value fits into less.
        if len(written) > MAX_KEPT_DEPTH:
            _check_depth(codec.decode(written))
    except (UnicodeEncodeError, PydanticSerializationError, ValueError) as error:
        try:
            plain = codec.decode(codec.encode(tool_return_ta.dump_python(content, mode="json")))
            _check_depth(plain)
        except (PydanticSerializationError, ValueError, TypeError, RecursionError):
            raise TypeError(f"a {type(content).__name__} was returned that has no JSON form: {error}") from None
        return replace(cast("ToolReturn[Any]", value), return_value=plain) if isinstance(value, ToolReturn) else plain
    return cast("Any", value)


def _check_depth(value: object) -> None:
    if too_deep(value):
        raise ValueError(f"it is nested more than {MAX_KEPT_DEPTH} levels deep")


class _Left(Exception):
    """A thread's function raised what must not travel through an event loop."""


def _guarded(function: Any, *args: Any, **keywords: Any) -> Any:
    try:
        with _this_process_only():
            return function(*args, **keywords)
    except Exception:
        raise
    except BaseException as error:
        raise _Left(repr(error)) from error


@contextmanager
def _this_process_only() -> Generator[None]:
    """A child that the function forked and did not end leaves here: it has no business in our event loop."""
    process = os.getpid()
    status = 1
    try:
        yield
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
        raise
    finally:
        if os.getpid() != process:
            os._exit(status & 0xFF)


def _fault(call: Call, error: BaseException) -> ToolFault:
    if isinstance(error, _Left) and error.__cause__ is not None:
        error = error.__cause__
    return fault_of(call.name, error)
