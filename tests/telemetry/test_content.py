"""What leaves in a trace: no key ever, and nobody's words unless they were asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit import REPOSITORY, Worker, failed, succeeded
from tests.kit.providers import Provider

from .collector import Collector

KEY = "sk-canary-of-the-environment-0123456789"
FRAME_KEY = "sk-canary-of-a-frame-0123456789"
HEADER_KEY = "canary-of-the-collector"
BEARER = "canary-bearer-of-the-collector"
PASSWORD = "canary-in-the-address"
KEYS = (KEY, FRAME_KEY, HEADER_KEY, BEARER, PASSWORD)
HEADERS = f"x-honeycomb-team={HEADER_KEY},authorization=Bearer%20{BEARER},x-scope-orgid=production"

WORDS = {
    "PROMPT-WORDS", "ANSWER-WORDS", "ARGUMENT-WORDS", "RESULT-WORDS", "INSTRUCTION-WORDS", "SYSTEM-WORDS",
    "METADATA-WORDS", "RETRY-WORDS", "SAID-BY-THE-TOOL", "DESCRIPTION-WORDS",
}  # fmt: skip

SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

TOOLS: list[dict[str, Any]] = [
    {
        "name": "lookup",
        "description": "DESCRIPTION-WORDS",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
        "retries": 5,
    },
    {"name": "traced", "handler": {"python": "shop:traced"}},
    {"name": "broken", "handler": {"python": "shop:broken"}},
]


def a_talkative_run(worker: Worker, extra: str = "") -> None:
    """Words of every kind, with `extra` beside them; it ends in an error."""
    script = [
        {"tool_calls": [{"name": "lookup", "args": {"q": f"ARGUMENT-WORDS{extra}"}}]},
        {"tool_calls": [{"name": "lookup", "args": {"q": f"ARGUMENT-WORDS{extra}"}}]},
        {"tool_calls": [{"name": "traced", "args": {"text": f"ARGUMENT-WORDS{extra}"}}]},
        {
            "text": f"ANSWER-WORDS{extra}",
            "tool_calls": [{"name": "broken", "args": {"text": f"ARGUMENT-WORDS{extra}"}}],
        },
    ]
    agent = worker.agent(
        script, tools=TOOLS, instructions=f"INSTRUCTION-WORDS{extra}", system_prompt=f"SYSTEM-WORDS{extra}"
    )
    run = worker.start_run(agent, f"PROMPT-WORDS{extra}", metadata={"note": f"METADATA-WORDS{extra}"})
    worker.answer(worker.wait_for("tool_call", of=run), retry=f"RETRY-WORDS{extra}")
    worker.answer(worker.wait_for("tool_call", of=run), result=f"RESULT-WORDS{extra}")
    failed(worker.terminal(run), "ToolError")


def started(collector: Collector, folder: Path, **env: str) -> Worker:
    return Worker(
        "--allow-import",
        "shop",
        "--log-level",
        "debug",
        env={"OPENAI_API_KEY": KEY, **collector.environment(**env)},
        pythonpath=[folder, REPOSITORY],
    )


def test_without_being_asked_for_nobody_s_words_leave(folder: Path) -> None:
    """clause: OTEL-CONTENT"""
    with Collector() as collector:
        with started(collector, folder) as worker:
            a_talkative_run(worker)
            for module in ("told", "capable", "wrapped"):
                succeeded(worker.run(worker.agent(module=f"shop:{module}"), "PROMPT-WORDS"))
            worker.close_stdin()
            worker.wait_exit()
        exported = collector.everything().decode(errors="replace")
        assert {"break", "look into the shop"} <= {span.name for span in collector.spans}
        assert len([span for span in collector.spans if span.name.startswith("invoke_agent")]) == 4
        assert [words for words in WORDS if words in exported] == []
        broken = collector.wait_for_span("break")
        assert [dict(event.attributes) for event in broken.events] == [
            {"exception.type": "ValueError", "exception.escaped": "False"}
        ]
        assert collector.wait_for_span("look into the shop").attributes == {"n": 3}


@pytest.mark.parametrize("said", ["true", "SPAN_ONLY"])
def test_words_that_are_asked_for_leave_without_a_key(folder: Path, said: str) -> None:
    """clause: OTEL-CONTENT, OTEL-SECRETS"""
    with Collector() as collector:
        with started(collector, folder, **{SWITCH: said}) as worker:
            a_talkative_run(worker, extra=f" and {KEY}")
            worker.close_stdin()
            worker.wait_exit()
        exported = collector.everything().decode(errors="replace")
        assert sorted(words for words in WORDS if words not in exported) == []
        assert KEY not in exported
        assert "[redacted]" in exported
        chat = collector.wait_for_span("chat script")
        assert "PROMPT-WORDS and [redacted]" in json.dumps(chat.attributes)


def test_no_key_leaves_in_names_ids_errors_or_the_resource(folder: Path) -> None:
    """clause: OTEL-SECRETS"""
    with Collector() as collector, Provider("openai_chat", api_key=FRAME_KEY) as provider:
        env = {
            "OTEL_EXPORTER_OTLP_HEADERS": HEADERS,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url.replace("//", f"//somebody:{PASSWORD}@"),
            "OTEL_RESOURCE_ATTRIBUTES": f"deployment.note={KEY}",
            SWITCH: "true",
        }
        with started(collector, folder, **env) as worker:
            agent = worker.agent(model=provider.endpoint("a-model"), agent_id=f"agent {FRAME_KEY}")
            provider.say(text=" ".join(KEYS))
            run = worker.start_run(agent, f"{' '.join(KEYS)}", metadata={"key": FRAME_KEY})
            succeeded(worker.terminal(run))
            failing = worker.agent([{"error": {"status": 400, "message": f"wrong key {KEY}, {BEARER}"}}])
            failed(worker.run(failing, HEADER_KEY), "ModelHTTPError")
            worker.close_stdin()
            worker.wait_exit()
            said = json.dumps(worker.frames)
        exported = collector.everything().decode(errors="replace")
        assert collector.headers[0]["x-honeycomb-team"] == HEADER_KEY
        assert [key for key in KEYS if key in exported] == []
        assert [key for key in (*KEYS[2:], KEY) if key in said] == []
        assert "[redacted]" in exported
        assert collector.resources[0]["deployment.note"] == "[redacted]"


def test_a_key_that_a_limit_has_cut_leaves_no_half(folder: Path) -> None:
    """clause: OTEL-SECRETS"""
    with Collector() as collector:
        env = {SWITCH: "true", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "40"}
        with started(collector, folder, **env) as worker:
            tool = {"name": "traced", "handler": {"python": "shop:traced"}}
            args = {"text": f"{'x' * 20}{KEY}"}
            agent = worker.agent([{"tool_calls": [{"name": "traced", "args": args}]}, {"text": "done"}], tools=[tool])
            succeeded(worker.run(agent))
            worker.close_stdin()
            worker.wait_exit()
        assert collector.wait_for_span("look into the shop").attributes["shop.query"] == f"{'x' * 20}[redacted]"
        assert KEY[:8] not in collector.everything().decode(errors="replace")


SEEN = """
import os, subprocess, sys
SAY = "import os; print(sorted(n for n, v in os.environ.items() if n.startswith('OTEL_EXPORTER')), os.environ)"
def seen(): return subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True).stdout
"""


def test_a_collector_s_key_is_kept_from_children_and_from_logs(tmp_path: Path) -> None:
    """clause: SEC-CHILDREN, SEC-KEYS, OTEL-SECRETS"""
    (tmp_path / "seeing.py").write_text(SEEN)
    with Collector() as collector:
        env = collector.environment(OTEL_EXPORTER_OTLP_HEADERS=HEADERS)
        with Worker("--allow-import", "seeing", env=env, pythonpath=[tmp_path, REPOSITORY]) as worker:
            tool = {"name": "seen", "handler": {"python": "seeing:seen"}}
            agent = worker.agent([{"tool_calls": [{"name": "seen"}]}, {"text": "{{x}}"}], tools=[tool])
            answer = json.dumps(succeeded(worker.run(agent, f"{HEADER_KEY} {BEARER} in production")))
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in answer
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in answer
    assert [key for key in (HEADER_KEY, BEARER) if key in answer] == []
    assert "[redacted] [redacted] in production" in answer
