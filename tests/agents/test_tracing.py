"""The trace of a run."""

import contextvars

import pytest
from opentelemetry import trace

from axon_port.agents.tracing import join

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def joined(traceparent: str) -> tuple[bool, int, int]:
    """What `join` says, and the ids of the span that is current afterwards."""

    def within() -> tuple[bool, int, int]:
        said = join(traceparent)
        span = trace.get_current_span().get_span_context()
        return said, span.trace_id, span.span_id

    return contextvars.copy_context().run(within)


@pytest.mark.parametrize("version", ["00", "01", "cc"])
def test_a_traceparent_becomes_the_parent_of_the_spans(version: str) -> None:
    """clause: RUN-TRACE"""
    assert joined(f"{version}-{TRACE}-{SPAN}-01") == (True, int(TRACE, 16), int(SPAN, 16))


@pytest.mark.parametrize(
    "none",
    [
        "",
        "none",
        "00-0-0-0",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
    ],
)
def test_what_is_no_traceparent_changes_nothing(none: str) -> None:
    """clause: RUN-TRACE"""
    assert joined(none) == (False, 0, 0)
