"""Keys that must never leave, and the texts they are taken out of."""

import pytest

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
    ["OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "DB_PASSWORD", "CLIENT_SECRET", "my_api_key", "APIKEY"],
)
def test_a_key_of_the_environment_is_known_by_its_name(name: str) -> None:
    assert Redactor({name: KEY}).text(KEY) == REPLACEMENT


@pytest.mark.parametrize("name", ["PATH", "HOME", "KEYBOARD", "TOKENIZERS", "MONKEY"])
def test_other_variables_are_no_keys(name: str) -> None:
    assert Redactor({name: KEY}).text(KEY) == KEY


def test_a_secret_with_characters_of_a_pattern_is_taken_literally() -> None:
    assert knowing("a.*b[c](d)").text("a.*b[c](d) axxb") == f"{REPLACEMENT} axxb"
