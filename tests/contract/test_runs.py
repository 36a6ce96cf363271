"""Section 4, runs, and section 7: the fields of a run, its result, and the scripted model."""

import base64
from typing import Any

import pytest

from tests.kit import Frame, Worker, failed, in_time, succeeded, texts
from tests.kit.messages import parts, prompts

from .scenarios import (
    NEVER_MS,
    asking_agent,
    calls,
    endpoint,
    fails,
    retries_of,
    says,
    start_asking,
    start_limited,
    tool,
)

LOOP = [calls("lookup")] * 20


def instructions_of(answer: dict[str, Any]) -> list[Any]:
    """What the model was told, request by request."""
    return [message["instructions"] for message in answer["messages"] if message.get("instructions") is not None]


# ---------------------------------------------------------------- results


def test_a_run_answers_with_the_text_and_what_it_took(worker: Worker) -> None:
    agent = worker.agent([says("hello")])
    answer = succeeded(worker.run(agent, "hi"))
    assert (answer["result"], answer["agent_id"], answer["status"]) == ("hello", agent, "complete")
    assert answer["usage"]["requests"] == 1
    assert answer["usage"]["total_tokens"] == answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"]
    assert [message["kind"] for message in answer["messages"]] == ["request", "response"]
    assert prompts(answer["messages"]) == ["hi"]


def test_two_runs_have_two_run_ids(worker: Worker) -> None:
    agent = worker.agent([says("hello")])
    assert worker.run(agent)["run_id"] != worker.run(agent)["run_id"]


def test_usage_counts_requests_and_tool_calls(worker: Worker) -> None:
    """clause: RUN-USAGE"""
    agent = worker.agent([calls("lookup", "lookup"), says("done")], tools=[tool()])
    run = worker.start_run(agent)
    for _ in range(2):
        worker.answer(worker.wait_for("tool_call", of=run), result=1)
    usage = succeeded(worker.terminal(run))["usage"]
    assert (usage["requests"], usage["tool_calls"]) == (2, 2)


def test_the_test_model_answers(worker: Worker) -> None:
    answer = succeeded(worker.run(worker.agent(model="test")))
    assert isinstance(answer["result"], str)


# ---------------------------------------------------------------- prompts

PARTS: list[list[dict[str, Any]]] = [
    [{"type": "text", "text": "look"}],
    [{"type": "text", "text": "look"}, {"type": "image_url", "url": "https://example.org/a.png"}],
    [{"type": "audio_url", "url": "https://example.org/a.mp3"}],
    [{"type": "video_url", "url": "https://example.org/a.mp4"}],
    [{"type": "document_url", "url": "https://example.org/a.pdf"}],
    [{"type": "binary", "media_type": "image/png", "data": base64.b64encode(bytes(range(256))).decode()}],
]


@pytest.mark.parametrize("prompt", PARTS, ids=lambda parts: "-".join(part["type"] for part in parts))
def test_a_prompt_may_be_a_list_of_parts(worker: Worker, prompt: list[dict[str, Any]]) -> None:
    """clause: RUN-PROMPT"""
    answer = succeeded(worker.run(worker.agent([says("seen")]), prompt))
    (content,) = prompts(answer["messages"])
    assert len(content) == len(prompt)
    for given, got in zip(prompt, content, strict=True):
        match given:
            case {"type": "text"}:
                assert got == given["text"] or got.get("content") == given["text"]
            case {"type": "binary"}:
                data = got["data"].replace("-", "+").replace("_", "/")
                assert base64.b64decode(data) == bytes(range(256))
            case _:
                assert (got["url"], got["kind"]) == (given["url"], given["type"].replace("_", "-"))


def test_an_empty_prompt_is_a_prompt(worker: Worker) -> None:
    assert prompts(succeeded(worker.run(worker.agent([says("x")]), ""))["messages"]) == [""]


def test_no_prompt_and_nothing_to_carry_on_is_an_invalid_command(worker: Worker) -> None:
    """clause: RUN-NOTHING"""
    agent = worker.agent([says("x")])
    failed(worker.ask("run", agent_id=agent), "InvalidCommand")
    failed(worker.ask("run", agent_id=agent, message_history=[]), "InvalidCommand")


def test_a_prompt_is_sent_as_it_is(worker: Worker) -> None:
    """clause: TPL-PROMPT"""
    prompt = "Hello {{name}} {{#if x}} {{{ <b>&amp;"
    assert prompts(succeeded(worker.run(worker.agent([says("x")]), prompt))["messages"]) == [prompt]


# ---------------------------------------------------------------- histories


def test_messages_says_what_comes_back(worker: Worker) -> None:
    """clause: RUN-MESSAGES"""
    agent = worker.agent([says("hello")])
    first = succeeded(worker.run(agent, "one"))["messages"]
    new = succeeded(worker.run(agent, "two", message_history=first))["messages"]
    explicitly = succeeded(worker.run(agent, "two", message_history=first, messages="new"))["messages"]
    everything = succeeded(worker.run(agent, "two", message_history=first, messages="all"))["messages"]
    nothing = succeeded(worker.run(agent, "two", message_history=first, messages="none"))
    assert prompts(new) == prompts(explicitly) == ["two"]
    assert prompts(everything) == ["one", "two"]
    assert "messages" not in nothing


def test_a_conversation_goes_on_in_another_worker(worker: Worker) -> None:
    """clause: RUN-HISTORY"""
    agent = asking_agent(worker, instructions="be brief")
    run, call = start_asking(worker, agent, prompt="first")
    worker.answer(call, result={"deep": [1, 2.5, None, "ü"]})
    first = succeeded(worker.terminal(run))["messages"]
    with Worker() as other:
        agent = other.agent([says("second")])
        answer = succeeded(other.run(agent, "next", message_history=first, messages="all"))
        assert prompts(answer["messages"]) == ["first", "next"]
        assert parts(answer["messages"], "tool-return")[0]["content"] == {"deep": [1, 2.5, None, "ü"]}
        again = succeeded(other.run(agent, "more", message_history=answer["messages"], messages="all"))
    third = succeeded(worker.run(worker.agent([says("x")]), "end", message_history=again["messages"], messages="all"))
    assert prompts(third["messages"]) == ["first", "next", "more", "end"]


def test_histories_are_given_back_as_they_are(worker: Worker) -> None:
    """clause: RUN-HISTORY"""
    agent = worker.agent([says("hello")])
    history = succeeded(worker.run(agent, "one"))["messages"]
    everything = succeeded(worker.run(agent, "two", message_history=history, messages="all"))["messages"]
    assert everything[: len(history)] == history


def test_a_history_alone_carries_a_run_on(worker: Worker) -> None:
    agent = asking_agent(worker)
    run, call = start_asking(worker, agent, prompt="begun")
    worker.answer(call, error="down")
    history = failed(worker.terminal(run), "ToolError")["messages"]
    answer = worker.ask("run", agent_id=worker.agent([says("carried on")]), message_history=history, messages="all")
    assert succeeded(answer)["result"] == "carried on"
    assert prompts(answer["messages"]) == ["begun"]


NO_HISTORIES: list[Any] = [
    [{"kind": "nonsense"}],
    [{"role": "user", "content": "hi"}],
    [{"kind": "request", "parts": "text"}],
    [{"kind": "request", "parts": [{"part_kind": "nonsense"}]}],
    ["hi"],
    [None],
]


@pytest.mark.parametrize("history", NO_HISTORIES, ids=str)
def test_a_history_that_is_none_is_refused(worker: Worker, history: Any) -> None:
    """clause: RUN-HISTORY"""
    failed(worker.run(worker.agent([says("x")]), "p", message_history=history), "InvalidHistory")


def test_the_turns_of_a_history_do_not_use_up_a_script(worker: Worker) -> None:
    """clause: SCRIPT-HISTORY"""
    agent = worker.agent([calls("lookup"), says("done")], tools=[tool()])
    history: list[Any] = []
    for _ in range(3):
        run, call = start_asking(worker, agent, message_history=history)
        worker.answer(call, result=1)
        history += succeeded(worker.terminal(run))["messages"]
    assert len(parts(history, "tool-return")) == 3


# ---------------------------------------------------------------- fields of a run over the agent's


def test_a_runs_instructions_take_the_place_of_the_agents(worker: Worker) -> None:
    agent = worker.agent([says("x")], instructions=["be brief", "be kind"])
    ours = instructions_of(succeeded(worker.run(agent)))
    theirs = instructions_of(succeeded(worker.run(agent, instructions="be long")))
    assert "be brief" in ours[0]
    assert "be kind" in ours[0]
    assert theirs == ["be long"]


def test_a_system_prompt_is_part_of_the_first_request(worker: Worker) -> None:
    answer = succeeded(worker.run(worker.agent([says("x")], system_prompt=["one", "two"])))
    said = " ".join(part["content"] for part in parts(answer["messages"], "system-prompt"))
    assert "one" in said
    assert "two" in said


def test_a_runs_model_takes_the_place_of_the_agents(worker: Worker) -> None:
    """clause: RUN-OVERRIDES"""
    agent = worker.agent([says("agent's")])
    assert succeeded(worker.run(agent, model={"script": [says("run's")]}))["result"] == "run's"
    assert succeeded(worker.run(agent))["result"] == "agent's"


def test_a_runs_output_schema_takes_the_place_of_the_agents(worker: Worker) -> None:
    agent = worker.agent([{"output": 7}], output_schema={"type": "string"}, result_retries=0)
    failed(worker.run(agent), "ValidationError")
    assert succeeded(worker.run(agent, output_schema={"type": "integer"}))["result"] == 7


def test_settings_and_metadata_are_accepted(worker: Worker) -> None:
    fields = {"model_settings": {"temperature": 0.5, "max_tokens": 10}, "metadata": {"tenant": "t1", "n": 1}}
    agent = worker.agent([says("x")], **fields)
    succeeded(worker.run(agent, **fields))


def test_usage_limits_end_a_loop(worker: Worker) -> None:
    """clause: RUN-LIMITS"""
    agent = worker.agent(LOOP, tools=[tool()], usage_limits={"request_limit": 2})
    run = worker.start_run(agent)
    for _ in range(2):
        worker.answer(worker.wait_for("tool_call", of=run), result=1)
    error = failed(worker.terminal(run), "UsageLimitExceeded")
    assert (error["agent_id"], error["usage"]["requests"]) == (agent, 2)


def test_usage_limits_are_merged_key_by_key(worker: Worker) -> None:
    """clause: RUN-OVERRIDES, RUN-LIMITS"""
    limits = {"request_limit": 1, "tool_calls_limit": 1}
    agent = worker.agent([calls("lookup"), calls("lookup"), says("done")], tools=[tool()], usage_limits=limits)
    run = worker.start_run(agent, usage_limits={"request_limit": 10})
    worker.answer(worker.wait_for("tool_call", of=run), result=1)
    failed(worker.terminal(run), "UsageLimitExceeded")
    run = worker.start_run(agent, usage_limits={"request_limit": 10, "tool_calls_limit": 10})
    for _ in range(2):
        worker.answer(worker.wait_for("tool_call", of=run), result=1)
    succeeded(worker.terminal(run))


@pytest.mark.parametrize(
    "traceparent", ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "none", "", "00-0-0-0"]
)
def test_a_traceparent_good_or_bad_does_not_hinder_a_run(worker: Worker, traceparent: str) -> None:
    """clause: RUN-TRACE"""
    succeeded(worker.run(worker.agent([says("x")]), traceparent=traceparent))


# ---------------------------------------------------------------- deps and templates


def test_variables_are_filled_from_deps(worker: Worker) -> None:
    """clause: TPL-VARIABLE"""
    agent = worker.agent([says("x")], instructions="Hello {{name}}", deps={"name": "Ada"})
    assert instructions_of(succeeded(worker.run(agent))) == ["Hello Ada"]
    assert instructions_of(succeeded(worker.run(agent, deps={"name": "Bo"}))) == ["Hello Bo"]


def test_a_system_prompt_is_a_template_too(worker: Worker) -> None:
    agent = worker.agent([says("x")], system_prompt="You serve {{who}}", deps={"who": "Ada"})
    (said,) = parts(succeeded(worker.run(agent))["messages"], "system-prompt")
    assert said["content"] == "You serve Ada"


def test_a_runs_instructions_are_templates_too(worker: Worker) -> None:
    answer = worker.run(worker.agent([says("x")]), instructions="Hello {{name}}", deps={"name": "Ada"})
    assert instructions_of(succeeded(answer)) == ["Hello Ada"]


@pytest.mark.parametrize("value", ["<b>&'\"", "{{secret}}", "{{", "}}", "a\nb", "ü 😀", "\\"])
def test_values_go_in_as_text_neither_escaped_nor_expanded_again(worker: Worker, value: str) -> None:
    """clause: TPL-VALUE"""
    deps = {"name": value, "secret": "no"}
    agent = worker.agent([says("x")], instructions="[{{name}}]", deps=deps)
    assert instructions_of(succeeded(worker.run(agent))) == [f"[{value}]"]


def test_a_missing_variable_is_invalid_deps(worker: Worker) -> None:
    """clause: TPL-MISSING"""
    agent = worker.agent([says("x")], instructions="Hello {{name}}")
    failed(worker.run(agent), "InvalidDeps")
    failed(worker.run(agent, deps={"nome": "Ada"}), "InvalidDeps")
    succeeded(worker.run(agent, deps={"name": "Ada"}))


def test_a_broken_template_of_a_run_is_refused(worker: Worker) -> None:
    """clause: TPL-BROKEN"""
    failed(worker.run(worker.agent([says("x")]), instructions="Hello {{name", deps={"name": "x"}), "InvalidAgent")


DEPS_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def test_deps_must_meet_their_schema_when_a_run_starts(worker: Worker) -> None:
    """clause: RUN-DEPS"""
    agent = worker.agent([says("x")], deps_schema=DEPS_SCHEMA)
    succeeded(worker.run(agent, deps={"n": 1}))
    failed(worker.run(agent, deps={"n": "one"}), "InvalidDeps")
    failed(worker.run(agent, deps={}), "InvalidDeps")
    failed(worker.run(agent), "InvalidDeps")


def test_default_deps_that_do_not_meet_their_schema_fail_when_a_run_starts(worker: Worker) -> None:
    agent = worker.agent([says("x")], deps_schema=DEPS_SCHEMA, deps={"n": "one"})
    failed(worker.run(agent), "InvalidDeps")
    succeeded(worker.run(agent, deps={"n": 1}))


def test_null_is_a_value_of_deps(worker: Worker) -> None:
    agent = worker.agent([says("x")], deps_schema={"type": "null"}, deps={"n": 1})
    failed(worker.run(agent), "InvalidDeps")
    succeeded(worker.run(agent, deps=None))


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_a_run_that_takes_too_long_times_out(worker: Worker, kind: str) -> None:
    """clause: RUN-TIMEOUT"""
    agent = worker.agent([says("late", delay_ms=NEVER_MS)])
    error = failed(worker.ask(kind, agent_id=agent, prompt="p", timeout_ms=50), "Timeout")
    assert error["agent_id"] == agent


def test_an_agents_timeout_holds_for_each_run_and_a_runs_own_takes_its_place(worker: Worker) -> None:
    agent = worker.agent([says("late", delay_ms=300)], timeout_ms=50)
    failed(worker.run(agent), "Timeout")
    succeeded(worker.run(agent, timeout_ms=NEVER_MS))


def test_a_timeout_of_a_millisecond_leaves_nothing_behind(worker: Worker) -> None:
    agent = worker.agent([says("late", delay_ms=NEVER_MS)])
    for _ in range(50):
        failed(worker.run(agent, timeout_ms=1), "Timeout")


def test_a_timeout_cancels_the_open_tool_calls(worker: Worker) -> None:
    run, call = start_limited(worker, asking_agent(worker), "tool_call")
    assert worker.wait_for("tool_cancel", of=run)["call_id"] == call["call_id"]
    failed(worker.terminal(run), "Timeout")


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_a_silent_model_is_not_waited_for(worker: Worker, kind: str) -> None:
    """clause: MODEL-IDLE"""
    agent = worker.agent([says("late", delay_ms=NEVER_MS)])
    failed(worker.ask(kind, agent_id=agent, prompt="p", idle_timeout_ms=50), "ModelTimeout")


def test_a_model_that_falls_silent_in_a_stream_is_not_waited_for(worker: Worker) -> None:
    agent = worker.agent([says("ab", chunks=["a", "b"], chunk_delay_ms=NEVER_MS)])

    def attempt(limit: int) -> Frame | None:
        frames = worker.collect(worker.start_stream(agent, idle_timeout_ms=limit))
        return frames[-1] if "a" in texts(frames) else None

    failed(in_time(attempt), "ModelTimeout")


def test_an_idle_timeout_does_not_run_while_a_tool_works(worker: Worker) -> None:
    """clause: MODEL-IDLE"""
    agent = asking_agent(worker)
    silent = worker.agent([says("never", delay_ms=NEVER_MS)])

    def attempt(limit: int) -> Frame | None:
        run = worker.start_run(agent, idle_timeout_ms=limit)
        frame = worker.wait_for(lambda frame: frame["type"] != "log", of=run)
        if frame["type"] == "tool_call":
            # Begun after the call, with the same patience: when this has been timed out, a clock that ran would have.
            failed(worker.run(silent, idle_timeout_ms=limit), "ModelTimeout")
            worker.answer(frame, result=1)
            frame = worker.terminal(run)
        return _unless_silent(frame)

    succeeded(in_time(attempt))


def _unless_silent(frame: Frame) -> Frame | None:
    return None if frame.get("error_type") == "ModelTimeout" else frame


# ---------------------------------------------------------------- concurrency


def test_runs_beyond_max_concurrency_wait_their_turn_in_order(worker: Worker) -> None:
    """clause: AGENT-TURNS"""
    agent = asking_agent(worker, max_concurrency=1)
    runs = [worker.start_run(agent) for _ in range(4)]
    order: list[Any] = []
    for _ in runs:
        call = worker.wait_for("tool_call")
        order.append(call["id"])
        # A ping would overtake the runs that the loop has still to take.
        inflight = succeeded(worker.ask("stats"))["result"]["runs"]["inflight"]
        assert inflight == len(runs) - len(order) + 1
        worker.answer(call, result=1)
        succeeded(worker.terminal(call["id"]))
    assert order == runs


def test_an_agent_of_two_runs_at_once_has_two_and_not_three(worker: Worker) -> None:
    agent = asking_agent(worker, max_concurrency=2)
    runs = [worker.start_run(agent) for _ in range(3)]
    first, second = (worker.wait_for("tool_call") for _ in range(2))
    assert [first["id"], second["id"]] == runs[:2]
    succeeded(worker.run(worker.agent([says("others go on")])))
    assert not [frame for frame in worker.frames if frame["type"] == "tool_call" and frame["id"] == runs[2]]
    worker.answer(second, result=1)
    succeeded(worker.terminal(runs[1]))
    worker.answer(worker.wait_for("tool_call", of=runs[2]), result=1)
    worker.answer(first, result=1)
    for run in (runs[0], runs[2]):
        succeeded(worker.terminal(run))


def test_the_timeout_of_a_run_that_waits_its_turn_runs_from_its_arrival(worker: Worker) -> None:
    """clause: AGENT-TURNS, RUN-TIMEOUT"""
    agent = asking_agent(worker, max_concurrency=1)
    first, call = start_asking(worker, agent)
    failed(worker.run(agent, timeout_ms=100), "Timeout")
    worker.answer(call, result=1)
    succeeded(worker.terminal(first))


def test_a_run_that_waits_its_turn_can_be_cancelled(worker: Worker) -> None:
    agent = asking_agent(worker, max_concurrency=1)
    first, call = start_asking(worker, agent)
    waiting = worker.start_run(agent)
    assert succeeded(worker.ask("cancel", target=waiting))["result"] == {"cancelled": True}
    failed(worker.terminal(waiting), "Cancelled")
    worker.answer(call, result=1)
    succeeded(worker.terminal(first))
    second, call = start_asking(worker, agent)
    worker.answer(call, result=1)
    succeeded(worker.terminal(second))


# ---------------------------------------------------------------- the script


def test_every_run_starts_at_the_first_turn(worker: Worker) -> None:
    """clause: SCRIPT-TURNS"""
    agent = worker.agent([says("first"), says("second")])
    assert [succeeded(worker.run(agent))["result"] for _ in range(3)] == ["first"] * 3


def test_when_the_turns_run_out_the_model_has_behaved_unexpectedly(worker: Worker) -> None:
    """clause: SCRIPT-END"""
    failed(worker.run(worker.agent([])), "UnexpectedModelBehavior")
    run, call = start_asking(worker, worker.agent([calls("lookup")], tools=[tool()]))
    worker.answer(call, result=1)
    error = failed(worker.terminal(run), "UnexpectedModelBehavior")
    assert error["usage"]["requests"] >= 1


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_a_turn_with_chunks_alone_says_what_they_are_when_joined(worker: Worker, kind: str) -> None:
    """clause: SCRIPT-CHUNKS"""
    agent = worker.agent([{"chunks": ["Hel", "", "lo"]}])
    assert succeeded(worker.ask(kind, agent_id=agent, prompt="p"))["result"] == "Hello"


def test_thinking_is_part_of_the_messages_and_not_of_the_result(worker: Worker) -> None:
    answer = succeeded(worker.run(worker.agent([says("out loud", thinking="quietly")])))
    assert answer["result"] == "out loud"
    assert [part["content"] for part in parts(answer["messages"], "thinking")] == ["quietly"]


def test_a_delay_comes_before_the_answer(worker: Worker) -> None:
    assert succeeded(worker.run(worker.agent([says("x", delay_ms=200)])))["duration_ms"] >= 199


RETRYABLE = [408, 409, 425, 429, 500, 502, 503, 504, 529, 599]
FINAL = [400, 401, 402, 403, 404, 413, 422, 451]


@pytest.mark.parametrize("kind", ["run", "stream"])
@pytest.mark.parametrize("status", RETRYABLE + FINAL)
def test_a_providers_error_says_whether_another_attempt_makes_sense(worker: Worker, status: int, kind: str) -> None:
    """clause: ERR-HTTP, ERR-RETRYABLE"""
    agent = worker.agent([fails(status, "not now")])
    error = failed(worker.ask(kind, agent_id=agent, prompt="p"), "ModelHTTPError")
    assert error["details"]["status_code"] == status
    assert {"status_code", "model", "body"} <= set(error["details"])
    assert error["retryable"] is (status in RETRYABLE)
    assert error["agent_id"] == agent
    assert "not now" in error["message"] + str(error["details"]["body"])


def test_the_providers_retry_after_is_passed_on(worker: Worker) -> None:
    """clause: ERR-HTTP"""
    error = failed(worker.run(worker.agent([fails(429, retry_after_ms=1500)])), "ModelHTTPError")
    assert error["retry_after_ms"] == 1500


def test_an_error_without_retry_after_has_none(worker: Worker) -> None:
    assert "retry_after_ms" not in failed(worker.run(worker.agent([fails(429)])), "ModelHTTPError")


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_an_error_beside_others_comes_first(worker: Worker, kind: str) -> None:
    """clause: SCRIPT-ERROR"""
    turn = {**fails(500), **says("never said", thinking="never thought"), **calls("lookup")}
    failed(worker.ask(kind, agent_id=worker.agent([turn], tools=[tool()]), prompt="p"), "ModelHTTPError")


def test_a_run_with_a_broken_request_can_be_gone_on_from(worker: Worker) -> None:
    """clause: RUN-RESUME"""
    agent = worker.agent([calls("lookup"), fails(503)], tools=[tool()])
    run, call = start_asking(worker, agent, prompt="begun")
    worker.answer(call, result="found")
    history = failed(worker.terminal(run), "ModelHTTPError")["messages"]
    answer = succeeded(worker.ask("run", agent_id=worker.agent([says("on")]), message_history=history, messages="all"))
    assert prompts(answer["messages"]) == ["begun"]
    assert [part["content"] for part in parts(answer["messages"], "tool-return")] == ["found"]


# ---------------------------------------------------------------- retries of model requests

QUICK = {"attempts": 3, "base_ms": 1, "max_ms": 2}


def test_without_retry_a_request_is_made_once(worker: Worker) -> None:
    """clause: MODEL-RETRY"""
    failed(worker.run(worker.agent([fails(503), says("second")])), "ModelHTTPError")


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_a_retryable_failure_is_tried_again_with_the_next_turn(worker: Worker, kind: str) -> None:
    """clause: MODEL-RETRY, SCRIPT-TURNS"""
    agent = worker.agent([fails(503), fails(429), says("third")], retry=QUICK)
    assert succeeded(worker.ask(kind, agent_id=agent, prompt="p"))["result"] == "third"


def test_attempts_are_counted_in_all_and_for_each_request(worker: Worker) -> None:
    """clause: MODEL-RETRY"""
    agent = worker.agent([fails(503), fails(503), fails(503), says("fourth")], retry=QUICK)
    failed(worker.run(agent), "ModelHTTPError")
    script = [fails(503), fails(503), calls("lookup"), fails(503), fails(503), says("done")]
    run, call = start_asking(worker, worker.agent(script, tools=[tool()], retry=QUICK))
    worker.answer(call, result=1)
    assert succeeded(worker.terminal(run))["result"] == "done"


@pytest.mark.parametrize("status", FINAL)
def test_what_is_not_retryable_is_not_tried_again(worker: Worker, status: int) -> None:
    failed(worker.run(worker.agent([fails(status), says("second")], retry=QUICK)), "ModelHTTPError")


def test_a_runs_retry_takes_the_place_of_the_agents(worker: Worker) -> None:
    agent = worker.agent([fails(503), says("second")])
    assert succeeded(worker.run(agent, retry=QUICK))["result"] == "second"
    agent = worker.agent([fails(503), says("second")], retry=QUICK)
    failed(worker.run(agent, retry={"attempts": 1}), "ModelHTTPError")


def test_the_providers_retry_after_wins_over_the_longest_wait(worker: Worker) -> None:
    """clause: MODEL-RETRY-WAIT"""
    agent = worker.agent([fails(429, retry_after_ms=300), says("second")], retry=QUICK)
    assert succeeded(worker.run(agent))["duration_ms"] >= 299


def test_a_timeout_ends_the_wait_for_another_attempt(worker: Worker) -> None:
    """clause: MODEL-RETRY-WAIT"""
    agent = worker.agent([fails(429, retry_after_ms=NEVER_MS), says("second")], retry=QUICK)

    def attempt(limit: int) -> Frame | None:
        before = retries_of(worker)
        end = worker.run(agent, timeout_ms=limit)
        return end if retries_of(worker) > before else None

    failed(in_time(attempt), "Timeout")


def test_a_cancel_ends_the_wait_for_another_attempt(worker: Worker) -> None:
    turns = [calls("lookup"), fails(429, retry_after_ms=NEVER_MS), says("third")]
    before = retries_of(worker)
    run, call = start_asking(worker, worker.agent(turns, tools=[tool()], retry=QUICK))
    worker.answer(call, result=1)
    # Counted when the wait begins; each look is an answer from the worker.
    while retries_of(worker) == before:
        pass
    assert succeeded(worker.ask("cancel", target=run))["result"] == {"cancelled": True}
    failed(worker.terminal(run), "Cancelled")


# ---------------------------------------------------------------- lists of models


def scripted(*turns: dict[str, Any]) -> dict[str, Any]:
    """A scripted model for a list."""
    return {"script": list(turns)}


@pytest.mark.parametrize("kind", ["run", "stream"])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_the_next_model_of_a_list_is_tried_on_any_http_error(worker: Worker, status: int, kind: str) -> None:
    """clause: MODEL-LIST"""
    agent = worker.agent(model=[scripted(fails(status)), scripted(says("second"))])
    assert succeeded(worker.ask(kind, agent_id=agent, prompt="p"))["result"] == "second"


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_the_next_model_of_a_list_is_tried_when_one_cannot_be_reached(worker: Worker, kind: str) -> None:
    agent = worker.agent(model=[endpoint("llama3"), scripted(says("second"))])
    assert succeeded(worker.ask(kind, agent_id=agent, prompt="p"))["result"] == "second"


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_the_next_model_of_a_list_is_tried_when_one_is_silent(worker: Worker, kind: str) -> None:
    agent = worker.agent(model=[scripted(says("late", delay_ms=NEVER_MS)), scripted(says("second"))])

    def attempt(limit: int) -> Frame | None:
        # On a slow machine the second may be late as well.
        return _unless_silent(worker.ask(kind, agent_id=agent, prompt="p", idle_timeout_ms=limit))

    assert succeeded(in_time(attempt))["result"] == "second"


def test_nothing_moves_on_after_the_first_chunk(worker: Worker) -> None:
    """clause: MODEL-LIST"""
    late = says("ab", chunks=["a", "b"], chunk_delay_ms=NEVER_MS)
    agent = worker.agent(model=[scripted(late), scripted(says("second"))])

    def attempt(limit: int) -> list[Frame] | None:
        frames = worker.collect(worker.start_stream(agent, idle_timeout_ms=limit))
        # Where the first chunk was late, it moved on rightly.
        return frames if "a" in texts(frames) else None

    frames = in_time(attempt)
    failed(frames[-1], "ModelTimeout")
    assert texts(frames) == ["a"]


def test_when_all_models_have_failed_the_last_error_tells_the_attempts(worker: Worker) -> None:
    """clause: MODEL-ATTEMPTS"""
    agent = worker.agent(model=[scripted(fails(500, "one")), scripted(fails(404, "two"))])
    error = failed(worker.run(agent), "ModelHTTPError")
    assert error["details"]["status_code"] == 404
    assert error["retryable"] is False
    assert len(error["details"]["attempts"]) == 2


def test_each_model_of_a_list_has_its_own_retry(worker: Worker) -> None:
    """clause: MODEL-LIST"""
    first, second = scripted(fails(503), fails(503)), scripted(fails(503), says("fourth"))
    agent = worker.agent(model=[first, second], retry={**QUICK, "attempts": 2})
    assert succeeded(worker.run(agent))["result"] == "fourth"


def test_an_unreachable_endpoint_is_a_connection_error(worker: Worker) -> None:
    failed(worker.run(worker.agent(model=endpoint("llama3"))), "ModelConnectionError")


def test_tokens_are_counted_before_a_request_where_the_model_can(worker: Worker) -> None:
    """clause: RUN-LIMITS"""
    limits = {"count_tokens_before_request": True, "input_tokens_limit": 2}
    agent = worker.agent([says("done")], usage_limits=limits)
    assert succeeded(worker.run(agent, "hi"))["result"] == "done"
    refused = failed(worker.run(agent, "a prompt of more than eight bytes"), "UsageLimitExceeded")
    assert refused["usage"]["requests"] == 0
    listed = worker.agent(model=[{"script": [says("done")]}, "test"], usage_limits=limits)
    failed(worker.run(listed, "a prompt of more than eight bytes"), "UsageLimitExceeded")


def test_a_model_that_cannot_count_tokens_is_a_mistake_of_the_command(worker: Worker) -> None:
    """clause: RUN-LIMITS"""
    agent = worker.agent(model="test", usage_limits={"count_tokens_before_request": True})
    error = failed(worker.run(agent), "InvalidCommand")
    assert error["details"][0]["loc"] == ["usage_limits", "count_tokens_before_request"]
