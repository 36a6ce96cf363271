"""`axon-port doctor`: what it finds, what it never shows, and its exit status."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pydantic_ai
import pytest

from axon_port import doctor as doctor_module
from axon_port.doctor import ENDPOINTS, PROVIDERS, SHOWN_CHARACTERS, Check, doctor
from axon_port.worker.telemetry_plan import CONTENT
from tests.beam.programs import environment
from tests.kit import REPOSITORY
from tests.kit.processes import is_running

KEY = "sk-canary-0123456789"
TIMEOUT = 120.0


def run_doctor(*arguments: str, cwd: Path = REPOSITORY, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in environment().items() if not name.endswith("_API_KEY")}
    return subprocess.run(
        [sys.executable, "-m", "axon_port", "doctor", *arguments],
        cwd=cwd,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def died(pid: int) -> bool:
    """Whether a process that was killed is gone soon."""
    deadline = time.monotonic() + TIMEOUT
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def by_name(report: Any) -> dict[str, Any]:
    return {check["name"]: check for check in report["checks"]}


def test_where_a_worker_serves_the_status_is_zero_and_no_key_is_shown(tmp_path: Path) -> None:
    """clause: SHELL-DOCTOR"""
    (tmp_path / "loud.py").write_text("import os; os.write(1, f'{os.environ[\"OPENAI_API_KEY\"]} is it\\n'.encode())")
    path = f"{REPOSITORY}{os.pathsep}{tmp_path}"
    done = run_doctor("--json", "--import", "loud", OPENAI_API_KEY=KEY, GROQ_API_KEY=KEY, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["serves"] is True
    found = by_name(report)
    assert set(found) == {"python", "packages", "worker", "capabilities", "providers", "telemetry", "import"}
    assert {check["status"] for check in report["checks"]} == {"ok", "note"}
    assert found["python"]["data"]["executable"] == sys.executable
    assert found["packages"]["data"]["pydantic-ai-slim"] == pydantic_ai.__version__
    assert found["worker"]["data"]["limits"]["max_inflight"] == 1024
    assert "MCP" in found["capabilities"]["data"]["names"]
    having = [name for name, has in found["providers"]["data"].items() if has]
    assert having == ["openai", "groq"]
    assert found["import"]["status"] == "note"
    assert "[redacted] is it" in found["import"]["text"]


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [
        ({}, "ok", "nobody asks for it"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://me:{KEY}@collector:4318/x?key={KEY}"},
            "ok",
            "https://collector:4318,",
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "ok", "traces to http://localhost:4318, without prompts"),
        ({"OTEL_TRACES_EXPORTER": "otlp", CONTENT: "true"}, "ok", "traces to http://localhost:4318, with prompts"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "note", "traces to no http or https URL"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "note",
            "http/protobuf only",
        ),
    ],
)
def test_it_says_where_telemetry_goes(environment: dict[str, str], status: str, said: str) -> None:
    """clause: SHELL-DOCTOR"""
    check = doctor_module._telemetry(environment)  # pyright: ignore[reportPrivateUsage]
    assert (check.status, said in check.text) == (status, True), check.text
    assert KEY not in f"{check.text} {check.data}"


def test_it_says_what_telemetry_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: SHELL-DOCTOR"""
    monkeypatch.setattr(doctor_module, "TELEMETRY", ("axon-port-no-such-package",))
    asked = doctor_module._telemetry({"OTEL_TRACES_EXPORTER": "otlp"})  # pyright: ignore[reportPrivateUsage]
    unasked = doctor_module._telemetry({})  # pyright: ignore[reportPrivateUsage]
    advice = "the extra otel is missing: pip install '.[otel]' in axon-port's checkout, or pip install pydantic-ai"
    assert (asked.status, advice in asked.text) == ("note", True)
    assert (unasked.status, advice in unasked.text) == ("ok", True)


def test_where_no_worker_can_serve_the_status_is_one(tmp_path: Path) -> None:
    """clause: SHELL-DOCTOR"""
    (tmp_path / "pydantic_ai.py").write_text("raise ImportError('this is not the library')")
    done = run_doctor("--json", PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}")
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert report["serves"] is False
    failed = {name for name, check in by_name(report).items() if check["status"] == "failed"}
    assert failed == {"worker", "capabilities"}
    assert all("this is not the library" in by_name(report)[name]["text"] for name in failed)


def test_where_packages_are_missing_it_names_them() -> None:
    """clause: SHELL-DOCTOR"""
    # Without site-packages.
    command = [sys.executable, "-S", "-m", "axon_port", "doctor"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert f"failed  packages      missing: {', '.join(doctor_module.PACKAGES)};" in lines[1]
    assert lines[2] == "failed  worker        it cannot start: No module named 'orjson'"
    assert lines[-1] == "A worker cannot serve here, or not what was asked for."


def test_a_package_that_is_broken_is_no_traceback(tmp_path: Path) -> None:
    """clause: SHELL-DOCTOR"""
    (tmp_path / "orjson.py").write_text(f"raise RuntimeError({KEY!r})")
    done = run_doctor("--json", PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}")
    assert (done.returncode, done.stderr) == (1, "")
    assert by_name(json.loads(done.stdout))["worker"]["text"] == "it cannot start: RuntimeError"


def test_its_worker_begins_nobody_s_record_anew(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("of somebody")
    assert run_doctor(AXON_PORT_RECORD=str(tmp_path / "record")).returncode == 0
    assert (tmp_path / "record").read_text() == "of somebody"


def test_a_wrong_variable_is_found_and_stops_nothing() -> None:
    """clause: SHELL-DOCTOR"""
    done = run_doctor("--json", AXON_PORT_MAX_INFLIGHT="none")
    assert done.returncode == 1
    failed = [check["name"] for check in json.loads(done.stdout)["checks"] if check["status"] == "failed"]
    assert failed == ["worker"]
    assert "AXON_PORT_MAX_INFLIGHT" in done.stderr


@pytest.mark.parametrize(("module", "status"), [("json", 0), ("no_such_module", 1)])
def test_its_status_does_not_depend_on_who_reads(module: str, status: int) -> None:
    """clause: SHELL-DOCTOR"""
    unread, out = os.pipe()
    os.close(unread)
    command = [sys.executable, "-m", "axon_port", "doctor", "--import", module]
    done = subprocess.run(command, env=environment(), stdout=out, stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    os.close(out)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.fixture
def one_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker, no imports: what is shown of one check."""
    monkeypatch.setattr(doctor_module, "_worker", lambda: Check("worker", "failed", "it is\nnot well"))
    monkeypatch.setattr(doctor_module, "_capabilities", lambda: Check("capabilities", "ok", "MCP"))


@pytest.mark.usefixtures("one_check")
def test_a_person_sees_a_line_for_each_check_and_a_verdict() -> None:
    out = io.StringIO()
    assert doctor(out, as_json=False, modules=[], endpoints=[], ask_endpoints=False) == 1
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("ok      python        ")
    assert "failed  worker        it is" in lines
    assert f"{'':22}not well" in lines
    assert lines[-1] == "A worker cannot serve here, or not what was asked for."
    assert "\N{ESCAPE}" not in out.getvalue()


def the_import_of(module: str) -> Check:
    return doctor_module._import(module)  # pyright: ignore[reportPrivateUsage]


def test_a_module_is_imported_in_silence_with_words_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clause: SHELL-DOCTOR"""
    (tmp_path / "quiet_one.py").write_text("import sys; print('on stderr', file=sys.stderr)")
    (tmp_path / "broken_one.py").write_text("raise ValueError('no licence')")
    (tmp_path / "loud_one.py").write_text("import subprocess; subprocess.run(['echo', 'hello' * 100])")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert the_import_of("quiet_one").status == "ok"
    broken = the_import_of("broken_one")
    assert (broken.status, broken.text) == ("failed", "broken_one: ValueError: no licence")
    loud = the_import_of("loud_one")
    assert (loud.status, loud.data["printed_bytes"]) == ("note", 501)
    assert len(loud.text) < 300
    assert the_import_of("no_such_module").status == "failed"


def test_a_module_that_ends_the_process_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: SHELL-DOCTOR"""
    (tmp_path / "leaving_one.py").write_text("import sys; sys.exit(0)")
    (tmp_path / "crashing_one.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    left = the_import_of("leaving_one")
    assert (left.status, left.text) == ("failed", "leaving_one: it ended the process, with status 0")
    assert the_import_of("crashing_one").text == "crashing_one: signal 9 ended the process"


def test_what_a_module_has_started_is_killed_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clause: SHELL-DOCTOR"""
    pid = tmp_path / "pid"
    (tmp_path / "starting_one.py").write_text(
        f"import subprocess; open({str(pid)!r}, 'w').write(str(subprocess.Popen(['sleep', '{2 * TIMEOUT}']).pid))"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr("axon_port.importing.SECONDS", TIMEOUT)
    assert the_import_of("starting_one").status == "ok"
    assert died(int(pid.read_text()))


def test_a_module_whose_import_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_one.py").write_text(f"import time; time.sleep({TIMEOUT})")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr("axon_port.importing.SECONDS", 0.5)
    slow = the_import_of("slow_one")
    assert (slow.status, slow.text) == ("failed", "slow_one: the import did not end within 0.5 s")


def test_why_a_module_fails_is_cut_and_what_cannot_be_printed_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clause: SHELL-DOCTOR"""
    (tmp_path / "wordy_one.py").write_text(r"raise ValueError('\x1b[31mred\0' + 'x' * 100_000)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    checks = [the_import_of("wordy_one")]
    monkeypatch.setattr(doctor_module, "_checks", lambda _modules, _endpoints, _ask: checks)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    out = io.StringIO()
    assert doctor(out, as_json=False, modules=[], endpoints=[], ask_endpoints=False) == 1
    line = out.getvalue().splitlines()[0]
    assert line.startswith(r"failed  import        wordy_one: ValueError: \x1b[31mred\x00xxx")
    assert line.endswith("more characters)")
    assert len(line) < 300


def test_what_a_module_prints_is_cut_without_half_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: SHELL-DOCTOR, SEC-KEYS"""
    (tmp_path / "telling_one.py").write_text(f"print({'x' * (SHOWN_CHARACTERS - 10) + KEY!r})")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    checks = [the_import_of("telling_one")]
    monkeypatch.setattr(doctor_module, "_checks", lambda _modules, _endpoints, _ask: checks)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setenv("SHOP_TOKEN", KEY)
    out = io.StringIO()
    doctor(out, as_json=False, modules=[], endpoints=[], ask_endpoints=False)
    assert "xxx[redacted]" in out.getvalue()
    assert KEY[:4] not in out.getvalue()


class Teapot(BaseHTTPRequestHandler):
    """Answers with a status, a redirect to nowhere, or not at all."""

    def do_GET(self) -> None:
        if self.path == "/no_http":
            self.wfile.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")
            return
        if self.path == "/silent":
            self.server.released.wait(TIMEOUT)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            return
        self.send_response({"/moved": 302, "/fine": 200}.get(self.path, 418))
        self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name it has there
        return


@pytest.fixture
def address() -> Generator[str]:
    """The address of a server that answers."""
    server: Any = HTTPServer(("127.0.0.1", 0), Teapot)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def asked(url: str, called: str | None = None) -> Check:
    return doctor_module._endpoint(url, called or url)  # pyright: ignore[reportPrivateUsage]


def test_an_endpoint_that_answers_anything_is_there(address: str) -> None:
    """clause: SHELL-DOCTOR"""
    teapot = asked(f"{address}/v1?key={KEY}", "OPENAI_BASE_URL")
    assert (teapot.status, teapot.data["answers"]) == ("ok", True)
    assert teapot.text == f"OPENAI_BASE_URL ({address}) answers, with HTTP status 418"
    moved = asked(f"{address}/moved")
    assert moved.text.endswith("with HTTP status 302")
    assert asked(f"{address}/fine").text.endswith("with HTTP status 200")


@pytest.mark.usefixtures("one_check")
def test_an_endpoint_that_is_given_is_asked_without_demand(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: SHELL-DOCTOR"""
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    out = io.StringIO()
    doctor(out, as_json=True, modules=[], endpoints=[address], ask_endpoints=False)
    (check,) = [check for check in json.loads(out.getvalue())["checks"] if check["name"] == "endpoint"]
    assert (check["status"], check["text"]) == ("ok", f"{address} answers, with HTTP status 418")


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: SHELL-DOCTOR"""
    monkeypatch.setattr(doctor_module, "PACKAGES", ("pytest", "no-such-package"))
    check = doctor_module._packages()  # pyright: ignore[reportPrivateUsage]
    assert (check.status, check.data["no-such-package"]) == ("failed", None)
    assert check.text.startswith("missing: no-such-package;")


def test_an_endpoint_that_is_silent_or_gone_does_not_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "ANSWER_SECONDS", 0.2)
    for url in (f"{address}/silent", "http://127.0.0.1:9/v1"):
        check = asked(url)
        assert (check.status, check.data["answers"]) == ("failed", False)
        assert "does not answer" in check.text


def test_an_endpoint_that_speaks_no_http_does_not_answer(address: str) -> None:
    """clause: SHELL-DOCTOR"""
    check = asked(f"{address}/no_http")
    assert (check.status, check.data["answers"]) == ("failed", False)
    assert check.text == f"{address} does not answer: it speaks no HTTP"


@pytest.mark.parametrize("called", [None, "OPENAI_BASE_URL"])
def test_a_login_in_an_address_is_neither_sent_nor_shown(address: str, called: str | None) -> None:
    """clause: SHELL-DOCTOR"""
    check = asked(address.replace("//", f"//user:{KEY}@"), called)
    assert check.text.endswith("answers, with HTTP status 418")
    wrong = [
        asked(url, called) for url in (f"http://user:{KEY}@host:port/", f"http://user:{KEY}@/", f"ftp://{KEY}@host/")
    ]
    wrong.append(asked(f"{address}/a b?key={KEY}", called))
    assert {one.status for one in wrong} == {"failed"}
    assert all(KEY not in f"{one.text}{one.data}" for one in [check, *wrong])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:9", "http://", "http://host:port/", "ftp://host/"])
def test_what_is_no_address_is_not_asked(url: str) -> None:
    check = asked(url)
    assert check.status == "failed"
    assert "is no http or https URL" in check.text


@pytest.mark.usefixtures("one_check")
def test_endpoints_of_the_environment_are_asked_only_on_demand(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_BASE_URL", address)
    for ask, status in ((False, "note"), (True, "ok")):
        out = io.StringIO()
        doctor(out, as_json=True, modules=[], endpoints=[], ask_endpoints=ask)
        (check,) = [check for check in json.loads(out.getvalue())["checks"] if check["name"] == "endpoint"]
        assert check["status"] == status
        assert "OLLAMA_BASE_URL" in check["text"]


@pytest.mark.usefixtures("one_check")
@pytest.mark.parametrize("given", [False, True], ids=["none given", "one given"])
def test_where_the_environment_names_no_endpoint_it_says_so(
    address: str, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """clause: SHELL-DOCTOR"""
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    said = f"the environment names none: not one of {', '.join(ENDPOINTS)} is set"
    for as_json in (False, True):
        out = io.StringIO()
        doctor(out, as_json=as_json, modules=[], endpoints=[address] * given, ask_endpoints=True)
        if as_json:
            checks = [check for check in json.loads(out.getvalue())["checks"] if check["name"] == "endpoint"]
            assert [check["status"] for check in checks] == ["ok"] * given + ["note"]
            assert (checks[-1]["text"], checks[-1]["data"]) == (said, {"variables": list(ENDPOINTS)})
        else:
            assert f"note    endpoint      {said}" in out.getvalue().splitlines()


@pytest.mark.usefixtures("one_check")
def test_of_endpoints_that_nobody_asked_for_there_is_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: SHELL-DOCTOR"""
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    out = io.StringIO()
    doctor(out, as_json=True, modules=[], endpoints=[], ask_endpoints=False)
    assert "endpoint" not in by_name(json.loads(out.getvalue()))


SOURCES = "".join(path.read_text() for path in (Path(pydantic_ai.__file__).parent / "providers").glob("*.py"))


@pytest.mark.parametrize("variable", [*ENDPOINTS, *(name for names in PROVIDERS.values() for name in names)])
def test_a_variable_is_one_that_pydantic_ai_s_providers_read(variable: str) -> None:
    assert f"'{variable}'" in SOURCES


OTHERS = {
    "AWS_CONNECT_TIMEOUT": "a time",
    "AWS_DEFAULT_REGION": "a place",
    "AWS_READ_TIMEOUT": "a time",
    "AWS_REGION": "a place",
    "AZURE_VOICELIVE_API_VERSION": "a version",
    "CODEX_HOME": "a folder",
    "GITHUB_COPILOT_INTEGRATION_ID": "a name that is sent along",
    "GOOGLE_CLOUD_LOCATION": "a place",
    "GOOGLE_CLOUD_PROJECT": "a name",
    "OPENAI_API_VERSION": "a version",
    "OPENROUTER_APP_TITLE": "a name that is sent along",
    "OPENROUTER_APP_URL": "an address that is sent along, and not asked",
    "SNOWFLAKE_ACCOUNT": "a name",
}
"""What pydantic-ai's providers read besides: neither a key nor an address of theirs."""


def test_no_variable_that_pydantic_ai_s_providers_read_is_missing() -> None:
    read = set(re.findall(r"""(?:getenv\(|environ\.get\(|environ\[)\s*['"](\w+)""", SOURCES))
    keys = {name for names in PROVIDERS.values() for name in names}
    # OpenAI's own client reads its two.
    assert read | {"OPENAI_API_KEY", "OPENAI_BASE_URL"} == keys | {*ENDPOINTS} | OTHERS.keys()
