"""`axon-port doctor`: whether a worker could serve here, and with what (PROTOCOL.md, SHELL-DOCTOR).

Each check looks at one thing and says what it found, and what to do where that is not enough. It is a parent of the
worker it tries, so that it sees what a parent would see. No key is ever shown: what others wrote goes through the
worker's own redaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any, Final, Literal, TextIO
from urllib.parse import urlsplit

from axon_port import __version__
from axon_port.importing import import_apart
from axon_port.terminal import BOLD, GREEN, RED, YELLOW, painted, takes_colours
from axon_port.worker.telemetry_plan import INSTALL, Signal, endpoint, plan_of

Status = Literal["ok", "note", "failed"]

PACKAGES: Final = ("pydantic-ai-slim", "pydantic", "orjson", "anyio", "jsonschema-rs", "opentelemetry-api")
"""What a worker cannot do without."""

PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "google-cloud": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "azure": ("AZURE_OPENAI_API_KEY", "AZURE_VOICELIVE_API_KEY"),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK",),
    "alibaba": ("ALIBABA_API_KEY", "DASHSCOPE_API_KEY"),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cohere": ("CO_API_KEY",),
    "crusoe": ("CRUSOE_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "elevenlabs": ("ELEVENLABS_API_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "gateway": ("PYDANTIC_AI_GATEWAY_API_KEY", "PAIG_API_KEY"),
    "github": ("GITHUB_API_KEY",),
    "github-copilot": ("GITHUB_COPILOT_API_KEY", "GITHUB_COPILOT_API_TOKEN", "COPILOT_GITHUB_TOKEN"),
    "groq": ("GROQ_API_KEY",),
    "heroku": ("HEROKU_INFERENCE_KEY",),
    "huggingface": ("HF_TOKEN",),
    "meta": ("META_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshotai": ("MOONSHOTAI_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "ollama": ("OLLAMA_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "ovhcloud": ("OVHCLOUD_API_KEY",),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "snowflake": ("SNOWFLAKE_TOKEN",),
    "system-one": ("SYSTEM_ONE_API_KEY",),
    "together": ("TOGETHER_API_KEY",),
    "typesafe": ("TYPESAFE_API_KEY",),
    "vercel": ("VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"),
    "vllm": ("VLLM_API_KEY",),
    "voyageai": ("VOYAGE_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}
"""Where pydantic-ai's providers look for their keys. A key may come in a frame, too, so that none is no fault."""

ENDPOINTS: Final = (
    *("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_VOICELIVE_ENDPOINT", "CO_BASE_URL", "COPILOT_API_URL"),
    *("GITHUB_COPILOT_API_BASE", "GITHUB_COPILOT_BASE_URL", "GROQ_BASE_URL", "HEROKU_INFERENCE_URL"),
    *("MOONSHOTAI_BASE_URL", "OLLAMA_BASE_URL", "PAIG_BASE_URL", "PYDANTIC_AI_GATEWAY_BASE_URL"),
    *("SAMBANOVA_BASE_URL", "SYSTEM_ONE_BASE_URL", "TYPESAFE_BASE_URL", "VLLM_BASE_URL"),
)
"""Where they look for an address of their own."""

TELEMETRY: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
"""What the extra `otel` brings."""

ANSWER_SECONDS: Final = 3.0
"""For an endpoint to answer anything at all."""

SERVE_SECONDS: Final = 120.0
"""For a worker to start, to import pydantic-ai from a cold disk, to run once and to end."""

SHOWN_CHARACTERS: Final = 200
"""Of what others wrote: what a module printed, why something failed."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. `failed` means that a worker could not serve, or not what was asked for."""

    name: str
    status: Status
    text: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


def doctor(out: TextIO, *, as_json: bool, modules: Sequence[str], endpoints: Sequence[str], ask_endpoints: bool) -> int:
    """Make every check and show it as it comes; as JSON, all of them at the end. Exit status 0 if none failed, else 1.

    `endpoints` are asked in any case, those of the environment where `ask_endpoints` is true.
    """
    found: list[Check] = []
    for check in _without_keys(_checks(modules, endpoints, ask_endpoints)):
        found.append(check)
        if not as_json:
            _show(out, check)
    serves = all(check.status != "failed" for check in found)
    if as_json:
        json.dump({"serves": serves, "version": __version__, "checks": [asdict(check) for check in found]}, out)
        out.write("\n")
    else:
        verdict = "A worker can serve here." if serves else "A worker cannot serve here, or not what was asked for."
        out.write(f"\n{painted(verdict, BOLD, wanted=takes_colours(out))}\n")
    return 0 if serves else 1


def _without_keys(checks: Iterator[Check]) -> Iterator[Check]:
    """The checks that can be shown: none but the first ones, where what takes keys out of texts cannot be imported."""
    try:
        from axon_port.worker.redaction import Redactor
    except Exception as error:  # noqa: BLE001  whatever a broken library raises when it is imported
        why = str(error) if isinstance(error, ImportError) else type(error).__name__
        yield from (_python(), _packages(), Check("worker", "failed", f"it cannot start: {why[:SHOWN_CHARACTERS]}"))
        return
    redactor = Redactor()
    for check in checks:
        yield Check(check.name, check.status, redactor.text(check.text), redactor.value(dict(check.data)))


def _show(out: TextIO, check: Check) -> None:
    colour = {"ok": GREEN, "note": YELLOW, "failed": RED}[check.status]
    first, *more = map(_printable, check.text.splitlines() or [""])
    status = painted(f"{check.status:6}", colour, wanted=takes_colours(out))
    lines = [f"{status}  {check.name:12}  {first}", *(f"{'':22}{line}" for line in more)]
    out.write("".join(f"{line}\n" for line in lines))
    out.flush()


def _printable(line: str) -> str:
    # A control character that a module has written could move the cursor, or worse.
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


def _brief(text: str) -> str:
    from axon_port.wire.events import shortened

    return shortened(text, SHOWN_CHARACTERS)


def _checks(modules: Sequence[str], endpoints: Sequence[str], ask_endpoints: bool) -> Iterator[Check]:
    yield _python()
    yield _packages()
    yield _worker()
    yield _capabilities()
    yield _providers(os.environ)
    yield _telemetry(os.environ)
    configured = {name: os.environ[name] for name in ENDPOINTS if os.environ.get(name)}
    yield from _endpoints(configured, endpoints, ask_endpoints)
    yield from (_import(module) for module in modules)


# --- what is here


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    text = f"{version} at {sys.executable}, axon-port {__version__}"
    data = {"version": version, "executable": sys.executable, "platform": sys.platform}
    if not sys.platform.startswith("linux"):
        return Check("python", "note", f"{text}; nothing but Linux is tested", data)
    return Check("python", "ok", text, data)


def _packages() -> Check:
    versions = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        text = f"missing: {', '.join(missing)}; install axon-port again, with its dependencies"
        return Check("packages", "failed", text, versions)
    return Check("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()), versions)


def _capabilities() -> Check:
    """Which capabilities a command line could allow. Imports pydantic-ai, which may print."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            from axon_port.agents.capabilities import capability_names

            names = capability_names()
    except Exception as error:  # noqa: BLE001  whatever a broken environment raises
        why = _brief(f"{type(error).__name__}: {error}")
        return Check("capabilities", "failed", f"pydantic-ai cannot be imported: {why}")
    return Check("capabilities", "ok", ", ".join(names), {"names": names})


def _providers(environment: Mapping[str, str]) -> Check:
    having = {
        name: [variable for variable in variables if environment.get(variable)] for name, variables in PROVIDERS.items()
    }
    found = {name: variables for name, variables in having.items() if variables}
    data = {name: bool(variables) for name, variables in having.items()}
    if not found:
        return Check("providers", "note", "no provider has a key: set one, OPENAI_API_KEY for instance", data)
    text = ", ".join(f"{name} ({', '.join(variables)})" for name, variables in found.items())
    return Check("providers", "ok", f"a key for {text}", data)


def _telemetry(environment: Mapping[str, str]) -> Check:
    """What a worker would export, and whether it has what that takes."""
    plan = plan_of(environment)
    installed = None not in map(_version, TELEMETRY)
    signals: list[tuple[Signal, bool]] = [("TRACES", plan.traces), ("METRICS", plan.metrics)]
    places = {signal.lower(): _place(endpoint(environment, signal)) for signal, wanted in signals if wanted}
    data = {"installed": installed, "endpoints": places, "content": plan.content}
    if plan.complaints:
        return Check("telemetry", "note", "; ".join(plan.complaints), data)
    if not plan.exports:
        have = "is there" if installed else f"is missing: {INSTALL}"
        return Check(
            "telemetry", "ok", f"nobody asks for it (OTEL_EXPORTER_OTLP_ENDPOINT); the extra otel {have}", data
        )
    going = ", ".join(f"{signal} to {place or 'no http or https URL'}" for signal, place in places.items())
    if not installed or None in places.values():
        return Check(
            "telemetry", "note", going if installed else f"{going}: the extra otel is missing: {INSTALL}", data
        )
    return Check("telemetry", "ok", f"{going}, {'with' if plan.content else 'without'} prompts and answers", data)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# --- what answers


class _Heard(logging.Handler):
    """Keeps the logs of a worker, which would go to stderr otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().partition("\n")[0])


@contextlib.contextmanager
def _heard() -> Generator[list[str]]:
    """The first line of each log meanwhile."""
    handler, logger = _Heard(), logging.getLogger("axon_port")
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield handler.lines
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)


def _worker() -> Check:
    with _heard() as logs:
        try:
            ready = asyncio.run(_served())
        except Exception as error:  # noqa: BLE001  every reason is shown to a person
            why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            last = f"; its last log: {_brief(logs[-1])}" if logs else ""
            return Check("worker", "failed", f"a worker was started and did not serve: {_brief(why)}{last}")
    text = f"ready, answered a ping, ran an agent, ended in order (pydantic-ai {ready['pydantic_ai']})"
    return Check("worker", "ok", text, {"limits": ready["limits"], "protocol": ready["protocol"]})


async def _served() -> Mapping[str, Any]:
    """The `ready` frame of a worker that has done everything once."""
    from axon_port.client import Restarts, Worker

    # The other variables stay: whether a worker with them serves is what is asked. This one would begin somebody's
    # record anew.
    environment = {name: value for name, value in os.environ.items() if name != "AXON_PORT_RECORD"}
    async with asyncio.timeout(SERVE_SECONDS):
        async with Worker.spawn(restarts=Restarts(limit=0), env=environment) as worker:
            ready = worker.ready
            await worker.ping()
            await worker.create_agent("doctor", model={"script": [{"text": "well"}]})
            answer = await worker.run("doctor", "How are you?", messages="none")
            if answer.output != "well":
                raise RuntimeError(f"the scripted model said {answer.output!r}")
        return ready


def _endpoints(configured: Mapping[str, str], given: Sequence[str], ask: bool) -> Iterator[Check]:
    for url in given:
        yield _endpoint(url, url)
    if ask and not configured:
        text = f"the environment names none: not one of {', '.join(ENDPOINTS)} is set"
        yield Check("endpoint", "note", text, {"variables": list(ENDPOINTS)})
    for name, url in configured.items():
        if ask:
            yield _endpoint(url, name)
        else:
            yield Check("endpoint", "note", f"{name} is set and was not asked: give --endpoints", {"variable": name})


def _endpoint(url: str, called: str) -> Check:
    """Whether anything answers there; a status of any kind is an answer. No key is sent, no redirect followed."""
    place = _place(url)
    if place is None:
        return _no_address(called)
    shown = place if called == url else f"{called} ({place})"
    try:
        with _OPENER.open(_without_login(url), timeout=ANSWER_SECONDS) as answer:
            status = int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        status = error.code
    except http.client.InvalidURL:
        return _no_address(place)
    except (OSError, ValueError, http.client.HTTPException) as error:
        no_http = isinstance(error, http.client.HTTPException) and not isinstance(error, OSError)
        reason = "it speaks no HTTP" if no_http else getattr(error, "reason", error)
        return Check("endpoint", "failed", f"{shown} does not answer: {reason}", {"place": place, "answers": False})
    return Check("endpoint", "ok", f"{shown} answers, with HTTP status {status}", {"place": place, "answers": True})


def _no_address(called: str) -> Check:
    return Check("endpoint", "failed", f"{_brief(called.rpartition('@')[2])} is no http or https URL with a host")


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _place(url: str) -> str | None:
    """Scheme, host and port: what else stands in a URL may be secret."""
    try:
        parts = urlsplit(_without_login(url))
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.hostname else None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:  # noqa: PLR0917
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


# --- what is imported


def _import(module: str) -> Check:
    """Whether a module can be imported without a word on stdout, which a child or C code could write as well."""
    outcome = import_apart(module)
    data = {"module": module, "imported": outcome.failure is None, "printed_bytes": outcome.printed_bytes}
    if outcome.failure is not None:
        return Check("import", "failed", f"{module}: {_brief(outcome.failure)}", data)
    if outcome.printed_bytes:
        text = f"{module} prints when it is imported; a worker makes logs of it:\n{_brief(outcome.printed)}"
        return Check("import", "note", text, data)
    return Check("import", "ok", f"{module} is imported in silence", data)
