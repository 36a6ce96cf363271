"""Further attempts: `retry`, and lists of models (PROTOCOL.md, MODEL-RETRY to MODEL-ATTEMPTS)."""

from typing import Any

import pytest

from tests.contract.scenarios import retries_of
from tests.kit import Frame, Worker, failed, in_time, succeeded, texts
from tests.kit.providers import Interface, Provider

from .scenes import (
    FIRST_TEXT,
    LOOKUP,
    MODELS,
    NEVER_MS,
    Fault,
    Kind,
    agent_on,
    chunks_of,
    end_of,
    endpoint,
    first_chunk,
    lookup_calls,
)

AT_ONCE = {"attempts": 3, "base_ms": 0, "max_ms": 0}
TEXT = "Oslo is in Norway."


def listed(worker: Worker, *servers: Provider, **fields: Any) -> str:
    """An agent with a list of models."""
    return worker.agent(model=[endpoint(server) for server in servers], model_settings={"max_tokens": 1000}, **fields)


def unless_late(answer: Frame, silent: Provider) -> Frame | None:
    """The answer, unless what had to be in time was late, on a slow machine: the request, or the other answer."""
    if answer.get("error_type") == "ModelTimeout" or not silent.requests:
        return None
    silent.requests[0].wait_disconnected()
    return answer


def failed_attempts(messages: list[Any]) -> list[Any]:
    """What the last response tells of the attempts before it."""
    return messages[-1].get("failed_attempts") or []


PASSING: dict[str, Fault] = {
    "429": lambda server: server.fail(429),
    "500": lambda server: server.fail(500),
    "529": lambda server: server.fail(529),
    "reset": lambda server: server.cut(before="headers"),
    "no finish": lambda server: server.no_finish(text=TEXT),
}
"""Failures after which the same request may succeed."""

BROKEN_OFF: dict[str, Fault] = {
    "no finish": lambda server: server.no_finish(text="half"),
    "reset": lambda server: server.cut(after=FIRST_TEXT[server.interface], text="half"),
}
"""Failures of a stream of which something has come."""


def paid(worker: Worker, run: Any) -> list[Frame]:
    """All frames of a stream that has had no credit until now."""
    assert not [frame for frame in worker.frames if frame["type"] == "chunk" and frame["id"] == run]
    worker.send({"type": "credit", "id": run, "n": 1000})
    return worker.collect(run)


def assert_only(frames: list[Frame], *expected: tuple[int, str, Any]) -> None:
    """The chunks, neighbouring texts joined, are these and are counted from 0."""
    chunks = chunks_of(frames)
    assert [seq for seq, *_ in chunks] == list(range(len(chunks)))
    found: list[tuple[int, str, Any]] = []
    for _, step, kind, data in chunks:
        if kind == "text" and found and found[-1][:2] == (step, kind):
            found[-1] = (step, kind, found[-1][2] + data)
        else:
            found.append((step, kind, data))
    assert found == list(expected)


# ---------------------------------------------------------------- retry


def test_a_failure_that_may_pass_is_tried_again(worker: Worker, server: Provider) -> None:
    """clause: MODEL-RETRY, MODEL-ATTEMPTS"""
    agent = agent_on(worker, server, retry=AT_ONCE)
    for number, fault in enumerate(PASSING.values(), start=1):
        fault(server)
        fault(server)
        server.say(text="at last")
        answer = succeeded(worker.run(agent))
        assert answer["result"] == "at last"
        assert len(failed_attempts(answer["messages"])) == 2
        assert len(server.requests) == 3 * number


def test_the_attempts_end_with_the_last_error(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: MODEL-RETRY"""
    server.fail(500)
    server.fail(429)
    server.fail(503, message="the last word")
    error = failed(end_of(worker, either, agent_on(worker, server, retry=AT_ONCE)), "ModelHTTPError")
    assert error["details"]["status_code"] == 503
    assert "the last word" in error["message"]
    assert len(server.requests) == 3


def test_what_will_not_pass_is_not_tried_again(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: MODEL-RETRY"""
    agent = agent_on(worker, server, retry=AT_ONCE)
    for number, status in enumerate((400, 401, 403, 404, 413), start=1):
        server.fail(status)
        failed(end_of(worker, either, agent), "ModelHTTPError")
        assert len(server.requests) == number


def test_each_request_of_a_run_has_its_own_attempts(worker: Worker, server: Provider, kind: Kind) -> None:
    """clause: MODEL-RETRY"""
    for _ in range(2):
        server.fail(500, times=2)
        server.say(tool_calls=lookup_calls("a"))
    server.fail(500, times=2)
    server.say(text="done")
    run = worker.submit(kind, agent_id=agent_on(worker, server, tools=[LOOKUP], retry=AT_ONCE), prompt="go")
    for _ in range(2):
        worker.answer(worker.wait_for("tool_call", of=run), result=1)
    assert succeeded(worker.terminal(run))["result"] == "done"
    assert len(server.requests) == 9


def test_a_silent_model_is_asked_again(worker: Worker, interface: Interface, either: Kind) -> None:
    """clause: MODEL-RETRY, MODEL-IDLE"""

    def attempt(limit: int) -> Frame | None:
        with Provider(interface) as server:
            server.stall(before="headers")
            server.say(text="awake")
            agent = agent_on(worker, server, retry={**AT_ONCE, "attempts": 2}, idle_timeout_ms=limit)
            return unless_late(end_of(worker, either, agent), server)

    assert succeeded(in_time(attempt))["result"] == "awake"


def test_a_run_may_try_more_often_than_its_agent(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: RUN-OVERRIDES"""
    server.fail(500)
    server.say(text="again")
    assert succeeded(end_of(worker, either, agent_on(worker, server), retry=AT_ONCE))["result"] == "again"


def test_after_the_first_chunk_there_is_no_further_attempt(worker: Worker, server: Provider) -> None:
    """clause: MODEL-RETRY"""
    server.stall(after=FIRST_TEXT[server.interface], text=TEXT)
    run = worker.start_stream(agent_on(worker, server, retry=AT_ONCE))
    assert TEXT.startswith(first_chunk(worker, run))
    server.close()
    failed(worker.terminal(run), "ModelConnectionError")
    assert len(server.requests) == 1


def test_a_chunk_of_an_earlier_step_does_not_count(worker: Worker, server: Provider) -> None:
    """clause: MODEL-RETRY"""
    server.say(text="I look.", tool_calls=lookup_calls("a"))
    server.fail(500)
    server.say(text="done")
    run = worker.start_stream(agent_on(worker, server, tools=[LOOKUP], retry=AT_ONCE))
    worker.answer(worker.wait_for("tool_call", of=run), result=1)
    frames = worker.collect(run)
    assert succeeded(frames[-1])["result"] == "done"
    assert len(server.requests) == 3


def test_a_stream_of_which_no_chunk_was_wanted_is_tried_again(worker: Worker, server: Provider) -> None:
    """clause: MODEL-RETRY"""
    server.no_finish(text="half")
    server.say(text="whole")
    frames = worker.collect(worker.start_stream(agent_on(worker, server, retry=AT_ONCE), events=[]))
    assert succeeded(frames[-1])["result"] == "whole"


@pytest.mark.parametrize("fault", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_an_answer_that_breaks_off_while_its_chunks_wait_is_tried_again(
    worker: Worker, server: Provider, fault: Fault
) -> None:
    """clause: MODEL-RETRY, STREAM-CREDIT, STREAM-SEQ"""
    fault(server)
    fault(server)
    server.say(text=TEXT)
    run = worker.start_stream(agent_on(worker, server, retry=AT_ONCE), credit=0)
    server.wait_for_request(2)
    frames = paid(worker, run)
    answer = succeeded(frames[-1])
    assert (answer["result"], len(failed_attempts(answer["messages"]))) == (TEXT, 2)
    assert_only(frames, (1, "text", TEXT))


def test_chunks_of_an_earlier_step_that_wait_outlive_an_attempt(worker: Worker, server: Provider) -> None:
    """clause: MODEL-RETRY, STREAM-CREDIT, STREAM-SEQ"""
    server.say(text="I look.", tool_calls=lookup_calls("a"))
    server.no_finish(text="half")
    server.say(text="done")
    agent = agent_on(worker, server, tools=[LOOKUP], retry=AT_ONCE)
    run = worker.start_stream(agent, credit=0, events=["text", "tool_call", "tool_return"])
    call = worker.wait_for("tool_call", of=run)
    worker.answer(call, result=1)
    server.wait_for_request(2)
    frames = paid(worker, run)
    assert succeeded(frames[-1])["result"] == "done"
    called = {"name": "lookup", "args": {"q": "a"}, "call_id": call["call_id"]}
    returned = {"name": "lookup", "content": 1, "call_id": call["call_id"]}
    assert_only(
        frames, (1, "text", "I look."), (1, "tool_call", called), (1, "tool_return", returned), (2, "text", "done")
    )


def test_after_the_one_chunk_that_credit_let_out_there_is_no_further_attempt(worker: Worker, server: Provider) -> None:
    """clause: MODEL-RETRY, STREAM-CREDIT"""
    server.stall(after=FIRST_TEXT[server.interface], text=TEXT)
    run = worker.start_stream(agent_on(worker, server, retry=AT_ONCE), credit=1)
    assert TEXT.startswith(first_chunk(worker, run))
    server.close()
    failed(worker.terminal(run), "ModelConnectionError")
    assert len(server.requests) == 1


def test_a_structured_result_that_waits_begins_anew_with_each_attempt(worker: Worker, server: Provider) -> None:
    """clause: MODEL-RETRY, STREAM-OUTPUT"""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    server.no_finish(tool_calls=[{"name": "final_result", "args": {"city": "Paris"}}])
    server.say(tool_calls=[{"name": "final_result", "args": {"city": "Oslo"}}])
    agent = agent_on(worker, server, output_schema=schema, retry=AT_ONCE)
    run = worker.start_stream(agent, credit=0, events=["output"])
    server.wait_for_request(1)
    frames = paid(worker, run)
    assert succeeded(frames[-1])["result"] == {"city": "Oslo"}
    chunks = chunks_of(frames)
    assert chunks[-1][3] == {"city": "Oslo"}
    assert "Par" not in str(chunks)


def test_the_service_says_how_long_to_wait_and_wins_when_it_is_less(
    worker: Worker, server: Provider, either: Kind
) -> None:
    """clause: MODEL-RETRY-WAIT"""
    server.fail(429, headers={"retry-after": "0"})
    server.fail(429, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
    server.say(text="now")
    patient = {"attempts": 3, "base_ms": NEVER_MS, "max_ms": NEVER_MS}
    assert succeeded(end_of(worker, either, agent_on(worker, server, retry=patient)))["result"] == "now"


def start_waiting(worker: Worker, kind: Kind, agent: str) -> Any:
    """Starts a run that now waits for another attempt: its id."""
    before = retries_of(worker)
    run = worker.submit(kind, agent_id=agent, prompt="go")
    # Counted when the wait begins; each look is an answer from the worker.
    while retries_of(worker) == before:
        pass
    return run


def test_the_service_says_how_long_to_wait_and_wins_when_it_is_more(
    worker: Worker, server: Provider, either: Kind
) -> None:
    """clause: MODEL-RETRY-WAIT"""
    server.fail(429, headers={"retry-after": "3600"})
    agent = agent_on(worker, server, retry={"attempts": 2, "base_ms": 0, "max_ms": 1})
    run = start_waiting(worker, either, agent)
    # Another that need not wait has asked twice by the time this one is looked at.
    server.fail(429, headers={"retry-after": "0"})
    server.say(text="now")
    assert succeeded(end_of(worker, either, agent))["result"] == "now"
    worker.ask("cancel", target=run)
    error = failed(worker.terminal(run), "Cancelled")
    assert len(server.requests) == 3
    assert [message["kind"] for message in error["messages"]] == ["request"]


def test_a_wait_can_be_cancelled(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: MODEL-RETRY-WAIT"""
    server.fail(500)
    patient = {"attempts": 2, "base_ms": NEVER_MS, "max_ms": NEVER_MS}
    run = start_waiting(worker, either, agent_on(worker, server, retry=patient))
    worker.ask("cancel", target=run)
    failed(worker.terminal(run), "Cancelled")
    assert len(server.requests) == 1


def test_attempts_are_counted_in_stats(worker: Worker, server: Provider) -> None:
    """clause: LIFE-STATS"""
    before = retries_of(worker)
    server.fail(500, times=2)
    server.say()
    succeeded(worker.run(agent_on(worker, server, retry=AT_ONCE)))
    assert retries_of(worker) == before + 2


# ---------------------------------------------------------------- lists

FAILURES: dict[str, Fault] = {
    **PASSING,
    "400": lambda server: server.fail(400),
    "401": lambda server: server.fail(401),
    "404": lambda server: server.fail(404),
    "garbage": lambda server: server.garbage("json"),
}


def test_a_list_moves_on_after_any_failure_of_the_line(worker: Worker, server: Provider, second: Provider) -> None:
    """clause: MODEL-LIST, MODEL-ATTEMPTS"""
    agent = listed(worker, server, second)
    for fault in FAILURES.values():
        fault(server)
        second.say(text="from the second")
        answer = succeeded(worker.run(agent))
        assert answer["result"] == "from the second"
        assert len(failed_attempts(answer["messages"])) == 1
    assert len(server.requests) == len(second.requests) == len(FAILURES)


def test_a_list_moves_on_from_a_silent_model(worker: Worker, interface: Interface, either: Kind) -> None:
    """clause: MODEL-LIST, MODEL-IDLE"""

    def attempt(limit: int) -> Frame | None:
        with Provider(interface) as server, Provider("openai_chat") as second:
            server.stall(before="headers")
            second.say(text="from the second")
            agent = listed(worker, server, second, idle_timeout_ms=limit)
            return unless_late(end_of(worker, either, agent), server)

    assert succeeded(in_time(attempt))["result"] == "from the second"


def test_a_list_streams_from_the_model_that_answers(worker: Worker, server: Provider, second: Provider) -> None:
    """clause: MODEL-LIST"""
    second.fail(500)
    server.say(text=TEXT)
    frames = worker.collect(worker.start_stream(listed(worker, second, server)))
    assert succeeded(frames[-1])["result"] == TEXT
    assert "".join(texts(frames)) == TEXT


def test_the_first_model_of_a_list_is_asked_alone_while_it_answers(
    worker: Worker, server: Provider, second: Provider, either: Kind
) -> None:
    """clause: MODEL-LIST"""
    server.say(text="from the first")
    answer = succeeded(end_of(worker, either, listed(worker, server, second)))
    assert answer["result"] == "from the first"
    assert second.requests == []
    assert failed_attempts(answer["messages"]) == []


def test_each_model_of_a_list_has_its_own_attempts(
    worker: Worker, server: Provider, second: Provider, either: Kind
) -> None:
    """clause: MODEL-LIST, MODEL-RETRY"""
    server.fail(500, times=3)
    second.fail(500, times=2)
    second.say(text="at last")
    answer = succeeded(end_of(worker, either, listed(worker, server, second, retry=AT_ONCE)))
    assert answer["result"] == "at last"
    assert (len(server.requests), len(second.requests)) == (3, 3)


def test_all_attempts_of_a_list_are_told(worker: Worker, server: Provider, second: Provider) -> None:
    """clause: MODEL-ATTEMPTS"""
    server.fail(500, times=3)
    second.fail(500, times=2)
    second.say(text="at last")
    answer = succeeded(worker.run(listed(worker, server, second, retry=AT_ONCE)))
    assert len(failed_attempts(answer["messages"])) == 5


def test_when_all_have_failed_the_last_error_tells_of_each(
    worker: Worker, server: Provider, second: Provider, kind: Kind
) -> None:
    """clause: MODEL-ATTEMPTS"""
    server.cut(before="headers")
    second.fail(429, headers={"retry-after": "7"}, message="come back later")
    error = failed(end_of(worker, kind, listed(worker, server, second)), "ModelHTTPError")
    assert (error["retryable"], error["retry_after_ms"]) == (True, 7000)
    assert error["details"]["status_code"] == 429
    attempts = error["details"]["attempts"]
    assert [(attempt["model"], attempt["error_type"]) for attempt in attempts] == [
        (MODELS[server.interface], "ModelConnectionError"),
        (MODELS["openai_chat"], "ModelHTTPError"),
    ]
    assert "come back later" in attempts[1]["message"]


def test_after_all_have_failed_the_run_can_be_taken_up_again(
    worker: Worker, server: Provider, second: Provider, either: Kind
) -> None:
    """clause: RUN-RESUME"""
    server.fail(500)
    second.fail(500)
    second.say(text="carried on")
    agent = listed(worker, server, second)
    error = failed(end_of(worker, either, agent, "my question"), "ModelHTTPError")
    again = worker.ask(either, agent_id=agent, message_history=error["messages"], model=endpoint(second))
    assert succeeded(again)["result"] == "carried on"


def test_a_list_does_not_move_on_after_the_first_chunk(worker: Worker, server: Provider, second: Provider) -> None:
    """clause: MODEL-LIST"""
    server.stall(after=FIRST_TEXT[server.interface], text=TEXT)
    run = worker.start_stream(listed(worker, server, second, retry=AT_ONCE))
    assert TEXT.startswith(first_chunk(worker, run))
    server.close()
    failed(worker.terminal(run), "ModelConnectionError")
    assert second.requests == []


@pytest.mark.parametrize("fault", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_a_list_moves_on_from_an_answer_that_breaks_off_while_its_chunks_wait(
    worker: Worker, server: Provider, second: Provider, fault: Fault
) -> None:
    """clause: MODEL-LIST, STREAM-CREDIT, STREAM-SEQ"""
    server.say(text="I look.", tool_calls=lookup_calls("a"))
    fault(server)
    second.say(text=TEXT)
    run = worker.start_stream(listed(worker, server, second, tools=[LOOKUP]), credit=0)
    worker.answer(worker.wait_for("tool_call", of=run), result=1)
    second.wait_for_request()
    frames = paid(worker, run)
    assert succeeded(frames[-1])["result"] == TEXT
    assert_only(frames, (1, "text", "I look."), (2, "text", TEXT))


def test_a_list_does_not_move_on_from_an_answer_that_cannot_be_used(
    worker: Worker, server: Provider, second: Provider, either: Kind
) -> None:
    """clause: MODEL-LIST"""
    server.say(tool_calls=[{"name": "teleport", "args": {}}], times=2)
    agent = listed(worker, server, second, tools=[{**LOOKUP, "retries": 1}])
    failed(end_of(worker, either, agent), "ToolRetriesExceeded")
    assert second.requests == []


def test_a_conversation_with_tools_goes_on_over_a_failover(
    worker: Worker, server: Provider, second: Provider, either: Kind
) -> None:
    """clause: MODEL-LIST"""
    server.say(tool_calls=lookup_calls("a", "b"))
    server.fail(500)
    second.say(text="done")
    run = worker.submit(either, agent_id=listed(worker, server, second, tools=[LOOKUP]), prompt="go")
    for _ in range(2):
        call = worker.wait_for("tool_call", of=run)
        worker.answer(call, result=call["args"]["q"] * 2)
    assert succeeded(worker.terminal(run))["result"] == "done"
    returned = [message["content"] for message in second.bodies[0]["messages"] if message["role"] == "tool"]
    assert returned == ["aa", "bb"]


def test_a_list_is_named_by_its_names(worker: Worker, server: Provider, second: Provider) -> None:
    """clause: AGENT-LABEL"""
    name = listed(worker, server, second)
    (agent,) = [one for one in worker.ask("list_agents")["result"]["agents"] if one["agent_id"] == name]
    assert agent["model"] == f"{endpoint(server)['name']}, {endpoint(second)['name']}"


@pytest.mark.parametrize("field", ["base_url", "api_key"])
def test_labels_hold_no_address_and_no_key(worker: Worker, server: Provider, field: str) -> None:
    """clause: AGENT-LABEL, SEC-KEYS"""
    agent_on(worker, server)
    assert endpoint(server)[field] not in str(worker.ask("list_agents"))
