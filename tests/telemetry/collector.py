"""A collector on loopback that takes OTLP over HTTP, and says what it was given: spans and metrics as plain values."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self, cast

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Answers = Literal["well", "hangs", "500", "503", "garbage"]

NO_PARENT = ""
ERROR = 2
"""The code of a status that is an error."""


@dataclass(frozen=True)
class Event:
    """An event of a span."""

    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """A span; ids in hexadecimal, times in nanoseconds."""

    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    scope: str
    status: int
    described: str
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Point:
    """A point of a metric: a number, or the count of a histogram."""

    value: float
    attributes: Mapping[str, Any]


class Collector:
    """Listens while the block lasts. `answers` can be changed at any time; what hangs is let go at its end."""

    def __init__(self, answers: Answers = "well") -> None:
        self.answers: Answers = answers
        self.bodies: list[bytes] = []
        """Everything that came, decompressed."""
        self.headers: list[Mapping[str, str]] = []
        self.spans: list[Span] = []
        self.points: dict[str, list[Point]] = {}
        """The latest points of each metric."""
        self.resources: list[Mapping[str, Any]] = []
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, **more: str) -> dict[str, str]:
        """What makes a worker export here, soon. No proxy stands between."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "NO_PROXY": "*",
            **more,
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self, found: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
        """Wait until `found` gives something."""
        with self._changed:
            assert self._changed.wait_for(found, timeout), f"{what} did not come; spans: {[s.name for s in self.spans]}"
            return found()

    def wait_for_span(self, name: str, **attributes: Any) -> Span:
        """The first span of a name, or whose name begins so, with these attributes (dots written as `__`)."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}

        def found() -> Span | None:
            named = (span for span in self.spans if span.name == name or span.name.startswith(f"{name} "))
            return next((span for span in named if wanted.items() <= span.attributes.items()), None)

        return cast("Span", self.wait(found, f"a span {name!r} with {wanted}"))

    def wait_for_value(self, metric: str, value: float, **attributes: Any) -> None:
        """Wait until a metric has this value under these attributes."""
        wanted = {key.replace("__", "."): item for key, item in attributes.items()}
        self.wait(
            lambda: [
                point
                for point in self.points.get(metric, [])
                if point.value == value and wanted.items() <= point.attributes.items()
            ],
            f"{metric} of {value} with {wanted}",
        )

    def trace(self, trace: str) -> dict[str, Span]:
        """The spans of a trace by name; the last of several with one name."""
        return {span.name: span for span in self.spans if span.trace == trace}

    def children(self, parent: Span) -> list[Span]:
        return sorted((span for span in self.spans if span.parent == parent.id), key=lambda span: span.start)

    def everything(self) -> bytes:
        """All bodies in one, to be searched."""
        return b"\n".join(self.bodies)

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        with self._changed:
            self.bodies.append(body)
            self.headers.append(headers)
            if path.endswith("/v1/traces"):
                self._take_spans(ExportTraceServiceRequest.FromString(body))
            else:
                self._take_metrics(ExportMetricsServiceRequest.FromString(body))
            self._changed.notify_all()

    def _take_spans(self, request: Any) -> None:
        for resource in request.resource_spans:
            self.resources.append(_plain(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += [_span(span, scope.scope.name) for span in scope.spans]

    def _take_metrics(self, request: Any) -> None:
        for resource in request.resource_metrics:
            self.resources.append(_plain(resource.resource.attributes))
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    self.points[metric.name] = [_point(point) for point in data.data_points]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(self.path, dict(self.headers.items()), body)
                match collector.answers:
                    case "hangs":
                        collector._over.wait()
                        self.close_connection = True
                    case "garbage":
                        self.wfile.write(b"\x00\xff this is no HTTP \r\n\r\n")
                        self.close_connection = True
                    case said:
                        self.send_response(200 if said == "well" else int(said))
                        self.send_header("Content-Length", "0")
                        self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its parameter is called so
                return None

        return Handler


def _span(span: Any, scope: str) -> Span:
    return Span(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        scope=scope,
        status=span.status.code,
        described=span.status.message,
        attributes=_plain(span.attributes),
        events=tuple(Event(event.name, _plain(event.attributes)) for event in span.events),
    )


def _point(point: Any) -> Point:
    attributes = _plain(point.attributes)
    if hasattr(point, "bucket_counts"):
        return Point(point.count, attributes)
    return Point(getattr(point, point.WhichOneof("value")), attributes)


def _plain(attributes: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return None if kind is None else getattr(value, kind)
