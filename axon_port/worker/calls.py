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
        self._unasked: dict[str, Id] = {}
        self._numbered: dict[Id, list[str]] = {}

    def new_call_id(self, run_id: Id) -> str:
        """The number of a call that the parent has not been asked yet, and may never be. `end` forgets it."""
        self._last += 1
        call_id = str(self._last)
        self._unasked[call_id] = run_id
        self._numbered.setdefault(run_id, []).append(call_id)
        return call_id

    def end(self, run_id: Id) -> None:
        """The run asks nothing any more."""
        for call_id in self._numbered.pop(run_id, ()):
            self._unasked.pop(call_id, None)

    def wait_for(self, run_id: Id, call_id: str, wanted: Wanted, faults: ArgumentsCheck | None) -> Waiting:
        """Enter a call. `faults` checks arguments that an approval puts in place of the model's."""
        waiting = Waiting(run_id, call_id, wanted, asyncio.get_running_loop().create_future(), faults)
        self._waiting[call_id] = waiting
        if wanted == "tool_result":
            self._unasked.pop(call_id, None)
        return waiting

    def forget(self, waiting: Waiting) -> None:
        """The one way out of the table."""
        if self._waiting.get(waiting.call_id) is waiting:
            del self._waiting[waiting.call_id]

    def find(self, run_id: Id, call_id: str, answer: Wanted) -> Waiting:
        """The call an answer is for. Raises `Crossed` or `UnknownCall`."""
        waiting = self._waiting.get(call_id)
        if waiting is None or waiting.answered.done():
            early = answer == "tool_result" and call_id in self._unasked
            raise Crossed if self._was_made(call_id) and not early else UnknownCall
        if type(waiting.run_id) is not type(run_id) or waiting.run_id != run_id:
            raise UnknownCall
        if waiting.wanted != answer:
            if answer == "approval":
                raise Crossed
            raise UnknownCall
        return waiting

    def _was_made(self, call_id: str) -> bool:
        if not (call_id.isascii() and call_id.isdecimal() and len(call_id) <= len(str(self._last))):
            return False
        return call_id == str(int(call_id)) and 0 < int(call_id) <= self._last
