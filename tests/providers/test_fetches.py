"""What the worker fetches for a provider: what it sends of it, and what becomes of a failure."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit import Frame, Worker, failed, in_time, succeeded
from tests.kit.providers import Interface, Provider

from . import asked, web
from .scenes import LOOKUP, SOON_MS, Kind, agent_on, end_of, endpoint, lookup_calls
from .web import HOST, Web

SECRET = "sig=sk-in-an-address"


@pytest.fixture(scope="module")
def place() -> Iterator[Web]:
    """The web, as far as this worker sees it."""
    with Web() as found:
        yield found


@pytest.fixture(scope="module")
def fetcher(place: Web) -> Iterator[Worker]:
    """A worker whose proxy is the web of this file."""
    with Worker(env=place.environment) as worker:
        yield worker


@pytest.fixture
def worker(fetcher: Worker) -> Worker:
    """The same, for the fixtures of this folder."""
    return fetcher


@pytest.fixture
def interface() -> Interface:
    """One that takes no address."""
    return "google"


def picture(url: str) -> dict[str, Any]:
    """A part of a prompt."""
    return {"type": "image_url", "url": url}


def assert_blamed(error: Frame, *place: str | int) -> None:
    """The address at this place is wrong, and nobody else is; it is not repeated."""
    failed(error, "InvalidCommand")
    assert not error["retryable"]
    assert [fault["loc"] for fault in error["details"]] == [[*place, "url"]]
    assert SECRET not in error["message"] + str(error["details"])


def test_what_is_there_is_sent(worker: Worker, server: Provider, place: Web, kind: Kind) -> None:
    """clause: RUN-FETCH"""
    server.say(text="seen")
    url = place.put("moved.png", web.status(302, "/a.png"))
    place.put("a.png", web.file(b"PICTURE"))
    assert succeeded(end_of(worker, kind, agent_on(worker, server), [picture(url)]))["result"] == "seen"
    (part,) = asked.user_parts("google", server.requests[0])
    assert part == {"inlineData": {"data": "UElDVFVSRQ==", "mime_type": "image/png"}}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (web.status(404), "HTTP status 404"),
        (web.status(403), "HTTP status 403"),
        (web.status(302, "http://127.0.0.1:9/a.png"), "private"),
        (web.status(302, "file:///etc/passwd"), "Only http"),
        (web.too_much, "maximum size"),
    ],
)
def test_what_can_never_be_fetched_is_the_commands_fault(
    worker: Worker, server: Provider, second: Provider, place: Web, answer: web.Answer, told: str, kind: Kind
) -> None:
    """clause: RUN-FETCH, MODEL-RETRY, MODEL-LIST"""
    url = place.put(f"never.png?{SECRET}", answer)
    agent = agent_on(worker, server, model=[endpoint(server), endpoint(second)], retry={"attempts": 3, "base_ms": 1})
    place.asked.clear()
    error = end_of(worker, kind, agent, [{"type": "text", "text": "look"}, picture(url)])
    assert_blamed(error, "prompt", 1)
    assert told in error["message"]
    assert place.asked == [url]
    assert server.requests == second.requests == []


@pytest.mark.parametrize("answer", [web.status(503), web.status(429), web.hang_up])
def test_what_could_not_be_fetched_now_is_fetched_again(
    worker: Worker, server: Provider, place: Web, answer: web.Answer, kind: Kind
) -> None:
    """clause: RUN-FETCH, MODEL-RETRY"""
    agent, prompt = agent_on(worker, server), [picture(place.put(f"later.png?{SECRET}", answer))]
    error = failed(end_of(worker, kind, agent, prompt), "ModelConnectionError")
    assert error["retryable"]
    assert error["details"] == {"model": "gemini-3-flash-preview", "host": HOST}
    assert "was not asked" in error["message"]
    assert SECRET not in error["message"]
    assert server.requests == []
    server.say(text="seen")
    prompt = [picture(place.put("later.png", answer, web.file(b"PICTURE")))]
    end = end_of(worker, kind, agent, prompt, retry={"attempts": 2, "base_ms": 1})
    assert succeeded(end)["result"] == "seen"


def test_a_model_that_takes_the_address_is_tried_where_it_could_not_be_fetched(
    worker: Worker, server: Provider, second: Provider, place: Web
) -> None:
    """clause: RUN-FETCH, MODEL-LIST"""
    second.say(text="seen")
    url = place.put("later.png", web.status(503))
    agent = agent_on(worker, server, model=[endpoint(server), endpoint(second)])
    assert succeeded(worker.run(agent, [picture(url)]))["result"] == "seen"
    assert asked.user_parts("openai_chat", second.requests[0]) == [{"type": "image_url", "image_url": {"url": url}}]


def test_the_limit_of_the_run_ends_a_fetch_and_a_silent_model_is_not_blamed(
    worker: Worker, server: Provider, place: Web
) -> None:
    """clause: RUN-FETCH, MODEL-IDLE, RUN-TIMEOUT"""
    agent = agent_on(worker, server)

    def attempt(limit: int) -> Frame | None:
        url = place.put(f"slow-{limit}.png", web.silence)
        end = worker.run(agent, [picture(url)], idle_timeout_ms=limit, timeout_ms=limit * 3)
        return end if url in place.asked else None

    failed(in_time(attempt, (SOON_MS, 4_000)), "Timeout")
    assert server.requests == []


def test_a_wrong_address_is_found_in_a_history_and_in_what_was_enqueued(
    worker: Worker, server: Provider, place: Web
) -> None:
    """clause: RUN-FETCH, RUN-ENQUEUE"""
    agent, url = agent_on(worker, server), place.put("never.png", web.status(404))
    content = ["look", {"kind": "image-url", "url": url}]
    history = [{"kind": "request", "parts": [{"part_kind": "user-prompt", "content": content}]}]
    error = worker.run(agent, "go", message_history=history)
    assert_blamed(error, "message_history", 0, "parts", 0, "content", 1)
    server.stall(before="headers", text="first")
    run = worker.start_run(agent)
    server.wait_for_request().wait_stalled()
    succeeded(worker.ask("enqueue", target=run, prompt=[picture(url)]))
    server.release()
    assert_blamed(worker.terminal(run), "enqueue", "prompt", 0)


def test_a_wrong_address_that_a_tool_gave_is_the_tools_fault(worker: Worker, server: Provider, place: Web) -> None:
    """clause: RUN-FETCH, CALL-CONTENT"""
    server.say(tool_calls=lookup_calls("a"))
    run = worker.start_run(agent_on(worker, server, tools=[LOOKUP]))
    call = worker.wait_for("tool_call", of=run)
    worker.answer(call, result="found", content=[picture(place.put("never.png", web.status(404)))])
    error = failed(worker.terminal(run), "ToolError")
    assert "HTTP status 404" in error["message"]
    assert len(server.requests) == 1
