"""JSON in and out: what is refused, what is kept exactly, what is replaced."""

import json
import math
from typing import Any

import pytest

from axon_port.wire import codec
from axon_port.wire.codec import JsonText, NotJson, NumberLost, clean_text, decode, encode

from .feeds import framed_every_way

DIGITS = b"7" * 5000


READ: list[tuple[bytes, Any]] = [
    (b"{}", {}),
    (b" \t\r\n[1, 2]\n", [1, 2]),
    (b"null", None),
    (b"true", True),
    (b'"text"', "text"),
    (b'""', ""),
    (b'"\\u0000\\u001f\\"\\\\\\/\\b\\f\\n\\r\\t"', '\0\x1f"\\/\b\f\n\r\t'),
    (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    ('"\N{GRINNING FACE} \u00e9 \ufffd"'.encode(), "\N{GRINNING FACE} \u00e9 \ufffd"),
    (b'"\\ufeff"', "\ufeff"),
    (b"0.1", 0.1),
    (b"-0.0", -0.0),
    (b"1.7976931348623157e308", 1.7976931348623157e308),
    (b"5e-324", 5e-324),
    (b"1e-999", 0.0),
    (b'{"a": {"b": [{}, []]}}', {"a": {"b": [{}, []]}}),
]


@pytest.mark.parametrize(("payload", "value"), READ)
def test_json_is_read_as_it_is(payload: bytes, value: Any) -> None:
    """clause: JSON-TEXT"""
    assert decode(framed_every_way(payload)) == value
    assert decode(bytearray(payload)) == value


@pytest.mark.parametrize(
    "number", [0, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, 2**70, -(10**400), 10**4299]
)
def test_an_integer_is_kept_exactly_both_ways(number: int) -> None:
    """clause: JSON-INTEGERS"""
    assert decode(framed_every_way(b'{"n": [%d]}' % number)) == {"n": [number]}
    assert encode({"n": [number]}) == b'{"n":[%d]}' % number


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"   ",
        b"\xef\xbb\xbf{}",
        '{"type": "ping"}'.encode("utf-16"),
        b"\xff",
        b'{"a": "\xff"}',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud800": 1}',
        b"{} {}",
        b"{}x",
        b"{",
        b"[1,]",
        b'{"a": 1,}',
        b"{'a': 1}",
        b"{a: 1}",
        b'"\n"',
        b'"\\x41"',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"01",
        b"+1",
        b"1.",
        b".5",
        b"0x10",
        b"tru",
        b"// comment\n{}",
        b"[" * 255 + b"]" * 255,
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"n": 1e400, "id":',
    ],
    ids=lambda payload: repr(payload[:24]),
)
def test_what_is_no_json_is_refused_with_one_error(payload: bytes) -> None:
    """clause: JSON-TEXT, JSON-DEPTH"""
    with pytest.raises(NotJson):
        decode(payload)


@pytest.mark.parametrize("depth", [100, 200])
def test_what_was_read_can_be_written_again(depth: int) -> None:
    """clause: JSON-DEPTH"""
    payload = b"[" * depth + b"]" * depth
    assert encode(decode(payload)) == payload
    objects = b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)
    assert encode(decode(objects)) == objects


def test_a_value_stands_in_two_hundred_arrays_and_objects_and_in_no_more() -> None:
    """clause: JSON-DEPTH"""
    decode(b"[" * 200 + b"1" + b"]" * 200)
    for value in (b"1", b"[]", b"{}"):
        with pytest.raises(NotJson):
            decode(b"[" * 201 + value + b"]" * 201)


def test_the_last_of_duplicate_keys_counts() -> None:
    """clause: JSON-DUPLICATES"""
    assert decode(b'{"a": 1, "b": 2, "a": 3}') == {"a": 3, "b": 2}


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1e99999999999", b"[1.5e309]", b'{"a": {"b": [0.5, 1e309]}}'])
def test_a_decimal_beyond_a_double_is_lost(number: bytes) -> None:
    """clause: JSON-DECIMALS"""
    with pytest.raises(NumberLost, match=r"^a decimal is beyond the range of an IEEE double$"):
        decode(framed_every_way(number))


@pytest.mark.parametrize("number", [DIGITS, b"-" + DIGITS, b"[" + DIGITS + b"]", b'{"a": ' + DIGITS + b"}"])
def test_an_integer_of_thousands_of_digits_is_lost(number: bytes) -> None:
    """clause: JSON-INTEGERS"""
    with pytest.raises(NumberLost, match=r"^an integer has too many digits to be kept exactly$"):
        decode(number)


@pytest.mark.parametrize("lost", [DIGITS, b"1e400"])
@pytest.mark.parametrize("frame_id", [7, "seven", 0, -1, 2**63 - 1, -(2**63), "x" * 256])
def test_the_id_beside_a_lost_number_stays_readable(lost: bytes, frame_id: object) -> None:
    payload = b'{"type": "ping", "n": [' + lost + b'], "id": ' + json.dumps(frame_id).encode() + b"}"
    with pytest.raises(NumberLost) as caught:
        decode(payload)
    value = caught.value.value
    assert isinstance(value, dict)
    assert value["id"] == frame_id


def test_what_breaks_off_behind_a_lost_number_is_no_json() -> None:
    with pytest.raises(NotJson):
        decode(b'{"n": ' + DIGITS)


def test_no_error_repeats_what_stood_there() -> None:
    with pytest.raises(NotJson) as caught:
        decode(b'{"api_key": "sk-secret-0123456789", oops}')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        ({"a": [1, "x", None, True, 0.5]}, b'{"a":[1,"x",null,true,0.5]}'),
        ([math.nan, math.inf, -math.inf], b"[null,null,null]"),
        ({"n": 2**64, "x": math.nan, "y": 0.25}, b'{"n":18446744073709551616,"x":null,"y":0.25}'),
        ("a\ud800b", b'"a\xef\xbf\xbdb"'),
        ({"\udfff": ["\ud83d"]}, b'{"\xef\xbf\xbd":["\xef\xbf\xbd"]}'),
        ("\N{GRINNING FACE}", '"\N{GRINNING FACE}"'.encode()),
        ((1, 2), b"[1,2]"),
        (JsonText(b'{"as": "it stands"}'), b'{"as": "it stands"}'),
        ({"m": JsonText(b"[1]"), "big": 2**64}, b'{"m":[1],"big":18446744073709551616}'),
        ({2**64: {1: "one", None: "none", False: 0}}, b'{"18446744073709551616":{"1":"one","null":"none","false":0}}'),
        ("\x00\x1f\x7f", b'"\\u0000\\u001f\x7f"'),
    ],
    ids=repr,
)
def test_a_value_is_written_by_one_rule(value: Any, payload: bytes) -> None:
    """clause: JSON-OUT-TEXT, JSON-OUT-NUMBERS"""
    assert encode(value) == payload


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, 1j, {"deep": [object()]}, {(1, 2): 3}, [2**64, b"x"]])
def test_what_has_no_json_form_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_a_cycle_is_a_recursion_error() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(RecursionError):
        encode(cycle)
    with pytest.raises(RecursionError):
        encode([2**64, cycle])


def test_a_value_nested_too_deep_is_a_recursion_error() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(RecursionError):
        encode(deep)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("\ud800", "\ufffd"),
        ("a\udfffb\ud800", "a\ufffdb\ufffd"),
        ("\N{GRINNING FACE}", "\N{GRINNING FACE}"),
    ],
)
def test_lone_surrogates_become_replacement_characters(text: str, clean: str) -> None:
    """clause: JSON-OUT-TEXT"""
    assert clean_text(text) == clean


def test_both_errors_are_value_errors_with_a_text() -> None:
    assert issubclass(NotJson, ValueError)
    assert issubclass(NumberLost, ValueError)
    assert str(codec.NumberLost("why", None)) == "why"


def test_a_frame_may_hold_so_many_items_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: JSON-ITEMS"""
    monkeypatch.setattr(codec, "MAX_ITEMS", 10)
    for full in (b'{"a":[[],[],[],[],[],[],[]]}', b'{"a":1,"b":2,"c":3,"d":4,"e":{"f":1,"g":2,"h":3}}'):
        assert decode(full)
        with pytest.raises(NotJson, match="more than 10 arrays, objects and keys"):
            decode(full[:-1] + b',"z":1}')


@pytest.mark.parametrize("text", [b"[[[{{{:::" * 20, b'\\"[{:\\\\' * 20, b"\\\\" * 9 + b"[" * 20, b'\\"[[[[[[[[[[[[[['])
def test_what_stands_in_a_string_is_no_item(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """clause: JSON-ITEMS"""
    monkeypatch.setattr(codec, "MAX_ITEMS", 3)
    assert decode(b'{"' + text + b'":"' + text + b'"}') == {
        json.loads(b'"' + text + b'"'): json.loads(b'"' + text + b'"')
    }
    with pytest.raises(NotJson):
        decode(b'{"' + text + b'":["' + text + b'",[[]]]}')
