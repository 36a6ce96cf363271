"""What the standard `OTEL_*` variables ask for, and who does it (PROTOCOL.md, OTEL-*).

Reading them costs nothing; the SDK is imported only where they ask for something that there is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from axon_port.worker.meters import Figures
    from axon_port.worker.redaction import Redactor
    from axon_port.worker.spans import Telemetry

Signal = Literal["TRACES", "METRICS"]

INSTALL: Final = "pip install '.[otel]' in axon-port's checkout, or pip install pydantic-ai, which has it too"
"""No package index has axon-port. What the extra names is also among what pydantic-ai's full package depends on."""

CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The conventions' own switch for prompts, answers, and the arguments and results of tools."""

PROTOCOL: Final = "http/protobuf"
"""The one protocol that the extra brings; gRPC would add a library in C to a process that forks."""

_DEFAULT_ENDPOINT: Final = "http://localhost:4318"

_YES: Final = frozenset({"true", "1", "yes", "on", "span_only", "span_and_event"})

_SHOWN_CHARACTERS: Final = 64

_logger = logging.getLogger("axon_port.telemetry")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which signals to export. `complaints` say what was asked for and cannot be had."""

    traces: bool = False
    metrics: bool = False
    content: bool = False
    complaints: tuple[str, ...] = ()

    @property
    def exports(self) -> bool:
        return self.traces or self.metrics


def plan_of(environment: Mapping[str, str]) -> Plan:
    """What the variables ask for: a signal whose exporter is named, or whose endpoint is."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Plan()
    complaints: list[str] = []
    traces = _wanted(environment, "TRACES", complaints)
    metrics = _wanted(environment, "METRICS", complaints)
    content = environment.get(CONTENT, "").strip().lower() in _YES
    return Plan(traces, metrics, content, tuple(dict.fromkeys(complaints)))


def endpoint(environment: Mapping[str, str], signal: Signal) -> str:
    """Where a signal goes. It can hold a password."""
    own = environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return own or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or _DEFAULT_ENDPOINT


def start(environment: Mapping[str, str], redactor: Redactor, figures: Callable[[], Figures]) -> Telemetry | None:
    """Export what the variables ask for; None where they ask for nothing that can be had. Blocking: it imports.

    Telemetry is nothing that a worker could not do without: what goes wrong is logged.
    """
    plan = plan_of(environment)
    for complaint in plan.complaints:
        _logger.warning("%s", complaint)
    if not plan.exports:
        return None
    try:
        from axon_port.worker.telemetry import Export
    except ImportError as error:
        missing = error.name or "a package"
        _logger.warning(
            "the OTEL_ variables ask for telemetry, and %s is missing, which the extra otel brings: %s",
            missing,
            INSTALL,
        )
        return None
    try:
        return Export(plan, redactor, figures())
    except Exception:
        _logger.exception("there is no telemetry: the OTEL_ variables hold something that cannot be used")
        return None


def _wanted(environment: Mapping[str, str], signal: Signal, complaints: list[str]) -> bool:
    if not _asked_for(environment, signal, complaints):
        return False
    general = "OTEL_EXPORTER_OTLP_PROTOCOL"
    own = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    name = own if environment.get(own) else general
    protocol = (environment.get(name) or PROTOCOL).strip().lower()
    if protocol != PROTOCOL:
        complaints.append(f"{name} is {_shown(protocol)}, and this worker has {PROTOCOL} only: nothing is exported")
    return protocol == PROTOCOL


def _asked_for(environment: Mapping[str, str], signal: Signal, complaints: list[str]) -> bool:
    name = f"OTEL_{signal}_EXPORTER"
    exporters = [word.strip().lower() for word in environment.get(name, "").split(",") if word.strip()]
    for other in (exporter for exporter in exporters if exporter not in {"otlp", "none"}):
        complaints.append(f"{name} names {_shown(other)}: this worker has otlp and none")
    if exporters:
        return "otlp" in exporters
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(environment.get(variable) for variable in endpoints)


def _shown(value: Any) -> str:
    return repr(value[:_SHOWN_CHARACTERS])
