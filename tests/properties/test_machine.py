"""A parent that does anything at any time, against a real dispatcher: the rules of the envelope hold on every frame.

clause: ENV-ONE-TERMINAL, ENV-DUPLICATE, ENV-REUSE, ENV-ANSWERS, ENV-CROSSED, STREAM-SEQ, STREAM-CREDIT, RUN-CANCEL,
CALL-CANCEL, RUN-OVERLOADED

Scripted models answer, so nothing depends on a clock or a network; how far the runs get between two commands is
drawn like everything else. The rules are in `ledger`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from axon_port.worker.options import Options
from axon_port.worker.outbox import HIGH_BYTES
from tests.worker.floor import Floor

from .ledger import Call, Frame, Ledger, key_of
from .profile import bounded

MAX_INFLIGHT: Final = 4
IDS = st.sampled_from([1, 2, "1", "b", -(2**63)])
TARGETS = st.sampled_from([1, 2, "1", "b", -(2**63), "nobody"])
TOOL: Final = {
    "name": "look",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
DONE: Final = {"chunks": ["do", "ne"]}


def calls(*numbers: Any) -> dict[str, Any]:
    """A turn that makes calls, with a word before them."""
    return {"text": "wait", "tool_calls": [{"name": "look", "args": {"n": number}} for number in numbers]}


AGENTS: Final[dict[str, dict[str, Any]]] = {
    "talks": {"model": {"script": [{"chunks": ["Hel", "lo ", "wor", "ld"]}]}},
    "thinks": {"model": {"script": [{"thinking": "hm", "chunks": ["so", "."]}]}},
    "looks": {"model": {"script": [calls(1, 2), DONE]}, "tools": [TOOL]},
    "looks on": {"model": {"script": [calls(1), calls(2), calls(3), DONE]}, "tools": [{**TOOL, "retries": 1}]},
    "looks much": {"model": {"script": [calls(1, 2, 3, 4, 5), DONE]}, "tools": [TOOL]},
    "looks wrong": {"model": {"script": [calls("x"), calls(1), DONE]}, "tools": [TOOL]},
    "asks": {"model": {"script": [calls(1, 2), DONE]}, "tools": [{**TOOL, "requires_approval": True}]},
    "defers": {"model": {"script": [calls(1), DONE]}, "tools": [{**TOOL, "handler": "deferred"}]},
    "waits": {"model": {"script": [{"delay_ms": 86_400_000}]}},
    "waits in a stream": {"model": {"script": [{"chunks": ["a", "b"], "chunk_delay_ms": 86_400_000}]}},
    "fails": {"model": {"script": [{"error": {"status": 503}}]}},
    "fails late": {"model": {"script": [calls(1), {"error": {"status": 401}}]}, "tools": [TOOL]},
    "runs out": {"model": {"script": []}},
    "one at a time": {"model": {"script": [calls(1), DONE]}, "tools": [TOOL], "max_concurrency": 1},
    "limited": {"model": {"script": [calls(1), DONE]}, "tools": [TOOL], "usage_limits": {"request_limit": 1}},
}

GARBAGE: Final[list[tuple[bytes, str]]] = [
    (b"", "InvalidJSON"),
    (b"{", "InvalidJSON"),
    (b"\xff\xfe", "InvalidJSON"),
    (b"[" * 1000, "InvalidJSON"),
    (b"[]", "InvalidCommand"),
    (b"null", "InvalidCommand"),
    (b"{}", "InvalidCommand"),
    (b'{"type": "ping"}', "InvalidCommand"),
    (b'{"type": "run", "id": 1.5}', "InvalidCommand"),
    (b'{"type": "run", "id": true, "agent_id": "talks", "prompt": "x"}', "InvalidCommand"),
    (b'{"type": "nothing", "id": []}', "UnknownCommand"),
    (b'{"n": 1e400}', "InvalidCommand"),
    (b'{"type": "credit", "n": 1e400}', "InvalidCommand"),
]

WRONG: Final[list[dict[str, Any]]] = [
    {"type": "run", "agent_id": "talks"},
    {"type": "run", "agent_id": "talks", "prompt": "x", "bogus": 1},
    {"type": "run", "agent_id": 5, "prompt": "x"},
    {"type": "stream", "agent_id": "talks", "prompt": "x", "credit": -1},
    {"type": "stream", "agent_id": "talks", "prompt": "x", "events": ["audio"]},
    {"type": "create_agent", "agent_id": "talks"},
    {"type": "cancel"},
    {"type": "cancel", "target": None},
    {"type": "enqueue", "target": 1},
    {"type": "ping", "bogus": 1},
    {"type": "set_log_level", "level": "loud"},
    {"type": "shutdown", "grace_ms": -1},
]

WRONG_ANSWERS: Final[list[dict[str, Any]]] = [
    {"type": "credit", "n": -1},
    {"type": "credit"},
    {"type": "tool_result", "call_id": "1"},
    {"type": "tool_result", "call_id": "1", "result": 1, "retry": "x"},
    {"type": "tool_result", "call_id": "2", "result": 1, "bogus": 1},
    {"type": "approval", "call_id": "1", "approved": "yes"},
]

OUTCOMES: Final = [{"result": 5}, {"result": None}, {"result": {"x": "y" * 50}}, {"retry": "again"}, {"failed": "no"}]
EVENTS = st.lists(st.sampled_from(["text", "thinking", "tool_call", "tool_return"]), unique=True, max_size=4)


class Parent(RuleBasedStateMachine):
    """The parent. It draws without looking at the worker, so that what is drawn depends on nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(MAX_INFLIGHT)
        self.floor = Floor(Options(max_inflight=MAX_INFLIGHT, max_tool_calls=3), self.ledger.frames)
        for number, (name, fields) in enumerate(AGENTS.items()):
            self.send({"type": "create_agent", "id": f"create {number}", "agent_id": name, **fields}, result=ANY)
        self.floor.until(lambda: not self.ledger.open)

    def teardown(self) -> None:
        if self.ledger.wrong:
            return
        self.floor.desk.outbox.drain()
        for number, course in enumerate(list(self.ledger.open.values())):
            self.send({"type": "cancel", "id": f"at the end {number}", "target": course.command["id"]})
        self.floor.until(lambda: not self.ledger.open)
        assert not self.floor.dispatcher.busy
        assert list(self.floor.desk.exchanges) == []
        self.send({"type": "run", "id": "canary", "agent_id": "talks", "prompt": "x"}, result="Hello world")
        self.floor.until(lambda: not self.ledger.open)
        self.floor.close()

    # --- sending

    def send(self, command: dict[str, Any], **must_be: Any) -> None:
        must_be = {name: value for name, value in must_be.items() if value is not ANY}
        self.floor.receive(encoded(command), expecting=lambda: self.ledger.sending(command, **must_be))
        self.ledger.settled_at_once()

    @rule(count=st.integers(1, 40))
    def turn(self, count: int) -> None:
        self.floor.turns(count)

    @rule()
    def stop_reading(self) -> None:
        self.floor.desk.outbox.stall(HIGH_BYTES + 1)

    @rule()
    def read_on(self) -> None:
        self.floor.desk.outbox.drain()

    @rule(frame_id=IDS, agent=st.sampled_from(list(AGENTS)), messages=st.sampled_from(["new", "all", "none"]))
    def run_agent(self, frame_id: Any, agent: str, messages: str) -> None:
        self.send({"type": "run", "id": frame_id, "agent_id": agent, "prompt": "go", "messages": messages})

    @rule(
        frame_id=IDS,
        agent=st.sampled_from(list(AGENTS)),
        events=st.one_of(st.none(), EVENTS),
        credit=st.one_of(st.none(), st.integers(0, 3)),
    )
    def stream_agent(self, frame_id: Any, agent: str, events: list[str] | None, credit: int | None) -> None:
        options = {"events": events, "credit": credit}
        given = {name: value for name, value in options.items() if value is not None}
        self.send({"type": "stream", "id": frame_id, "agent_id": agent, "prompt": "go", **given})

    @rule(frame_id=IDS)
    def run_an_agent_that_is_not_there(self, frame_id: Any) -> None:
        self.send({"type": "run", "id": frame_id, "agent_id": "nobody", "prompt": "go"})
        self.floor.until(
            lambda: all(course.command.get("agent_id") != "nobody" for course in self.ledger.open.values())
        )

    @rule(frame_id=IDS, agent=st.sampled_from(["new one", "talks"]), replace=st.booleans(), run_id=IDS)
    def create_and_run_in_one_breath(self, frame_id: Any, agent: str, replace: bool, run_id: Any) -> None:
        fields = AGENTS["talks"]
        self.send({"type": "create_agent", "id": frame_id, "agent_id": agent, "replace": replace, **fields})
        self.send({"type": "run", "id": run_id, "agent_id": agent, "prompt": "go"})
        self.floor.until(lambda: all(course.kind != "create_agent" for course in self.ledger.open.values()))

    @rule(frame_id=IDS)
    def delete_and_list(self, frame_id: Any) -> None:
        self.send({"type": "delete_agent", "id": frame_id, "agent_id": "new one"})
        self.send({"type": "list_agents", "id": "list"})
        self.floor.until(
            lambda: all(course.kind not in ("delete_agent", "list_agents") for course in self.ledger.open.values())
        )

    @rule(frame_id=IDS, n=st.integers(0, 3))
    def give_credit(self, frame_id: Any, n: int) -> None:
        command = {"type": "credit", "id": frame_id, "n": n}
        self.floor.receive(encoded(command), expecting=lambda: self.ledger.crediting(command))
        self.ledger.settled_at_once()

    @rule(frame_id=IDS, whom=TARGETS)
    def cancel(self, frame_id: Any, whom: Any) -> None:
        self.send({"type": "cancel", "id": frame_id, "target": whom})

    @rule(whom=TARGETS)
    def cancel_twice_in_one_breath(self, whom: Any) -> None:
        self.send({"type": "cancel", "id": "first", "target": whom})
        self.send({"type": "cancel", "id": "second", "target": whom})

    @rule(frame_id=IDS, whom=TARGETS, priority=st.sampled_from(["asap", "when_idle"]))
    def enqueue(self, frame_id: Any, whom: Any, priority: str) -> None:
        self.send({"type": "enqueue", "id": frame_id, "target": whom, "prompt": "more", "priority": priority})

    @rule(frame_id=IDS)
    def ping(self, frame_id: Any) -> None:
        self.send({"type": "ping", "id": frame_id})

    @rule(frame_id=IDS)
    def stats(self, frame_id: Any) -> None:
        before = len(self.ledger.history)
        self.send({"type": "stats", "id": frame_id})
        for frame in self.ledger.history[before:]:
            if frame["type"] == "result" and frame["id"] == frame_id and "runs" in (frame["result"] or ()):
                assert frame["result"]["runs"]["inflight"] == self.ledger.inflight

    @rule(frame_id=IDS, level=st.sampled_from(["error", "critical"]))
    def set_log_level(self, frame_id: Any, level: str) -> None:
        self.send({"type": "set_log_level", "id": frame_id, "level": level}, result={})

    # --- answers

    def answer(self, command: dict[str, Any]) -> None:
        self.floor.receive(encoded(command), expecting=lambda: self.ledger.answering(command))
        self.ledger.settled_at_once()

    def call(self, which: int) -> Call:
        made = self.ledger.calls
        return made[-1 - which % len(made)] if made else Call(1, "none", "over")

    @rule(which=st.integers(0, 8), outcome=st.sampled_from(OUTCOMES))
    def answer_a_call(self, which: int, outcome: dict[str, Any]) -> None:
        call = self.call(which)
        self.answer({"type": "tool_result", "id": call.run_id, "call_id": call.call_id, **outcome})

    @rule(which=st.integers(0, 8))
    def break_a_call(self, which: int) -> None:
        call = self.call(which)
        self.answer({"type": "tool_result", "id": call.run_id, "call_id": call.call_id, "error": "out of order"})

    @rule(which=st.integers(0, 8), approved=st.booleans(), args=st.sampled_from([None, {"n": 7}]))
    def approve_a_call(self, which: int, approved: bool, args: Any) -> None:
        call = self.call(which)
        if call.state == "tool_result":
            return
        command = {"type": "approval", "id": call.run_id, "call_id": call.call_id, "approved": approved}
        self.answer(command if args is None else {**command, "args": args})

    @rule(which=st.integers(0, 8))
    def approve_with_arguments_that_do_not_fit(self, which: int) -> None:
        call = self.call(which)
        if call.state != "approval":
            return
        fields = {"id": call.run_id, "call_id": call.call_id}
        command = {"type": "approval", **fields, "approved": True, "args": {"n": "x"}}
        error = {"error_type": "InvalidCommand", "run_id": call.run_id, "call_id": call.call_id}

        def expecting() -> None:
            # The run may have ended between two breaths.
            if self.ledger.call_ids[call.call_id].state == "approval":
                self.ledger.refusing(**error)

        self.floor.receive(encoded(command), expecting=expecting)
        self.ledger.settled_at_once()

    @rule(frame_id=IDS, call_id=st.sampled_from(["0", "7", "999999", "x", "", "-1"]), kind=st.booleans())
    def answer_a_call_that_was_never_made(self, frame_id: Any, call_id: str, kind: bool) -> None:
        fields = {"type": "tool_result", "result": 1} if kind else {"type": "approval", "approved": True}
        if call_id not in self.ledger.call_ids:
            self.answer({**fields, "id": frame_id, "call_id": call_id})

    # --- mistakes

    @rule(garbage=st.sampled_from(GARBAGE))
    def send_garbage(self, garbage: tuple[bytes, str]) -> None:
        payload, error_type = garbage
        self.floor.receive(payload, expecting=lambda: self.ledger.refusing(error_type=error_type))
        self.ledger.settled_at_once()

    @rule(frame_id=IDS, command=st.sampled_from(WRONG))
    def send_a_wrong_command(self, frame_id: Any, command: dict[str, Any]) -> None:
        self.send({**command, "id": frame_id}, error_type="InvalidCommand")

    @rule(frame_id=IDS)
    def send_an_unknown_command(self, frame_id: Any) -> None:
        command = {"type": "nothing", "id": frame_id}

        def expecting() -> None:
            if key_of(frame_id) in self.ledger.open:
                self.ledger.refusing(error_type="UnknownCommand")
            else:
                self.ledger.sending(command, error_type="UnknownCommand")

        self.floor.receive(encoded(command), expecting=expecting)
        self.ledger.settled_at_once()

    @rule(frame_id=IDS, command=st.sampled_from(WRONG_ANSWERS))
    def send_a_wrong_answer(self, frame_id: Any, command: dict[str, Any]) -> None:
        about = {"run_id": frame_id, **({"call_id": command["call_id"]} if "call_id" in command else {})}

        def expecting() -> None:
            self.ledger.refusing(error_type="InvalidCommand", **about)

        self.floor.receive(encoded({**command, "id": frame_id}), expecting=expecting)
        self.ledger.settled_at_once()


ANY: Final = object()


def encoded(command: dict[str, Any]) -> bytes:
    """A command as it crosses the pipe, without its length."""
    return json.dumps(command).encode()


TestParent = Parent.TestCase
TestParent.settings = bounded(80, stateful_step_count=40)


def test_the_books_refuse_what_the_contract_forbids() -> None:
    """The ledger is a test as well: it must not believe everything."""
    stream = {"type": "stream", "id": 1, "agent_id": "a", "prompt": "x", "credit": 1}
    chunk: Frame = {"type": "chunk", "id": 1, "seq": 0, "step": 1, "kind": "text", "data": "x"}
    error: Frame = {"type": "error", "id": 1, "error_type": "Timeout", "message": "m", "retryable": True}
    call: Frame = {"type": "tool_call", "id": 1, "call_id": "1", "agent_id": "a", "name": "t", "args": {}}
    forbidden: list[list[Frame]] = [
        [{**chunk, "seq": 1}],
        [chunk, {**chunk, "seq": 1}],
        [{**chunk, "kind": "thinking"}],
        [{**chunk, "id": 2}],
        [error, error],
        [error, chunk],
        [call, error],
        [call, call],
        [{"type": "tool_cancel", "id": 1, "call_id": "1", "reason": "cancelled"}],
        [{**error, "id": None}],
        [{**error, "error_type": "Cancelled", "retryable": False}],
    ]
    for frames in forbidden:
        ledger = Ledger(MAX_INFLIGHT)
        ledger.sending(stream)
        try:
            ledger.frames(frames)
        except AssertionError:
            continue
        raise AssertionError(f"the books believe {frames}")
