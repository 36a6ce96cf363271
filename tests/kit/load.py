"""What a busy parent does with a worker: scenes of one exchange or a few, each of which knows what must come of it.

`furnish` creates the agents of `AGENTS`; then any number of scenes may run at once. A scene draws what it varies from
the `Random` that it is given and asserts what it gets; the envelope of every frame is `Parent`'s business. A scene
works while a provider fails and a parent stalls as well: it waits for frames, never for a time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from .frames import Frame
from .parent import PATIENCE_S, Exchange, Parent
from .processes import children, descriptors, threads
from .worker import failed, succeeded

Scene = Callable[[Parent, Random], Awaitable[None]]

TOOLS = Path(__file__).parent
IMPORTS = ("--allow-import", "load_tools")
"""What a worker needs to be started with, `TOOLS` on its PYTHONPATH, to call the tools of the load."""

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
LOOK: dict[str, Any] = {"name": "look", "parameters": NUMBER, "retries": 5}
DONE = {"chunks": ["do", "ne"]}
LONG = {"chunks": [f"word {number} " for number in range(20)], "chunk_delay_ms": 2}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LARGE_BYTES = 300_000
OUTCOMES: Sequence[dict[str, Any]] = (
    {"result": {"rows": [1] * 20}},
    {"retry": "again"},
    {"failed": "no"},
    {"error": "broken"},
)
DECISIONS: Sequence[dict[str, Any]] = ({"approved": True}, {"approved": False}, {"approved": True, "args": {"n": 7}})


def calls(*numbers: Any, name: str = "look") -> dict[str, Any]:
    """A turn that makes calls, with a word before them."""
    return {"text": "wait", "tool_calls": [{"name": name, "args": {"n": number}} for number in numbers]}


def python(name: str) -> dict[str, Any]:
    """A tool of `load_tools`."""
    return {"name": name, "handler": {"python": f"load_tools:{name}"}}


WORK = {
    "tool_calls": [
        {"name": "add", "args": {"x": 1}},
        {"name": "add_later", "args": {"x": 2}},
        {"name": "say", "args": {"text": "a line"}},
    ]
}

AGENTS: Mapping[str, dict[str, Any]] = {
    "talks": {"model": {"script": [{"chunks": ["Hel", "lo ", "wor", "ld"]}]}},
    "talks long": {"model": {"script": [LONG]}},
    "looks": {"model": {"script": [calls(1, 2), calls(3), DONE]}, "tools": [LOOK]},
    "asks": {"model": {"script": [calls(1, 2), DONE]}, "tools": [{**LOOK, "requires_approval": True}]},
    "defers": {"model": {"script": [calls(1, 2), DONE]}, "tools": [{**LOOK, "handler": "deferred"}]},
    "works": {"model": {"script": [WORK, DONE]}, "tools": [python("add"), python("add_later"), python("say")]},
    "starts": {"model": {"script": [{"tool_calls": [{"name": "start"}]}, DONE]}, "tools": [python("start")]},
    "is counted": {"model": {"script": [{"tool_calls": [{"name": "census"}]}, DONE]}, "tools": [python("census")]},
    "brings much": {
        "model": {"script": [{"tool_calls": [{"name": "big", "args": {"size": LARGE_BYTES}}]}, DONE]},
        "tools": [python("big")],
    },
    "waits": {"model": {"script": [{"delay_ms": 3_600_000}]}},
    "fails": {"model": {"script": [{"error": {"status": 503}}]}},
    "tries again": {"model": {"script": [{"error": {"status": 503}}, DONE]}, "retry": {"attempts": 2, "base_ms": 1}},
    "is wrong": {"model": {"script": [{"output": {"city": 1}}] * 2}, "output_schema": CITY},
    "is limited": {"model": {"script": [calls(1), DONE]}, "tools": [LOOK], "usage_limits": {"request_limit": 1}},
}


async def furnish(parent: Parent) -> None:
    """Creates the agents."""
    for name, fields in AGENTS.items():
        succeeded(await parent.ask("create_agent", agent_id=name, **fields))


# ---------------------------------------------------------------- runs and streams


async def runs(parent: Parent, chance: Random) -> None:
    """A run, whose messages may be asked for."""
    kept = chance.choice(["new", "all", "none"])
    answer = succeeded(await parent.ask("run", agent_id="talks", prompt="go", messages=kept))
    assert answer["result"] == "Hello world"


async def streams(parent: Parent, chance: Random) -> None:
    """A stream without flow control."""
    await _whole_text(parent.open("stream", agent_id="talks long", prompt="go"))


async def streams_with_credit(parent: Parent, chance: Random) -> None:
    """A stream whose parent gives a little credit at a time."""
    stream = parent.open("stream", agent_id="talks long", prompt="go", credit=chance.randint(0, 3))
    await _whole_text(stream, lambda: chance.randint(0, 3), parent)


async def converses(parent: Parent, chance: Random) -> None:
    """Three runs, each of which goes on from the one before."""
    history: list[Frame] = []
    for _ in range(3):
        answer = await parent.ask("run", agent_id="talks", prompt="go", message_history=history, messages="all")
        assert len(succeeded(answer)["messages"]) == len(history) + 2
        history = answer["messages"]


async def adds_to_a_run(parent: Parent, chance: Random) -> None:
    """A prompt that comes while the run is under way."""
    run = parent.open("run", agent_id="looks", prompt="go")
    call = await run.until("tool_call")
    added = await parent.ask("enqueue", target=run.id, prompt="be brief", priority="asap")
    assert succeeded(added)["result"] == {"enqueued": True}
    parent.answer(call, result=1)
    await _answers(parent, run, chance)


async def _whole_text(stream: Exchange, credit: Callable[[], int] = lambda: 0, parent: Parent | None = None) -> None:
    text = ""
    if parent is not None:
        parent.send({"type": "credit", "id": stream.id, "n": 1})
    async for frame in stream:
        if frame["type"] == "chunk":
            text += frame["data"]
            if parent is not None:
                parent.send({"type": "credit", "id": stream.id, "n": 1 + credit()})
    assert succeeded(stream.last or {})["result"] == text != ""


# ---------------------------------------------------------------- tools


async def looks(parent: Parent, chance: Random) -> None:
    """A run with calls that the parent answers in some order and some way."""
    end = await _answers(parent, parent.open("run", agent_id="looks", prompt="go", messages="none"), chance)
    assert end["type"] == "result" or end["error_type"] == "ToolError", end


async def looks_in_a_stream(parent: Parent, chance: Random) -> None:
    """The same as a stream of everything."""
    kinds = ["text", "thinking", "output", "tool_call", "tool_return"]
    end = await _answers(parent, parent.open("stream", agent_id="looks", prompt="go", events=kinds), chance)
    assert end["type"] == "result" or end["error_type"] == "ToolError", end


async def _answers(parent: Parent, run: Exchange, chance: Random) -> Frame:
    """Answers a run's calls and approvals, not always at once, until its end."""
    async for frame in run:
        if frame["type"] in ("tool_call", "approval_request") and chance.random() < 0.5:
            await asyncio.sleep(chance.random() / 50)
        if frame["type"] == "tool_call":
            parent.answer(frame, **chance.choices(OUTCOMES, (7, 1, 1, 1))[0])
        elif frame["type"] == "approval_request":
            parent.decide(frame, **chance.choice(DECISIONS))
    assert run.last is not None
    return run.last


async def asks(parent: Parent, chance: Random) -> None:
    """A run whose calls a person must allow."""
    end = await _answers(parent, parent.open("run", agent_id="asks", prompt="go"), chance)
    assert end["type"] == "result" or end["error_type"] == "ToolError", end


async def works(parent: Parent, chance: Random) -> None:
    """Python tools on threads and on the loop, which print and log."""
    assert succeeded(await parent.ask("run", agent_id="works", prompt="go"))["result"] == "done"


async def starts_a_child(parent: Parent, chance: Random) -> None:
    """A tool that runs a program."""
    assert succeeded(await parent.ask("run", agent_id="starts", prompt="go"))["result"] == "done"


async def defers(parent: Parent, chance: Random) -> None:
    """A run that ends with calls open, and one that carries on."""
    answer = succeeded(await parent.ask("run", agent_id="defers", prompt="go", messages="none"))
    assert answer["status"] == "deferred"
    entry = chance.choice([{"result": 5}, {"retry": "again"}, {"failed": "no"}])
    results = {call["call_id"]: entry for call in answer["deferred"]["calls"]}
    fields = {"message_history": answer["messages"], "deferred_results": results}
    again = await parent.ask("run", agent_id="defers", model={"script": [DONE]}, **fields)
    assert succeeded(again)["result"] == "done"


# ---------------------------------------------------------------- ends


async def cancels_in_a_tool(parent: Parent, chance: Random) -> None:
    """A cancel, perhaps beside the answer, and a run that goes on from what is left."""
    run = parent.open("run", agent_id="looks", prompt="go", messages="all")
    call = await run.until("tool_call")
    answered = chance.choice(["not", "before", "after"])
    if answered == "before":
        parent.answer(call, result=1)
    cancel = parent.open("cancel", target=run.id)
    if answered == "after":
        parent.answer(call, result=1)
    await _cancelled(parent, run, cancel)


async def cancels_a_stream(parent: Parent, chance: Random) -> None:
    """A cancel after some chunks."""
    stream = parent.open("stream", agent_id="talks long", prompt="go", messages="all")
    for _ in range(chance.randint(0, 6)):
        await stream.next()
    await _cancelled(parent, stream, parent.open("cancel", target=stream.id))


async def cancels_at_once(parent: Parent, chance: Random) -> None:
    """A cancel in the same breath."""
    run = parent.open("run", agent_id=chance.choice(["talks", "waits", "looks"]), prompt="go", messages="all")
    await _cancelled(parent, run, parent.open("cancel", target=run.id))


async def _cancelled(parent: Parent, run: Exchange, cancel: Exchange) -> None:
    accepted = succeeded(await cancel.end())["result"]["cancelled"]
    end = await run.end()
    assert (end.get("error_type") == "Cancelled") is accepted, end
    if accepted:
        history = end["messages"]
        assert succeeded(await parent.ask("run", agent_id="talks", prompt="go", message_history=history))


async def fails(parent: Parent, chance: Random) -> None:
    """Ends that are errors."""
    match chance.randint(0, 5):
        case 0:
            failed(await parent.ask("run", agent_id="fails", prompt="go"), "ModelHTTPError")
        case 1:
            assert succeeded(await parent.ask("run", agent_id="tries again", prompt="go"))["result"] == "done"
        case 2:
            limit = chance.randint(1, 30)
            failed(await parent.ask("run", agent_id="waits", prompt="go", timeout_ms=limit), "Timeout")
        case 3:
            failed(await parent.ask("run", agent_id="is wrong", prompt="go"), "ValidationError")
        case 4:
            run = parent.open("run", agent_id="is limited", prompt="go")
            parent.answer(await run.until("tool_call"), result=1)
            failed(await run.end(), "UsageLimitExceeded")
        case _:
            failed(await parent.ask("run", agent_id="nobody", prompt="go"), "AgentNotFound")


async def is_wrong(parent: Parent, chance: Random) -> None:
    """Mistakes of the parent."""
    match chance.randint(0, 4):
        case 0:
            failed(await parent.ask("run", agent_id="talks", prompt="go", bogus=1), "InvalidCommand")
        case 1:
            failed(await parent.ask("sing"), "UnknownCommand")
        case 2:
            answer = await parent.ask("cancel", target="nobody")
            assert succeeded(answer)["result"] == {"cancelled": False}
        case 3:
            result = {"type": "tool_result", "id": parent.new_id(), "call_id": "0", "result": 1}
            failed(await parent.blamed(result), "UnknownToolCall")
        case _:
            parent.send({"type": "credit", "id": parent.new_id(), "n": 1})


# ---------------------------------------------------------------- agents, sizes, upkeep


async def comes_and_goes(parent: Parent, chance: Random) -> None:
    """An agent that lives for one run, with a schema of its own, in one breath."""
    name = parent.spare_names.popleft()
    size = chance.randint(1, 64)
    schema = {**CITY, "properties": {"city": {"type": "string", "maxLength": size}}}
    fields = {"model": {"script": [{"output": {"city": "O"}}]}, "output_schema": schema, "tools": [LOOK]}
    created = parent.open("create_agent", agent_id=name, replace=True, **fields)
    run = parent.open("run", agent_id=name, prompt="go")
    deleted = parent.open("delete_agent", agent_id=name)
    succeeded(await created.end())
    assert succeeded(await run.end())["result"] == {"city": "O"}
    succeeded(await deleted.end())
    parent.spare_names.append(name)


async def is_large(parent: Parent, chance: Random) -> None:
    """Large frames both ways: a prompt, a tool's result, messages."""
    size = LARGE_BYTES + chance.randint(0, 50_000)
    if chance.random() < 0.5:
        answer = succeeded(await parent.ask("run", agent_id="talks", prompt="p" * size))
        assert answer["messages"][0]["parts"][0]["content"] == "p" * size
    else:
        assert succeeded(await parent.ask("run", agent_id="brings much", prompt="go"))["result"] == "done"


async def keeps_up(parent: Parent, chance: Random) -> None:
    """What a supervisor asks."""
    assert succeeded(await parent.ask("ping"))["result"]["status"] == "ok"
    match chance.randint(0, 3):
        case 0:
            assert succeeded(await parent.ask("stats"))["result"]["runs"]["started"] >= 0
        case 1:
            assert len(succeeded(await parent.ask("list_agents"))["result"]["agents"]) >= len(AGENTS)
        case 2:
            assert succeeded(await parent.ask("set_log_level", level="info"))["result"] == {}
        case _:
            return


async def held(parent: Parent) -> dict[str, int]:
    """What the worker holds now: descriptors, threads and children from outside, tasks and objects from inside."""
    stream = parent.open("stream", agent_id="is counted", prompt="go", events=["tool_return"])
    counted = await stream.until("chunk")
    succeeded(await stream.end())
    return {
        "descriptors": len(descriptors(parent.pid)),
        "threads": threads(parent.pid),
        "children": len(children(parent.pid)),
        **counted["data"]["content"],
    }


async def at_rest(parent: Parent, models: Sequence[str], goal: Mapping[str, int] | None = None) -> dict[str, int]:
    """What the worker holds, as soon as it is no more than the goal, or after a minute. `models` are agents whose
    providers answer.

    Idle threads end after 10 s and idle connections after 5 s, both when the next one is asked for.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        for model in models:
            succeeded(await parent.ask("run", agent_id=model, prompt="quiet"))
        await works(parent, Random(0))
        now = await held(parent)
        if all(now[name] <= most for name, most in (goal or {}).items()) or time.monotonic() > until:
            return now
        await asyncio.sleep(0.5)


SCENES: Mapping[Scene, int] = {
    runs: 20,
    streams: 10,
    streams_with_credit: 10,
    converses: 3,
    adds_to_a_run: 2,
    looks: 12,
    looks_in_a_stream: 6,
    asks: 6,
    works: 8,
    starts_a_child: 1,
    defers: 3,
    cancels_in_a_tool: 5,
    cancels_a_stream: 4,
    cancels_at_once: 3,
    fails: 6,
    is_wrong: 3,
    comes_and_goes: 4,
    is_large: 1,
    keeps_up: 5,
}
"""The scenes of a mixed load, and how often each is played."""
