"""axon-port itself, spoken to as PROTOCOL.md says."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Final

import orjson

from tests.bench import scenes
from tests.bench.driver import Event
from tests.bench.peers.base import ALL_OPS, Served, pipe_ends
from tests.bench.peers.pipes import Pipe
from tests.bench.task import Holding, Op, PeerFailed

MAX_INFLIGHT: Final = 20_000
"""Ten thousand runs that wait are one of the workloads."""

AT_ONCE: Final = 64
"""Agents that are made at once: commands that wait to be taken are no agents yet."""

WORKER: Final = (sys.executable, "-m", "axon_port", "--max-inflight", str(MAX_INFLIGHT))

TOOL: Final = {"name": scenes.TOOL_NAME, "description": "The weather now.", "parameters": scenes.TOOL_PARAMETERS}


class AxonConnection:
    """A parent: agents are made when they are first needed."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._made: set[str] = set()
        self._tails: dict[tuple[Op, int], bytes] = {}
        self._result = orjson.dumps(scenes.TOOL_RESULT)

    def prepare(self, op: Op, size: int) -> None:
        if op == "ping":
            return
        name = f"{op}-{0 if op in {'prompt', 'history'} else size}"
        if name not in self._made:
            self._made.add(name)
            self.create(name, model={"script": scenes.turns(op, size)}, tools=[TOOL] if op == "tool" else [])
            self.wait_for("result")
        run: dict[str, Any] = {"type": "stream" if op == "stream" else "run", "agent_id": name}
        run["prompt"] = scenes.prompt(op, size)
        if op == "history":
            run["message_history"] = scenes.history(size)
        else:
            run["messages"] = "none"
        self._tails[op, size] = orjson.dumps(run)[1:]

    def send(self, number: int, op: Op, size: int) -> None:
        if op == "ping":
            self._pipe.put(b'{"type":"ping","id":%d}' % number)
        else:
            self._pipe.put(b'{"id":%d,%b' % (number, self._tails[op, size]))

    def answer(self, event: Event) -> None:
        call_id: str = event.call
        answer = b'{"type":"tool_result","id":%d,"call_id":"%b","result":%b}'
        self._pipe.put(answer % (event.id, call_id.encode(), self._result))

    def events(self) -> list[Event]:
        return [event for frame in self._pipe.frames() if (event := _event(orjson.loads(frame))) is not None]

    def create(self, name: str, **fields: Any) -> None:
        self._pipe.put(orjson.dumps({"type": "create_agent", "id": f"create {name}", "agent_id": name, **fields}))

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Hear so many frames of a type; others are dropped."""
        while count > 0:
            for frame in self._pipe.frames():
                value = orjson.loads(frame)
                if value["type"] == "error":
                    raise PeerFailed(value["message"])
                count -= value["type"] == kind


def _event(frame: dict[str, Any]) -> Event | None:
    match frame["type"]:
        case "result":
            return Event("done", frame["id"])
        case "chunk":
            return Event("delta", frame["id"])
        case "tool_call":
            return Event("call", frame["id"], frame["call_id"])
        case "error":
            raise PeerFailed(frame["message"])
        case _:
            return None


class Axon(Served[AxonConnection]):
    name: ClassVar[str] = "axon-port"
    title: ClassVar[str] = "axon-port"
    ops: ClassVar[frozenset[Op]] = ALL_OPS

    def start(self) -> None:
        self.connection = AxonConnection(Pipe(*pipe_ends(self.spawn(WORKER))))
        self._held = 0

    def hold(self, what: Holding, count: int) -> None:
        first, self._held = self._held, self._held + count
        if what == "agents":
            for batch in range(first, first + count, AT_ONCE):
                numbers = range(batch, min(batch + AT_ONCE, first + count))
                for number in numbers:
                    self.connection.create(
                        f"held-{number}",
                        model={"script": scenes.turns("tool", 1)},
                        instructions=f"You are agent {number}.",
                        tools=[TOOL],
                    )
                self.connection.wait_for("result", len(numbers))
        else:
            self.connection.prepare("tool", 1)
            for number in range(first, first + count):
                self.connection.send(number, "tool", 1)
            self.connection.wait_for("tool_call", count)
