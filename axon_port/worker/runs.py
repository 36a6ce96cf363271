"""A run or a stream under way, from its arrival to its terminal frame (PROTOCOL.md, RUN-*).

    arrived ──> waiting for its turn ──> running ──> ending ──> settled
       └──────────────┴──────────────────────┴──────────┘
                    `end`: cancelled, timed out, parent gone

A run is one asyncio task. It is cancelled once and not, as a cancel scope would, again and again: code that swallows
the cancellation would spin. What has not unwound after `UNWIND_SECONDS` is left alone and the run ends without it.
The first of "it finished" and "it was ended" decides; `_settle` is reached from the task's done-callback, or from the
timer that leaves the task behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final

from axon_port.agents.execution import Execution, Outcome, unbegun
from axon_port.agents.failures import internal_error, wire_error
from axon_port.agents.history import dump_history
from axon_port.agents.prompts import user_content
from axon_port.agents.usage import NOTHING_USED
from axon_port.wire import commands
from axon_port.wire.errors import WireError
from axon_port.wire.events import Frame, error_frame, result_frame
from axon_port.worker.exchanges import Exchange
from axon_port.worker.host import RunHost
from axon_port.worker.logs import RunTag, current_run
from axon_port.worker.loop import Escaped
from axon_port.worker.open_calls import parent_gone
from axon_port.worker.roster import Agent, known
from axon_port.worker.services import RunServices

UNWIND_SECONDS: Final = 1.0
"""How long a run that was ended may take to clean up behind itself before its terminal frame leaves all the same."""

_logger = logging.getLogger("axon_port.runs")


class ActiveRun:
    """One run. `start` it once; `end` it whenever. `on_settled` hears of its end.

    `arrived` is when its command was read, by the monotonic clock: whatever it has waited for since counts.
    """

    def __init__(
        self,
        exchange: Exchange,
        command: commands.Run | commands.Stream,
        arrived: float,
        services: RunServices,
        on_settled: Callable[[ActiveRun], None],
    ) -> None:
        self.exchange = exchange
        self.command = command
        self._services = services
        self._on_settled = on_settled
        self._arrived = arrived
        self._change = services.roster.change_under_way(command.agent_id)
        self._agent: Agent | None = None
        self._begun = False
        self._counted = False
        self._has_turn = False
        self._execution: Execution | None = None
        self._ending: WireError | None = None
        self._unwound_by = math.inf
        self._settled = False
        self._spans = services.telemetry.run(exchange, command)
        self._host = RunHost(exchange, command, services, self._spans)
        self._timers: list[asyncio.TimerHandle] = []
        self._prompts: list[commands.Enqueue] = []
        self.task: asyncio.Task[Frame] | None = None
        self._leaving: asyncio.Task[Frame] | None = None
        # The loop keeps tasks only weakly.
        self._retiring: asyncio.Task[None] | None = None

    # --- lifecycle

    def start(self) -> None:
        if self._change is None:
            # Known at once: an unknown agent must not cost a task.
            self._agent = self._services.roster.find(self.command.agent_id)
        else:
            self._change.add_done_callback(self._meet)
        loop = asyncio.get_running_loop()
        self._services.stats.runs_started += 1
        self._services.stats.agent(self.command.agent_id).runs += 1
        self.task = loop.create_task(self._run(), name=f"run {self.exchange.id}")
        self.task.add_done_callback(self._finished)
        if (timeout_ms := self._timeout_ms()) is not None:
            self._arm_timeout(timeout_ms)

    def end(self, error: WireError, *, within: float = UNWIND_SECONDS) -> bool:
        """End the run with `error` for its terminal frame. The first one counts: whether it is of this type."""
        if self._settled:
            return False
        self._unwind(within, self._ending or error)
        if self._ending is not None:
            return self._ending.error_type == error.error_type
        self._ending = error
        self._host.calls.cancel_all()
        if (task := self._leaving or self.task) is not None:
            task.cancel()
        return True

    def _unwind(self, seconds: float, ending: WireError) -> None:
        """Leave the run behind after so long; the shortest time that it was ever given counts."""
        due = time.monotonic() + seconds
        if due < self._unwound_by:
            self._unwound_by = due
            self._timers.append(asyncio.get_running_loop().call_later(seconds, self._abandon, ending))

    def parent_gone(self) -> None:
        """No more input: what waits on the parent can never be answered, the rest goes on without flow control."""
        self._host.calls.parent_gone()
        if self._host.calls:
            self.end(parent_gone())
        self._host.chunks.unlimit()

    def grant(self, credit: int) -> None:
        """Credit from the parent; nothing happens to a stream that asked for none."""
        self._host.chunks.grant(credit)

    def enqueue(self, command: commands.Enqueue) -> bool:
        """Add to the run; False where it has ended. Raises `WireError` for a prompt that is none."""
        if self._settled or self._ending is not None:
            return False
        if self._execution is not None:
            return self._execution.enqueue(command.prompt, command.priority)
        user_content(command.prompt)
        self._prompts.append(command)
        return True

    def _timeout_ms(self) -> int | None:
        if self.command.timeout_ms is not None or self._agent is None:
            return self.command.timeout_ms
        return self._agent.definition.command.timeout_ms

    def _arm_timeout(self, timeout_ms: int) -> None:
        remaining = self._arrived + timeout_ms / 1000 - time.monotonic()
        error = WireError(
            "Timeout", f"the run took longer than its {timeout_ms} ms", details={"timeout_ms": timeout_ms}
        )
        self._timers.append(asyncio.get_running_loop().call_later(max(0.0, remaining), self.end, error))

    async def _run(self) -> Frame:
        current_run.set(RunTag(self.exchange, self.command.agent_id))
        if not self._spans.enter(self.command.traceparent):
            _logger.debug("a traceparent that is none was ignored")
        self._begun = True
        try:
            agent = self._agent or await self._awaited()
            self._count_in(agent)
            if agent.turns is not None:
                await agent.turns.acquire()
                self._has_turn = True
            return await self._execute(agent)
        except (SystemExit, KeyboardInterrupt) as error:
            # Either would stop the event loop, and with it every other run.
            raise Escaped(repr(error)) from error
        finally:
            self._count_out()
            if self._agent is not None and self._agent.retired:
                await self._services.roster.retire(self._agent)

    async def _awaited(self) -> Agent:
        """The agent as the change left it: a deletion that came after this command may have been made already."""
        found = None if self._change is None else await asyncio.shield(self._change)
        agent = known(found, self.command.agent_id)
        if self.command.timeout_ms is None and (timeout_ms := agent.definition.command.timeout_ms) is not None:
            self._arm_timeout(timeout_ms)
        return agent

    def _meet(self, change: asyncio.Future[Agent | None]) -> None:
        # Before a deletion that came later hears of the change: it closes what none of the agent's runs needs.
        agent = change.result()
        if agent is not None and self._begun and self.task is not None and not self.task.done():
            self._count_in(agent)

    def _count_in(self, agent: Agent) -> None:
        self._agent = agent
        if not self._counted:
            self._counted = True
            agent.runs_inflight += 1

    def _count_out(self) -> None:
        """The run is none of its agent's any more. One that is left behind must not keep others from their turn."""
        if self._agent is None or not self._counted:
            return
        self._counted = False
        self._agent.runs_inflight -= 1
        if self._has_turn and self._agent.turns is not None:
            self._agent.turns.release()

    def _leave_agent(self) -> None:
        self._count_out()
        if self._agent is not None and self._agent.retired:
            # Its run was left behind, and may never come to do it itself.
            self._retiring = asyncio.get_running_loop().create_task(self._services.roster.retire(self._agent))

    async def _execute(self, agent: Agent) -> Frame:
        services = self._services
        self._spans.executing(agent.definition.label)
        self._execution = Execution(agent.definition, self.command, self._host, services.workshop, services.threads)
        for prompt in self._prompts:
            self._execution.enqueue(prompt.prompt, prompt.priority)
        outcome = await self._execution.run()
        frame = self._result(outcome, self._execution)
        self._spans.delivering()
        await self._host.chunks.drained()
        await services.admission.room()
        return frame

    def _result(self, outcome: Outcome, execution: Execution) -> Frame:
        extra: dict[str, Any] = {"agent_id": self.command.agent_id, "run_id": outcome.run_id, "status": outcome.status}
        if outcome.deferred is not None:
            extra["deferred"] = outcome.deferred
        if (messages := execution.final_messages(outcome.status)) is not None:
            extra["messages"] = messages
        extra["usage"] = execution.usage()
        extra["duration_ms"] = self._elapsed_ms()
        return result_frame(self.exchange.id, outcome.result, **extra)

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._arrived) * 1000)

    def _finished(self, task: asyncio.Task[Frame]) -> None:
        if self._settled:
            return
        frame = self._made(lambda: self._last_frame(task), "the answer of run %r could not be made")
        if frame["type"] == "result" and not self._services.outbox.has_room:
            self._leaving = asyncio.get_running_loop().create_task(self._leave(frame))
            self._leaving.add_done_callback(self._finished)
        else:
            self._settle(frame)

    async def _leave(self, frame: Frame) -> Frame:
        """A result that has to wait: of runs that end in the same breath each saw room for its own."""
        await self._services.admission.room()
        return frame

    def _last_frame(self, task: asyncio.Task[Frame]) -> Frame:
        if self._ending is not None:
            self._swallow(task)
            return self._error_frame(self._ending)
        if task.cancelled():
            # Nobody asked us to.
            return self._error_frame(self._seen(asyncio.CancelledError("somebody's code inside the run cancelled it")))
        if (error := task.exception()) is not None:
            return self._error_frame(self._seen(error))
        return task.result()

    def _swallow(self, task: asyncio.Task[Frame]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and wire_error(error) is None:
            _logger.debug("a run that was ended left with %r", error, exc_info=error)

    def _seen(self, error: BaseException) -> WireError:
        seen = wire_error(error)
        if seen is None:
            tag = current_run.set(RunTag(self.exchange, self.command.agent_id))
            _logger.error("run %r failed: %s", self.exchange.id, type(error).__name__, exc_info=error)
            current_run.reset(tag)
            return internal_error()
        return seen

    def _abandon(self, ending: WireError) -> None:
        # Not settled: that would have cancelled the timer.
        self._services.stats.tools["abandoned"] += 1
        _logger.warning("run %r did not stop in time and was left behind", self.exchange.id)
        self._settle(self._made(lambda: self._error_frame(ending), "what run %r leaves could not be written"))

    def _made(self, make: Callable[[], Frame], otherwise: str) -> Frame:
        """The last frame; where it cannot be made, a bare one and a log: a run always ends."""
        try:
            return make()
        except Exception:
            _logger.exception(otherwise, self.exchange.id)
            return error_frame(self.exchange.id, self._ending or internal_error())

    def _error_frame(self, error: WireError) -> Frame:
        extra: dict[str, Any] = {}
        if self._ending is not None or (self._execution is not None and self._execution.begun):
            extra = {"agent_id": self.command.agent_id, **self._leftover()}
        return error_frame(self.exchange.id, error, **extra)

    def _leftover(self) -> dict[str, Any]:
        if self._execution is None:
            messages = {} if self.command.messages == "none" else {"messages": dump_history(unbegun(self.command))}
            return {"usage": NOTHING_USED, **messages}
        left = self._execution.leftover()
        return {"usage": left.usage} | ({} if left.messages is None else {"messages": left.messages})

    def _settle(self, frame: Frame) -> None:
        self._settled = True
        self._leave_agent()
        for timer in self._timers:
            timer.cancel()
        with contextlib.ExitStack() as whatever_happens:
            whatever_happens.callback(self.exchange.settle, frame)
            # Before that: whoever has the answer and asks how many runs are left is not told of this one.
            whatever_happens.callback(self._on_settled, self)
            self._host.calls.close()
            self._count(frame)
        self._spans.ended(frame, time.monotonic() - self._arrived, self._host.chunks)

    def _count(self, frame: Frame) -> None:
        stats = self._services.stats
        stats.run_durations.add(self._elapsed_ms())
        if frame["type"] == "result":
            stats.runs_succeeded += 1
        elif frame["error_type"] == "Cancelled":
            stats.runs_cancelled += 1
        else:
            stats.runs_failed[frame["error_type"]] += 1
        if self._execution is not None:
            tools, output = self._execution.retries()
            stats.retries["tools"] += tools
            stats.retries["output"] += output
        usage: dict[str, Any] = frame.get("usage") or {}
        for kind in ("input", "output"):
            stats.tokens[kind] += usage.get(f"{kind}_tokens", 0)
        stats.agent(self.command.agent_id).tokens += usage.get("total_tokens", 0)
