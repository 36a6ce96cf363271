"""What holds for every conversation with a worker, whatever a test is about.

`Envelope` follows one life of a worker from the parent's side, sent and received in the order in which the
parent saw them:

- `ready` comes first and once, `goodbye` last;
- each command gets exactly one terminal frame, and a frame with an id comes only while that id is in use;
- `seq` counts from 0 without a gap, `step` never falls, chunks are of the kinds asked for and within the
  credit given;
- a call id is used once; what is cancelled was asked for, and once; a run that ends leaves no call open;
- each frame has its shape (`shapes`).

Nothing is raised while following: `problems` collects sentences, and `unanswered()` names the ids that still
wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .frames import Frame
from .shapes import is_count, is_id, problems_of

Key = tuple[str, str | int]

ANSWERS = ("tool_result", "approval", "credit")
TERMINAL = frozenset({"result", "error"})
RUNS = ("run", "stream")
MOST_PROBLEMS = 20


def key_of(frame_id: Any) -> Key:
    """The id with its type, since 1 and "1" are different ids."""
    return type(frame_id).__name__, frame_id


@dataclass
class Course:
    """One id while it is in use."""

    commands: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    required: int = 0
    """How many of the commands must be answered; the rest were sent as raw bytes and may have been refused.
    """
    next_seq: int = 0
    step: int = 1
    credit: int | None = None
    open_calls: set[str] = field(default_factory=set[str])

    @property
    def only(self) -> Mapping[str, Any]:
        """The command, where it is clear which one it is; else nothing is known."""
        return self.commands[0] if len(self.commands) == 1 else {}


class Envelope:
    """The invariants of one worker's life, followed frame by frame."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._courses: dict[Key, Course] = {}
        self._call_ids: dict[str, str] = {}
        self._cancelled: set[str] = set()
        self._received = 0
        self._goodbye = False
        self._input_open = True

    def sent(self, command: Mapping[str, Any], *, surely: bool = True) -> None:
        """Follows a command of the parent; `surely` where it must be answered."""
        command_id = command.get("id")
        if not is_id(command_id):
            return
        if command.get("type") in ANSWERS:
            self._follow_answer(command)
            return
        course = self._courses.setdefault(key_of(command_id), Course())
        course.commands.append(command)
        course.required += surely
        course.credit = _credit_of(course.only)

    def input_closed(self) -> None:
        """The parent has closed its side: streams go on as with unlimited credit."""
        self._input_open = False

    def received(self, frame: Frame) -> None:
        """Follows a frame of the worker."""
        for problem in problems_of(frame):
            self._report(problem, frame)
        kind = frame.get("type")
        if self._goodbye:
            self._report("a frame after goodbye", frame)
        if (kind == "ready") != (self._received == 0):
            self._report("ready is the first frame and comes once", frame)
        self._received += 1
        self._goodbye = self._goodbye or kind == "goodbye"
        if is_id(frame.get("id")):
            self._follow_course(frame)
        elif kind == "error" and frame.get("error_type") == "DuplicateId":
            self._forget_duplicate(frame)

    def unanswered(self) -> list[str | int]:
        """The ids whose terminal frame is still due."""
        return [key[1] for key, course in self._courses.items() if course.required > 0]

    def forgive(self, command_id: str | int) -> None:
        """The command may remain without an answer: the worker need not have read it."""
        course = self._courses.get(key_of(command_id))
        if course is not None:
            course.required = 0

    def _report(self, problem: str, frame: Mapping[str, Any]) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(f"{problem}: {frame!r:.400}")

    def _follow_answer(self, command: Mapping[str, Any]) -> None:
        course = self._courses.get(key_of(command["id"]))
        if course is None:
            return
        if command["type"] == "credit":
            if course.credit is not None and is_count(command.get("n")):
                course.credit += command["n"]
        else:
            course.open_calls.discard(str(command.get("call_id")))

    def _follow_course(self, frame: Frame) -> None:
        key = key_of(frame["id"])
        course = self._courses.get(key)
        if course is None:
            self._report("a frame with an id that is not in use", frame)
            return
        match frame.get("type"):
            case "chunk":
                self._follow_chunk(course, frame)
            case "tool_call" | "approval_request":
                self._follow_call(course, frame)
            case "tool_cancel":
                self._follow_cancel(course, frame)
            case "result" | "error":
                self._follow_terminal(key, course, frame)
            case _:
                return

    def _follow_chunk(self, course: Course, frame: Frame) -> None:
        if frame.get("seq") != course.next_seq:
            self._report(f"seq should be {course.next_seq}", frame)
        course.next_seq += 1
        step: Any = frame.get("step")
        if is_count(step):
            if step < course.step:
                self._report(f"step falls from {course.step}", frame)
            course.step = step
        command = course.only
        if command and command.get("type") != "stream":
            self._report("a chunk for what is no stream", frame)
        events: Any = command.get("events")
        if command and frame.get("kind") not in (["text"] if events is None else events):
            self._report("a chunk of a kind that was not asked for", frame)
        if course.credit is not None and self._input_open and course.next_seq > course.credit:
            self._report(f"a chunk beyond the credit of {course.credit}", frame)

    def _follow_call(self, course: Course, frame: Frame) -> None:
        call_id, kind = str(frame.get("call_id")), str(frame.get("type"))
        earlier = self._call_ids.get(call_id)
        if earlier is not None and (earlier, kind) != ("approval_request", "tool_call"):
            self._report("a call id is used twice", frame)
        self._call_ids[call_id] = kind
        course.open_calls.add(call_id)

    def _follow_cancel(self, course: Course, frame: Frame) -> None:
        call_id = str(frame.get("call_id"))
        if call_id not in self._call_ids:
            self._report("tool_cancel for a call that was never made", frame)
        if call_id in self._cancelled:
            self._report("a second tool_cancel for a call", frame)
        self._cancelled.add(call_id)
        course.open_calls.discard(call_id)

    def _follow_terminal(self, key: Key, course: Course, frame: Frame) -> None:
        if course.open_calls and frame.get("error_type") != "ParentGone":
            self._report(f"ends with calls {sorted(course.open_calls)} open and no tool_cancel", frame)
        if frame["type"] == "result" and course.only:
            self._check_result(course.only, frame)
        rest = course.commands[1:]
        del self._courses[key]
        if rest:
            self._courses[key] = Course(rest, min(course.required, len(rest)))

    def _check_result(self, command: Mapping[str, Any], frame: Frame) -> None:
        expected = {"type", "id", "result"}
        if command.get("type") in RUNS:
            expected |= {"agent_id", "run_id", "usage", "duration_ms", "status", "messages"}
            if frame.get("status") == "deferred":
                expected |= {"deferred"}
            elif command.get("messages") == "none":
                expected -= {"messages"}
        if set(frame) != expected:
            self._report(f"differs in {sorted(set(frame) ^ expected)} from what its command gets", frame)

    def _forget_duplicate(self, frame: Frame) -> None:
        key = key_of(frame.get("run_id"))
        course = self._courses.get(key)
        if course is None or len(course.commands) < 2:
            self._report("DuplicateId for an id that was not used twice", frame)
            return
        del course.commands[-1]
        course.required = min(course.required, len(course.commands))


def _credit_of(command: Mapping[str, Any]) -> int | None:
    credit = command.get("credit")
    return credit if is_count(credit) and command.get("type") == "stream" else None
