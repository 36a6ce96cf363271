"""Agents, tools and faults that the tests of several files share."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from tests.kit import Frame, Worker
from tests.kit.providers import Interface, Provider

Kind = Literal["run", "stream"]
KINDS: Sequence[Kind] = ("run", "stream")

MODELS: dict[Interface, str] = {
    "openai_chat": "gpt-5.2",
    "openai_responses": "gpt-5.2",
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-3-flash-preview",
}

FIRST_TEXT: dict[Interface, int] = {"openai_chat": 2, "openai_responses": 5, "anthropic": 4, "google": 1}
"""How many frames of a streamed answer hold its beginning and its first piece of text."""

FEW_TOKENS = {"max_tokens": 1000}
"""Few enough for Anthropic's client to ask for a whole answer."""

LOOKUP: dict[str, Any] = {
    "name": "lookup",
    "description": "Finds an order.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}

SOON_MS = 250
"""An `idle_timeout_ms` for servers that are silent for ever."""

NEVER_MS = 3_600_000
"""A time that no test waits for."""

Fault = Callable[[Provider], None]


def endpoint(server: Provider) -> dict[str, str]:
    """The model endpoint of a server."""
    return server.endpoint(MODELS[server.interface])


def agent_on(worker: Worker, server: Provider, **fields: Any) -> str:
    """An agent whose model is this server."""
    model: dict[str, Any] = {"model": endpoint(server), "model_settings": FEW_TOKENS}
    return worker.agent(None, **{**model, **fields})


def lookup_calls(*queries: str) -> list[Any]:
    """What a model says when it calls the tool once for each query."""
    return [{"name": "lookup", "args": {"q": query}} for query in queries]


def end_of(worker: Worker, kind: Kind, agent: str, prompt: Any = "go", **fields: Any) -> Frame:
    """The terminal frame of a run or a stream."""
    return worker.ask(kind, agent_id=agent, prompt=prompt, **fields)


def chunks_of(frames: Sequence[Frame]) -> list[tuple[int, int, str, Any]]:
    """`seq`, `step`, `kind` and `data` of all chunks."""
    return [(f["seq"], f["step"], f["kind"], f["data"]) for f in frames if f["type"] == "chunk"]


def first_chunk(worker: Worker, run: Any) -> str:
    """The text of the first chunk, as soon as it has come."""
    return worker.wait_for("chunk", of=run)["data"]
