"""Addresses that pydantic-ai fetches for a model: what a failure is understood as, and where it is blamed."""

import asyncio
import socket
import time
from typing import Any

import pytest
from pydantic_ai.exceptions import FallbackExceptionGroup
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    FileUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolReturnPart,
    UserPromptPart,
    VideoUrl,
)
from pydantic_ai.models import ModelRequestParameters, download_item
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider

from axon_port.agents.attachments import UnusableAttachment, attachment_failure, field_of
from axon_port.agents.failures import NotFetched, wire_error
from axon_port.agents.lines import Line, chain
from axon_port.wire.commands import RetryPolicy
from axon_port.wire.errors import WireError
from axon_port.worker.redaction import Redactor
from tests.kit.patience import in_time

from .stand_ins import Act, ToldModel, run_async
from .test_lines import Ear

THRICE = RetryPolicy(attempts=3, base_ms=0)
SECRET = "sig=sk-in-an-address"
PUBLIC = ImageUrl(f"http://1.1.1.1/a.png?{SECRET}")
"""An address that is fetched; the tests see to it that nobody is asked."""


def fetching(item: FileUrl) -> Act:
    """A model that needs what is there before it can be asked."""

    async def fetch() -> None:
        await download_item(item, data_format="bytes")

    return fetch


def asked(model: Any) -> ModelResponse:
    return run_async(lambda: model.request([], None, ModelRequestParameters()))


def line(model: Any, tap: Ear, *, idle: float | None = None) -> Line:
    return Line(model, tap, idle_timeout=idle, retry=THRICE)


def failure(model: ToldModel, *, streaming: bool = True, idle: float | None = None) -> Exception:
    with pytest.raises(Exception) as caught:
        asked(line(model, Ear(streaming=streaming), idle=idle))
    return caught.value


def seen(error: Exception) -> WireError:
    found = wire_error(error)
    assert found is not None
    return found


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is fetched goes to a proxy that is not there."""
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")


NEVER: list[tuple[FileUrl, str]] = [
    (ImageUrl("file:///etc/passwd"), "Only http:// and https://"),
    (ImageUrl("nonsense.png"), "Only http:// and https://"),
    (AudioUrl("http:///a.mp3"), "no hostname"),
    (DocumentUrl("http://127.0.0.1:1/a.pdf"), "private"),
    (DocumentUrl("http://169.254.169.254/a.pdf"), "metadata"),
    (DocumentUrl("http://[::1/a.pdf"), "Invalid IPv6"),
    (DocumentUrl("http://1.1.1.1:99999/a.pdf"), "Port"),
    (DocumentUrl(f"http://{'x' * 70}.com/a.pdf"), "too long"),
    (VideoUrl("https://youtu.be/abc"), "YouTube"),
]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("item", "told"), NEVER, ids=lambda value: str(getattr(value, "url", ""))[:30])
def test_an_address_that_cannot_be_fetched_is_the_commands_fault(item: FileUrl, told: str, streaming: bool) -> None:
    """clause: RUN-FETCH, ERR-RETRYABLE"""
    model = ToldModel([fetching(item)], ["never"])
    error = failure(model, streaming=streaming)
    assert isinstance(error, UnusableAttachment)
    assert error.attachment is item
    found = seen(error)
    assert (found.error_type, found.retryable, model.requests) == ("InvalidCommand", False, 1)
    assert told in found.message
    assert "force_download" not in found.message
    assert item.url not in found.message
    assert "`binary`" in found.message


def test_a_key_in_a_reason_that_was_cut_leaves_in_no_part() -> None:
    """clause: SEC-KEYS"""
    key = "sk-live-0123456789abcdef"
    error = failure(ToldModel([fetching(ImageUrl(f"{'x' * 474}{key}://a.png"))]))
    assert key[:8] in str(error)
    assert key[:8] not in Redactor({"SOME_API_KEY": key}).text(seen(error).message)


@pytest.mark.parametrize(
    "item", [DocumentUrl(f"http://example.com/x?{SECRET}"), AudioUrl("http://example.com/x", media_type="audio/odd")]
)
def test_what_has_no_form_is_the_commands_fault(item: FileUrl) -> None:
    """clause: RUN-FETCH"""

    async def formed() -> None:
        _ = item.format

    error = failure(ToldModel([formed]))
    assert isinstance(error, UnusableAttachment)
    assert error.attachment is item
    assert "media type" in error.message
    assert SECRET not in error.message


@pytest.mark.usefixtures("unreachable")
def test_an_address_that_was_not_reached_may_be_later_and_names_its_host() -> None:
    """clause: RUN-FETCH, MODEL-RETRY"""
    model = ToldModel(*([fetching(PUBLIC)] for _ in range(3)))
    error = failure(model)
    assert isinstance(error, NotFetched)
    found = seen(error)
    assert (found.error_type, found.retryable, model.requests) == ("ModelConnectionError", True, 3)
    assert {key: found.details[key] for key in ("model", "host")} == {"model": "told", "host": "1.1.1.1"}
    assert [each["error_type"] for each in found.details["attempts"]] == ["ModelConnectionError"] * 3
    assert found.message.startswith("what is at 1.1.1.1 could not be fetched, so told was not asked: ConnectError")
    assert SECRET not in str(found.details) + found.message


@pytest.mark.parametrize(("code", "kind"), [(socket.EAI_AGAIN, NotFetched), (socket.EAI_NONAME, UnusableAttachment)])
def test_a_name_that_nobody_knows_is_wrong_and_a_busy_name_server_is_not(
    code: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """clause: RUN-FETCH"""

    def unresolved(*_: Any) -> None:
        raise socket.gaierror(code, "no")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    assert isinstance(failure(ToldModel(*([fetching(ImageUrl("http://example.com/a.png"))] for _ in range(3)))), kind)


def test_silence_while_an_address_is_fetched_is_not_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: RUN-FETCH"""

    fetched: list[None] = []

    def silent(limit_ms: int) -> Exception | None:
        def slow(*_: Any) -> Any:
            fetched.append(None)
            time.sleep(limit_ms / 1000 + 0.1)
            return [(0, 0, 0, "", ("1.1.1.1", 0))]

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        model = ToldModel(*([fetching(ImageUrl("http://example.com/a.png"))] for _ in range(3)))
        error = failure(model, idle=limit_ms / 1000)
        # On a slow machine the limit was over before the address was asked for.
        return error if fetched else None

    error = in_time(silent)
    assert isinstance(error, NotFetched)
    assert "example.com" in str(error)
    assert "took too long" in str(error)


def test_another_model_is_not_tried_with_an_address_that_cannot_be_fetched() -> None:
    """clause: RUN-FETCH"""
    tap, second = Ear(), ToldModel(["never"])
    models = [line(ToldModel([fetching(ImageUrl("file:///a.png"))]), tap), line(second, tap)]
    with pytest.raises(UnusableAttachment):
        asked(chain(models, tap))
    assert second.requests == 0


@pytest.mark.usefixtures("unreachable")
def test_another_model_is_tried_where_an_address_was_not_reached() -> None:
    """It may take the address as it is. clause: RUN-FETCH, MODEL-LIST"""
    tap = Ear()
    models = [line(ToldModel(*([fetching(PUBLIC)] for _ in range(3))), tap), line(ToldModel(["fine"]), tap)]
    assert [part for part in asked(chain(models, tap)).parts if isinstance(part, TextPart)] == [TextPart("fine")]


@pytest.mark.usefixtures("unreachable")
def test_the_last_of_all_that_was_not_fetched_is_told_as_such() -> None:
    """clause: RUN-FETCH, MODEL-ATTEMPTS"""
    tap = Ear()
    models = [line(ToldModel(*([fetching(PUBLIC)] for _ in range(3))), tap) for _ in range(2)]
    with pytest.raises(FallbackExceptionGroup) as caught:
        asked(chain(models, tap))
    found = seen(caught.value)
    assert (found.error_type, found.details["host"], len(found.details["attempts"])) == (
        "ModelConnectionError", "1.1.1.1", 6,
    )  # fmt: skip


def test_counting_tokens_fetches_too() -> None:
    """clause: RUN-FETCH"""
    model = GoogleModel("gemini-x", provider=GoogleProvider(api_key="sk-no-key-at-all", base_url="http://127.0.0.1:1"))
    messages: list[ModelMessage] = [ModelRequest([UserPromptPart([ImageUrl("file:///a.png")])])]
    with pytest.raises(UnusableAttachment):
        run_async(lambda: line(model, Ear()).count_tokens(messages, None, ModelRequestParameters()))
    with pytest.raises(WireError, match="cannot count tokens"):
        run_async(lambda: line(ToldModel(), Ear()).count_tokens([], None, ModelRequestParameters()))


@pytest.mark.parametrize("error", [ValueError("no"), OSError("no"), asyncio.CancelledError(), KeyError("no")])
def test_what_was_raised_elsewhere_is_not_about_an_attachment(error: BaseException) -> None:
    with pytest.raises(BaseException) as caught:
        raise error
    assert attachment_failure(caught.value, "m") is None


def test_a_fault_inside_a_fetch_that_no_address_explains_is_not_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(socket, "getaddrinfo", broken)
    error = failure(ToldModel(*([fetching(ImageUrl("http://example.com/a.png"))] for _ in range(3))))
    assert str(error) == "the answer of told could not be read: RuntimeError"


PICTURE, PAPER, SOUND = ImageUrl("http://x/a.png"), DocumentUrl("http://x/a.pdf"), BinaryContent(b"a", media_type="a/b")
GIVEN: list[tuple[tuple[str, ...], Any]] = [
    (("prompt",), ["look", SOUND]),
    (
        ("message_history",),
        [
            ModelRequest([UserPromptPart("go")]),
            ModelRequest([UserPromptPart("go"), ToolReturnPart("f", {"pictures": [PICTURE]})]),
        ],
    ),
    (("enqueue", "prompt"), [PAPER]),
]


@pytest.mark.parametrize(
    ("attachment", "place"),
    [
        (SOUND, ("prompt", 1, "media_type")),
        (PICTURE, ("message_history", 1, "parts", 1, "content", "pictures", 0, "url")),
        (PAPER, ("enqueue", "prompt", 0, "url")),
        (ImageUrl("http://x/b.png"), None),
    ],
)
def test_an_attachment_is_found_where_it_stands(attachment: Any, place: Any) -> None:
    assert field_of(attachment, GIVEN) == place
