"""What a parent knows of a worker: who is owed an answer, and which frame may come next.

The ledger is written from the contract. `sending` is told of each command before the worker sees it, `frames` of
each frame after; whatever does not fit is an assertion. Commands that are answered in the same breath are settled
by `settled_at_once`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.kit.shapes import problems_of

Frame = dict[str, Any]
Key = tuple[str, Any]

RUNS = frozenset({"run", "stream"})
AT_ONCE = frozenset({"cancel", "enqueue", "ping", "stats", "set_log_level"})


@dataclass
class Call:
    """A call that the parent was asked about."""

    run_id: Any
    call_id: str
    state: Literal["approval", "tool_result", "over"]
    was: Literal["approval", "tool_result"] = "tool_result"


@dataclass
class Course:
    """A command that is owed an answer."""

    command: Mapping[str, Any]
    credit: int | None = None
    seq: int = 0
    step: int = 1
    texts: dict[int, str] = field(default_factory=dict[int, str])
    cancelled: bool = False
    must_be: dict[str, Any] = field(default_factory=dict[str, Any])
    """Fields that the terminal frame must have."""

    @property
    def kind(self) -> str:
        return str(self.command["type"])


def key_of(frame_id: Any) -> Key:
    """1 and "1" are different ids."""
    return type(frame_id).__name__, frame_id


class Ledger:
    """The books of one worker's life."""

    def __init__(self, max_inflight: int) -> None:
        self.open: dict[Key, Course] = {}
        self.calls: list[Call] = []
        self.call_ids: dict[str, Call] = {}
        self.history: list[Frame] = []
        self._max_inflight = max_inflight
        self._due: list[dict[str, Any]] = []
        self._perhaps: list[dict[str, Any]] = []
        self.wrong = False

    # --- what the parent does

    @property
    def inflight(self) -> int:
        return sum(course.kind in RUNS for course in self.open.values())

    def sending(self, command: Mapping[str, Any], **must_be: Any) -> None:
        """A well-formed exchange; `must_be` says what its terminal frame holds."""
        key = key_of(command["id"])
        if key in self.open:
            self.refusing(error_type="DuplicateId", run_id=command["id"])
            return
        if "error_type" not in must_be:
            must_be = {**must_be, **self._known_answer(command)}
        credit = command.get("credit") if command["type"] == "stream" else None
        self.open[key] = Course(command, credit=credit, must_be=must_be)

    def refusing(self, **error: Any) -> None:
        """The worker must say this without an id, at once."""
        self._due.append(error)

    def refusing_perhaps(self, **error: Any) -> None:
        """The worker may say this without an id, at once; or drop the command."""
        self._perhaps.append(error)

    def answering(self, command: Mapping[str, Any]) -> None:
        """A well-formed `tool_result` or `approval`."""
        run_id, call_id = command["id"], str(command["call_id"])
        call = self.call_ids.get(call_id)
        unknown = {"error_type": "UnknownToolCall", "run_id": run_id, "call_id": call_id}
        if call is None:
            # An id that was given out and not yet shown is the worker's secret: it may know it already.
            (self.refusing_perhaps if call_id.isdecimal() else self.refusing)(**unknown)
        elif call.state == "over":
            if call.was == "approval" and command["type"] == "tool_result":
                # It is approved, or will never be made: in either case the parent has not been asked for a result.
                self.refusing_perhaps(**unknown)
        elif key_of(call.run_id) != key_of(run_id) or (command["type"] == "tool_result" and call.state == "approval"):
            self.refusing(**unknown)
        elif command["type"] == call.state:
            call.state = "over"

    def crediting(self, command: Mapping[str, Any]) -> None:
        """A well-formed `credit`."""
        course = self.open.get(key_of(command["id"]))
        if course is not None and course.credit is not None:
            course.credit += command["n"]

    def settled_at_once(self) -> None:
        """The worker has had its breath: whatever is answered in one was."""
        assert not self._due, f"never said: {self._due}"
        self._perhaps.clear()
        late = [
            course.command for course in self.open.values() if course.kind in AT_ONCE or "error_type" in course.must_be
        ]
        assert not late, f"not answered at once: {late}"

    def _known_answer(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """What a command that is in order must be answered with, where that is known."""
        match command["type"]:
            case "run" | "stream" if self.inflight >= self._max_inflight:
                return {"error_type": "Overloaded", "retryable": True}
            case "cancel":
                return {"result": {"cancelled": self._cancelling(command["target"])}}
            case "enqueue" if not self._runs(command["target"]):
                return {"result": {"enqueued": False}}
            case _:
                return {}

    def _cancelling(self, target: Any) -> bool:
        if not self._runs(target):
            return False
        self.open[key_of(target)].cancelled = True
        return True

    def _runs(self, target: Any) -> bool:
        course = self.open.get(key_of(target))
        return course is not None and course.kind in RUNS

    # --- what the worker says

    def frames(self, frames: Iterable[Frame]) -> None:
        """Frames, in order."""
        self.wrong = True
        for frame in frames:
            self.history.append(frame)
            assert list(problems_of(frame)) == []
            match frame["type"]:
                case "log":
                    assert "id" not in frame or key_of(frame["id"]) in self.open, f"a log after the end: {frame}"
                case "error" if frame["id"] is None:
                    self._nobodys_error(frame)
                case _:
                    self._frame_of(self._course(frame), frame)
        self.wrong = False

    def _course(self, frame: Frame) -> Course:
        course = self.open.get(key_of(frame["id"]))
        assert course is not None, f"a frame with an id that is not in use: {frame}"
        return course

    def _frame_of(self, course: Course, frame: Frame) -> None:
        match frame["type"]:
            case "chunk":
                self._chunk(course, frame)
            case "tool_call":
                self._asked(frame, "tool_result")
            case "approval_request":
                self._asked(frame, "approval")
            case "tool_cancel":
                self._withdrawn(frame)
            case "result" | "error":
                self._ended(course, frame)
            case other:
                raise AssertionError(f"a frame of type {other}")

    def _nobodys_error(self, frame: Frame) -> None:
        for expected in (self._due, self._perhaps):
            for error in expected:
                if error.items() <= frame.items():
                    expected.remove(error)
                    return
        raise AssertionError(f"an error for nothing: {frame}, due: {self._due}")

    def _chunk(self, course: Course, frame: Frame) -> None:
        assert course.kind == "stream"
        assert frame["seq"] == course.seq, f"a gap before {frame}"
        assert frame["step"] >= course.step
        assert frame["kind"] in course.command.get("events", ["text"])
        course.seq += 1
        course.step = frame["step"]
        assert course.credit is None or course.seq <= course.credit, f"{frame} beyond the credit of {course.credit}"
        if frame["kind"] == "text":
            assert frame["data"], "a chunk of nothing"
            course.texts[course.step] = course.texts.get(course.step, "") + frame["data"]

    def _asked(self, frame: Frame, state: Literal["approval", "tool_result"]) -> None:
        known = self.call_ids.get(frame["call_id"])
        assert known is None or (state == "tool_result" and known.state == "over"), f"asked twice: {frame}"
        call = Call(frame["id"], frame["call_id"], state, state)
        self.call_ids[call.call_id] = call
        self.calls.append(call)

    def _withdrawn(self, frame: Frame) -> None:
        call = self.call_ids.get(frame["call_id"])
        assert call is not None, f"a call that was never made: {frame}"
        assert key_of(call.run_id) == key_of(frame["id"])
        assert call.state != "over", f"a call that was over: {frame}"
        call.state = "over"

    def _ended(self, course: Course, frame: Frame) -> None:
        left = [call for call in self.calls if call.state != "over" and key_of(call.run_id) == key_of(frame["id"])]
        assert not left, f"{frame} leaves {left} open, without tool_cancel"
        for name, value in course.must_be.items():
            assert frame.get(name) == value, f"{name} should be {value}: {frame}"
        if course.kind in RUNS:
            self._run_ended(course, frame)
        del self.open[key_of(frame["id"])]

    def _run_ended(self, course: Course, frame: Frame) -> None:
        if course.cancelled:
            assert frame.get("error_type") == "Cancelled", f"cancelled: true, and then {frame}"
            assert "usage" in frame
        else:
            assert frame.get("error_type") != "Cancelled", f"nobody cancelled this: {frame}"
        if frame["type"] == "error":
            assert frame["error_type"] != "InternalError", frame
            return
        expects_messages = course.command.get("messages") != "none" or frame["status"] == "deferred"
        assert ("messages" in frame) is expects_messages
        wants_text = course.kind == "stream" and "text" in course.command.get("events", ["text"])
        # A structured result is not what the text beside it says.
        if wants_text and frame["status"] == "complete" and course.seq and isinstance(frame["result"], str):
            assert course.texts.get(max(course.texts, default=0), "") == frame["result"]
