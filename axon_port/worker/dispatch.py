"""Commands, taken in the order of their arrival, on the event loop (PROTOCOL.md, CMD-*).

A handler answers at once or starts what will: it never waits. The order of effects is the order of arrival because
everything that decides (a place among an agent's changes, a run's admission) happens here, synchronously.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import anyio

from axon_port.agents import strays
from axon_port.agents.allow import Allowed
from axon_port.agents.answers import answer_of
from axon_port.agents.bench import THREADS
from axon_port.agents.capabilities import secrets_of
from axon_port.agents.definition import Workshop
from axon_port.agents.failures import internal_error, wire_error
from axon_port.agents.host import Decision
from axon_port.agents.recordings import Recordings
from axon_port.wire import commands
from axon_port.wire.commands import parse_command
from axon_port.wire.envelope import about_answer
from axon_port.wire.errors import WireError, invalid_command
from axon_port.wire.events import error_frame
from axon_port.wire.words import Id
from axon_port.worker.admission import Admission
from axon_port.worker.calls import Crossed, PendingCalls, UnknownCall, Waiting, Wanted
from axon_port.worker.exchanges import Exchange
from axon_port.worker.intake import Received
from axon_port.worker.leavings import Leavings
from axon_port.worker.parts import Parts
from axon_port.worker.roster import Agent, Roster
from axon_port.worker.runs import ActiveRun
from axon_port.worker.services import RunServices

_logger = logging.getLogger("axon_port.worker")


class Dispatcher:
    """All runs and agents of a worker. Only for the event loop."""

    def __init__(
        self, parts: Parts, *, on_shutdown: Callable[[Exchange, int | None], None], on_idle: Callable[[], None]
    ) -> None:
        self._parts = parts
        self._on_shutdown = on_shutdown
        self._on_idle = on_idle
        strays.watch(asyncio.get_running_loop())
        options = parts.options
        folder = None if options.allow_recordings is None else Path(options.allow_recordings)
        allowed = Allowed(options.allow_import, frozenset(options.allow_capability), folder)
        self._workshop = Workshop(
            allowed, Recordings(allowed, parts.redactor.value), instrumentation=parts.telemetry.instrumentation
        )
        self.roster = Roster(self._workshop)
        self._calls = PendingCalls()
        self._services = RunServices(
            outbox=parts.exchanges.outbox,
            admission=Admission(parts.exchanges.outbox),
            calls=self._calls,
            roster=self.roster,
            stats=parts.stats,
            workshop=self._workshop,
            threads=anyio.CapacityLimiter(THREADS),
            telemetry=parts.telemetry,
            max_frame_bytes=options.max_frame_bytes,
            max_tool_calls=options.max_tool_calls,
        )
        self._leavings = Leavings(lambda: sum(parts.frames()[1].values()))
        self._runs: dict[Id, ActiveRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._input_ended = False

    @property
    def runs(self) -> list[ActiveRun]:
        return list(self._runs.values())

    @property
    def busy(self) -> bool:
        """Whether a run or an agent's change is under way."""
        return bool(self._runs or self._tasks)

    def dispatch(self, received: Received) -> None:
        """Take one command. Raises nothing."""
        exchange = received.exchange
        try:
            command = parse_command(received.envelope.fields)
            self._parts.stats.commands[received.envelope.type] += 1
            if exchange is None:
                self._answer_run(command)
            else:
                self._handle(command, exchange, received.at)
        except WireError as error:
            self._refuse(received, error)
        except Exception as error:
            _logger.exception("command %s failed", received.envelope.type)
            self._refuse(received, wire_error(error) or internal_error())

    def refuse_new_runs(self) -> None:
        """From now on `run` and `stream` are answered with `ShuttingDown`."""
        self._refusing = True

    def input_ended(self) -> None:
        """The parent says no more: see `ActiveRun.parent_gone`."""
        self._input_ended = True
        for run in self.runs:
            run.parent_gone()

    def end_all(self, error: WireError, *, within: float) -> None:
        """End every run, as `cancel` does for one."""
        for run in self.runs:
            run.end(error, within=within)

    async def close(self) -> None:
        await self._workshop.models.aclose()

    def _refuse(self, received: Received, error: WireError) -> None:
        if received.exchange is not None:
            received.exchange.fail(error)
            return
        about = about_answer(received.envelope.fields, received.envelope.id)
        self._parts.exchanges.say(error_frame(None, error, **about))

    # --- commands with an answer of their own

    def _handle(self, command: commands.Command, exchange: Exchange, arrived: float) -> None:
        match command:
            case commands.Run() | commands.Stream():
                self._start_run(command, exchange, arrived)
            case commands.CreateAgent():
                change = self.roster.begin_change(command.agent_id)
                self._spawn(exchange, self._create_agent(command, exchange, change))
            case commands.DeleteAgent():
                change = self.roster.begin_change(command.agent_id)
                self._spawn(exchange, self._delete_agent(command, exchange, change))
            case commands.ListAgents():
                inflight = Counter(run.command.agent_id for run in self._runs.values())
                entries = [_entry(agent, inflight) for agent in self.roster.as_of_now()]
                self._spawn(exchange, self._list_agents(exchange, entries))
            case commands.Cancel():
                exchange.succeed({"cancelled": self._cancel(command.target)})
            case commands.Enqueue():
                run = self._runs.get(command.target)
                exchange.succeed({"enqueued": run is not None and run.enqueue(command)})
            case commands.Ping():
                exchange.succeed(self._parts.pong())
            case commands.Stats():
                frames, bytes_ = self._parts.frames()
                dropped = self._parts.sink.dropped
                exchange.succeed(self._parts.stats.as_json(frames=frames, bytes_=bytes_, logs_dropped=dropped))
            case commands.SetLogLevel():
                self._parts.sink.set_level(command.level)
                exchange.succeed({})
            case commands.Shutdown():
                self._on_shutdown(exchange, command.grace_ms)
            case _:
                raise TypeError(f"no handler for {type(command).__name__}")

    def _start_run(self, command: commands.Run | commands.Stream, exchange: Exchange, arrived: float) -> None:
        if self._refusing:
            raise WireError("ShuttingDown", "the worker is shutting down: use another one")
        limit = self._parts.options.max_inflight
        if len(self._runs) >= limit:
            message = f"{limit} runs are under way already (--max-inflight): try again when some have ended"
            raise WireError("Overloaded", message, details={"max_inflight": limit})
        if command.model is not None:
            self._learn_keys(command.model)
        run = ActiveRun(exchange, command, arrived, self._services, self._run_settled)
        run.start()
        self._runs[exchange.id] = run
        self._parts.stats.inflight = len(self._runs)
        if self._input_ended:
            run.parent_gone()

    def _run_settled(self, run: ActiveRun) -> None:
        del self._runs[run.exchange.id]
        self._parts.stats.inflight = len(self._runs)
        # Where hundreds end in one turn of the loop, it is not blocked.
        self._parts.watchdog.turned()
        self._leavings.look()
        if not self.busy:
            self._on_idle()

    async def _create_agent(self, command: commands.CreateAgent, exchange: Exchange, change: Any) -> None:
        if command.model is not None:
            self._learn_keys(command.model)
        for secret in secrets_of(command.capabilities):
            self._parts.redactor.learn(secret)
        agent = await self.roster.create(command, change)
        definition = agent.definition
        exchange.succeed({"agent_id": command.agent_id, "model": definition.label, "tools": definition.tool_names})

    async def _delete_agent(self, command: commands.DeleteAgent, exchange: Exchange, change: Any) -> None:
        await self.roster.delete(command.agent_id, change)
        exchange.succeed({})

    async def _list_agents(self, exchange: Exchange, entries: Sequence[asyncio.Future[dict[str, Any] | None]]) -> None:
        listed = [await entry for entry in entries]
        exchange.succeed({"agents": [entry for entry in listed if entry is not None]})

    def _cancel(self, target: Id) -> bool:
        run = self._runs.get(target)
        if run is None:
            return False
        return run.end(WireError("Cancelled", "the run was cancelled"))

    def _spawn(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> None:
        async def settled() -> None:
            try:
                await work
            except WireError as error:
                exchange.fail(error)
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                _logger.exception("command %s failed", exchange.kind)
                exchange.fail(wire_error(error) or internal_error())

        task = asyncio.get_running_loop().create_task(settled())
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self.busy:
            self._on_idle()

    def _learn_keys(self, models: Any) -> None:
        for model in cast("list[Any]", models) if isinstance(models, list) else [models]:
            named = model.model if isinstance(model, commands.Recorded) else model
            if isinstance(named, commands.Endpoint) and named.api_key is not None:
                self._parts.redactor.learn(named.api_key)

    # --- answers to a run, which have none of their own

    def _answer_run(self, command: commands.Command) -> None:
        match command:
            case commands.ToolResult():
                if (waiting := self._waiting(command.id, command.call_id, "tool_result")) is not None:
                    waiting.answered.set_result(answer_of(command))
            case commands.Approval():
                if (waiting := self._waiting(command.id, command.call_id, "approval")) is not None:
                    self._approve(waiting, command)
            case commands.Credit():
                run = self._runs.get(command.id)
                if run is None:
                    _logger.debug("credit for %r, which is not under way, was dropped", command.id)
                else:
                    run.grant(command.n)
            case _:
                raise TypeError(f"{type(command).__name__} is no answer")

    def _waiting(self, run_id: Id, call_id: str, wanted: Wanted) -> Waiting | None:
        try:
            return self._calls.find(run_id, call_id, wanted)
        except Crossed:
            _logger.debug("%s for call %s of %r came after its end and was dropped", wanted, call_id, run_id)
            return None
        except UnknownCall:
            what = "tool call" if wanted == "tool_result" else "approval request"
            message = f"there is no {what} {call_id[:64]!r} of {run_id!r} that waits for this answer"
            raise WireError("UnknownToolCall", message) from None

    def _approve(self, waiting: Waiting, command: commands.Approval) -> None:
        wanted = command.args if command.approved else None
        if wanted is not None and waiting.faults is not None and (faults := waiting.faults(wanted)):
            error = invalid_command(["args", *faults[0]["loc"]], faults[0]["msg"], faults[0]["type"])
            error.details = [{**fault, "loc": ["args", *fault["loc"]]} for fault in faults]
            raise error
        waiting.answered.set_result(Decision(command.approved, command.message, wanted))


def _entry(
    agent: Agent | asyncio.Future[Agent | None], inflight: Mapping[str, int]
) -> asyncio.Future[dict[str, Any] | None]:
    """An agent as it is now, or as a change under way will leave it: before a run that comes later hears of that."""
    entry: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()

    def describe(change: asyncio.Future[Agent | None]) -> None:
        left = change.result()
        entry.set_result(None if left is None else _listed(left, inflight))

    if isinstance(agent, Agent):
        entry.set_result(_listed(agent, inflight))
    else:
        agent.add_done_callback(describe)
    return entry


def _listed(agent: Agent, inflight: Mapping[str, int]) -> dict[str, Any]:
    definition = agent.definition
    return {
        "agent_id": definition.agent_id,
        "model": definition.label,
        "tools": definition.tool_names,
        "runs_inflight": inflight[definition.agent_id],
    }
