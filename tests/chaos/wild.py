"""Scenes of what goes wrong: tools that misbehave, providers that fail, a parent that talks nonsense."""

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from tests.kit import failed, succeeded
from tests.kit.frames import pack
from tests.kit.load import DONE, LOOK, Scene
from tests.kit.parent import Exchange, Parent
from tests.kit.providers import Interface

from .weather import TEXT, prompt
from .wild_tools import EXCEPTIONS

TOOLS = Path(__file__).parent
IMPORTS = ("--allow-import", "wild_tools")

MODELS: Mapping[Interface, str] = {
    "openai_chat": "gpt-5.2",
    "openai_responses": "gpt-5-mini",
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-3-flash-preview",
}

WEATHER_ENDS = frozenset(
    {
        *("ModelHTTPError", "ModelConnectionError", "ModelTimeout", "UnexpectedModelBehavior"),
        *("ToolRetriesExceeded", "ValidationError", "ContentFilter", "ToolError", "Timeout", "Cancelled"),
    }
)
"""What a run may end with when a provider fails as `weather` does."""

IDLE_MS = 2500
GARBAGE = (
    (pack(b"{"), "InvalidJSON"),
    (pack(b"\xff\xfe"), "InvalidJSON"),
    (pack(b"[]"), "InvalidCommand"),
    (pack(b'{"type": "run", "id": 1.5}'), "InvalidCommand"),
    (pack(b'{"type": "sing", "id": null}'), "UnknownCommand"),
    (pack(b'{"type": "ping"}'), "InvalidCommand"),
)


def tool(name: str, **fields: Any) -> dict[str, Any]:
    """A tool of `wild_tools`."""
    return {"name": name, "handler": {"python": f"wild_tools:{name}"}, **fields}


def calling(name: str, **args: Any) -> dict[str, Any]:
    """The model of a run that calls one tool once."""
    return {"script": [{"tool_calls": [{"name": name, "args": args}]}, DONE]}


WILD: Mapping[str, dict[str, Any]] = {
    "is wild": {
        "model": {"script": [DONE]},
        "tools": [
            *(tool(name) for name in ("throw", "throw_later", "leave", "recurse", "shout", "fork", "start")),
            *(tool(name, timeout_ms=60, retries=0) for name in ("hold_thread", "go_on")),
            *(tool(name) for name in ("hold_loop", "die")),
        ],
    },
}


async def furnish(parent: Parent, endpoints: Mapping[str, dict[str, str]]) -> None:
    """Creates the agents; `endpoints` by the name of the model."""
    for name, fields in WILD.items():
        succeeded(await parent.ask("create_agent", agent_id=name, **fields))
    for name, endpoint in endpoints.items():
        fields = {"model": endpoint, "tools": [LOOK], "model_settings": {"max_tokens": 1000}}
        more: dict[str, Any] = {"idle_timeout_ms": IDLE_MS, "retry": {"attempts": 2, "base_ms": 1, "max_ms": 20}}
        succeeded(await parent.ask("create_agent", agent_id=name, **fields, **more))


# ---------------------------------------------------------------- tools


async def _wild(parent: Parent, name: str, **args: Any) -> dict[str, Any]:
    return await parent.ask("run", agent_id="is wild", prompt="go", model=calling(name, **args))


async def raises(parent: Parent, chance: Random) -> None:
    """A tool that raises whatever can be raised, ends the program, calls itself for ever."""
    kind = chance.choice(list(EXCEPTIONS))
    match chance.randint(0, 3):
        case 0:
            end = await _wild(parent, "throw", kind=kind)
        case 1:
            end = await _wild(parent, "throw_later", kind=kind)
        case 2:
            end = await _wild(parent, "leave")
        case _:
            end = await _wild(parent, "recurse")
    failed(end, "ToolError")


async def shouts(parent: Parent, chance: Random) -> None:
    """A tool that prints much, and by every road."""
    assert succeeded(await _wild(parent, "shout", lines=chance.randint(1, 200)))["result"] == "done"


async def forks(parent: Parent, chance: Random) -> None:
    """A tool that forks, and one that runs a program."""
    end = await (_wild(parent, "fork") if chance.random() < 0.5 else _wild(parent, "start", seconds=0.05))
    assert succeeded(end)["result"] == "done"


async def blocks(parent: Parent, chance: Random) -> None:
    """A tool that holds the event loop for a moment."""
    assert succeeded(await _wild(parent, "hold_loop", seconds=chance.random() / 20))["result"] == "done"


async def will_not_stop(parent: Parent, chance: Random) -> None:
    """Tools that outlast their time: on a thread, and on the loop with cancellation swallowed."""
    name = chance.choice(["hold_thread", "go_on"])
    end = await _wild(parent, name, seconds=0.3 + chance.random() / 2)
    # A tool may be done when a loop that was held for as long sees that its time is up.
    assert end.get("result") == "done" or end["error_type"] == "ToolRetriesExceeded", end


# ---------------------------------------------------------------- providers


async def asks_the_weather(parent: Parent, chance: Random) -> None:
    """A run or a stream whose provider fails as it likes, perhaps cancelled on its way."""
    kind = chance.choice(["run", "stream", "stream"])
    fields: dict[str, Any] = {
        "prompt": prompt(chance.randrange(10**9)),
        "agent_id": chance.choice(list(MODELS.values())),
    }
    if kind == "stream" and chance.random() < 0.5:
        fields["credit"] = 1
    if chance.random() < 0.2:
        fields["timeout_ms"] = chance.randint(1, 400)
    run = parent.open(kind, **fields)
    canceller = None
    if chance.random() < 0.2:
        canceller = asyncio.create_task(_cancel_later(parent, run, chance.random() / 3))
    async for frame in run:
        if frame["type"] == "chunk" and "credit" in fields:
            parent.send({"type": "credit", "id": run.id, "n": chance.randint(1, 3)})
        elif frame["type"] == "tool_call":
            parent.answer(
                frame, **chance.choice([{"result": {"degrees": 8}}] * 5 + [{"retry": "again"}, {"failed": "no"}])
            )
    end = run.last or {}
    accepted = canceller is not None and await canceller
    assert (end.get("error_type") == "Cancelled") is accepted, end
    if end["type"] == "result":
        assert end["result"] == TEXT, end
    else:
        assert end["error_type"] in WEATHER_ENDS, end
        assert end["error_type"] != "Timeout" or "timeout_ms" in fields, end


async def _cancel_later(parent: Parent, run: Exchange, seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return bool(succeeded(await parent.ask("cancel", target=run.id))["result"]["cancelled"])


# ---------------------------------------------------------------- the parent


async def talks_nonsense(parent: Parent, chance: Random) -> None:
    """Bytes that are no command, ids that are in use, answers for nothing."""
    match chance.randint(0, 2):
        case 0:
            data, error_type = chance.choice(GARBAGE)
            parent.send_garbage(data, error_type)
        case 1:
            run = parent.open("run", agent_id="waits", prompt="go")
            again = {"type": "run", "id": run.id, "agent_id": "talks", "prompt": "go"}
            failed(await parent.blamed(again), "DuplicateId")
            succeeded(await parent.ask("cancel", target=run.id))
            failed(await run.end(), "Cancelled")
        case _:
            for number in range(chance.randint(1, 50)):
                parent.send({"type": "credit", "id": parent.new_id(), "n": number})


async def uses_an_id_again(parent: Parent, chance: Random) -> None:
    """One id for one run after the other, each of them ending in another way."""
    frame_id = f"again {parent.new_id()}"
    for agent in itertools.islice(itertools.cycle(["talks", "fails", "nobody", "works"]), chance.randint(2, 6)):
        end = await parent.ask("run", id=frame_id, agent_id=agent, prompt="go")
        assert end["id"] == frame_id


WILD_SCENES: Mapping[Scene, int] = {
    raises: 8,
    shouts: 3,
    forks: 2,
    blocks: 2,
    will_not_stop: 4,
    asks_the_weather: 45,
    talks_nonsense: 6,
    uses_an_id_again: 4,
}
"""How often each is played, beside `load.SCENES`."""
