"""The parent's half of the protocol, without I/O: bytes in, frames with their owners out; commands in, bytes out.

A session is one life of a worker. It owns one table: the requests that wait for their fate. An entry is made when a
command is turned into bytes, and it leaves by one of two doors, never by both: its terminal frame, or `close`.
Whatever comes is held against the table, so that nobody above has to doubt a frame: what a worker cannot have said
raises `ProtocolViolation`, and the session is over. What the frames mean to a caller is not known here.

    starting ──ready──> serving ──goodbye──> leaving
        └───────────────────┴──── close, a violation ────┴──> over
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, cast

from axon_port.client.errors import CommandError, ProtocolViolation, local_error
from axon_port.wire import codec
from axon_port.wire.errors import WireError
from axon_port.wire.events import PROTOCOL_VERSION
from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize, encode_frame

Frame = dict[str, Any]
Owner = TypeVar("Owner")

Phase = Literal["starting", "serving", "leaving", "over"]

RUNS: Final = frozenset({"run", "stream"})

DEEPEST: Final = 200
"""Levels of arrays and objects below a command's own object; a worker refuses more, and cannot say whose they are."""

REQUIRED: Final[Mapping[str, Mapping[str, type]]] = {
    "ready": {"protocol": int, "version": str, "pid": int, "python": str, "pydantic_ai": str, "limits": dict},
    "result": {"id": object, "result": object},
    "error": {"id": object, "error_type": str, "message": str, "retryable": bool},
    "chunk": {"id": object, "seq": int, "step": int, "kind": str, "data": object},
    "tool_call": {"id": object, "call_id": str, "agent_id": str, "name": str, "args": dict},
    "tool_cancel": {"id": object, "call_id": str, "reason": str},
    "approval_request": {"id": object, "call_id": str, "agent_id": str, "name": str, "args": dict},
    "log": {"timestamp": str, "level": str, "logger": str, "message": str},
    "goodbye": {"reason": str},
}
"""The fields of each event that a parent may count on, and what they hold."""

LIMITS: Final = {"max_frame_bytes": int, "max_inflight": int, "max_tool_calls": int}
OF_A_RUN: Final = {"agent_id": str, "run_id": str, "status": str, "usage": dict, "duration_ms": int}
"""What the result of a run has besides."""

CallState = Literal["asked", "decided", "called", "answered", "over"]

CALL_STATES: Final[Mapping[tuple[CallState | None, str], CallState]] = {
    (None, "approval_request"): "asked",
    ("asked", "approval"): "decided",
    ("decided", "refused"): "asked",
    ("decided", "tool_call"): "called",
    (None, "tool_call"): "called",
    ("called", "tool_result"): "answered",
    ("answered", "refused"): "called",
    ("asked", "tool_cancel"): "over",
    ("decided", "tool_cancel"): "over",
    ("called", "tool_cancel"): "over",
    ("answered", "tool_cancel"): "over",
}
"""The life of a call. What is not in the table does not happen: from the worker it is a violation, from us it is late
and is not sent. `refused` is the worker's complaint about an answer, which leaves the call open."""


class Heard(NamedTuple, Generic[Owner]):
    """A frame of the worker, and whom it concerns; None where that is nobody in particular."""

    frame: Frame
    owner: Owner | None


@dataclass(slots=True)
class Request(Generic[Owner]):
    """A command that waits for its terminal frame."""

    owner: Owner
    kind: str
    credit: int | None = None
    """Chunks that may still come; None without flow control."""
    next_seq: int = 0
    calls: dict[str, CallState] = field(default_factory=dict[str, CallState])

    def open_calls(self) -> int:
        return sum(state == "called" for state in self.calls.values())


class Session(Generic[Owner]):
    """One life of a worker, from the parent's side. For one thread."""

    def __init__(self, max_frame_bytes: int) -> None:
        """`max_frame_bytes` is the option that the worker was started with: nothing longer may come."""
        self.phase: Phase = "starting"
        self.ready: Frame = {}
        """The worker's first frame, as soon as it is there."""
        self._decoder = FrameDecoder(max_frame_bytes)
        self._requests: dict[int, Request[Owner]] = {}
        self._last_id = 0

    @property
    def pending(self) -> int:
        """How many requests wait for their fate."""
        return len(self._requests)

    @property
    def inside_frame(self) -> bool:
        """Whether an end of the input here would tear a frame."""
        return self._decoder.inside_frame

    # --- from the parent

    def request(self, kind: str, fields: Mapping[str, Any], owner: Owner) -> tuple[int, bytes]:
        """The id of a command and its frame, which now has to be sent.

        Raises `CommandError` (`FrameTooLarge`, `InvalidJSON`) where the worker would refuse the frame without knowing
        whose it is, `TypeError` for what has no JSON form, and `RuntimeError` where no worker is listening.
        """
        if self.phase != "serving":
            raise RuntimeError(f"no command can be sent while the session is {self.phase}")
        request_id = self._last_id + 1
        frame = self._framed({"type": kind, "id": request_id, **fields})
        self._last_id = request_id
        credit = fields.get("credit") if kind == "stream" else None
        self._requests[request_id] = Request(owner, kind, credit)
        return request_id, frame

    def answer(self, request_id: int, call_id: str, kind: str, fields: Mapping[str, Any]) -> bytes | None:
        """The frame of a `tool_result` or an `approval`; None where nobody waits for it any more.

        Raises as `request` does; the call is open then as before.
        """
        request = self._requests.get(request_id)
        state = request and CALL_STATES.get((request.calls.get(call_id), kind))
        if request is None or state is None:
            return None
        frame = self._framed({"type": kind, "id": request_id, "call_id": call_id, **fields})
        request.calls[call_id] = state
        return frame

    def call_state(self, request_id: int, call_id: str) -> CallState | None:
        """Where a call of a run stands; None where it or the run is unknown."""
        request = self._requests.get(request_id)
        return request.calls.get(call_id) if request else None

    def grant(self, request_id: int, n: int) -> bytes | None:
        """The frame that lets `n` more chunks of a stream come; None where none is due any more."""
        request = self._requests.get(request_id)
        if request is None or request.credit is None:
            return None
        request.credit += n
        return self._framed({"type": "credit", "id": request_id, "n": n})

    def close(self) -> list[Owner]:
        """The owners of all requests without a fate, each once: there will be none. The session is over."""
        self.phase = "over"
        requests, self._requests = self._requests, {}
        return [request.owner for request in requests.values()]

    def _framed(self, command: Frame) -> bytes:
        try:
            payload = codec.encode(command)
        except RecursionError:
            raise _too_deep() from None
        most: int = self.ready["limits"]["max_frame_bytes"]
        if len(payload) > most:
            message = f"the command takes {len(payload)} bytes, a frame at most {most}"
            raise local_error(
                WireError("FrameTooLarge", message, details={"length": len(payload), "max_frame_bytes": most})
            )
        if payload.count(b"[") + payload.count(b"{") > DEEPEST:
            _check_depth(payload)
        return encode_frame(payload)

    # --- from the worker

    def receive(self, data: bytes) -> Iterator[Heard[Owner]]:
        """Yield each frame that `data` completes, in order. Consume the iterator wholly before the next call.

        Raises `ProtocolViolation` at the first thing that no worker says; the session is over then, and what follows
        is not looked at.
        """
        for payload in self._decoder.receive(data):
            if self.phase == "over":
                return
            try:
                heard = self._heard(_frame(payload))
            except ProtocolViolation:
                self.phase = "over"
                raise
            yield heard

    def _heard(self, frame: Frame) -> Heard[Owner]:
        kind: str = frame["type"]
        if self.phase == "leaving":
            raise _violation("something came after the goodbye", frame)
        if (self.phase == "starting") != (kind == "ready"):
            raise _violation("`ready` is the first frame, and comes once", frame)
        match kind:
            case "ready":
                self._begin(frame)
            case "goodbye":
                self.phase = "leaving"
            case "error" if frame["id"] is None:
                return Heard(frame, self._complaint(frame))
            case "result" | "error" | "chunk" | "tool_call" | "tool_cancel" | "approval_request":
                return Heard(frame, self._of_a_request(kind, frame))
            case _:  # logs, and what a later version may say
                pass
        return Heard(frame, None)

    def _begin(self, frame: Frame) -> None:
        if frame["protocol"] != PROTOCOL_VERSION:
            raise _violation(f"the worker speaks protocol {frame['protocol']}, this client {PROTOCOL_VERSION}", frame)
        _check_fields(frame["limits"], LIMITS, "`limits`")
        self.ready = frame
        self.phase = "serving"

    def _of_a_request(self, kind: str, frame: Frame) -> Owner:
        request = self._requests.get(frame["id"]) if type(frame["id"]) is int else None
        if request is None:
            raise _violation(f"a frame came for {frame['id']!r}, which is over or never was", frame)
        if kind in ("result", "error"):
            if kind == "result" and request.kind in RUNS:
                _check_fields(frame, OF_A_RUN, "a run's `result`")
            del self._requests[frame["id"]]
        elif kind == "chunk":
            _count_chunk(request, frame)
        else:
            self._move_call(request, frame)
        return request.owner

    def _move_call(self, request: Request[Owner], frame: Frame) -> None:
        kind, call_id = frame["type"], frame["call_id"]
        known = request.calls.get(call_id)
        state = CALL_STATES.get((known, kind))
        if request.kind not in RUNS or state is None:
            raise _violation(f"a `{kind}` came for a call that is {known or 'unknown'}", frame)
        request.calls[call_id] = state
        if kind == "tool_call" and request.open_calls() > self.ready["limits"]["max_tool_calls"]:
            raise _violation("more tool calls are open than the worker's own limit allows", frame)

    def _complaint(self, frame: Frame) -> Owner | None:
        """The owner of a run whose call is open again, because the answer to it was refused."""
        if "run_id" not in frame and not frame.get("fatal"):
            # It was about a command whose id nobody could read: one of ours would wait for ever.
            raise _violation("the worker could not read a command", frame)
        request = self._requests.get(frame["run_id"]) if type(frame.get("run_id")) is int else None
        call_id = str(frame.get("call_id"))
        state = request and CALL_STATES.get((request.calls.get(call_id), "refused"))
        if request is None or state is None or frame["error_type"] != "InvalidCommand":
            return None
        request.calls[call_id] = state
        return request.owner


def _count_chunk(request: Request[Owner], frame: Frame) -> None:
    if request.kind != "stream":
        raise _violation(f"a chunk came for a `{request.kind}`", frame)
    if frame["seq"] != request.next_seq:
        raise _violation(f"`seq` should be {request.next_seq} and is {frame['seq']}", frame)
    request.next_seq += 1
    if request.credit is not None:
        request.credit -= 1
        if request.credit < 0:
            raise _violation("a chunk came beyond the credit", frame)


def _frame(payload: bytes | bytearray | Oversize | FramingLost) -> Frame:
    if isinstance(payload, Oversize | FramingLost):
        raise ProtocolViolation(f"something that is no frame came: {_glimpse(payload)}")
    try:
        value = codec.decode(payload)
    except ValueError as error:
        raise ProtocolViolation(f"a frame is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ProtocolViolation("a frame is no JSON object")
    frame = cast("Frame", value)
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise _violation("a frame has no `type`", frame)
    _check_fields(frame, REQUIRED.get(kind, {}), f"`{kind}`")
    return frame


def _check_fields(fields: Mapping[str, Any], required: Mapping[str, type], what: str) -> None:
    for name, kind in required.items():
        if name not in fields or not isinstance(fields[name], kind):
            raise _violation(f"{what} has no usable `{name}`", fields)


def _check_depth(payload: bytes) -> None:
    try:
        codec.decode(payload)
    except codec.NotJson:
        raise _too_deep() from None
    except codec.NumberLost:
        return  # the worker reads the id of such a command, and refuses it by that


def _too_deep() -> CommandError:
    return local_error(WireError("InvalidJSON", f"the command is nested more than {DEEPEST} levels deep"))


def _glimpse(payload: Oversize | FramingLost) -> str:
    if isinstance(payload, FramingLost) and payload.is_text:
        return f"it begins with the text {payload.header.decode()!r}"
    return f"its first four bytes mean {payload.length} bytes"


def _violation(message: str, frame: Mapping[str, Any]) -> ProtocolViolation:
    kind, frame_id = frame.get("type"), frame.get("id")
    return ProtocolViolation(f"{message} (type {kind!r:.60}, id {frame_id!r:.60})")
