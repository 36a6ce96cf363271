"""The agents by name, changed in the order in which commands came (PROTOCOL.md, AGENT-ORDER).

Building an agent takes its time on a thread. Whatever concerns the same name meanwhile waits behind it; the other
agents go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio.to_thread

from axon_port.agents.capabilities import close_capabilities
from axon_port.agents.definition import AgentDefinition, Workshop, build_agent
from axon_port.wire import commands
from axon_port.wire.errors import WireError

_logger = logging.getLogger("axon_port.worker")


@dataclass(slots=True)
class Agent:
    """A registered agent and the turns of its runs. `turns` None: as many at once as there are."""

    definition: AgentDefinition
    turns: asyncio.Semaphore | None
    runs_inflight: int = field(default=0)
    retired: bool = field(default=False)
    closed: bool = field(default=False)


class Roster:
    """Only for the event loop."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._agents: dict[str, Agent] = {}
        self._changes: dict[str, asyncio.Future[Agent | None]] = {}

    def __len__(self) -> int:
        return len(self._agents)

    def __iter__(self) -> Iterator[Agent]:
        return iter(list(self._agents.values()))

    def change_under_way(self, agent_id: str) -> asyncio.Future[Agent | None] | None:
        """What a command on this agent, arriving now, must wait for: its result is the agent as the change leaves it.

        By the time that the command hears of it, a later change may have been made.
        """
        return self._changes.get(agent_id)

    def as_of_now(self) -> list[Agent | asyncio.Future[Agent | None]]:
        """All agents for a command that arrives now: as they are, or as the changes under way will leave them."""
        return list({**self._agents, **self._changes}.values())

    def find(self, agent_id: str) -> Agent:
        """Raises `WireError` `AgentNotFound`."""
        return known(self._agents.get(agent_id), agent_id)

    async def retire(self, agent: Agent) -> None:
        """Close what an agent that was deleted or replaced kept open, once its last run has ended."""
        agent.retired = True
        if agent.runs_inflight == 0 and not agent.closed:
            agent.closed = True
            try:
                await close_capabilities(agent.definition.capabilities)
            except (Exception, SystemExit, KeyboardInterrupt):
                # Of whoever's transport that is. Neither a run's result nor a deletion hangs on it.
                _logger.exception("what agent %r kept open could not be closed", agent.definition.agent_id)
            await agent.definition.lease.end()

    def begin_change(self, agent_id: str) -> Change:
        """Take the next place in the order of this agent's changes. Synchronous, so that the order is the arrival's."""
        before = self._changes.get(agent_id)
        done: asyncio.Future[Agent | None] = asyncio.get_running_loop().create_future()
        self._changes[agent_id] = done
        return Change(self, agent_id, before, done)

    def end_change(self, agent_id: str, done: asyncio.Future[Agent | None]) -> None:
        """Only for `Change`."""
        done.set_result(self._agents.get(agent_id))
        if self._changes.get(agent_id) is done:
            del self._changes[agent_id]

    async def create(self, command: commands.CreateAgent, change: Change) -> Agent:
        """Raises `WireError`; then nothing has changed."""
        async with change:
            if command.agent_id in self._agents and not command.replace:
                message = f"agent {command.agent_id!r} exists: send `replace: true` to put this one in its place"
                raise WireError("AgentExists", message, details={"agent_id": command.agent_id})
            lease = self._workshop.models.lease()
            try:
                definition = await anyio.to_thread.run_sync(
                    build_agent, command, self._workshop, lease, limiter=self._workshop.building
                )
            except BaseException:
                await lease.end()
                raise
            turns = None if command.max_concurrency is None else asyncio.Semaphore(command.max_concurrency)
            replaced = self._agents.get(command.agent_id)
            agent = self._agents[command.agent_id] = Agent(definition, turns)
        if replaced is not None:
            await self.retire(replaced)
        return agent

    async def delete(self, agent_id: str, change: Change) -> None:
        """Raises `WireError` `AgentNotFound`."""
        async with change:
            agent = self.find(agent_id)
            del self._agents[agent_id]
        await self.retire(agent)


def known(agent: Agent | None, agent_id: str) -> Agent:
    """The agent, if there is one. Raises `WireError` `AgentNotFound`."""
    if agent is None:
        message = f"there is no agent {agent_id!r}: send create_agent first"
        raise WireError("AgentNotFound", message, details={"agent_id": agent_id})
    return agent


@dataclass(frozen=True, slots=True)
class Change:
    """A place in the order of one agent's changes; entered when those before it are done."""

    roster: Roster
    agent_id: str
    before: asyncio.Future[Agent | None] | None
    done: asyncio.Future[Agent | None]

    async def __aenter__(self) -> None:
        # Nobody cancels a change that waits: it could not give up its place and keep the order.
        if self.before is not None:
            await self.before

    async def __aexit__(self, *_: object) -> None:
        self.roster.end_change(self.agent_id, self.done)
