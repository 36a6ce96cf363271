"""Keys that must never leave, and the texts they are taken out of."""

import json
from typing import Any

import pytest

from axon_port.wire import codec
from axon_port.worker.redaction import REPLACEMENT, SHORTEST, Redactor

KEY = "sk-0123456789abcdef"


def knowing(*secrets: str) -> Redactor:
    redactor = Redactor({})
    for secret in secrets:
        redactor.learn(secret)
    return redactor


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (KEY, REPLACEMENT),
        (f"key={KEY}, again {KEY}.", f"key={REPLACEMENT}, again {REPLACEMENT}."),
        (f"{KEY}{KEY}", REPLACEMENT * 2),
        (KEY[:-1], KEY[:-1]),
        (KEY.upper(), KEY.upper()),
        ("", ""),
        ("nothing in here", "nothing in here"),
    ],
)
def test_a_key_is_taken_out_of_a_text(text: str, redacted: str) -> None:
    """clause: SEC-KEYS"""
    assert knowing(KEY).text(text) == redacted


def test_a_key_is_known_without_the_white_space_around_it() -> None:
    redactor = knowing(f" {KEY}\n")
    assert redactor.text(f"[{KEY}]") == f"[{REPLACEMENT}]"
    assert redactor.text(f"[ {KEY}\n]") == f"[{REPLACEMENT}]"


@pytest.mark.parametrize("secret", ["", "a", "x" * (SHORTEST - 1)])
def test_what_is_too_short_for_a_key_stays(secret: str) -> None:
    text = f"a text with {secret} in it"
    assert knowing(secret).text(text) == text


def test_a_key_of_the_least_length_is_taken_out() -> None:
    assert knowing("x" * SHORTEST).text("x" * SHORTEST) == REPLACEMENT


@pytest.mark.parametrize("order", [(KEY, KEY + "-longer"), (KEY + "-longer", KEY)])
def test_nothing_is_left_of_a_key_around_a_shorter_one(order: tuple[str, str]) -> None:
    assert knowing(*order).text(f"<{KEY}-longer>") == f"<{REPLACEMENT}>"


def test_values_are_redacted_at_any_depth_and_keys_of_objects_stay() -> None:
    value = {"a": [KEY, {"b": f"x{KEY}"}, 1, None, True, 0.5], KEY: (KEY,)}
    assert knowing(KEY).value(value) == {
        "a": [REPLACEMENT, {"b": f"x{REPLACEMENT}"}, 1, None, True, 0.5],
        KEY: [REPLACEMENT],
    }


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "DB_PASSWORD",
        "CLIENT_SECRET",
        "my_api_key",
        "APIKEY",
    ],
)
def test_a_key_of_the_environment_is_known_by_its_name(name: str) -> None:
    """clause: SEC-KEYS"""
    assert Redactor({name: KEY}).text(KEY) == REPLACEMENT


@pytest.mark.parametrize("name", ["PATH", "HOME", "KEYBOARD", "TOKENIZERS", "MONKEY"])
def test_other_variables_are_no_keys(name: str) -> None:
    assert Redactor({name: KEY}).text(KEY) == KEY


def test_a_secret_with_characters_of_a_pattern_is_taken_literally() -> None:
    assert knowing("a.*b[c](d)").text("a.*b[c](d) axxb") == f"{REPLACEMENT} axxb"


def framed(redactor: Redactor, frame: dict[str, Any]) -> dict[str, Any]:
    return json.loads(redactor.payload(codec.encode(frame)))


def test_a_frame_without_a_key_is_not_touched() -> None:
    payload = b'{"type": "result",  "id": 1}'
    assert knowing(KEY).payload(payload) is payload


@pytest.mark.parametrize(
    "key", [KEY, 'with "quotes" and \\', "with\nlines\x01", "\u00fcml\u00e4ut-key", "\N{GRINNING FACE}" * 8]
)
def test_a_key_is_taken_out_of_a_frame_however_json_writes_it(key: str) -> None:
    """clause: SEC-KEYS"""
    frame = {"type": "error", "id": 1, "message": f"no: {key}", "details": {"body": [key, {"name": key}]}}
    redacted = framed(knowing(key), frame)
    assert redacted["message"] == f"no: {REPLACEMENT}"
    assert redacted["details"] == {"body": [REPLACEMENT, {"name": REPLACEMENT}]}


def test_words_ids_and_names_of_the_protocol_stay() -> None:
    """clause: SEC-KEYS"""
    secret = "tool_call"
    frame = {
        "type": "tool_call",
        "id": "tool_call",
        "call_id": "1",
        "agent_id": "tool_call",
        "name": "tool_call",
        "args": {"name": "tool_call"},
    }
    assert framed(knowing(secret), frame) == {**frame, "args": {"name": REPLACEMENT}}


def test_a_result_of_a_run_is_somebodys_data_and_an_answer_of_ours_is_not() -> None:
    of_a_run = {"type": "result", "id": 1, "run_id": "r", "result": {"name": KEY, KEY: [KEY]}}
    assert framed(knowing(KEY), of_a_run)["result"] == {"name": REPLACEMENT, KEY: [REPLACEMENT]}
    of_ours = {"type": "result", "id": 1, "result": {"agent_id": KEY}}
    assert framed(knowing(KEY), of_ours) == of_ours


def test_messages_stay_messages() -> None:
    messages = [{"kind": "request", "parts": [{"part_kind": "user-prompt", "content": f"use {KEY}"}]}]
    redacted = framed(knowing(KEY, "user-prompt"), {"type": "result", "id": 1, "messages": messages})
    assert redacted["messages"] == [
        {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": f"use {REPLACEMENT}"}]}
    ]


def test_numbers_of_a_frame_that_is_redacted_stay_exact() -> None:
    frame = {"type": "chunk", "id": 2**63 - 1, "data": [2**70, 0.1, KEY]}
    assert framed(knowing(KEY), frame) == {**frame, "data": [2**70, 0.1, REPLACEMENT]}


def test_a_frame_of_any_depth_is_redacted() -> None:
    """clause: SEC-KEYS"""
    deep: Any = KEY
    for _ in range(205):
        deep = [deep]
    payload = knowing(KEY).payload(codec.encode({"type": "chunk", "id": 1, "data": deep}))
    assert KEY.encode() not in payload
