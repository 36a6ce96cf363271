"""The golden frames: whole frames and what they mean, which the tests of the Elixir client read too."""

import json
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from axon_port.wire import codec
from axon_port.wire.commands import COMMANDS, parse_command
from axon_port.wire.errors import ERROR_TYPES
from axon_port.wire.framing import FrameDecoder, encode_frame
from axon_port.wire.schema import protocol_schema
from tests.kit import REPOSITORY

FILE = REPOSITORY / "examples" / "elixir" / "test" / "golden" / "frames.jsonl"
GOLDEN: dict[str, tuple[bytes, dict[str, Any]]] = {
    golden["name"]: (bytes.fromhex(golden["hex"]), golden["value"])
    for golden in map(json.loads, FILE.read_text().splitlines())
}


@cache
def validator(name: str) -> jsonschema_rs.Validator:
    whole = {key: value for key, value in protocol_schema().items() if key != "oneOf"}
    return jsonschema_rs.validator_for({**whole, "$ref": f"#/$defs/{name}"})


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_frame_means_here_what_it_means_in_elixir(name: str) -> None:
    frame, value = GOLDEN[name]
    for feed in ([frame], [bytes([byte]) for byte in frame]):
        decoder = FrameDecoder(1_000_000)
        payloads = [payload for data in feed for payload in decoder.receive(data)]
        assert [codec.decode(payload) for payload in payloads if isinstance(payload, bytes | bytearray)] == [value]
        assert not decoder.inside_frame


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_frame_is_one_of_the_protocol(name: str) -> None:
    _frame, value = GOLDEN[name]
    if value["type"] in COMMANDS:
        parse_command(value)
        validator("Command").validate(value)
    else:
        validator("Event").validate(value)


@pytest.mark.parametrize("name", GOLDEN)
def test_what_a_golden_frame_means_is_written_so_that_it_is_read_again(name: str) -> None:
    _frame, value = GOLDEN[name]
    (payload,) = FrameDecoder(1_000_000).receive(encode_frame(codec.encode(value)))
    assert isinstance(payload, bytes | bytearray)
    assert codec.decode(payload) == value


def test_every_command_has_a_golden_frame() -> None:
    assert {value["type"] for _frame, value in GOLDEN.values()} >= set(COMMANDS)


def test_every_error_type_has_a_golden_frame() -> None:
    assert {value.get("error_type") for _frame, value in GOLDEN.values()} >= set(ERROR_TYPES)
