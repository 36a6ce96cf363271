"""What may leave in a span or a metric: no key, and nobody's words unless they were asked for (PROTOCOL.md,
OTEL-CONTENT, OTEL-SECRETS).

The exporters here stand before the real ones and give them cleaned copies, on the SDK's own threads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics.export import Metric, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status
from opentelemetry.util.types import Attributes

from axon_port.wire.words import REDACTED
from axon_port.worker.redaction import SHORTEST_BEGINNING, Redactor

SCOPE: Final = "axon-port"
"""The name that our own spans and metrics carry: they hold nobody's words."""

PLAIN: Final = frozenset(
    {
        "agent_name", "axon_port.answer", "code.function.name", "code.namespace", "db.operation.name", "db.system.name",
        "error.type", "exception.escaped", "exception.type", "gen_ai.agent.call.id", "gen_ai.agent.name",
        "gen_ai.conversation.id", "gen_ai.operation.name", "gen_ai.output.type", "gen_ai.provider.name",
        "gen_ai.request.model", "gen_ai.response.finish_reasons", "gen_ai.response.id", "gen_ai.response.model",
        "gen_ai.system", "gen_ai.token.type", "gen_ai.tool.call.id", "gen_ai.tool.name", "gen_ai.tool.type",
        "http.request.method", "mcp.method.name", "model_name", "network.protocol.name", "network.transport",
        "provider_name", "pydantic_ai.cache.collapse_reason", "pydantic_ai.output.retry.cause",
        "pydantic_ai.tool.deferral.name", "pydantic_ai.tool.failure_stage", "pydantic_ai.tool.retry.cause", "reason",
        "rpc.method", "rpc.service", "rpc.system", "server.address", "url.scheme",
    }
)  # fmt: skip
"""Attributes whose texts are names and kinds. Of what others say, these stay without being asked for, and numbers; a
new attribute of pydantic-ai's is left out until it stands here."""


class Cleaner:
    """`content`: whether texts are wanted. `longest`: characters at which the SDK cuts a text, a key in it too."""

    def __init__(self, redactor: Redactor, *, content: bool, longest: int | None) -> None:
        self._redactor = redactor
        self._content = content
        self._longest = longest

    def span(self, span: ReadableSpan) -> ReadableSpan:
        scope = span.instrumentation_scope
        ours = scope is not None and scope.name == SCOPE
        return ReadableSpan(
            name=self._text(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=self.attributes(span.attributes, ours=ours),
            events=[self._event(event, ours=ours) for event in span.events],
            links=[Link(link.context, self.attributes(link.attributes, ours=ours)) for link in span.links],
            kind=span.kind,
            status=self._status(span.status),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=scope,
        )

    def attributes(self, attributes: Attributes, *, ours: bool) -> dict[str, Any]:
        whole = self._content or ours
        return {
            name: self._value(value)
            for name, value in (attributes or {}).items()
            if whole or name in PLAIN or _is_figure(value)
        }

    def metric(self, metric: Metric, *, ours: bool) -> Metric:
        points: Sequence[Any] = metric.data.data_points
        cleaned = [
            replace(
                point,
                attributes=self.attributes(point.attributes, ours=ours),
                # They quote the attributes of single spans.
                exemplars=[],
            )
            for point in points
        ]
        return replace(metric, data=replace(metric.data, data_points=cleaned))

    def _event(self, event: Event, *, ours: bool) -> Event:
        return Event(self._text(event.name), self.attributes(event.attributes, ours=ours), event.timestamp)

    def _status(self, status: Status) -> Status:
        # The SDK describes an error by the message of its exception.
        description = status.description if self._content else None
        return Status(status.status_code, None if description is None else self._text(description))

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {str(name): self._value(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return [self._value(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return value

    def _text(self, text: str) -> str:
        cut = self._longest is not None and len(text) >= self._longest
        text = self._redactor.text(text)
        if cut and (begun := self._redactor.begun(text)) >= SHORTEST_BEGINNING:
            return text[:-begun] + REDACTED
        return text


class CleanSpans(SpanExporter):
    """Gives cleaned spans to `inner`; nothing in a forked child, which shares its connection."""

    def __init__(self, inner: SpanExporter, cleaner: Cleaner) -> None:
        self._inner = inner
        self._cleaner = cleaner
        self._pid = os.getpid()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if os.getpid() != self._pid:
            return SpanExportResult.SUCCESS
        return self._inner.export([self._cleaner.span(span) for span in spans])

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class CleanMetrics(MetricExporter):
    """Gives cleaned metrics to `inner`; nothing in a forked child."""

    def __init__(self, inner: MetricExporter, cleaner: Cleaner) -> None:
        super().__init__(inner._preferred_temporality, inner._preferred_aggregation)  # pyright: ignore[reportPrivateUsage]
        # The SDK leaves the types of some parameters open.
        self._inner: Any = inner
        self._cleaner = cleaner
        self._pid = os.getpid()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        if os.getpid() != self._pid:
            return MetricExportResult.SUCCESS
        resources = [
            replace(
                resource,
                scope_metrics=[
                    replace(
                        scope,
                        metrics=[
                            self._cleaner.metric(metric, ours=scope.scope.name == SCOPE) for metric in scope.metrics
                        ],
                    )
                    for scope in resource.scope_metrics
                ],
            )
            for resource in metrics_data.resource_metrics
        ]
        return self._inner.export(MetricsData(resources), timeout_millis, **kwargs)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._inner.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _is_figure(value: Any) -> bool:
    """A number or a yes, or several: what cannot quote anybody."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(_is_figure(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return isinstance(value, bool | int | float)
