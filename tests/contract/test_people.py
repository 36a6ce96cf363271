"""Section 6: what people decide, at once (approvals) or later (deferred tools)."""

import json
from typing import Any

import pytest

from tests.kit import Frame, Worker, failed, succeeded, texts
from tests.kit.messages import parts, tool_returns

from .scenarios import NEVER_MS, QUERY, calls, says, start_limited, tool

GUARDED = tool(requires_approval=True)
LATER = tool(handler="deferred")


def guarded_agent(worker: Worker, *args: dict[str, Any], **fields: Any) -> str:
    """An agent that calls a guarded tool, once for each of the arguments given, and then says `done`."""
    script = [calls(*(("lookup", each) for each in (args or ({},)))), says("done")]
    return worker.agent(script, **{"tools": [GUARDED], **fields})


def start_guarded(worker: Worker, *args: dict[str, Any], **fields: Any) -> tuple[Any, Frame]:
    """Starts a run that now waits for an approval: its id and the request."""
    run = worker.start_run(guarded_agent(worker, *args, **fields))
    return run, worker.wait_for("approval_request", of=run)


def calls_of(worker: Worker, run: Any) -> list[Frame]:
    """The tool calls of a run so far."""
    return [frame for frame in worker.frames if frame["type"] == "tool_call" and frame["id"] == run]


# ---------------------------------------------------------------- approvals


def test_an_approved_call_is_made_under_the_same_call_id(worker: Worker) -> None:
    """clause: TOOL-APPROVAL, CALL-ID"""
    run, request = start_guarded(worker, {"q": "x"})
    assert (request["name"], request["args"]) == ("lookup", {"q": "x"})
    assert not calls_of(worker, run)
    worker.decide(request, approved=True)
    call = worker.wait_for("tool_call", of=run)
    assert (call["call_id"], call["args"]) == (request["call_id"], {"q": "x"})
    worker.answer(call, result="found")
    answer = succeeded(worker.terminal(run))
    assert tool_returns(answer["messages"]) == [("lookup", "found", "success")]


def test_a_refused_call_is_not_made_and_the_model_sees_the_message(worker: Worker) -> None:
    """clause: TOOL-REFUSED"""
    run, request = start_guarded(worker)
    worker.decide(request, approved=False, message="not on a Sunday")
    answer = succeeded(worker.terminal(run))
    assert answer["result"] == "done"
    assert "not on a Sunday" in json.dumps(tool_returns(answer["messages"]))
    assert not calls_of(worker, run)


def test_a_refusal_needs_no_message(worker: Worker) -> None:
    run, request = start_guarded(worker)
    worker.decide(request, approved=False)
    assert succeeded(worker.terminal(run))["result"] == "done"
    assert not calls_of(worker, run)


def test_an_approvals_arguments_replace_the_models(worker: Worker) -> None:
    run, request = start_guarded(worker, {"q": "x"})
    worker.decide(request, approved=True, args={"q": "y", "more": 1})
    call = worker.wait_for("tool_call", of=run)
    assert call["args"] == {"q": "y", "more": 1}
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_an_approvals_arguments_are_validated_and_it_stays_open_when_they_fail(worker: Worker) -> None:
    """clause: TOOL-APPROVAL-ARGS"""
    tools = [tool(parameters=QUERY, requires_approval=True)]
    run, request = start_guarded(worker, {"q": "x"}, tools=tools)
    worker.decide(request, approved=True, args={"q": 7})
    error = worker.wait_for("error")
    assert (error["id"], error["run_id"], error["call_id"]) == (None, run, request["call_id"])
    assert not calls_of(worker, run)
    worker.decide(request, approved=True, args={"q": "y"})
    call = worker.wait_for("tool_call", of=run)
    assert call["args"] == {"q": "y"}
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_no_approval_is_asked_for_arguments_that_fail(worker: Worker) -> None:
    script = [calls(("lookup", {"q": 7})), calls(("lookup", {"q": "x"})), says("done")]
    run = worker.start_run(worker.agent(script, tools=[tool(parameters=QUERY, requires_approval=True)]))
    request = worker.wait_for("approval_request", of=run)
    assert request["args"] == {"q": "x"}
    worker.decide(request, approved=False)
    succeeded(worker.terminal(run))


def test_approvals_of_calls_made_together_may_come_in_any_order(worker: Worker) -> None:
    wanted: list[dict[str, Any]] = [{"n": n} for n in range(4)]
    run = worker.start_run(guarded_agent(worker, *wanted))
    requests = {
        request["args"]["n"]: request for request in (worker.wait_for("approval_request", of=run) for _ in wanted)
    }
    worker.decide(requests[3], approved=True)
    worker.decide(requests[2], approved=False)
    worker.answer(worker.wait_for("tool_call", of=run), result="three")
    worker.decide(requests[0], approved=True)
    worker.answer(worker.wait_for("tool_call", of=run), result="zero")
    worker.decide(requests[1], approved=False)
    answer = succeeded(worker.terminal(run))
    assert [call["args"]["n"] for call in calls_of(worker, run)] == [3, 0]
    assert [content for _, content, outcome in tool_returns(answer["messages"]) if outcome == "success"] == [
        "zero",
        "three",
    ]


def test_a_tools_timeout_does_not_run_while_approval_is_open(worker: Worker) -> None:
    """clause: TOOL-APPROVAL-CLOCK"""
    script = [calls("lookup"), says("done")]
    tools = [tool(requires_approval=True, timeout_ms=2000, retries=0)]
    run = worker.start_run(worker.agent(script, tools=tools))
    request = worker.wait_for("approval_request", of=run)
    succeeded(worker.run(worker.agent([says("meanwhile", delay_ms=2500)])))
    worker.decide(request, approved=True)
    worker.answer(worker.wait_for("tool_call", of=run), result="in time")
    assert tool_returns(succeeded(worker.terminal(run))["messages"])[0][1] == "in time"


def test_a_run_that_waits_for_approval_can_be_cancelled(worker: Worker) -> None:
    run, request = start_guarded(worker)
    assert succeeded(worker.ask("cancel", target=run))["result"] == {"cancelled": True}
    failed(worker.terminal(run), "Cancelled")
    worker.decide(request, approved=True)
    succeeded(worker.ask("ping"))
    assert not calls_of(worker, run)
    assert not [frame for frame in worker.frames if frame.get("run_id") == run]


def test_a_run_that_waits_for_approval_times_out(worker: Worker) -> None:
    run, request = start_limited(worker, guarded_agent(worker), "approval_request")
    cancel = worker.wait_for("tool_cancel", of=run)
    assert cancel["call_id"] == request["call_id"]
    failed(worker.terminal(run), "Timeout")


BAD_APPROVALS: list[dict[str, Any]] = [
    {},
    {"approved": "yes"},
    {"approved": None},
    {"approved": False, "message": 7},
    {"approved": True, "args": [1]},
    {"approved": True, "arguments": {}},
]


@pytest.mark.parametrize("decision", BAD_APPROVALS, ids=json.dumps)
def test_an_approval_of_the_wrong_shape_is_refused_and_it_stays_open(worker: Worker, decision: dict[str, Any]) -> None:
    run, request = start_guarded(worker)
    worker.send({"type": "approval", "id": run, "call_id": request["call_id"], **decision})
    error = failed(worker.wait_for("error"), "InvalidCommand")
    assert (error["id"], error["run_id"], error["call_id"]) == (None, run, request["call_id"])
    worker.decide(request, approved=False)
    succeeded(worker.terminal(run))


def test_a_second_approval_is_dropped(worker: Worker) -> None:
    run, request = start_guarded(worker)
    worker.decide(request, approved=True)
    call = worker.wait_for("tool_call", of=run)
    worker.decide(request, approved=False, message="changed my mind")
    worker.answer(call, result="found")
    answer = succeeded(worker.terminal(run))
    assert tool_returns(answer["messages"]) == [("lookup", "found", "success")]
    worker.decide(request, approved=True)
    succeeded(worker.ask("ping"))
    assert not [frame for frame in worker.frames if frame["type"] == "error" and frame.get("run_id") == run]


def test_a_result_for_a_call_that_is_not_yet_approved_does_not_make_it(worker: Worker) -> None:
    """clause: CALL-UNKNOWN"""
    run, request = start_guarded(worker)
    worker.send({"type": "tool_result", "id": run, "call_id": request["call_id"], "result": "forged"})
    failed(worker.wait_for("error"), "UnknownToolCall")
    worker.decide(request, approved=False, message="no")
    answer = succeeded(worker.terminal(run))
    assert "forged" not in json.dumps(answer["messages"])


# ---------------------------------------------------------------- deferred tools


def deferring_agent(worker: Worker, *, after: str = "done", **fields: Any) -> str:
    """An agent whose first turn calls a deferred tool."""
    script = [calls(("lookup", {"q": "x"})), says(after)]
    return worker.agent(script, **{"tools": [LATER], **fields})


def answering_agent(worker: Worker, **fields: Any) -> str:
    """An agent that knows the deferred tool and says `carried on`."""
    return worker.agent([says("carried on")], **{"tools": [LATER], **fields})


def defer(worker: Worker, **fields: Any) -> tuple[Frame, str]:
    """A run that has ended with a deferred call: its result, and the call's id."""
    answer = succeeded(worker.run(deferring_agent(worker), **fields))
    (call,) = answer["deferred"]["calls"]
    return answer, call["call_id"]


def carry_on(worker: Worker, history: Any, results: Any, **fields: Any) -> Frame:
    """The terminal frame of the run that goes on from a deferred one."""
    agent = fields.pop("agent", None) or answering_agent(worker)
    return worker.ask("run", agent_id=agent, message_history=history, deferred_results=results, **fields)


@pytest.mark.parametrize("kind", ["run", "stream"])
@pytest.mark.parametrize("messages", [None, "new", "all", "none"])
def test_a_call_of_a_deferred_tool_ends_the_run(worker: Worker, kind: str, messages: str | None) -> None:
    """clause: DEFER-TOOL, RUN-MESSAGES"""
    answer = worker.ask(kind, agent_id=deferring_agent(worker), prompt="p", messages=messages)
    assert succeeded(answer)["status"] == "deferred"
    assert answer["result"] is None
    (call,) = answer["deferred"]["calls"]
    (part,) = parts(answer["messages"], "tool-call")
    assert call == {"call_id": part["tool_call_id"], "name": "lookup", "args": {"q": "x"}}


@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        ({"result": {"found": [1, None]}}, {"found": [1, None]}),
        ({"result": None}, ...),
        ({"failed": "it is lost"}, "it is lost"),
        ({"retry": "ask again"}, "ask again"),
    ],
    ids=["result", "null", "failed", "retry"],
)
def test_a_later_run_in_another_worker_carries_on(worker: Worker, outcome: dict[str, Any], seen: Any) -> None:
    """clause: DEFER-CARRY-ON"""
    answer, call_id = defer(worker)
    with Worker() as other:
        later = carry_on(other, answer["messages"], {call_id: outcome}, messages="all")
        assert succeeded(later)["result"] == "carried on"
        (returned,) = tool_returns(later["messages"])
        assert returned[0] == "lookup"
        assert seen is ... or returned[1] == seen or seen in json.dumps(returned[1])


def test_a_run_may_carry_on_with_a_prompt_too(worker: Worker) -> None:
    answer, call_id = defer(worker)
    later = carry_on(worker, answer["messages"], {call_id: {"result": 1}}, prompt="and quickly", messages="all")
    assert succeeded(later)["result"] == "carried on"
    assert "and quickly" in json.dumps(parts(later["messages"], "user-prompt"))


def test_a_run_that_carries_on_may_be_deferred_again(worker: Worker) -> None:
    answer, call_id = defer(worker)
    agent = deferring_agent(worker)
    later = carry_on(worker, answer["messages"], {call_id: {"result": 1}}, agent=agent, messages="all")
    assert succeeded(later)["status"] == "deferred"
    (second,) = later["deferred"]["calls"]
    last = carry_on(worker, later["messages"], {second["call_id"]: {"result": 2}}, messages="all")
    assert succeeded(last)["result"] == "carried on"
    assert [content for _, content, _ in tool_returns(last["messages"])] == [1, 2]


def test_several_deferred_calls_are_listed_together(worker: Worker) -> None:
    script = [calls(("lookup", {"n": 1}), ("lookup", {"n": 2})), says("never")]
    answer = succeeded(worker.run(worker.agent(script, tools=[LATER])))
    deferred = answer["deferred"]["calls"]
    assert [call["args"]["n"] for call in deferred] == [1, 2]
    results = {call["call_id"]: {"result": call["args"]["n"]} for call in deferred}
    later = carry_on(worker, answer["messages"], results, messages="all")
    assert [content for _, content, _ in tool_returns(succeeded(later)["messages"])] == [1, 2]


def test_other_tools_called_beside_a_deferred_one_are_run(worker: Worker) -> None:
    script = [calls("now", "lookup"), says("never")]
    run = worker.start_run(worker.agent(script, tools=[tool("now"), LATER]))
    worker.answer(worker.wait_for("tool_call", of=run), result="at once")
    answer = succeeded(worker.terminal(run))
    (call,) = answer["deferred"]["calls"]
    assert call["name"] == "lookup"
    agent = answering_agent(worker, tools=[tool("now"), LATER])
    later = carry_on(worker, answer["messages"], {call["call_id"]: {"result": 1}}, agent=agent, messages="all")
    returned = {name: content for name, content, _ in tool_returns(succeeded(later)["messages"])}
    assert returned == {"now": "at once", "lookup": 1}


def test_arguments_of_a_deferred_call_are_validated_first(worker: Worker) -> None:
    script = [calls(("lookup", {"q": 7})), calls(("lookup", {"q": "x"})), says("never")]
    answer = succeeded(worker.run(worker.agent(script, tools=[tool(parameters=QUERY, handler="deferred")])))
    assert [call["args"] for call in answer["deferred"]["calls"]] == [{"q": "x"}]


def test_with_a_deferred_tool_approval_comes_first(worker: Worker) -> None:
    """clause: DEFER-TOOL"""
    tools = [tool(handler="deferred", requires_approval=True)]
    run, request = start_guarded(worker, {"q": "x"}, tools=tools)
    worker.decide(request, approved=True, args={"q": "y"})
    answer = succeeded(worker.terminal(run))
    assert [call["args"] for call in answer["deferred"]["calls"]] == [{"q": "y"}]


def test_a_deferred_tool_that_is_refused_is_not_deferred(worker: Worker) -> None:
    run, request = start_guarded(worker, tools=[tool(handler="deferred", requires_approval=True)])
    worker.decide(request, approved=False, message="no")
    answer = succeeded(worker.terminal(run))
    assert (answer["status"], answer["result"]) == ("complete", "done")


@pytest.mark.parametrize("misfit", ["another call", "nothing", "one too many", "no history", "an answered call"])
def test_results_that_do_not_fit_the_history_are_refused(worker: Worker, misfit: str) -> None:
    """clause: DEFER-MISFIT"""
    answer, call_id = defer(worker)
    history, results = answer["messages"], {call_id: {"result": 1}}
    match misfit:
        case "another call":
            results = {"nobody": {"result": 1}}
        case "nothing":
            results = {}
        case "one too many":
            results = {**results, "nobody": {"result": 2}}
        case "no history":
            history = []
        case _:
            history = succeeded(carry_on(worker, history, results, messages="all"))["messages"]
    failed(carry_on(worker, history, results), "InvalidHistory")


def test_results_that_leave_a_call_open_are_refused(worker: Worker) -> None:
    """clause: DEFER-MISFIT"""
    script = [calls(("lookup", {"n": 1}), ("lookup", {"n": 2})), says("never")]
    answer = succeeded(worker.run(worker.agent(script, tools=[LATER])))
    first, _ = answer["deferred"]["calls"]
    failed(carry_on(worker, answer["messages"], {first["call_id"]: {"result": 1}}), "InvalidHistory")


BAD_RESULTS: list[Any] = [{}, {"result": 1, "failed": "x"}, {"error": "x"}, {"retry": 7}, "text", None]


@pytest.mark.parametrize("outcome", BAD_RESULTS, ids=json.dumps)
def test_a_deferred_result_of_the_wrong_shape_is_an_invalid_command(worker: Worker, outcome: Any) -> None:
    answer, call_id = defer(worker)
    failed(carry_on(worker, answer["messages"], {call_id: outcome}), "InvalidCommand")


def test_a_deferred_result_may_come_in_a_stream(worker: Worker) -> None:
    answer, call_id = defer(worker)
    results = {call_id: {"result": 1}}
    history = answer["messages"]
    stream = worker.submit(
        "stream", agent_id=answering_agent(worker), message_history=history, deferred_results=results
    )
    frames = worker.collect(stream)
    assert "".join(texts(frames)) == succeeded(frames[-1])["result"] == "carried on"


def test_a_deferred_call_does_not_wait_for_a_parent_that_has_gone() -> None:
    with Worker() as worker:
        script = [calls("lookup", delay_ms=200), says("never")]
        run = worker.start_run(worker.agent(script, tools=[LATER], timeout_ms=NEVER_MS))
        worker.close_stdin()
        assert succeeded(worker.terminal(run))["status"] == "deferred"


# ---------------------------------------------------------------- approvals that are deferred

WORD_LATER = tool(parameters=QUERY, requires_approval=True, approval="deferred")


def asked_by(worker: Worker, run: Any) -> list[str]:
    """What a run has asked of its parent."""
    kinds = ("approval_request", "tool_call")
    return [frame["type"] for frame in worker.frames if frame.get("id") == run and frame["type"] in kinds]


def wait_for_a_word(worker: Worker) -> tuple[list[Any], str]:
    """A run that has ended with a call that needs a person's word: its messages and the call's id."""
    answer = succeeded(worker.run(worker.agent([calls(("lookup", {"q": "x"})), says("never")], tools=[WORD_LATER])))
    assert (answer["status"], answer["result"]) == ("deferred", None)
    (call,) = answer["deferred"]["calls"]
    assert call == {"call_id": call["call_id"], "name": "lookup", "args": {"q": "x"}, "approval": True}
    assert asked_by(worker, answer["id"]) == []
    return answer["messages"], call["call_id"]


def start_after_a_word(worker: Worker, *script: dict[str, Any], **word: Any) -> Any:
    """Starts the run that carries on with the word for the one call; its id."""
    history, call_id = wait_for_a_word(worker)
    agent = worker.agent([*script, says("carried on")], tools=[WORD_LATER])
    return worker.submit(
        "run", agent_id=agent, message_history=history, deferred_results={call_id: word}, messages="all"
    )


@pytest.mark.parametrize(("args", "made"), [({}, {"q": "x"}), ({"args": {"q": "y"}}, {"q": "y"})], ids=["own", "new"])
def test_a_call_that_is_approved_later_is_made_by_the_run_that_carries_on(
    worker: Worker, args: dict[str, Any], made: dict[str, Any]
) -> None:
    """clause: DEFER-APPROVAL, DEFER-CARRY-ON"""
    run = start_after_a_word(worker, approved=True, **args)
    call = worker.wait_for("tool_call", of=run)
    assert (call["name"], call["args"]) == ("lookup", made)
    worker.answer(call, result="found")
    answer = succeeded(worker.terminal(run))
    assert answer["result"] == "carried on"
    assert tool_returns(answer["messages"]) == [("lookup", "found", "success")]
    assert asked_by(worker, run) == ["tool_call"]


def test_arguments_of_a_later_approval_that_fail_go_back_to_the_model(worker: Worker) -> None:
    """clause: DEFER-CARRY-ON"""
    run = start_after_a_word(worker, approved=True, args={"q": 7})
    answer = succeeded(worker.terminal(run))
    assert answer["result"] == "carried on"
    assert not calls_of(worker, run)
    ((name, content, outcome),) = tool_returns(answer["messages"])
    assert (name, outcome) == ("lookup", "retried")
    assert "q" in json.dumps(content)


@pytest.mark.parametrize(("word", "seen"), [({"message": "not today"}, "not today"), ({}, "denied")])
def test_a_call_that_is_refused_later_is_not_made(worker: Worker, word: dict[str, Any], seen: str) -> None:
    """clause: DEFER-APPROVAL, DEFER-CARRY-ON"""
    run = start_after_a_word(worker, approved=False, **word)
    answer = succeeded(worker.terminal(run))
    assert answer["result"] == "carried on"
    assert not calls_of(worker, run)
    ((name, content, outcome),) = tool_returns(answer["messages"])
    assert (name, outcome) == ("lookup", "denied")
    assert seen in content


def test_calls_that_wait_for_a_word_come_after_those_that_wait_for_a_result(worker: Worker) -> None:
    """clause: DEFER-APPROVAL, DEFER-CARRY-ON"""
    tools = [tool("refund", requires_approval=True, approval="deferred"), tool("ship", handler="deferred")]
    script = [calls("refund", "ship"), says("never")]
    answer = succeeded(worker.run(worker.agent(script, tools=tools)))
    first, second = answer["deferred"]["calls"]
    assert [(call["name"], call.get("approval")) for call in (first, second)] == [("ship", None), ("refund", True)]
    words = {first["call_id"]: {"result": "shipped"}, second["call_id"]: {"approved": True}}
    agent = worker.agent([says("carried on")], tools=tools)
    run = worker.submit(
        "run", agent_id=agent, message_history=answer["messages"], deferred_results=words, messages="all"
    )
    worker.answer(worker.wait_for("tool_call", of=run), result="refunded")
    returned = {name: content for name, content, _ in tool_returns(succeeded(worker.terminal(run))["messages"])}
    assert returned == {"ship": "shipped", "refund": "refunded"}


def test_retries_are_counted_where_the_run_ends_deferred() -> None:
    """clause: LIFE-STATS, DEFER-TOOL"""
    with Worker() as worker:
        later, now = tool("later", handler="deferred"), tool("now", parameters=QUERY)
        script = [calls(("now", {"q": 7}), ("later", {})), says("done")]
        run = succeeded(worker.run(worker.agent(script, tools=[later, now])))
        assert run["status"] == "deferred"
        assert worker.ask("stats")["result"]["retries"]["tools"] == 1


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a call that was made"])
@pytest.mark.parametrize("prompt", ["and now?", None])
def test_a_call_that_waits_for_its_result_is_not_lost_by_a_run_without_one(
    worker: Worker, prompt: str | None, beside: bool
) -> None:
    """clause: DEFER-OPEN"""
    agent = worker.agent([calls(*["now"] * beside, "lookup"), says("done")], tools=[tool("now"), LATER])
    run = worker.start_run(agent)
    if beside:
        worker.answer(worker.wait_for("tool_call", of=run), result="at once")
    deferred = succeeded(worker.terminal(run))
    ids = [call["call_id"] for call in deferred["deferred"]["calls"]]
    later = worker.ask("run", agent_id=agent, prompt=prompt, message_history=deferred["messages"])
    if prompt is None and not beside:
        assert succeeded(later)["status"] == "deferred"
    else:
        assert failed(later, "InvalidHistory")["details"] == {"open": ids}


def test_arguments_that_were_approved_later_are_those_of_a_deferred_tool(worker: Worker) -> None:
    """clause: DEFER-TOOL, DEFER-APPROVAL"""
    tools = [tool(handler="deferred", requires_approval=True, approval="deferred")]
    agent = worker.agent([calls(("lookup", {"q": "x"}))], tools=tools)
    asked = succeeded(worker.run(agent))
    (call,) = asked["deferred"]["calls"]
    word = {call["call_id"]: {"approved": True, "args": {"q": "y"}}}
    later = carry_on(worker, asked["messages"], word, agent=agent)
    approved = {"call_id": call["call_id"], "name": "lookup", "args": {"q": "y"}}
    assert succeeded(later)["deferred"]["calls"] == [approved]


@pytest.mark.parametrize("kind", ["run", "stream"])
@pytest.mark.parametrize("strategy", ["early", "graceful", "exhaustive"])
@pytest.mark.parametrize(
    "later", [LATER, tool(requires_approval=True, approval="deferred")], ids=["handler", "approval"]
)
def test_a_deferred_call_beside_the_result_is_not_made_and_the_messages_say_so(
    worker: Worker, later: dict[str, Any], strategy: str, kind: str
) -> None:
    """clause: DEFER-TOOL"""
    turn = calls("lookup", ("final_result", {"q": "x"}))
    agent = worker.agent([turn], tools=[later], output_schema=QUERY, end_strategy=strategy)
    ended = succeeded(worker.ask(kind, agent_id=agent, prompt="p"))
    assert (ended["status"], ended["result"]) == ("complete", {"q": "x"})
    (told,) = (content for name, content, _ in tool_returns(ended["messages"]) if name == "lookup")
    assert "not" in told
    next_run = worker.run(worker.agent([says("next")]), message_history=ended["messages"])
    assert succeeded(next_run)["result"] == "next"


@pytest.mark.parametrize("priority", ["asap", "when_idle"])
@pytest.mark.parametrize(
    "later", [LATER, tool(requires_approval=True, approval="deferred")], ids=["handler", "approval"]
)
def test_what_is_added_to_a_run_that_ends_deferred_is_for_the_one_that_carries_on(
    worker: Worker, later: dict[str, Any], priority: str
) -> None:
    """clause: DEFER-TOOL, RUN-ENQUEUE"""
    agent = worker.agent([calls("now", "lookup"), says("never")], tools=[tool("now"), later])
    run = worker.start_run(agent)
    call = worker.wait_for("tool_call", of=run)
    assert succeeded(worker.ask("enqueue", target=run, prompt="and this", priority=priority))["result"]["enqueued"]
    worker.answer(call, result="at once")
    ended = succeeded(worker.terminal(run))
    assert ended["status"] == "deferred"
    (waiting,) = ended["deferred"]["calls"]
    assert parts(ended["messages"], "user-prompt")[-1]["content"] == "and this"
    outcome = {"approved": False} if waiting.get("approval") else {"result": 1}
    end = worker.agent([says("carried on")], tools=[tool("now"), later])
    last = carry_on(worker, ended["messages"], {waiting["call_id"]: outcome}, agent=end, messages="all")
    assert succeeded(last)["result"] == "carried on"
    assert len(parts(last["messages"], "user-prompt")) == 2


def test_no_results_are_enough_for_a_history_without_open_calls(worker: Worker) -> None:
    """clause: DEFER-MISFIT"""
    agent = answering_agent(worker)
    assert succeeded(worker.run(agent, deferred_results={}))["result"] == "carried on"
    history = succeeded(worker.run(agent))["messages"]
    again = worker.run(agent, message_history=history, deferred_results={})
    assert succeeded(again)["result"] == "carried on"


@pytest.mark.parametrize("prompt", [None, "and now?"])
def test_a_run_that_carried_on_and_was_cancelled_can_be_gone_on_from(worker: Worker, prompt: str | None) -> None:
    """clause: RUN-RESUME, DEFER-CARRY-ON"""
    agent = worker.agent([calls(("lookup", {"q": "1"}), ("lookup", {"q": "2"}))], tools=[WORD_LATER])
    asked = succeeded(worker.run(agent))
    words = {call["call_id"]: {"approved": True} for call in asked["deferred"]["calls"]}
    run = worker.submit("run", agent_id=agent, message_history=asked["messages"], deferred_results=words)
    first = worker.wait_for(lambda frame: frame["type"] == "tool_call" and frame["args"] == {"q": "1"}, of=run)
    worker.wait_for(lambda frame: frame["type"] == "tool_call" and frame["args"] == {"q": "2"}, of=run)
    worker.answer(first, result="charged")
    worker.ask("ping")
    worker.ask("cancel", target=run)
    left = failed(worker.terminal(run), "Cancelled")["messages"]
    assert sorted(outcome for _, _, outcome in tool_returns(left)) == ["interrupted", "success"]
    history = asked["messages"] + left
    resumed = worker.ask("run", agent_id=answering_agent(worker), message_history=history, prompt=prompt)
    assert succeeded(resumed)["result"] == "carried on"


def test_what_open_calls_want_is_told_as_the_history_stands(worker: Worker) -> None:
    """clause: DEFER-OPEN"""
    answer, _ = defer(worker)
    whole = worker.run(answering_agent(worker), message_history=answer["messages"])
    assert "leave the prompt out" in failed(whole, "InvalidHistory")["message"]
    begun = [*answer["messages"], {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "and?"}]}]
    partly = worker.ask("run", agent_id=answering_agent(worker), message_history=begun)
    assert "leave the prompt out" not in failed(partly, "InvalidHistory")["message"]


def test_the_arguments_of_a_refusal_are_of_no_account(worker: Worker) -> None:
    """clause: TOOL-APPROVAL-ARGS, TOOL-REFUSED"""
    run, request = start_guarded(worker, {"q": "x"}, tools=[tool(parameters=QUERY, requires_approval=True)])
    worker.decide(request, approved=False, args={"q": 7}, message="no")
    assert succeeded(worker.terminal(run))["result"] == "done"
