"""Keys by every road out: nothing that the worker writes holds one, at log level debug, whatever carries it.

The keys are of the environment, of an `api_key`, and of one whose agent was refused. Everything received is searched.
"""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.kit import REPOSITORY, Frame, Worker, failed, succeeded, texts
from tests.kit.providers import Provider

ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-canary-env-openai-0123456789",
    "SHOP_TOKEN": "canary+token/of=the==shop",
    "CLIENT_SECRET": "canary-secret-8",
    "AWS_SECRET_ACCESS_KEY": "canaryAccessKey0123456789",
    "DATABASE_PASSWORD": "canary-password!",
    "SHOP_CREDENTIALS": "canary-credentials",
    "TRAILING_API_KEY": "canary-with-a-line-break\n",
    "azure_api_key": "canary-in-small-letters",
}
FRAME_KEY = "sk-canary-of-a-frame-0123456789"
REFUSED_KEY = "sk-canary-of-a-refused-frame"
KEYS = [*(value.strip() for value in ENVIRONMENT.values()), FRAME_KEY, REFUSED_KEY]
ALL = " and ".join(KEYS)
SHOWN = " and ".join("[redacted]" for _ in KEYS)

LEAKY = """
import logging, os, sys, threading, warnings
from pydantic_ai import ModelRetry, RunContext, ToolFailed
log = logging.getLogger("leaky")
class Hostile(Exception):
    pass
def give(text: str): return {"text": text, "list": [text], "environment": dict(os.environ)}
def tell(text: str):
    print(text)
    sys.stderr.write(text)
    os.write(1, text.encode() + b"\\n")
    log.debug("debug %s", text)
    log.warning("by extra", extra={"extra": text, "nested": {"deep": [text]}})
    log.getChild("httpx").info(text)
    warnings.warn(text)
    return "told"
def tell_outside(text: str):
    def told():
        log.error("outside %s", text, extra={"extra": text, "nested": {"deep": [text]}})
        try:
            throw(text)
        except Hostile:
            log.exception("failed outside")
        print(text)
    thread = threading.Thread(target=told)
    thread.start()
    thread.join()
    return "told"
def throw(text: str): raise Hostile(text, {"key": text})
def throw_later(text: str):
    try:
        throw(text)
    except Hostile as error:
        error.add_note(text)
        raise ValueError(text) from error
def retry(text: str): raise ModelRetry(text)
def give_up(text: str): raise ToolFailed(text)
def leave(text: str): raise SystemExit(text)
def from_deps(ctx: RunContext): return ctx.deps
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tools that leak on purpose."""
    root = tmp_path_factory.mktemp("modules")
    (root / "leaky.py").write_text(LEAKY)
    return root


@pytest.fixture(scope="module")
def worker(folder: Path) -> Iterator[Worker]:
    """A worker that has been given every key."""
    options = ("--allow-import", "leaky", "--log-level", "debug")
    with Worker(*options, env=ENVIRONMENT, pythonpath=[folder, REPOSITORY]) as made:
        made.agent(model={"name": "x", "base_url": "http://127.0.0.1:9/v1", "api_key": FRAME_KEY})
        refused = {"name": "cohere:x", "base_url": "http://127.0.0.1:9/v1", "api_key": REFUSED_KEY}
        failed(made.ask("create_agent", agent_id="refused", model=refused), "InvalidAgent")
        yield made


@pytest.fixture(autouse=True)
def nothing_leaks(worker: Worker) -> Iterator[None]:
    """Everything that was received during a test is searched. What code writes to stderr itself is its own word."""
    before = len(worker.frames)
    worker.forget()
    yield
    succeeded(worker.ask("ping"))
    written = json.dumps(worker.frames[before:], ensure_ascii=False)
    assert [key for key in KEYS if key in written] == []


def tool(function: str) -> dict[str, Any]:
    """One of the leaky tools."""
    return {"name": function, "handler": {"python": f"leaky:{function}"}}


def calls(name: str, **args: Any) -> dict[str, Any]:
    """A turn in which the model calls a tool."""
    return {"tool_calls": [{"name": name, "args": args}]}


def test_a_result_and_its_messages_hold_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS"""
    answer = succeeded(worker.run(worker.agent([{"text": ALL, "thinking": ALL}]), ALL, messages="all"))
    assert answer["result"] == SHOWN


@pytest.mark.parametrize("mode", ["tool", "native", "prompted"])
def test_a_structured_result_holds_no_key(worker: Worker, mode: str) -> None:
    """clause: SEC-KEYS"""
    value = {"name": ALL, "id": ALL, "type": ALL, "deep": [{"model": ALL}, ALL]}
    agent = worker.agent([{"output": value}], output_schema={"type": "object"}, output_mode=mode)
    shown = {"name": SHOWN, "id": SHOWN, "type": SHOWN, "deep": [{"model": SHOWN}, SHOWN]}
    assert succeeded(worker.run(agent))["result"] == shown
    run = worker.start_stream(agent, events=["output", "text", "tool_call", "tool_return"])
    assert succeeded(worker.collect(run)[-1])["result"] == shown


def test_chunks_hold_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS, STREAM-TEXT"""
    agent = worker.agent([{"text": ALL, "thinking": ALL}, {"text": "done"}])
    frames = worker.collect(worker.start_stream(agent, events=["text", "thinking"]))
    assert texts(frames, "text") == [SHOWN]
    assert texts(frames, "thinking") == [SHOWN]


@pytest.mark.parametrize("kind", ["text", "thinking", "output"])
def test_a_key_in_two_halves_is_no_key_in_chunks(worker: Worker, kind: str) -> None:
    """As a service would stream it, letter by letter even. clause: SEC-KEYS, STREAM-OUTPUT
    fault: H63
    """
    with Provider("openai_chat") as provider:
        fields: dict[str, Any] = (
            {"output_schema": {"type": "object"}, "output_mode": "native"} if kind == "output" else {}
        )
        agent = worker.agent(model=provider.endpoint("m"), **fields)
        said = json.dumps({"a": ALL, "b": 1}) if kind == "output" else f"it is {ALL}, is it not?"
        for pieces in ([*said], [said[:25], said[25:70], said[70:]]):
            if kind == "thinking":
                provider.say(thinking="".join(pieces), text="done")
            else:
                provider.say(chunks=pieces)
            frames = worker.collect(worker.start_stream(agent, events=[kind]))
            succeeded(frames[-1])
            told = texts(frames, kind)
            assert "[redacted]" in json.dumps(told)
            joined = json.dumps(told) if kind == "output" else "".join(told)
            parts = {key[start : start + 9] for key in KEYS for start in range(len(key) - 8)}
            assert [part for part in parts if part in joined] == []


@pytest.mark.parametrize("approval", [False, True])
def test_calls_to_the_parent_and_what_it_answers_hold_no_key(worker: Worker, approval: bool) -> None:
    """clause: SEC-KEYS"""
    ask = {"name": "ask", "parameters": {"type": "object"}, "requires_approval": approval}
    agent = worker.agent([calls("ask", text=ALL, deep=[{"x": ALL}]), {"text": "done"}], tools=[ask])
    run = worker.start_stream(agent, events=["tool_call", "tool_return"])
    if approval:
        worker.decide(worker.wait_for("approval_request", of=run), approved=True, args={"text": ALL})
    worker.answer(worker.wait_for("tool_call", of=run), result={"text": ALL, "list": [ALL]})
    succeeded(worker.collect(run)[-1])


def test_a_refusal_holds_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS"""
    ask = {"name": "ask", "parameters": {"type": "object"}, "requires_approval": True}
    run = worker.start_run(worker.agent([calls("ask"), {"text": "done"}], tools=[ask]))
    worker.decide(worker.wait_for("approval_request", of=run), approved=False, message=ALL)
    succeeded(worker.terminal(run))


@pytest.mark.parametrize("outcome", ["retry", "failed", "error"])
def test_what_the_parent_says_of_a_call_holds_no_key(worker: Worker, outcome: str) -> None:
    """clause: SEC-KEYS"""
    ask = {"name": "ask", "parameters": {"type": "object"}}
    run = worker.start_run(worker.agent([calls("ask"), {"text": "done"}], tools=[ask]))
    more = {"details": {"text": ALL, "name": ALL}} if outcome == "error" else {}
    worker.answer(worker.wait_for("tool_call", of=run), **{outcome: ALL}, **more)
    answer = worker.terminal(run)
    assert answer["type"] == ("error" if outcome == "error" else "result")


def test_deferred_calls_hold_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS, DEFER-TOOL"""
    later = {"name": "later", "parameters": {"type": "object"}, "handler": "deferred"}
    agent = worker.agent([calls("later", text=ALL)], tools=[later])
    assert succeeded(worker.run(agent))["deferred"]["calls"][0]["args"] == {"text": SHOWN}


@pytest.mark.parametrize("function", ["give", "tell", "throw", "throw_later", "retry", "give_up", "leave"])
def test_functions_of_the_worker_cannot_tell_a_key(worker: Worker, function: str) -> None:
    """Returned, printed, logged, raised. clause: SEC-KEYS, LOG-RECORDS, LOG-LINES, TOOL-RAISES
    fault: H63
    """
    agent = worker.agent([calls(function, text=ALL), {"text": "done"}], tools=[tool(function)])
    run = worker.start_stream(agent, events=["tool_call", "tool_return"])
    answer = worker.collect(run)[-1]
    if function in {"throw", "throw_later", "leave"}:
        failed(answer, "ToolError")
        worker.wait_for_log(lambda log: "[redacted]" in log.get("traceback", ""))


def test_what_a_thread_logs_outside_of_its_run_holds_no_key(worker: Worker) -> None:
    """No run's table of answers stands between it and the pipe. clause: SEC-KEYS, LOG-RUN, LOG-RECORDS
    fault: H63
    """
    agent = worker.agent([calls("tell_outside", text=ALL), {"text": "done"}], tools=[tool("tell_outside")])
    run = worker.start_run(agent)
    told = worker.wait_for_log(lambda log: "outside [redacted]" in log["message"])
    assert (told["message"], told["fields"]["extra"]) == (f"outside {SHOWN}", SHOWN)
    assert "[redacted]" in told["fields"]["nested"]
    assert "[redacted]" in worker.wait_for_log(lambda log: log["message"] == "failed outside")["traceback"]
    worker.wait_for_log(lambda log: log["logger"] == "stdout" and log["message"] == SHOWN)
    assert "id" not in told
    succeeded(worker.terminal(run))


def test_a_key_of_several_lines_is_printed_without_any(folder: Path) -> None:
    """In a worker of its own: the lines come one by one. clause: SEC-KEYS, LOG-LINES"""
    lines = ["MIIEcanaryIBADANBgkqhkiG9w0BAQEFAASC", "Q29uZmlkZW50aWFsLXNlY3JldC1saW5l"]
    key = "\n".join(["-----BEGIN KEY-----", *lines, "-----END KEY-----", ""])
    env = {"DEPLOY_PRIVATE_KEY": key}
    options = ("--allow-import", "leaky", "--log-level", "debug")
    with Worker(*options, env=env, pythonpath=[folder, REPOSITORY]) as own:
        agent = own.agent([calls("tell", text=f"{key}that was all"), {"text": key}], tools=[tool("tell")])
        assert succeeded(own.run(agent))["result"] == "[redacted]"
        own.wait_for_log(lambda log: log["logger"] == "stdout" and log["message"].startswith("that was all"))
        written = json.dumps(own.frames)
    assert "-----BEGIN KEY-----" in written
    assert [line for line in lines if line in written] == []


def test_deps_and_templates_hold_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS, TPL-VALUE"""
    fields = {"instructions": "Say {{key}}", "system_prompt": "Never say {{key}}", "tools": [tool("from_deps")]}
    agent = worker.agent([calls("from_deps"), {"text": "done"}], **fields)
    answer = succeeded(worker.run(agent, deps={"key": ALL}, metadata={"key": ALL}))
    assert "[redacted]" in json.dumps(answer["messages"])


def test_a_providers_error_holds_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS, ERR-TYPES"""
    answer = failed(worker.run(worker.agent([{"error": {"status": 401, "message": ALL}}])), "ModelHTTPError")
    assert answer["details"]["body"] == {"error": {"message": SHOWN}}


def test_faults_of_output_and_of_arguments_hold_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS, OUT-RETRIES"""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    agent = worker.agent([{"output": {"n": ALL}}, {"output": {"n": ALL}}], output_schema=schema)
    failed(worker.run(agent), "ValidationError")
    strict = {"name": "ask", "parameters": schema}
    agent = worker.agent([calls("ask", n=ALL), calls("ask", n=ALL)], tools=[strict])
    failed(worker.run(agent), "ToolRetriesExceeded")


def test_a_refused_command_does_not_repeat_a_key(worker: Worker) -> None:
    """clause: SEC-KEYS, ENV-NO-ECHO
    fault: H63
    """
    unseen = "sk-canary-that-was-never-accepted"
    before = len(worker.frames)
    schema = {"type": "object", "properties": {"n": {"type": "integer", "const": 1, "pattern": "x"}}}
    commands: list[dict[str, Any]] = [
        {"type": "create_agent", "agent_id": "a", "model": {"name": "x", "api_key": unseen, "base": unseen}},
        {"type": "create_agent", "agent_id": "a", "model": {"name": "x", "api_key": [unseen]}},
        {"type": "create_agent", "agent_id": "a", "model": {"name": 5, "api_key": unseen}},
        {"type": "create_agent", "agent_id": "a", "model": [{"name": "x", "api_key": unseen}], "retries": unseen},
        {"type": "create_agent", "agent_id": "a", "model": "test", "output_mode": unseen},
        {"type": "create_agent", "agent_id": "a", "model": "test", "tools": [{"name": "x", "handler": unseen}]},
        {"type": "create_agent", "agent_id": "a", "model": "test", "model_settings": {"temperature": unseen}},
        {"type": "create_agent", "agent_id": "a", "module": unseen},
        {"type": "create_agent", "agent_id": "a", "model": {"name": "openai:x", "api_key": unseen + "\n"}},
        {"type": "create_agent", "agent_id": "a", "model": {"name": "x", "base_url": f"http://u:{unseen}@127.0.0.1"}},
        {"type": "create_agent", "agent_id": "a", "model": {"name": "x", "base_url": f"http://127.0.0.1?k={unseen}"}},
        {"type": "create_agent", "agent_id": "a", "model": {"name": "x", "base_url": unseen}},
        {"type": "run", "agent_id": "a", "prompt": [{"type": unseen}]},
        {"type": "run", "agent_id": "a", "prompt": "x", "message_history": [{"kind": unseen, "parts": unseen}]},
        {"type": "set_log_level", "level": unseen},
    ]
    succeeded(worker.ask("create_agent", agent_id="a", model="test", deps_schema=schema, replace=True))
    failed(worker.run("a", deps={"n": unseen}), "InvalidDeps")
    succeeded(worker.ask("delete_agent", agent_id="a"))
    succeeded(worker.ask("create_agent", agent_id="a", model="test", replace=True))
    for command in commands:
        assert worker.ask(command.pop("type"), **command)["type"] == "error", command
    assert unseen not in json.dumps(worker.frames[before:])


def test_counters_and_lists_hold_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS, AGENT-LABEL, LIFE-STATS"""
    endpoint = {"name": "y", "base_url": "http://127.0.0.1:9/v1", "api_key": FRAME_KEY}
    worker.agent(model=[endpoint, {**endpoint, "name": "z"}])
    succeeded(worker.ask("list_agents"))
    succeeded(worker.ask("stats"))


def test_a_run_that_fails_inside_tells_no_key(worker: Worker) -> None:
    """clause: SEC-KEYS, ERR-INTERNAL"""
    endpoint = {"name": "x", "base_url": "http://127.0.0.1:9/v1", "api_key": FRAME_KEY}
    failed(worker.run(worker.agent(model=endpoint), ALL), "ModelConnectionError")


class Echo(BaseHTTPRequestHandler):
    """A provider that says no and repeats everything that it was sent."""

    def do_POST(self) -> None:
        """Answers 401."""
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        body = json.dumps({"error": {"message": f"{self.headers} {sent}", "code": "bad_key"}}).encode()
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Echo", self.headers.get("Authorization", ""))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of what is overridden
        """Says nothing on stderr."""


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of that provider."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", ["x", "anthropic:x", "google:x", "openai-responses:x"])
@pytest.mark.parametrize("kind", ["run", "stream"])
def test_a_provider_that_repeats_the_key_does_not_bring_it_back(
    worker: Worker, echo: str, name: str, kind: str
) -> None:
    """clause: SEC-KEYS
    fault: H63
    """
    base = f"{echo}/v1" if "openai" in name or name == "x" else echo
    agent = worker.agent(model={"name": name, "base_url": base, "api_key": FRAME_KEY})
    answer = failed(worker.ask(kind, agent_id=agent, prompt="go"), "ModelHTTPError")
    assert answer["details"]["status_code"] == 401


# ---------------------------------------------------------------- what stays


def test_what_only_begins_like_a_key_is_told_in_chunks_as_in_the_result(worker: Worker) -> None:
    """Where nothing was cut. clause: SEC-KEYS"""
    pieces = [f"Set it to {FRAME_KEY[:9]}…", " (your key); it was ", f"{FRAME_KEY[:9]}… (2024)."]
    agent = worker.agent([{"text": "".join(pieces), "chunks": pieces}])
    frames = worker.collect(worker.start_stream(agent))
    assert "".join(texts(frames)) == succeeded(frames[-1])["result"] == "".join(pieces)


def test_ids_and_names_that_equal_a_key_stay_as_they_are() -> None:
    """In a worker of its own, since here the key is to be seen. clause: SEC-KEYS, ENV-ID"""
    key = "shop-agent-of-today"
    with Worker(env={"SHOP_TOKEN": key}) as own:
        made = own.ask("create_agent", id=key, agent_id=key, model={"script": [calls(key), {"text": f"I am {key}"}]},
                       tools=[{"name": key, "parameters": {"type": "object"}}])  # fmt: skip
        assert (made["id"], succeeded(made)["result"]["agent_id"], made["result"]["tools"]) == (key, key, [key])
        own.submit("stream", id=key, agent_id=key, prompt="go", events=["tool_call", "tool_return"])
        call = own.wait_for("tool_call", of=key)
        assert (call["name"], call["agent_id"]) == (key, key)
        own.answer(call, result=key)
        frames = own.collect(key)
        assert [chunk["name"] for chunk in (*texts(frames, "tool_call"), *texts(frames, "tool_return"))] == [key, key]
        answer = succeeded(frames[-1])
        assert (answer["agent_id"], answer["result"]) == (key, "I am [redacted]")
        (listed,) = succeeded(own.ask("list_agents"))["result"]["agents"]
        assert (listed["agent_id"], listed["tools"]) == (key, [key])
        assert set(succeeded(own.ask("stats"))["result"]["agents"]) == {key}
        missing = failed(own.run(f"{key}s"), "AgentNotFound")
        assert missing["details"] == {"agent_id": f"{key}s"}


def test_a_history_with_a_tool_whose_name_equals_a_key_can_be_given_back() -> None:
    """clause: SEC-KEYS, RUN-HISTORY"""
    key = "look-up-the-order"
    later = {"name": key, "parameters": {"type": "object"}, "handler": "deferred"}
    with Worker(env={"SHOP_TOKEN": key}) as own:
        agent = own.agent([calls(key), {"text": "done"}], tools=[later])
        deferred = succeeded(own.run(agent))
        (call,) = deferred["deferred"]["calls"]
        assert call["name"] == key
        results = {call["call_id"]: {"result": 1}}
        succeeded(own.ask("run", agent_id=agent, message_history=deferred["messages"], deferred_results=results,
                          model={"script": [{"text": "done"}]}))  # fmt: skip


@pytest.mark.parametrize("key", ["short12", "a", ""])
def test_what_is_shorter_than_eight_characters_is_no_key(key: str) -> None:
    """clause: SEC-KEYS"""
    with Worker(env={"SHOP_TOKEN": key}) as own:
        assert succeeded(own.run(own.agent([{"text": f"a short12 {key}"}])))["result"] == f"a short12 {key}"


@pytest.mark.parametrize("name", ["SHOP_TOKENS", "TOKENIZERS_PARALLELISM", "MONKEY", "PASSWORDLESS", "KEY", "API"])
def test_a_variable_of_another_name_holds_no_key(name: str) -> None:
    """A part is a whole word of the name. clause: SEC-KEYS"""
    with Worker(env={name: "an ordinary value"}) as own:
        assert succeeded(own.run(own.agent([{"text": "an ordinary value"}])))["result"] == "an ordinary value"


ODD = ['quote"in-the-key', "back\\slash-in-the-key", "schlüssel-\u00df-\u20ac", "tab\tin-the-key", "line\nin-the-key"]


@pytest.mark.parametrize("key", ODD, ids=ascii)
def test_a_key_of_odd_characters_is_found_too(key: str) -> None:
    """Also where its text stands inside of JSON text, and where a traceback shows it. clause: SEC-KEYS"""
    with Worker("--log-level", "debug", env={"SHOP_SECRET": key}) as own:
        frames: list[Frame] = [
            own.run(own.agent([{"text": f"it is {key}"}])),
            own.run(own.agent([{"output": {"key": key}}], output_schema={"type": "object"})),
            own.run(own.agent([{"output": [key]}], output_schema={"type": "array"})),
        ]
        assert [frame["type"] for frame in frames] == ["result"] * 3
        forms = {key, key.strip(), json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1]}
        seen = [frame for frame in frames if any(form in text for text in _strings(frame) for form in forms)]
        assert seen == []


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _strings(item)
