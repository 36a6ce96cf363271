"""Section 6: tools that the parent answers."""

import json
from typing import Any

import pytest

from tests.kit import Worker, encode, failed, succeeded
from tests.kit.messages import tool_returns

from .scenarios import NEVER_MS, QUERY, asking_agent, calls, says, start_asking, start_limited, tool


def next_call(worker: Worker, run: Any) -> dict[str, Any]:
    """The next call of a run."""
    return worker.wait_for("tool_call", of=run)


def what_the_model_saw(answer: dict[str, Any]) -> str:
    """All that came back from tools, as text to search in."""
    return json.dumps(tool_returns(answer["messages"]), ensure_ascii=False)


# ---------------------------------------------------------------- calls


def test_a_call_says_who_asks_for_what(worker: Worker) -> None:
    agent = worker.agent([calls(("lookup", {"q": "ü", "n": [1, None]})), says("done")], tools=[tool()])
    run, call = start_asking(worker, agent)
    assert (call["agent_id"], call["name"], call["args"]) == (agent, "lookup", {"q": "ü", "n": [1, None]})
    assert isinstance(call["call_id"], str)
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_a_call_tells_its_timeout(worker: Worker) -> None:
    run, call = start_asking(worker, asking_agent(worker, tools=[tool(timeout_ms=54_321)]))
    assert call["timeout_ms"] == 54_321
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_an_agents_tool_timeout_is_the_default_for_each_call(worker: Worker) -> None:
    script = [calls("a", "b"), says("done")]
    tools = [tool("a"), tool("b", timeout_ms=50_000)]
    run = worker.start_run(worker.agent(script, tools=tools, tool_timeout_ms=60_000))
    seen = {}
    for _ in range(2):
        call = next_call(worker, run)
        seen[call["name"]] = call["timeout_ms"]
        worker.answer(call, result=1)
    assert seen == {"a": 60_000, "b": 50_000}
    succeeded(worker.terminal(run))


def test_call_ids_are_never_used_twice(worker: Worker) -> None:
    """clause: CALL-ID"""
    agent = asking_agent(worker)
    seen: set[str] = set()
    for _ in range(50):
        run, call = start_asking(worker, agent)
        seen.add(call["call_id"])
        worker.answer(call, result=1)
        succeeded(worker.terminal(run))
    assert len(seen) == 50


def test_calls_that_are_made_together_go_out_together_and_may_be_answered_in_any_order(worker: Worker) -> None:
    """clause: TOOL-PARALLEL, CALL-ANSWER"""
    names = [f"t{n}" for n in range(10)]
    agent = worker.agent([calls(*names), says("done")], tools=[tool(name) for name in names])
    run = worker.start_run(agent)
    made = [next_call(worker, run) for _ in names]
    assert {call["name"] for call in made} == set(names)
    for call in reversed(made):
        worker.answer(call, result=call["name"])
    answer = succeeded(worker.terminal(run))
    assert {(name, content) for name, content, _ in tool_returns(answer["messages"])} == {(n, n) for n in names}


def test_sequential_tools_are_called_one_after_the_other(worker: Worker) -> None:
    """clause: TOOL-SEQUENTIAL"""
    agent = worker.agent([calls("one", "one", "one"), says("done")], tools=[tool("one", sequential=True)])
    run = worker.start_run(agent)
    for n in range(3):
        call = next_call(worker, run)
        succeeded(worker.ask("ping"))
        made = [frame for frame in worker.frames if frame["type"] == "tool_call" and frame["id"] == run]
        assert len(made) == n + 1
        worker.answer(call, result=n)
    succeeded(worker.terminal(run))


def test_at_most_max_tool_calls_of_a_run_are_open_and_none_is_lost() -> None:
    """clause: TOOL-PARALLEL
    fault: E45
    """
    with Worker("--max-tool-calls", "3") as worker:
        assert worker.ready["limits"]["max_tool_calls"] == 3
        agent = worker.agent([calls(*(("t", {"n": n}) for n in range(10))), says("done")], tools=[tool("t")])
        run = worker.start_run(agent)
        open_calls = [next_call(worker, run) for _ in range(3)]
        other, other_call = start_asking(worker)
        assert len([frame for frame in worker.frames if frame["type"] == "tool_call" and frame["id"] == run]) == 3
        seen: list[int] = []
        while open_calls:
            call = open_calls.pop(0)
            seen.append(call["args"]["n"])
            worker.answer(call, result=1)
            if len(seen) + len(open_calls) < 10:
                open_calls.append(next_call(worker, run))
        assert sorted(seen) == list(range(10))
        succeeded(worker.terminal(run))
        worker.answer(other_call, result=1)
        succeeded(worker.terminal(other))


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_a_run_that_was_lost_asks_for_nothing_more(how: str) -> None:
    """An answer makes room for the next call in the same breath. clause: CALL-CANCEL"""
    with Worker("--max-tool-calls", "2") as worker:
        agent = worker.agent([calls(*(("t", {"n": n}) for n in range(5))), says("done")], tools=[tool("t")])
        for _ in range(10):
            run = worker.start_run(agent)
            first, second = (next_call(worker, run) for _ in range(2))
            if how == "cancelled":
                answer = {"type": "tool_result", "id": run, "call_id": first["call_id"], "result": 1}
                worker.send_raw(encode(answer) + encode({"type": "cancel", "id": f"cancel {run}", "target": run}))
                succeeded(worker.terminal(f"cancel {run}"))
            else:
                worker.answer(first, error="broken")
            failed(worker.terminal(run), "Cancelled" if how == "cancelled" else "ToolError")
            asked = [frame for frame in worker.frames if frame["type"] == "tool_call" and frame["id"] == run]
            assert asked == [first, second]


def test_eight_hundred_calls_in_one_answer_are_all_made(worker: Worker) -> None:
    """fault: E45"""
    agent = worker.agent([calls(*(("t", {"n": n}) for n in range(800))), says("done")], tools=[tool("t")])
    run = worker.start_run(agent)
    seen: set[int] = set()
    for _ in range(800):
        call = next_call(worker, run)
        seen.add(call["args"]["n"])
        worker.answer(call, result=1)
    assert seen == set(range(800))
    assert succeeded(worker.terminal(run))["usage"]["tool_calls"] == 800


# ---------------------------------------------------------------- arguments

BAD_ARGUMENTS: list[dict[str, Any]] = [{}, {"q": 7}, {"q": None}, {"q": "x", "more": 1}]


@pytest.mark.parametrize("args", BAD_ARGUMENTS, ids=json.dumps)
def test_arguments_that_fail_their_schema_go_back_to_the_model(worker: Worker, args: dict[str, Any]) -> None:
    """clause: TOOL-VALIDATED"""
    script = [calls(("lookup", args)), calls(("lookup", {"q": "right"})), says("done")]
    run, call = start_asking(worker, worker.agent(script, tools=[tool(parameters=QUERY)]))
    assert call["args"] == {"q": "right"}
    worker.answer(call, result=1)
    answer = succeeded(worker.terminal(run))
    assert [outcome for _, _, outcome in tool_returns(answer["messages"])] == ["retried", "success"]


def test_arguments_that_go_on_failing_spend_the_tools_retries(worker: Worker) -> None:
    """clause: TOOL-VALIDATED, TOOL-RETRIES"""
    agent = worker.agent([calls("lookup")] * 10, tools=[tool(parameters=QUERY, retries=2)])
    error = failed(worker.run(agent), "ToolRetriesExceeded")
    assert error["usage"]["requests"] == 3


def test_a_pattern_that_explodes_freezes_nothing(worker: Worker) -> None:
    """clause: SCHEMA-PATTERNS"""
    schema = {"type": "object", "properties": {"q": {"type": "string", "pattern": "^(a+)+$"}}}
    script = [calls(("lookup", {"q": "a" * 40 + "!"})), says("done")]
    run = worker.start_run(worker.agent(script, tools=[tool(parameters=schema)]))
    assert succeeded(worker.run(worker.agent([says("another")])))["result"] == "another"
    assert succeeded(worker.terminal(run))["result"] == "done"


KEYWORDS: list[tuple[Any, Any, Any]] = [
    ({"enum": ["a", "b"]}, "c", "b"),
    ({"const": {"k": 1}}, {"k": 2}, {"k": 1}),
    ({"type": "integer", "minimum": 3}, 2, 3),
    ({"type": "integer"}, 1.5, 1),
    ({"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}, ["a", "a"], ["a"]),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, 1, None),
    ({"not": {"type": "string"}}, "x", 1),
    ({"type": "string", "minLength": 2, "pattern": "^x"}, "x", "xy"),
    ({"type": "object", "patternProperties": {"^n": {"type": "number"}}}, {"n1": "x"}, {"n1": 1}),
    ({"if": {"type": "integer"}, "then": {"minimum": 5}}, 4, 5),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, [1, 2], [1]),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"a": 1}, {"a": 1, "b": 2}),
    ({"anyOf": [{"$ref": "#/$defs/positive"}]}, -1, 1),
    (False, 1, ...),
]


@pytest.mark.parametrize(("schema", "wrong", "right"), KEYWORDS, ids=[str(n) for n in range(len(KEYWORDS))])
def test_arguments_are_validated_against_the_whole_of_json_schema(
    worker: Worker, schema: Any, wrong: Any, right: Any
) -> None:
    positive = {"type": "integer", "exclusiveMinimum": 0}
    parameters = {"type": "object", "properties": {"v": schema}, "$defs": {"positive": positive}}
    good = {} if right is ... else {"v": right}
    script = [calls(("lookup", {"v": wrong})), calls(("lookup", good)), says("done")]
    run, call = start_asking(worker, worker.agent(script, tools=[tool(parameters=parameters)]))
    assert call["args"] == good
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_an_unknown_tool_goes_back_to_the_model(worker: Worker) -> None:
    run, call = start_asking(worker, worker.agent([calls("nothing"), calls("lookup"), says("done")], tools=[tool()]))
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_an_unknown_tool_called_until_the_budget_is_spent_fails_the_run(worker: Worker) -> None:
    """clause: TOOL-UNKNOWN"""
    failed(worker.run(worker.agent([calls("nothing")] * 20, tools=[tool()])), "ToolRetriesExceeded")


# ---------------------------------------------------------------- answers

RESULTS: list[Any] = ["text", "", 0, 1.5, True, False, [], {}, [1, {"a": None}], {"result": {"type": "error"}}]


@pytest.mark.parametrize("result", RESULTS, ids=json.dumps)
def test_a_result_of_any_json_is_given_to_the_model(worker: Worker, result: Any) -> None:
    run, call = start_asking(worker)
    worker.answer(call, result=result)
    assert tool_returns(succeeded(worker.terminal(run))["messages"]) == [("lookup", result, "success")]


def test_null_is_a_result(worker: Worker) -> None:
    run, call = start_asking(worker)
    worker.answer(call, result=None)
    answer = succeeded(worker.terminal(run))
    assert answer["result"] == "done"
    assert tool_returns(answer["messages"])[0][2] == "success"


def test_retry_asks_the_model_to_try_again(worker: Worker) -> None:
    agent = worker.agent([calls("lookup"), calls("lookup"), says("done")], tools=[tool(retries=1)])
    run, call = start_asking(worker, agent)
    worker.answer(call, retry="use the other index")
    worker.answer(next_call(worker, run), result="found")
    answer = succeeded(worker.terminal(run))
    assert "use the other index" in what_the_model_saw(answer)
    assert [outcome for _, _, outcome in tool_returns(answer["messages"])] == ["retried", "success"]


def test_retry_costs_the_tools_budget(worker: Worker) -> None:
    """clause: TOOL-RETRIES"""
    agent = worker.agent([calls("lookup")] * 10, tools=[tool(retries=2)])
    run, call = start_asking(worker, agent)
    worker.answer(call, retry="again")
    worker.answer(next_call(worker, run), retry="again")
    worker.answer(next_call(worker, run), retry="again")
    error = failed(worker.terminal(run), "ToolRetriesExceeded")
    assert (error["agent_id"], error["usage"]["requests"]) == (agent, 3)


def test_an_agents_retries_are_the_default_budget(worker: Worker) -> None:
    agent = worker.agent([calls("lookup")] * 10, tools=[tool()], retries=0)
    run, call = start_asking(worker, agent)
    worker.answer(call, retry="again")
    failed(worker.terminal(run), "ToolRetriesExceeded")


def test_failed_costs_no_budget_and_the_run_goes_on(worker: Worker) -> None:
    """clause: TOOL-RETRIES"""
    agent = worker.agent([calls("lookup")] * 5 + [says("done")], tools=[tool(retries=0)])
    run = worker.start_run(agent)
    for n in range(5):
        worker.answer(next_call(worker, run), failed=f"outage {n}")
    answer = succeeded(worker.terminal(run))
    assert [outcome for _, _, outcome in tool_returns(answer["messages"])] == ["failed"] * 5
    assert "outage 4" in what_the_model_saw(answer)


def test_an_error_ends_the_run(worker: Worker) -> None:
    """clause: TOOL-ERROR"""
    agent = asking_agent(worker)
    run, call = start_asking(worker, agent)
    worker.answer(call, error="the database is gone", details={"code": 7})
    error = failed(worker.terminal(run), "ToolError")
    assert "the database is gone" in error["message"]
    assert 7 in error["details"].values() or error["details"] == {"code": 7} or '"code": 7' in json.dumps(error)
    assert error["agent_id"] == agent


def test_an_error_of_one_call_cancels_the_others(worker: Worker) -> None:
    """clause: TOOL-ERROR, CALL-CANCEL"""
    agent = worker.agent([calls("a", "b", "c"), says("done")], tools=[tool(name) for name in "abc"])
    run = worker.start_run(agent)
    made = {call["name"]: call for call in (next_call(worker, run) for _ in range(3))}
    worker.answer(made["b"], error="no")
    frames = worker.collect(run)
    cancelled = {frame["call_id"] for frame in frames if frame["type"] == "tool_cancel"}
    assert cancelled == {made["a"]["call_id"], made["c"]["call_id"]}
    failed(frames[-1], "ToolError")


def test_after_an_error_the_history_can_be_gone_on_from(worker: Worker) -> None:
    agent = worker.agent([calls("a", "b"), says("done")], tools=[tool("a"), tool("b")])
    run = worker.start_run(agent)
    made = {call["name"]: call for call in (next_call(worker, run) for _ in range(2))}
    worker.answer(made["a"], result="kept")
    worker.answer(made["b"], error="no")
    history = failed(worker.terminal(run), "ToolError")["messages"]
    succeeded(worker.run(worker.agent([says("on")]), message_history=history))


# ---------------------------------------------------------------- time


def test_a_call_that_takes_too_long_goes_back_to_the_model(worker: Worker) -> None:
    """clause: TOOL-TIMEOUT, CALL-CANCEL
    fault: F51
    """
    script = [calls("lookup"), calls("other"), says("done")]
    run, call = start_asking(worker, worker.agent(script, tools=[tool(timeout_ms=50), tool("other")]))
    cancel = worker.wait_for("tool_cancel", of=run)
    assert (cancel["call_id"], cancel["reason"]) == (call["call_id"], "timeout")
    worker.answer(next_call(worker, run), result="in time")
    answer = succeeded(worker.terminal(run))
    assert [outcome for _, _, outcome in tool_returns(answer["messages"])] == ["retried", "success"]


def test_calls_that_go_on_taking_too_long_spend_the_tools_retries(worker: Worker) -> None:
    """fault: F51"""
    agent = worker.agent([calls("lookup")] * 10, tools=[tool(timeout_ms=20, retries=2)])
    run = worker.start_run(agent)
    frames = worker.collect(run)
    assert [frame["type"] for frame in frames] == ["tool_call", "tool_cancel"] * 3 + ["error"]
    failed(frames[-1], "ToolRetriesExceeded")


def test_an_answer_that_crosses_a_timeout_is_dropped(worker: Worker) -> None:
    """clause: CALL-LATE"""
    script = [calls("lookup"), calls("other"), says("done")]
    tools = [tool(timeout_ms=20), tool("other")]
    run, late = start_asking(worker, worker.agent(script, tools=tools))
    other = worker.wait_for(lambda frame: frame["type"] == "tool_call" and frame["name"] == "other", of=run)
    worker.answer(late, result="too late")
    worker.answer(other, result="in time")
    answer = succeeded(worker.terminal(run))
    assert "too late" not in what_the_model_saw(answer)
    assert "in time" in what_the_model_saw(answer)
    assert not [frame for frame in worker.frames if frame.get("run_id") == run]


def test_an_answer_that_crosses_a_cancel_is_dropped(worker: Worker) -> None:
    run, call = start_asking(worker)
    assert succeeded(worker.ask("cancel", target=run))["result"] == {"cancelled": True}
    worker.answer(call, result="too late")
    cancel = worker.wait_for("tool_cancel", of=run)
    assert (cancel["call_id"], cancel["reason"]) == (call["call_id"], "cancelled")
    failed(worker.terminal(run), "Cancelled")
    succeeded(worker.ask("ping"))
    assert not [frame for frame in worker.frames if frame.get("run_id") == run]


def test_a_run_whose_parent_never_answers_ends_with_its_own_timeout(worker: Worker) -> None:
    """fault: F51"""
    agent = worker.agent([calls("lookup")] * 1000, tools=[tool(timeout_ms=NEVER_MS)])
    run, _ = start_limited(worker, agent, "tool_call")
    failed(worker.terminal(run), "Timeout")


def test_a_cancelled_run_with_open_calls_can_be_gone_on_from(worker: Worker) -> None:
    agent = worker.agent([calls("a", "b"), says("done")], tools=[tool("a"), tool("b")])
    run = worker.start_run(agent, "begun")
    made = {call["name"]: call for call in (next_call(worker, run) for _ in range(2))}
    worker.answer(made["a"], result="kept")
    succeeded(worker.ask("cancel", target=run))
    error = failed(worker.terminal(run), "Cancelled")
    assert error["usage"]["requests"] == 1
    succeeded(worker.run(worker.agent([says("on")]), message_history=error["messages"]))
    succeeded(worker.ask("run", agent_id=worker.agent([says("on")]), message_history=error["messages"]))


def test_a_result_that_ends_the_run_early_finishes_the_other_calls(worker: Worker) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    turn = {**calls("lookup"), "output": {"x": 1}}
    agent = worker.agent([turn, turn], tools=[tool()], output_schema=schema, end_strategy="exhaustive")
    run = worker.start_run(agent)
    frames: list[dict[str, Any]] = []
    while not frames or frames[-1]["type"] not in ("result", "error"):
        frames.append(worker.wait_for(lambda frame: frame["type"] != "log", of=run))
        if frames[-1]["type"] == "tool_call":
            worker.answer(frames[-1], result=1)
    assert succeeded(frames[-1])["result"] == {"x": 1}


# ---------------------------------------------------------------- parts beside a result


def test_the_parts_beside_a_result_reach_the_model_after_it(worker: Worker) -> None:
    """clause: CALL-CONTENT"""
    run, call = start_asking(worker)
    picture = {"type": "image_url", "url": "https://example.com/label.png"}
    worker.answer(call, result="the label", content=[{"type": "text", "text": "look:"}, picture])
    answer = succeeded(worker.terminal(run))
    after_the_call = [
        (part["part_kind"], part["content"])
        for message in answer["messages"][2:]
        if message["kind"] == "request"
        for part in message["parts"]
    ]
    (returned, shown) = after_the_call
    assert returned == ("tool-return", "the label")
    assert (shown[0], shown[1][0], shown[1][1]["url"]) == ("user-prompt", "look:", picture["url"])


def test_parts_that_are_no_base64_leave_the_call_open(worker: Worker) -> None:
    """clause: CALL-CONTENT"""
    run, call = start_asking(worker)
    broken = {"type": "image", "media_type": "image/png", "data": "no base64!"}
    worker.answer(call, result="the label", content=[broken])
    failed(worker.wait_for("error", of=None), "InvalidCommand")
    worker.answer(call, result="the label")
    succeeded(worker.terminal(run))
