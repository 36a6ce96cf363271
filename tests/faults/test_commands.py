"""Faults B: JSON and commands as they should not come, against real workers."""

import json
from typing import Any

import pytest

from axon_port.wire.codec import MAX_ITEMS
from tests.contract.scenarios import asking_agent, calls, says, start_asking, tool
from tests.kit import Worker, encode, failed, pack, succeeded
from tests.kit.messages import tool_returns
from tests.kit.processes import forget_peak, resident_bytes

from .scenes import MIB, faulty_tool, faulty_worker

DEPTHS = [1, 150, 190, 200, 253, 254, 255, 256, 1023, 1024, 1025, 1_000_000]
NUMBERS = [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 2**64 + 1, 10**399 + 7]


class Places:
    """The places of a conversation where somebody's data stand, each carried through a worker and back."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        tools = [faulty_tool("floods.deps_of")]
        self.telling = worker.agent([calls("deps_of"), says("done")], tools=tools)
        self.asking = asking_agent(worker)
        self.history = self._history()
        self.id = 1_000_000

    def _history(self) -> str:
        run, call = start_asking(self.worker, self.asking)
        self.worker.answer(call, result="PLACE")
        return json.dumps(succeeded(self.worker.terminal(run))["messages"])

    def send(self, place: str, text: str) -> Any:
        """Sends JSON text in a place; the value that came back, or `None` where it was refused with one error."""
        self.id += 1
        return getattr(self, f"_{place}")(text)

    def _raw(self, text: str, kind: str = "create_agent") -> dict[str, Any]:
        unreadable = "7" * 5000 in text  # for the kit's parser
        if unreadable and kind != "tool_result":
            self.worker.expect({"type": kind, "id": self.id})
        self.worker.send_raw(pack(text.encode()), noted=not unreadable)
        return self.worker.wait_for(
            lambda frame: frame["type"] in ("result", "error") and frame["id"] in (self.id, None)
        )

    def _deps(self, text: str) -> Any:
        start = f'{{"type": "run", "id": {self.id}, "agent_id": "{self.telling}", "prompt": "p"'
        answer = self._raw(f'{start}, "deps": {{"a": {text}}}}}', "run")
        # The function got whatever was accepted; what it returns may be less deep.
        return (
            refused(answer, "ToolError") if answer["type"] == "error" else tool_returns(answer["messages"])[0][1]["a"]
        )

    def _messages(self, text: str) -> Any:
        history = self.history.replace('"PLACE"', text)
        start = f'{{"type": "run", "id": {self.id}, "agent_id": "{self.telling}", "messages": "all", "prompt": "p"'
        answer = self._raw(f'{start}, "message_history": {history}}}', "run")
        return refused(answer) if answer["type"] == "error" else tool_returns(answer["messages"])[0][1]

    def _tool_result(self, text: str) -> Any:
        _, call = start_asking(self.worker, self.asking, id=self.id)
        start = f'{{"type": "tool_result", "id": {self.id}, "call_id": "{call["call_id"]}"'
        answer = self._raw(f'{start}, "result": {text}}}', "tool_result")
        if answer["type"] == "error":
            self.worker.answer(call, result=1)
            succeeded(self.worker.terminal(self.id))
            return refused(answer)
        return tool_returns(answer["messages"])[0][1]

    def _script(self, text: str) -> Any:
        turns = f'[{{"tool_calls": [{{"name": "t", "args": {{"a": {text}}}}}]}}, {{"text": "done"}}]'
        start = f'{{"type": "create_agent", "id": {self.id}, "agent_id": "s", "replace": true'
        tools = '"tools": [{"name": "t", "parameters": {}}]'
        answer = self._raw(f'{start}, {tools}, "model": {{"script": {turns}}}}}')
        if answer["type"] == "error":
            return refused(answer)
        run, call = start_asking(self.worker, "s")
        self.worker.answer(call, result=1)
        succeeded(self.worker.terminal(run))
        return call["args"]["a"]

    def _output(self, text: str) -> Any:
        start = f'{{"type": "create_agent", "id": {self.id}, "agent_id": "o", "replace": true, "output_schema": true'
        answer = self._raw(f'{start}, "model": {{"script": [{{"output": {text}}}]}}}}')
        return refused(answer) if answer["type"] == "error" else succeeded(self.worker.run("o"))["result"]


PLACES = ["deps", "messages", "tool_result", "script", "output"]


def refused(answer: dict[str, Any], *more: str) -> None:
    assert answer["error_type"] in ("InvalidJSON", "InvalidCommand", *more), answer


def test_a_deep_value_is_carried_whole_or_refused_wherever_it_stands() -> None:
    """clause: JSON-DEPTH
    fault: B12
    """
    with faulty_worker() as worker:
        places = Places(worker)
        for place in PLACES:
            carried = [depth for depth in DEPTHS if places.send(place, "[" * depth + "]" * depth) is not None]
            assert carried == DEPTHS[: len(carried)]
            assert len(carried) >= 2, f"nothing deep is carried as {place}"
            for depth in (100, 150):
                value = places.send(place, "[" * depth + "7" + "]" * depth)
                assert json.dumps(value) == "[" * depth + "7" + "]" * depth
        succeeded(worker.ask("ping"))


def test_a_great_integer_is_exact_or_refused_wherever_it_stands() -> None:
    """clause: JSON-INTEGERS
    fault: B13
    """
    with faulty_worker() as worker:
        places = Places(worker)
        for place in PLACES:
            for number in NUMBERS:
                assert places.send(place, f'{{"n": {number}}}') in ({"n": number}, None), (place, number)
            assert places.send(place, f'{{"n": {NUMBERS[0]}}}') == {"n": NUMBERS[0]}
            assert places.send(place, f'{{"n": {"7" * 5000}}}') is None


def test_a_hundred_thousand_answers_for_nothing_do_no_harm() -> None:
    """clause: ENV-CROSSED, ENV-DUPLICATE, CALL-UNKNOWN
    fault: B16
    """
    with Worker(timeout=120) as worker:
        run, call = start_asking(worker)
        stream = worker.start_stream(worker.agent([says("x")]), credit=0)
        late, late_call = start_asking(worker)
        worker.answer(late_call, result=1)
        succeeded(worker.terminal(late))
        crossed = {"type": "tool_result", "id": late, "call_id": late_call["call_id"], "result": 1}
        approval = {"type": "approval", "id": late, "call_id": late_call["call_id"], "approved": True}
        silent = b"".join(
            [
                encode(crossed),
                encode(approval),
                encode({"type": "approval", "id": run, "call_id": call["call_id"], "approved": True}),
                encode({"type": "credit", "id": run, "n": 1}),
                encode({"type": "credit", "id": "nobody", "n": 1}),
                encode({"type": "credit", "id": stream, "n": 0}),
            ]
        )
        told = b"".join(
            [
                encode({"type": "tool_result", "id": run, "call_id": "987654321", "result": 1}),
                encode({"type": "tool_result", "id": "nobody", "call_id": "987654321", "result": 1}),
                encode({"type": "cancel", "id": run, "target": run}),
            ]
        )
        before = resident_bytes(worker.pid)
        for _ in range(40):
            worker.send_raw(silent * 400)
        for _ in range(10):
            worker.send_raw(told * 100)
        succeeded(worker.ask("ping"))
        worker.answer(call, result=1)
        assert succeeded(worker.terminal(run))["result"] == "done"
        worker.send({"type": "credit", "id": stream, "n": 1})
        assert succeeded(worker.collect(stream)[-1])["result"] == "x"
        errors = [frame["error_type"] for frame in worker.frames if frame["type"] == "error"]
        assert errors.count("UnknownToolCall") == 2000
        assert errors.count("DuplicateId") == 1000
        assert len(errors) == 3000
        assert resident_bytes(worker.pid) - before < 32 * MIB


FULL = 64 * MIB


def bomb(item: bytes, count: int) -> bytes:
    """A frame of a run whose deps are so many items."""
    start = b'{"type":"run","id":"bomb","agent_id":"nobody","prompt":"p","deps":'
    return pack(start + b"[" + b",".join([item] * count) + b"]}")


def test_a_frame_that_would_grow_is_refused_or_its_memory_returns() -> None:
    """What would hold the interpreter for more than a second is refused before it is parsed; the rest is let go.

    clause: JSON-ITEMS
    fault: B17
    """
    keys = b"{" + b",".join(b'"%d":1' % number for number in range(1_000_000)) + b"}"
    with Worker(timeout=120) as worker:
        succeeded(worker.run(worker.agent([says("warm")])))
        before = resident_bytes(worker.pid)
        forget_peak(worker.pid)
        worker.send_raw(bomb(b"[]", (FULL - 200) // 3), noted=False)
        assert failed(worker.wait_for("error"), "InvalidJSON")["id"] is None
        # The frame as it came, and as it grew in its buffer, and no value of it.
        assert resident_bytes(worker.pid, peak=True) - before < 3 * FULL
        for frame in (bomb(b"[]", MAX_ITEMS - 100), bomb(keys, 1)):
            worker.expect({"type": "run", "id": "bomb"})
            worker.send_raw(frame, noted=False)
            failed(worker.terminal("bomb"), "AgentNotFound")
            succeeded(worker.ask("ping"))
        succeeded(worker.run(worker.agent([says("warm")])))
        assert resident_bytes(worker.pid) - before < 100 * MIB


def test_ten_thousand_tools_and_long_names_work_or_are_refused() -> None:
    """fault: B18"""
    with Worker(timeout=120) as worker:
        names = [f"tool_{n}" for n in range(10_000)]
        agent = worker.agent([calls(names[0], names[-1]), says("done")], tools=[tool(name) for name in names])
        run = worker.start_run(agent)
        for _ in range(2):
            worker.answer(worker.wait_for("tool_call", of=run), result=1)
        succeeded(worker.terminal(run))
        model = {"script": [says("x")]}
        for tools in ([tool(parameters={"type": "array"})], [tool("twice"), tool("twice")]):
            failed(worker.ask("create_agent", agent_id="bad", model=model, tools=tools), "InvalidAgent")
            failed(worker.run("bad"), "AgentNotFound")


EXPLODING = {"type": "string", "pattern": "^(a+)+$"}
FUSE = "a" * 50 + "!"


@pytest.mark.parametrize("where", ["arguments", "output", "deps"])
def test_a_pattern_that_explodes_stops_nobody(where: str) -> None:
    """clause: SCHEMA-PATTERNS
    fault: B19
    """
    schema = {"type": "object", "properties": {"q": EXPLODING}, "required": ["q"]}
    with Worker() as worker:
        match where:
            case "arguments":
                script = [calls(("lookup", {"q": FUSE})), says("done")]
                agent = worker.agent(script, tools=[tool(parameters=schema)])
            case "output":
                agent = worker.agent([{"output": {"q": FUSE}}] * 2, output_schema=schema)
            case _:
                agent = worker.agent([says("done")], deps_schema=schema)
        run = worker.start_run(agent, deps={"q": FUSE})
        for _ in range(10):
            succeeded(worker.ask("ping"))
        assert succeeded(worker.run(worker.agent([says("another")])))["result"] == "another"
        end = worker.terminal(run)
        assert (
            end["type"] == "result" if where == "arguments" else end["error_type"] in ("ValidationError", "InvalidDeps")
        )
