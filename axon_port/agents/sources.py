"""Where the answers of a run come from: a model, a list of them, or a script (PROTOCOL.md, MODEL-*)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic_ai.models import Model

from axon_port.agents.models import Endpoint, Lease, UnusableModel, model_label
from axon_port.agents.recordings import NAME as REPLAY
from axon_port.agents.recordings import RecordingModel, Recordings, ReplayedModel
from axon_port.agents.script import NAME as SCRIPT
from axon_port.wire import commands
from axon_port.wire.errors import WireError

ModelSpec = str | commands.Endpoint | commands.Script | commands.Recorded | commands.Replayed


@dataclass(frozen=True)
class ModelSource:
    """The models of a run, in the order in which they are tried. A script has no model to share."""

    sources: tuple[Model | commands.Script, ...]
    label: str


def build_models(models: Any, lease: Lease, recordings: Recordings) -> ModelSource:
    """The source that a command names. Blocking: a provider's client is imported, a recording is read.

    Raises `WireError` `InvalidAgent`.
    """
    specs = cast("Sequence[ModelSpec]", models if isinstance(models, list) else [models])
    sources = tuple(_source(spec, lease, recordings) for spec in specs)
    return ModelSource(sources, ", ".join(map(_label, specs)))


def _source(spec: ModelSpec, lease: Lease, recordings: Recordings) -> Model | commands.Script:
    match spec:
        case commands.Script():
            return spec
        case commands.Recorded():
            return RecordingModel(named_model(spec.model, lease), recordings.open(spec.record))
        case commands.Replayed():
            return ReplayedModel(recordings.read(spec.replay))
        case _:
            return named_model(spec, lease)


def named_model(spec: str | commands.Endpoint, lease: Lease) -> Model:
    """The model of a name or an endpoint. Blocking. Raises `WireError` `InvalidAgent`."""
    try:
        return lease.build(spec if isinstance(spec, str) else _endpoint(spec))
    except UnusableModel as error:
        raise WireError("InvalidAgent", str(error)) from None


def _endpoint(spec: commands.Endpoint) -> Endpoint:
    return Endpoint(spec.name, spec.base_url, spec.api_key)


def _label(spec: ModelSpec) -> str:
    if isinstance(spec, commands.Script):
        return SCRIPT
    if isinstance(spec, commands.Replayed):
        return REPLAY
    if isinstance(spec, commands.Recorded):
        return _label(spec.model)
    return model_label(spec if isinstance(spec, str) else _endpoint(spec))
