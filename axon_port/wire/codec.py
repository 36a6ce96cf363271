"""JSON in and out, with no number and no text changed in silence (PROTOCOL.md, JSON-*).

In: pydantic-core's parser, because it keeps integers exact, refuses NaN, a BOM and lone surrogates, and stops at
200 levels, so that whatever was accepted can be written again. Out: orjson, because it is the fastest; what it
refuses (an integer beyond 64 bits, a lone surrogate) goes through `_written_slowly`.
"""

from __future__ import annotations

import gc
import json
import math
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

import orjson

MAX_ITEMS: Final = 4_194_304
"""Arrays, objects and keys of one frame. The parser holds the interpreter while it makes them: 64 MiB of `[]` would
stop everything for seconds and take 30 times their size.
"""

COLLECTED_BYTES: Final = 1_048_576
"""Payloads above this are parsed without the collector, which would look at the half-made value again and again."""

_FEW: Final = 1024

_ITEM_SIGNS: Final = (b"[", b"{", b":")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

_BAD_NUMBER: Final = "number out of range"
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_WALKED: Final = frozenset({dict, list, float})

Payload = bytes | bytearray


class JsonText:
    """A value that is JSON bytes already; it is written into a frame as it stands.

    No dataclass: orjson writes those by itself and would not ask what to do.
    """

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"JsonText({self.text!r})"


class NotJson(ValueError):
    """The payload is not one JSON text in UTF-8. The text says what was found where, and echoes nothing."""


class NumberLost(ValueError):
    """The payload is JSON, but one of its numbers cannot be kept as it is. `value` holds the rest, for its `id`."""

    def __init__(self, message: str, value: object) -> None:
        super().__init__(message)
        self.value = value


def decode(payload: Payload) -> object:
    """The JSON value of a payload.

    Integers are exact, of duplicate keys the last one counts. Raises `NotJson`, or `NumberLost` for a decimal
    beyond an IEEE double and for an integer of thousands of digits.
    """
    if _has_too_many_items(payload):
        raise NotJson(f"it has more than {MAX_ITEMS} arrays, objects and keys")
    try:
        value = _parsed(payload)
    except ValueError as error:
        if _BAD_NUMBER not in str(error):
            raise NotJson(str(error)) from None
        rest = _without_numbers(payload)
        raise NumberLost("an integer has too many digits to be kept exactly", rest) from None
    if type(value) in _WALKED and _has_infinity(value):
        raise NumberLost("a decimal is beyond the range of an IEEE double", value)
    return value


def glance(payload: Payload) -> dict[str, Any] | None:
    """As `decode`, by the other parser, which loses digits: for looking whether it is a ping. None for no object."""
    try:
        value = orjson.loads(payload)
    except (ValueError, MemoryError):
        return None
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def encode(value: object) -> bytes:
    """The JSON text of a frame.

    NaN and infinities become null, lone surrogates U+FFFD. Raises `TypeError` for what has no JSON form and
    `RecursionError` for a value nested too deep.
    """
    try:
        return orjson.dumps(value, default=_fragment)
    except TypeError as error:
        if "Recursion limit" in str(error):
            raise RecursionError("the value is nested too deep to be written") from None
        return _written_slowly(value)


def _fragment(value: object) -> orjson.Fragment:
    if isinstance(value, JsonText):
        return orjson.Fragment(value.text)
    raise TypeError


def clean_text(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate."""
    return _SURROGATES.sub(_REPLACEMENT, text)


def _parsed(payload: Payload) -> object:
    from pydantic_core import from_json  # takes longer to import than the first ping to answer

    if len(payload) <= COLLECTED_BYTES:
        return from_json(payload, allow_inf_nan=False)
    with _collector_paused():
        return from_json(payload, allow_inf_nan=False)


def _has_too_many_items(payload: Payload) -> bool:
    if len(payload) <= MAX_ITEMS:
        return False
    items = sum(_counted(payload, sign) for sign in _ITEM_SIGNS)
    # What stands inside strings is text; it is looked at only where it matters, string by string.
    for string in _STRING.finditer(payload) if items > MAX_ITEMS else ():
        items -= sum(map(string.group().count, _ITEM_SIGNS))
        if items <= MAX_ITEMS:
            return False
    return items > MAX_ITEMS


def _counted(payload: Payload, sign: bytes) -> int:
    # Where there are few, as in one long text, finding each is several times faster than counting.
    place = -1
    for found in range(_FEW):
        place = payload.find(sign, place + 1)
        if place < 0:
            return found
    return payload.count(sign)


@contextmanager
def _collector_paused() -> Generator[None]:
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _has_infinity(value: object) -> bool:
    # The parser turns 1e400 into an infinity; a walk over the values costs less than a search through the bytes.
    walked: list[object] = [value]
    for item in walked:
        if isinstance(item, float):
            if math.isinf(item):
                return True
            continue
        inner = cast("dict[str, object]", item).values() if isinstance(item, dict) else item
        for child in cast("Iterable[object]", inner):
            if type(child) in _WALKED:
                walked.append(child)
    return False


def _without_numbers(payload: Payload) -> object:
    try:
        return json.loads(payload, parse_int=_short_int, parse_float=lambda _: None)
    except (ValueError, RecursionError):
        raise NotJson("the text breaks off behind a number of too many digits") from None


def _short_int(digits: str) -> int | None:
    return int(digits) if len(digits.lstrip("-")) < 20 else None


def _written_slowly(value: object) -> bytes:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _plain(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, JsonText):
        return _plain(json.loads(value.text))
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {clean_text(key) if isinstance(key, str) else _key(key): _plain(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("Iterable[object]", value)]
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool | int | float):
        return json.dumps(key)
    raise TypeError(f"a {type(key).__name__} is no key of a JSON object")
