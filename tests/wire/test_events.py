"""What the worker says: the shapes of frames, and how a frame too long is made to fit."""

import json
from typing import Any, get_args, get_type_hints

import pytest

from axon_port.wire import events
from axon_port.wire.errors import WireError
from axon_port.wire.events import encode_terminal, error_frame, result_frame, shortened
from tests.kit.shapes import problems_of

from .feeds import framed_every_way

MAX = 1024
USAGE = {"requests": 1, "input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "tool_calls": 0}


def sent(frame: events.Frame, max_frame_bytes: int = MAX) -> dict[str, Any]:
    payload = encode_terminal(frame, max_frame_bytes)
    assert len(payload) <= max_frame_bytes
    found = json.loads(framed_every_way(payload))
    assert list(problems_of(found)) == []
    return found


def test_every_event_is_listed_under_its_type() -> None:
    names = [get_args(get_type_hints(event)["type"])[0] for event in events.EVENTS]
    assert names == [
        *("ready", "result", "error", "chunk", "tool_call", "tool_cancel", "approval_request", "log", "goodbye")
    ]


def test_a_result_frame_holds_the_id_and_the_result() -> None:
    assert result_frame("x", None) == {"type": "result", "id": "x", "result": None}
    assert result_frame(1, [2], status="complete")["status"] == "complete"


def test_an_error_frame_says_what_is_known_and_nothing_else() -> None:
    assert error_frame(None, WireError("Overloaded", "full")) == {
        "type": "error",
        "id": None,
        "error_type": "Overloaded",
        "message": "full",
        "retryable": True,
    }
    error = WireError("ModelHTTPError", "no", details={"status_code": 429}, retryable=True, retry_after_ms=5)
    frame = error_frame(7, error, run_id=3, call_id="1")
    assert (frame["details"], frame["retry_after_ms"], frame["run_id"], frame["call_id"]) == (
        {"status_code": 429},
        5,
        3,
        "1",
    )


def test_a_false_or_empty_detail_is_a_detail() -> None:
    assert error_frame(1, WireError("ToolError", "m", details=[]))["details"] == []
    assert error_frame(1, WireError("ToolError", "m", details=False))["details"] is False


@pytest.mark.parametrize(
    ("text", "limit", "short"),
    [
        ("", 0, ""),
        ("abc", 3, "abc"),
        ("abcd", 3, "abc… (1 more characters)"),
        ("x" * 300, 10, "x" * 10 + "… (290 more characters)"),
    ],
)
def test_a_text_too_long_says_how_much_is_missing(text: str, limit: int, short: str) -> None:
    assert shortened(text, limit) == short


def test_the_message_of_an_error_has_a_limit() -> None:
    """clause: ERR-BOUNDS"""
    frame = error_frame(1, WireError("ToolError", "m" * 100_000))
    assert len(frame["message"]) < events.MAX_MESSAGE_CHARACTERS + 50


def test_a_result_that_fits_leaves_as_it_is() -> None:
    assert sent(result_frame(1, {"a": [1, None]})) == {"type": "result", "id": 1, "result": {"a": [1, None]}}


@pytest.mark.parametrize("size", [MAX, MAX * 100])
def test_a_result_too_long_becomes_an_error_of_its_id(size: int) -> None:
    """clause: FRAME-OUT"""
    frame = result_frame("id", "x" * size, agent_id="a", usage=USAGE, messages=[], status="complete")
    error = sent(frame)
    assert (error["type"], error["id"], error["error_type"]) == ("error", "id", "ResultTooLarge")
    assert (error["agent_id"], error["usage"]) == ("a", USAGE)
    length = len(json.dumps(frame, separators=(",", ":")))
    assert error["details"] == {"length": length, "max_frame_bytes": MAX}
    assert (
        error["message"]
        == f"the result takes {length} bytes, a frame at most {MAX}: ask for less, or raise --max-frame-bytes"
    )


def test_a_result_exactly_as_long_as_a_frame_is_sent() -> None:
    empty = len(encode_terminal(result_frame(1, ""), MAX))
    assert sent(result_frame(1, "x" * (MAX - empty)))["type"] == "result"
    assert sent(result_frame(1, "x" * (MAX - empty + 1)))["error_type"] == "ResultTooLarge"


@pytest.mark.parametrize("result", [object(), {1, 2}, b"bytes", {"deep": object()}])
def test_a_result_without_a_json_form_is_an_internal_error(result: object) -> None:
    """clause: JSON-OUT-NONE"""
    error = sent(result_frame(5, result))
    assert (error["id"], error["error_type"]) == (5, "InternalError")
    assert error["message"].startswith("the answer cannot be written as JSON: ")


def test_a_result_that_holds_itself_is_an_internal_error() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    assert sent(result_frame(5, cycle))["error_type"] == "InternalError"


def test_an_error_with_details_without_a_json_form_still_leaves() -> None:
    error = sent(error_frame(5, WireError("ToolError", "m", details={"what": object()}), usage=USAGE))
    assert (error["id"], error["error_type"]) == (5, "InternalError")


def test_the_messages_of_an_error_are_the_first_to_go() -> None:
    """clause: FRAME-OUT"""
    error = sent(
        error_frame(1, WireError("Cancelled", "m", details={"a": 1}), usage=USAGE, messages=[{"m": "x" * MAX}])
    )
    assert error["messages_omitted"] is True
    assert "messages" not in error
    assert (error["error_type"], error["details"], error["usage"]) == ("Cancelled", {"a": 1}, USAGE)


def test_messages_that_fit_stay() -> None:
    error = sent(error_frame(1, WireError("Cancelled", "m"), usage=USAGE, messages=[{"m": 1}]))
    assert error["messages"] == [{"m": 1}]
    assert "messages_omitted" not in error


def test_details_too_long_go_before_the_error_does() -> None:
    error = sent(error_frame(1, WireError("ToolError", "the message", details="d" * MAX)))
    assert "details" not in error
    assert (error["error_type"], error["message"]) == ("ToolError", "the message")


def test_details_without_bound_are_cut_to_a_preview() -> None:
    """clause: ERR-BOUNDS"""
    error = sent(error_frame(1, WireError("ToolError", "m", details={"body": "d" * 10**6})), 2**20)
    assert set(error["details"]) == {"preview"}
    assert len(error["details"]["preview"]) <= events.MAX_DETAILS_BYTES


def test_a_message_too_long_for_the_frame_is_cut() -> None:
    error = sent(error_frame(1, WireError("ToolError", "\x01" * 2000)))
    assert error["message"].endswith("more characters)")


@pytest.mark.parametrize(
    "frame_id", [None, 2**63 - 1, -(2**63), "x" * 256, "\N{GRINNING FACE}" * 200, '"' * 256, "\x01" * 150]
)
def test_the_smallest_frame_has_room_for_an_error_of_each_id(frame_id: Any) -> None:
    """clause: FRAME-OUT"""
    error = sent(error_frame(frame_id, WireError("UnexpectedModelBehavior", "m" * 5000, details="d" * 5000)))
    assert error["id"] == frame_id


def test_the_smallest_frame_has_room_for_the_names_a_parent_chose() -> None:
    agent_id = "\N{GRINNING FACE}" * 220
    error = sent(result_frame(1, "x" * MAX, agent_id=agent_id, usage=USAGE, messages=[]))
    assert error["error_type"] == "ResultTooLarge"


def test_text_that_is_no_unicode_is_replaced() -> None:
    """clause: JSON-OUT-TEXT"""
    assert sent(result_frame(1, "a\ud800"))["result"] == "a\ufffd"
    assert sent(error_frame(1, WireError("ToolError", "\udfff")))["message"] == "\ufffd"
