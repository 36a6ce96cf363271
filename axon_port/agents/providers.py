"""Providers and their HTTP clients: what stands between a model and the network.

Owns every decision about credentials, retries, redirects, time-outs and the size of an answer. Knows
pydantic-ai and the providers' SDKs; knows nothing of frames, agents or runs.

Three rules hold for what is built here:

* an endpoint with a `base_url` is sent the key that stands beside it and no other secret, whatever the
  environment holds;
* an SDK makes one attempt for each request;
* the HTTP client belongs to whoever called, never to the provider, so that a run that ends cannot close it
  under another run.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httpx2
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model
from pydantic_ai.providers import Provider, infer_provider_class

__all__ = ("UnusableModel", "build_provider", "is_provider", "without_retries")

READ_TIMEOUT_S: Final = 600.0
"""Seconds without a byte from the provider, the backstop behind `idle_timeout_ms`.

Not a limit on the whole answer: each byte starts it anew. The SDKs' own default; the Anthropic SDK and
pydantic-ai compare with it before they decide to stream a long answer, so another value changes what is
requested. `model_settings.timeout` takes its place for a request.
"""

GOOGLE_READ_TIMEOUT_S: Final = 1200.0
"""As `READ_TIMEOUT_S`, for Gemini, which may decode for twenty minutes before the first byte of an answer."""

NO_KEY: Final = "no-key-given"
"""Sent where an SDK insists on a key and the endpoint was given none: public, and the same for everyone."""

_HEADER_SAFE: Final = re.compile(r"[\x21-\x7e]+")
"""What a key may consist of: anything else breaks the header, and the error would print the key."""

_ENV_NAME: Final = re.compile(r"`([A-Z][A-Z0-9_]{2,})`")


class UnusableModel(Exception):
    """The model cannot be built. The text tells a person what to do next and never holds a key."""


def is_provider(prefix: str) -> bool:
    """Whether pydantic-ai knows a provider of this name, installed or not."""
    try:
        infer_provider_class(prefix)
    except ValueError:
        return False
    except ImportError:
        return True
    return True


def build_provider(
    prefix: str, base_url: str | None, api_key: str | None, http_client: Callable[[float], httpx2.AsyncClient]
) -> Provider[Any]:
    """The provider of a known prefix, for the environment's settings or for those of an endpoint.

    With a `base_url` nothing secret comes from the environment. With an `api_key` alone it replaces the
    environment's key and the rest stays as usual, a base URL from the environment included.
    `http_client` makes a client with the read time-out it is given; it is called at most once.

    Raises:
        UnusableModel: the package or the key is missing, or the provider takes no such endpoint.
    """
    if api_key is not None:
        _check_key(api_key, "the api_key given")
    if base_url is not None:
        check_base_url(base_url)
    try:
        provider = _construct(prefix, base_url, api_key, http_client)
        _check_client_key(prefix, provider)
    except UnusableModel:
        raise
    except ImportError as error:
        raise UnusableModel(f"{prefix}: {error}") from error
    except UserError as error:
        raise UnusableModel(_what_to_set(prefix, str(error))) from error
    except Exception as error:
        # The SDKs raise types of their own for what they miss (ValueError, DefaultCredentialsError, …).
        text = str(error) if api_key is None else str(error).replace(api_key, "…")
        raise UnusableModel(f"{prefix}: the client of this provider cannot be made: {text}") from error
    for client in _sdk_clients(provider):
        client.max_retries = 0
    return provider


def without_retries(model: Model, provider: Provider[Any]) -> Model:
    """The model, or its like, with one attempt for each request, for SDKs whose client has no such switch."""
    if provider.name in ("cohere", "mistral"):
        return cast(Any, type(model))(model.model_name, provider=provider, settings={"max_retries": 0})
    if provider.name == "bedrock":
        # botocore decides on retries in a handler of this event.
        service = provider.client.meta.service_model.service_id.hyphenize()
        provider.client.meta.events.unregister(f"needs-retry.{service}", unique_id=f"retry-config-{service}")
    return model


def check_base_url(base_url: str) -> None:
    """Refuse a URL that is none, or that carries more than an address.

    Raises:
        UnusableModel: with the reason; the URL itself, which can hold a password, is not repeated.
    """
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UnusableModel("base_url is not a URL: give one like http://127.0.0.1:11434/v1") from error
    if parts.scheme not in ("http", "https") or not host or not _HEADER_SAFE.fullmatch(base_url):
        raise UnusableModel("base_url must be an http or https URL with a host, like http://127.0.0.1:11434/v1")
    if "@" in parts.netloc:
        raise UnusableModel("base_url must not hold a user name or a password: give the key as api_key")
    if parts.query or parts.fragment:
        raise UnusableModel("base_url must end with its path: give the key as api_key, not in a query")


# --- one provider


def _construct(
    prefix: str, base_url: str | None, api_key: str | None, http_client: Callable[[float], httpx2.AsyncClient]
) -> Provider[Any]:
    """Choose the way in which this provider takes its settings. Raises whatever the provider raises."""
    if prefix.startswith("gateway/"):
        return _gateway(prefix, base_url, api_key, http_client)
    provider_class = infer_provider_class(prefix)
    takes = inspect.signature(provider_class.__init__).parameters
    if base_url is not None:
        return _at_endpoint(prefix, provider_class, base_url, api_key or NO_KEY, http_client)
    settings: dict[str, Any] = {}
    if api_key is not None:
        settings[_key_parameter(prefix, takes)] = api_key
    if not takes.keys().isdisjoint(("openai_client", "anthropic_client", "mistral_client", "retry_options")):
        settings["http_client"] = http_client(_read_timeout(takes))
    return provider_class(**settings)


def _at_endpoint(
    prefix: str,
    provider_class: type[Provider[Any]],
    base_url: str,
    api_key: str,
    http_client: Callable[[float], httpx2.AsyncClient],
) -> Provider[Any]:
    """A provider at a base URL, on a client that was cut off from the environment or reads nothing there."""
    takes = inspect.signature(provider_class.__init__).parameters
    build = cast(Callable[..., Provider[Any]], provider_class)
    if prefix.startswith("azure") and not urlsplit(base_url).path.rstrip("/").endswith("/v1"):
        raise UnusableModel(
            f"{prefix}: give the v1 address of the resource as base_url (https://<resource>.openai.azure.com/openai/v1)"
        )
    if "openai_client" in takes:
        client = _closed_openai()(
            base_url=base_url, api_key=api_key, max_retries=0, http_client=http_client(READ_TIMEOUT_S)
        )
        return build(openai_client=client)
    if "anthropic_client" in takes:
        client = _closed_anthropic()(
            base_url=base_url, api_key=api_key, max_retries=0, http_client=http_client(READ_TIMEOUT_S)
        )
        return build(anthropic_client=client)
    if "retry_options" in takes:
        # google-genai: an explicit key keeps the SDK from the environment's keys and default credentials.
        return build(base_url=base_url, api_key=api_key, http_client=http_client(GOOGLE_READ_TIMEOUT_S))
    raise UnusableModel(
        f"{prefix}: the client of this provider cannot be given a base_url without credentials from the "
        "environment; for a compatible endpoint use openai-chat:, anthropic: or google: with the base_url"
    )


def _gateway(
    prefix: str,
    base_url: str | None,
    api_key: str | None,
    http_client: Callable[[float], httpx2.AsyncClient],
) -> Provider[Any]:
    """Pydantic's gateway, whose address belongs to it."""
    if base_url is not None:
        raise UnusableModel(f"{prefix}: takes no base_url; leave out gateway/ for an endpoint of your own")
    # Its overloads name types of SDKs that need not be installed.
    gateway = cast(Any, import_module("pydantic_ai.providers.gateway"))
    settings: dict[str, Any] = {} if api_key is None else {"api_key": api_key}
    upstream: str = gateway.normalize_gateway_provider(prefix)
    if upstream.startswith(("openai", "anthropic", "google")):
        settings["http_client"] = http_client(
            GOOGLE_READ_TIMEOUT_S if upstream.startswith("google") else READ_TIMEOUT_S
        )
    return gateway.gateway_provider(prefix.removeprefix("gateway/"), **settings)


def _key_parameter(prefix: str, takes: Mapping[str, inspect.Parameter]) -> str:
    """The name under which the provider takes its key."""
    for name in ("api_key", "token"):
        if name in takes:
            return name
    raise UnusableModel(f"{prefix}: takes no api_key: leave it out and set the provider up in the environment")


def _read_timeout(takes: Mapping[str, inspect.Parameter]) -> float:
    return GOOGLE_READ_TIMEOUT_S if "retry_options" in takes else READ_TIMEOUT_S


@cache
def _closed_openai() -> type[Any]:
    """AsyncOpenAI that takes nothing from the environment.

    A subclass, because the SDK copies a client through its class for a request with other options, and would
    read the environment again.
    """
    from openai import AsyncOpenAI

    class ClosedOpenAI(AsyncOpenAI):
        def __init__(self, *, default_headers: Mapping[str, str] | None = None, **options: Any) -> None:
            super().__init__(default_headers=default_headers, **options)
            self.organization = self.project = self.admin_api_key = self.webhook_secret = None
            # OPENAI_CUSTOM_HEADERS goes in here and can hold an Authorization of its own.
            self._custom_headers = default_headers or {}

    return ClosedOpenAI


@cache
def _closed_anthropic() -> type[Any]:
    """AsyncAnthropic that takes nothing from the environment; a subclass for the same reason."""
    from anthropic import AsyncAnthropic

    class ClosedAnthropic(AsyncAnthropic):
        def __init__(self, *, default_headers: Mapping[str, str] | None = None, **options: Any) -> None:
            super().__init__(default_headers=default_headers, **options)
            self.webhook_key = None
            # As above, for ANTHROPIC_CUSTOM_HEADERS.
            self._custom_headers = default_headers or {}

    return ClosedAnthropic


def _sdk_clients(provider: Provider[Any]) -> Iterator[Any]:
    """The clients of a provider that count attempts (OpenAI, Anthropic, Groq; Bedrock Mantle has two)."""
    for value in vars(provider).values():
        if isinstance(getattr(value, "max_retries", None), int):
            yield value


# --- keys and texts


def _check_key(key: str, which: str) -> None:
    if not key:
        raise UnusableModel(f"{which} is empty: leave api_key out where none is needed")
    if not _HEADER_SAFE.fullmatch(key):
        raise UnusableModel(f"{which} holds a character that no header may hold: a line break at its end?")


def _check_client_key(prefix: str, provider: Provider[Any]) -> None:
    """A key of the environment must be fit for a header too."""
    for client in _sdk_clients(provider):
        key = getattr(client, "api_key", None)
        if isinstance(key, str) and key:
            _check_key(key, f"the key in the environment for {prefix}")
    if prefix.startswith("google"):
        # Its client does not show the key it took.
        for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
            if key := os.environ.get(name):
                _check_key(key, f"{name} in the environment")


def _what_to_set(prefix: str, text: str) -> str:
    """What pydantic-ai says of a provider, in terms of the environment and of a frame instead of Python."""
    names = list(dict.fromkeys(_ENV_NAME.findall(text)))
    if not names:
        return f"{prefix}: {text}"
    field = "api_key" if any(name.endswith(("KEY", "TOKEN")) for name in names) else "base_url"
    return (
        f"{prefix}: not set up: set {' or '.join(names)} in the worker's environment, "
        f'or give the model as {{"name": "{prefix}:…", "{field}": …}}'
    )
