"""The session without I/O: what it lets through, what it refuses, and that each request has one fate."""

from __future__ import annotations

from typing import Any

import pytest

from axon_port.client import errors
from axon_port.client.errors import ProtocolViolation
from axon_port.client.session import LIMITS, OF_A_RUN, REQUIRED, Frame, Session
from axon_port.wire.codec import decode, encode
from axon_port.wire.framing import encode_frame
from axon_port.wire.schema import protocol_schema

from .peers import READY

RUN_RESULT: Frame = {"agent_id": "a", "run_id": "r", "status": "complete", "usage": {}, "duration_ms": 1}


def packed(*frames: Frame) -> bytes:
    return b"".join(encode_frame(encode(frame)) for frame in frames)


def serving() -> Session[str]:
    session = Session[str](4096)
    hear(session, READY)
    return session


def hear(session: Session[str], *frames: Frame) -> list[tuple[str, str | None]]:
    """Types and owners of what the session makes of the frames."""
    return [(heard.frame["type"], heard.owner) for heard in session.receive(packed(*frames))]


def ask(session: Session[str], kind: str, owner: str = "somebody", **fields: Any) -> int:
    return session.request(kind, fields, owner)[0]


def sent(frame: bytes | None) -> Any:
    assert frame is not None
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return decode(frame[4:])


def call(run: int, call_id: str = "1", kind: str = "tool_call") -> Frame:
    return {"type": kind, "id": run, "call_id": call_id, "agent_id": "a", "name": "t", "args": {}}


def chunk(run: int, seq: int) -> Frame:
    return {"type": "chunk", "id": run, "seq": seq, "step": 1, "kind": "text", "data": "x"}


def complaint(**fields: Any) -> Frame:
    about = {"error_type": "InvalidCommand", "message": "no", "retryable": False}
    return {"type": "error", "id": None, **about, **fields}


def test_the_fields_it_counts_on_are_those_that_every_event_has() -> None:
    shapes = protocol_schema()["$defs"]
    by_type = {shape["properties"]["type"]["const"]: shape for shape in shapes.values() if is_event(shape)}
    assert {kind: {"type", *fields} for kind, fields in REQUIRED.items()} == {
        kind: set(shape["required"]) for kind, shape in by_type.items()
    }
    assert set(LIMITS) == set(shapes["Limits"]["required"])
    assert set(OF_A_RUN) <= set(shapes["Result"]["properties"])


def is_event(shape: Frame) -> bool:
    return shape.get("properties", {}).get("type", {}).get("const") in REQUIRED


def test_nothing_can_be_sent_before_ready_and_nothing_after_the_goodbye() -> None:
    session = Session[str](4096)
    with pytest.raises(RuntimeError):
        ask(session, "ping")
    hear(session, READY)
    assert ask(session, "ping") == 1
    hear(session, {"type": "goodbye", "reason": "eof"})
    with pytest.raises(RuntimeError):
        ask(session, "ping")
    assert session.phase == "leaving"


def test_a_request_is_a_frame_with_an_id_of_its_own() -> None:
    session = serving()
    first, frame = session.request("run", {"agent_id": "a", "prompt": "héllo"}, "me")
    assert sent(frame) == {"type": "run", "id": first, "agent_id": "a", "prompt": "héllo"}
    assert ask(session, "ping") != first


def test_a_terminal_frame_goes_to_its_owner_and_frees_the_id() -> None:
    session = serving()
    ping, run = ask(session, "ping", "pinger"), ask(session, "run", "runner")
    error = {"type": "error", "id": run, "error_type": "Timeout", "message": "late", "retryable": True}
    assert hear(session, {"type": "result", "id": ping, "result": {}}, error) == [
        ("result", "pinger"),
        ("error", "runner"),
    ]
    assert session.pending == 0
    with pytest.raises(ProtocolViolation, match="over or never was"):
        hear(session, error)


def test_the_end_is_the_fate_of_those_that_have_none() -> None:
    session = serving()
    done = ask(session, "ping", "done")
    ask(session, "run", "first")
    ask(session, "run", "second")
    hear(session, {"type": "result", "id": done, "result": {}})
    assert session.close() == ["first", "second"]
    assert session.close() == []
    assert hear(session, READY) == []


@pytest.mark.parametrize("pieces", [1, 2, 3, 7])
def test_pieces_have_no_meaning(pieces: int) -> None:
    session = Session[str](4096)
    data = packed(READY, {"type": "goodbye", "reason": "eof"})
    heard = [one.frame["type"] for at in range(0, len(data), pieces) for one in session.receive(data[at : at + pieces])]
    assert heard == ["ready", "goodbye"]
    assert not session.inside_frame


def test_what_a_later_version_may_say_is_let_through() -> None:
    session = serving()
    assert hear(session, {"type": "weather", "degrees": 8}) == [("weather", None)]


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([{"type": "log", "timestamp": "t", "level": "info", "logger": "l", "message": "m"}], "first frame"),
        ([READY, READY], "comes once"),
        ([{**READY, "protocol": 2}], "speaks protocol 2"),
        ([{**READY, "limits": {}}], "no usable `max_frame_bytes`"),
        ([{**READY, "pid": "1"}], "`ready` has no usable `pid`"),
        ([READY, {"type": "result", "id": 1}], "`result` has no usable `result`"),
        ([READY, {"type": "result", "id": 1, "result": 1}], "over or never was"),
        ([READY, {"type": "result", "id": [1], "result": 1}], "over or never was"),
        ([READY, {"type": "result", "id": True, "result": 1}], "over or never was"),
        ([READY, {"id": 1}], "no `type`"),
        ([READY, {"type": "goodbye", "reason": "eof"}, {"type": "goodbye", "reason": "eof"}], "after the goodbye"),
        ([READY, complaint(error_type="InvalidJSON")], "could not read a command"),
    ],
)
def test_what_no_worker_says_ends_the_session(frames: list[Frame], why: str) -> None:
    session = Session[str](4096)
    with pytest.raises(ProtocolViolation, match=why):
        hear(session, *frames)
    assert session.phase == "over"
    assert hear(session, READY) == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"Hello, world\n", "begins with the text 'Hell'"),
        (b"\x00\x01\x00\x00", "mean 65536 bytes"),
        (b"\xff\xff\xff\xff", "mean 4294967295 bytes"),
        (b"\x00\x00\x00\x02[]", "no JSON object"),
        (b"\x00\x00\x00\x02{]", "is no JSON"),
    ],
)
def test_what_is_no_frame_ends_the_session(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolViolation, match=why):
        list(Session[str](4096).receive(data))


def test_what_came_before_a_violation_is_heard() -> None:
    session = serving()
    ping = ask(session, "ping", "pinger")
    heard = session.receive(packed({"type": "result", "id": ping, "result": {}}) + b"Hello")
    assert next(heard).owner == "pinger"
    with pytest.raises(ProtocolViolation):
        next(heard)


# --- what cannot be sent


def test_a_command_longer_than_a_frame_is_refused_before_it_is_sent() -> None:
    session = serving()
    with pytest.raises(errors.FrameTooLarge) as caught:
        ask(session, "run", prompt="x" * 5000)
    assert caught.value.details["max_frame_bytes"] == 4096
    assert not caught.value.retryable
    assert session.pending == 0


@pytest.mark.parametrize(("depth", "accepted"), [(200, True), (201, False), (1000, False)])
def test_a_command_nested_too_deep_is_refused_as_the_worker_would(depth: int, accepted: bool) -> None:
    nested: Any = []
    for _ in range(depth - 1):
        nested = [nested]
    session = serving()
    if accepted:
        assert ask(session, "run", deps=nested) == 1
        return
    with pytest.raises(errors.InvalidJSON):
        ask(session, "run", deps=nested)
    assert session.pending == 0


def test_what_has_no_json_form_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        ask(serving(), "run", deps=object())


# --- streams


def test_chunks_are_counted_against_the_credit() -> None:
    session = serving()
    run = ask(session, "stream", "reader", credit=2)
    assert hear(session, chunk(run, 0), chunk(run, 1)) == [("chunk", "reader")] * 2
    assert sent(session.grant(run, 1)) == {"type": "credit", "id": run, "n": 1}
    hear(session, chunk(run, 2))
    with pytest.raises(ProtocolViolation, match="beyond the credit"):
        hear(session, chunk(run, 3))


def test_a_stream_without_credit_may_flow() -> None:
    session = serving()
    run = ask(session, "stream")
    assert len(hear(session, *(chunk(run, seq) for seq in range(50)))) == 50
    assert session.grant(run, 1) is None


def test_no_credit_is_sent_for_what_is_over() -> None:
    session = serving()
    run = ask(session, "stream", credit=1)
    hear(session, {"type": "result", "id": run, "result": "", **RUN_RESULT})
    assert session.grant(run, 1) is None


@pytest.mark.parametrize("seq", [1, -1, "0", None])
def test_a_gap_in_the_chunks_is_a_violation(seq: Any) -> None:
    session = serving()
    run = ask(session, "stream")
    with pytest.raises(ProtocolViolation):
        hear(session, {**chunk(run, 0), "seq": seq})


def test_a_run_has_no_chunks_and_a_ping_no_calls() -> None:
    for kind, frame in (("run", chunk(1, 0)), ("ping", call(1))):
        session = serving()
        ask(session, kind)
        with pytest.raises(ProtocolViolation):
            hear(session, frame)


def test_the_result_of_a_run_says_how_it_ended() -> None:
    session = serving()
    run = ask(session, "run")
    with pytest.raises(ProtocolViolation, match="no usable `agent_id`"):
        hear(session, {"type": "result", "id": run, "result": ""})


# --- calls


def test_a_call_is_answered_once() -> None:
    session = serving()
    run = ask(session, "run", "runner")
    assert hear(session, call(run)) == [("tool_call", "runner")]
    answer = session.answer(run, "1", "tool_result", {"result": None})
    assert sent(answer) == {"type": "tool_result", "id": run, "call_id": "1", "result": None}
    assert session.answer(run, "1", "tool_result", {"result": None}) is None


def test_an_answer_that_is_late_is_not_sent() -> None:
    session = serving()
    run = ask(session, "run")
    hear(session, call(run), {"type": "tool_cancel", "id": run, "call_id": "1", "reason": "timeout"})
    assert session.answer(run, "1", "tool_result", {"result": 1}) is None
    assert session.answer(run, "2", "tool_result", {"result": 1}) is None
    assert session.answer(run + 1, "1", "tool_result", {"result": 1}) is None


def test_an_approval_is_followed_by_the_call() -> None:
    session = serving()
    run = ask(session, "run")
    hear(session, call(run, kind="approval_request"))
    assert session.answer(run, "1", "tool_result", {"result": 1}) is None
    assert sent(session.answer(run, "1", "approval", {"approved": True}))["approved"] is True
    hear(session, call(run))
    assert session.call_state(run, "1") == "called"


def test_a_call_that_was_not_approved_yet_is_not_made() -> None:
    session = serving()
    run = ask(session, "run")
    with pytest.raises(ProtocolViolation, match="a call that is asked"):
        hear(session, call(run, kind="approval_request"), call(run))


def test_an_answer_that_was_refused_leaves_the_call_open() -> None:
    session = serving()
    run = ask(session, "run", "runner")
    hear(session, call(run), call(run, "2", "approval_request"))
    session.answer(run, "1", "tool_result", {"result": 1})
    session.answer(run, "2", "approval", {"approved": True, "args": {}})
    assert hear(session, complaint(run_id=run, call_id="1"), complaint(run_id=run, call_id="2")) == [
        ("error", "runner"),
        ("error", "runner"),
    ]
    assert (session.call_state(run, "1"), session.call_state(run, "2")) == ("called", "asked")


@pytest.mark.parametrize("about", [{"run_id": 99}, {"run_id": "1"}, {"run_id": 1, "call_id": "9"}, {"run_id": [1]}])
def test_a_complaint_about_nothing_open_concerns_nobody(about: Frame) -> None:
    session = serving()
    ask(session, "run")
    assert hear(session, complaint(**about)) == [("error", None)]


def test_a_call_comes_once_and_a_cancel_only_for_a_call() -> None:
    for frames in ([call(1), call(1)], [{"type": "tool_cancel", "id": 1, "call_id": "1", "reason": "timeout"}]):
        session = serving()
        ask(session, "run")
        with pytest.raises(ProtocolViolation, match="a call that is"):
            hear(session, *frames)


def test_no_more_calls_are_open_than_the_worker_s_own_limit() -> None:
    session = serving()
    run = ask(session, "run")
    hear(session, call(run, "1"), call(run, "2"))
    session.answer(run, "1", "tool_result", {"result": 1})
    hear(session, call(run, "3"))
    with pytest.raises(ProtocolViolation, match="more tool calls"):
        hear(session, call(run, "4"))


def test_an_answer_that_cannot_be_sent_leaves_the_call_open() -> None:
    session = serving()
    run = ask(session, "run")
    hear(session, call(run))
    for result, kind in (("x" * 5000, errors.FrameTooLarge), (object(), TypeError)):
        with pytest.raises(kind):
            session.answer(run, "1", "tool_result", {"result": result})
    assert session.answer(run, "1", "tool_result", {"error": "too long"}) is not None
