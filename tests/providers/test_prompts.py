"""Prompts of every kind, checked against what the clients send (PROTOCOL.md, RUN-PROMPT)."""

import base64
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests.kit import Frame, Worker, failed, succeeded
from tests.kit.providers import Interface, Provider

from . import asked
from .scenes import Kind, agent_on, end_of

Part = dict[str, Any]

PIXELS = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()
HELLO = base64.b64encode(b"hello").decode()
SITE = "https://example.com"

LATIN_1 = base64.b64encode("caf\u00e9".encode("latin-1")).decode()


def binary(media_type: str, data: str = PIXELS) -> Part:
    """A part with its data in it."""
    return {"type": "binary", "media_type": media_type, "data": data}


def inline(media_type: str) -> Part:
    """How Google takes data."""
    urlsafe = PIXELS.replace("+", "-").replace("/", "_")
    return {"inlineData": {"data": urlsafe, "mime_type": media_type}}


SENT: dict[Interface, list[tuple[Part, Part]]] = {
    "openai_chat": [
        ({"type": "text", "text": "and this"}, {"type": "text", "text": "and this"}),
        ({"type": "image_url", "url": f"{SITE}/a.png"}, {"type": "image_url", "image_url": {"url": f"{SITE}/a.png"}}),
        (binary("image/png"), {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXELS}"}}),
        (binary("audio/wav"), {"type": "input_audio", "input_audio": {"data": PIXELS, "format": "wav"}}),
        (
            binary("application/pdf"),
            {
                "type": "file",
                "file": {"file_data": f"data:application/pdf;base64,{PIXELS}", "filename": "filename.pdf"},
            },
        ),
    ],
    "openai_responses": [
        ({"type": "text", "text": "and this"}, {"type": "input_text", "text": "and this"}),
        (
            {"type": "image_url", "url": f"{SITE}/a.png"},
            {"type": "input_image", "image_url": f"{SITE}/a.png", "detail": "auto"},
        ),
        ({"type": "document_url", "url": f"{SITE}/a.pdf"}, {"type": "input_file", "file_url": f"{SITE}/a.pdf"}),
        (
            {"type": "document_url", "url": f"{SITE}/paper", "media_type": "application/pdf"},
            {"type": "input_file", "file_url": f"{SITE}/paper"},
        ),
        (
            binary("image/png"),
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXELS}", "detail": "auto"},
        ),
        (
            binary("application/pdf"),
            {
                "type": "input_file",
                "file_data": f"data:application/pdf;base64,{PIXELS}",
                "filename": "filename.pdf",
            },
        ),
    ],
    "anthropic": [
        ({"type": "text", "text": "and this"}, {"type": "text", "text": "and this"}),
        (
            {"type": "image_url", "url": f"{SITE}/a.png"},
            {"type": "image", "source": {"type": "url", "url": f"{SITE}/a.png"}},
        ),
        (
            {"type": "document_url", "url": f"{SITE}/a.pdf"},
            {"type": "document", "source": {"type": "url", "url": f"{SITE}/a.pdf"}},
        ),
        (
            binary("image/png"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXELS}},
        ),
        (
            binary("application/pdf"),
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PIXELS}},
        ),
        (
            binary("text/plain", HELLO),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}},
        ),
    ],
    "google": [
        ({"type": "text", "text": "and this"}, {"text": "and this"}),
        (
            {"type": "video_url", "url": "https://www.youtube.com/watch?v=abc"},
            {"fileData": {"file_uri": "https://www.youtube.com/watch?v=abc", "mime_type": "video/mp4"}},
        ),
        (binary("image/png"), inline("image/png")),
        (binary("audio/wav"), inline("audio/wav")),
        (binary("video/mp4"), inline("video/mp4")),
        (binary("application/pdf"), inline("application/pdf")),
    ],
}
"""Each part of a prompt, and the part that goes over HTTP for it."""

NOT_TAKEN: dict[Interface, list[Part]] = {
    "openai_chat": [
        {"type": "video_url", "url": f"{SITE}/a.mp4"},
        binary("video/mp4"),
        binary("audio/ogg"),
        binary("application/x-nope"),
        binary("text/csv", LATIN_1),
    ],
    "openai_responses": [
        {"type": "video_url", "url": f"{SITE}/a.mp4"},
        binary("audio/wav"),
        binary("video/mp4"),
        binary("application/x-nope"),
    ],
    "anthropic": [
        binary("application/x-nope"),
        binary("text/plain", LATIN_1),
        {"type": "audio_url", "url": f"{SITE}/a.mp3"},
        {"type": "video_url", "url": f"{SITE}/a.mp4"},
        binary("audio/wav"),
        binary("video/mp4"),
    ],
    "google": [],
}
"""What a service has no form for."""

FETCHED: dict[Interface, list[str]] = {
    "openai_chat": ["audio_url", "document_url"],
    "openai_responses": [],
    "anthropic": [],
    "google": ["image_url", "audio_url", "video_url", "document_url"],
}
"""Addresses that the worker reads itself, to send what it finds there."""

MEDIA_TYPES = {
    "image_url": "image/png",
    "audio_url": "audio/wav",
    "video_url": "video/mp4",
    "document_url": "application/pdf",
}


def assert_blamed(error: Frame, *place: str | int) -> None:
    """The address at this place is wrong, and nobody else is."""
    assert (error["error_type"], error["retryable"]) == ("InvalidCommand", False)
    assert [fault["loc"] for fault in error["details"]] == [[*place, "url"]]


@pytest.fixture
def inner() -> Iterator[Provider]:
    """A service inside our own network, which nobody is to ask."""
    with Provider("google") as provider:
        yield provider
        assert provider.requests == []


def test_parts_go_out_in_their_order_and_in_the_form_of_the_service(
    worker: Worker, server: Provider, interface: Interface, kind: Kind
) -> None:
    """clause: RUN-PROMPT"""
    given = [{"type": "text", "text": "look"}, *(part for part, _ in SENT[interface])]
    server.say(text="seen")
    assert succeeded(end_of(worker, kind, agent_on(worker, server), given))["result"] == "seen"
    assert asked.user_parts(interface, server.requests[0])[1:] == [sent for _, sent in SENT[interface]]


def test_parts_are_still_there_when_the_history_is_given_back(
    worker: Worker, server: Provider, interface: Interface
) -> None:
    """clause: RUN-PROMPT, RUN-HISTORY"""
    server.say(text="seen", times=2)
    agent = agent_on(worker, server)
    first = succeeded(worker.run(agent, [part for part, _ in SENT[interface]]))
    succeeded(worker.run(agent, "and now?", message_history=first["messages"]))
    once = asked.user_parts(interface, server.requests[0])
    body = server.requests[1].json
    turns = body.get("contents") or body.get("messages") or body["input"]
    assert once in [turn.get("parts") or turn.get("content") for turn in turns]


def test_a_prompt_may_be_enqueued_in_parts(worker: Worker, server: Provider, interface: Interface) -> None:
    """clause: RUN-ENQUEUE, RUN-PROMPT"""
    server.stall(before="headers", text="first")
    server.say(text="second")
    run = worker.start_run(agent_on(worker, server))
    server.wait_for_request().wait_stalled()
    part, sent = SENT[interface][-1]
    assert worker.ask("enqueue", target=run, prompt=[part])["result"] == {"enqueued": True}
    server.release()
    assert succeeded(worker.terminal(run))["result"] == "second"
    assert sent in asked.user_parts(interface, server.requests[1])


def test_a_part_that_the_service_has_no_form_for_is_an_error_that_will_not_pass(
    worker: Worker, server: Provider, interface: Interface
) -> None:
    """clause: ERR-RETRYABLE, RUN-FETCH"""
    agent = agent_on(worker, server, retry={"attempts": 2, "base_ms": 1})
    for part in NOT_TAKEN[interface]:
        error = failed(worker.run(agent, [{"type": "text", "text": "look"}, part]), "InvalidCommand")
        field = "url" if "url" in part else "media_type"
        assert [fault["loc"] for fault in error["details"]] == [["prompt", 1, field]]
    assert server.requests == []


@pytest.mark.parametrize("interface", ["openai_chat", "google"])
def test_an_address_inside_our_own_network_is_not_read(
    worker: Worker, server: Provider, inner: Provider, interface: Interface
) -> None:
    """clause: RUN-FETCH
    fault: H64
    """
    agent, port = agent_on(worker, server), inner.origin.rpartition(":")[2]
    hosts = ("127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "2130706433")
    for kind, host in product(FETCHED[interface], hosts):
        part = {"type": kind, "url": f"http://{host}:{port}/a", "media_type": MEDIA_TYPES[kind]}
        assert_blamed(worker.run(agent, [{"type": "text", "text": "look"}, part]), "prompt", 1)
    assert server.requests == []


@pytest.mark.parametrize("interface", ["openai_chat", "google"])
def test_an_address_of_another_kind_is_not_read(worker: Worker, server: Provider, interface: Interface) -> None:
    """clause: RUN-FETCH
    fault: H64
    """
    agent = agent_on(worker, server)
    for kind, url in product(FETCHED[interface], ("file:///etc/passwd", "s3://bucket/key", "gopher://127.0.0.1/")):
        part = {"type": kind, "url": url, "media_type": MEDIA_TYPES[kind]}
        error = worker.run(agent, [{"type": "text", "text": "look"}, part])
        assert_blamed(error, "prompt", 1)
        assert "root:" not in str(error)
    assert server.requests == []


@pytest.mark.parametrize("interface", ["openai_chat", "google"])
def test_an_address_in_a_history_is_not_read_either(
    worker: Worker, server: Provider, inner: Provider, interface: Interface
) -> None:
    """Not even where it asks for it.

    clause: SEC-HISTORY, RUN-FETCH
    fault: H64
    """
    agent = agent_on(worker, server)
    for kind, force in product(FETCHED[interface], (False, True, "allow-local")):
        url = {"url": f"{inner.origin}/a", "kind": kind.replace("_", "-"), "media_type": MEDIA_TYPES[kind]}
        content = [{**url, "force_download": force}]
        history = [{"kind": "request", "parts": [{"part_kind": "user-prompt", "content": content}]}]
        error = worker.run(agent, "look", message_history=history)
        assert_blamed(error, "message_history", 0, "parts", 0, "content", 0)
    assert server.requests == []
