"""The first look at a command: a type that is known, an id that can be used."""

from typing import Any

import pytest

from axon_port.wire import codec
from axon_port.wire.commands import COMMANDS
from axon_port.wire.envelope import (
    ANSWERS,
    EXCHANGES,
    MAX_ID_BYTES,
    Envelope,
    Refused,
    number_lost,
    open_envelope,
    ping_id,
    readable_id,
)

from .feeds import framed_every_way

NEEDS_ID = "id: a command needs an `id`: a string of 1 to 256 characters or a 64-bit signed integer"
NEEDS_TYPE = "type: a command needs a `type`, a string"

GOOD_IDS = [0, 1, -1, 2**63 - 1, -(2**63), "a", "1", " ", "x" * 256, "\N{GRINNING FACE}" * 256, "\x00"]
BAD_IDS = [None, True, False, 1.0, 1.5, "", "x" * 257, 2**63, -(2**63) - 1, [1], {"id": 1}]


def opened(value: Any) -> Envelope:
    return open_envelope(codec.decode(framed_every_way(codec.encode(value))))


def refusal(value: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        opened(value)
    return caught.value


def test_every_command_is_either_an_exchange_or_an_answer_to_a_run() -> None:
    assert set(COMMANDS) == EXCHANGES | ANSWERS
    assert not EXCHANGES & ANSWERS


@pytest.mark.parametrize("kind", sorted(EXCHANGES | ANSWERS))
def test_each_known_type_is_opened(kind: str) -> None:
    assert opened({"type": kind, "id": 7, "more": 1}) == (kind, 7, {"type": kind, "id": 7, "more": 1})


@pytest.mark.parametrize("frame_id", GOOD_IDS, ids=lambda value: repr(value)[:20])
def test_a_good_id_is_echoed_unchanged(frame_id: object) -> None:
    """clause: ENV-ID"""
    found = opened({"type": "ping", "id": frame_id}).id
    assert (type(found), found) == (type(frame_id), frame_id)
    assert readable_id({"id": frame_id}) == frame_id


@pytest.mark.parametrize("frame_id", BAD_IDS, ids=lambda value: repr(value)[:20])
def test_an_id_that_cannot_be_used_is_answered_with_null(frame_id: object) -> None:
    """clause: ENV-ID"""
    refused = refusal({"type": "ping", "id": frame_id})
    assert refused.id is None
    assert (refused.error.error_type, refused.error.message) == ("InvalidCommand", NEEDS_ID)
    assert refused.error.details == [{"loc": ["id"], "msg": NEEDS_ID.removeprefix("id: "), "type": "id"}]


WIDE = "\x01" * 100
"""An id of 602 bytes."""


@pytest.mark.parametrize("kind", ["ping", "run", "credit", "nothing", None])
def test_an_id_that_no_frame_could_carry_back_is_none(kind: object) -> None:
    """clause: ENV-ID-BYTES"""
    value = {"type": kind, "id": WIDE}
    with pytest.raises(Refused) as caught:
        open_envelope(value, 601)
    assert caught.value.id is None
    if kind in EXCHANGES | ANSWERS:
        assert caught.value.error.message == f"{NEEDS_ID}, of at most 601 bytes as JSON (--max-frame-bytes)"
        assert open_envelope(value, 602).id == WIDE


@pytest.mark.parametrize(("kind", "about"), [("tool_result", {"call_id": "7"}), ("run", {})])
def test_an_answer_without_an_id_still_names_its_call(kind: str, about: dict[str, str]) -> None:
    """clause: ENV-ANSWERS"""
    assert refusal({"type": kind, "id": None, "call_id": "7"}).about == about


def test_a_number_that_is_lost_is_answered_with_an_id_only_if_that_fits() -> None:
    """clause: ENV-ID-BYTES, JSON-DECIMALS"""
    lost = codec.NumberLost("a number", {"type": "credit", "id": WIDE, "n": 1})
    assert (number_lost(lost, 601).about, number_lost(lost, 602).about) == ({}, {"run_id": WIDE})
    lost = codec.NumberLost("a number", {"type": "run", "id": WIDE})
    assert (number_lost(lost, 601).id, number_lost(lost, 602).id) == (None, WIDE)


def test_a_ping_is_one_only_with_an_id_that_fits() -> None:
    """clause: ENV-ID-BYTES"""
    payload = codec.encode({"type": "ping", "id": WIDE})
    assert (ping_id(payload, 601), ping_id(payload, 602)) == (None, WIDE)
    assert ping_id(codec.encode({"type": "ping", "id": 2**63 - 1}), 320) == 2**63 - 1


def test_the_bound_of_ids_is_what_their_characters_can_take() -> None:
    assert len(codec.encode("\x01" * 256)) == MAX_ID_BYTES
    assert max(len(codec.encode(chr(code))) for code in range(0x11_0000)) == len(codec.encode("\x01"))


@pytest.mark.parametrize("value", [[], [{"type": "ping", "id": 1}], 1, "text", None, True, 1.5])
def test_what_is_no_object_is_no_command(value: object) -> None:
    """clause: ENV-OBJECT"""
    refused = refusal(value)
    assert refused.id is None
    assert refused.error.error_type == "InvalidCommand"
    assert refused.error.message == "a command is a JSON object with `type` and `id`"


@pytest.mark.parametrize("kind", [None, 1, True, ["ping"], {"ping": 1}])
def test_a_type_that_is_no_string_is_answered_with_the_id(kind: object) -> None:
    """clause: ENV-OBJECT"""
    refused = refusal({"type": kind, "id": 9})
    assert (refused.id, refused.error.error_type, refused.error.message) == (9, "InvalidCommand", NEEDS_TYPE)
    assert refused.error.details == [{"loc": ["type"], "msg": NEEDS_TYPE.removeprefix("type: "), "type": "missing"}]


@pytest.mark.parametrize(("value", "frame_id"), [({"id": 3}, 3), ({}, None), ({"id": []}, None)])
def test_a_missing_type_is_answered_with_the_id_that_can_be_read(value: Any, frame_id: object) -> None:
    """clause: ENV-OBJECT"""
    refused = refusal(value)
    assert (refused.id, refused.error.message) == (frame_id, NEEDS_TYPE)


@pytest.mark.parametrize("kind", ["", "Ping", "ping ", "results", "__class__"])
def test_an_unknown_type_is_told_with_its_name(kind: str) -> None:
    """clause: ENV-UNKNOWN"""
    refused = refusal({"type": kind, "id": "x"})
    assert (refused.id, refused.error.error_type) == ("x", "UnknownCommand")
    assert refused.error.message == f"there is no command of type {kind!r}: `axon-port schema` lists them"
    assert refused.error.details == {"type": kind}


def test_an_unknown_type_without_an_id_is_answered_with_null() -> None:
    refused = refusal({"type": "nothing"})
    assert (refused.id, refused.error.error_type) == (None, "UnknownCommand")


def test_a_type_of_any_length_is_told_shortened() -> None:
    """clause: ENV-UNKNOWN"""
    refused = refusal({"type": "t" * 100_000, "id": 1})
    assert refused.error.details == {"type": "t" * 256}
    assert len(refused.error.message) < 400


@pytest.mark.parametrize("value", [None, 5, "text", [], {"no": "id"}])
def test_no_id_is_read_where_there_is_none(value: object) -> None:
    assert readable_id(value) is None
