"""Traces and metrics to an OTLP collector, with the SDK of the extra `otel` (PROTOCOL.md, OTEL-*).

Importing this imports the SDK: `telemetry_plan.start` does where it was asked for. Everything is sent by threads of the
SDK, and a collector that is down, slow or wrong costs a run nothing but a place in a bounded queue.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracerProvider

from axon_port import __version__
from axon_port.agents import tracing
from axon_port.wire import commands
from axon_port.worker.exchanges import Exchange
from axon_port.worker.exported import SCOPE, Cleaner, CleanMetrics, CleanSpans
from axon_port.worker.meters import SECONDS, Figures, observe
from axon_port.worker.redaction import Redactor
from axon_port.worker.spans import RunSpans, Telemetry, TracedRun
from axon_port.worker.telemetry_plan import Plan

MAX_ATTRIBUTE_CHARACTERS: Final = 16_384
"""Of a text in a span, unless the SDK's own variables say otherwise: a queue holds 2048 spans."""

REPEAT_SECONDS: Final = 60.0
"""Until the exporter may say the same again: it would say it for every batch, or for every span."""

MAX_SAYINGS: Final = 256
"""Different logs of the exporter that are remembered."""

_LENGTH_LIMITS: Final = ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")

_logger = logging.getLogger("axon_port.telemetry")


class Export(Telemetry):
    """What a plan asks for. Make one for a process."""

    def __init__(self, plan: Plan, redactor: Redactor, figures: Figures) -> None:
        _hush()
        self._content = plan.content
        self._resource = _resource(redactor)
        self._providers: list[TracerProvider | MeterProvider] = []
        traces = self._traces(redactor) if plan.traces else NoOpTracerProvider()
        meters = self._metrics(redactor, figures) if plan.metrics else NoOpMeterProvider()
        self.instrumentation = tracing.instrumentation(traces, meters, content=plan.content)
        self._tracer = traces.get_tracer(SCOPE, __version__)
        self._durations = meters.get_meter(SCOPE, __version__).create_histogram(
            "axon_port.run.duration",
            "s",
            "from the arrival of a command to its terminal frame",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        # What tools and their libraries trace and count by themselves joins.
        if plan.traces:
            trace.set_tracer_provider(traces)
        if plan.metrics:
            metrics.set_meter_provider(meters)

    def run(self, exchange: Exchange, command: commands.Run | commands.Stream) -> RunSpans:
        return TracedRun(self._tracer, self._durations, exchange, command, content=self._content)

    def end(self, seconds: float) -> None:
        until = time.monotonic() + max(0.0, seconds)
        ending = [_Ending(provider) for provider in self._providers]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in ending):
            _logger.warning("the collector did not take everything before the end of the worker")

    def _traces(self, redactor: Redactor) -> TracerProvider:
        limited = any(os.environ.get(name) for name in _LENGTH_LIMITS)
        limits = SpanLimits() if limited else SpanLimits(max_attribute_length=MAX_ATTRIBUTE_CHARACTERS)
        cleaner = Cleaner(redactor, content=self._content, longest=limits.max_span_attribute_length)
        # No exit handlers: they would wait for a collector for as long as it likes.
        provider = TracerProvider(resource=self._resource, span_limits=limits, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(CleanSpans(OTLPSpanExporter(), cleaner)))
        self._providers.append(provider)
        return provider

    def _metrics(self, redactor: Redactor, figures: Figures) -> MeterProvider:
        cleaner = Cleaner(redactor, content=self._content, longest=None)
        reader = PeriodicExportingMetricReader(CleanMetrics(OTLPMetricExporter(), cleaner))
        provider = MeterProvider([reader], self._resource, shutdown_on_exit=False)
        observe(provider.get_meter(SCOPE, __version__), figures)
        self._providers.append(provider)
        return provider


class _Ending(threading.Thread):
    """Exports what is left, for as long as the collector takes; the process does not wait for it."""

    def __init__(self, provider: Any) -> None:
        super().__init__(name="axon-port telemetry", daemon=True)
        self._provider = provider

    def run(self) -> None:
        try:
            self._provider.shutdown()
        except Exception as error:  # noqa: BLE001  an exporter's; the process ends all the same
            _logger.warning("the end of telemetry failed: %r", error)


class _Hushed(logging.Filter):
    """Lets each thing that the exporter says through once in `REPEAT_SECONDS`, and everything that others say."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not (record.name.startswith("opentelemetry.") or (record.threadName or "").startswith("Otel")):
            return True
        saying, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._said.get(saying, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        if len(self._said) >= MAX_SAYINGS:
            self._said.clear()
        self._said[saying] = now
        return True


def _hush() -> None:
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Hushed())


def _resource(redactor: Redactor) -> Resource:
    """Who speaks: what the variables say, and what they leave out. Workers of one pool are told apart."""
    ours = {SERVICE_NAME: SCOPE, SERVICE_VERSION: __version__, SERVICE_INSTANCE_ID: str(uuid.uuid4())}
    found = dict(Resource.create().attributes)
    if str(found.get(SERVICE_NAME, "")).startswith("unknown_service"):
        del found[SERVICE_NAME]
    merged = {**ours, "process.pid": os.getpid(), **found}
    return Resource({name: redactor.text(value) if isinstance(value, str) else value for name, value in merged.items()})
