"""Python handlers and ready agents: what code inside the worker may do, and what it cannot do to the worker."""

import json
import math
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit import Frame, Worker, failed, in_time, succeeded
from tests.kit.messages import tool_returns

from .conftest import CONTRACT, python_worker_with
from .scenarios import calls, python_tool, says, start_asking, tool

IN_TIME_S = 25.0
"""Less than the default drain timeout, which is 30 s."""

CPU_S = 120.0
"""For what ends after some seconds of CPU time, on a machine that has other things to do."""


def agent_with(worker: Worker, function: str, args: dict[str, Any] | None = None, **fields: Any) -> str:
    """An agent that calls one python tool once and then says `done`."""
    return worker.agent([calls((function, args or {})), says("done")], tools=[python_tool(function, **fields)])


def run_tool(worker: Worker, function: str, args: dict[str, Any] | None = None, **fields: Any) -> Frame:
    """The terminal frame of a run that calls one python tool once."""
    return worker.run(agent_with(worker, function, args, **fields))


def returned(worker: Worker, function: str, args: dict[str, Any] | None = None, **fields: Any) -> Any:
    """What the model saw of one call of a python tool, in a run that ended well."""
    answer = succeeded(run_tool(worker, function, args, **fields))
    ((_, content, _),) = tool_returns(answer["messages"])
    return content


def stdout_lines(worker: Worker) -> list[str]:
    """The lines that came as logs of stdout so far."""
    return [log["message"] for log in worker.logs if log["logger"] == "stdout"]


def wait_for_line(worker: Worker, text: str) -> Frame:
    """The log of stdout that holds a text."""
    return worker.wait_for(
        lambda frame: frame["type"] == "log" and frame["logger"] == "stdout" and text in frame["message"]
    )


def has_begun(worker: Worker, run: Any) -> bool:
    """Waits until the code of a run that does not stop says that it runs; false where the run has ended before."""
    return (
        worker.wait_for(lambda frame: frame.get("message") == "begun" or frame["type"] == "error", of=run)["type"]
        == "log"
    )


# ---------------------------------------------------------------- well-behaved tools


def test_a_function_finds_itself_in_the_trace_of_its_run_and_of_no_other(python_worker: Worker) -> None:
    """clause: RUN-TRACE"""
    agent = agent_with(python_worker, "current_trace")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for traceparent, seen in ((f"00-{trace}-00f067aa0ba902b7-01", trace), (None, "0" * 32)):
        given = {} if traceparent is None else {"traceparent": traceparent}
        answer = succeeded(python_worker.run(agent, **given))
        assert [content for _, content, _ in tool_returns(answer["messages"])] == [seen]


@pytest.mark.parametrize("function", ["add", "add_later"])
def test_a_function_is_called_with_the_models_arguments(python_worker: Worker, function: str) -> None:
    assert returned(python_worker, function, {"x": 2, "y": 3}) == 5
    assert returned(python_worker, function, {"x": 2}) == 3


@pytest.mark.parametrize("function", ["add", "add_later"])
def test_parameters_are_taken_from_the_signature(python_worker: Worker, function: str) -> None:
    """clause: TOOL-PYTHON"""
    script = [calls((function, {"y": 3})), calls((function, {"x": 2})), says("done")]
    answer = succeeded(python_worker.run(python_worker.agent(script, tools=[python_tool(function)])))
    assert [outcome for _, _, outcome in tool_returns(answer["messages"])] == ["retried", "success"]


def test_parameters_that_are_given_hold_too(python_worker: Worker) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 10}}, "required": ["x"]}
    script = [calls(("add", {"x": 2})), calls(("add", {"x": 20})), says("done")]
    agent = python_worker.agent(script, tools=[python_tool("add", parameters=schema)])
    answer = succeeded(python_worker.run(agent))
    assert [outcome for _, _, outcome in tool_returns(answer["messages"])] == ["retried", "success"]


def test_a_tool_has_the_name_it_is_given_and_needs_no_description(python_worker: Worker) -> None:
    handler = {"python": "fixtures_pkg.tools:add"}
    script = [calls(("sum_up", {"x": 1})), says("done")]
    agent = python_worker.agent(script, tools=[{"name": "sum_up", "handler": handler}])
    answer = succeeded(python_worker.run(agent))
    assert tool_returns(answer["messages"]) == [("sum_up", 2, "success")]


def test_a_plain_function_runs_in_a_thread(python_worker: Worker) -> None:
    """clause: TOOL-THREADS"""
    assert returned(python_worker, "thread_name") == "other"


def test_a_function_may_ask_for_its_context(python_worker: Worker) -> None:
    agent = agent_with(python_worker, "deps_of")
    answer = succeeded(python_worker.run(agent, deps={"tenant": "t1"}))
    assert tool_returns(answer["messages"])[0][1] == {"tenant": "t1"}


def test_a_function_may_ask_the_model_to_try_again(python_worker: Worker) -> None:
    """clause: TOOL-RAISES"""
    script = [calls(("ask_again", {"n": 1})), calls(("ask_again", {"n": 10})), says("done")]
    answer = succeeded(python_worker.run(python_worker.agent(script, tools=[python_tool("ask_again")])))
    assert [outcome for _, _, outcome in tool_returns(answer["messages"])] == ["retried", "success"]
    agent = python_worker.agent([calls(("ask_again", {"n": 1}))] * 5, tools=[python_tool("ask_again", retries=1)])
    failed(python_worker.run(agent), "ToolRetriesExceeded")


def test_a_function_may_say_that_it_has_failed(python_worker: Worker) -> None:
    answer = succeeded(run_tool(python_worker, "give_up", retries=0))
    assert tool_returns(answer["messages"]) == [("give_up", "there is none", "failed")]


@pytest.mark.parametrize("value", [1, "a", None, [1, {"b": [None]}], {"x": 2**53 + 1}, True, 0.1], ids=json.dumps)
def test_values_are_carried_over_both_ways(python_worker: Worker, value: Any) -> None:
    assert returned(python_worker, "echo", {"value": value}) == value


def test_chunks_of_python_tools_share_one_call_id(python_worker: Worker) -> None:
    stream = python_worker.start_stream(agent_with(python_worker, "add", {"x": 1}), events=["tool_call", "tool_return"])
    frames = python_worker.collect(stream)
    assert [frame["type"] for frame in frames] == ["chunk", "chunk", "result"]
    called, came_back = frames[0]["data"], frames[1]["data"]
    assert (called["name"], called["args"], came_back["content"]) == ("add", {"x": 1}, 2)
    assert called["call_id"] == came_back["call_id"]


def test_a_python_tool_may_need_approval(python_worker: Worker) -> None:
    run = python_worker.start_run(agent_with(python_worker, "add", {"x": 1}, requires_approval=True))
    request = python_worker.wait_for("approval_request", of=run)
    python_worker.decide(request, approved=True, args={"x": 40, "y": 2})
    answer = succeeded(python_worker.terminal(run))
    assert tool_returns(answer["messages"])[0][1] == 42


# ---------------------------------------------------------------- what may be imported

REFUSED = {
    "a module that is not allowed": "os:getcwd",
    "a prefix of a component": "fixtures_pkg_not.tools:add",
    "what an allowed module has merely imported": "fixtures_pkg.tools:getcwd",
}


@pytest.mark.parametrize("target", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_allowed_is_not_imported(python_worker: Worker, target: str) -> None:
    """clause: SEC-IMPORT"""
    answer = python_worker.ask(
        "create_agent",
        agent_id="refused",
        model={"script": []},
        tools=[python_tool("t", handler={"python": target})],
    )
    assert "--allow-import" in failed(answer, "ImportNotAllowed")["message"]
    failed(python_worker.run("refused"), "AgentNotFound")


USELESS = {
    "no such module": "fixtures_pkg.none:add",
    "no such function": "fixtures_pkg.tools:none",
    "not a function": "fixtures_pkg.tools:not_a_function",
    "a module that raises": "fixtures_pkg.broken:add",
    "a module that exits": "fixtures_pkg.exiting:add",
}


@pytest.mark.parametrize("target", USELESS.values(), ids=USELESS.keys())
def test_a_handler_that_cannot_be_used_is_an_invalid_agent(python_worker: Worker, target: str) -> None:
    answer = python_worker.ask(
        "create_agent",
        agent_id="useless",
        model={"script": []},
        tools=[python_tool("t", handler={"python": target})],
    )
    failed(answer, "InvalidAgent")
    failed(python_worker.run("useless"), "AgentNotFound")


WAYS_TO_ALLOW: list[tuple[list[str], dict[str, str]]] = [
    (["--allow-import", "fixtures_pkg.inner"], {}),
    (["--allow-import", "nothing", "--allow-import", "fixtures_pkg.inner"], {}),
    ([], {"AXON_PORT_ALLOW_IMPORT": "nothing,fixtures_pkg.inner"}),
]


@pytest.mark.parametrize(("options", "env"), WAYS_TO_ALLOW)
def test_a_prefix_allows_whole_components_and_what_is_below(options: list[str], env: dict[str, str]) -> None:
    with Worker(*options, env=env, pythonpath=[CONTRACT]) as worker:

        def create(target: str) -> Frame:
            handler = {"python": target}
            tools = [tool("t", handler=handler)]
            return worker.ask("create_agent", agent_id=target, model={"script": []}, tools=tools)

        succeeded(create("fixtures_pkg.inner:inside"))
        failed(create("fixtures_pkg.inner_not:outside"), "ImportNotAllowed")
        failed(create("fixtures_pkg.tools:add"), "ImportNotAllowed")


def test_a_function_must_be_defined_under_an_allowed_prefix_too() -> None:
    """clause: SEC-FUNCTION"""
    with Worker("--allow-import", "fixtures_pkg.tools", pythonpath=[CONTRACT]) as worker:
        tools = [tool("t", handler={"python": "fixtures_pkg.tools:inside"})]
        answer = worker.ask("create_agent", agent_id="a", model={"script": []}, tools=tools)
        failed(answer, "ImportNotAllowed")


# ---------------------------------------------------------------- ready agents


def test_a_ready_agent_can_be_imported(python_worker: Worker) -> None:
    """clause: CMD-MODULE"""
    answer = python_worker.ask("create_agent", agent_id="m1", module="fixtures_pkg.agents:doubling")
    assert succeeded(answer)["result"]["model"].startswith("module:")
    assert succeeded(python_worker.run("m1"))["result"] == "doubled"


def test_tools_and_instructions_are_added_to_a_ready_agent(python_worker: Worker) -> None:
    """clause: AGENT-REFINE"""
    plain = python_worker.agent(module="fixtures_pkg.agents:describing")
    refined = python_worker.agent(
        module="fixtures_pkg.agents:describing", instructions="be refined", tools=[tool("lookup")]
    )
    assert succeeded(python_worker.run(plain))["result"] == "tools double; told be an agent"
    said = succeeded(python_worker.run(refined))["result"]
    assert said.startswith("tools double,lookup;")
    assert "be an agent" in said
    assert "be refined" in said


def test_a_tool_cannot_be_called_like_one_of_the_modules_own(python_worker: Worker) -> None:
    """Each run would fail. clause: AGENT-INVALID, CMD-MODULE"""
    refused = python_worker.ask(
        "create_agent", agent_id="twice", module="fixtures_pkg.agents:doubling", tools=[tool("double")]
    )
    assert "'double'" in failed(refused, "InvalidAgent")["message"]
    failed(python_worker.ask("delete_agent", agent_id="twice"), "AgentNotFound")


def test_what_refines_one_agent_does_not_touch_another_of_the_same_module(python_worker: Worker) -> None:
    python_worker.agent(module="fixtures_pkg.agents:describing", tools=[tool("lookup")], instructions="more")
    plain = python_worker.agent(module="fixtures_pkg.agents:describing")
    assert succeeded(python_worker.run(plain))["result"] == "tools double; told be an agent"


def test_the_tools_of_a_ready_agent_count_as_calls_like_all_others(python_worker: Worker) -> None:
    """clause: TOOL-FOREIGN"""
    agent = python_worker.agent(module="fixtures_pkg.agents:doubling")
    frames = python_worker.collect(python_worker.start_stream(agent, events=["tool_call", "tool_return"]))
    assert frames[0]["data"]["args"] == {"n": 21}
    assert frames[1]["data"]["content"] == 42


def test_a_ready_agent_that_would_end_the_process_ends_its_run(python_worker: Worker) -> None:
    """clause: TOOL-FOREIGN"""
    canary, call = start_asking(python_worker)
    error = failed(python_worker.run(python_worker.agent(module="fixtures_pkg.agents:leaving")), "ToolError")
    assert "SystemExit" in error["message"]
    python_worker.answer(call, result=1)
    assert succeeded(python_worker.terminal(canary))["result"] == "done"


def test_a_tool_of_a_ready_agent_has_the_agents_time(python_worker: Worker) -> None:
    """clause: TOOL-FOREIGN, TOOL-TIMEOUT"""
    agent = python_worker.agent(module="fixtures_pkg.agents:calling", tool_timeout_ms=50, retries=1)
    answer = succeeded(python_worker.run(agent, "hang"))
    ((_, content, _),) = tool_returns(answer["messages"])
    assert content.startswith("the tool did not answer within 50 ms")


def test_the_calls_of_a_ready_agent_that_need_a_person_are_asked_about_at_once(python_worker: Worker) -> None:
    """clause: TOOL-FOREIGN, TOOL-PARALLEL"""
    run = python_worker.start_run(python_worker.agent(module="fixtures_pkg.agents:calling"), "pay pay")
    asked = [python_worker.wait_for("approval_request", of=run) for _ in range(2)]
    python_worker.decide(asked[1], approved=False, message="once is enough")
    python_worker.decide(asked[0], approved=True)
    answer = succeeded(python_worker.terminal(run))
    assert [content for _, content, _ in tool_returns(answer["messages"])] == ["paid", "once is enough"]


def test_a_run_that_is_left_behind_tells_what_its_other_calls_returned(python_worker: Worker) -> None:
    """clause: RUN-RESUME, RUN-UNWIND"""

    def answers_heard() -> int:
        return succeeded(python_worker.ask("stats"))["result"]["durations_ms"]["tool"]["count"]

    agent = python_worker.agent(module="fixtures_pkg.agents:calling", tools=[tool("lookup")])
    before = answers_heard()
    run = python_worker.start_run(agent, "lookup cling")
    python_worker.answer(python_worker.wait_for("tool_call", of=run), result="found")
    while answers_heard() == before:
        pass
    assert has_begun(python_worker, run)
    python_worker.ask("cancel", target=run)
    error = failed(python_worker.terminal(run), "Cancelled")
    told = {name: content for name, content, _ in tool_returns(error["messages"])}
    assert told["lookup"] == "found"
    assert "interrupted" in told["cling"]


def test_a_run_that_is_left_behind_keeps_no_turn_of_its_agent() -> None:
    """clause: AGENT-TURNS, RUN-UNWIND"""
    with python_worker_with() as worker:
        agent = worker.agent(module="fixtures_pkg.agents:staying", max_concurrency=1)

        def attempt(limit: int) -> Frame | None:
            run = worker.start_run(agent, timeout_ms=limit)
            return worker.terminal(run) if has_begun(worker, run) else None

        for _ in range(2):
            failed(in_time(attempt), "Timeout")
        (listed,) = succeeded(worker.ask("list_agents"))["result"]["agents"]
        assert listed["runs_inflight"] == 0


@pytest.mark.parametrize("target", ["fixtures_pkg.agents:no_agent", "fixtures_pkg.agents:none", "fixtures_pkg.none:a"])
def test_what_is_no_agent_is_an_invalid_agent(python_worker: Worker, target: str) -> None:
    """clause: CMD-MODULE"""
    failed(python_worker.ask("create_agent", agent_id="none", module=target), "InvalidAgent")


def test_an_agent_outside_the_allowed_prefixes_is_not_imported(python_worker: Worker) -> None:
    failed(python_worker.ask("create_agent", agent_id="none", module="os:getcwd"), "ImportNotAllowed")


# ---------------------------------------------------------------- what code writes

WRITERS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("print_lines", {"lines": ["one", "", "zwei ü 😀"]}, ["one", "zwei ü 😀"]),
    ("puts", {}, ["by puts"]),
    ("child_prints", {}, ["by a child"]),
    ("write_1", {}, ["by descriptor"]),
    ("write_frame", {}, ['{"type":"goodbye","reason":"eof"}']),
]


@pytest.mark.parametrize(("function", "args", "lines"), WRITERS, ids=[writer[0] for writer in WRITERS])
def test_what_code_writes_on_stdout_arrives_as_logs(
    python_worker: Worker, function: str, args: dict[str, Any], lines: list[str]
) -> None:
    """clause: STDIO-CAPTURE, STDIO-FRAMES, LOG-LINES"""
    succeeded(run_tool(python_worker, function, args))
    for line in lines:
        log = wait_for_line(python_worker, line)
        assert log["level"] == "info"


def test_a_line_arrives_as_a_log_of_its_own() -> None:
    with python_worker_with() as worker:
        succeeded(run_tool(worker, "print_lines", {"lines": ["one", "two", "three"]}))
        wait_for_line(worker, "three")
        assert [line for line in stdout_lines(worker) if line] == ["one", "two", "three"]


def test_what_a_module_prints_while_it_is_imported_arrives_as_logs() -> None:
    with python_worker_with() as worker:
        worker.agent([], tools=[python_tool("t", handler={"python": "fixtures_pkg.printing:nothing"})])
        wait_for_line(worker, "printed at import")
        wait_for_line(worker, "written at import")
        worker.wait_for_stderr("said at import")


def test_lines_are_not_silenced_by_a_level_that_silences_info() -> None:
    """clause: LOG-LINES, LOG-LEVEL"""
    with python_worker_with("--log-level", "warning") as worker:
        succeeded(run_tool(worker, "print_lines", {"lines": ["still here"]}))
        wait_for_line(worker, "still here")


def test_a_long_line_is_cut_into_frames_of_64_kib() -> None:
    """clause: LOG-LINES"""
    with python_worker_with() as worker:
        succeeded(run_tool(worker, "print_long", {"size": 1_000_000}))
        size = 0
        while size < 1_000_000:
            size += len(wait_for_line(worker, "x")["message"])
        assert size == 1_000_000
        assert worker.longest_frame <= 64 * 1024


def test_a_line_that_does_not_end_arrives_before_the_worker_goes() -> None:
    with python_worker_with() as worker:
        succeeded(run_tool(worker, "print_unfinished"))
        worker.close_stdin()
        assert worker.wait_exit() == 0
        assert "without an end" in stdout_lines(worker)


@pytest.mark.parametrize("nouse_stdio", [False, True], ids=["stdio", "3-and-4"])
def test_lines_arrive_whatever_the_frame_descriptors_are(nouse_stdio: bool) -> None:
    with python_worker_with(nouse_stdio=nouse_stdio) as worker:
        for function in ("puts", "child_prints"):
            succeeded(run_tool(worker, function))
        wait_for_line(worker, "by puts")
        wait_for_line(worker, "by a child")
        assert worker.stray == b""


@pytest.mark.parametrize("nouse_stdio", [False, True], ids=["stdio", "3-and-4"])
def test_stderr_joined_to_the_frames_arrives_as_logs(nouse_stdio: bool) -> None:
    """clause: STDIO-STDERR"""
    with python_worker_with(nouse_stdio=nouse_stdio, stderr="stdout") as worker:
        worker.agent([], tools=[python_tool("t", handler={"python": "fixtures_pkg.printing:nothing"})])
        log = worker.wait_for(lambda frame: frame["type"] == "log" and frame["message"] == "said at import")
        assert log["logger"] == "stderr"


def test_what_code_logs_arrives_with_the_run_it_belongs_to(python_worker: Worker) -> None:
    """clause: LOG-RUN, LOG-RECORDS"""
    agent = agent_with(python_worker, "log_warning", {"text": "mind the gap"})
    run = python_worker.start_run(agent)
    succeeded(python_worker.terminal(run))
    log = python_worker.wait_for(lambda frame: frame["type"] == "log" and "mind the gap" in frame["message"])
    assert (log["level"], log["logger"]) == ("warning", "fixtures_pkg.tools")
    assert (log["id"], log["agent_id"]) == (run, agent)


def test_a_logged_exception_has_its_traceback(python_worker: Worker) -> None:
    """clause: LOG-RECORDS"""
    succeeded(run_tool(python_worker, "log_exception"))
    log = python_worker.wait_for(lambda frame: frame["type"] == "log" and frame["message"] == "it went wrong")
    assert log["level"] == "error"
    assert "looked up in vain" in log["traceback"]


@pytest.mark.parametrize(("function", "logger"), [("print_many", "stdout"), ("log_many", "fixtures_pkg.tools")])
def test_a_flood_of_logs_holds_up_no_reply_and_each_arrives_or_is_counted(function: str, logger: str) -> None:
    """clause: LOG-DROPPED"""
    count = 30_000

    def told() -> int:
        arrived = sum(log["logger"] == logger for log in worker.logs)
        return arrived + succeeded(worker.ask("stats"))["result"]["logs_dropped"]

    with python_worker_with(timeout=120) as worker:
        flood = worker.start_run(agent_with(worker, function, {"count": count}))
        for _ in range(10):
            succeeded(worker.run(worker.agent([says("meanwhile")])))
        succeeded(worker.terminal(flood))
        # What was printed is read by a thread of its own, and may come after the answer.
        deadline = time.monotonic() + 120
        while told() < count and time.monotonic() < deadline:
            time.sleep(0.1)
        assert told() == count


def test_code_reads_the_end_of_file_and_no_frame(python_worker: Worker) -> None:
    """clause: STDIO-NULL"""
    for function, expected in (("read_line", "end of file"), ("read_0", ""), ("child_reads", "")):
        assert returned(python_worker, function) == expected


# ---------------------------------------------------------------- results that are hard to write

STRANGE: dict[str, Any] = {
    "nan": None,
    "infinity": [None, None],
    "great integer": 2**70,
    "surrogate": "a\ufffdb",
    "tuple": [1, 2],
    "dataclass": {"x": 1, "y": 2.5},
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_result_that_json_does_not_quite_know_follows_the_rule(python_worker: Worker, kind: str) -> None:
    """clause: JSON-OUT-NUMBERS, JSON-OUT-TEXT
    fault: C22
    """
    value = returned(python_worker, "strange", {"kind": kind})
    assert value == STRANGE[kind]
    assert not isinstance(value, float) or math.isfinite(value)


STRANGER = [
    *("greatest integer", "surrogate key", "bytes", "bad bytes", "set", "cycle", "deep", "decimal", "date"),
    *("exception", "function", "object", "keys", "generator"),
]


@pytest.mark.parametrize("kind", [*STRANGE, *STRANGER])
@pytest.mark.parametrize("how", ["run", "stream"])
def test_whatever_a_tool_returns_a_terminal_frame_comes(python_worker: Worker, kind: str, how: str) -> None:
    """clause: JSON-OUT-NONE
    fault: C22
    """
    agent = agent_with(python_worker, "strange", {"kind": kind})
    more = {"events": ["tool_call", "tool_return"]} if how == "stream" else {}
    run = python_worker.submit(how, agent_id=agent, prompt="p", **more)
    terminal = python_worker.collect(run)[-1]
    assert terminal["type"] == "result" or terminal["error_type"] in ("ToolError", "InternalError")
    assert returned(python_worker, "add", {"x": 1}) == 2


def test_a_result_over_the_maximum_is_too_large() -> None:
    with python_worker_with("--max-frame-bytes", "100000") as worker:
        agent = agent_with(worker, "big", {"size": 200_000})
        failed(worker.run(agent), "ResultTooLarge")
        assert succeeded(worker.run(agent, messages="none"))["result"] == "done"
        stream = worker.start_stream(agent, events=["tool_return"], messages="none")
        assert worker.collect(stream)[-1]["type"] in ("result", "error")
        assert worker.longest_frame <= 100_000


# ---------------------------------------------------------------- exceptions

EXCEPTIONS = [
    *("ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError", "StopIteration"),
    *("StopAsyncIteration", "BaseException", "BaseExceptionGroup", "ExceptionGroup", "RecursionError"),
    *("MemoryError", "TimeoutError", "BrokenPipeError", "hostile", "surrogate", "long"),
]


@pytest.mark.parametrize("function", ["throw", "throw_later"])
@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_whatever_a_tool_raises_its_run_fails_and_no_other(python_worker: Worker, kind: str, function: str) -> None:
    """clause: TOOL-RAISES
    fault: F52
    """
    canary, call = start_asking(python_worker)
    agent = agent_with(python_worker, function, {"kind": kind})
    run = python_worker.start_run(agent)
    frames = python_worker.collect(run)
    error = failed(frames[-1], "ToolError")
    assert error["agent_id"] == agent
    assert len(error["message"]) < 1_000_000
    python_worker.answer(call, result=1)
    assert succeeded(python_worker.terminal(canary))["result"] == "done"


@pytest.mark.parametrize("x", [500, 5000])
def test_whatever_a_validator_in_a_signature_raises_its_run_fails_and_no_other(python_worker: Worker, x: int) -> None:
    """clause: TOOL-RAISES"""
    canary, call = start_asking(python_worker)
    failed(run_tool(python_worker, "picky", {"x": x}), "ToolError")
    agent = agent_with(python_worker, "picky", {"x": 1}, requires_approval=True)
    run = python_worker.start_run(agent)
    request = python_worker.wait_for("approval_request", of=run)
    python_worker.decide(request, approved=True, args={"x": x})
    assert failed(python_worker.wait_for("error", of=None), "ToolError")["run_id"] == run
    python_worker.decide(request, approved=True, args={"x": 2})
    succeeded(python_worker.terminal(run))
    python_worker.answer(call, result=1)
    assert succeeded(python_worker.terminal(canary))["result"] == "done"


def test_a_second_signal_is_heard_while_an_exit_handler_runs() -> None:
    """clause: LIFE-SIGNAL"""
    with python_worker_with() as worker:
        succeeded(run_tool(worker, "leave_slowly"))
        worker.signal(signal.SIGTERM)
        wait_for_line(worker, "leaving")
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit() == 128 + signal.SIGTERM


@pytest.mark.parametrize("depth", [0, 2])
def test_an_iterator_is_no_result(python_worker: Worker, depth: int) -> None:
    """clause: TOOL-RAISES, JSON-OUT-NONE"""
    failed(run_tool(python_worker, "count_down", {"depth": depth}), "ToolError")


def test_what_a_tool_does_to_descriptors_and_exit_handlers_spoils_no_end() -> None:
    """clause: LIFE-GOODBYE, LIFE-SHUTDOWN"""
    with python_worker_with() as worker:
        assert returned(worker, "spoil_the_end") == "spoilt"
        succeeded(worker.ask("shutdown"))
        assert worker.wait_for("goodbye")["reason"] == "shutdown"
        assert worker.wait_exit(IN_TIME_S) == 0


def test_a_tool_that_cancels_itself_was_not_late(python_worker: Worker) -> None:
    """clause: TOOL-RAISES"""
    failed(run_tool(python_worker, "cancel_itself"), "ToolError")


def test_endless_recursion_fails_its_run(python_worker: Worker) -> None:
    """fault: F52"""
    failed(run_tool(python_worker, "recurse"), "ToolError")


# ---------------------------------------------------------------- tools that do not stop


@pytest.mark.parametrize("function", ["hang", "hang_later", "swallow_cancellation"])
@pytest.mark.parametrize("limit", ["tool", "run", "cancel"])
def test_a_tool_that_does_not_stop_is_not_waited_for(function: str, limit: str) -> None:
    """clause: RUN-UNWIND
    fault: F53
    """
    with python_worker_with("--drain-timeout", "1") as worker:

        def attempt(limit_ms: int) -> Frame | None:
            fields: dict[str, Any] = {"timeout_ms": limit_ms, "retries": 0} if limit == "tool" else {}
            agent = agent_with(worker, function, **fields)
            run = worker.start_run(agent, timeout_ms=limit_ms if limit == "run" else None)
            if not has_begun(worker, run):
                return None
            if limit == "cancel":
                succeeded(worker.ask("cancel", target=run))
            return worker.terminal(run)

        expected = {"tool": "ToolRetriesExceeded", "run": "Timeout", "cancel": "Cancelled"}
        failed(in_time(attempt), expected[limit])
        assert succeeded(worker.ask("ping"))["result"]["inflight"] == 0
        worker.close_stdin()
        assert worker.wait_exit(IN_TIME_S) == 0


def test_tools_that_do_not_stop_are_counted_as_abandoned() -> None:
    """fault: F53"""
    with python_worker_with("--drain-timeout", "1") as worker:

        def counted() -> tuple[int, int]:
            tools = succeeded(worker.ask("stats"))["result"]["tools"]
            return tools["abandoned"], tools["timed_out"]

        for function in ("hang", "swallow_cancellation"):

            def attempt(limit: int, function: str = function) -> tuple[int, int] | None:
                abandoned, late = counted()
                run = worker.start_run(agent_with(worker, function, timeout_ms=limit, retries=0))
                if not has_begun(worker, run):
                    return None
                failed(worker.terminal(run), "ToolRetriesExceeded")
                return counted()[0] - abandoned, counted()[1] - late

            assert in_time(attempt) == (1, 1)
        worker.close_stdin()
        assert worker.wait_exit(IN_TIME_S) == 0


def test_sixty_hung_tools_hold_up_nobody_else() -> None:
    """clause: TOOL-THREADS
    fault: E46
    """
    with python_worker_with("--drain-timeout", "1") as worker:
        hung = [worker.start_run(agent_with(worker, "hang")) for _ in range(60)]
        assert all(has_begun(worker, run) for run in hung)
        succeeded(worker.ask("ping"))
        assert succeeded(worker.run(worker.agent([says("another")])))["result"] == "another"
        assert returned(worker, "add_later", {"x": 1}) == 2
        assert returned(worker, "add", {"x": 1}) == 2
        worker.close_stdin()
        for run in hung:
            failed(worker.terminal(run), "Cancelled")
        assert worker.wait_exit(IN_TIME_S) == 0


@pytest.mark.parametrize("function", ["hang", "hang_later", "swallow_cancellation"])
@pytest.mark.parametrize("end", ["shutdown", "signal"])
def test_a_tool_that_does_not_stop_does_not_hold_up_the_end(function: str, end: str) -> None:
    """clause: LIFE-THREADS
    fault: D34
    """
    with python_worker_with() as worker:
        run = worker.start_run(agent_with(worker, function))
        assert has_begun(worker, run)
        if end == "shutdown":
            shutdown = worker.submit("shutdown", grace_ms=100)
            failed(worker.terminal(run), "Cancelled")
            succeeded(worker.terminal(shutdown))
        else:
            worker.signal(signal.SIGTERM)
            failed(worker.terminal(run), "Cancelled")
        assert worker.wait_exit(IN_TIME_S) == 0


def start_blocking(worker: Worker, function: str, fifo: Path) -> Any:
    """Starts a run whose tool blocks the worker, and returns its id when it does."""
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        run = worker.start_run(agent_with(worker, function, {"fifo": str(fifo)}))
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        assert poll.poll(30_000), "the tool was not called"
    finally:
        os.close(reading)
    return run


def test_a_watchdog_ends_a_worker_whose_loop_is_blocked_when_the_input_ends(tmp_path: Path) -> None:
    """fault: D33"""
    with python_worker_with("--drain-timeout", "1") as worker:
        worker.forgive(start_blocking(worker, "block_loop", tmp_path / "fifo"))
        worker.close_stdin()
        assert worker.wait_exit(IN_TIME_S) == 70


def test_a_watchdog_needs_no_thread_that_can_run(tmp_path: Path) -> None:
    """clause: LIFE-HELD, LIFE-CHILDREN
    fault: D33, D37
    """
    with python_worker_with("--drain-timeout", "1") as worker:
        returned(worker, "start_grandchild")
        worker.forgive(start_blocking(worker, "hold_gil", tmp_path / "fifo"))
        family = [os.pidfd_open(pid) for pid in worker.survivors()]
        worker.close_stdin()
        assert worker.wait_exit(CPU_S) == 70
        for member in family:
            # Nobody in the worker could end them.
            assert select.select([member], [], [], CPU_S)[0]
            os.close(member)


def test_a_watchdog_ends_a_worker_whose_loop_is_blocked_when_it_is_shut_down(tmp_path: Path) -> None:
    """clause: LIFE-WATCHDOG"""
    with python_worker_with() as worker:
        worker.forgive(start_blocking(worker, "block_loop", tmp_path / "fifo"))
        # One that is none sets no deadline.
        worker.submit("shutdown", grace_ms=-1)
        worker.forgive(worker.submit("shutdown", grace_ms=0))
        assert worker.wait_exit(IN_TIME_S) == 70


def test_a_worker_whose_loop_is_blocked_ends_when_nobody_listens(tmp_path: Path) -> None:
    with python_worker_with() as worker:
        start_blocking(worker, "block_loop", tmp_path / "fifo")
        worker.close_stdout()
        worker.wait_exit(IN_TIME_S)


# ---------------------------------------------------------------- processes


@pytest.mark.parametrize("function", ["start_child", "start_grandchild"])
@pytest.mark.parametrize("end", ["eof", "shutdown", "signal"])
def test_no_process_of_a_tool_keeps_the_pipes_open_or_stays_behind(function: str, end: str) -> None:
    """clause: LIFE-CHILDREN, STDIO-CHILDREN"""
    with python_worker_with() as worker:
        returned(worker, function)
        match end:
            case "eof":
                worker.close_stdin()
            case "shutdown":
                succeeded(worker.ask("shutdown"))
            case _:
                worker.signal(signal.SIGTERM)
        assert worker.wait_exit(IN_TIME_S) == 0
        assert worker.survivors() == []


def test_a_fork_in_a_tool_writes_no_frame_and_runs_none_of_our_exits(python_worker: Worker) -> None:
    """clause: STDIO-CHILDREN"""
    assert returned(python_worker, "fork") == "ended True"
    wait_for_line(python_worker, "from the fork")
    assert returned(python_worker, "add", {"x": 1}) == 2
