"""Section 2 and the first frame of section 3: ids, terminal frames, order."""

import importlib.metadata
import json
import platform
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.kit import REPOSITORY, Worker, encode, failed, pack, succeeded

from .scenarios import asking_agent, calls, says, start_asking, tool

CANARY = "sk-canary-0123456789abcdef"


def null_error(worker: Worker, error_type: str) -> dict[str, Any]:
    """The next error, which has to be of this type and to have no id."""
    error = failed(worker.wait_for("error"), error_type)
    assert error["id"] is None
    return error


# ---------------------------------------------------------------- ready


def test_ready_tells_who_the_worker_is_and_its_limits() -> None:
    """clause: EVT-READY"""
    with Worker() as worker:
        ready = worker.ready
        assert ready == {
            "type": "ready",
            "protocol": 1,
            "version": ready["version"],
            "pid": worker.pid,
            "python": platform.python_version(),
            "pydantic_ai": importlib.metadata.version("pydantic-ai"),
            "limits": {"max_frame_bytes": 67_108_864, "max_inflight": 1024, "max_tool_calls": 64},
        }


def test_ready_has_the_version_that_the_command_line_tells() -> None:
    command = [sys.executable, "-m", "axon_port", "--version"]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=30)
    with Worker() as worker:
        assert re.search(rf"(?<![\w.]){re.escape(worker.ready['version'])}(?![\w.])", told.stdout)


def test_commands_may_be_sent_before_ready_and_build_on_each_other() -> None:
    """clause: ENV-PIPELINE, LIFE-READY"""
    with Worker() as worker:
        script = {"script": [says("hello")]}
        worker.send_raw(
            encode({"type": "create_agent", "id": 1, "agent_id": "a", "model": script})
            + encode({"type": "run", "id": 2, "agent_id": "a", "prompt": "p"})
            + encode({"type": "stream", "id": 3, "agent_id": "a", "prompt": "p"})
            + encode({"type": "delete_agent", "id": 4, "agent_id": "a"})
            + encode({"type": "run", "id": 5, "agent_id": "a", "prompt": "p"})
        )
        succeeded(worker.terminal(1))
        assert succeeded(worker.terminal(2))["result"] == "hello"
        assert succeeded(worker.collect(3)[-1])["result"] == "hello"
        assert succeeded(worker.terminal(4))["result"] == {}
        failed(worker.terminal(5), "AgentNotFound")


# ---------------------------------------------------------------- ids

VALID_IDS = ["a", "1", "x" * 256, "😀" * 256, "ü \n\u0000", 0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)]
INVALID_IDS = [None, "", "x" * 257, 1.5, True, False, [], [1], {}, {"id": 1}, 2**63, -(2**63) - 1, 10**30]


@pytest.mark.parametrize("wanted", VALID_IDS, ids=lambda i: f"{type(i).__name__}-{str(i)[:8]!r}-{len(str(i))}")
def test_an_id_is_echoed_unchanged(worker: Worker, wanted: str | int) -> None:
    """clause: ENV-ID"""
    assert succeeded(worker.request({"type": "ping", "id": wanted}))["id"] == wanted


@pytest.mark.parametrize("unusable", INVALID_IDS, ids=lambda i: f"{type(i).__name__}-{str(i)[:8]}-{len(str(i))}")
def test_an_unusable_id_gets_one_error_without_an_id(worker: Worker, unusable: Any) -> None:
    """clause: ENV-ID
    fault: B15
    """
    worker.send({"type": "ping", "id": unusable})
    null_error(worker, "InvalidCommand")


def test_a_missing_id_gets_one_error_without_an_id(worker: Worker) -> None:
    """fault: B15"""
    worker.send({"type": "ping"})
    details = null_error(worker, "InvalidCommand")["details"]
    assert any("id" in item["loc"] for item in details)


def test_a_number_and_the_same_number_as_a_string_are_different_ids(worker: Worker) -> None:
    agent = asking_agent(worker)
    worker.send({"type": "run", "id": 77, "agent_id": agent, "prompt": "p"})
    worker.send({"type": "run", "id": "77", "agent_id": agent, "prompt": "p"})
    worker.answer(worker.wait_for("tool_call", of="77"), result=1)
    succeeded(worker.terminal("77"))
    worker.answer(worker.wait_for("tool_call", of=77), result=1)
    succeeded(worker.terminal(77))


def test_an_id_may_be_used_again_after_its_terminal_frame(worker: Worker) -> None:
    """clause: ENV-REUSE"""
    agent = worker.agent([says("again")])
    for _ in range(30):
        assert succeeded(worker.request({"type": "run", "id": "r", "agent_id": agent, "prompt": "p"}))
        stream = {"type": "stream", "id": "r", "agent_id": agent, "prompt": "p"}
        worker.send(stream)
        assert worker.collect("r")[0]["seq"] == 0


@pytest.mark.parametrize("kind", ["ping", "run", "stream", "list_agents", "stats", "cancel"])
def test_an_id_in_use_is_refused_without_an_id_and_the_first_is_untouched(worker: Worker, kind: str) -> None:
    """clause: ENV-DUPLICATE"""
    agent = asking_agent(worker)
    run, call = start_asking(worker, agent)
    more = {"run": {"agent_id": agent, "prompt": "p"}, "cancel": {"target": run}}
    more["stream"] = more["run"]
    worker.send({"type": kind, "id": run, **more.get(kind, {})})
    assert null_error(worker, "DuplicateId")["run_id"] == run
    worker.answer(call, result=1)
    assert succeeded(worker.terminal(run))["result"] == "done"


def test_a_thousand_duplicates_do_no_harm(worker: Worker) -> None:
    run, call = start_asking(worker)
    for _ in range(1000):
        worker.send({"type": "ping", "id": run})
    for _ in range(1000):
        null_error(worker, "DuplicateId")
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


# ---------------------------------------------------------------- order


def test_a_short_run_overtakes_a_long_one(worker: Worker) -> None:
    """clause: ENV-ORDER"""
    slow, call = start_asking(worker)
    assert succeeded(worker.run(worker.agent([says("quick")])))["result"] == "quick"
    worker.answer(call, result=1)
    succeeded(worker.terminal(slow))


def test_commands_take_effect_in_the_order_of_arrival(worker: Worker) -> None:
    """clause: ENV-PIPELINE, AGENT-ORDER"""
    first, second = {"script": [says("first")]}, {"script": [says("second")]}
    worker.send({"type": "create_agent", "id": "o1", "agent_id": "order", "model": first})
    worker.send({"type": "run", "id": "o2", "agent_id": "order", "prompt": "p"})
    worker.send({"type": "create_agent", "id": "o3", "agent_id": "order", "model": second, "replace": True})
    worker.send({"type": "run", "id": "o4", "agent_id": "order", "prompt": "p"})
    worker.send({"type": "delete_agent", "id": "o5", "agent_id": "order"})
    worker.send({"type": "run", "id": "o6", "agent_id": "order", "prompt": "p"})
    assert succeeded(worker.terminal("o2"))["result"] == "first"
    assert succeeded(worker.terminal("o4"))["result"] == "second"
    failed(worker.terminal("o6"), "AgentNotFound")
    for frame_id in ("o1", "o3", "o5"):
        succeeded(worker.terminal(frame_id))


# ---------------------------------------------------------------- fields that are wrong

TURN = {"text": "x"}
AGENT = {"type": "create_agent", "agent_id": "w", "model": {"script": [TURN]}}
RUN = {"type": "run", "agent_id": "nobody", "prompt": "p"}
STREAM = {**RUN, "type": "stream"}
SOMEBODY = {"type": "run", "agent_id": "somebody"}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "ping", "verbose": CANARY}, "verbose"),
    ({"type": "stats", "agent_id": CANARY}, "agent_id"),
    ({"type": "list_agents", "filter": CANARY}, "filter"),
    ({"type": "set_log_level"}, "level"),
    ({"type": "set_log_level", "level": CANARY}, "level"),
    ({"type": "set_log_level", "level": 20}, "level"),
    ({"type": "cancel"}, "target"),
    ({"type": "cancel", "target": 1.5}, "target"),
    ({"type": "cancel", "target": {"key": CANARY}}, "target"),
    ({"type": "enqueue", "prompt": CANARY}, "target"),
    ({"type": "enqueue", "target": 1}, "prompt"),
    ({"type": "enqueue", "target": 1, "prompt": "p", "priority": CANARY}, "priority"),
    ({"type": "shutdown", "grace_ms": CANARY}, "grace_ms"),
    ({"type": "shutdown", "grace_ms": -1}, "grace_ms"),
    ({"type": "delete_agent"}, "agent_id"),
    ({"type": "delete_agent", "agent_id": ""}, "agent_id"),
    ({"type": "delete_agent", "agent_id": CANARY * 20}, "agent_id"),
    ({"type": "run", "prompt": "p"}, "agent_id"),
    ({**RUN, "agent_id": 7}, "agent_id"),
    ({**RUN, "promt": CANARY}, "promt"),
    ({**RUN, "api_key": CANARY}, "api_key"),
    ({**RUN, "prompt": 7}, "prompt"),
    ({**RUN, "prompt": [{"type": "text", "txt": CANARY}]}, "prompt"),
    ({**RUN, "prompt": [{"type": CANARY, "url": "http://127.0.0.1/x"}]}, "prompt"),
    ({**SOMEBODY, "prompt": [{"type": "binary", "media_type": "image/png", "data": f"{CANARY}!"}]}, "prompt"),
    ({**RUN, "messages": CANARY}, "messages"),
    ({**RUN, "timeout_ms": CANARY}, "timeout_ms"),
    ({**RUN, "timeout_ms": -1}, "timeout_ms"),
    ({**RUN, "idle_timeout_ms": [CANARY]}, "idle_timeout_ms"),
    ({**RUN, "model": {"name": "openai:gpt-5.2", "api_key": [CANARY]}}, "api_key"),
    ({**RUN, "model": {"name": "openai:gpt-5.2", "key": CANARY}}, "key"),
    ({**RUN, "model": {"api_key": CANARY}}, "name"),
    ({**RUN, "retry": {"attempts": CANARY}}, "attempts"),
    ({**RUN, "retry": {"tries": 3}}, "tries"),
    ({**RUN, "usage_limits": CANARY}, "usage_limits"),
    ({**RUN, "metadata": CANARY}, "metadata"),
    ({**RUN, "deferred_results": CANARY}, "deferred_results"),
    ({**RUN, "events": ["text"]}, "events"),
    ({**RUN, "credit": 1}, "credit"),
    ({**STREAM, "events": [CANARY]}, "events"),
    ({**STREAM, "events": CANARY}, "events"),
    ({**STREAM, "credit": -1}, "credit"),
    ({**STREAM, "credit": 1.5}, "credit"),
    ({**STREAM, "credit": CANARY}, "credit"),
    ({**AGENT, "agent_id": "x" * 257}, "agent_id"),
    ({**AGENT, "agent_id": None}, "agent_id"),
    ({**AGENT, "tols": CANARY}, "tols"),
    ({**AGENT, "model": 7}, "model"),
    ({**AGENT, "model": {"script": CANARY}}, "script"),
    ({**AGENT, "model": {"script": [{"txt": CANARY}]}}, "txt"),
    ({**AGENT, "model": {"script": [{"text": [CANARY]}]}}, "text"),
    ({**AGENT, "model": {"script": [{"error": {"status": CANARY}}]}}, "status"),
    ({**AGENT, "model": {"script": [{"tool_calls": [{"args": {"k": CANARY}}]}]}}, "name"),
    ({**AGENT, "model": {"script": [TURN], "api_key": CANARY}}, "api_key"),
    ({**AGENT, "tools": [{"description": CANARY, "parameters": {}}]}, "name"),
    ({**AGENT, "tools": [tool(handler=CANARY)]}, "handler"),
    ({**AGENT, "tools": [tool(handler={"ruby": CANARY})]}, "handler"),
    ({**AGENT, "tools": [tool(paramters=CANARY)]}, "paramters"),
    ({**AGENT, "tools": [tool(timeout_ms=CANARY)]}, "timeout_ms"),
    ({**AGENT, "tools": {"lookup": CANARY}}, "tools"),
    ({**AGENT, "output_mode": CANARY}, "output_mode"),
    ({**AGENT, "end_strategy": CANARY}, "end_strategy"),
    ({**AGENT, "max_concurrency": CANARY}, "max_concurrency"),
    ({**AGENT, "max_concurrency": 0}, "max_concurrency"),
    ({**AGENT, "retries": CANARY}, "retries"),
    ({**AGENT, "result_retries": -1}, "result_retries"),
    ({**AGENT, "replace": CANARY}, "replace"),
    ({**AGENT, "instructions": {"text": CANARY}}, "instructions"),
    ({**AGENT, "system_prompt": 7}, "system_prompt"),
    ({**AGENT, "capabilities": CANARY}, "capabilities"),
]


@pytest.mark.parametrize(("command", "field"), WRONG, ids=[f"{n}-{c['type']}-{f}" for n, (c, f) in enumerate(WRONG)])
def test_a_wrong_field_is_named_and_its_value_is_not_echoed(
    worker: Worker, command: dict[str, Any], field: str
) -> None:
    """clause: ENV-FIELDS, ENV-NO-ECHO
    fault: B15
    """
    worker.ask("create_agent", agent_id="somebody", model={"script": [TURN]}, replace=True)
    before = len(worker.frames)
    error = failed(worker.ask(command["type"], **{**command, "id": "wrong"}), "InvalidCommand")
    assert any(field in item["loc"] for item in error["details"]), error["details"]
    assert CANARY not in json.dumps(worker.frames[before:])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({**RUN, "message_history": None, "deps": None, "model": None, "messages": None}, "AgentNotFound"),
        ({**RUN, "instructions": None, "usage_limits": None, "timeout_ms": None}, "AgentNotFound"),
        ({**RUN, "deferred_results": None, "traceparent": None, "retry": None}, "AgentNotFound"),
        ({**RUN, "output_schema": None, "metadata": None, "idle_timeout_ms": None}, "AgentNotFound"),
        ({**STREAM, "events": None, "credit": None}, "AgentNotFound"),
        ({**RUN, "prompt": None}, "InvalidCommand"),
    ],
)
def test_null_for_an_optional_field_is_as_if_it_were_absent(
    worker: Worker, command: dict[str, Any], expected: str
) -> None:
    """clause: ENV-NULL"""
    failed(worker.ask(command["type"], **command), expected)


def test_null_for_each_optional_field_of_an_agent_is_as_if_it_were_absent(worker: Worker) -> None:
    optional = (
        *("instructions", "system_prompt", "tools", "output_schema", "result_type", "output_mode", "deps"),
        *("deps_schema", "model_settings", "usage_limits", "end_strategy", "metadata", "retries", "result_retries"),
        *("tool_timeout_ms", "timeout_ms", "idle_timeout_ms", "max_concurrency", "retry", "capabilities"),
        *("module", "replace"),
    )
    agent = worker.agent([says("fine")], **dict.fromkeys(optional))
    assert succeeded(worker.run(agent))["result"] == "fine"


def test_null_for_each_optional_field_of_a_tool_is_as_if_it_were_absent(worker: Worker) -> None:
    optional = ("handler", "timeout_ms", "retries", "sequential", "requires_approval", "strict")
    agent = asking_agent(worker, tools=[{**tool(), **dict.fromkeys(optional)}])
    run, call = start_asking(worker, agent)
    worker.answer(call, result=1, retry=None, failed=None, error=None)
    succeeded(worker.terminal(run))


# ---------------------------------------------------------------- answers that are wrong


def test_a_result_for_a_call_that_was_never_made_is_an_error_without_an_id(worker: Worker) -> None:
    """clause: ENV-ANSWERS, CALL-UNKNOWN"""
    run, call = start_asking(worker)
    worker.send({"type": "tool_result", "id": run, "call_id": "999999999", "result": 1})
    error = null_error(worker, "UnknownToolCall")
    assert (error["run_id"], error["call_id"]) == (run, "999999999")
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_a_result_with_the_id_of_another_run_is_for_a_call_that_was_never_made(worker: Worker) -> None:
    """clause: CALL-UNKNOWN"""
    agent = asking_agent(worker)
    first, first_call = start_asking(worker, agent)
    second, second_call = start_asking(worker, agent)
    worker.send({"type": "tool_result", "id": first, "call_id": second_call["call_id"], "result": 1})
    assert null_error(worker, "UnknownToolCall")["run_id"] == first
    worker.answer(first_call, result=1)
    worker.answer(second_call, result=1)
    succeeded(worker.terminal(first))
    succeeded(worker.terminal(second))


def test_a_result_for_a_call_that_waits_for_its_turn_is_an_unknown_call() -> None:
    """Its number is known from a chunk; were the answer dropped, the run would wait for ever. clause: CALL-UNKNOWN"""
    with Worker("--max-tool-calls", "1") as worker:
        agent = worker.agent([calls("lookup", "lookup"), says("done")], tools=[tool()])
        stream = worker.start_stream(agent, events=["tool_call"])
        call = worker.wait_for("tool_call", of=stream)
        chunks = [worker.wait_for("chunk", of=stream)["data"]["call_id"] for _ in range(2)]
        (waits,) = set(chunks) - {call["call_id"]}
        worker.send({"type": "tool_result", "id": stream, "call_id": waits, "result": "early"})
        error = null_error(worker, "UnknownToolCall")
        assert (error["run_id"], error["call_id"]) == (stream, waits)
        worker.answer(call, result=1)
        second = worker.wait_for("tool_call", of=stream)
        assert second["call_id"] == waits
        worker.answer(second, result=2)
        succeeded(worker.terminal(stream))


def test_a_result_for_a_run_that_never_was_is_an_unknown_call(worker: Worker) -> None:
    worker.send({"type": "tool_result", "id": "nobody", "call_id": "999999999", "result": 1})
    assert null_error(worker, "UnknownToolCall")["run_id"] == "nobody"


def test_an_approval_of_a_call_that_was_never_made_is_an_unknown_call(worker: Worker) -> None:
    run, call = start_asking(worker)
    worker.send({"type": "approval", "id": run, "call_id": "999999999", "approved": True})
    assert null_error(worker, "UnknownToolCall")["run_id"] == run
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


BAD_RESULTS: list[dict[str, Any]] = [
    {},
    {"result": 1, "error": "both"},
    {"result": None, "failed": "both"},
    {"retry": 7},
    {"failed": {"message": "no"}},
    {"error": ["no"]},
    {"result": 1, "resullt": 2},
    {"result": 1, "details": {}},
]


@pytest.mark.parametrize("outcome", BAD_RESULTS, ids=lambda o: "-".join(o) or "nothing")
def test_a_result_of_the_wrong_shape_is_refused_and_the_run_waits_on(worker: Worker, outcome: dict[str, Any]) -> None:
    """clause: ENV-ANSWERS"""
    run, call = start_asking(worker)
    worker.answer(call, **outcome)
    error = null_error(worker, "InvalidCommand")
    assert (error["run_id"], error["call_id"]) == (run, call["call_id"])
    worker.answer(call, result=1)
    assert succeeded(worker.terminal(run))["result"] == "done"


def test_a_result_without_a_call_id_is_refused_and_the_run_waits_on(worker: Worker) -> None:
    run, call = start_asking(worker)
    worker.send({"type": "tool_result", "id": run, "result": 1})
    error = null_error(worker, "InvalidCommand")
    assert error["run_id"] == run
    assert "call_id" not in error
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_an_answer_with_an_unusable_id_is_refused(worker: Worker) -> None:
    worker.send({"type": "tool_result", "id": None, "call_id": "1", "result": 1})
    null_error(worker, "InvalidCommand")


def test_a_second_result_for_a_call_is_dropped(worker: Worker) -> None:
    """clause: CALL-LATE"""
    agent = worker.agent([calls("lookup"), calls("lookup"), says("done")], tools=[tool()])
    run, call = start_asking(worker, agent)
    worker.answer(call, result="first")
    second = worker.wait_for("tool_call", of=run)
    worker.answer(call, result="again")
    worker.answer(second, result="second")
    answer = succeeded(worker.terminal(run))
    worker.answer(call, result="late")
    succeeded(worker.ask("ping"))
    contents = [part["content"] for message in answer["messages"] for part in message["parts"] if "outcome" in part]
    assert contents == ["first", "second"]
    assert not [frame for frame in worker.frames if frame["type"] == "error" and frame.get("run_id") == run]


@pytest.mark.parametrize("credit", [-1, "1", 1.5, None, [], True])
def test_a_wrong_credit_is_refused_and_the_stream_goes_on(worker: Worker, credit: Any) -> None:
    """clause: STREAM-WRONG"""
    stream = worker.start_stream(worker.agent([says("text")]), credit=0)
    worker.send({"type": "credit", "id": stream, "n": credit})
    assert null_error(worker, "InvalidCommand")["run_id"] == stream
    worker.send({"type": "credit", "id": stream, "n": 100})
    assert succeeded(worker.collect(stream)[-1])["result"] == "text"


def test_credit_for_a_run_that_asked_for_none_or_has_ended_is_dropped(worker: Worker) -> None:
    """clause: ENV-CROSSED, STREAM-OPEN"""
    run, call = start_asking(worker)
    worker.send({"type": "credit", "id": run, "n": 5})
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))
    worker.send({"type": "credit", "id": run, "n": 5})
    before = len(worker.frames)
    succeeded(worker.ask("ping"))
    assert [frame["type"] for frame in worker.frames[before:] if frame["type"] != "log"] == ["result"]


def test_what_crosses_an_end_on_the_wire_leaves_a_debug_log() -> None:
    """clause: ENV-CROSSED, CALL-LATE"""
    with Worker("--log-level", "debug") as worker:
        run, call = start_asking(worker)
        worker.answer(call, result=1)
        succeeded(worker.terminal(run))
        succeeded(worker.ask("ping"))
        worker.forget()
        worker.answer(call, result=2)
        assert worker.wait_for("log")["level"] == "debug"
        worker.send({"type": "credit", "id": run, "n": 5})
        assert worker.wait_for("log")["level"] == "debug"


def test_ten_thousand_answers_and_cancels_for_nothing_do_no_harm(worker: Worker) -> None:
    for n in range(5000):
        worker.send({"type": "tool_result", "id": f"n{n}", "call_id": "999999999", "result": n})
        worker.send({"type": "cancel", "id": f"c{n}", "target": f"n{n}"})
    for n in range(5000):
        assert succeeded(worker.terminal(f"c{n}"))["result"] == {"cancelled": False}
    errors = [frame for frame in worker.frames if frame["type"] == "error" and frame.get("call_id") == "999999999"]
    assert len([error for error in errors if str(error["run_id"]).startswith("n")]) >= 5000


def test_raw_garbage_between_commands_does_not_disturb_a_run(worker: Worker) -> None:
    """clause: ENV-ONE-TERMINAL"""
    run, call = start_asking(worker)
    for payload in (b"", b"[]", b"{", b'{"type":"nope"}', b'{"type":"ping"}', b"\xff"):
        worker.send_raw(pack(payload))
    worker.answer(call, result=1)
    assert succeeded(worker.terminal(run))["result"] == "done"
