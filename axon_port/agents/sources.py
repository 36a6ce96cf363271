"""Where the answers of a run come from: a model, a list of them, or a script (PROTOCOL.md, MODEL-*)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic_ai.models import Model

from axon_port.agents.models import Endpoint, ModelFactory, UnusableModel, model_label
from axon_port.agents.script import NAME as SCRIPT
from axon_port.wire import commands
from axon_port.wire.errors import WireError

ModelSpec = str | commands.Endpoint | commands.Script


@dataclass(frozen=True)
class ModelSource:
    """The models of a run, in the order in which they are tried. A script has no model to share."""

    sources: tuple[Model | commands.Script, ...]
    label: str


def build_models(models: Any, factory: ModelFactory) -> ModelSource:
    """The source that a command names. Blocking: a provider's client is imported. Raises `WireError` `InvalidAgent`."""
    specs = cast("Sequence[ModelSpec]", models if isinstance(models, list) else [models])
    sources = tuple(_source(spec, factory) for spec in specs)
    return ModelSource(sources, ", ".join(map(_label, specs)))


def _source(spec: ModelSpec, factory: ModelFactory) -> Model | commands.Script:
    if isinstance(spec, commands.Script):
        return spec
    try:
        return factory.build(spec if isinstance(spec, str) else _endpoint(spec))
    except UnusableModel as error:
        raise WireError("InvalidAgent", str(error)) from None


def _endpoint(spec: commands.Endpoint) -> Endpoint:
    return Endpoint(spec.name, spec.base_url, spec.api_key)


def _label(spec: ModelSpec) -> str:
    if isinstance(spec, commands.Script):
        return SCRIPT
    return model_label(spec if isinstance(spec, str) else _endpoint(spec))
