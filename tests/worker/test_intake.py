"""From a frame to a command that was claimed: everything that is answered without the event loop."""

import json
import logging
import threading
from typing import Any, NoReturn

import pytest

from axon_port.wire.events import BESIDE_ID_BYTES
from axon_port.wire.framing import FramingLost, Oversize
from axon_port.worker import intake as intakes
from axon_port.worker.exchanges import Exchange
from axon_port.worker.intake import Inbox, InputEnded, InputEnding, InputLost, Item, Received, Signalled
from tests.kit.shapes import problems_of

from .rig import PONG, SECONDS, Desk

MAX = 2**20


class FrontDesk(Desk):
    """A desk whose frames and items are looked at."""

    def send(self, *values: Any) -> bool:
        return self.raw(*(json.dumps(value).encode() for value in values))

    @property
    def frames(self) -> list[dict[str, Any]]:
        """What was said since the last look."""
        frames = self.outbox.frames
        self.outbox.payloads.clear()
        for frame in frames:
            assert list(problems_of(frame)) == []
        return frames

    def items(self) -> list[Item]:
        found: list[Item] = []
        while (item := self.inbox.take()) is not None:
            found.append(item)
        return found

    def taken(self) -> tuple[Received, Exchange]:
        (item,) = self.items()
        assert isinstance(item, Received)
        assert item.exchange is not None
        return item, item.exchange


def test_commands_go_to_the_loop_in_the_order_in_which_they_came() -> None:
    """clause: ENV-PIPELINE"""
    desk = FrontDesk()
    assert desk.send(*({"type": "stats", "id": number} for number in range(5)))
    items = desk.items()
    assert [item.envelope.id for item in items if isinstance(item, Received)] == [0, 1, 2, 3, 4]
    assert desk.frames == []


def test_commands_of_one_breath_come_to_the_loop_in_one() -> None:
    """clause: ENV-PIPELINE"""
    desk = FrontDesk()
    seen: list[int] = []
    desk.inbox.connect(lambda: seen.append(len(desk.items())))
    desk.send(*({"type": "cancel", "id": number, "target": "r"} for number in range(3)))
    assert seen == [3]
    desk.send({"type": "tool_result", "id": "r", "call_id": "c", "result": 1})
    assert seen == [3, 1]


def test_a_command_is_claimed_before_the_loop_sees_it() -> None:
    desk = FrontDesk()
    desk.send({"type": "run", "id": "r", "agent_id": "a"})
    item, exchange = desk.taken()
    assert (item.envelope.type, exchange.id, exchange.kind) == ("run", "r", "run")
    assert desk.exchanges.claim("r", "run") is None


@pytest.mark.parametrize("kind", ["tool_result", "approval", "credit"])
def test_an_answer_to_a_run_claims_nothing(kind: str) -> None:
    """clause: ENV-ANSWERS"""
    desk = FrontDesk()
    desk.send({"type": "run", "id": 7, "agent_id": "a"}, {"type": kind, "id": 7})
    _, answer = desk.items()
    assert isinstance(answer, Received)
    assert answer.exchange is None
    assert desk.frames == []


def test_a_ping_is_answered_here() -> None:
    """clause: LIFE-PING"""
    desk = FrontDesk()
    desk.send({"type": "ping", "id": 1})
    assert desk.frames == [{"type": "result", "id": 1, "result": PONG}]
    assert desk.items() == []
    assert (desk.stats.pings_at_once, desk.intake.frames_in) == (1, 1)


@pytest.mark.parametrize("limit", [512, 1024, 1729, 1730])
@pytest.mark.parametrize("kind", ["ping", "run", "nothing", "credit", 5])
@pytest.mark.parametrize("frame_id", ["\x01" * 160, "\x01" * 256, "\N{GRINNING FACE}" * 256, "x" * 256], ids=len)
def test_whatever_the_id_is_no_answer_is_longer_than_a_frame(limit: int, kind: object, frame_id: str) -> None:
    """clause: ENV-ID-BYTES, FRAME-OUT"""
    desk = FrontDesk(limit)
    desk.send(*[{"type": kind, "id": frame_id}] * 3)
    for item in desk.items():
        assert isinstance(item, Received)
        if item.exchange is not None:
            item.exchange.succeed("x" * limit)
    assert all(len(payload) <= limit for payload in desk.outbox.payloads)
    carried = len(json.dumps(frame_id, ensure_ascii=False).encode()) <= limit - BESIDE_ID_BYTES
    answers = 0 if kind == "credit" and carried else 3
    assert len(desk.frames) == answers


def test_a_ping_with_a_wrong_field_goes_where_fields_are_checked() -> None:
    desk = FrontDesk()
    desk.send({"type": "ping", "id": 1, "bogus": 1})
    desk.taken()
    assert desk.frames == []


def test_an_id_in_use_is_refused_without_it() -> None:
    """clause: ENV-DUPLICATE"""
    desk = FrontDesk()
    desk.send({"type": "run", "id": 7}, {"type": "ping", "id": 7}, {"type": "run", "id": "7"})
    (frame,) = desk.frames
    assert (frame["id"], frame["error_type"], frame["run_id"]) == (None, "DuplicateId", 7)
    assert len(desk.items()) == 2


@pytest.mark.parametrize("kind", ["nothing", 5, None])
def test_a_refused_command_whose_id_is_in_use_is_answered_with_null(kind: object) -> None:
    """clause: ENV-ONE-TERMINAL"""
    desk = FrontDesk()
    desk.send({"type": "run", "id": 7}, {"type": kind, "id": 7})
    (frame,) = desk.frames
    assert frame["id"] is None
    desk.taken()[1].succeed(None)
    assert [frame["type"] for frame in desk.frames] == ["result"]


def test_a_refused_command_is_answered_once_and_its_id_is_free_again() -> None:
    desk = FrontDesk()
    for _ in range(2):
        desk.send({"type": "nothing", "id": 7})
        (frame,) = desk.frames
        assert (frame["id"], frame["error_type"]) == (7, "UnknownCommand")


ERRORS: list[tuple[bytes, str, str]] = [
    (b"", "InvalidJSON", "the frame is no JSON: EOF while parsing a value at line 1 column 0"),
    (b"{} {}", "InvalidJSON", "the frame is no JSON: trailing characters at line 1 column 4"),
    (b"[]", "InvalidCommand", "a command is a JSON object with `type` and `id`"),
    (
        b'{"type": "ping"}',
        "InvalidCommand",
        "id: a command needs an `id`: a string of 1 to 256 characters or a 64-bit signed integer",
    ),
    (b'{"type": "pong"}', "UnknownCommand", "there is no command of type 'pong': `axon-port schema` lists them"),
    (b'{"id": []}', "InvalidCommand", "type: a command needs a `type`, a string"),
    (b'{"n": 1e400}', "InvalidCommand", "a decimal is beyond the range of an IEEE double"),
]


@pytest.mark.parametrize(("payload", "error_type", "message"), ERRORS)
def test_a_frame_that_is_no_command_is_told_why(payload: bytes, error_type: str, message: str) -> None:
    desk = FrontDesk()
    assert desk.raw(payload)
    (frame,) = desk.frames
    assert (frame["id"], frame["error_type"], frame["message"]) == (None, error_type, message)
    assert desk.items() == []


@pytest.mark.parametrize("number", [b"1e400", b"9" * 5000])
def test_a_number_that_cannot_be_kept_is_refused_with_the_id(number: bytes) -> None:
    """clause: JSON-INTEGERS, JSON-DECIMALS"""
    desk = FrontDesk()
    desk.raw(b'{"type": "run", "id": "r", "deps": ' + number + b"}")
    (frame,) = desk.frames
    assert (frame["id"], frame["error_type"]) == ("r", "InvalidCommand")


@pytest.mark.parametrize("kind", [b"[]", b"{}", b"null", b"1", b"[{}]", b'"nothing"'])
def test_a_number_that_cannot_be_kept_is_refused_whatever_the_type_is(kind: bytes) -> None:
    """clause: JSON-DECIMALS"""
    desk = FrontDesk()
    desk.raw(b'{"type": ' + kind + b', "id": 5, "n": 1e400}')
    (frame,) = desk.frames
    assert (frame["id"], frame["error_type"]) == (5, "InvalidCommand")


@pytest.mark.parametrize("kind", ["tool_result", "approval", "credit"])
@pytest.mark.parametrize("running", [True, False])
def test_a_number_that_cannot_be_kept_in_an_answer_is_never_the_end_of_its_run(kind: str, running: bool) -> None:
    """clause: ENV-ANSWERS"""
    desk = FrontDesk()
    if running:
        desk.send({"type": "run", "id": 7})
    desk.raw(b'{"type": "%s", "id": 7, "call_id": "3", "result": 1e400}' % kind.encode())
    (frame,) = desk.frames
    assert (frame["id"], frame["error_type"]) == (None, "InvalidCommand")
    assert (frame["run_id"], frame["call_id"]) == (7, "3")


def test_a_frame_too_long_is_told_with_both_lengths() -> None:
    """clause: FRAME-OVERSIZE"""
    desk = FrontDesk()
    desk.intake.heard([Oversize(MAX + 1)])
    (frame,) = desk.frames
    assert (frame["id"], frame["error_type"]) == (None, "FrameTooLarge")
    assert frame["details"] == {"length": MAX + 1, "max_frame_bytes": MAX}
    assert frame["message"] == f"a frame of {MAX + 1} bytes was skipped: the limit is {MAX} (--max-frame-bytes)"
    assert "fatal" not in frame
    assert desk.intake.frames_in == 1


@pytest.mark.parametrize(
    ("header", "reason"),
    [(b"GET ", "plain text came where a frame's length belongs"), (b"\xff" * 4, "no frame can be that long")],
)
def test_lost_framing_is_fatal_and_says_what_to_use(header: bytes, reason: str) -> None:
    """clause: FRAME-LOST"""
    desk = FrontDesk()
    desk.intake.heard([FramingLost(header)])
    (frame,) = desk.frames
    assert frame["fatal"] is True
    assert (frame["id"], frame["error_type"]) == (None, "FrameTooLarge")
    assert frame["message"] == (
        f"the framing is lost: {reason}. A frame is 4 bytes of length and JSON; `axon-port pack` makes frames of lines"
    )
    assert desk.items() == [InputLost()]
    assert desk.heard == ["ended", "lost"]


def test_a_shutdown_is_heard_before_the_loop_takes_it() -> None:
    """clause: LIFE-WATCHDOG"""
    desk = FrontDesk()
    desk.send({"type": "shutdown", "id": 1, "grace_ms": 5})
    assert desk.heard == [{"type": "shutdown", "id": 1, "grace_ms": 5}]
    # Of an id that is in use it is none.
    desk.send({"type": "shutdown", "id": 1})
    assert len(desk.heard) == 1


def test_a_frame_that_there_was_no_memory_for_is_a_fault_of_the_worker() -> None:
    """clause: FRAME-MEMORY"""
    desk = FrontDesk()
    desk.intake.heard([Oversize(100, allowed=True)])
    (frame,) = desk.frames
    assert (frame["id"], frame["error_type"]) == (None, "InternalError")
    assert "100 bytes" in frame["message"]


def test_an_input_that_broke_off_is_told_before_the_end() -> None:
    """clause: FRAME-TRUNCATED"""
    desk = FrontDesk()
    desk.intake.ended(truncated=True)
    (frame,) = desk.frames
    assert (frame["error_type"], frame["message"]) == (
        "TruncatedFrame",
        "the input ended inside a frame: some bytes of it never came",
    )
    assert desk.items() == [InputEnded(True)]


def test_the_end_of_an_input_counts_from_when_it_was_seen_to_come() -> None:
    """A parent that reads nothing could put it off for ever. clause: LIFE-EOF"""
    desk = FrontDesk()
    desk.intake.ending()
    assert desk.heard == ["ended"]
    (ending,) = desk.items()
    assert isinstance(ending, InputEnding)
    desk.intake.ended(truncated=False)
    (ended,) = desk.items()
    assert isinstance(ended, InputEnded)
    assert ended.at == ending.at


def test_an_input_that_ended_between_frames_says_nothing() -> None:
    desk = FrontDesk()
    desk.intake.ended(truncated=False)
    assert desk.frames == []
    assert desk.items() == [InputEnded(False)]


def test_the_other_end_and_signals_are_passed_on_at_once() -> None:
    desk = FrontDesk()
    desk.intake.listener_gone()
    desk.intake.signalled(15)
    assert desk.heard == ["gone", 15]


def test_a_parent_that_never_reads_is_not_read_either() -> None:
    """clause: IN-BOUND"""
    desk = FrontDesk()
    resumed: list[str] = []
    desk.intake.resume = lambda: resumed.append("resume")
    desk.outbox.stall(intakes.INBOX_BYTES)
    assert not desk.send({"type": "stats", "id": 1})
    assert resumed == []
    desk.outbox.drain()
    assert resumed == ["resume"]
    assert desk.send({"type": "stats", "id": 2})


def test_a_blocked_loop_stops_the_reading_until_half_of_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: IN-BOUND"""
    monkeypatch.setattr(intakes, "INBOX_BYTES", 100)
    desk = FrontDesk()
    resumed: list[str] = []
    desk.intake.resume = lambda: resumed.append("resume")
    willing = [desk.send({"type": "stats", "id": number}) for number in range(5)]
    assert willing == [True, True, True, False, False]
    while not resumed:
        assert desk.inbox.take() is not None
    assert 0 < sum(item.size for item in desk.items() if isinstance(item, Received)) <= 50
    assert resumed == ["resume"]


def test_the_loop_is_told_once_for_all_that_waits() -> None:
    inbox = Inbox()
    told: list[str] = []
    inbox.put(Signalled(1))
    inbox.connect(lambda: told.append("first"))
    assert told == ["first"]
    inbox.put(Signalled(2))
    assert told == ["first"]
    assert [inbox.take(), inbox.take(), inbox.take()] == [Signalled(1), Signalled(2), None]
    assert not inbox
    inbox.put(Signalled(3))
    assert told == ["first", "first"]
    assert inbox


def test_a_loop_that_could_not_be_told_is_told_with_the_next_item() -> None:
    inbox = Inbox()
    told: list[bool] = []

    def tell() -> None:
        told.append(len(told) > 0)
        if len(told) == 1:
            raise MemoryError

    inbox.connect(tell)
    with pytest.raises(MemoryError):
        inbox.put(Signalled(1))
    inbox.put(Signalled(2))
    assert told == [False, True]
    assert [inbox.take(), inbox.take(), inbox.take()] == [Signalled(1), Signalled(2), None]


def test_commands_that_there_is_no_memory_to_keep_are_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: ENV-ONE-TERMINAL"""
    desk = FrontDesk()

    def full(*_items: Item) -> NoReturn:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(desk.inbox, "put", full)
        desk.send({"type": "stats", "id": 1}, {"type": "ping", "id": 2}, {"type": "stats", "id": 3})
    answers = [(frame["type"], frame["id"]) for frame in desk.frames]
    assert answers == [("result", 2), ("error", 1), ("error", 3), ("error", None)]
    desk.send({"type": "stats", "id": 1})
    assert desk.taken()[0].envelope.id == 1
    assert "a frame could not be taken" in caplog.text


def test_nothing_is_lost_between_a_thread_that_fills_and_a_loop_that_empties() -> None:
    inbox, signal = Inbox(), threading.Event()
    inbox.connect(signal.set)
    count = 5000
    thread = threading.Thread(target=lambda: [inbox.put(Signalled(number)) for number in range(count)])
    thread.start()
    found: list[Item] = []
    while len(found) < count:
        assert signal.wait(20)
        signal.clear()
        while (item := inbox.take()) is not None:
            found.append(item)
    thread.join()
    assert found == [Signalled(number) for number in range(count)]


def test_a_fault_of_ours_in_a_frame_does_not_deafen_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: ERR-INTERNAL"""

    def fails(*_arguments: object) -> NoReturn:
        raise RuntimeError("a secret of ours")

    caplog.set_level(logging.DEBUG, "axon_port")
    desk = FrontDesk()
    monkeypatch.setattr(intakes, "open_envelope", fails)
    assert desk.send({"type": "stats", "id": 1})
    monkeypatch.undo()
    desk.send({"type": "ping", "id": 2})
    fault, pong = desk.frames
    assert (fault["error_type"], fault["id"]) == ("InternalError", None)
    assert "secret" not in str(fault)
    assert (pong["id"], pong["result"]) == (2, PONG)
    assert "a secret of ours" in caplog.text


def test_pings_that_come_together_are_answered_as_if_they_came_alone() -> None:
    """An id that a command between them has taken is in use. clause: LIFE-PING, ENV-DUPLICATE"""
    desk = FrontDesk()
    ping = {"type": "ping", "id": 1}
    desk.send(ping, {"type": "ping", "id": "two"}, {"type": "run", "id": 1}, ping, {"type": "ping", "id": 3})
    first, second, third, refused = desk.frames
    assert [frame["id"] for frame in (first, second, third)] == [1, "two", 3]
    assert (refused["id"], refused["error_type"], refused["run_id"]) == (None, "DuplicateId", 1)
    assert [frame["result"] for frame in (first, second, third)] == [PONG] * 3
    assert len(desk.items()) == 1
    assert (desk.stats.pings_at_once, desk.intake.frames_in) == (3, 5)


def test_that_an_id_is_in_use_is_said_before_the_end_of_the_one_that_uses_it() -> None:
    """A loop that settles it meanwhile waits. clause: ENV-DUPLICATE"""
    desk = Desk()
    desk.raw(b'{"type": "stats", "id": 4}')
    (exchange,) = desk.exchanges
    settling = threading.Thread(target=exchange.succeed, args=({},))
    claim = desk.exchanges.claim

    def claim_and_let_go_on(frame_id: Any, kind: str) -> Any:
        found = claim(frame_id, kind)
        settling.start()
        settling.join(0.1)
        return found

    desk.exchanges.claim = claim_and_let_go_on
    desk.raw(b'{"type": "stats", "id": 4}')
    settling.join(SECONDS)
    assert [frame["id"] for frame in desk.outbox.frames] == [None, 4]
