"""No frame makes the worker import, open, start or connect anything: every audit event of hostile commands is heard.

The worker runs under `watched.py`, which writes down what no rule allows; the report must stay empty. That the watch
hears at all is shown by commands that are allowed to do what is forbidden elsewhere.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai.capabilities import CAPABILITY_TYPES

from axon_port.wire.commands import COMMANDS
from tests.kit import REPOSITORY, Worker, succeeded

from . import hostile
from .watched import MARK

AT_ONCE = 200
SCRIPT = {"script": [{"text": "done"}]}
ENDS_OF_A_COMMAND = {
    "InvalidCommand", "InvalidAgent", "ImportNotAllowed", "CapabilityNotAllowed", "InvalidHistory", "InvalidDeps",
    "ValidationError", "UnexpectedModelBehavior", "ToolRetriesExceeded", "AgentNotFound",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory, first on the path, with a module that must not be imported and a file for nobody."""
    code = "def run(*_):\n    return 'ran'\nagent = None\n"
    (tmp_path / MARK).mkdir()
    (tmp_path / MARK / "__init__.py").write_text(code)
    (tmp_path / MARK / "sub.py").write_text(code)
    (tmp_path / "canary.py").write_text("{}")
    return tmp_path


def watched(place: Path, *options: str) -> Worker:
    """A worker under watch."""
    program = (sys.executable, "-m", "tests.security.watched", str(place / "report"))
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    return Worker(*options, program=program, env=env, cwd=place, pythonpath=[place, REPOSITORY])


def heard(place: Path) -> list[Any]:
    """What the watch wrote down."""
    return [json.loads(line) for line in (place / "report").read_text().splitlines()]


def events(place: Path) -> set[str]:
    """The kinds of what the watch wrote down."""
    return {event for event, _ in heard(place)}


def send_all(worker: Worker, kind: str, commands: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers to many commands, a bounded number of them at a time."""
    taken: list[dict[str, Any]] = []
    waiting: list[Any] = []
    for command in commands:
        waiting.append(worker.submit(kind, **command))
        if len(waiting) >= AT_ONCE:
            taken += [worker.terminal(each) for each in waiting]
            waiting.clear()
    return taken + [worker.terminal(each) for each in waiting]


def assert_refused_or_done(answers: list[dict[str, Any]]) -> None:
    """Each command ended in a way that blames the command, or not at all."""
    ends = {answer["error_type"] for answer in answers if answer["type"] == "error"}
    assert answers
    assert ends <= ENDS_OF_A_COMMAND, [a for a in answers if a.get("error_type") not in {None, *ENDS_OF_A_COMMAND}][:3]


def test_no_text_of_an_agent_reaches_anything(place: Path) -> None:
    """clause: SEC-IMPORT, SCHEMA-REFERENCES, TPL-VALUE, MODEL-NAME
    fault: H61
    """
    texts = hostile.texts(place / "canary.py")
    with watched(place) as worker:
        assert_refused_or_done(send_all(worker, "create_agent", hostile.with_each(hostile.create_agent(), texts)))
        for model in hostile.models():
            commands = hostile.with_each({"agent_id": "hostile", "model": model, "replace": True}, texts)
            assert_refused_or_done(send_all(worker, "create_agent", commands))
        assert_refused_or_done(send_all(worker, "create_agent", hostile.with_handlers(texts)))
    assert heard(place) == []


def test_no_text_of_a_run_reaches_anything(place: Path) -> None:
    """clause: SEC-IMPORT, SCHEMA-REFERENCES, RUN-HISTORY, RUN-TRACE
    fault: H61
    """
    texts = hostile.texts(place / "canary.py")
    tool = {"name": "f", "parameters": {"type": "object"}, "handler": "deferred"}
    calling = {"script": [{"text": "I look", "tool_calls": [{"name": "f", "args": {"q": "x"}}]}]}
    with watched(place) as worker:
        succeeded(worker.ask("create_agent", agent_id="plain", model=SCRIPT, tools=[tool], instructions="{{name}}"))
        deferred = succeeded(worker.run("plain", model=calling, deps={"name": "n"}))
        history = succeeded(worker.run("plain", model=SCRIPT, deps={"name": "n"}))["messages"]
        assert_refused_or_done(send_all(worker, "run", hostile.with_each(hostile.run(history), texts)))
        (call,) = deferred["deferred"]["calls"]
        carried = {
            "agent_id": "plain", "message_history": deferred["messages"], "deps": {"name": "n"},
            "deferred_results": {call["call_id"]: {"result": {"a": "b", "c": ["d"]}}},
        }  # fmt: skip
        assert_refused_or_done(send_all(worker, "run", hostile.with_each(carried, texts)))
        models = ({"agent_id": "plain", "prompt": "go", "deps": {"name": "n"}, "model": text} for text in texts)
        assert_refused_or_done(send_all(worker, "run", models))
    assert heard(place) == []


def test_no_argument_of_a_capability_reaches_anything(place: Path) -> None:
    """All are allowed but servers that are processes; making an agent starts and opens nothing.

    clause: SEC-CAPABILITY, SEC-MCP, CAP-SPECS
    fault: H61
    """
    names = [name for name in CAPABILITY_TYPES if name != "LocalWorkspace"]
    options = [word for name in names for word in ("--allow-capability", name)]
    texts = hostile.texts(place / "canary.py")
    with watched(place, *options) as worker:
        assert_refused_or_done(send_all(worker, "create_agent", hostile.with_capabilities(names, texts)))
    assert heard(place) == []


def test_a_run_with_a_capability_reaches_nothing_by_itself(place: Path) -> None:
    """clause: SEC-CAPABILITY"""
    specs: list[Any] = [
        *(name for name in CAPABILITY_TYPES if name not in {"MCP", "PrefixTools", "LocalWorkspace", "NativeTool"}),
        {"LocalWorkspace": str(place)},
        {"LocalWorkspace": {"working_dir": str(place), "env": {"BASH_ENV": str(place / "canary.py")}}},
        {"FileUnderstanding": {"fallback_subagent_model": f"{MARK}:x"}},
        {"ImageGeneration": {"native": False, "fallback_image_model": f"{MARK}:x"}},
        {"XSearch": {"fallback_subagent_model": f"{MARK}:x"}},
        {"NativeTool": {"kind": "mcp_server", "id": "x", "url": str(place / "canary.py")}},
        {"PrefixTools": {"prefix": "p", "capability": {"name": "LocalWorkspace", "arguments": [str(place)]}}},
    ]
    options = [word for name in CAPABILITY_TYPES for word in ("--allow-capability", name)]
    with watched(place, *options) as worker:
        for spec in specs:
            made = worker.ask("create_agent", agent_id="a", model=SCRIPT, capabilities=[spec], replace=True)
            if made["type"] == "result":
                worker.run("a", [{"type": "image_url", "url": f"file://{place / 'canary.py'}"}])
    assert heard(place) == []


def test_no_text_of_any_other_command_reaches_anything(place: Path) -> None:
    """The commands that make no agent and no run, and the answers to one, in each of their fields.

    clause: SEC-IMPORT, ENV-FIELDS
    fault: H61
    """
    texts = hostile.texts(place / "canary.py")
    plain = {"name": "f", "parameters": {"type": "object"}}
    with watched(place) as worker:
        succeeded(worker.ask("create_agent", agent_id="plain", model=SCRIPT, tools=[plain]))
        for kind, command in hostile.others().items():
            answers = send_all(worker, kind, hostile.with_each(command, texts))
            assert_refused_or_done(answers)
        calling = {"script": [{"tool_calls": [{"name": "f"}] * 2}, {"text": "done"}]}
        person = {**plain, "requires_approval": True}
        succeeded(worker.ask("create_agent", agent_id="calling", model=calling, tools=[person]))
        for text in texts:
            run = worker.start_run("calling")
            refused, approved = (worker.wait_for("approval_request", of=run) for _ in range(2))
            worker.decide(refused, approved=False, message=text)
            worker.decide(approved, approved=True, args={"text": text, text: [text]})
            worker.send({"type": "credit", "id": run, "n": text})
            content = [{"type": "text", "text": text}, {"type": "document_url", "url": text}]
            worker.answer(worker.wait_for("tool_call", of=run), result={"a": text, text: [text]}, content=content)
            worker.terminal(run)
    assert {*hostile.others(), "create_agent", "run", "tool_result", "approval", "credit"} == set(COMMANDS)
    assert heard(place) == []


# ---------------------------------------------------------------- that the watch hears


def test_the_watch_hears_an_import(place: Path) -> None:
    with watched(place, "--allow-import", MARK) as worker:
        worker.agent([], tools=[{"name": "f", "handler": {"python": f"{MARK}.sub:run"}}])
    assert {"open", "exec"} <= events(place)


def test_the_watch_hears_an_import_from_the_standard_library(place: Path) -> None:
    with watched(place, "--allow-import", "wave") as worker:
        tool = {"name": "f", "handler": {"python": "wave:nothing"}}
        worker.ask("create_agent", agent_id="a", model="test", tools=[tool])
    assert events(place) == {"exec"}


def test_the_watch_hears_a_process(place: Path) -> None:
    with watched(place, "--allow-capability", "MCP", "--allow-capability", "MCP:stdio") as worker:
        spec = {"MCP": {"url": str(place / "canary.py")}}
        worker.run(worker.agent([{"text": "done"}], capabilities=[spec]))
    assert "subprocess.Popen" in events(place)


def test_the_watch_hears_a_connection(place: Path) -> None:
    with watched(place) as worker:
        worker.run(worker.agent(model={"name": "x", "base_url": "http://127.0.0.1:9/v1"}))
    assert "socket.connect" in events(place)
