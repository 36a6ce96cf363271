"""The trace that a run belongs to (PROTOCOL.md, RUN-TRACE; W3C Trace Context, section 3.2)."""

from __future__ import annotations

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_FIELD = "traceparent"


def join(traceparent: str) -> bool:
    """Make the spans of the current task children of `traceparent`'s; False, and nothing changed, if it is none."""
    found = TraceContextTextMapPropagator().extract({_FIELD: traceparent}, context.Context())
    if not trace.get_current_span(found).get_span_context().is_valid:
        return False
    # Never detached: what a task attaches ends with it.
    context.attach(found)
    return True
