"""A worker that misbehaves, in the way that its first argument names."""

import json
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

READY = {"type": "ready", "protocol": 1, "pid": os.getpid(), "limits": {"max_frame_bytes": 67108864, "max_inflight": 8}}


def write(data: bytes) -> None:
    os.write(1, data)


def frame(**event: Any) -> bytes:
    payload = json.dumps(event).encode()
    return struct.pack(">I", len(payload)) + payload


def send(**event: Any) -> None:
    write(frame(**event))


def receive() -> dict[str, Any]:
    """The next command. At the end of the input the process ends."""
    length = sys.stdin.buffer.read(4)
    if len(length) < 4:
        sys.exit(0)
    return json.loads(sys.stdin.buffer.read(struct.unpack(">I", length)[0]))


def hang() -> None:
    while True:
        time.sleep(3600)


def answer_all() -> None:
    while True:
        send(type="result", id=receive()["id"], result={})


def exits_at_once() -> None:
    sys.exit(3)


def never_ready() -> None:
    hang()


def other_protocol() -> None:
    # Once there is a caller to be told: before, there would be nobody but the supervisor.
    receive()
    send(**{**READY, "protocol": 2})
    hang()


def no_json() -> None:
    send(**READY)
    receive()
    write(struct.pack(">I", 5) + b"Hello")
    hang()


def no_event() -> None:
    send(**READY)
    receive()
    send(type="result")
    hang()


def dies_in_a_frame() -> None:
    send(**READY)
    receive()
    write(struct.pack(">I", 100) + b'{"type": "result"')
    sys.exit(4)


def text_on_stdout() -> None:
    """Four letters are the length of a frame that never ends."""
    send(**READY)
    receive()
    write(b"Traceback (most recent call last):\n")
    hang()


def silent() -> None:
    send(**READY)
    while True:
        receive()


def deaf() -> None:
    """Neither reads nor notices the end of its input."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    send(**READY)
    hang()


def answers_twice() -> None:
    """Also answers what nobody has asked, and says what no version has said yet."""
    send(**READY)
    command = receive()
    send(type="result", id=4711, result="stray")
    send(type="news", id=command["id"])
    for _ in range(2):
        send(type="result", id=command["id"], result={"first": True})
    answer_all()


def ends_before_its_cancel() -> None:
    """The one run, of an agent that is created first, has ended of itself when its cancel comes."""
    send(**READY)
    send(type="result", id=receive()["id"], result={})
    run = receive()["id"]
    cancel = receive()["id"]
    send(type="result", id=run, result="done", agent_id="a", status="complete", messages=[], usage={})
    send(type="result", id=cancel, result={"cancelled": False})
    answer_all()


def stutters() -> None:
    """Gives each run its deps back, a few bytes at a time."""
    chance = random.Random(1)
    send(**READY)
    while True:
        command = receive()
        answer = frame(type="result", id=command["id"], result=command.get("deps"), agent_id="a", status="complete")
        while answer:
            size = chance.randint(1, 64)
            write(answer[:size])
            answer = answer[size:]


def goodbye_and_stays() -> None:
    send(**READY)
    receive()
    send(type="goodbye", reason="signal")
    hang()


def late_loop() -> None:
    """Pings are answered; they tell of an event loop that somebody blocks."""
    send(**READY)
    while True:
        send(type="result", id=receive()["id"], result={"status": "ok", "loop_lag_ms": 3_600_000})


def complains() -> None:
    """Never ends a run; each answer to its one call is wrong, and it says so."""
    send(**READY)
    send(type="result", id=receive()["id"], result={})  # the agent is created first
    run = receive()["id"]
    send(type="tool_call", id=run, call_id="1", agent_id="a", name="echo", args={})
    receive()
    send(
        type="error", id=None, error_type="InvalidCommand", message="content", retryable=False, run_id=run, call_id="1"
    )
    second = receive()
    send(type="result", id=run, result=second.get("error"), agent_id="a", status="complete")
    answer_all()


WAYS: list[Callable[[], None]] = [
    *(exits_at_once, never_ready, other_protocol, no_json, no_event, dies_in_a_frame, text_on_stdout),
    *(silent, deaf, answers_twice, goodbye_and_stays, late_loop, complains, stutters, ends_before_its_cancel),
]

if __name__ == "__main__":
    {way.__name__: way for way in WAYS}[sys.argv[1]]()
