"""The codec: what goes in comes out, or is refused with a documented error."""

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from axon_port.cli import MIN_FRAME_BYTES
from axon_port.wire import codec
from axon_port.wire.codec import JsonText, NotJson, NumberLost, clean_text
from axon_port.wire.envelope import MAX_ID_BYTES, readable_id
from axon_port.wire.errors import ERROR_TYPES, ErrorType, WireError
from axon_port.wire.events import BESIDE_ID_BYTES, encode_terminal, error_frame, result_frame
from axon_port.worker.exchanges import last_words
from axon_port.worker.redaction import Redactor
from tests.kit.frames import loads

from .profile import ANY_TEXT, IDS, INTEGERS, LONG_IDS, UNICODE, bounded, json_values

FINITE = st.floats(allow_nan=False, allow_infinity=False)
EXACT = json_values(UNICODE, FINITE)
HOSTILE = json_values(ANY_TEXT, st.floats())


def cleaned(value: Any) -> Any:
    """What the contract says of a value on its way out."""
    match value:
        case str():
            return clean_text(value)
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [cleaned(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return {clean_text(key): cleaned(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case _:
            return value


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same kinds: 1, 1.0 and true are three values."""
    return repr(left) == repr(right)


@bounded(700)
@given(EXACT)
def test_json_values_go_round_unchanged(value: Any) -> None:
    """clause: JSON-TEXT, JSON-INTEGERS"""
    assert same(codec.decode(codec.encode(value)), value)


@bounded(700)
@given(HOSTILE)
def test_any_value_is_written_and_only_what_json_cannot_hold_is_replaced(value: Any) -> None:
    """clause: JSON-OUT-TEXT, JSON-OUT-NUMBERS"""
    written = codec.encode(value)
    found = codec.decode(written)
    assert same(found, cleaned(value))
    assert same(json.loads(written), found)


@bounded(300)
@given(HOSTILE, HOSTILE)
def test_json_that_was_written_before_is_taken_as_it_stands(inner: Any, beside: Any) -> None:
    text = JsonText(codec.encode(inner))
    assert same(codec.decode(codec.encode([text, beside])), cleaned([inner, beside]))


@bounded(1500)
@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode), EXACT.map(codec.encode)), st.data())
def test_any_bytes_are_json_or_one_documented_error(payload: bytes, data: st.DataObject) -> None:
    if payload and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload = payload[:place] + data.draw(st.binary(max_size=2)) + payload[place + 1 :]
    try:
        value = codec.decode(payload)
    except (NotJson, NumberLost):
        return
    assert same(json.loads(payload), value)
    assert same(codec.decode(codec.encode(value)), value)


@bounded(300)
@given(INTEGERS, st.integers(0, 20))
def test_an_integer_is_kept_at_any_depth(number: int, depth: int) -> None:
    payload = b"[" * depth + str(number).encode() + b"]" * depth
    assert codec.encode(codec.decode(payload)) == payload


@bounded(500)
@given(IDS, HOSTILE, st.integers(1024, 5000))
def test_a_result_always_leaves_as_one_frame_that_fits(frame_id: Any, value: Any, limit: int) -> None:
    """clause: FRAME-OUT"""
    frame = loads(encode_terminal(result_frame(frame_id, value), max(limit, 6 * 256 + 1024)))
    assert same(frame["id"], clean_text(frame_id) if isinstance(frame_id, str) else frame_id)
    assert frame["type"] == "result" or frame["error_type"] == "ResultTooLarge"


@bounded(500)
@given(
    st.sampled_from(ERROR_TYPES),
    ANY_TEXT.map(lambda text: text * 300),
    HOSTILE,
    st.one_of(st.none(), st.lists(HOSTILE)),
)
def test_an_error_always_leaves_as_one_frame_that_fits(kind: ErrorType, text: str, details: Any, messages: Any) -> None:
    """clause: FRAME-OUT"""
    extra = {} if messages is None else {"messages": messages}
    payload = encode_terminal(error_frame(1, WireError(kind, text, details=details), **extra), 1024)
    assert len(payload) <= 1024
    frame = loads(payload)
    assert (frame["id"], frame["error_type"]) == (1, kind)


EVERY_LIMIT = st.integers(MIN_FRAME_BYTES, MAX_ID_BYTES + BESIDE_ID_BYTES + 1)
"""All limits with which an id can be too long, and one more."""


@bounded(700)
@given(st.one_of(LONG_IDS, IDS), EVERY_LIMIT, st.sampled_from(ERROR_TYPES), ANY_TEXT, HOSTILE)
def test_an_id_that_is_taken_always_comes_back_in_a_frame_that_fits(
    frame_id: Any, limit: int, kind: ErrorType, text: str, value: Any
) -> None:
    """clause: ENV-ID-BYTES, FRAME-OUT"""
    if readable_id({"id": frame_id}, limit - BESIDE_ID_BYTES) is None:
        assert len(codec.encode(frame_id)) > limit - BESIDE_ID_BYTES
        return
    error = WireError(kind, text * 300, details=value, retry_after_ms=2**63 - 1)
    extra: dict[str, Any] = {"agent_id": frame_id, "usage": {"requests": 1}, "messages": [value, "x" * limit]}
    for frame in (error_frame(frame_id, error, **extra), result_frame(frame_id, value, **extra)):
        payload = encode_terminal(frame, limit)
        assert len(payload) <= limit
        assert loads(payload)["id"] == frame_id
    assert len(last_words(frame_id)) <= limit
    assert len(encode_terminal(error_frame(None, error, run_id=frame_id, call_id="9"), limit)) <= limit


@bounded(300)
@given(st.one_of(LONG_IDS, IDS))
def test_no_id_is_too_long_for_a_frame_of_common_length(frame_id: Any) -> None:
    """clause: ENV-ID, ENV-ID-BYTES"""
    assert readable_id({"id": frame_id}, MAX_ID_BYTES) == frame_id
    assert len(codec.encode(frame_id)) <= MAX_ID_BYTES


@bounded(300)
@given(st.text(min_size=8, max_size=12), st.lists(st.text(max_size=5), min_size=2, max_size=5))
def test_no_key_is_left_in_a_text(key: str, around: list[str]) -> None:
    redactor = Redactor({})
    redactor.learn(key)
    redacted = redactor.text(key.join(around))
    assert key not in redacted.replace("[redacted]", "\0")
