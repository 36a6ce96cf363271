"""Cancels and replies in every order: `python -m tests.chaos.interleavings --count 10000 --seed 0`.

Each number is one short story on a worker without a process: a run or a stream of some agent, whose parent answers
calls, decides approvals, gives credit, lets the loop turn, and somewhere in between, perhaps in the same breath as an
answer, sends the cancel. The ledger checks every frame: one terminal frame, of the kind that the cancel's own answer
promises, and silence after it. Then a next run, of the same agent, has to go on from the messages that came back.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

from axon_port.worker.options import Options
from tests.properties.ledger import Call, Frame, Ledger, key_of
from tests.worker.floor import Floor

LOOK: Final[dict[str, Any]] = {
    "name": "look",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    "retries": 3,
}
DONE: Final = {"chunks": ["do", "ne"]}
NEVER_MS: Final = 86_400_000
CITY: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def calls(*numbers: Any) -> dict[str, Any]:
    """A turn that makes calls, with a word before them."""
    return {"text": "wait", "tool_calls": [{"name": "look", "args": {"n": number}} for number in numbers]}


AGENTS: Final[dict[str, dict[str, Any]]] = {
    "talks": {"model": {"script": [{"thinking": "hm", "chunks": ["Hel", "lo ", "wor", "ld"]}]}},
    "looks": {"model": {"script": [calls(1, 2), calls(3), DONE]}, "tools": [LOOK]},
    "looks wrong": {"model": {"script": [calls("x"), calls(1), DONE]}, "tools": [LOOK]},
    "looks in turns": {"model": {"script": [calls(1, 2), DONE]}, "tools": [{**LOOK, "sequential": True}]},
    "asks": {"model": {"script": [calls(1, 2), DONE]}, "tools": [{**LOOK, "requires_approval": True}]},
    "defers": {"model": {"script": [calls(1), DONE]}, "tools": [{**LOOK, "handler": "deferred"}]},
    "answers wrongly": {
        "model": {"script": [{"output": {"city": 1}}, calls(1), {"output": {"city": "O"}}]},
        "tools": [LOOK],
        "output_schema": CITY,
        "result_retries": 3,
    },
    "waits": {"model": {"script": [calls(1), {"delay_ms": NEVER_MS}]}, "tools": [LOOK]},
    "waits in a stream": {"model": {"script": [{"chunks": ["a", "b"], "chunk_delay_ms": NEVER_MS}]}},
    "waits to try again": {
        "model": {"script": [calls(1), {"error": {"status": 503}}, DONE]},
        "tools": [LOOK],
        "retry": {"attempts": 2, "base_ms": NEVER_MS, "max_ms": NEVER_MS},
    },
    "waits its turn": {"model": {"script": [calls(1), DONE]}, "tools": [LOOK], "max_concurrency": 1},
}
OUTCOMES: Final = [
    {"result": 5},
    {"result": {"x": "y" * 50}},
    {"retry": "again"},
    {"failed": "no"},
    {"error": "broken"},
]
DECISIONS: Final = [{"approved": True}, {"approved": False, "message": "no"}, {"approved": True, "args": {"n": 7}}]
KINDS: Final = ["text", "thinking", "output", "tool_call", "tool_return"]
SILENCE_TURNS: Final = 8


@dataclass
class Stories:
    """One worker, on which one story after the other is told."""

    ledger: Ledger = field(default_factory=lambda: Ledger(10))
    ends: Counter[str] = field(default_factory=Counter[str])
    """How often a run ended how, by whether it was cancelled."""

    def __post_init__(self) -> None:
        self.floor = Floor(Options(max_inflight=10), self.ledger.frames)
        for number, (name, fields) in enumerate(AGENTS.items()):
            self._send({"type": "create_agent", "id": f"create {number}", "agent_id": name, **fields})
        self.floor.until(lambda: not self.ledger.open)

    def close(self) -> None:
        """Nothing may be left of all the stories."""
        assert not self.floor.dispatcher.busy
        assert list(self.floor.desk.exchanges) == []
        assert self.floor.tasks() == []
        self.floor.close()

    def tell(self, seed: int) -> None:
        """One story, the same for the same number."""
        chance = Random(seed)
        self.ledger.history.clear()
        self.ledger.calls.clear()
        agent = chance.choice(list(AGENTS))
        moves = chance.randint(0, 16)
        before = (lambda: None) if agent != "waits its turn" or chance.random() < 0.5 else self._somebody_else()
        if chance.random() < 0.05:
            # Before the start: there is nothing to cancel, and the run that comes then is not touched.
            self._send({"type": "cancel", "id": "early", "target": 1})
        run = self._command(agent, chance)
        if moves == 0:
            # At once: before the run has had a turn, and perhaps before its agent is there.
            create = {"type": "create_agent", "id": "create", "agent_id": agent, "replace": True, **AGENTS[agent]}
            cancel = {"type": "cancel", "id": "c", "target": 1}
            self._breath([create, run, cancel] if chance.random() < 0.3 else [run, cancel])
        else:
            self._send(run)
            for _ in range(moves - 1):
                self._move(chance)
            self._cancel(chance)
        self.floor.until(lambda: not {key_of(1), key_of("create")} & self.ledger.open.keys())
        before()
        end = next(frame for frame in reversed(self.ledger.history) if frame.get("id") == 1)
        self.ends["cancelled" if end.get("error_type") == "Cancelled" else end["type"]] += 1
        self.floor.turns(SILENCE_TURNS)
        assert self.ledger.history[-1].get("id") != 1 or self.ledger.history[-1] is end
        if chance.random() < 0.3:
            # After the end: an answer, a cancel, both for nothing.
            self._reply_late(end)
        self._go_on(agent, end)

    def _command(self, agent: str, chance: Random) -> dict[str, Any]:
        command: dict[str, Any] = {"type": "run", "id": 1, "agent_id": agent, "prompt": "go"}
        command["messages"] = chance.choice(["new", "all"])
        if chance.random() < 0.6:
            command |= {"type": "stream", "events": chance.sample(KINDS, chance.randint(0, len(KINDS)))}
            if chance.random() < 0.5:
                command["credit"] = chance.randint(0, 2)
        return command

    def _somebody_else(self) -> Any:
        """A run that has the agent's one turn; what ends it."""
        self._send({"type": "run", "id": 2, "agent_id": "waits its turn", "prompt": "go"})

        def ends() -> None:
            self._send({"type": "cancel", "id": "c2", "target": 2})
            self.floor.until(lambda: not self.ledger.open)

        return ends

    # --- moves

    def _move(self, chance: Random) -> None:
        """A turn or some, an answer, some credit."""
        reply = self._reply(chance)
        match chance.randint(0, 3):
            case 0 if reply is not None:
                self._send(reply)
            case 1:
                self._send({"type": "credit", "id": 1, "n": chance.randint(0, 2)})
            case _:
                self.floor.turns(chance.randint(1, 12))

    def _cancel(self, chance: Random) -> None:
        """The cancel, in one breath with whatever else the parent has to say."""
        said = [{"type": "cancel", "id": "c", "target": 1}]
        replies = [
            self._reply(chance),
            {"type": "credit", "id": 1, "n": 1},
            {"type": "cancel", "id": "c1", "target": 1},
        ]
        for other in replies:
            if other is not None and chance.random() < 0.4:
                said.insert(chance.randint(0, len(said)), other)
        self._breath(said)

    def _reply(self, chance: Random) -> dict[str, Any] | None:
        """An answer to a call of the run that is open."""
        open_calls = [call for call in self.ledger.calls if call.run_id == 1 and call.state != "over"]
        if not open_calls:
            return None
        call = chance.choice(open_calls)
        return _answer(call, chance.choice(OUTCOMES if call.state == "tool_result" else DECISIONS))

    def _reply_late(self, end: Frame) -> None:
        made = [call for call in self.ledger.calls if call.run_id == 1]
        late = [_answer(made[-1], OUTCOMES[0])] if made else []
        self._breath([*late, {"type": "cancel", "id": "late", "target": 1}])
        assert self.ledger.history[-1] == {"type": "result", "id": "late", "result": {"cancelled": False}}

    # --- what comes after

    def _go_on(self, agent: str, end: Frame) -> None:
        """The next run of the agent goes on from the messages."""
        done = {"output": {"city": "P"}} if "output_schema" in AGENTS[agent] else DONE
        command = {"type": "run", "id": 1, "agent_id": agent, "prompt": "go on", "model": {"script": [done]}}
        if end.get("status") == "deferred":
            entries = {call["call_id"]: {"result": 1} for call in end["deferred"]["calls"]}
            command = {**command, "deferred_results": entries}
            del command["prompt"]
        self._send({**command, "message_history": end["messages"]})
        self.floor.until(lambda: not self.ledger.open)
        next_end = self.ledger.history[-1]
        assert next_end.get("result") == done.get("output", "done"), (agent, end, next_end)

    # --- sending

    def _send(self, command: dict[str, Any]) -> None:
        self._breath([command])

    def _breath(self, commands: Sequence[dict[str, Any]]) -> None:
        said = [(json.dumps(command).encode(), partial(self._expect, command)) for command in commands]
        self.floor.breath(*said)
        self.ledger.settled_at_once()

    def _expect(self, command: dict[str, Any]) -> None:
        match command["type"]:
            case "tool_result" | "approval":
                self.ledger.answering(command)
            case "credit":
                self.ledger.crediting(command)
            case _:
                self.ledger.sending(command)


def _answer(call: Call, outcome: dict[str, Any]) -> dict[str, Any]:
    kind = "tool_result" if call.state != "approval" else "approval"
    return {"type": kind, "id": call.run_id, "call_id": call.call_id, **outcome}


def tell(count: int, first: int = 0) -> Counter[str]:
    """So many stories; how their runs ended."""
    stories = Stories()
    for seed in range(first, first + count):
        try:
            stories.tell(seed)
        except BaseException as problem:
            problem.add_note(f"story {seed}: python -m tests.chaos.interleavings --seed {seed} --count 1")
            raise
    stories.close()
    return stories.ends


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.interleavings", description="Cancels and replies.")
    parser.add_argument("--count", type=int, default=10_000, help="how many stories (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first (default: %(default)d)")
    options = parser.parse_args(arguments)
    ends = tell(options.count, options.seed)
    print(f"{options.count} interleavings of cancel and reply: nothing lost, nothing after the end; {dict(ends)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
