"""A worker as a program has it: one object through all the lives of its process.

It remembers the agents that were created, and creates them again when a process that died has been replaced. Whoever
asks meanwhile waits until that is done; whoever had asked before gets `WorkerGone`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self, Unpack

import anyio

from axon_port.client.errors import AxonPortError, CommandError, WorkerGone, WorkerNotStarted
from axon_port.client.exchange import Approve, Callbacks, Exchange, Frame, Resolve
from axon_port.client.fields import AgentFields, Model, Prompt, RunFields
from axon_port.client.launch import Launch, Restarts
from axon_port.client.port import ENDED, Port
from axon_port.client.results import RunResult
from axon_port.client.runs import WINDOW, Run, Stream
from axon_port.client.tools import split_tools
from axon_port.wire.words import ChunkKind, LogLevel

log = logging.getLogger("axon_port.client")

END_SECONDS: Final = 10.0
"""After the grace of its runs, for a worker to end in order; then it is killed."""


class Worker:
    """Entering the block starts the process and waits for `ready`; leaving it ends the process.

    For one event loop of asyncio. An exception that leaves the block does not wait for runs under way.
    """

    def __init__(self, launch: Launch, restarts: Restarts, grace_ms: int) -> None:
        self._launch = launch
        self._restarts = restarts
        self._grace_ms = grace_ms
        self._agents: dict[str, tuple[Frame, Callbacks]] = {}
        self._sent: dict[str, Callbacks] = {}
        """Of agents whose creation has been sent and not answered."""
        self._log_level: str | None = None
        self._port: Port | None = None
        self._over: WorkerGone | None = None
        self._closing = False
        self._changed = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @classmethod
    def spawn(
        cls, launch: Launch | None = None, *, restarts: Restarts | None = None, grace_ms: int = 5000, **options: Any
    ) -> Self:
        """A worker that is started by `async with`.

        `options` are the fields of `Launch` (`allow_import`, `log_level`, `env`, …). At the end of the block, runs
        under way have `grace_ms`.
        """
        if launch is not None and options:
            raise TypeError("give a Launch or its fields, not both")
        return cls(launch or Launch(**options), restarts or Restarts(), grace_ms)

    async def __aenter__(self) -> Self:
        """Raises `WorkerNotStarted`."""
        if self._supervisor is not None:
            raise RuntimeError("a Worker is entered once")
        self._supervisor = asyncio.create_task(self._supervise(), name="axon-port worker")
        try:
            await self._serving_port()
        except BaseException:
            await self._close(0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(self._grace_ms if error is None else 0)

    @property
    def ready(self) -> Mapping[str, Any]:
        """The `ready` frame of the process that serves now: its pid, versions, limits. Empty while there is none."""
        return self._port.ready if self._port is not None else {}

    # --- agents

    async def create_agent(
        self,
        agent_id: str,
        *,
        model: Model | None = None,
        module: str | None = None,
        tools: Iterable[Any] = (),
        on_approval: Approve | None = None,
        on_deferred: Resolve | None = None,
        **fields: Unpack[AgentFields],
    ) -> Mapping[str, Any]:
        """Define an agent as data, also for processes that take this one's place; what the worker made of it.

        A tool is a function, a `Tool` (see `tool`) or a mapping that goes to the worker as it is. The callbacks are
        for all runs of the agent that have none of their own.
        """
        definitions, functions = split_tools(tools)
        source = {"model": model, "module": module}
        command: Frame = {"agent_id": agent_id, **{key: value for key, value in source.items() if value is not None}}
        command |= {"tools": definitions, **fields}
        callbacks = Callbacks(functions, on_approval, on_deferred)

        def remember(fate: Frame | AxonPortError) -> None:
            if self._sent.get(agent_id) is callbacks:
                del self._sent[agent_id]
            if not _is_error(fate):
                self._agents.pop(agent_id, None)  # agents are created again in the order of their last creation
                self._agents[agent_id] = (command, callbacks)

        exchange = Exchange(callbacks, remember)
        await self.ask("create_agent", command, exchange)
        # A run that is sent right behind finds the agent, so it has to find the agent's functions, too.
        self._sent[agent_id] = callbacks
        return (await exchange.outcome())["result"]

    async def delete_agent(self, agent_id: str) -> None:
        """Forget an agent; its runs in flight finish."""

        def forget(fate: Frame | AxonPortError) -> None:
            if not _is_error(fate):
                self._agents.pop(agent_id, None)

        await self._asked("delete_agent", {"agent_id": agent_id}, Exchange(on_fate=forget))

    async def list_agents(self) -> list[Mapping[str, Any]]:
        """What the process has registered."""
        return (await self._asked("list_agents"))["agents"]

    # --- runs

    async def run(
        self,
        agent_id: str,
        prompt: Prompt | None = None,
        *,
        on_approval: Approve | None = None,
        on_deferred: Resolve | None = None,
        **fields: Unpack[RunFields],
    ) -> RunResult:
        """Run an agent, tools and all; its result. A caller that is cancelled cancels the run."""
        run = self._run(agent_id, prompt, on_approval, on_deferred, fields)
        try:
            return await run.result()
        except BaseException:
            run.abandon()
            raise

    async def start(
        self,
        agent_id: str,
        prompt: Prompt | None = None,
        *,
        on_approval: Approve | None = None,
        on_deferred: Resolve | None = None,
        **fields: Unpack[RunFields],
    ) -> Run:
        """Start a run and go on: it can be waited for, added to and cancelled."""
        return await self._run(agent_id, prompt, on_approval, on_deferred, fields).start()

    def stream(
        self,
        agent_id: str,
        prompt: Prompt | None = None,
        *,
        events: Iterable[ChunkKind] = ("text",),
        window: int = WINDOW,
        on_approval: Approve | None = None,
        on_deferred: Resolve | None = None,
        **fields: Unpack[RunFields],
    ) -> Stream:
        """Run an agent and take its chunks on the way, at most `window` of them before their time.

        The run begins with `async with`, or with the first chunk that is asked for.
        """
        command = {**_run_fields(agent_id, prompt, fields), "events": list(events)}
        return Stream(self, command, self._callbacks(agent_id, on_approval, on_deferred), window)

    def _run(
        self, agent_id: str, prompt: Prompt | None, approve: Approve | None, resolve: Resolve | None, fields: RunFields
    ) -> Run:
        return Run(self, _run_fields(agent_id, prompt, fields), self._callbacks(agent_id, approve, resolve))

    def _callbacks(self, agent_id: str, on_approval: Approve | None, on_deferred: Resolve | None) -> Callbacks:
        # As they are now: a run goes on with the agent it began with, whatever takes its name.
        _, remembered = self._agents.get(agent_id, ({}, Callbacks()))
        of_agent = self._sent.get(agent_id, remembered)
        return Callbacks(of_agent.tools, on_approval or of_agent.on_approval, on_deferred or of_agent.on_deferred)

    # --- the worker itself

    async def ping(self) -> Mapping[str, Any]:
        return await self._asked("ping")

    async def stats(self) -> Mapping[str, Any]:
        return await self._asked("stats")

    async def set_log_level(self, level: LogLevel) -> None:
        """Also for processes that take this one's place."""

        def remember(fate: Frame | AxonPortError) -> None:
            if not _is_error(fate):
                self._log_level = level

        await self._asked("set_log_level", {"level": level}, Exchange(on_fate=remember))

    async def ask(self, kind: str, fields: Mapping[str, Any], exchange: Exchange) -> Port:
        """Send a command to the process that serves, now or after a restart; where its fate will come from."""
        while True:
            port = await self._serving_port()
            if await port.ask(kind, fields, exchange):
                return port
            await asyncio.sleep(0)

    async def _asked(self, kind: str, fields: Mapping[str, Any] | None = None, exchange: Exchange | None = None) -> Any:
        waiting = exchange or Exchange()
        await self.ask(kind, fields or {}, waiting)
        return (await waiting.outcome())["result"]

    # --- its lives

    async def _serving_port(self) -> Port:
        while self._over is None:
            if self._port is not None and self._port.serving:
                return self._port
            self._changed.clear()
            await self._changed.wait()
        raise self._over.again()

    async def _supervise(self) -> None:
        row = 0
        gone = ENDED
        try:
            while not self._closing:
                began = anyio.current_time()
                gone, served = await self._one_life()
                row = 1 if anyio.current_time() - began >= self._restarts.healthy else row + 1
                if self._closing or row > self._restarts.limit or not (served or row > 1):
                    return
                wait = self._restarts.wait(row, random.random())  # noqa: S311
                log.warning("%s; another one is started in %.1f s", gone.message, wait)
                await anyio.sleep(wait)
        finally:
            self._port, self._over = None, gone
            self._changed.set()

    async def _one_life(self) -> tuple[WorkerGone, bool]:
        """Why the process ended, and whether it had served."""
        try:
            port = Port(self._launch)
        except WorkerNotStarted as error:
            return error, False
        gone = ENDED
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._begin, port)
            gone = await port.live()
            self._port = None
            tasks.cancel_scope.cancel()
        return gone, bool(port.ready)

    async def _begin(self, port: Port) -> None:
        await port.until_ready()
        await self._create_again(port)
        self._port = port
        self._changed.set()

    async def _create_again(self, port: Port) -> None:
        commands = [("create_agent", command, callbacks) for command, callbacks in self._agents.values()]
        if self._log_level is not None:
            commands.append(("set_log_level", {"level": self._log_level}, Callbacks()))
        asked: list[Exchange] = []
        for kind, command, callbacks in commands:
            exchange = Exchange(callbacks)
            if await port.ask(kind, command, exchange):
                asked.append(exchange)
        for exchange in asked:
            try:
                await exchange.outcome()
            except CommandError:
                log.exception("an agent could not be created again")
            except WorkerGone:
                return

    async def _close(self, grace_ms: int) -> None:
        """End the process: in order within the grace and `END_SECONDS`, else by force. Waits for the end."""
        supervisor = self._supervisor
        if supervisor is None:
            return
        self._closing = True
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(grace_ms / 1000 + END_SECONDS):
                if self._port is not None and await self._port.ask("shutdown", {"grace_ms": grace_ms}, Exchange()):
                    await asyncio.wait({supervisor})
            supervisor.cancel()
            await asyncio.wait({supervisor})
        if not supervisor.cancelled() and (error := supervisor.exception()) is not None:
            raise error


def _is_error(fate: Frame | AxonPortError) -> bool:
    return isinstance(fate, AxonPortError) or fate["type"] == "error"


def _run_fields(agent_id: str, prompt: Prompt | None, fields: RunFields) -> Frame:
    begin: Frame = {"agent_id": agent_id} if prompt is None else {"agent_id": agent_id, "prompt": prompt}
    return begin | dict(fields)
