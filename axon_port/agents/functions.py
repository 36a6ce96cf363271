"""Tools that are Python functions of the worker (PROTOCOL.md, TOOL-PYTHON).

A plain function runs in a thread of its own and is not waited for once nobody wants its answer: it keeps its place
among the threads until it ends, so that those that hang are bounded too. A coroutine runs on the loop. Whatever a
function raises, one answer comes of it: `SystemExit` would end the event loop, a stray `CancelledError` would leave no
answer at all.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, cast

import anyio
import anyio.to_thread
from pydantic import ValidationError
from pydantic_ai.messages import ToolReturn, UserPromptPart, tool_return_ta
from pydantic_ai.tools import RunContext
from pydantic_ai.tools import Tool as FunctionTool
from pydantic_core import PydanticSerializationError, SchemaValidator, core_schema, to_json

from axon_port.agents.ends import SAID_TO_PYDANTIC_AI, ToolFault, fault_of, heard_out, is_our_cancellation
from axon_port.agents.history import plain_of_code
from axon_port.agents.host import Call
from axon_port.wire import codec
from axon_port.wire.data import MAX_KEPT_DEPTH, too_deep
from axon_port.wire.errors import WireError

_logger = logging.getLogger("axon_port.tools")

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def signature_validator(tool: FunctionTool[Any]) -> SchemaValidator:
    """Checks arguments by the function's signature and lets them through as they came.

    What the annotations make of them is for the function alone (`call_function`): approval and deferral tell somebody
    of the arguments first, and a validator that is given its own result need not accept it.
    """

    def validate(args: Any, info: core_schema.ValidationInfo) -> Any:
        _by_signature(tool, args, info.context)
        return args

    return SchemaValidator(core_schema.with_info_after_validator_function(validate, core_schema.any_schema()))


def _by_signature(tool: FunctionTool[Any], args: Any, context: Any) -> dict[str, Any]:
    # As the JSON that they are: of a Python object a strict annotation takes no text for a date.
    written = to_json(args, inf_nan_mode="constants")
    try:
        return tool.function_schema.validator.validate_json(written, context=context)
    except (ValidationError, *SAID_TO_PYDANTIC_AI):
        raise
    except BaseException as error:
        # Of a validator in an annotation, which is code like the function.
        raise fault_of(tool.name, error) from error


async def call_function(
    tool: FunctionTool[Any], call: Call, ctx: RunContext[Any], threads: anyio.CapacityLimiter
) -> Any:
    """What the function returned.

    Raises what pydantic-ai has a meaning for (`ModelRetry`, `ToolFailed`, …), `TimeoutError` where the deadline of the
    caller passed, and `ToolFault` for everything else.
    """
    schema = tool.function_schema
    args = _by_signature(tool, call.args, ctx.validation_context)
    positional, keywords = schema._call_args(args, ctx)  # pyright: ignore[reportPrivateUsage]
    try:
        if schema.is_async:
            with _this_process_only():
                return portable(await schema.function(*positional, **keywords))
        bound = functools.partial(_guarded, schema.function, *positional, **keywords)
        value = await _in_thread(bound, threads)
        return portable(await value if inspect.isawaitable(value) else value)
    except (*SAID_TO_PYDANTIC_AI, WireError):
        raise
    except BaseException as error:
        if is_our_cancellation(error):
            raise
        raise _fault(call, error) from error


async def _in_thread(function: Callable[[], Any], threads: anyio.CapacityLimiter) -> Any:
    """What a function returns, as soon as one of the threads is free for it."""
    taken = threading.Lock()  # by the thread that begins the function, or by whoever does not want it any more

    def begin() -> Any:
        return function() if taken.acquire(blocking=False) else None

    work = asyncio.create_task(anyio.to_thread.run_sync(begin, limiter=threads))
    try:
        await asyncio.wait([work])
    except asyncio.CancelledError:
        work.add_done_callback(heard_out)
        if taken.acquire(blocking=False):
            work.cancel()
        elif threads.available_tokens == 0:
            _logger.warning("all %d threads for functions are taken, some by functions given up", threads.total_tokens)
        raise
    return work.result()


def portable(value: Any) -> Any:
    """What a function returned, if messages can hold it; a lone surrogate in it becomes U+FFFD.

    Sets become arrays, bytes base64, dataclasses and models objects, NaN null, as pydantic writes them. Raises
    `TypeError` for what has no such form: an object without fields, a cycle, a value nested too deep; `ValueError`
    for a `content` that no prompt could have.
    """
    if not isinstance(value, ToolReturn):
        kept, written = _portable(value)
        return plain_of_code(kept, written)
    returned = cast("ToolReturn[Any]", value)
    if returned.content is not None:
        UserPromptPart(returned.content)
    return replace(returned, return_value=_portable(returned.return_value)[0], metadata=_portable(returned.metadata)[0])


def _portable(content: Any) -> tuple[Any, bytes]:
    """And as it stands in a message."""
    try:
        written = tool_return_ta.dump_json(content)
        _check_iterators(content)
        # Neither a long integer nor a deep value fits into less.
        if len(written) > MAX_KEPT_DEPTH:
            _check_depth(codec.decode(written))
    except (UnicodeEncodeError, PydanticSerializationError, ValueError) as error:
        try:
            written = codec.encode(tool_return_ta.dump_python(content, mode="json"))
            plain = codec.decode(written)
            _check_depth(plain)
        except (PydanticSerializationError, ValueError, TypeError, RecursionError):
            raise TypeError(f"a {type(content).__name__} was returned that has no JSON form: {error}") from None
        return plain, written
    return content, written


def _check_iterators(content: object) -> None:
    """To be called when it has been written, which ends where a value holds itself. Raises `TypeError`."""
    walked = [content]
    for value in walked:
        if type(value) in _SCALARS:
            continue
        if isinstance(value, Iterator):
            raise TypeError("an iterator was returned, which can be read only once: return a list of what it gives")
        if isinstance(value, Mapping):
            walked.extend(cast("Mapping[object, object]", value).values())
        elif isinstance(value, list | tuple | set | frozenset):
            walked.extend(cast("Iterable[object]", value))


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
