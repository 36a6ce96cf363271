"""Faults A: bytes as they should not come, against real workers."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from axon_port.wire.framing import FrameDecoder, encode_frame
from tests.contract.scenarios import NEVER_MS, calls, fails, says
from tests.kit import Frame, Worker, encode, failed, pack, succeeded, texts
from tests.kit.processes import forget_peak, resident_bytes

from .scenes import MIB, faulty_agent, faulty_worker

VOLATILE = ("run_id", "duration_ms", "timestamp", "messages", "pid")
LIMIT = 100_000


def conversation() -> bytes:
    """Commands of every kind, good and bad, that no answer of the parent is needed for."""
    script = {"script": [calls("none", text="x"), says("äbc", chunks=["ä", "bc"])]}
    create: Frame = {"type": "create_agent", "agent_id": "a", "model": script, "retries": 3}
    commands: list[Frame] = [
        {**create, "id": 1},
        {"type": "run", "id": 2, "agent_id": "a", "prompt": "p" * 5000},
        {"type": "stream", "id": "3", "agent_id": "a", "prompt": "p"},
        {"type": "run", "id": 4, "agent_id": "nobody", "prompt": "p"},
        {"type": "create_agent", "id": 5, "agent_id": "b", "model": {"script": [fails(429)]}},
        {"type": "run", "id": 6, "agent_id": "b", "prompt": "p"},
        {"type": "nonsense", "id": 7},
        {"type": "cancel", "id": 8, "target": "nothing"},
        {"type": "tool_result", "id": 9, "call_id": "7", "result": 1},
    ]
    rest = [b"", b"[]", b"{", b"\xff", b"x" * (LIMIT + 1), b'{"type":"ping"}', b""]
    return (
        b"".join(map(encode, commands))
        + b"".join(map(pack, rest))
        + encode({"type": "set_log_level", "id": 10, "level": "info"})
    )


def answers(worker: Worker) -> dict[str, list[Frame]]:
    """What came back by id, without what differs from time to time; between ids there is no order."""
    found: dict[str, list[Frame]] = {}
    for frame in worker.frames:
        if frame["type"] != "log":
            kept = {key: value for key, value in frame.items() if key not in VOLATILE}
            found.setdefault(repr(frame.get("id")), []).append(kept)
    found["None"].sort(key=repr)
    return found


def pieces(data: bytes, how: Any) -> list[bytes]:
    """The bytes whole, one by one, or cut at random."""
    if how == "whole":
        return [data]
    if how == "byte by byte":
        return [data[n : n + 1] for n in range(2000)] + [data[2000:-300]] + [bytes([byte]) for byte in data[-300:]]
    chance, cut = random.Random(how), list[bytes]()
    while data:
        size = chance.choice([1, 2, 3, 4, 5, 7, 100, 5000, 65_537])
        cut.append(data[:size])
        data = data[size:]
    return cut


def test_the_same_bytes_cut_anywhere_give_the_same_answers() -> None:
    """clause: FRAME-SPLIT
    fault: A1
    """
    seen: list[dict[str, list[Frame]]] = []
    for how in ("whole", "byte by byte", 1, 2):
        with Worker("--max-frame-bytes", str(LIMIT)) as worker:
            for piece in pieces(conversation(), how):
                worker.send_raw(piece)
            worker.close_stdin()
            assert worker.wait_exit() == 0
            seen.append(answers(worker))
    assert len(seen[0]) == 10
    assert all(other == seen[0] for other in seen)


def test_a_long_frame_that_trickles_in_takes_no_memory_and_holds_up_nobody() -> None:
    """fault: A5"""
    with Worker() as worker:
        slow = says("ab", chunks=["a", "b"], chunk_delay_ms=300)
        streams = [worker.start_stream(worker.agent([slow])) for _ in range(3)]
        begin = encode({"type": "run", "id": "slow", "agent_id": "nobody", "prompt": "x" * (10 * MIB)})
        forget_peak(worker.pid)
        before = resident_bytes(worker.pid)
        for byte in begin[:2000]:
            worker.send_raw(bytes([byte]))
        # Nothing else can be asked inside a frame, but what runs goes on to its end.
        for stream in streams:
            assert "".join(texts(worker.collect(stream))) == "ab"
        assert resident_bytes(worker.pid, peak=True) - before < 4 * MIB
        worker.send_raw(begin[2000:])
        failed(worker.terminal("slow"), "AgentNotFound")


def test_a_long_frame_in_small_reads_takes_time_in_proportion() -> None:
    """Half a million reads: if each copied what had come before it, that would be 8 TiB, and no end of it.

    fault: A6
    """
    data = encode_frame(bytes(32 * MIB))
    decoder, read = FrameDecoder(32 * MIB), 64
    found = [len(frame) for at in range(0, len(data), read) for frame in decoder.receive(data[at : at + read])]  # pyright: ignore[reportArgumentType]
    assert found == [32 * MIB]


def state_of(pid: int) -> str:
    """The process state, a letter."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("how", ["nonblocking", "pipe"])
def test_interrupted_and_empty_reads_and_writes_lose_nothing(how: Any) -> None:
    """Half a millisecond apart, and with the whole process stopped and going on again.

    fault: A10
    """
    text = "x" * 200_000
    with faulty_worker(stdin=how, stdout=how) as worker:
        agent = worker.agent([calls(("interrupt", {"start": True})), says("on")], tools=[interrupting()])
        succeeded(worker.run(agent))
        echo = worker.agent([says(text)])
        for _ in range(20):
            run = worker.start_run(echo, text)
            os.kill(worker.pid, signal.SIGSTOP)
            while state_of(worker.pid) != "T":
                os.sched_yield()
            os.kill(worker.pid, signal.SIGCONT)
            assert succeeded(worker.terminal(run))["result"] == text
        agent = worker.agent([calls(("interrupt", {"start": False})), says("off")], tools=[interrupting()])
        answer = succeeded(worker.run(agent))
        (ticks,) = [part["content"] for message in answer["messages"] for part in message["parts"] if "outcome" in part]
        assert ticks > 10


def interrupting() -> dict[str, Any]:
    return {"name": "interrupt", "handler": {"python": "faulty.floods:interrupt"}}


def test_a_million_tiny_frames_leave_the_memory_as_it_was() -> None:
    """fault: A10"""
    credit = encode({"type": "credit", "id": "nobody", "n": 1})
    with faulty_worker() as worker:
        run = worker.start_run(worker.agent([says("never", delay_ms=NEVER_MS)]))
        worker.send_raw((pack(b"") * 9 + credit) * 1000)
        succeeded(worker.ask("ping"))
        before = resident_bytes(worker.pid)
        for _ in range(100):
            worker.send_raw(pack(b"") * 9900 + credit * 100, noted=False)
        succeeded(worker.run(faulty_agent(worker, "floods.slow", value=1)))
        assert resident_bytes(worker.pid) - before < 16 * MIB
        assert succeeded(worker.ask("stats"))["result"]["commands"]["credit"] == 11_000
        succeeded(worker.ask("cancel", target=run))
        failed(worker.terminal(run), "Cancelled")
