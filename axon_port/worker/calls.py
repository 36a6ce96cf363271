"""What waits on the parent: tool calls and approvals, in one table (PROTOCOL.md, CALL-*).

A `call_id` is a counter and never used twice, so an answer can be told apart: one that is waited for, one that came
too late, and one to a call that the parent was never asked. It may know the number of such a call from a chunk.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from axon_port.agents.host import ArgumentsCheck
from axon_port.wire.words import Id

Wanted = Literal["tool_result", "approval"]


@dataclass(slots=True)
class Waiting:
    """A call of a run that waits for an answer of one kind."""

    run_id: Id
    call_id: str
    wanted: Wanted
    answered: asyncio.Future[Any] = field(repr=False)
    faults: ArgumentsCheck | None = None


class UnknownCall(LookupError):
    """No such call was made for this run, or it wants another kind of answer."""


class Crossed(LookupError):
    """The call is over: its answer crossed the end on the wire."""


class PendingCalls:
    """The table. Only for the event loop."""

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[str, Waiting] = {}
        self._asked: dict[Id, set[tuple[str, Wanted]]] = {}

    def begin(self, run_id: Id) -> None:
        """A run is under way, and what it asks is kept in mind until its `end`."""
        self._asked[run_id] = set()

    def end(self, run_id: Id) -> None:
        """It asks nothing any more."""
        del self._asked[run_id]

    def new_call_id(self) -> str:
        self._last += 1
        return str(self._last)

    def wait_for(self, run_id: Id, call_id: str, wanted: Wanted, faults: ArgumentsCheck | None) -> Waiting:
        """Enter a call. `faults` checks arguments that an approval puts in place of the model's."""
        waiting = Waiting(run_id, call_id, wanted, asyncio.get_running_loop().create_future(), faults)
        self._waiting[call_id] = waiting
        self._asked[run_id].add((call_id, wanted))
        return waiting

    def forget(self, waiting: Waiting) -> None:
        """The one way out of the table."""
        if self._waiting.get(waiting.call_id) is waiting:
            del self._waiting[waiting.call_id]

    def find(self, run_id: Id, call_id: str, answer: Wanted) -> Waiting:
        """The call an answer is for. Raises `Crossed` or `UnknownCall`."""
        asked = self._asked.get(run_id)
        if asked is None:
            # The run has ended, and its calls with it.
            raise Crossed if self._was_made(call_id) and call_id not in self._waiting else UnknownCall
        if (call_id, answer) not in asked:
            raise UnknownCall
        waiting = self._waiting.get(call_id)
        if waiting is None or waiting.answered.done() or waiting.wanted != answer:
            raise Crossed
        return waiting

    def _was_made(self, call_id: str) -> bool:
        if not (call_id.isascii() and call_id.isdecimal() and len(call_id) <= len(str(self._last))):
            return False
        return call_id == str(int(call_id)) and 0 < int(call_id) <= self._last
