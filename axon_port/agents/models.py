"""From what a frame calls a model to a pydantic-ai `Model`.

Owns the names and endpoints of models and the sharing of their clients. Scripted models, lists of models,
retries and idle time-outs are built around what comes out of here.
"""

from __future__ import annotations

import ssl
import threading
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers import Provider

from axon_port.agents.http import new_http_client
from axon_port.agents.providers import (
    UnusableModel,
    build_provider,
    is_provider,
    without_retries,
)

__all__ = ("Endpoint", "ModelFactory", "UnusableModel", "model_label")

TEST_MODEL: Final = "test"
"""The name of pydantic-ai's own test model."""

COMPATIBLE: Final = "openai-chat"
"""The provider of an endpoint whose name has no prefix."""


@dataclass(frozen=True)
class Endpoint:
    """A model at a place of its own: `{"name": …, "base_url": …, "api_key": …}`."""

    name: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)


_Place = tuple[str, str | None, str | None]
"""Prefix, base URL and key: models that share these share a provider and its connections."""


def model_label(spec: str | Endpoint) -> str:
    """What answers, logs and lists call this model: its name, without address or key."""
    return spec if isinstance(spec, str) else spec.name


class ModelFactory:
    """Builds models and owns their HTTP clients; one for each worker.

    Equal specs give one and the same `Model` as long as anybody holds it, and models of one provider, base
    URL and key share one HTTP client. What nobody holds any more is closed by `close_unused`, the rest by
    `aclose`.
    `build` may be called from several threads; the two others belong on the event loop that ran the models.
    """

    def __init__(self) -> None:
        self._building = threading.Lock()
        self._models: weakref.WeakValueDictionary[str | Endpoint, Model] = weakref.WeakValueDictionary()
        self._providers: weakref.WeakValueDictionary[_Place, Provider[Any]] = weakref.WeakValueDictionary()
        self._open: set[httpx2.AsyncClient] = set()
        # Filled by finalizers, which run in any thread and at any time: a deque needs no lock.
        self._unused: deque[httpx2.AsyncClient] = deque()
        self._tls: ssl.SSLContext | None = None

    def build(self, spec: str | Endpoint) -> Model:
        """The model of a name or an endpoint.

        Blocks (a provider's client is imported: 0.1 to 1.6 s): call it on a thread.

        Raises:
            UnusableModel: it cannot be built; the text says what to do.
        """
        if spec in (TEST_MODEL, Endpoint(TEST_MODEL)):
            # It remembers its last request for inspection, so it is not shared.
            return TestModel()
        with self._building:
            model = self._models.get(spec)
            if model is None:
                model = self._models[spec] = self._new_model(spec)
            return model

    async def close_unused(self) -> None:
        """Close the HTTP clients of models that nobody holds any more, as after agents were deleted."""
        while self._unused:
            client = self._unused.popleft()
            self._open.discard(client)
            await client.aclose()

    async def aclose(self) -> None:
        """Close every HTTP client. Models that were built before cannot be used any more."""
        while self._open:
            await self._open.pop().aclose()
        self._unused.clear()

    def _new_model(self, spec: str | Endpoint) -> Model:
        prefix, name, place = _read(spec)
        provider = self._provider(place)
        try:
            model = infer_model(f"{prefix}:{name}", lambda _: provider)
        except (UserError, ImportError) as error:
            raise UnusableModel(f"{model_label(spec)}: {error}") from error
        return without_retries(model, provider)

    def _provider(self, place: _Place) -> Provider[Any]:
        provider = self._providers.get(place)
        if provider is not None:
            return provider
        prefix, base_url, api_key = place
        made: list[httpx2.AsyncClient] = []

        def http_client(read_timeout: float) -> httpx2.AsyncClient:
            made.append(new_http_client(self._tls_context(), base_url, read_timeout))
            return made[-1]

        provider = build_provider(prefix, base_url, api_key, http_client)
        for client in made:
            self._open.add(client)
            weakref.finalize(provider, self._unused.append, client).atexit = False
        self._providers[place] = provider
        return provider

    def _tls_context(self) -> ssl.SSLContext:
        """One for all clients: it holds the certificates, 0.8 MB and 20 ms each time."""
        if self._tls is None:
            self._tls = httpx2.create_ssl_context()
        return self._tls


def _read(spec: str | Endpoint) -> tuple[str, str, _Place]:
    """Prefix, name without prefix, and place.

    Raises:
        UnusableModel: the name is empty, or its prefix is missing or unknown where it needs a known one.
    """
    endpoint = Endpoint(spec) if isinstance(spec, str) else spec
    prefix, colon, name = endpoint.name.partition(":")
    if colon and is_provider(prefix):
        if not name:
            raise UnusableModel(f"{endpoint.name}: a model's name must follow the colon")
        return prefix, name, (prefix, endpoint.base_url, endpoint.api_key)
    if not endpoint.name:
        raise UnusableModel("the model has an empty name: give one like openai:gpt-5.2")
    # `llama3.2:3b` has a colon and no prefix. Without a base_url it is more likely a misspelt provider.
    if isinstance(spec, str) or (colon and endpoint.base_url is None):
        raise UnusableModel(_unknown(endpoint.name))
    return COMPATIBLE, endpoint.name, (COMPATIBLE, endpoint.base_url, endpoint.api_key)


def _unknown(name: str) -> str:
    """pydantic-ai's words about an unknown name, which propose a known one, and what is expected."""
    try:
        infer_model(name)
    except UserError as error:
        reason = str(error)
    else:
        reason = f"Unknown model: {name}"
    return f'{reason} (a name is provider:model, like openai:gpt-5.2; an endpoint is {{"name", "base_url"}})'
