"""Frames find the command they belong to, whatever ids a parent chose."""

from typing import Any

import pytest

from axon_port.records.conversation import Key, conversation_of
from axon_port.wire.record import Entry

from .scenes import ANSWER, CALL, RESULT, RUN, a_run_with_a_call, into, out


def test_a_command_has_all_that_was_said_to_it() -> None:
    exchange = conversation_of(a_run_with_a_call()).exchanges[Key(1, 1)]
    assert (exchange.command, exchange.said, list(exchange.calls.values())) == (RUN, [CALL, RESULT], [CALL])
    assert exchange.over


def test_an_id_that_is_used_again_begins_a_new_exchange() -> None:
    again = {**RESULT, "result": "an umbrella"}
    heard = conversation_of([into(0, RUN), out(1, RESULT), into(2, RUN), out(3, again)])
    assert heard.exchanges[Key(1, 1)].said == [RESULT]
    assert heard.exchanges[Key(1, 2)].said == [again]


def test_an_id_that_is_in_use_begins_none() -> None:
    refused = {"type": "error", "id": None, "error_type": "DuplicateId"}
    heard = conversation_of([into(0, RUN), into(1, RUN), out(2, refused), out(3, RESULT)])
    assert list(heard.exchanges) == [Key(1, 1)]
    assert heard.loose == [refused]


def test_answers_logs_and_what_has_no_id_begin_nothing() -> None:
    entries = [into(0, ANSWER), into(1, {"unreadable_bytes": 3}), out(2, {"type": "log", "id": 1, "message": "x"})]
    assert conversation_of(entries).exchanges == {}


@pytest.mark.parametrize(
    "frame",
    [
        {"type": ["x"], "id": 1},
        {"type": {}, "id": [1]},
        {"type": "run", "id": True},
        {"type": "run"},
        {"id": None},
        {"unreadable_bytes": 3},
    ],
)
def test_what_no_worker_takes_disturbs_no_command(frame: dict[str, Any]) -> None:
    told = out(2, {"left_out_frames": 3})
    heard = conversation_of([into(0, frame), into(1, {**RUN, "id": 2}), told, out(3, {**RESULT, "id": 2})])
    assert heard.exchanges[Key(2, 1)].over
    assert Key(1, 1) not in heard.exchanges or frame["id"] == 1


def test_a_number_and_its_text_are_two_ids() -> None:
    entries: list[Entry] = [into(0, RUN), into(1, {**RUN, "id": "1"}), out(2, RESULT)]
    heard = conversation_of(entries)
    assert (heard.exchanges[Key(1, 1)].over, heard.exchanges[Key("1", 1)].over) == (True, False)


LOST = {"unreadable_bytes": 3}


def loose(error_type: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "id": None, "error_type": error_type, **more}


@pytest.mark.parametrize("about", [loose("InvalidJSON"), loose("InvalidCommand"), {**loose("InvalidCommand"), "id": 9}])
def test_an_error_about_a_frame_that_is_not_recorded_is_left_out(about: dict[str, Any]) -> None:
    """clause: REPLAY-COMPARED"""
    after = loose("InvalidCommand", message="id")
    heard = conversation_of([into(0, LOST), out(1, about), into(2, {"type": "run"}), out(3, after)])
    assert heard.loose == [after]


def test_an_error_about_another_frame_is_not() -> None:
    """clause: REPLAY-COMPARED"""
    told = [loose("DuplicateId"), loose("InvalidCommand"), loose("InvalidJSON")]
    entries = [into(0, RUN), into(1, LOST), out(2, told[0]), out(3, told[1]), out(4, told[2])]
    assert conversation_of(entries).loose == [told[0], told[2]]


@pytest.mark.parametrize("about", [loose("TruncatedFrame"), loose("FrameTooLarge", fatal=True)])
def test_an_error_about_bytes_that_were_no_frame_is_left_out(about: dict[str, Any]) -> None:
    """clause: REPLAY-COMPARED"""
    assert conversation_of([out(1, about)]).loose == []


def test_a_second_end_of_a_run_is_heard() -> None:
    again = {"type": "error", "id": 1, "error_type": "Cancelled"}
    heard = conversation_of([into(0, RUN), out(1, RESULT), out(2, again)])
    assert heard.exchanges[Key(1, 1)].said == [RESULT, again]
