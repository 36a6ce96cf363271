"""Section 5: chunks, their order, and credit."""

import json
from typing import Any

import pytest

from tests.kit import Worker, encode, failed, succeeded, texts

from .scenarios import NEVER_MS, calls, fails, says, tool

ALL = ["text", "thinking", "output", "tool_call", "tool_return"]
HUNDRED = [f"{n:02} " for n in range(100)]


def credit(worker: Worker, stream: Any, n: int) -> None:
    """Gives a stream more credit."""
    worker.send({"type": "credit", "id": stream, "n": n})


def chunks(frames: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Step and kind of each chunk."""
    return [(frame["step"], frame["kind"]) for frame in frames if frame["type"] == "chunk"]


# ---------------------------------------------------------------- kinds and steps


def test_the_text_chunks_joined_are_the_answer(worker: Worker) -> None:
    """clause: STREAM-TEXT"""
    stream = worker.start_stream(worker.agent([says("Hello, world", chunks=["Hel", "lo, ", "world"])]))
    frames = worker.collect(stream)
    assert "".join(texts(frames)) == succeeded(frames[-1])["result"] == "Hello, world"


def test_the_chunks_of_a_slow_model_come_as_they_are_made(worker: Worker) -> None:
    turn = says("abc", chunks=["a", "b", "c"], chunk_delay_ms=50)
    assert texts(worker.collect(worker.start_stream(worker.agent([turn])))) == ["a", "b", "c"]


def test_a_text_without_chunks_is_streamed_whole(worker: Worker) -> None:
    frames = worker.collect(worker.start_stream(worker.agent([says("all at once")])))
    assert "".join(texts(frames)) == "all at once"


def test_a_stream_ends_with_the_result_of_a_run(worker: Worker) -> None:
    """clause: STREAM-LOOP"""
    agent = worker.agent([says("same")])
    run = succeeded(worker.run(agent))
    streamed = succeeded(worker.collect(worker.start_stream(agent))[-1])
    assert set(run) == set(streamed)
    assert (run["result"], run["status"]) == (streamed["result"], streamed["status"])
    assert run["usage"]["requests"] == streamed["usage"]["requests"]


def test_a_run_sends_no_chunks(worker: Worker) -> None:
    run = worker.start_run(worker.agent([says("abc", chunks=["a", "b", "c"])]))
    assert [frame["type"] for frame in worker.collect(run)] == ["result"]


def test_a_stream_goes_through_the_whole_loop_of_tools(worker: Worker) -> None:
    """clause: STREAM-LOOP, STREAM-STEP"""
    script = [calls("lookup", text="let me see"), calls("lookup", text="once more"), says("found it")]
    stream = worker.start_stream(worker.agent(script, tools=[tool()]))
    for n in range(2):
        worker.answer(worker.wait_for("tool_call", of=stream), result=n)
    frames = worker.collect(stream)
    by_step = {step: "".join(f["data"] for f in frames if f.get("step") == step) for step in (1, 2, 3)}
    assert by_step == {1: "let me see", 2: "once more", 3: "found it"}
    assert succeeded(frames[-1])["result"] == "found it"


def test_every_kind_that_is_asked_for_is_sent(worker: Worker) -> None:
    script = [calls(("lookup", {"q": 1}), thinking="hm", text="see"), says("end", thinking="ah")]
    stream = worker.start_stream(worker.agent(script, tools=[tool()]), events=ALL)
    call = worker.wait_for("tool_call", of=stream)
    worker.answer(call, result={"r": 2})
    frames = worker.collect(stream)
    assert "".join(texts(frames, "thinking")) == "hmah"
    assert "".join(texts(frames, "text")) == "seeend"
    assert texts(frames, "tool_call") == [{"name": "lookup", "args": {"q": 1}, "call_id": call["call_id"]}]
    returned = {"name": "lookup", "content": {"r": 2}, "call_id": call["call_id"]}
    assert texts(frames, "tool_return") == [returned]
    kinds = chunks(frames)
    assert kinds.index((1, "tool_call")) < kinds.index((1, "tool_return")) < kinds.index((2, "text"))


@pytest.mark.parametrize("kind", ["text", "thinking", "tool_call", "tool_return"])
def test_only_the_kinds_that_are_asked_for_are_sent(worker: Worker, kind: str) -> None:
    """clause: STREAM-EVENTS"""
    script = [calls("lookup", thinking="hm", text="see"), says("end")]
    stream = worker.start_stream(worker.agent(script, tools=[tool()]), events=[kind])
    worker.answer(worker.wait_for("tool_call", of=stream), result=1)
    frames = worker.collect(stream)
    assert {sent for _, sent in chunks(frames)} == {kind}


def test_text_alone_is_sent_by_default(worker: Worker) -> None:
    frames = worker.collect(worker.start_stream(worker.agent([says("out", thinking="in")])))
    assert {kind for _, kind in chunks(frames)} == {"text"}


def test_a_stream_may_be_asked_for_no_chunks_at_all(worker: Worker) -> None:
    frames = worker.collect(worker.start_stream(worker.agent([says("silent")]), events=[]))
    assert [frame["type"] for frame in frames] == ["result"]


def test_thinking_and_text_keep_their_order(worker: Worker) -> None:
    """clause: STREAM-SEQ"""
    stream = worker.start_stream(worker.agent([says("b", thinking="a")]), events=["text", "thinking"])
    frames = worker.collect(stream)
    assert [frame["data"] for frame in frames if frame["type"] == "chunk"] == ["a", "b"]


def test_a_tool_whose_call_fails_returns_what_the_model_sees(worker: Worker) -> None:
    script = [calls("lookup"), says("end")]
    stream = worker.start_stream(worker.agent(script, tools=[tool()]), events=["tool_return"])
    worker.answer(worker.wait_for("tool_call", of=stream), failed="it is down")
    (returned,) = texts(worker.collect(stream), "tool_return")
    assert "it is down" in json.dumps(returned["content"])


def test_arguments_that_are_no_json_are_shown_as_the_model_wrote_them(worker: Worker) -> None:
    """clause: STREAM-TOOLS"""
    broken = {"tool_calls": [{"name": "lookup", "args": "{broken"}]}
    frames = worker.collect(
        worker.start_stream(worker.agent([broken, says("end")], tools=[tool()]), events=["tool_call", "tool_return"])
    )
    assert [called["args"] for called in texts(frames, "tool_call")] == ["{broken"]
    assert succeeded(frames[-1])["result"] == "end"


def test_a_stream_that_fails_ends_with_an_error_after_its_chunks(worker: Worker) -> None:
    """clause: STREAM-END"""
    script = [calls("lookup", text="let me see"), fails(500)]
    stream = worker.start_stream(worker.agent(script, tools=[tool()]))
    worker.answer(worker.wait_for("tool_call", of=stream), result=1)
    frames = worker.collect(stream)
    assert "".join(texts(frames)) == "let me see"
    failed(frames[-1], "ModelHTTPError")


def test_two_streams_count_for_themselves(worker: Worker) -> None:
    """clause: STREAM-SEQ"""
    agent = worker.agent([says("".join(HUNDRED), chunks=HUNDRED)])
    streams = [worker.start_stream(agent) for _ in range(5)]
    for stream in streams:
        assert "".join(texts(worker.collect(stream))) == "".join(HUNDRED)


# ---------------------------------------------------------------- credit


def waiting_stream(worker: Worker, n: int, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """A stream with credit `n` whose first step has been read to its end: it now waits for the parent's tool."""
    script = [calls("lookup", chunks=HUNDRED, thinking="hm"), says("end")]
    stream = worker.start_stream(worker.agent(script, tools=[tool()]), credit=n, **fields)
    return stream, worker.wait_for("tool_call", of=stream)


def test_without_credit_nothing_is_sent_and_neighbours_are_joined(worker: Worker) -> None:
    """clause: STREAM-CREDIT, STREAM-JOIN"""
    stream, call = waiting_stream(worker, 0)
    assert not [frame for frame in worker.frames if frame["type"] == "chunk" and frame["id"] == stream]
    credit(worker, stream, 1)
    assert worker.wait_for("chunk", of=stream)["data"] == "".join(HUNDRED)
    worker.answer(call, result=1)
    credit(worker, stream, 10)
    frames = worker.collect(stream)
    assert texts(frames) == ["end"]
    assert succeeded(frames[-1])["result"] == "end"


def test_neighbours_of_different_kinds_or_steps_are_not_joined(worker: Worker) -> None:
    """clause: STREAM-JOIN"""
    stream, call = waiting_stream(worker, 0, events=["text", "thinking"])
    worker.answer(call, result=1)
    credit(worker, stream, 100)
    frames = worker.collect(stream)
    joined: dict[tuple[int, str], str] = {}
    for frame in frames[:-1]:
        key = (frame["step"], frame["kind"])
        joined[key] = joined.get(key, "") + frame["data"]
    assert joined == {(1, "thinking"): "hm", (1, "text"): "".join(HUNDRED), (2, "text"): "end"}


def test_each_chunk_costs_one(worker: Worker) -> None:
    """clause: STREAM-CREDIT"""
    stream, call = waiting_stream(worker, 1, events=["text", "thinking", "tool_call", "tool_return"])
    worker.answer(call, result=1)
    frames = [worker.wait_for("chunk", of=stream)]
    for _ in range(200):
        credit(worker, stream, 1)
        frames.append(worker.recv())
        if frames[-1]["type"] != "chunk":
            break
    assert "".join(texts(frames)) == "".join(HUNDRED) + "end"
    succeeded(frames[-1])


def test_the_result_waits_for_the_last_chunk(worker: Worker) -> None:
    """clause: STREAM-END"""
    stream = worker.start_stream(worker.agent([says("end")]), credit=0)
    succeeded(worker.run(worker.agent([says("another", delay_ms=200)])))
    assert succeeded(worker.ask("ping"))["result"]["inflight"] == 1
    credit(worker, stream, 1)
    assert [frame["type"] for frame in worker.collect(stream)] == ["chunk", "result"]


def test_a_result_without_chunks_before_it_needs_no_credit(worker: Worker) -> None:
    stream = worker.start_stream(worker.agent([says("silent")]), credit=0, events=["thinking"])
    assert succeeded(worker.collect(stream)[-1])["result"] == "silent"


def test_an_error_needs_no_credit(worker: Worker) -> None:
    """clause: STREAM-FREE"""
    stream, call = waiting_stream(worker, 0)
    worker.answer(call, error="it is down")
    failed(worker.terminal(stream), "ToolError")


def test_tools_need_no_credit(worker: Worker) -> None:
    """clause: STREAM-FREE"""
    script = [calls("lookup", text="let me see"), calls("lookup"), says("end")]
    stream = worker.start_stream(worker.agent(script, tools=[tool()]), credit=0)
    for _ in range(2):
        worker.answer(worker.wait_for("tool_call", of=stream), result=1)
    credit(worker, stream, 100)
    succeeded(worker.collect(stream)[-1])


def test_credit_may_be_zero_or_huge(worker: Worker) -> None:
    stream = worker.start_stream(worker.agent([says("end")]), credit=0)
    credit(worker, stream, 0)
    credit(worker, stream, 2**62)
    credit(worker, stream, 2**62)
    assert succeeded(worker.collect(stream)[-1])["result"] == "end"


def test_credit_may_overtake_the_chunks_it_pays_for(worker: Worker) -> None:
    stream = worker.submit("stream", agent_id=worker.agent([says("end")]), prompt="p", credit=0)
    credit(worker, stream, 5)
    assert succeeded(worker.collect(stream)[-1])["result"] == "end"


def test_a_stream_without_credit_holds_up_no_other(worker: Worker) -> None:
    stuck, call = waiting_stream(worker, 0)
    agent = worker.agent([says("".join(HUNDRED), chunks=HUNDRED)])
    for _ in range(3):
        assert succeeded(worker.collect(worker.start_stream(agent, credit=100))[-1])
    worker.answer(call, result=1)
    credit(worker, stuck, 100)
    succeeded(worker.collect(stuck)[-1])


def test_a_stream_without_credit_is_no_silent_model(worker: Worker) -> None:
    """clause: MODEL-IDLE"""
    agent = worker.agent([says("end")])
    stream = worker.start_stream(agent, credit=0, idle_timeout_ms=100)
    succeeded(worker.run(worker.agent([says("another", delay_ms=400)])))
    credit(worker, stream, 10)
    assert succeeded(worker.collect(stream)[-1])["result"] == "end"


def test_the_timeout_of_a_run_holds_without_credit_too(worker: Worker) -> None:
    stream = worker.start_stream(worker.agent([says("end")]), credit=0, timeout_ms=200)
    failed(worker.terminal(stream), "Timeout")


def test_a_stream_whose_end_waits_for_credit_can_be_cancelled(worker: Worker) -> None:
    """clause: RUN-CANCEL"""
    stream = worker.start_stream(worker.agent([says("end")]), credit=0)
    succeeded(worker.run(worker.agent([says("another", delay_ms=200)])))
    cancels = [{"type": "cancel", "id": f"{n} {stream}", "target": stream} for n in range(2)]
    worker.send_raw(b"".join(map(encode, cancels)))
    failed(worker.terminal(stream), "Cancelled")
    for cancel in cancels:
        assert succeeded(worker.terminal(cancel["id"]))["result"] == {"cancelled": True}


def test_cancelling_in_the_middle_of_an_answer_keeps_what_came_before(worker: Worker) -> None:
    """clause: RUN-RESUME"""
    script = [calls("lookup"), says("ab", chunks=["a", "b"], chunk_delay_ms=NEVER_MS)]
    stream = worker.start_stream(worker.agent(script, tools=[tool()]), "begun")
    worker.answer(worker.wait_for("tool_call", of=stream), result="found")
    worker.wait_for("chunk", of=stream)
    assert succeeded(worker.ask("cancel", target=stream))["result"] == {"cancelled": True}
    error = failed(worker.terminal(stream), "Cancelled")
    assert "ab" not in [part.get("content") for message in error["messages"] for part in message["parts"]]
    agent = worker.agent([says("on")])
    succeeded(worker.ask("run", agent_id=agent, message_history=error["messages"]))


def test_a_stream_that_is_cancelled_sends_nothing_more(worker: Worker) -> None:
    slow = says("".join(HUNDRED), chunks=HUNDRED, chunk_delay_ms=20)
    agent = worker.agent([slow])
    for _ in range(10):
        stream = worker.start_stream(agent)
        worker.wait_for("chunk", of=stream)
        worker.send({"type": "cancel", "id": f"stop {stream}", "target": stream})
        failed(worker.collect(stream)[-1], "Cancelled")
        succeeded(worker.terminal(f"stop {stream}"))


def test_a_slow_reader_gets_fewer_and_longer_chunks_and_loses_nothing() -> None:
    """clause: STREAM-JOIN, STREAM-OPEN"""
    with Worker() as worker:
        pieces = ["x" * 1000] * 5000
        agent = worker.agent([says("".join(pieces), chunks=pieces)])
        worker.stop_reading()
        stream = worker.start_stream(agent, messages="none")
        other = worker.submit("ping")
        worker.resume_reading()
        frames = worker.collect(stream)
        assert len("".join(texts(frames))) == 5_000_000
        succeeded(worker.terminal(other))


def test_at_the_end_of_input_a_stream_goes_on_as_with_unlimited_credit() -> None:
    """clause: LIFE-EOF"""
    with Worker() as worker:
        agent = worker.agent([says("".join(HUNDRED), chunks=HUNDRED)])
        stream = worker.start_stream(agent, credit=0)
        worker.close_stdin()
        frames = worker.collect(stream)
        assert "".join(texts(frames)) == "".join(HUNDRED)
        succeeded(frames[-1])
        assert worker.wait_for("goodbye")["reason"] == "eof"


@pytest.mark.parametrize("frame_id", ["x" * 256, "\x01" * 53, 7], ids=["long", "escaped", "number"])
def test_a_call_by_a_name_too_long_for_a_chunk_is_told_by_its_beginning(frame_id: str | int) -> None:
    """clause: STREAM-OMITTED, ENV-ID-BYTES"""
    with Worker("--max-frame-bytes", "512") as worker:
        agent = worker.agent([calls("n" * 200), says("done")])
        worker.send({"type": "stream", "id": frame_id, "agent_id": agent, "prompt": "go", "events": ["tool_call"]})
        frames = worker.collect(frame_id)
        names = [frame["data"]["name"] for frame in frames if frame["type"] == "chunk"]
        assert names
        assert all(name and name + "n" * (200 - len(name)) == "n" * 200 for name in names)
        assert worker.longest_frame <= 512


def test_a_tool_return_too_long_for_a_chunk_is_told_without_its_content() -> None:
    """clause: STREAM-OMITTED"""
    limit = 2048
    with Worker("--max-frame-bytes", str(limit)) as worker:
        agent = worker.agent([calls("lookup"), says("done")], tools=[tool()])
        stream = worker.start_stream(agent, events=["tool_return"], messages="none")
        call = worker.wait_for("tool_call", of=stream)
        room = limit - len(encode({"type": "tool_result", "id": stream, "call_id": call["call_id"], "result": ""})) + 4
        worker.answer(call, result="x" * room)
        frames = worker.collect(stream)
        (told,) = [frame["data"] for frame in frames if frame["type"] == "chunk"]
        assert (told["name"], told["call_id"]) == ("lookup", call["call_id"])
        assert list(told["content"]) == ["omitted_bytes"]
        assert told["content"]["omitted_bytes"] > limit
        assert succeeded(frames[-1])["result"] == "done"


def test_steps_count_from_one_where_a_stream_carries_on(worker: Worker) -> None:
    """clause: STREAM-STEP"""
    tools = [tool(requires_approval=True, approval="deferred")]
    asked = succeeded(worker.run(worker.agent([calls("lookup")], tools=tools)))
    words = {call["call_id"]: {"approved": True} for call in asked["deferred"]["calls"]}
    stream = worker.submit(
        "stream",
        agent_id=worker.agent([says("done")], tools=tools),
        message_history=asked["messages"],
        deferred_results=words,
        events=["text", "tool_call", "tool_return"],
    )
    worker.answer(worker.wait_for("tool_call", of=stream), result=1)
    chunks = [frame for frame in worker.collect(stream) if frame["type"] == "chunk"]
    assert [(chunk["kind"], chunk["step"]) for chunk in chunks] == [("tool_call", 1), ("tool_return", 1), ("text", 1)]
