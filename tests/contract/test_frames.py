"""Section 1: bytes in, bytes out."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit import Frame, Worker, encode, failed, pack, succeeded, texts
from tests.kit.messages import parts, prompts, tool_returns
from tests.kit.processes import forget_peak, resident_bytes

from .scenarios import asking_agent, calls, fails, says, start_asking, tool

SMALL = 65_536
"""A `max_frame_bytes` that is quick to exceed."""

DEFAULT_MAX = 67_108_864
MIB = 1 << 20


def header(length: int) -> bytes:
    """The four bytes that announce a frame."""
    return length.to_bytes(4, "big")


def padded(command: dict[str, Any], field: str, size: int) -> bytes:
    """A frame whose payload is exactly `size` bytes: the text in a field is made as long as that takes."""
    shortest = len(encode({**command, field: ""})) - 4
    return encode({**command, field: "x" * (size - shortest)})


def ping_works(worker: Worker) -> None:
    """Proves that the worker still reads frames and answers them."""
    assert succeeded(worker.ask("ping"))["result"]["status"] == "ok"


@pytest.fixture
def small() -> Iterator[Worker]:
    """A worker whose frames are at most `SMALL` bytes long."""
    with Worker("--max-frame-bytes", str(SMALL)) as worker:
        yield worker


# ---------------------------------------------------------------- lengths


def test_frames_of_zero_length_are_ignored(worker: Worker) -> None:
    """clause: FRAME-EMPTY
    fault: A3
    """
    ping_works(worker)
    before = len(worker.frames)
    worker.send_raw(pack(b"") * 1000)
    ping_works(worker)
    assert [frame["type"] for frame in worker.frames[before:]] == ["result"]


def test_a_hundred_thousand_empty_frames_leave_the_memory_as_it_was(worker: Worker) -> None:
    succeeded(worker.run(worker.agent([says("warm")])))
    forget_peak(worker.pid)
    before = resident_bytes(worker.pid)
    worker.send_raw(pack(b"") * 100_000)
    ping_works(worker)
    assert resident_bytes(worker.pid, peak=True) - before < 8 * MIB


def test_a_frame_of_exactly_the_maximum_is_accepted(small: Worker) -> None:
    """clause: FRAME-OVERSIZE
    fault: A3
    """
    agent = small.agent([says("read")])
    frame = padded({"type": "run", "id": "full", "agent_id": agent, "messages": "none"}, "prompt", SMALL)
    small.send_raw(frame)
    assert succeeded(small.terminal("full"))["result"] == "read"


def test_a_frame_one_byte_over_the_maximum_is_refused_without_its_id(small: Worker) -> None:
    agent = small.agent([says("read")])
    command = {"type": "run", "id": "full", "agent_id": agent, "messages": "none"}
    small.send_raw(padded(command, "prompt", SMALL + 1))
    error = failed(small.recv(), "FrameTooLarge")
    assert (error["id"], error["details"]) == (None, {"length": SMALL + 1, "max_frame_bytes": SMALL})
    assert "fatal" not in error
    small.send_raw(padded(command, "prompt", SMALL))
    succeeded(small.terminal("full"))


def test_a_frame_that_is_too_long_is_refused_as_soon_as_its_length_is_read(small: Worker) -> None:
    """clause: FRAME-OVERSIZE"""
    small.send_raw(header(SMALL + 5))
    assert failed(small.recv(), "FrameTooLarge")["details"]["length"] == SMALL + 5
    small.send_raw(b"x" * (SMALL + 5))
    ping_works(small)


def test_a_frame_that_is_too_long_leaves_the_runs_in_flight_untouched(small: Worker) -> None:
    run, call = start_asking(small)
    small.send_raw(pack(b"x" * (SMALL + 1)))
    failed(small.recv(), "FrameTooLarge")
    small.answer(call, result="found")
    assert succeeded(small.terminal(run))["result"] == "done"


def test_what_stands_in_a_skipped_frame_is_not_read_as_frames(small: Worker) -> None:
    inside = encode({"type": "ping", "id": "inside"}) * (2 * SMALL // 30)
    small.send_raw(pack(inside))
    failed(small.recv(), "FrameTooLarge")
    ping_works(small)
    assert all(frame.get("id") != "inside" for frame in small.frames)


def test_a_skipped_frame_is_not_held_in_memory(worker: Worker) -> None:
    """clause: FRAME-OVERSIZE"""
    succeeded(worker.run(worker.agent([says("warm")])))
    length = 100 * MIB
    forget_peak(worker.pid)
    before = resident_bytes(worker.pid)
    worker.send_raw(header(length))
    failed(worker.recv(), "FrameTooLarge")
    for _ in range(length // MIB):
        worker.send_raw(bytes(MIB))
    ping_works(worker)
    assert resident_bytes(worker.pid, peak=True) - before < 8 * MIB


def test_an_announced_frame_takes_no_memory_before_its_bytes_are_there() -> None:
    with Worker() as worker:
        succeeded(worker.run(worker.agent([says("warm")])))
        forget_peak(worker.pid)
        before = resident_bytes(worker.pid)
        begin = padded({"type": "run", "id": "slow", "agent_id": "nobody"}, "prompt", 32 * MIB)
        worker.send_raw(begin[:10])
        worker.send_raw(begin[10:20])
        assert resident_bytes(worker.pid, peak=True) - before < 8 * MIB
        worker.send_raw(begin[20:])
        failed(worker.terminal("slow"), "AgentNotFound")


LOST = {
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a line of JSON": b'{"type":"ping","id":1}\n',
    "JSON after line feeds, which is a length below eight times the maximum": b'\n{"type":"ping","id":1}',
    "a length of all ones": b"\xff\xff\xff\xff",
    "one more than eight times the maximum": header(8 * DEFAULT_MAX + 1),
}


@pytest.mark.parametrize("text", LOST.values(), ids=LOST.keys())
def test_lost_framing_cancels_everything_and_ends_the_worker(text: bytes) -> None:
    """clause: FRAME-LOST
    fault: A3, A8
    """
    with Worker() as worker:
        run, _ = start_asking(worker)
        worker.send_raw(text)
        error = failed(worker.wait_for(lambda frame: frame["type"] == "error"), "FrameTooLarge")
        assert (error["id"], error["fatal"]) == (None, True)
        assert "axon-port pack" in error["message"]
        failed(worker.terminal(run), "Cancelled")
        assert worker.wait_for("goodbye")["reason"] == "fatal"
        assert worker.wait_exit() == 65


def test_a_length_of_eight_times_the_maximum_is_still_skipped(small: Worker) -> None:
    small.send_raw(pack(bytes(8 * SMALL)))
    assert "fatal" not in failed(small.recv(), "FrameTooLarge")
    ping_works(small)


def test_a_length_over_the_maximum_that_is_no_text_is_not_fatal(worker: Worker) -> None:
    length = 0x0A00_0000
    assert DEFAULT_MAX < length < 8 * DEFAULT_MAX
    worker.send_raw(header(length))
    assert "fatal" not in failed(worker.recv(), "FrameTooLarge")
    for _ in range(length // MIB):
        worker.send_raw(bytes(MIB))
    ping_works(worker)


# ---------------------------------------------------------------- payloads

PING = b'{"type":"ping","id":1}'
NOT_JSON = {
    "half an object": b'{"type":"ping"',
    "a word": b"nope",
    "white space": b"   ",
    "single quotes": b"{'type':'ping'}",
    "a trailing comma": b'{"type":"ping","id":1,}',
    "trailing data": PING + b" x",
    "two objects": PING + PING,
    "a raw line feed in a string": b'{"type":"pi\nng","id":1}',
    "NaN": b'{"type":"ping","id":NaN}',
    "Infinity": b'{"type":"ping","id":-Infinity}',
    "a byte order mark": b"\xef\xbb\xbf" + PING,
    "UTF-16": PING.decode().encode("utf-16"),
    "latin-1": b'{"type":"p\xe9ng","id":1}',
    "overlong UTF-8": b'{"type":"\xc0\xaf","id":1}',
    "a surrogate in UTF-8": b'{"type":"\xed\xa0\x80","id":1}',
    "a lone surrogate as an escape": b'{"type":"ping","id":"\\ud800"}',
    "a lone low surrogate as an escape": b'{"type":"ping","id":"\\udc00x"}',
    "a lone surrogate in a key": b'{"type":"ping","id":1,"\\ud800":1}',
    "a million brackets": b"[" * 1_000_000,
    "a million nested objects": b'{"a":' * 1_000_000,
    "a BEL": b"\x07",
}


@pytest.mark.parametrize("payload", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_not_json_gets_one_error_and_nothing_else_happens(worker: Worker, payload: bytes) -> None:
    """clause: JSON-TEXT
    fault: B11
    """
    worker.send_raw(pack(payload))
    error = failed(worker.recv(), "InvalidJSON")
    assert error["id"] is None
    ping_works(worker)


@pytest.mark.parametrize("payload", [b"[]", b"null", b'"ping"', b"1", b"true", b"[{}]", b"{}"])
def test_json_that_is_no_command_is_refused_without_an_id(worker: Worker, payload: bytes) -> None:
    """clause: ENV-OBJECT
    fault: B11
    """
    worker.send_raw(pack(payload))
    assert failed(worker.recv(), "InvalidCommand")["id"] is None


@pytest.mark.parametrize("unusable", [{}, {"type": None}, {"type": 7}, {"type": ["ping"]}, {"type": {}}])
def test_a_command_without_a_usable_type_is_refused_with_its_id(worker: Worker, unusable: Frame) -> None:
    """clause: ENV-OBJECT"""
    worker.send({**unusable, "id": "mine"})
    failed(worker.terminal("mine"), "InvalidCommand")


def test_an_unknown_type_is_named_in_the_details(worker: Worker) -> None:
    """clause: ENV-UNKNOWN"""
    worker.send({"type": "conquer", "id": "mine", "whatever": [1]})
    assert failed(worker.terminal("mine"), "UnknownCommand")["details"] == {"type": "conquer"}


def test_an_unknown_type_without_an_id_is_answered_without_one(worker: Worker) -> None:
    worker.send({"type": "conquer"})
    frame = worker.recv()
    assert frame["id"] is None
    assert frame["error_type"] in ("UnknownCommand", "InvalidCommand")


@pytest.mark.parametrize("kind", ["ready", "result", "chunk", "goodbye"])
def test_the_workers_own_frames_are_no_commands(worker: Worker, kind: str) -> None:
    worker.send({"type": kind, "id": "mine"})
    failed(worker.terminal("mine"), "UnknownCommand")


def test_of_duplicate_keys_the_last_one_counts(worker: Worker) -> None:
    """clause: JSON-DUPLICATES
    fault: B14
    """
    worker.expect({"type": "ping", "id": "last"})
    worker.send_raw(pack(b'{"type":"shutdown","id":1,"type":"ping","id":"last"}'))
    assert worker.wait_for(lambda frame: frame["type"] in ("result", "error"))["id"] == "last"
    ping_works(worker)


def test_white_space_around_a_command_is_json(worker: Worker) -> None:
    worker.send_raw(pack(b' \n\t{ "type" : "ping" ,\r\n "id" : "spaced" } \n'))
    succeeded(worker.terminal("spaced"))


# ---------------------------------------------------------------- cuts


def test_a_command_may_come_byte_by_byte(worker: Worker) -> None:
    for byte in encode({"type": "ping", "id": "slow"}):
        worker.send_raw(bytes([byte]))
    succeeded(worker.terminal("slow"))


@pytest.mark.parametrize("seed", range(5))
def test_frames_may_be_cut_anywhere(worker: Worker, seed: int) -> None:
    """clause: FRAME-SPLIT"""
    chance = random.Random(seed)
    wanted = [f"cut {seed} {n}" for n in range(50)]
    data = b"".join(pack(b"") * chance.randrange(3) + encode({"type": "ping", "id": name}) for name in wanted)
    while data:
        size = chance.choice([1, 2, 3, 4, 5, 40, 500])
        worker.send_raw(data[:size])
        data = data[size:]
    for name in wanted:
        succeeded(worker.terminal(name))


def test_a_thousand_frames_in_one_write_get_a_thousand_answers(worker: Worker) -> None:
    """fault: A2"""
    worker.send_raw(b"".join(encode({"type": "ping", "id": f"many {n}"}) for n in range(1000)))
    for n in range(1000):
        succeeded(worker.terminal(f"many {n}"))


@pytest.mark.parametrize(
    "size", [1, 4095, 4096, 4097, 27182, 31415, 65531, 65535, 65536, 65537, 65540, 131072, 271828, 314159]
)
def test_texts_of_any_size_are_intact_both_ways(worker: Worker, size: int) -> None:
    """clause: FRAME-LENGTH
    fault: A4
    """
    text = "".join(chr(0x61 + n % 26) for n in range(size))
    answer = succeeded(worker.run(worker.agent([says("read")]), text))
    assert prompts(answer["messages"]) == [text]


def test_a_long_frame_that_comes_in_many_reads_is_intact(worker: Worker) -> None:
    text = "0123456789abcdef" * (MIB // 2)
    answer = succeeded(worker.run(worker.agent([says("read")]), text))
    assert prompts(answer["messages"]) == [text]


def test_text_outside_ascii_is_intact_both_ways(worker: Worker) -> None:
    text = 'Ä 字 😀 \u0000 \u001b[31m \u2028 \\ " / \x7f é'
    answer = succeeded(worker.run(worker.agent([says(text)]), text))
    assert (answer["result"], prompts(answer["messages"])) == (text, [text])


WHOLE = encode({"type": "ping", "id": "cut"})


@pytest.mark.parametrize("cut", [1, 3, 4, 5, len(WHOLE) - 1])
def test_an_input_that_ends_inside_a_frame_is_reported(cut: int) -> None:
    """In its length, behind it, and in its text: each place is tried in wire/test_framing.py.

    clause: FRAME-TRUNCATED, LIFE-EXIT
    fault: A7
    """
    with Worker() as worker:
        worker.send_raw(WHOLE + WHOLE[:cut])
        worker.close_stdin()
        error = failed(worker.wait_for("error"), "TruncatedFrame")
        assert error["id"] is None
        assert worker.wait_for("goodbye")["reason"] == "eof"
        assert worker.wait_exit() == 65
        succeeded(worker.terminal("cut"))


def test_an_input_that_ends_inside_a_skipped_frame_is_reported() -> None:
    """clause: FRAME-TRUNCATED"""
    with Worker("--max-frame-bytes", str(SMALL)) as worker:
        worker.send_raw(header(SMALL + 1) + b"x" * SMALL)
        worker.close_stdin()
        failed(worker.wait_for("error"), "FrameTooLarge")
        failed(worker.wait_for("error"), "TruncatedFrame")
        assert worker.wait_exit() == 65


def test_after_a_truncated_frame_the_rules_of_the_end_of_input_hold() -> None:
    with Worker() as worker:
        waiting, _ = start_asking(worker)
        drained = worker.start_run(worker.agent([says("done", delay_ms=300)]))
        worker.send_raw(WHOLE[:7])
        worker.close_stdin()
        assert succeeded(worker.terminal(drained))["result"] == "done"
        failed(worker.terminal(waiting), "ParentGone")
        assert worker.wait_exit() == 65


# ---------------------------------------------------------------- numbers

EXACT = [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), 2**64, 2**64 + 1, 10**40, int("7" * 400)]


@pytest.mark.parametrize("number", EXACT, ids=lambda n: f"{str(n)[:5]}-{len(str(n))}-digits")
def test_an_integer_in_a_tool_result_is_exact_or_refused(worker: Worker, number: int) -> None:
    """clause: JSON-INTEGERS
    fault: B13
    """
    run, call = start_asking(worker)
    worker.answer(call, result={"n": number})
    frame = worker.wait_for(lambda frame: frame["type"] in ("result", "error"))
    if frame["type"] == "error":
        assert (frame["error_type"], frame["id"], frame["run_id"]) == ("InvalidCommand", None, run)
        worker.answer(call, result="small")
        succeeded(worker.terminal(run))
    else:
        assert tool_returns(frame["messages"])[0][1] == {"n": number}


@pytest.mark.parametrize("number", EXACT, ids=lambda n: f"{str(n)[:5]}-{len(str(n))}-digits")
def test_an_integer_in_tool_arguments_is_exact_or_refused(worker: Worker, number: int) -> None:
    """fault: B13"""
    name, script = f"exact {number % 10**9}", [calls(("lookup", {"n": number})), says("done")]
    created = worker.ask("create_agent", agent_id=name, model={"script": script}, tools=[tool()])
    if created["type"] == "error":
        failed(created, "InvalidCommand")
        return
    run, call = start_asking(worker, name)
    assert call["args"] == {"n": number}
    worker.answer(call, result="ok")
    succeeded(worker.terminal(run))


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1" + "0" * 400 + ".5"])
def test_a_decimal_that_overflows_is_refused(worker: Worker, text: str) -> None:
    run, call = start_asking(worker)
    start = json.dumps({"type": "tool_result", "id": run, "call_id": call["call_id"]})[:-1]
    worker.send_raw(pack(f'{start}, "result": {text}}}'.encode()))
    error = failed(worker.wait_for("error"), "InvalidCommand")
    assert (error["id"], error["run_id"]) == (None, run)
    worker.answer(call, result=0)
    succeeded(worker.terminal(run))


def test_a_decimal_that_overflows_in_a_run_is_refused_with_its_id(worker: Worker) -> None:
    """clause: JSON-DECIMALS"""
    worker.send_raw(pack(b'{"type":"run","id":"big","agent_id":"x","prompt":"p","deps":{"n":[1e999]}}'))
    failed(worker.terminal("big"), "InvalidCommand")


@pytest.mark.parametrize("value", [0.1, 1e308, -2.5e-300, 1.7976931348623157e308, 5e-324, 3, -7, True, None])
def test_scalars_are_carried_over_as_they_are(worker: Worker, value: Any) -> None:
    run, call = start_asking(worker)
    worker.answer(call, result=[value])
    content = tool_returns(succeeded(worker.terminal(run))["messages"])[0][1]
    assert content == [value]
    assert type(content[0]) is type(value)


@pytest.mark.parametrize("depth", [100, 200, 253, 254, 255, 256, 500, 1000, 1023, 1024, 1025, 5000])
def test_a_deep_value_is_carried_whole_or_refused(worker: Worker, depth: int) -> None:
    """clause: JSON-DEPTH
    fault: B12
    """
    run, call = start_asking(worker)
    start = json.dumps({"type": "tool_result", "id": run, "call_id": call["call_id"]})[:-1]
    worker.send_raw(pack(f'{start}, "result": {"[" * depth}{"]" * depth}}}'.encode()))
    frame = worker.wait_for(lambda frame: frame["type"] in ("result", "error"))
    if frame["type"] == "error":
        assert frame["id"] is None
        assert frame["error_type"] in ("InvalidJSON", "InvalidCommand")
        worker.answer(call, result="shallow")
        succeeded(worker.terminal(run))
    else:
        (content,) = [part["content"] for part in parts(frame["messages"], "tool-return")]
        assert json.dumps(content).count("[") == depth


def test_a_value_of_a_hundred_levels_is_accepted(worker: Worker) -> None:
    run, call = start_asking(worker)
    value: list[Any] = []
    for _ in range(100):
        value = [value]
    worker.answer(call, result=value)
    assert tool_returns(succeeded(worker.terminal(run))["messages"])[0][1] == value


def test_a_frame_full_of_empty_lists_is_answered(worker: Worker) -> None:
    lists = b",".join([b"[]"] * 500_000)
    worker.send_raw(pack(b'{"type":"run","id":"lists","agent_id":"nobody","prompt":"p","deps":[' + lists + b"]}"))
    assert worker.terminal("lists")["error_type"] in ("AgentNotFound", "InvalidCommand")
    ping_works(worker)


# ---------------------------------------------------------------- bytes out


def test_a_result_over_the_maximum_becomes_an_error_and_the_next_run_works(small: Worker) -> None:
    """clause: FRAME-OUT
    fault: C24
    """
    agent = small.agent([says("x" * (SMALL * 2 // 3))])
    failed(small.run(agent), "ResultTooLarge")
    assert len(succeeded(small.run(agent, messages="none"))["result"]) == SMALL * 2 // 3
    assert small.longest_frame <= SMALL


def test_messages_that_make_an_error_too_long_are_left_out(small: Worker) -> None:
    """clause: FRAME-OUT"""
    agent = small.agent([calls("lookup"), calls("lookup"), calls("lookup"), fails(500)], tools=[tool()])
    run = small.start_run(agent)
    for _ in range(3):
        small.answer(small.wait_for("tool_call", of=run), result="x" * (SMALL // 2))
    error = failed(small.terminal(run), "ModelHTTPError")
    assert error["messages_omitted"] is True
    assert "messages" not in error
    assert error["usage"]["requests"] >= 3


LONG_ID = "i" * 256


@pytest.mark.parametrize("limit", [512, 1024, 1730])
def test_a_ping_with_any_id_is_answered_in_a_frame_that_fits(limit: int) -> None:
    """clause: ENV-ID-BYTES, FRAME-OUT"""
    longest = min(256, (limit - 192 - 2) // 6)
    with Worker("--max-frame-bytes", str(limit)) as worker:
        for taken in (LONG_ID, "\x01" * longest):
            worker.send({"type": "ping", "id": taken})
            assert worker.terminal(taken)["id"] == taken
        if longest < 256:
            worker.send_raw(encode({"type": "ping", "id": "\x01" * (longest + 1)}))
            error = failed(worker.wait_for("error"), "InvalidCommand")
            assert error["id"] is None
        assert worker.longest_frame <= limit


def test_a_chunk_that_only_its_id_makes_too_long_is_split(small: Worker) -> None:
    """clause: STREAM-SPLIT"""
    command = {"type": "create_agent", "id": 1, "agent_id": "a", "model": {"script": [says("")]}}
    text = "".join(chr(0x61 + n % 26) for n in range(SMALL + 4 - len(encode(command))))
    small.send({**command, "model": {"script": [says(text)]}})
    succeeded(small.terminal(1))
    small.send({"type": "stream", "id": LONG_ID, "agent_id": "a", "prompt": "go", "messages": "none"})
    frames = small.collect(LONG_ID)
    assert "".join(texts(frames)) == text
    assert len(texts(frames)) > 1
    failed(frames[-1], "ResultTooLarge")
    assert small.longest_frame <= SMALL


@pytest.mark.parametrize("asks", ["tool_call", "approval_request"])
def test_a_call_that_only_its_redaction_makes_too_long_ends_its_run(asks: str) -> None:
    """clause: TOOL-TOO-LONG, FRAME-OUT, SEC-KEYS"""
    with Worker("--max-frame-bytes", "1024", env={"SHOP_TOKEN": "12345678"}) as worker:
        script = [calls(("t", {"x": "12345678" * 96}))]
        tools = [tool("t", description="", requires_approval=asks == "approval_request")]
        agent = worker.agent(script, tools=tools)
        failed(worker.run(agent, messages="none"), "ResultTooLarge")
        assert all(frame["type"] != asks for frame in worker.frames)
        assert worker.longest_frame <= 1024


def test_a_tool_call_over_the_maximum_ends_its_run(small: Worker) -> None:
    """clause: TOOL-TOO-LONG"""
    command = {"type": "create_agent", "id": 1, "agent_id": "a", "tools": [tool("t", description="")]}
    shortest = {**command, "model": {"script": [calls(("t", {"x": ""}))]}}
    text = "x" * (SMALL + 4 - len(encode(shortest)))
    small.send({**command, "model": {"script": [calls(("t", {"x": text}))]}})
    succeeded(small.terminal(1))
    name = "n" * 256
    small.send({"type": "run", "id": name, "agent_id": "a", "prompt": "go", "messages": "none"})
    failed(small.terminal(name), "ResultTooLarge")
    assert all(frame["type"] != "tool_call" for frame in small.frames)
    ping_works(small)


def test_a_parent_that_does_not_read_gets_everything_in_order_afterwards() -> None:
    """clause: OUT-WRITER"""
    with Worker() as worker:
        agent = worker.agent([says("x" * 10_000)])
        worker.stop_reading()
        runs = [worker.start_run(agent) for _ in range(300)]
        worker.resume_reading()
        for run in runs:
            assert succeeded(worker.terminal(run))["result"] == "x" * 10_000


def test_the_wire_is_read_while_the_parent_does_not_read() -> None:
    """clause: IN-READER"""
    with Worker() as worker:
        agent = asking_agent(worker)
        worker.stop_reading()
        for n in range(2000):
            worker.send({"type": "ping", "id": f"ping {n}"})
        run = worker.start_run(agent, "x" * (4 * MIB))
        worker.resume_reading()
        worker.answer(worker.wait_for("tool_call", of=run), result=1)
        succeeded(worker.terminal(run))
        for n in range(2000):
            succeeded(worker.terminal(f"ping {n}"))
