"""Keys: what a service is sent of them, and that a parent is never told one (PROTOCOL.md, section 15)."""

from collections.abc import Iterator, Sequence
from itertools import product

import pytest

from tests.kit import Frame, Worker, failed, succeeded
from tests.kit.providers import Interface, Provider

from .scenes import MODELS, SOON_MS, Fault, Kind, agent_on, end_of

CANARY = "canary-"

ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-proj-canary-openai-0123456789",
    "OPENAI_ADMIN_KEY": "sk-admin-canary-0123456789",
    "OPENAI_ORG_ID": "org-canary-0123456789",
    "OPENAI_PROJECT_ID": "proj-canary-0123456789",
    "OPENAI_CUSTOM_HEADERS": "X-Openai-Extra: canary-header-0123456789\nAuthorization: Bearer canary-bearer-0123456789",
    "OPENAI_WEBHOOK_SECRET": "whsec-canary-0123456789",
    "ANTHROPIC_API_KEY": "sk-ant-canary-0123456789",
    "ANTHROPIC_AUTH_TOKEN": "canary-anthropic-token-0123456789",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Anthropic-Extra: canary-header-1123456789\nX-Api-Key: canary-key-1123456789",
    "GOOGLE_API_KEY": "AIza-canary-google-0123456789",
    "GEMINI_API_KEY": "AIza-canary-gemini-0123456789",
    "GOOGLE_CLOUD_PROJECT": "canary-project-0123456789",
    "GATEWAY_TOKEN": "canary-gateway-0123456789",
}
"""Everything that one of the clients would read: keys, organisations, headers."""

KEYS = [value for name, value in ENVIRONMENT.items() if any(word in name for word in ("KEY", "TOKEN", "SECRET"))]

ECHO_KEY = "sk-live-echoed-by-the-service-0123456789abcdef"


@pytest.fixture(scope="module")
def watched() -> Iterator[Worker]:
    """A worker that tells everything, and has keys in its environment."""
    with Worker("--log-level", "debug", env=ENVIRONMENT) as worker:
        yield worker


@pytest.fixture
def echoing(interface: Interface) -> Iterator[Provider]:
    """A service with a key to be looked for."""
    with Provider(interface, api_key=ECHO_KEY) as provider:
        yield provider


@pytest.fixture
def since(watched: Worker) -> int:
    """How many frames had come before the test."""
    return len(watched.frames)


def assert_untold(worker: Worker, *keys: str, part: int = 16, since: int = 0) -> None:
    """No key, and no piece of one as long as `part`, was written: not in a frame after the first `since`, logs
    included, and not on stderr.
    """
    said = "\n".join([*map(str, worker.frames[since:]), worker.stderr])
    pieces = {key[start : start + part] for key in keys for start in range(len(key) - part + 1)}
    told = [said[max(0, said.index(piece) - 300) :][:600] for piece in sorted(pieces) if piece in said]
    assert told == []


# ---------------------------------------------------------------- what is sent


def test_an_endpoint_is_sent_nothing_of_the_environment(
    watched: Worker, echoing: Provider, interface: Interface, kind: Kind
) -> None:
    """clause: SEC-BASE-URL
    fault: H62
    """
    echoing.say()
    succeeded(end_of(watched, kind, agent_on(watched, echoing)))
    echoing.fail(401, echo_key=True)
    failed(end_of(watched, kind, agent_on(watched, echoing)), "ModelHTTPError")
    for request in echoing.requests:
        everything = f"{request.path}?{request.query}{dict(request.headers)}{request.body!r}"
        assert CANARY not in everything
        assert ECHO_KEY in everything
        assert not {"openai-organization", "openai-project", "x-openai-extra", "x-anthropic-extra"} & set(
            request.headers
        )


def test_an_endpoint_without_a_key_is_sent_nothing_of_the_environment_either(
    watched: Worker, echoing: Provider, either: Kind
) -> None:
    """clause: SEC-BASE-URL, MODEL-KEY
    fault: H62
    """
    echoing.say()
    model = {"name": echoing.endpoint(MODELS[echoing.interface])["name"], "base_url": echoing.base_url}
    succeeded(end_of(watched, either, agent_on(watched, echoing, model=model)))
    (request,) = echoing.requests
    everything = f"{request.path}?{request.query}{dict(request.headers)}{request.body!r}"
    assert CANARY not in everything
    assert "no-key-given" in everything


def test_plain_names_use_the_keys_of_the_environment_and_nobody_is_told_them() -> None:
    """clause: MODEL-NAME, SEC-KEYS"""
    asked: Sequence[Interface] = ("openai_chat", "anthropic", "google")
    with Provider("openai_chat") as openai, Provider("anthropic") as anthropic, Provider("google") as google:
        servers = dict(zip(asked, (openai, anthropic, google), strict=True))
        addresses = {
            "OPENAI_BASE_URL": openai.base_url,
            "ANTHROPIC_BASE_URL": anthropic.base_url,
            "GOOGLE_GEMINI_BASE_URL": google.base_url,
        }
        keys = {name: ENVIRONMENT[name] for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY")}
        with Worker("--log-level", "debug", env={**keys, **addresses}) as worker:
            for (interface, server), key in zip(servers.items(), keys.values(), strict=True):
                server.say(text="hello")
                server.fail(401, echo_key=True)
                agent = agent_on(worker, server, model=server.endpoint(MODELS[interface])["name"])
                assert succeeded(worker.run(agent))["result"] == "hello"
                assert any(key in value for value in server.requests[0].headers.values())
                failed(worker.run(agent), "ModelHTTPError")
            worker.ask("list_agents")
            worker.ask("stats")
            assert_untold(worker, *keys.values())


# ---------------------------------------------------------------- what is told

ECHOES: dict[str, Fault] = {
    "in the message": lambda server: server.fail(401, echo_key=True),
    "in a page": lambda server: server.fail(401, body=f"<html>the key {ECHO_KEY} is wrong</html>"),
    "in a large page": lambda server: server.fail(502, body=f"{'x' * 100_000}{ECHO_KEY}"),
    "deep in the body": lambda server: server.fail(400, body={"error": {"message": "no", "param": [[ECHO_KEY]]}}),
    "as a name": lambda server: server.fail(400, body={"error": {"message": "no", "name": ECHO_KEY, "type": ECHO_KEY}}),
    "as an only text": lambda server: server.fail(403, body=f'"{ECHO_KEY}"'.encode()),
    "in a header": lambda server: server.fail(429, headers={"retry-after": ECHO_KEY, "x-request-id": ECHO_KEY}),
    "in a redirect": lambda server: server.fail(307, headers={"location": f"http://127.0.0.1:1/{ECHO_KEY}"}),
    "inside a stream": lambda server: server.fail(500, after=1, echo_key=True),
    "in an answer": lambda server: server.say(chunks=["your key is ", ECHO_KEY, ", is it not?"]),
    "in broken json": lambda server: server.fail(400, body=f'{{"error": "{ECHO_KEY}'.encode()),
}


def test_a_key_that_the_service_echoes_is_redacted(watched: Worker, echoing: Provider, since: int, kind: Kind) -> None:
    """clause: SEC-KEYS
    fault: G58, H63
    """
    agent = agent_on(watched, echoing)
    for number, echo in enumerate(ECHOES.values(), start=1):
        echo(echoing)
        end_of(watched, kind, agent)
        assert len(echoing.requests) == number
    assert_untold(watched, ECHO_KEY, since=since)


def test_a_key_that_is_cut_in_two_is_redacted_too(watched: Worker, echoing: Provider, since: int) -> None:
    """clause: SEC-KEYS, ERR-BOUNDS
    fault: H63
    """
    agent = agent_on(watched, echoing)
    for limit, kept in product((500, 4096, 8192, 65536), (20, 30, 40)):
        page = f"{'x' * (limit - kept)}{ECHO_KEY} and so on".ljust(limit + 200)
        echoing.fail(401, message=page)
        watched.run(agent)
        echoing.fail(401, body=page)
        watched.run(agent)
    assert_untold(watched, ECHO_KEY, since=since)


def test_no_kind_of_failure_tells_a_key(watched: Worker, echoing: Provider, since: int, kind: Kind) -> None:
    """clause: SEC-KEYS, LOG-LEVEL
    fault: H63
    """
    agent = agent_on(watched, echoing, idle_timeout_ms=SOON_MS, retry={"attempts": 2, "base_ms": 0})
    faults: list[Fault] = [
        lambda server: server.cut(before="headers"),
        lambda server: server.cut(after=2, text="some text"),
        lambda server: server.no_finish(text="half"),
        lambda server: server.stall(before="headers"),
        lambda server: server.fail(503, echo_key=True),
        lambda server: server.garbage("json"),
        lambda server: server.garbage("html"),
        lambda server: server.garbage("shape"),
    ]
    for fault in faults:
        fault(echoing)
        fault(echoing)
        assert end_of(watched, kind, agent)["type"] == "error"
    assert_untold(watched, ECHO_KEY, *KEYS, since=since)


def test_a_key_that_fits_no_header_is_refused_and_not_told(watched: Worker, echoing: Provider, since: int) -> None:
    """clause: MODEL-KEY, SEC-KEYS
    fault: H63
    """
    for number, tail in enumerate(("\n", "\r\n", " ", "é", "\x00"), start=1):
        key = f"sk-live-with-a-tail-{number}-0123456789abcdef"
        model = {**echoing.endpoint("some-model"), "api_key": key + tail}
        failed(watched.ask("create_agent", agent_id="never", model=model), "InvalidAgent")
        assert_untold(watched, key, since=since)
    assert echoing.requests == []


def test_a_key_of_the_environment_that_fits_no_header_is_refused_and_not_told() -> None:
    """clause: MODEL-KEY, SEC-KEYS
    fault: H63
    """
    names = {"OPENAI_API_KEY": "openai:gpt-5.2", "ANTHROPIC_API_KEY": "anthropic:x", "GOOGLE_API_KEY": "google:x"}
    keys = {name: ENVIRONMENT[name] + "\n" for name in names}
    addresses = dict.fromkeys(("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"), "http://127.0.0.1:9")
    taken: dict[str, Frame] = {}
    with Worker("--log-level", "debug", env={**keys, **addresses}) as worker:
        for model in names.values():
            answer = worker.ask("create_agent", agent_id=model, model=model)
            if answer.get("error_type") != "InvalidAgent":
                taken[model] = worker.run(model)
        assert_untold(worker, *(key.strip() for key in keys.values()))
    assert taken == {}


def test_a_wrong_field_that_holds_a_key_is_not_repeated(watched: Worker, since: int) -> None:
    """clause: ENV-NO-ECHO, SEC-KEYS
    fault: H63
    """
    key = "sk-live-in-a-wrong-field-0123456789"
    for model in (
        {"name": "openai:gpt-5.2", "api_keys": key},
        {"name": 7, "api_key": key},
        {"name": "openai:gpt-5.2", "api_key": [key]},
        {"name": "openai:gpt-5.2", "base_url": f"http://user:{key}@127.0.0.1:1/v1"},
        {"name": "openai:gpt-5.2", "base_url": f"http://127.0.0.1:1/v1?key={key}"},
    ):
        assert watched.ask("create_agent", agent_id="never", model=model)["type"] == "error"
    assert_untold(watched, key, since=since)


def test_nothing_of_the_environment_was_told_to_the_end(watched: Worker) -> None:
    """clause: SEC-KEYS"""
    watched.ask("list_agents")
    watched.ask("stats")
    assert_untold(watched, *KEYS)
