"""Words for the scripts and tools that the tests are made of."""

from typing import Any

from tests.kit import Frame, Worker, failed, in_time

ANY_OBJECT = {"type": "object"}
QUERY = {
    "type": "object",
    "properties": {"q": {"type": "string"}},
    "required": ["q"],
    "additionalProperties": False,
}
NEVER_MS = 600_000
"""Longer than any test waits."""


def tool(name: str = "lookup", **fields: Any) -> dict[str, Any]:
    """A tool that takes any object and that the parent answers, unless `fields` say otherwise."""
    return {"name": name, "description": f"the tool {name}", "parameters": ANY_OBJECT, **fields}


def python_tool(name: str, function: str | None = None, **fields: Any) -> dict[str, Any]:
    """A tool that the worker runs: a function of the fixture package."""
    handler = {"python": f"fixtures_pkg.tools:{function or name}"}
    return {"name": name, "description": f"the tool {name}", "handler": handler, **fields}


def calls(*wanted: str | tuple[str, dict[str, Any]], **turn: Any) -> dict[str, Any]:
    """A turn in which the model calls tools, each a name or a name with arguments."""
    pairs = [(each, dict[str, Any]()) if isinstance(each, str) else each for each in wanted]
    return {"tool_calls": [{"name": name, "args": args} for name, args in pairs], **turn}


def says(text: str, **turn: Any) -> dict[str, Any]:
    """A turn with text."""
    return {"text": text, **turn}


def fails(status: int, message: str = "the provider said no", **error: Any) -> dict[str, Any]:
    """A turn that ends as a provider's HTTP error."""
    return {"error": {"status": status, "message": message, **error}}


def endpoint(name: str, **fields: Any) -> dict[str, Any]:
    """A model at an address where nobody listens; creating an agent with it needs no network."""
    return {"name": name, "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-not-a-real-key", **fields}


def asking_agent(worker: Worker, **fields: Any) -> str:
    """An agent whose run asks the parent once, by the tool `lookup`, and then says `done`."""
    return worker.agent([calls("lookup"), says("done")], **{"tools": [tool()], **fields})


def start_asking(worker: Worker, agent: str | None = None, **fields: Any) -> tuple[Any, Frame]:
    """Starts a run that now waits for the parent: its id and its `tool_call`."""
    run = worker.start_run(agent or asking_agent(worker), **fields)
    return run, worker.wait_for("tool_call", of=run)


def start_limited(worker: Worker, agent: str, awaited: str, **fields: Any) -> tuple[Any, Frame]:
    """Starts a run that has come to `awaited` before its `timeout_ms`, which is short: its id and that frame."""

    def attempt(limit: int) -> tuple[Any, Frame] | None:
        run = worker.start_run(agent, timeout_ms=limit, **fields)
        frame = worker.wait_for(lambda frame: frame["type"] in (awaited, "error"), of=run)
        if frame["type"] == awaited:
            return run, frame
        failed(frame, "Timeout")
        return None

    return in_time(attempt)


def retries_of(worker: Worker) -> int:
    """How many requests to models were made again so far."""
    return worker.ask("stats")["result"]["retries"]["model"]
