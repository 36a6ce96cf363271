"""From what a frame calls a model to a pydantic-ai `Model`.

Owns the names and endpoints of models and the sharing of their clients. Scripted models, lists of models,
retries and idle time-outs are built around what comes out of here.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model
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


@dataclass
class _Shared:
    """The provider of a place, the models made with it, its HTTP clients, and how many leases are on it."""

    provider: Provider[Any]
    clients: list[httpx2.AsyncClient]
    models: dict[str, Model] = field(default_factory=dict[str, Model])
    leases: int = 0


class ModelFactory:
    """Builds models and owns their HTTP clients; one for each worker.

    Models of one provider, base URL and key share one HTTP client, which is closed with the last lease on it.
    """

    def __init__(self) -> None:
        self._building = threading.Lock()
        # Apart from the above, which a thread holds for as long as an import takes: the loop ends leases.
        self._counting = threading.Lock()
        self._shared: dict[_Place, _Shared] = {}
        self._tls: ssl.SSLContext | None = None

    def lease(self) -> Lease:
        """A new lease, for one agent or one run."""
        return Lease(self)

    async def aclose(self) -> None:
        """Close every HTTP client. Models that were built before cannot be used any more."""
        while self._shared:
            _, shared = self._shared.popitem()
            await _close(shared)

    def take(self, spec: str | Endpoint) -> tuple[_Place, Model]:
        """Only for `Lease`: a model and the place that is to be given back."""
        prefix, name, place = _read(spec)
        with self._building:
            with self._counting:
                shared = self._shared.get(place)
                if shared is not None:
                    shared.leases += 1
            if shared is None:
                shared = self._open(place)
            try:
                return place, self._model(f"{prefix}:{name}", shared)
            except BaseException as error:
                # Its clients have asked nothing yet and have no connection to close.
                self._drop(place)
                if isinstance(error, (UserError, ImportError)):
                    raise UnusableModel(f"{model_label(spec)}: {error}") from error
                raise

    async def give_back(self, place: _Place) -> None:
        """Only for `Lease`."""
        shared = self._drop(place)
        if shared is not None:
            await _close(shared)

    def _open(self, place: _Place) -> _Shared:
        prefix, base_url, api_key = place
        made: list[httpx2.AsyncClient] = []

        def http_client(read_timeout: float) -> httpx2.AsyncClient:
            made.append(new_http_client(self._tls_context(), base_url, read_timeout))
            return made[-1]

        provider = build_provider(prefix, base_url, api_key, http_client)
        shared = _Shared(provider, made, leases=1)
        with self._counting:
            self._shared[place] = shared
        return shared

    def _model(self, name: str, shared: _Shared) -> Model:
        model = shared.models.get(name)
        if model is None:
            model = without_retries(infer_model(name, lambda _: shared.provider), shared.provider)
            shared.models[name] = model
        return model

    def _drop(self, place: _Place) -> _Shared | None:
        """One lease less; what is to be closed, if it was the last."""
        with self._counting:
            shared = self._shared.get(place)
            if shared is None:
                return None
            shared.leases -= 1
            return None if shared.leases else self._shared.pop(place)

    def _tls_context(self) -> ssl.SSLContext:
        """One for all clients: it holds the certificates, 0.8 MB and 20 ms each time."""
        if self._tls is None:
            self._tls = httpx2.create_ssl_context()
        return self._tls


class Lease:
    """What one agent or one run holds of a factory."""

    def __init__(self, factory: ModelFactory) -> None:
        self._factory = factory
        self._places: list[_Place] = []

    def build(self, spec: str | Endpoint) -> Model:
        """The model of a name or an endpoint, usable until the lease ends; equal specs give one and the same.

        Blocks (a provider's client is imported: 0.1 to 1.6 s): call it on a thread.

        Raises:
            UnusableModel: it cannot be built; the text says what to do.
        """
        if spec in (TEST_MODEL, Endpoint(TEST_MODEL)):
            # It remembers its last request for inspection, so it is not shared.
            from pydantic_ai.models.test import TestModel  # few ask for it, and every start would pay

            return TestModel()
        place, model = self._factory.take(spec)
        self._places.append(place)
        return model

    async def end(self) -> None:
        """Give back what was built. On the event loop that ran the models; again does nothing."""
        while self._places:
            await self._factory.give_back(self._places.pop())


async def _close(shared: _Shared) -> None:
    for client in shared.clients:
        await client.aclose()
    # Some make one of their own (Groq, Cohere), and close it when they are left.
    async with shared.provider:
        pass


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
