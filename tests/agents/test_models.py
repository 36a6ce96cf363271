"""From names and endpoints to models, and what these models then send: measured on loopback servers."""

import gzip
import json
import os
import ssl
import sys
import threading
from contextlib import nullcontext
from typing import Any, cast
from unittest.mock import MagicMock

import anyio
import httpx2
import pytest
from anyio import to_thread
from pydantic_ai import Agent
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.messages import ModelRequest, ModelResponse
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.test import TestModel as PydanticTestModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from axon_port.agents import http, models, providers
from axon_port.agents.models import Endpoint, ModelFactory, UnusableModel, model_label
from tests.kit.providers import INTERFACES, Interface, Provider, Request

KEY = "sk-given-in-the-frame-0123456789"

CANARIES = {
    name: f"canary-{name.lower()}"
    for name in (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_WEBHOOK_SIGNING_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AZURE_OPENAI_API_KEY",
        "DEEPSEEK_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_GENAI_ACCESS_TOKEN",
        "GOOGLE_GENAI_API_KEY",
        "OLLAMA_API_KEY",
        "OPENAI_ADMIN_KEY",
        "OPENAI_API_KEY",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "OPENAI_WEBHOOK_SECRET",
        "OPENROUTER_API_KEY",
        "OPENROUTER_APP_URL",
        "TOGETHER_API_KEY",
        "VLLM_API_KEY",
    )
} | {
    "ANTHROPIC_CUSTOM_HEADERS": "X-Custom: canary-a\nAuthorization: Bearer canary-b\nX-Api-Key: canary-c",
    "OPENAI_CUSTOM_HEADERS": "X-Custom: canary-d\nAuthorization: Bearer canary-e",
    "GOOGLE_GENAI_DEFAULT_HEADERS": "X-Custom: canary-f",
}

NAMES: dict[Interface, str] = {
    "openai_chat": "openai-chat:gpt-loopback",
    "openai_responses": "openai:gpt-loopback",
    "anthropic": "anthropic:claude-loopback",
    "google": "google:gemini-loopback",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees a key, an address or a proxy of the machine it runs on."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "AZURE_", "AWS_", "OLLAMA_", "VLLM_")):
            monkeypatch.delenv(name)
        if name.lower().endswith("_proxy") or name.endswith(("_API_KEY", "_TOKEN")):
            monkeypatch.delenv(name)


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def canary_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login canary-login password canary-password\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))


def build(spec: str | Endpoint) -> Model:
    return ModelFactory().lease().build(spec)


def refusal(spec: str | Endpoint) -> str:
    with pytest.raises(UnusableModel) as caught:
        build(spec)
    return str(caught.value)


async def question(model: Model, *, stream: bool = False, settings: ModelSettings | None = None) -> ModelResponse:
    asked = [ModelRequest.user_text_prompt("Hello?")]
    if not stream:
        return await model_request(model, asked, model_settings=settings)
    async with model_request_stream(model, asked, model_settings=settings) as events:
        async for _ in events:
            pass
        return events.get()


def ask(spec: str | Endpoint, *, stream: bool = False, settings: ModelSettings | None = None) -> ModelResponse:
    """One question to a model that was built on a thread, as a worker does it."""

    async def main() -> ModelResponse:
        factory = ModelFactory()
        try:
            model = await to_thread.run_sync(factory.lease().build, spec)
            with anyio.fail_after(30):
                return await question(model, stream=stream, settings=settings)
        finally:
            await factory.aclose()

    return anyio.run(main)


def at(service: Provider, *, api_key: str | None = KEY) -> Endpoint:
    return Endpoint(NAMES[service.interface], service.base_url, api_key)


def everything_sent(request: Request) -> str:
    return f"{request.path}?{request.query} {dict(request.headers)} {request.body!r}"


def credentials(request: Request) -> set[str]:
    """The secrets of a request, without the scheme before them."""
    names = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie")
    return {request.headers[name].removeprefix("Bearer ") for name in names if name in request.headers}


# --- names


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai:gpt-5.2", "OPENAI_API_KEY"),
        ("openai-chat:gpt-5.2", "OPENAI_API_KEY"),
        ("anthropic:claude-loopback", "ANTHROPIC_API_KEY"),
        ("google:gemini-loopback", "GOOGLE_API_KEY"),
        ("deepseek:deepseek-chat", "DEEPSEEK_API_KEY"),
        ("openrouter:openai/gpt-5.2", "OPENROUTER_API_KEY"),
        ("gateway/openai:gpt-5.2", "PYDANTIC_AI_GATEWAY_API_KEY"),
    ],
)
def test_a_missing_key_names_the_variable_and_the_field_to_set(name: str, variable: str) -> None:
    text = refusal(name)
    assert f"set {variable} in the worker's environment" in text
    assert '"api_key"' in text


@pytest.mark.parametrize("name", ["ollama:llama3.2", "vllm:qwen"])
def test_a_missing_address_names_the_variable_and_the_field_to_set(name: str) -> None:
    text = refusal(name)
    assert f"{name.partition(':')[0].upper()}_BASE_URL" in text
    assert '"base_url"' in text


@pytest.mark.parametrize("name", ["gpt-5.2", "opnai:gpt-5.2", "gateway/nobody:x", "no such model", ":", ":x"])
def test_an_unknown_name_is_refused_with_the_form_of_a_name(name: str) -> None:
    """clause: MODEL-NAME"""
    text = refusal(name)
    assert f"Unknown model: {name}" in text
    assert "provider:model" in text


def test_a_misspelt_name_is_answered_with_the_one_that_was_meant() -> None:
    assert "openai:gpt-5.2'" in refusal("opnai:gpt-5.2")


@pytest.mark.parametrize("name", ["", "openai:"])
def test_a_name_without_a_model_is_refused(name: str) -> None:
    assert "name" in refusal(name)


def test_a_provider_of_which_there_are_no_models_is_refused() -> None:
    assert "Unknown model" in refusal("sentence-transformers:x")


def test_a_provider_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "groq", None)
    monkeypatch.delitem(sys.modules, "pydantic_ai.providers.groq", raising=False)
    assert "install" in refusal("groq:llama-3.3-70b")


def test_what_the_model_class_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    assert "upstream provider" in refusal("openrouter:gpt-5.2")


def test_credentials_that_an_sdk_looks_for_and_does_not_find_make_the_model_unusable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    assert "google-cloud" in refusal("google-cloud:gemini-loopback")


def test_the_test_model_is_made_anew_each_time() -> None:
    factory = ModelFactory()
    lease = factory.lease()
    first, second = lease.build("test"), lease.build(Endpoint("test"))
    assert isinstance(first, PydanticTestModel)
    assert isinstance(second, PydanticTestModel)
    assert first is not second


def test_plain_names_use_the_environment_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    with Provider("openai_chat") as service:
        service.say(text="Hello")
        monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_ORG_ID", "org-usual")
        assert ask("openai-chat:gpt-loopback").text == "Hello"
        assert credentials(service.requests[0]) == {KEY}
        assert service.requests[0].headers["openai-organization"] == "org-usual"


def test_a_key_in_the_frame_goes_to_the_base_url_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Provider("anthropic") as service:
        service.say(text="Hello")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", service.base_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "canary-environment")
        assert ask(Endpoint("anthropic:claude-loopback", api_key=KEY)).text == "Hello"
        assert credentials(service.requests[0]) == {KEY}
        assert "canary" not in everything_sent(service.requests[0])


@pytest.mark.parametrize("name", ["deepseek:x", "openrouter:a/x", "together:x", "google:x", "google-cloud:x"])
def test_a_key_alone_is_enough_for_a_provider(name: str) -> None:
    assert build(Endpoint(name, api_key=KEY)).base_url is not None


@pytest.mark.parametrize("name", ["openai-codex:gpt-5.2", "openai-chatgpt:gpt-5.2"])
def test_a_provider_with_a_sign_in_of_its_own_takes_no_key(name: str) -> None:
    assert "takes no api_key" in refusal(Endpoint(name, api_key=KEY))


# --- endpoints


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("settings", [None, ModelSettings(max_retries=0)], ids=["client", "copied client"])
@pytest.mark.usefixtures("canaries", "canary_netrc")
def test_a_base_url_is_sent_the_key_beside_it_and_nothing_of_the_environment(
    interface: Interface, stream: bool, settings: ModelSettings | None
) -> None:
    """clause: SEC-BASE-URL"""
    with Provider(interface) as service:
        service.say(text="Hello")
        assert ask(at(service), stream=stream, settings=settings).text == "Hello"
        assert credentials(service.requests[0]) == {KEY}
        assert "canary" not in everything_sent(service.requests[0])


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.usefixtures("canaries", "canary_netrc")
def test_a_base_url_without_a_key_works_and_is_sent_the_placeholder(interface: Interface, stream: bool) -> None:
    with Provider(interface) as service:
        service.say(text="Hello")
        assert ask(at(service, api_key=None), stream=stream).text == "Hello"
        assert credentials(service.requests[0]) == {providers.NO_KEY}
        assert "canary" not in everything_sent(service.requests[0])


CHAT_PROVIDERS = [
    "alibaba",
    "azure",
    "cerebras",
    "crusoe",
    "deepseek",
    "fireworks",
    "github-copilot",
    "heroku",
    "litellm",
    "moonshotai",
    "nebius",
    "ollama",
    "openrouter",
    "ovhcloud",
    "sambanova",
    "snowflake",
    "together",
    "vercel",
    "vllm",
    "zai",
]


@pytest.mark.parametrize("prefix", CHAT_PROVIDERS)
@pytest.mark.usefixtures("canaries")
def test_every_provider_on_the_chat_interface_takes_an_endpoint(prefix: str) -> None:
    with Provider("openai_chat") as service:
        service.fail(400)
        with pytest.raises(ModelHTTPError):
            ask(Endpoint(f"{prefix}:some/model", service.base_url, KEY))
        assert credentials(service.requests[0]) == {KEY}
        assert "canary" not in everything_sent(service.requests[0])


@pytest.mark.parametrize("name", ["openai-codex:gpt-5.2", "bedrock-mantle:openai.gpt-5.2"])
@pytest.mark.usefixtures("canaries")
def test_providers_with_other_credentials_send_none_of_them_to_an_endpoint(name: str) -> None:
    with Provider("openai_responses") as service:
        service.fail(400)
        service.fail(400)
        with pytest.raises(ModelHTTPError):
            ask(Endpoint(name, service.base_url, KEY))
        assert credentials(service.requests[0]) == {KEY}
        assert "canary" not in everything_sent(service.requests[0])


@pytest.mark.parametrize("api_key", [KEY, None])
@pytest.mark.usefixtures("canaries")
def test_google_cloud_at_an_endpoint_uses_no_default_credentials(api_key: str | None) -> None:
    with Provider("google") as service:
        service.fail(400)
        with pytest.raises(ModelHTTPError):
            ask(Endpoint("google-cloud:gemini-loopback", service.base_url, api_key))
        assert credentials(service.requests[0]) == {api_key or providers.NO_KEY}
        assert "canary" not in everything_sent(service.requests[0])


@pytest.mark.parametrize("name", ["llama3.2", "llama3.2:3b", "org/model:free", "test", "gpt-5.2"])
def test_a_name_without_a_prefix_is_an_openai_chat_endpoint(name: str) -> None:
    """clause: MODEL-ENDPOINT"""
    with Provider("openai_chat") as service:
        service.say(text="Hello")
        spec = Endpoint(name, service.base_url)
        assert isinstance(build(spec), OpenAIChatModel)
        assert ask(spec).text == "Hello"
        assert service.bodies[0]["model"] == name


def test_a_prefix_means_the_same_in_a_name_and_in_an_endpoint() -> None:
    assert isinstance(build(Endpoint("openai:gpt-5.2", "http://127.0.0.1:9/v1")), OpenAIResponsesModel)


def test_an_endpoint_of_a_name_alone_is_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert isinstance(build(Endpoint("openai:gpt-5.2")), OpenAIResponsesModel)
    assert isinstance(build(Endpoint("gpt-5.2")), OpenAIChatModel)
    assert "Unknown model" in refusal(Endpoint("opnai:gpt-5.2"))


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [
        ("", "http or https"),
        ("127.0.0.1:11434/v1", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("http://", "http or https"),
        ("http://host/v1\n", "http or https"),
        ("http://host:port/v1", "not a URL"),
        ("http://[::1/v1", "not a URL"),
        ("http://user:canary-password@host/v1", "user name or a password"),
        ("http://host/v1?key=canary-key", "query"),
        ("http://host/v1#canary", "query"),
    ],
)
def test_a_base_url_that_is_no_plain_address_is_refused_and_not_repeated(base_url: str, reason: str) -> None:
    """clause: MODEL-BASE-URL"""
    text = refusal(Endpoint("gpt-5.2", base_url, KEY))
    assert reason in text
    assert "canary" not in text
    assert KEY not in text


@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:9/v1"])
@pytest.mark.parametrize("tail", ["\n", "\r\nX-Evil: 1", " ", "\x7f", "\u00e9", "\ud800"])
def test_a_key_that_fits_no_header_is_refused_and_not_repeated(base_url: str | None, tail: str) -> None:
    """clause: MODEL-KEY"""
    text = refusal(Endpoint("openai:gpt-5.2", base_url, KEY + tail))
    assert "no header may hold" in text
    assert KEY not in text


@pytest.mark.usefixtures("canaries")
@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:9/v1"])
def test_an_empty_key_is_refused_rather_than_replaced_by_that_of_the_environment(
    base_url: str | None,
) -> None:
    assert "empty" in refusal(Endpoint("openai:gpt-5.2", base_url, ""))


@pytest.mark.parametrize(("name", "variable"), [("openai:x", "OPENAI_API_KEY"), ("anthropic:x", "ANTHROPIC_API_KEY")])
def test_a_key_of_the_environment_with_a_line_break_is_refused_and_not_repeated(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"{KEY}\n")
    text = refusal(name)
    assert "environment" in text
    assert KEY not in text


def test_a_provider_that_cannot_be_cut_off_from_the_environment_takes_no_base_url() -> None:
    assert "use openai-chat:" in refusal(Endpoint("system-one:x", "http://127.0.0.1:9", KEY))
    assert "leave out gateway/" in refusal(Endpoint("gateway/openai:x", "http://127.0.0.1:9", KEY))


def test_azure_takes_its_v1_address_only() -> None:
    assert "/openai/v1" in refusal(Endpoint("azure:gpt-5.2", "https://resource.openai.azure.com", KEY))


def test_the_failure_of_a_client_is_told_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1")
    text = refusal(Endpoint("openai:gpt-5.2", api_key=KEY))
    assert "cannot be made" in text
    assert KEY not in text


def test_labels_and_representations_hold_no_key() -> None:
    endpoint = Endpoint("openai:gpt-5.2", "http://user:secret@host/v1", KEY)
    assert model_label(endpoint) == "openai:gpt-5.2"
    assert model_label("openai:gpt-5.2") == "openai:gpt-5.2"
    assert KEY not in repr(endpoint)


# --- on the wire


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
def test_a_failed_request_is_made_once(interface: Interface, stream: bool, status: int) -> None:
    """clause: MODEL-SETTINGS"""
    with Provider(interface) as service:
        service.fail(status, headers={"retry-after": "0"}, times=3)
        with pytest.raises(ModelHTTPError) as caught:
            ask(at(service), stream=stream)
        assert caught.value.status_code == status
        assert len(service.requests) == 1


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_connection_is_not_opened_again(interface: Interface, stream: bool) -> None:
    with Provider(interface) as service:
        service.cut(before="headers", times=3)
        with pytest.raises(ModelAPIError):
            ask(at(service), stream=stream)
        assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("interface", "prefix"), [("openai_chat", "OPENAI"), ("anthropic", "ANTHROPIC"), ("google", "GOOGLE")]
)
def test_a_plain_name_makes_one_request_too(interface: Interface, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Provider(interface) as service:
        service.fail(500, times=3)
        monkeypatch.setenv(f"{prefix}_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL" if prefix == "GOOGLE" else f"{prefix}_BASE_URL", service.base_url)
        with pytest.raises(ModelHTTPError):
            ask(NAMES[interface])
        assert len(service.requests) == 1


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_to_another_host_is_not_followed(interface: Interface, stream: bool, status: int) -> None:
    """clause: MODEL-HTTP"""
    with Provider(interface) as service, Provider(interface) as elsewhere:
        elsewhere.respond(lambda _: pytest.fail("the redirect was followed"))
        location = elsewhere.origin.replace("127.0.0.1", "localhost")
        service.fail(status, headers={"location": location})
        with pytest.raises(ModelAPIError):
            ask(at(service), stream=stream)
        assert len(service.requests) == 1
        assert elsewhere.requests == []


def test_a_loopback_endpoint_is_reached_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Provider("openai_chat") as proxy, Provider("openai_chat") as service:
        service.say(text="Hello")
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        assert ask(at(service)).text == "Hello"
        assert proxy.requests == []


def test_another_endpoint_is_reached_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Provider("openai_chat") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        with pytest.raises(ModelHTTPError):
            ask(Endpoint("gpt-5.2", "http://models.invalid/v1", KEY))
        assert proxy.requests[0].headers["host"] == "models.invalid"


def test_no_connection_is_waited_for_longer_than_its_own_timeout() -> None:
    """One number for all time-outs, as an SDK or the settings give it, does not reach the connection."""
    seen: list[dict[str, float | None]] = []

    async def record(request: Any) -> None:
        seen.append(request.extensions["timeout"])

    async def main(service: Provider) -> None:
        factory = ModelFactory()
        model = factory.lease().build(at(service))
        http: Any = cast(Any, model).client._api_client._async_httpx_client
        http.event_hooks["request"].append(record)
        await question(model, settings=ModelSettings(timeout=1000))
        await factory.aclose()

    with Provider("google") as service:
        service.say(text="Hello")
        anyio.run(main, service)
    assert seen[0]["read"] == 1000
    assert seen[0]["connect"] == http.CONNECT_TIMEOUT_S


# --- the size of an answer


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_gzip_bomb_is_a_broken_answer(interface: Interface, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: MODEL-BOUNDS"""
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1_000_000)
    monkeypatch.setattr(http, "MAX_STREAM_BYTES", 4_000_000)
    with Provider(interface) as service:
        service.gzip_bomb(10_000_000)
        with pytest.raises(ModelAPIError) as caught:
            ask(at(service), stream=stream)
        assert not isinstance(caught.value, ModelHTTPError)
        assert len(service.requests) == 1


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("stream", [False, True])
def test_an_endless_answer_is_a_broken_one(interface: Interface, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: MODEL-BOUNDS"""
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1_000_000)
    monkeypatch.setattr(http, "MAX_STREAM_BYTES", 4_000_000)
    with Provider(interface) as service:
        service.endless()
        with pytest.raises(ModelAPIError) as caught:
            ask(at(service), stream=stream)
        assert not isinstance(caught.value, ModelHTTPError)
        service.requests[0].wait_finished()


def test_an_answer_of_empty_members_is_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """They inflate to nothing, and could go on for ever. clause: MODEL-BOUNDS"""
    members = gzip.compress(b"") * 1000
    monkeypatch.setattr(http, "MAX_STREAM_BYTES", len(members))
    for count, whole in ((1000, True), (1001, False)):
        body = http._BoundedBody(  # pyright: ignore[reportPrivateUsage]
            httpx2.ByteStream(gzip.compress(b"") * count), REQUEST, compressed=True, events=True
        )
        with nullcontext() if whole else pytest.raises(httpx2.RemoteProtocolError):
            anyio.run(_drain, body)


REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1")


async def _drain(body: httpx2.AsyncByteStream) -> None:
    async for piece in body:
        assert not piece


def test_a_stream_may_be_longer_than_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 100_000)
    with Provider("openai_chat") as service:
        service.say(chunks=["word "] * 1000)
        assert ask(at(service), stream=True).text == "word " * 1000
        service.say(text="word " * 200_000)
        with pytest.raises(ModelAPIError):
            ask(at(service), stream=True)


COMPLETION = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello " * 999}}],
    }
).encode()


@pytest.mark.parametrize(
    "body",
    [gzip.compress(COMPLETION), gzip.compress(COMPLETION[:100]) + gzip.compress(COMPLETION[100:])],
    ids=["one member", "two members"],
)
def test_a_compressed_answer_is_read(body: bytes) -> None:
    with Provider("openai_chat") as service:
        service.fail(200, headers={"content-type": "application/json", "content-encoding": "gzip"}, body=body)
        assert ask(at(service)).text == "Hello " * 999


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(COMPLETION)[:-9]),
        ("gzip", COMPLETION),
        ("br", COMPLETION),
    ],
    ids=["cut off", "not compressed", "an encoding not asked for"],
)
def test_a_badly_compressed_answer_is_a_broken_one(encoding: str, body: bytes) -> None:
    with Provider("openai_chat") as service:
        service.fail(200, headers={"content-type": "application/json", "content-encoding": encoding}, body=body)
        with pytest.raises(ModelAPIError) as caught:
            ask(at(service))
        assert not isinstance(caught.value, ModelHTTPError)


# --- sharing and closing


def client_of(model: Model) -> Any:
    return cast(Any, model).client


ENDPOINT = Endpoint("openai-chat:one", "http://127.0.0.1:9/v1", KEY)


def test_ten_thousand_equal_specs_are_one_model() -> None:
    factory = ModelFactory()
    first = factory.lease().build(ENDPOINT)
    specs = (Endpoint(ENDPOINT.name, ENDPOINT.base_url, ENDPOINT.api_key) for _ in range(10_000))
    assert all(factory.lease().build(spec) is first for spec in specs)


def test_models_of_one_place_share_a_client_and_others_do_not() -> None:
    factory = ModelFactory()
    one = factory.lease().build(ENDPOINT)
    two = factory.lease().build(Endpoint("openai-chat:two", ENDPOINT.base_url, KEY))
    other_key = factory.lease().build(Endpoint("openai-chat:one", ENDPOINT.base_url, f"{KEY}-other"))
    assert one is not two
    assert client_of(one) is client_of(two)
    assert client_of(one) is not client_of(other_key)
    assert client_of(other_key).api_key == f"{KEY}-other"


def test_threads_that_build_the_same_model_get_the_same() -> None:
    factory = ModelFactory()
    together = threading.Barrier(4)
    built: list[Model] = []

    def work() -> None:
        together.wait(10)
        built.append(factory.lease().build(ENDPOINT))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(built) == 4
    assert all(model is built[0] for model in built)


def test_a_model_that_cannot_be_built_leaves_the_factory_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    factory = ModelFactory()
    with pytest.raises(UnusableModel):
        factory.lease().build("openai:gpt-5.2")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert isinstance(factory.lease().build("openai:gpt-5.2"), OpenAIResponsesModel)


@pytest.mark.parametrize("name", ["openai-chat:one", "anthropic:one"])
def test_a_client_is_closed_with_the_last_lease_on_it_and_no_other(name: str) -> None:
    async def main() -> None:
        factory = ModelFactory()
        first, second, other = factory.lease(), factory.lease(), factory.lease()
        model = first.build(Endpoint(name, ENDPOINT.base_url, KEY))
        first.build(Endpoint(name, ENDPOINT.base_url, KEY))
        second.build(Endpoint(f"{name}-more", ENDPOINT.base_url, KEY))
        elsewhere = other.build(Endpoint(name, ENDPOINT.base_url, f"{KEY}-other"))
        await first.end()
        assert not client_of(model).is_closed()
        await second.end()
        assert client_of(model).is_closed()
        assert not client_of(elsewhere).is_closed()
        await factory.aclose()
        assert client_of(elsewhere).is_closed()

    anyio.run(main)


def test_a_client_that_a_provider_made_for_itself_is_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of Groq and Cohere do, which take none of our kind."""
    provider = OpenAIProvider(api_key=KEY)
    monkeypatch.setattr(models, "build_provider", MagicMock(return_value=provider))

    async def main() -> None:
        lease = ModelFactory().lease()
        model = lease.build(ENDPOINT)
        assert not client_of(model).is_closed()
        await lease.end()
        assert client_of(model).is_closed()

    anyio.run(main)


def test_a_lease_ends_once() -> None:
    async def main() -> None:
        factory = ModelFactory()
        one, other = factory.lease(), factory.lease()
        one.build(ENDPOINT)
        model = other.build(ENDPOINT)
        await one.end()
        await one.end()
        assert not client_of(model).is_closed()
        await other.end()
        assert client_of(model).is_closed()

    anyio.run(main)


def test_a_model_that_was_given_back_can_be_built_again() -> None:
    async def main() -> None:
        factory = ModelFactory()
        lease = factory.lease()
        lease.build(ENDPOINT)
        await lease.end()
        assert not client_of(lease.build(ENDPOINT)).is_closed()
        await factory.aclose()

    anyio.run(main)


@pytest.mark.parametrize("fault", [ImportError, RuntimeError])
def test_a_model_that_cannot_be_built_holds_no_client_open(
    monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    def fail(*_: object) -> Model:
        raise fault("not this one")

    async def main() -> None:
        factory = ModelFactory()
        lease, failing = factory.lease(), factory.lease()
        model = lease.build(ENDPOINT)
        monkeypatch.setattr(models, "infer_model", fail)
        with pytest.raises(UnusableModel if fault is ImportError else fault):
            failing.build(Endpoint("openai-chat:two", ENDPOINT.base_url, KEY))
        await lease.end()
        assert client_of(model).is_closed()

    anyio.run(main)


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_agent_that_is_left_does_not_close_the_client_of_another(interface: Interface) -> None:
    async def main(service: Provider) -> None:
        factory = ModelFactory()
        model = factory.lease().build(at(service))
        async with Agent(model) as agent:
            assert (await agent.run("Hello?")).output == "Hello"
        connections = len(service.requests)
        assert (await Agent(model).run("Hello?")).output == "Hello"
        assert len(service.requests) == connections + 1
        if interface != "google":
            assert not client_of(model).is_closed()
        await factory.aclose()

    with Provider(interface) as service:
        service.say(text="Hello", times=2)
        anyio.run(main, service)


def test_closing_twice_does_nothing_more() -> None:
    async def main() -> None:
        factory = ModelFactory()
        model = factory.lease().build(ENDPOINT)
        await factory.aclose()
        await factory.aclose()
        assert client_of(model).is_closed()

    anyio.run(main)


def test_a_lease_that_ends_after_the_factory_was_closed_has_nothing_to_give_back() -> None:
    """The worker goes down, and then a run of it ends."""

    async def main() -> None:
        factory = ModelFactory()
        lease = factory.lease()
        await to_thread.run_sync(lease.build, Endpoint("m", "http://127.0.0.1:9/v1", KEY))
        await factory.aclose()
        await lease.end()

    anyio.run(main)


def test_all_clients_share_the_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def record(tls: ssl.SSLContext, base_url: str | None, read_timeout: float) -> Any:
        made.append(tls)
        return http.new_http_client(tls, base_url, read_timeout)

    monkeypatch.setattr(models, "new_http_client", record)
    factory = ModelFactory()
    built = [factory.lease().build(Endpoint("openai-chat:m", ENDPOINT.base_url, f"{KEY}{n}")) for n in range(20)]
    assert len(built) == 20
    assert len(made) == 20
    assert len({id(context) for context in made}) == 1
