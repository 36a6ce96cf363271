"""The trace that a run belongs to, and pydantic-ai's own part of it (PROTOCOL.md, RUN-TRACE, OTEL-*; W3C Trace Context,
section 3.2)."""

from __future__ import annotations

from typing import Any

from opentelemetry import context, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability, Instrumentation
from pydantic_ai.models import Model
from pydantic_ai.models.instrumented import InstrumentationSettings, InstrumentedModel

__all__ = ("Instrumentation", "bare", "context_of", "instrumentation", "join", "observers", "traceparent_of")

_FIELD = "traceparent"


def context_of(traceparent: str) -> context.Context | None:
    """A context whose current span is `traceparent`'s; None if it is none."""
    found = TraceContextTextMapPropagator().extract({_FIELD: traceparent}, context.Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None


def join(traceparent: str) -> bool:
    """Make the spans of the current task children of `traceparent`'s; False, and nothing changed, if it is none."""
    found = context_of(traceparent)
    if found is None:
        return False
    # Never detached: what a task attaches ends with it.
    context.attach(found)
    return True


def traceparent_of(span: trace.Span) -> str | None:
    """What tells others of a span; None for one that is in no trace."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span, context.Context()))
    return carrier.get(_FIELD)


def instrumentation(traces: trace.TracerProvider, meters: MeterProvider, *, content: bool) -> Instrumentation:
    """pydantic-ai's spans and metrics, for all runs of a worker. `content`: with prompts, answers and arguments."""
    settings = InstrumentationSettings(
        tracer_provider=traces,
        meter_provider=meters,
        include_content=content,
        include_binary_content=False,
        include_model_request_parameters=content,
    )
    return Instrumentation(settings=settings)


def observers(agent: Agent[Any, Any], ours: Instrumentation) -> list[AbstractCapability[Any]]:
    """What a run of this agent is instrumented with: once, and an agent's own instrumentation goes before ours."""
    if isinstance(agent.model, InstrumentedModel):
        return [Instrumentation(settings=agent.model.instrumentation_settings)]
    if agent.instrument is not None:
        return []
    brought: list[AbstractCapability[Any]] = []
    agent.root_capability.apply(brought.append)
    return [] if any(isinstance(one, Instrumentation) for one in brought) else [ours]


def bare(model: Model) -> Model:
    """A model without the instrumentation that it was wrapped in, which `observers` has taken over."""
    return model.wrapped if isinstance(model, InstrumentedModel) else model
