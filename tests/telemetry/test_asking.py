"""When a worker exports: what the variables ask for, and what is said of what cannot be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from axon_port.worker.telemetry_plan import CONTENT, Plan, plan_of
from tests.kit import REPOSITORY, Frame, Worker, succeeded

from .collector import Collector

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "traces", "metrics"),
    [
        ({}, False, False),
        (ENDPOINT, True, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x/v1/traces"}, True, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x/v1/metrics"}, False, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, False),
        ({"OTEL_METRICS_EXPORTER": " OTLP "}, False, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False, True),
        ({**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}, True, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": ""}, True, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, True),
        ({"OTEL_SERVICE_NAME": "shop", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, False, False),
    ],
)
def test_a_signal_is_exported_where_its_endpoint_or_exporter_is_named(
    environment: dict[str, str], traces: bool, metrics: bool
) -> None:
    """clause: OTEL-ON"""
    assert plan_of(environment) == Plan(traces, metrics)


@pytest.mark.parametrize(
    ("more", "traces", "metrics", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False, False, ["OTEL_EXPORTER_OTLP_PROTOCOL"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, False, True, ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]),
        ({"OTEL_TRACES_EXPORTER": "console"}, False, True, ["OTEL_TRACES_EXPORTER"]),
        ({"OTEL_METRICS_EXPORTER": "prometheus,otlp"}, True, True, ["OTEL_METRICS_EXPORTER"]),
    ],
)
def test_what_cannot_be_had_is_said_once(more: dict[str, str], traces: bool, metrics: bool, named: list[str]) -> None:
    """clause: OTEL-ON"""
    plan = plan_of({**ENDPOINT, **more})
    assert (plan.traces, plan.metrics) == (traces, metrics)
    assert [complaint.split()[0] for complaint in plan.complaints] == named


@pytest.mark.parametrize(
    ("said", "wanted"),
    [("true", True), ("1", True), ("SPAN_ONLY", True), ("span_and_event", True)]
    + [(text, False) for text in ("", "false", "0", "no_content", "event_only", "perhaps")],
)
def test_words_are_asked_for_by_the_variable_of_the_conventions(said: str, wanted: bool) -> None:
    """clause: OTEL-CONTENT"""
    assert plan_of({**ENDPOINT, CONTENT: said}).content is wanted


def telemetry_logs(worker: Worker) -> list[Frame]:
    return [log for log in worker.logs if log["logger"] == "axon_port.telemetry"]


def test_a_protocol_that_is_not_there_is_a_warning() -> None:
    """clause: OTEL-ON"""
    with Collector() as collector:
        with Worker(env=collector.environment(OTEL_EXPORTER_OTLP_PROTOCOL="grpc")) as worker:
            succeeded(worker.run(worker.agent([{"text": "hello"}])))
        (log,) = telemetry_logs(worker)
        assert (log["level"], "grpc" in log["message"]) == ("warning", True)
        assert collector.bodies == []


BLOCKER = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "{missing}" or name.startswith("{missing}."):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize("missing", ["opentelemetry.sdk", "opentelemetry.exporter.otlp"])
def test_where_the_extra_is_missing_a_warning_says_what_to_install(tmp_path: Path, missing: str) -> None:
    """clause: OTEL-EXTRA"""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(missing=missing))
    with Collector() as collector:
        with Worker(env=collector.environment(), pythonpath=[tmp_path, REPOSITORY]) as worker:
            succeeded(worker.run(worker.agent([{"text": "hello"}])))
        (log,) = telemetry_logs(worker)
        assert log["level"] == "warning"
        assert f"{missing} is missing" in log["message"]
        assert "the extra otel brings: pip install '.[otel]' in axon-port's checkout" in log["message"]
        assert collector.bodies == []


def test_what_the_sdk_cannot_use_does_not_hinder_the_worker() -> None:
    """clause: OTEL-EXTRA"""
    with Collector() as collector:
        with Worker(env=collector.environment(OTEL_METRIC_EXPORT_INTERVAL="-1")) as worker:
            succeeded(worker.run(worker.agent([{"text": "hello"}])))
        assert [log["level"] for log in telemetry_logs(worker)] == ["error"]


IMPORTED = """
import sys, threading
def imported():
    ours = ("telemetry", "telemetry_plan", "meters", "exported", "otlp_keys")
    names = sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")))
    return {"theirs": names, "ours": [name for name in ours if f"axon_port.worker.{name}" in sys.modules],
            "threads": [thread.name for thread in threading.enumerate() if "Otel" in thread.name]}
"""


@pytest.mark.parametrize(
    ("env", "ours"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "shop"}, ["telemetry_plan"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, ["telemetry_plan", "otlp_keys"]),
    ],
)
def test_where_nobody_asks_nothing_is_imported_and_nothing_runs(
    tmp_path: Path, env: dict[str, str], ours: list[str]
) -> None:
    """clause: OTEL-ON"""
    (tmp_path / "looking.py").write_text(IMPORTED)
    # pydantic-ai brings logfire along, and imports it where it is: that imports the SDK, asked for or not.
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(missing="logfire"))
    with Worker("--allow-import", "looking", env=env, pythonpath=[tmp_path, REPOSITORY]) as worker:
        tool = {"name": "imported", "handler": {"python": "looking:imported"}}
        agent = worker.agent([{"tool_calls": [{"name": "imported"}]}, {"text": "done"}], tools=[tool])
        run = worker.start_stream(agent, events=["tool_return"], messages="none")
        returned, _ = worker.collect(run)
        assert returned["data"]["content"] == {"theirs": [], "ours": ours, "threads": []}


def test_what_reads_imports_nothing_of_telemetry() -> None:
    """clause: OTEL-ON"""
    source = (
        "import sys, axon_port.cli, axon_port.worker.serve; ours = 'axon_port.worker.telemetry';"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', ours))])"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_resource_says_who_speaks() -> None:
    """clause: OTEL-ON"""
    with Collector() as collector:
        env = {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
        for more in ({}, env):
            with Worker(env=collector.environment(**more)) as worker:
                succeeded(worker.run(worker.agent([{"text": "hello"}])))
        named: dict[str, Any] = {resource["service.name"]: resource for resource in collector.resources}
        assert set(named) == {"axon-port", "shop"}
        assert named["shop"]["deployment.environment"] == "test"
        assert named["shop"]["service.instance.id"] != named["axon-port"]["service.instance.id"]


def test_a_sampler_of_the_variables_is_used() -> None:
    """clause: OTEL-ON"""
    with Collector() as collector:
        with Worker(env=collector.environment(OTEL_TRACES_SAMPLER="always_off")) as worker:
            succeeded(worker.run(worker.agent([{"text": "hello"}])))
        collector.wait_for_value("axon_port.runs", 1, axon_port__outcome="succeeded")
        assert collector.spans == []
