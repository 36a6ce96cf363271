"""What a model answered, before anything else looks at it (PROTOCOL.md, MODEL-FINISH).

A provider can say whatever it likes. What no frame could hold, or no later request could, goes no further.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, cast

from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.usage import RequestUsage
from pydantic_core import from_json

from axon_port.wire import codec
from axon_port.wire.data import too_deep

MAX_COUNT: Final = 2**53
"""Of a count of tokens. Some thousand digits are an integer to a provider's client; added up they cannot be written,
and `stats` would be lost for good."""

_ODD_NUMBER: Final = re.compile(r"NaN|Infinity|\d[eE]\+?\d{3}")
"""What a text with a number beyond those of JSON has somewhere."""

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}".encode()


def counts_make_sense(usage: RequestUsage) -> bool:
    """Whether every count could be one."""
    return all(abs(count) <= MAX_COUNT for count in _counts(usage))


def readable(response: ModelResponse) -> ModelResponse:
    """The response as any later request can send it.

    Lone surrogates become U+FFFD, and a NaN or an infinity in arguments null. Arguments nested deeper than a frame may
    be become text, which their check refuses as it refuses such arguments that came as text; the model is told.
    """
    parts = [_readable_part(part) for part in response.parts]
    unchanged = all(new is old for new, old in zip(parts, response.parts, strict=True))
    return response if unchanged else replace(response, parts=parts)


def _readable_part(part: Any) -> Any:
    if isinstance(part, TextPart | ThinkingPart):
        content = _clean(part.content)
        return part if content is part.content else replace(part, content=content)
    if isinstance(part, ToolCallPart):
        part = cast("ToolCallPart[Any]", part)
        name, args, call_id = _clean(part.tool_name), _readable_args(part.args), _clean(part.tool_call_id)
        if name is not part.tool_name or args is not part.args or call_id is not part.tool_call_id:
            return replace(part, tool_name=name, args=args, tool_call_id=call_id)
    return part


def _readable_args(args: Any) -> Any:
    if isinstance(args, str):
        return _finite(_clean(args))
    if too_deep(args):
        return json.dumps(args)
    if args:
        written = codec.encode(args)
        if _REPLACEMENT in written or not _is_finite(args):
            return codec.decode(written)
    return args


def _finite(text: str) -> str:
    """A text of arguments as the parent is told them: what was no number is null."""
    if not _ODD_NUMBER.search(text):
        return text
    try:
        args = from_json(text)
    except ValueError:
        return text
    return text if _is_finite(args) else codec.encode(args).decode()


def _is_finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _clean(text: str) -> str:
    return text if _is_text(text) else codec.clean_text(text)


def _is_text(text: str) -> bool:
    """Whether UTF-8 can hold it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _counts(usage: RequestUsage) -> Iterator[int]:
    for value in vars(usage).values():
        if isinstance(value, int):
            yield value
    yield from usage.details.values()
