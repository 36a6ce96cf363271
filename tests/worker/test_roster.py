"""Agents, changed in the order in which commands came."""

from __future__ import annotations

from typing import Any, cast

import anyio.to_thread
import httpx2
import pytest

from axon_port.agents import models
from axon_port.agents.allow import Allowed
from axon_port.agents.definition import Workshop
from axon_port.agents.recordings import Recordings
from axon_port.wire import commands
from axon_port.wire.commands import parse_command
from axon_port.wire.errors import WireError
from axon_port.worker.roster import Roster, known

from .rig import run_async

ALLOWED = Allowed((), frozenset())


def create_command(name: str, model: Any = None) -> commands.CreateAgent:
    fields: dict[str, Any] = {"type": "create_agent", "id": 1, "agent_id": name, "model": model or {"script": []}}
    return cast(commands.CreateAgent, parse_command(fields))


def test_who_waits_for_a_creation_gets_the_agent_though_it_was_deleted_in_the_next_breath() -> None:
    """clause: ENV-PIPELINE, AGENT-ORDER"""

    async def main() -> None:
        roster = Roster(Workshop(ALLOWED, Recordings(ALLOWED, lambda value: value)))
        change = roster.begin_change("a")
        waited_for = roster.change_under_way("a")
        assert waited_for is not None
        agent = await roster.create(create_command("a"), change)
        await roster.delete("a", roster.begin_change("a"))
        assert await waited_for is agent
        with pytest.raises(WireError, match="there is no agent 'a'"):
            roster.find("a")

    run_async(main)


def test_an_agent_is_built_though_every_thread_of_the_modules_tools_hangs() -> None:
    """clause: AGENT-ORDER, TOOL-THREADS"""

    async def main() -> None:
        roster = Roster(Workshop(ALLOWED, Recordings(ALLOWED, lambda value: value)))
        everybodys = anyio.to_thread.current_default_thread_limiter()
        everybodys.total_tokens = 1
        async with everybodys:
            await roster.create(create_command("a"), roster.begin_change("a"))
        assert len(roster) == 1

    run_async(main)


def test_who_waits_for_a_deletion_or_a_creation_that_failed_gets_what_is_left() -> None:
    """clause: AGENT-ATOMIC, AGENT-DELETE"""

    async def main() -> None:
        roster = Roster(Workshop(ALLOWED, Recordings(ALLOWED, lambda value: value)))
        agent = await roster.create(create_command("a"), roster.begin_change("a"))
        again = roster.begin_change("a")
        refused = roster.change_under_way("a")
        with pytest.raises(WireError, match="exists"):
            await roster.create(create_command("a"), again)
        deletion = roster.begin_change("a")
        deleted = roster.change_under_way("a")
        await roster.delete("a", deletion)
        assert refused is not None
        assert deleted is not None
        assert await refused is agent
        with pytest.raises(WireError, match="there is no agent 'a'"):
            known(await deleted, "a")

    run_async(main)


def test_an_agent_that_cannot_be_made_leaves_no_client_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: AGENT-ATOMIC"""
    made: list[httpx2.AsyncClient] = []
    new_http_client = models.new_http_client

    def remembered(*args: Any) -> httpx2.AsyncClient:
        made.append(new_http_client(*args))
        return made[-1]

    monkeypatch.setattr(models, "new_http_client", remembered)
    fine = {"name": "m", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-0123456789"}

    async def main() -> None:
        roster = Roster(Workshop(ALLOWED, Recordings(ALLOWED, lambda value: value)))
        with pytest.raises(WireError, match="nobody"):
            await roster.create(create_command("a", [fine, "nobody:m"]), roster.begin_change("a"))
        assert [client.is_closed for client in made] == [True]

    run_async(main)
