"""The loopback providers, asked by pydantic-ai's real clients: what comes back, and what went over HTTP.

It is also the record of how those clients behave on each fault: the worker's errors are built on that.
"""

import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx2
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelTimeoutError,
    UnexpectedModelBehavior,
)
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ThinkingPart
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from tests.kit.providers import INTERFACES, Answer, GarbageKind, Interface, Provider, Usage, html_page

T = TypeVar("T")

PLAIN, STREAMED = False, True
ONCE = ModelSettings(max_retries=0, max_tokens=1024)
"""One attempt, and few enough tokens that Anthropic's client does not stream a plain request."""

MODELS: dict[Interface, str] = {
    "openai_chat": "gpt-5.2",
    "openai_responses": "gpt-5.2",
    "anthropic": "claude-opus-5",
    "google": "gemini-3-flash-preview",
}

each_interface = pytest.mark.parametrize("interface", INTERFACES)
each_mode = pytest.mark.parametrize("streamed", [PLAIN, STREAMED], ids=["plain", "streamed"])


class City(BaseModel):
    name: str
    people: int


def model_for(server: Provider) -> Model[Any]:
    name, url, key = MODELS[server.interface], server.base_url, server.api_key
    match server.interface:
        case "openai_chat":
            return OpenAIChatModel(name, provider=OpenAIProvider(base_url=url, api_key=key))
        case "openai_responses":
            return OpenAIResponsesModel(name, provider=OpenAIProvider(base_url=url, api_key=key))
        case "anthropic":
            return AnthropicModel(name, provider=AnthropicProvider(base_url=url, api_key=key))
        case "google":
            return GoogleModel(name, provider=GoogleProvider(base_url=url, api_key=key))


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Runs a coroutine on a loop of its own, and not for ever."""

    async def bounded() -> T:
        with anyio.fail_after(30):
            return await main()

    return anyio.run(bounded)


def ask(server: Provider, streamed: bool, settings: ModelSettings = ONCE) -> ModelResponse:
    """One request to the server's model, and its response."""
    prompt: list[ModelMessage] = [ModelRequest.user_text_prompt("Hi")]

    async def main() -> ModelResponse:
        async with model_for(server) as model:
            if not streamed:
                return await model_request(model, prompt, model_settings=settings)
            async with model_request_stream(model, prompt, model_settings=settings) as response:
                async for _ in response:
                    pass
                return response.get()

    return run(main)


def run_agent(agent: Agent[None, Any], streamed: bool) -> Any:
    """A whole run, with tools and retries; its output."""

    async def main() -> Any:
        async with agent:
            if not streamed:
                return (await agent.run("Hi")).output
            async with agent.iter("Hi") as run_:
                async for node in run_:
                    if Agent.is_model_request_node(node):
                        async with node.stream(run_.ctx) as stream:
                            async for _ in stream:
                                pass
            assert run_.result is not None
            return run_.result.output

    return run(main)


def text_of(response: ModelResponse) -> str:
    return "".join(part.content for part in response.parts if isinstance(part, TextPart))


def reported(response: ModelResponse) -> object:
    """The finish reason in the provider's own words."""
    return (response.provider_details or {}).get("finish_reason")


# --- answers


@each_mode
@each_interface
def test_an_answer_comes_back_with_its_text_its_finish_and_its_usage(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.say(chunks=["Guten ", "Tag, ", "Żółw ☃"])
        response = ask(server, streamed)
    assert text_of(response) == "Guten Tag, Żółw ☃"
    assert (response.finish_reason, response.state) == ("stop", "complete")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (11, 7)
    assert response.model_name == MODELS[interface]
    assert response.provider_response_id


@each_mode
@each_interface
def test_the_request_goes_to_the_right_path_with_the_key_and_says_whether_to_stream(
    interface: Interface, streamed: bool
) -> None:
    with Provider(interface, api_key="sk-of-this-endpoint") as server:
        server.say()
        ask(server, streamed)
        (request,) = server.requests
    method = "streamGenerateContent" if streamed else "generateContent"
    path, header, value = {
        "openai_chat": ("/v1/chat/completions", "authorization", "Bearer sk-of-this-endpoint"),
        "openai_responses": ("/v1/responses", "authorization", "Bearer sk-of-this-endpoint"),
        "anthropic": ("/v1/messages", "authorization", "Bearer sk-of-this-endpoint"),
        "google": (f"/v1/models/{MODELS['google']}:{method}", "x-goog-api-key", "sk-of-this-endpoint"),
    }[interface]
    assert (request.method, request.path, request.headers[header]) == ("POST", path, value)
    if interface != "google":
        assert request.json["model"] == MODELS[interface]
        assert bool(request.json.get("stream")) is streamed


@each_interface
def test_a_stream_arrives_in_the_chunks_that_were_said(interface: Interface) -> None:
    seen: list[str] = []

    async def main() -> None:
        prompt: list[ModelMessage] = [ModelRequest.user_text_prompt("Hi")]
        async with (
            model_for(server) as model,
            model_request_stream(model, prompt, model_settings=ONCE) as response,
        ):
            async for _ in response:
                text = text_of(response.get())
                if text and (not seen or seen[-1] != text):
                    seen.append(text)

    with Provider(interface) as server:
        server.say(chunks=["one ", "two ", "three"])
        run(main)
    assert seen == ["one ", "one two ", "one two three"]


@each_mode
@each_interface
def test_thinking_comes_before_the_text(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.say(thinking="Let me see: 42?", text="42")
        response = ask(server, streamed)
    thinking, text = response.parts
    assert isinstance(thinking, ThinkingPart)
    assert isinstance(text, TextPart)
    assert (thinking.content, text.content) == ("Let me see: 42?", "42")


@each_mode
@each_interface
def test_parallel_tool_calls_in_two_rounds_are_answered_over_http(interface: Interface, streamed: bool) -> None:
    called: list[tuple[str, int]] = []

    def double(n: int) -> int:
        """Doubles n."""
        called.append(("double", n))
        return 2 * n

    def negate(n: int) -> int:
        """Negates n."""
        called.append(("negate", n))
        return -n

    with Provider(interface) as server:
        server.say(
            text="Both.",
            tool_calls=[{"name": "double", "args": {"n": 21}}, {"name": "negate", "args": {"n": 8}}],
        )
        server.say(tool_calls=[{"name": "double", "args": {"n": 42}}, {"name": "double", "args": {"n": 1000}}])
        server.say(text="Done")
        agent = Agent(model_for(server), tools=[double, negate], model_settings=ONCE)
        assert run_agent(agent, streamed) == "Done"
        server.assert_drained()
        second, third = (str(body) for body in server.bodies[1:])
    assert sorted(called) == [("double", 21), ("double", 42), ("double", 1000), ("negate", 8)]
    assert all(returned in second for returned in ("42", "-8"))
    assert all(returned in third for returned in ("84", "2000"))
    prefix = {"openai_chat": "call_", "openai_responses": "call_", "anthropic": "toolu_", "google": "fn"}
    assert third.count(f"{prefix[interface]}00000001{0:016d}") == 2, "the call and its return carry its id"


@each_mode
@pytest.mark.parametrize("interface", ["openai_chat", "openai_responses"])
def test_arguments_that_are_no_json_go_out_as_they_are(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.say(tool_calls=[{"name": "lookup", "args": '{"q": nonsense'}])
        response = ask(server, streamed)
    assert [call.args for call in response.tool_calls] == ['{"q": nonsense']


@each_mode
@pytest.mark.parametrize("mode", [ToolOutput, NativeOutput, PromptedOutput])
@each_interface
def test_a_structured_result_is_said_in_the_mode_that_the_request_asks_for(
    interface: Interface, mode: Callable[[type[City]], Any], streamed: bool
) -> None:
    with Provider(interface) as server:
        server.say(output={"name": "Łódź", "people": 670000})
        agent: Agent[None, Any] = Agent(model_for(server), output_type=mode(City), model_settings=ONCE)
        assert run_agent(agent, streamed) == City(name="Łódź", people=670000)
        (body,) = server.bodies
    assert ("final_result" in str(body.get("tools"))) is (mode is ToolOutput)
    asked = {
        "openai_chat": "response_format",
        "openai_responses": "text",
        "anthropic": "output_config",
        "google": "generationConfig",
    }[interface]
    assert ("people" in str(body.get(asked))) is (mode is NativeOutput)


@each_mode
@each_interface
def test_cached_and_reasoning_tokens_are_counted(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.say(usage=Usage(input=100, output=50, cached=40, reasoning=20))
        usage = ask(server, streamed).usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (100, 50, 40)
    thoughts = {"anthropic": None, "google": "thoughts_tokens"}.get(interface, "reasoning_tokens")
    assert thoughts is None or usage.details[thoughts] == 20


@each_mode
@pytest.mark.parametrize("interface", ["openai_chat", "openai_responses", "google"])
def test_an_answer_without_usage_is_an_unmeasured_request(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.say(usage=None)
        usage = ask(server, streamed).usage
    assert (usage.input_tokens, usage.output_tokens, usage.unmeasured_requests) == (0, 0, 1)


@each_mode
@pytest.mark.parametrize("finish", ["length", "content_filter"])
@each_interface
def test_an_answer_that_was_stopped_says_so(interface: Interface, finish: Any, streamed: bool) -> None:
    with Provider(interface) as server:
        server.say(text="As far as it", finish=finish)
        response = ask(server, streamed)
    assert (text_of(response), response.finish_reason) == ("As far as it", finish)


@each_mode
@each_interface
def test_a_filtered_answer_is_an_error_of_the_run_only_where_it_is_empty(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.say(text="half", finish="content_filter")
        server.say(text="", finish="content_filter")
        assert run_agent(Agent(model_for(server), model_settings=ONCE), streamed) == "half"
        with pytest.raises(ContentFilterError):
            run_agent(Agent(model_for(server), model_settings=ONCE), streamed)


# --- HTTP errors


@each_mode
@pytest.mark.parametrize(
    ("status", "category"),
    [
        (400, "ModelRequestRejectedError"),
        (401, "ModelAuthenticationError"),
        (403, "ModelAuthenticationError"),
        (404, "ModelNotFoundError"),
        (408, "ModelHTTPError"),
        (409, "ModelHTTPError"),
        (413, "ModelHTTPError"),
        (429, "ModelRateLimitError"),
        (500, "ModelServerError"),
        (503, "ModelUnavailableError"),
        (529, "ModelOverloadedError"),
    ],
)
@each_interface
def test_every_error_status_is_a_model_http_error(
    interface: Interface, status: int, category: str, streamed: bool
) -> None:
    with Provider(interface) as server:
        server.fail(status)
        with pytest.raises(ModelHTTPError) as caught:
            ask(server, streamed)
        assert len(server.requests) == 1
    error = caught.value
    assert (error.status_code, type(error).__name__, error.in_stream) == (status, category, False)
    assert error.retry_after is None


@each_mode
@each_interface
def test_retry_after_is_read_in_both_of_its_forms(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.fail(429, headers={"retry-after": "2"})
        server.fail(503, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})
        with pytest.raises(ModelHTTPError) as seconds:
            ask(server, streamed)
        with pytest.raises(ModelHTTPError) as date:
            ask(server, streamed)
    assert seconds.value.retry_after == 2.0
    assert date.value.retry_after is not None
    assert date.value.retry_after > 0


@each_mode
@each_interface
def test_a_401_that_echoes_the_key_puts_it_into_text_and_body_of_the_error(
    interface: Interface, streamed: bool
) -> None:
    with Provider(interface, api_key="sk-canary-0123456789") as server:
        server.fail(401, echo_key=True)
        with pytest.raises(ModelHTTPError) as caught:
            ask(server, streamed)
    error = caught.value
    assert all("sk-canary-0123456789" in text for text in (str(error), str(error.body), str(error.__cause__)))


@each_mode
@each_interface
def test_an_error_page_of_5_mb_is_in_the_error_as_a_whole(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.fail(502, body=html_page(5_000_000))
        with pytest.raises(ModelHTTPError) as caught:
            ask(server, streamed)
    assert caught.value.status_code == 502
    assert len(str(caught.value)) > 5_000_000


@pytest.mark.parametrize("after", [0, 3])
@each_interface
def test_an_error_inside_a_stream_has_the_status_that_it_would_have_had_before(
    interface: Interface, after: int
) -> None:
    with Provider(interface) as server:
        server.fail(429, after=after)
        with pytest.raises(ModelHTTPError) as caught:
            ask(server, STREAMED)
    assert (caught.value.status_code, caught.value.in_stream) == (429, True)


@each_mode
@each_interface
def test_the_openai_and_anthropic_clients_retry_twice_unless_told_not_to(interface: Interface, streamed: bool) -> None:
    attempts = 1 if interface == "google" else 3
    with Provider(interface) as server:
        server.fail(500, headers={"retry-after-ms": "1"}, times=attempts)
        with pytest.raises(ModelHTTPError):
            ask(server, streamed, ModelSettings(max_tokens=1024))
        assert len(server.requests) == attempts
        server.fail(500)
        with pytest.raises(ModelHTTPError):
            ask(server, streamed, ONCE)
        assert len(server.requests) == attempts + 1


# --- connections that break


@each_mode
@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("before", ["headers", None])
@each_interface
def test_a_connection_that_breaks_is_a_connection_error_in_the_reading_phase(
    interface: Interface, before: Any, how: Any, streamed: bool
) -> None:
    with Provider(interface) as server:
        server.cut(before=before, how=how, after=3)
        with pytest.raises(ModelConnectionError) as caught:
            ask(server, streamed)
        assert len(server.requests) == 1
    assert caught.value.phase == "read"
    assert not isinstance(caught.value, ModelHTTPError)


@each_mode
@each_interface
def test_a_server_that_is_not_there_is_a_connection_error_in_the_connecting_phase(
    interface: Interface, streamed: bool
) -> None:
    with Provider(interface) as server:
        pass
    with pytest.raises(ModelConnectionError) as caught:
        ask(server, streamed)
    assert caught.value.phase == "connect"


@each_mode
@pytest.mark.parametrize("before", ["headers", None])
@each_interface
def test_a_silent_server_is_a_timeout_where_the_request_has_one(
    interface: Interface, before: Any, streamed: bool
) -> None:
    with Provider(interface) as server:
        server.stall(before=before, after=3)
        with pytest.raises(ModelTimeoutError):
            ask(server, streamed, ModelSettings(max_retries=0, max_tokens=1024, timeout=0.2))
        server.wait_for_request().wait_disconnected()


@each_mode
@pytest.mark.parametrize("before", ["headers", None])
@each_interface
def test_a_stalled_answer_goes_on_when_it_is_released(interface: Interface, before: Any, streamed: bool) -> None:
    with Provider(interface) as server, anyio.from_thread.start_blocking_portal() as portal:
        server.stall(before=before, after=3, text="late but whole")
        waiting = portal.start_task_soon(anyio.to_thread.run_sync, ask, server, streamed)
        server.wait_for_request().wait_stalled()
        assert not waiting.done()
        server.release()
        assert text_of(waiting.result(30)) == "late but whole"


@each_mode
@each_interface
def test_an_answer_that_trickles_is_whole_in_the_end(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.trickle(interval=0, text="Drop by drop ☂")
        assert text_of(ask(server, streamed)) == "Drop by drop ☂"


# --- answers that are none


@pytest.mark.parametrize(
    ("interface", "streamed", "finish", "state", "words"),
    [
        ("openai_chat", PLAIN, "stop", "complete", None),
        ("openai_chat", STREAMED, "stop", "complete", None),
        ("openai_responses", PLAIN, None, "incomplete", "in_progress"),
        ("openai_responses", STREAMED, None, "incomplete", None),
        ("anthropic", PLAIN, None, "complete", None),
        ("anthropic", STREAMED, None, "complete", None),
        ("google", PLAIN, None, "complete", None),
        ("google", STREAMED, None, "complete", None),
    ],
)
def test_an_answer_without_a_finish_raises_nothing_and_shows_only_in_the_providers_own_words(
    interface: Interface, streamed: bool, finish: str | None, state: str, words: str | None
) -> None:
    with Provider(interface) as server:
        server.no_finish(text="Half an ans")
        response = ask(server, streamed)
    assert text_of(response) == "Half an ans"
    assert (response.finish_reason, response.state, reported(response)) == (finish, state, words)


@each_interface
def test_a_stream_that_ends_within_a_tool_call_hands_out_the_call(interface: Interface) -> None:
    with Provider(interface) as server:
        server.no_finish(tool_calls=[{"name": "pay", "args": {"amount": 100}}])
        response = ask(server, STREAMED)
    assert [call.tool_name for call in response.tool_calls] == ["pay"]
    assert reported(response) is None


@each_interface
def test_a_missing_closing_mark_behind_the_finish_reason_is_not_noticed(interface: Interface) -> None:
    with Provider(interface) as server:
        server.no_finish(keep_reason=True)
        response = ask(server, STREAMED)
    assert (response.finish_reason, response.state) == ("stop", "complete")
    assert reported(response) is not None


@each_interface
def test_a_stream_that_ends_before_its_first_event_is_unexpected_behaviour(interface: Interface) -> None:
    with Provider(interface) as server:
        server.no_finish(after=0)
        with pytest.raises(UnexpectedModelBehavior):
            ask(server, STREAMED)


Outcome = type[Exception] | str
"""The exception that is raised, or the text of the response that comes back as if all were well."""

GARBAGE: list[tuple[GarbageKind, bool, dict[Interface, Outcome]]] = [
    ("json", PLAIN, dict.fromkeys(INTERFACES, ModelAPIError)),
    ("json", STREAMED, dict.fromkeys(INTERFACES, ModelAPIError)),
    ("utf8", PLAIN, {**dict.fromkeys(INTERFACES, ModelAPIError), "google": ""}),
    ("utf8", STREAMED, {**dict.fromkeys(INTERFACES, ModelAPIError), "google": "Hello fr"}),
    ("sse", PLAIN, dict.fromkeys(INTERFACES, ModelAPIError)),
    (
        "sse",
        STREAMED,
        {"openai_chat": "", "openai_responses": "", "anthropic": "", "google": ModelAPIError},
    ),
    ("empty", PLAIN, {**dict.fromkeys(INTERFACES, ModelAPIError), "google": ""}),
    ("empty", STREAMED, dict.fromkeys(INTERFACES, UnexpectedModelBehavior)),
    (
        "html",
        PLAIN,
        {**dict.fromkeys(INTERFACES, ModelAPIError), "openai_chat": UnexpectedModelBehavior},
    ),
    (
        "html",
        STREAMED,
        {**dict.fromkeys(INTERFACES, UnexpectedModelBehavior), "google": ModelAPIError},
    ),
    (
        "no_choices",
        PLAIN,
        {"openai_chat": IndexError, "openai_responses": "", "anthropic": "", "google": ""},
    ),
    ("no_choices", STREAMED, dict.fromkeys(INTERFACES, "")),
    (
        "shape",
        PLAIN,
        {
            "openai_chat": UnexpectedModelBehavior,
            "openai_responses": TypeError,
            "anthropic": TypeError,
            "google": "",
        },
    ),
    ("shape", STREAMED, {**dict.fromkeys(INTERFACES, ""), "google": "Hello fr"}),
]


@pytest.mark.parametrize(
    ("interface", "kind", "streamed", "outcome"),
    [
        pytest.param(interface, kind, streamed, outcomes[interface], id=f"{interface}-{kind}-{streamed}")
        for kind, streamed, outcomes in GARBAGE
        for interface in INTERFACES
    ],
)
def test_what_a_client_makes_of_garbage(
    interface: Interface, kind: GarbageKind, streamed: bool, outcome: Outcome
) -> None:
    with Provider(interface) as server:
        server.garbage(kind, after=1)
        if not isinstance(outcome, str):
            with pytest.raises(outcome) as caught:
                ask(server, streamed)
            assert not isinstance(caught.value, ModelHTTPError | ModelConnectionError)
            return
        assert text_of(ask(server, streamed)) == outcome


@each_mode
@each_interface
def test_a_small_answer_that_unpacks_to_a_big_one_is_unpacked(interface: Interface, streamed: bool) -> None:
    with Provider(interface) as server:
        server.gzip_bomb(1_000_000, text="small")
        if interface == "google" and streamed:
            # Its client takes a comment line of server-sent events for JSON, but it has unpacked it.
            with pytest.raises(ModelAPIError, match="Failed to decode"):
                ask(server, streamed)
            return
        assert text_of(ask(server, streamed)) == "small"


# --- streams that are left


def _leave_after_the_first_event(server: Provider) -> None:
    async def main() -> None:
        prompt: list[ModelMessage] = [ModelRequest.user_text_prompt("Hi")]
        async with model_for(server) as model:
            async with model_request_stream(model, prompt, model_settings=ONCE) as response:
                async for _ in response:
                    break
            await anyio.to_thread.run_sync(server.requests[0].wait_disconnected)

    run(main)


@pytest.mark.parametrize("interface", ["openai_chat", "openai_responses", "anthropic"])
def test_a_stream_left_between_two_events_closes_its_connection(interface: Interface) -> None:
    with Provider(interface) as server:
        server.stall(after=6)
        _leave_after_the_first_event(server)


def test_a_gemini_stream_left_between_two_events_stays_open_until_its_response_is_closed() -> None:
    opened: list[httpx2.Response] = []

    async def note(response: httpx2.Response) -> None:
        opened.append(response)

    async def main() -> None:
        prompt: list[ModelMessage] = [ModelRequest.user_text_prompt("Hi")]
        async with httpx2.AsyncClient(event_hooks={"response": [note]}) as client:
            provider = GoogleProvider(base_url=server.base_url, api_key=server.api_key, http_client=client)
            model = GoogleModel(MODELS["google"], provider=provider)
            async with model_request_stream(model, prompt, model_settings=ONCE) as response:
                async for _ in response:
                    break
                await response.cancel()
            assert not opened[0].is_closed
            await opened[0].aclose()
            await anyio.to_thread.run_sync(server.requests[0].wait_disconnected)

    with Provider("google") as server:
        server.stall(after=2)
        # A collection would close the response, and with it what is to be seen here.
        gc.disable()
        try:
            run(main)
        finally:
            gc.enable()


@each_interface
def test_a_stream_cancelled_while_it_waits_closes_its_connection(interface: Interface) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read_for_ever, server)
            request = await anyio.to_thread.run_sync(server.wait_for_request)
            await anyio.to_thread.run_sync(request.wait_stalled)
            tasks.cancel_scope.cancel()
        await anyio.to_thread.run_sync(server.requests[0].wait_disconnected)

    with Provider(interface) as server:
        server.stall(after=0)
        run(main)


async def _read_for_ever(server: Provider) -> None:
    prompt: list[ModelMessage] = [ModelRequest.user_text_prompt("Hi")]
    async with (
        model_for(server) as model,
        model_request_stream(model, prompt, model_settings=ONCE) as response,
    ):
        async for _ in response:
            pass


@pytest.mark.parametrize("interface", ["openai_chat", "openai_responses", "anthropic"])
def test_an_endless_stream_ends_with_its_client(interface: Interface) -> None:
    with Provider(interface) as server:
        server.endless()
        _leave_after_the_first_event(server)


# --- the kit itself


@pytest.mark.parametrize(
    ("interface", "name", "path"),
    [
        ("openai_chat", "openai-chat:m", "/v1"),
        ("openai_responses", "openai-responses:m", "/v1"),
        ("anthropic", "anthropic:m", ""),
        ("google", "google:m", ""),
    ],
)
def test_an_endpoint_has_the_prefix_and_the_url_form_of_its_interface(
    interface: Interface, name: str, path: str
) -> None:
    with Provider(interface, api_key="sk-x") as server:
        assert server.endpoint("m") == {
            "name": name,
            "base_url": f"{server.origin}{path}",
            "api_key": "sk-x",
        }


def test_a_request_for_which_nothing_is_queued_fails_the_test() -> None:
    server = Provider("anthropic").__enter__()
    with pytest.raises(ModelHTTPError) as caught:
        ask(server, PLAIN)
    assert caught.value.status_code == 400
    with pytest.raises(AssertionError, match="nothing was queued"):
        server.__exit__(None, None, None)


def test_a_failure_inside_the_server_fails_the_test() -> None:
    server = Provider("google").__enter__()
    server.say(tool_calls=[{"name": "lookup", "args": "text where an object is due"}])
    with pytest.raises(ModelConnectionError):
        ask(server, PLAIN)
    with pytest.raises(AssertionError, match="server failed"):
        server.__exit__(None, None, None)


def test_an_error_of_the_block_is_not_hidden_by_those_of_the_server() -> None:
    with pytest.raises(ModelHTTPError), Provider("anthropic") as server:
        ask(server, PLAIN)


def test_answers_that_were_not_asked_for_are_found() -> None:
    with Provider("openai_chat") as server:
        server.say(times=2)
        ask(server, PLAIN)
        with pytest.raises(AssertionError, match="1 answers"):
            server.assert_drained()


def test_a_function_answers_where_nothing_is_queued() -> None:
    with Provider("openai_chat") as server:
        server.say(text="queued")
        server.respond(lambda request: Answer(chunks=(request.json["messages"][0]["content"],)))
        assert [text_of(ask(server, PLAIN)) for _ in range(3)] == ["queued", "Hi", "Hi"]


def test_another_path_is_not_found() -> None:
    with Provider("anthropic") as server:
        with httpx2.Client() as client:
            assert client.post(f"{server.origin}/v2/messages", json={}).status_code == 404
            assert client.get(f"{server.origin}/v1/messages").status_code == 404
        assert [request.method for request in server.requests] == ["POST", "GET"]


def test_text_and_chunks_that_differ_are_refused() -> None:
    with Provider("openai_chat") as server, pytest.raises(ValueError, match="differ"):
        server.say(text="one", chunks=["two"])


def test_the_end_of_the_block_breaks_what_is_still_held() -> None:
    with Provider("openai_chat") as server:
        server.stall(before="headers")
        idle = socket.create_connection(("127.0.0.1", int(server.origin.rpartition(":")[2])), 10)
        with httpx2.Client() as client, anyio.from_thread.start_blocking_portal() as portal:
            waiting = portal.start_task_soon(_post, client, f"{server.base_url}/chat/completions")
            server.wait_for_request().wait_stalled()
            server.close()
            with pytest.raises(httpx2.TransportError):
                waiting.result(30)
        with idle:
            assert idle.recv(1) == b""


async def _post(client: httpx2.Client, url: str) -> httpx2.Response:
    return await anyio.to_thread.run_sync(lambda: client.post(url, json={"model": "m"}))
