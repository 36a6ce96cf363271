"""Whether a model's answer is whole: what its provider says of the end, where it says something (MODEL-FINISH)."""

from __future__ import annotations

from functools import cache
from typing import Final

from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model
from pydantic_ai.models.wrapper import WrapperModel

_TIMES_BYTES: Final = tuple(
    f"pydantic_ai.models.{name}"
    for name in ("openai", "anthropic", "google", "groq", "mistral", "cohere", "cerebras", "openrouter", "ollama")
)
"""pydantic-ai's model modules whose HTTP client times the wait for each byte (`timeout` in the model settings)."""


def times_bytes(model: Model) -> bool:
    """Whether a model speaks HTTP through a client of ours, under whatever is wrapped around it."""
    while isinstance(model, WrapperModel):
        model = model.wrapped
    return _kind_times_bytes(type(model))


@cache
def _kind_times_bytes(kind: type[Model]) -> bool:
    return any(base.__module__.startswith(_TIMES_BYTES) for base in kind.__mro__)


def is_finished(model: Model, response: ModelResponse) -> bool:
    """Whether the answer came to the end that its provider marks."""
    if response.state in {"incomplete", "interrupted"}:
        return False
    return not times_bytes(model) or _provider_finished(response)


def _provider_finished(response: ModelResponse) -> bool:
    # pydantic-ai fills in a `finish_reason` for some answers that broke off; what the provider itself said stands in
    # the details. A refusal has none there and says so in `finish_reason`.
    said = (response.provider_details or {}).get("finish_reason")
    if response.state == "suspended" or response.finish_reason == "content_filter":
        return True
    return said not in {None, "in_progress", "queued", "cancelled", "failed"}
