"""No address in a message that a parent wrote is read inside our own network, whatever the message asks for."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit import Worker, failed, succeeded
from tests.kit.providers import Provider


@pytest.fixture
def inner() -> Iterator[Provider]:
    """A service inside our own network, which nobody is to ask."""
    with Provider("google") as provider:
        yield provider
        assert provider.requests == []


@pytest.fixture
def server() -> Iterator[Provider]:
    """The model's, which takes no address."""
    with Provider("google") as provider:
        yield provider
        assert provider.requests == []


def local(inner: Provider, **fields: Any) -> dict[str, Any]:
    """What pydantic-ai writes of an address that a function wants from our own network."""
    url = {"kind": "image-url", "url": f"{inner.origin}/secret.png", "media_type": "image/png"}
    return {**url, "force_download": "allow-local", **fields}


def histories(inner: Provider) -> list[tuple[list[Any], list[Any]]]:
    """Histories with such an address, and its place in them."""
    said = {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": ["look", local(inner)]}]}
    called = {"kind": "response", "parts": [{"part_kind": "tool-call", "tool_name": "f", "tool_call_id": "c1"}]}
    returned = {"part_kind": "tool-return", "tool_name": "f", "tool_call_id": "c1", "content": [local(inner)]}
    asked = {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "go"}]}
    return [
        ([said], [0, "parts", 0, "content", 1]),
        ([asked, called, {"kind": "request", "parts": [returned]}], [2, "parts", 0, "content", 0]),
    ]


def test_a_history_opens_no_door_that_a_prompt_does_not(inner: Provider, server: Provider) -> None:
    """clause: SEC-HISTORY, RUN-FETCH
    fault: H64
    """
    with Worker() as worker:
        agent = worker.agent(model=server.endpoint("gemini-3-flash-preview"))
        for history, place in histories(inner):
            for kind in ("run", "stream"):
                error = failed(worker.ask(kind, agent_id=agent, prompt="go", message_history=history), "InvalidCommand")
                assert [fault["loc"] for fault in error["details"]] == [["message_history", *place, "url"]]
                assert "private" in error["message"]


def test_an_address_in_a_parents_answer_is_data_and_stays_data(inner: Provider) -> None:
    """Also when it comes back as a history. clause: SEC-HISTORY, RUN-HISTORY"""
    script = {"script": [{"tool_calls": [{"name": "f"}]}, {"text": "done"}]}
    tool = {"name": "f", "parameters": {"type": "object"}}
    with Worker() as worker, Provider("google") as server:
        agent = worker.agent(model=script, tools=[tool])
        run = worker.start_run(agent)
        worker.answer(worker.wait_for("tool_call", of=run), result=[local(inner)])
        messages = worker.terminal(run)["messages"]
        server.say(text="seen")
        model = server.endpoint("gemini-3-flash-preview")
        assert succeeded(worker.run(agent, "go", message_history=messages, model=model))["result"] == "seen"
        assert f"{inner.origin}/secret.png" in str(server.bodies[0])
