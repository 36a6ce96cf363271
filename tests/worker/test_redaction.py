"""Keys that must never leave, and the texts they are taken out of."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_port.doctor import PROVIDERS
from axon_port.wire import codec
from axon_port.wire.events import shortened
from axon_port.wire.words import REDACTED
from axon_port.worker import redaction
from axon_port.worker.redaction import FEW, SHORTEST, Redactor, secret_names
from tests.properties.profile import bounded

KEY = "sk-0123456789abcdef"


def knowing(*secrets: str) -> Redactor:
    redactor = Redactor({})
    for secret in secrets:
        redactor.learn(secret)
    return redactor


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (KEY, REDACTED),
        (f"key={KEY}, again {KEY}.", f"key={REDACTED}, again {REDACTED}."),
        (f"{KEY}{KEY}", REDACTED * 2),
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
    assert redactor.text(f"[{KEY}]") == f"[{REDACTED}]"
    assert redactor.text(f"[ {KEY}\n]") == f"[{REDACTED}]"


@pytest.mark.parametrize("secret", ["", "a", "x" * (SHORTEST - 1)])
def test_what_is_too_short_for_a_key_stays(secret: str) -> None:
    text = f"a text with {secret} in it"
    assert knowing(secret).text(text) == text


def test_a_key_of_the_least_length_is_taken_out() -> None:
    assert knowing("x" * SHORTEST).text("x" * SHORTEST) == REDACTED


@pytest.mark.parametrize("order", [(KEY, KEY + "-longer"), (KEY + "-longer", KEY)])
def test_nothing_is_left_of_a_key_around_a_shorter_one(order: tuple[str, str]) -> None:
    assert knowing(*order).text(f"<{KEY}-longer>") == f"<{REDACTED}>"


def test_values_are_redacted_at_any_depth_and_keys_of_objects_stay() -> None:
    value = {"a": [KEY, {"b": f"x{KEY}"}, 1, None, True, 0.5], KEY: (KEY,)}
    assert knowing(KEY).value(value) == {
        "a": [REDACTED, {"b": f"x{REDACTED}"}, 1, None, True, 0.5],
        KEY: [REDACTED],
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
        *(name for names in PROVIDERS.values() for name in names),
    ],
)
def test_a_key_of_the_environment_is_known_by_its_name(name: str) -> None:
    """clause: SEC-KEYS"""
    assert Redactor({name: KEY}).text(KEY) == REDACTED
    assert secret_names({name: KEY}) == [name]


@pytest.mark.parametrize("name", ["PATH", "HOME", "KEYBOARD", "TOKENIZERS", "MONKEY", "KEY_DIRECTORY"])
def test_other_variables_are_no_keys(name: str) -> None:
    assert Redactor({name: KEY}).text(KEY) == KEY


def test_a_secret_with_characters_of_a_pattern_is_taken_literally() -> None:
    assert knowing("a.*b[c](d)").text("a.*b[c](d) axxb") == f"{REDACTED} axxb"


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
    assert redacted["message"] == f"no: {REDACTED}"
    assert redacted["details"] == {"body": [REDACTED, {"name": REDACTED}]}


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
    assert framed(knowing(secret), frame) == {**frame, "args": {"name": REDACTED}}


def test_a_result_of_a_run_is_somebodys_data_and_an_answer_of_ours_is_not() -> None:
    of_a_run = {"type": "result", "id": 1, "run_id": "r", "result": {"name": KEY, KEY: [KEY]}}
    assert framed(knowing(KEY), of_a_run)["result"] == {"name": REDACTED, KEY: [REDACTED]}
    of_ours = {"type": "result", "id": 1, "result": {"agent_id": KEY}}
    assert framed(knowing(KEY), of_ours) == of_ours


def test_messages_stay_messages() -> None:
    messages = [{"kind": "request", "parts": [{"part_kind": "user-prompt", "content": f"use {KEY}"}]}]
    redacted = framed(knowing(KEY, "user-prompt"), {"type": "result", "id": 1, "messages": messages})
    assert redacted["messages"] == [
        {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": f"use {REDACTED}"}]}
    ]


def test_numbers_of_a_frame_that_is_redacted_stay_exact() -> None:
    frame = {"type": "chunk", "id": 2**63 - 1, "data": [2**70, 0.1, KEY]}
    assert framed(knowing(KEY), frame) == {**frame, "data": [2**70, 0.1, REDACTED]}


def test_a_frame_of_any_depth_is_redacted() -> None:
    """clause: SEC-KEYS"""
    deep: Any = KEY
    for _ in range(205):
        deep = [deep]
    payload = knowing(KEY).payload(codec.encode({"type": "chunk", "id": 1, "data": deep}))
    assert KEY.encode() not in payload


@pytest.mark.parametrize("payload", [f'["{KEY}"]', f'"{KEY}"', f'["{KEY[:9]}\u2026 (3 more characters)"]'])
def test_json_that_is_no_object_is_redacted_too(payload: str) -> None:
    assert KEY[:9] not in knowing(KEY).payload(payload.encode()).decode()


@pytest.mark.parametrize("kept", [4, 10, len(KEY) - 1])
@pytest.mark.parametrize("around", ["{}", "it failed (Error: {}) and so on", "{}; then {}"])
def test_of_a_key_that_was_cut_nothing_is_left_wherever_the_text_was_put(kept: int, around: str) -> None:
    """clause: SEC-KEYS"""
    cut = shortened(f"no: {KEY} is wrong", 4 + kept)
    text = around.replace("{}", cut)
    redacted = knowing(KEY).text(text)
    assert redacted == text.replace(KEY[:kept], REDACTED)
    assert framed(knowing(KEY), {"type": "error", "id": 1, "message": text})["message"] == redacted


@pytest.mark.parametrize("mark", range(1, len("… (17 more characters)")))
def test_of_a_key_that_was_cut_nothing_is_left_where_the_mark_was_cut_too(mark: int) -> None:
    """clause: SEC-KEYS"""
    once = shortened(f"no: {KEY} is wrong", 12)
    text = shortened(once, 12 + mark)
    assert knowing(KEY).text(text) == text.replace(KEY[:8], REDACTED)


@pytest.mark.parametrize("text", [f"set {KEY[:9]}… (your key)", f"{KEY[:9]}… (2024), {KEY[:5]}…", f"{KEY[:9]}… (3)"])
def test_three_dots_of_anybody_s_are_no_cut(text: str) -> None:
    """However it is told: in pieces, whole, or beside what was cut. clause: SEC-KEYS"""
    redactor = knowing(KEY)
    beside = f" and {shortened(f'x: {KEY}', 3)}"
    assert redactor.text(text) == text
    assert redactor.text(text + "." * 32 + beside) == text + "." * 32 + beside
    for at in range(len(text)):
        assert redactor.text(text[:at]) + redactor.text(text[at:]) == text
    frame = {"type": "result", "id": 1, "run_id": "r", "result": text}
    assert framed(redactor, frame) == frame


BEGIN, END = "-----BEGIN KEY-----", "-----END KEY-----"
LINES = ["MIIEvgIBADANBgkqhkiG9w0BAQEFAASC", '  "private": "Q29uZmlkZW50aWFs"', "a quarter"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_key_of_several_lines_is_taken_out_line_by_line(end: str) -> None:
    """clause: SEC-KEYS"""
    key = end.join([BEGIN, *LINES, "short=", END, ""])
    redactor = knowing(key)
    for line in LINES:
        redacted = line.replace(line.strip(), REDACTED)
        assert redactor.text(line) == redacted
        assert framed(redactor, {"type": "log", "message": line})["message"] == redacted
    assert redactor.text(f"<{key}>") == f"<{REDACTED}>"
    assert redactor.text("\n".join([BEGIN, "short=", "------------", END])) == f"{BEGIN}\nshort=\n------------\n{END}"


def test_a_key_of_the_environment_that_is_no_unicode_is_taken_out() -> None:
    """clause: SEC-KEYS"""
    key = "\udcff-0123456789"
    redactor = Redactor({"SHOP_TOKEN": key})
    assert redactor.text(f"<{key}>") == f"<{REDACTED}>"
    assert framed(redactor, {"type": "chunk", "id": 1, "data": f"<{key}>"})["data"] == f"<{REDACTED}>"


# ---------------------------------------------------------------- many keys

NEAR = st.text("xyz\x01\u00fc", min_size=SHORTEST, max_size=SHORTEST + 3)
"""Keys that begin alike, overlap and hold each other."""


@bounded(200)
@given(st.lists(NEAR, min_size=1, max_size=3 * FEW), st.lists(st.text("xyz\x01\u00fc", max_size=12), max_size=4))
def test_of_many_keys_each_is_taken_out_as_of_few(keys: list[str], around: list[str]) -> None:
    """clause: SEC-KEYS"""
    redactor = knowing(*keys)
    for key in keys:
        text = redacted = key.join(around)
        for one in sorted(keys, key=lambda key: (len(key), key), reverse=True):
            redacted = redacted.replace(one, REDACTED)
        assert redactor.text(text) == redacted
        assert framed(redactor, {"type": "chunk", "id": 1, "data": text})["data"] == redacted


@bounded(200)
@given(st.lists(NEAR, min_size=1, max_size=3 * FEW), st.text("xyz\u00fc", max_size=20))
def test_the_longest_beginning_of_any_key_is_found_at_the_end(keys: list[str], text: str) -> None:
    """clause: SEC-KEYS"""
    forms = {
        form for key in keys for one in (key, key.strip()) for form in (one, json.dumps(one)[1:-1], repr(one)[1:-1])
    }
    beginnings = (form[:length] for form in forms if len(form) >= SHORTEST for length in range(1, len(form)))
    assert knowing(*keys).begun(text) == max((len(one) for one in beginnings if text.endswith(one)), default=0)


class Searched(str):
    """A text that counts how often it is searched for a key."""

    __slots__ = ("searches",)

    def __init__(self, _text: str) -> None:
        self.searches = 0

    def __contains__(self, key: str) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.searches += 1
        return super().__contains__(key)

    def find(self, *args: Any) -> int:
        self.searches += 1
        return super().find(*args)

    def startswith(self, *args: Any) -> bool:
        self.searches += 1
        return super().startswith(*args)


def test_a_text_is_not_searched_for_each_of_many_keys() -> None:
    redactor = knowing(*(f"sk-{number:016}" for number in range(1000)))
    text = Searched("the task is to ask for nothing that begins otherwise than sk-00000 and more")
    assert redactor.text(text) == text
    assert redactor.begun(text) == 0
    assert text.searches <= FEW


def test_a_key_costs_the_same_however_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = knowing(*(f"sk-{number:016}" for number in range(1000)))
    encoded: list[Any] = []

    def dumps(value: Any, **how: Any) -> str:
        encoded.append(value)
        return json.JSONEncoder(**how).encode(value)

    monkeypatch.setattr(redaction.json, "dumps", dumps)
    redactor.learn(KEY)
    assert 0 < len(encoded) < 20
    encoded.clear()
    redactor.learn(KEY)
    assert encoded == []
