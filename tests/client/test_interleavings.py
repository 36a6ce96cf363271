"""Whatever a worker says, and whenever it dies: each request has exactly one fate, and nothing else is raised."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from axon_port.client.errors import ProtocolViolation
from axon_port.client.session import RUNS, Frame, Session
from axon_port.wire.codec import encode
from axon_port.wire.framing import encode_frame
from tests.properties.profile import bounded

from .peers import LIMITS, READY
from .test_session import RUN_RESULT, call, chunk, packed

KINDS = st.sampled_from(["run", "stream", "ping", "create_agent"])


class Conversation(RuleBasedStateMachine):
    """A session and an honest worker, whose bytes arrive late and cut anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session[int](LIMITS["max_frame_bytes"])
        list(self.session.receive(packed(READY)))
        self.on_the_way = bytearray()
        self.fates: Counter[int] = Counter()
        self.asked = 0
        self.open: dict[int, Frame] = {}
        """What the worker still owes an answer: seq, credit and open calls by id."""
        self.last_call = 0
        self.heard_calls: list[tuple[int, str]] = []
        self.dead = False

    def serving(self) -> bool:
        return self.session.phase == "serving" and not self.dead

    def say(self, frame: Frame) -> None:
        self.on_the_way += encode_frame(encode(frame))

    @rule(data=st.data())
    def bytes_arrive(self, data: st.DataObject) -> None:
        size = data.draw(st.integers(0, len(self.on_the_way)))
        piece = bytes(self.on_the_way[:size])
        del self.on_the_way[:size]
        for frame, owner in self.session.receive(piece):
            if frame["type"] in ("result", "error"):
                assert owner is not None
                self.fates[owner] += 1
            if frame["type"] == "tool_call":
                self.heard_calls.append((frame["id"], frame["call_id"]))

    @precondition(serving)
    @rule(kind=KINDS, credit=st.integers(0, 3) | st.none())
    def ask(self, kind: str, credit: int | None) -> None:
        fields: dict[str, Any] = {"credit": credit} if kind == "stream" and credit is not None else {}
        self.asked += 1
        run, _ = self.session.request(kind, fields, self.asked)
        self.open[run] = {"kind": kind, "seq": 0, "credit": fields.get("credit"), "calls": set[str]()}

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.open)))
        kind = self.open.pop(run)["kind"]
        if data.draw(st.booleans()):
            self.say({"type": "result", "id": run, "result": 1, **(RUN_RESULT if kind in RUNS else {})})
        else:
            self.say({"type": "error", "id": run, "error_type": "Timeout", "message": "late", "retryable": True})

    def of_kind(self, *kinds: str) -> list[int]:
        return sorted(run for run, state in self.open.items() if state["kind"] in kinds)

    @rule(data=st.data())
    def stream(self, data: st.DataObject) -> None:
        runs = [run for run in self.of_kind("stream") if self.open[run]["credit"] != 0]
        if runs:
            state = self.open[run := data.draw(st.sampled_from(runs))]
            self.say(chunk(run, state["seq"]))
            state["seq"] += 1
            if state["credit"] is not None:
                state["credit"] -= 1

    @rule(data=st.data(), n=st.integers(0, 5))
    def grant(self, data: st.DataObject, n: int) -> None:
        if runs := self.of_kind("stream"):
            run = data.draw(st.sampled_from(runs))
            if self.session.grant(run, n) is not None:
                self.open[run]["credit"] += n

    @rule(data=st.data())
    def call_a_tool(self, data: st.DataObject) -> None:
        runs = [run for run in self.of_kind(*RUNS) if len(self.open[run]["calls"]) < LIMITS["max_tool_calls"]]
        if runs:
            run = data.draw(st.sampled_from(runs))
            self.last_call += 1
            self.open[run]["calls"].add(str(self.last_call))
            self.say(call(run, str(self.last_call)))

    @rule(data=st.data())
    def drop_a_call(self, data: st.DataObject) -> None:
        open_calls = [(run, one) for run, state in self.open.items() for one in sorted(state["calls"])]
        if open_calls:
            run, one = data.draw(st.sampled_from(open_calls))
            self.open[run]["calls"].remove(one)
            self.say({"type": "tool_cancel", "id": run, "call_id": one, "reason": "timeout"})

    @precondition(lambda self: self.heard_calls)
    @rule(data=st.data())
    def answer_a_call(self, data: st.DataObject) -> None:
        run, one = data.draw(st.sampled_from(self.heard_calls))
        if self.session.answer(run, one, "tool_result", {"result": 1}) is not None and run in self.open:
            self.open[run]["calls"].discard(one)

    @precondition(lambda self: not self.dead)
    @rule()
    def die(self) -> None:
        self.dead = True
        for owner in self.session.close():
            self.fates[owner] += 1

    @invariant()
    def nobody_has_two_fates(self) -> None:
        assert all(count == 1 for count in self.fates.values())
        assert self.session.pending == (0 if self.dead else self.asked - len(self.fates))

    def teardown(self) -> None:
        for owner in self.session.close():
            self.fates[owner] += 1
        assert self.fates == Counter(range(1, self.asked + 1))


TestConversation = Conversation.TestCase
TestConversation.settings = bounded(50, stateful_step_count=40)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from([1, 2, 3, "1", None, True, 1.0, [1]]),
    "type": st.sampled_from(
        ["ready", "result", "error", "chunk", "tool_call", "tool_cancel", "log", "goodbye", "x", 1]
    ),
    "result": st.none() | st.integers(),
    "seq": st.integers(0, 2) | st.none(),
    "step": st.just(1),
    "kind": st.just("text"),
    "data": st.text(max_size=3),
    "call_id": st.sampled_from(["1", "2", 3]),
    "agent_id": st.just("a"),
    "name": st.just("t"),
    "args": st.sampled_from([{}, []]),
    "reason": st.just("eof"),
    "run_id": st.sampled_from([1, 2, 9, "r", [1]]),
    "error_type": st.sampled_from(["InvalidCommand", "Timeout", "Unheard"]),
    "message": st.just("m"),
    "retryable": st.booleans(),
    "fatal": st.booleans(),
    "status": st.just("complete"),
    "usage": st.just({}),
    "duration_ms": st.just(1),
}
HOSTILE = st.fixed_dictionaries(FIELDS)
LEFT_OUT = st.sets(st.sampled_from(sorted(FIELDS)), max_size=3)
FRAMES = st.tuples(HOSTILE, LEFT_OUT).map(lambda drawn: {key: drawn[0][key] for key in drawn[0].keys() - drawn[1]})
BYTES = st.lists(FRAMES.map(packed) | st.binary(max_size=12), max_size=4).map(b"".join)


@bounded(80)
@given(BYTES, st.integers(1, 40))
def test_hostile_bytes_raise_one_documented_error(data: bytes, piece: int) -> None:
    session = Session[str](LIMITS["max_frame_bytes"])
    list(session.receive(packed(READY)))
    owners = {kind: session.request(kind, {}, kind)[0] for kind in ("run", "stream", "ping")}
    settled: list[str] = []
    try:
        for at in range(0, len(data), piece):
            for frame, owner in session.receive(data[at : at + piece]):
                if frame["type"] in ("result", "error") and frame["id"] is not None:
                    assert owner is not None
                    settled.append(owner)
    except ProtocolViolation:
        assert session.phase == "over"
    assert sorted([*settled, *session.close()]) == sorted(owners)
