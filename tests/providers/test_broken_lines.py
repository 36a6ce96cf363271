"""The service is not there, breaks off, falls silent or talks nonsense (PROTOCOL.md, MODEL-FINISH, MODEL-IDLE)."""

import socket
from collections.abc import Iterator

import pytest

from tests.kit import Frame, Worker, failed, in_time, succeeded, texts
from tests.kit.messages import parts
from tests.kit.providers import Interface, Provider

from . import asked
from .scenes import (
    FIRST_TEXT,
    LOOKUP,
    MODELS,
    NEVER_MS,
    SOON_MS,
    Fault,
    Kind,
    agent_on,
    end_of,
    endpoint,
    first_chunk,
    lookup_calls,
)

TEXT = "Oslo is in Norway."


def after_text(server: Provider) -> int:
    """How many frames of an answer make one chunk."""
    return FIRST_TEXT[server.interface]


def bad_json(server: Provider) -> None:
    """The answer breaks off inside a value, in good order."""
    server.garbage("json", after=after_text(server), text=TEXT)


BREAKS: dict[str, Fault] = {
    "reset before the head": lambda server: server.cut(before="headers"),
    "closed before the head": lambda server: server.cut(before="headers", how="close"),
    "reset in the body": lambda server: server.cut(after=after_text(server), text=TEXT),
    "closed in the body": lambda server: server.cut(after=after_text(server), how="close", text=TEXT),
    "closed in thinking": lambda server: server.cut(after=after_text(server), thinking="hm, let me see", text=TEXT),
    "closed in a call": lambda server: server.cut(after=after_text(server), tool_calls=lookup_calls("abc")),
    "no finish": lambda server: server.no_finish(text=TEXT),
    "no finish, early": lambda server: server.no_finish(after=after_text(server), text=TEXT),
    "no finish in a call": lambda server: server.no_finish(tool_calls=lookup_calls("abc")),
    "bad events": lambda server: server.garbage("sse", after=after_text(server), text=TEXT),
    "bad json": bad_json,
    "bad utf-8": lambda server: server.garbage("utf8", after=after_text(server), text=TEXT),
    "nothing": lambda server: server.garbage("empty"),
    "another shape": lambda server: server.garbage("shape", after=after_text(server), text=TEXT),
    "a page": lambda server: server.garbage("html"),
}


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens, as long as the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


# ---------------------------------------------------------------- breaks


def test_a_line_that_breaks_is_a_connection_error_and_its_messages_are_fit_for_a_next_run(
    worker: Worker, server: Provider, interface: Interface, kind: Kind
) -> None:
    """clause: MODEL-FINISH, ERR-TYPES, RUN-RESUME
    fault: G57, G59
    """
    agent = agent_on(worker, server, tools=[LOOKUP])
    for number, (name, fault) in enumerate(BREAKS.items(), start=1):
        fault(server)
        server.say(text=f"whole after {name}")
        error = failed(end_of(worker, kind, agent, "my question"), "ModelConnectionError")
        assert (error["retryable"], error["details"]["model"]) == (True, MODELS[interface]), name
        assert len(server.requests) == 2 * number - 1, "one attempt is made where there is no `retry`"
        assert [message["kind"] for message in error["messages"]] == ["request"], name
        again = worker.ask(kind, agent_id=agent, message_history=error["messages"])
        assert succeeded(again)["result"] == f"whole after {name}"
        assert asked.user_texts(interface, server.requests[-1]) == ["my question"]


def test_a_compressed_answer_that_grows_beyond_its_bound_is_a_connection_error(
    worker: Worker, server: Provider
) -> None:
    """clause: MODEL-BOUNDS"""
    server.gzip_bomb(40 * 1024 * 1024)
    failed(worker.run(agent_on(worker, server)), "ModelConnectionError")


def test_what_had_come_before_a_break_was_sent(worker: Worker, server: Provider) -> None:
    """clause: STREAM-END"""
    server.cut(after=after_text(server), how="close", text=TEXT)
    frames = worker.collect(worker.start_stream(agent_on(worker, server)))
    failed(frames[-1], "ModelConnectionError")
    assert TEXT.startswith("".join(texts(frames)))


def test_a_break_in_a_later_request_keeps_what_was_done(
    worker: Worker, server: Provider, interface: Interface, kind: Kind
) -> None:
    """clause: RUN-RESUME, RUN-USAGE"""
    server.say(tool_calls=lookup_calls("a"))
    server.cut(after=after_text(server), text=TEXT)
    server.say(text="done")
    agent = agent_on(worker, server, tools=[LOOKUP])
    run = worker.submit(kind, agent_id=agent, prompt="my question")
    worker.answer(worker.wait_for("tool_call", of=run), result={"found": 1})
    error = failed(worker.terminal(run), "ModelConnectionError")
    assert error["usage"]["tool_calls"] == 1
    assert [part["content"] for part in parts(error["messages"], "tool-return")] == [{"found": 1}]
    assert succeeded(worker.ask(kind, agent_id=agent, message_history=error["messages"]))["result"] == "done"
    assert [content for _, content in asked.tool_returns(interface, server.requests[2])] == [{"found": 1}]


def test_an_address_where_nobody_listens_is_a_connection_error(
    worker: Worker, interface: Interface, kind: Kind, nobody: str
) -> None:
    """clause: ERR-TYPES
    fault: G57
    """
    with Provider(interface) as template:
        model = endpoint(template)
    agent = worker.agent(model={**model, "base_url": nobody})
    error = failed(end_of(worker, kind, agent), "ModelConnectionError")
    assert error["retryable"] is True
    assert len(error["messages"]) == 1


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 ok\r\n\r\n"], ids=["none", "ssh", "http"])
def test_an_address_where_something_else_listens_is_an_error(worker: Worker, interface: Interface, data: bytes) -> None:
    """clause: ERR-TYPES"""
    with Provider(interface) as template, socket.create_server(("127.0.0.1", 0)) as listening:
        model = {**endpoint(template), "base_url": f"http://127.0.0.1:{listening.getsockname()[1]}"}
        run = worker.start_run(worker.agent(model=model))
        listening.settimeout(10)
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(data)
        failed(worker.terminal(run), "ModelConnectionError")


def test_lines_that_break_at_the_same_time_do_not_disturb_each_other(
    worker: Worker, server: Provider, either: Kind
) -> None:
    """clause: ENV-ONE-TERMINAL"""
    for fault in BREAKS.values():
        fault(server)
    agent = agent_on(worker, server, tools=[LOOKUP])
    runs = [worker.submit(either, agent_id=agent, prompt="go") for _ in BREAKS]
    for run in runs:
        failed(worker.terminal(run), "ModelConnectionError")
    server.say(text="still here")
    assert succeeded(end_of(worker, either, agent))["result"] == "still here"


# ---------------------------------------------------------------- silence


def test_silence_before_the_head_is_a_timeout(worker: Worker, server: Provider, kind: Kind) -> None:
    """clause: MODEL-IDLE
    fault: G57
    """
    server.stall(before="headers")
    agent = agent_on(worker, server, idle_timeout_ms=SOON_MS)
    error = failed(end_of(worker, kind, agent), "ModelTimeout")
    assert error["retryable"] is True
    server.wait_for_request().wait_disconnected()


def test_silence_after_a_beginning_is_a_timeout(worker: Worker, interface: Interface, kind: Kind) -> None:
    """clause: MODEL-IDLE, RUN-RESUME
    fault: G57
    """

    def attempt(limit: int) -> Frame | None:
        with Provider(interface) as server:
            server.stall(after=after_text(server), text=TEXT)
            server.say(text="the whole answer")
            agent = agent_on(worker, server)
            error = failed(end_of(worker, kind, agent, idle_timeout_ms=limit), "ModelTimeout")
            if not server.requests or not server.requests[0].stalled.is_set():
                return None
            server.requests[0].wait_disconnected()
            return worker.ask(kind, agent_id=agent, message_history=error["messages"])

    assert succeeded(in_time(attempt))["result"] == "the whole answer"


def test_a_run_may_be_more_or_less_patient_than_its_agent(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: RUN-OVERRIDES"""
    server.stall(before="headers")
    agent = agent_on(worker, server, idle_timeout_ms=NEVER_MS)
    failed(end_of(worker, either, agent, idle_timeout_ms=SOON_MS), "ModelTimeout")
    server.wait_for_request()


def test_a_model_that_trickles_is_not_silent(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: MODEL-IDLE"""
    server.trickle(interval=0.0, text="hi")
    agent = agent_on(worker, server, idle_timeout_ms=2000)
    assert succeeded(end_of(worker, either, agent))["result"] == "hi"


def test_the_clock_stands_still_while_a_tool_works(worker: Worker, interface: Interface, either: Kind) -> None:
    """clause: MODEL-IDLE"""

    def attempt(limit: int) -> Frame | None:
        with Provider(interface) as quick, Provider(interface) as slow:
            quick.say(tool_calls=lookup_calls("a"))
            quick.say(text="done")
            agent = agent_on(worker, quick, tools=[LOOKUP], idle_timeout_ms=limit)
            run = worker.submit(either, agent_id=agent, prompt="go")
            frame = worker.wait_for(lambda frame: frame["type"] in ("tool_call", "error"), of=run)
            if frame["type"] == "tool_call":
                # Another run with the same patience, begun after the call, has been timed out by the time this one
                # goes on.
                slow.stall(before="headers")
                failed(worker.run(agent_on(worker, slow, idle_timeout_ms=limit)), "ModelTimeout")
                worker.answer(frame, result=1)
                frame = worker.terminal(run)
            return None if frame.get("error_type") == "ModelTimeout" else frame

    assert succeeded(in_time(attempt))["result"] == "done"


def test_the_timeout_of_a_run_ends_a_silence_too(worker: Worker, interface: Interface, either: Kind) -> None:
    """clause: RUN-TIMEOUT"""

    def attempt(limit: int) -> bool | None:
        with Provider(interface) as server:
            server.stall(before="headers")
            error = failed(end_of(worker, either, agent_on(worker, server), timeout_ms=limit), "Timeout")
            assert error["details"] == {"timeout_ms": limit}
            if not server.requests:
                return None
            server.requests[0].wait_disconnected()
            return True

    assert in_time(attempt)


# ---------------------------------------------------------------- cancelling


def test_cancelling_in_the_middle_of_a_stream_closes_the_connection(worker: Worker, server: Provider) -> None:
    """clause: RUN-CANCEL, RUN-RESUME"""
    server.stall(after=after_text(server), text=TEXT)
    server.say(text="the whole answer")
    agent = agent_on(worker, server)
    run = worker.start_stream(agent, "my question")
    assert TEXT.startswith(first_chunk(worker, run))
    assert worker.ask("cancel", target=run)["result"] == {"cancelled": True}
    error = failed(worker.terminal(run), "Cancelled")
    server.wait_for_request().wait_disconnected()
    assert [message["kind"] for message in error["messages"]] == ["request"]
    assert (
        succeeded(worker.ask("run", agent_id=agent, message_history=error["messages"]))["result"] == "the whole answer"
    )


def test_cancelling_before_the_first_byte_closes_the_connection(worker: Worker, server: Provider, kind: Kind) -> None:
    """clause: RUN-CANCEL"""
    server.stall(before="headers")
    run = worker.submit(kind, agent_id=agent_on(worker, server), prompt="my question")
    server.wait_for_request().wait_stalled()
    worker.ask("cancel", target=run)
    error = failed(worker.terminal(run), "Cancelled")
    server.wait_for_request().wait_disconnected()
    assert [message["kind"] for message in error["messages"]] == ["request"]


def test_cancelling_one_stream_leaves_the_others_of_its_endpoint(worker: Worker, server: Provider) -> None:
    """clause: RUN-CANCEL"""
    agent = agent_on(worker, server)
    runs = list[int]()
    for _ in range(3):
        server.stall(after=after_text(server), text=TEXT)
        runs.append(worker.start_stream(agent))
        first_chunk(worker, runs[-1])
    worker.ask("cancel", target=runs[1])
    failed(worker.terminal(runs[1]), "Cancelled")
    server.requests[1].wait_disconnected()
    server.release()
    assert [succeeded(worker.terminal(run))["result"] for run in (runs[0], runs[2])] == [TEXT, TEXT]
