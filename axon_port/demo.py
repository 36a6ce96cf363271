"""`axon-port demo`: a worker as a child, and what crosses the pipe, for a person to read (PROTOCOL.md, DEMO-*).

This is a parent: it starts a worker with pipes, sends commands, and checks every frame that comes back. What a worker
can say at all is the business of the client's session, what it should say here is known to the scenes; pydantic-ai is
the child's.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, Final, TextIO, cast

from axon_port.client.errors import CommandError, ProtocolViolation
from axon_port.client.launch import without_options
from axon_port.client.session import Session
from axon_port.terminal import painted, takes_colours

FRAME_SECONDS: Final = 20.0
"""For each frame that is waited for; the slowest is the first answer of an agent on a cold disk."""

MAX_FRAME_BYTES: Final = 1024 * 1024
"""No frame of this demo comes near it: a longer one is a fault."""

FIELD_CHARACTERS: Final = 66
"""Of one field, before it is cut: a line should fit a screen."""

PLAIN_WIDTH: Final = 160
"""Of a line where there is no terminal to ask."""

_READ_BYTES: Final = 65_536

Frame = dict[str, Any]


class Surprise(Exception):
    """Something crossed the pipe that should not have, or did not come. The text says what."""


def demo(out: TextIO) -> int:
    """Play every scene with a worker of our own. Exit status 0 only if every frame was right, else 1."""
    page = Page.for_output(out)
    try:
        frames = _play(page)
    except Surprise as surprise:
        page.verdict(f"That was not right: {surprise}", good=False)
        return 1
    except BrokenPipeError:
        # `axon-port demo | head`: the reader has seen enough, and Python must not fail at exit over what is buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 1
    page.verdict(f"{frames} frames, each of them right; the worker has gone with exit status 0.", good=True)
    return 0


def _play(page: Page) -> int:
    page.say(
        "axon-port demo: one process, one pipe, no key, no network. Each line is a frame (4 bytes of length, JSON)."
    )
    page.say(f"{page.sent} from the parent to the worker    {page.received} from the worker to the parent")
    with Child() as child:
        talk = Talk(child, page)
        for scene in SCENES:
            page.title(scene.sentence)
            scene.play(talk)
        status = child.ended()
    if status != 0:
        raise Surprise(f"the worker ended with status {status}")
    return talk.frames


# --- scenes


def _start(talk: Talk) -> None:
    ready = talk.hear(type="ready", protocol=1, pid=talk.child.pid)
    if set(ready["limits"]) != {"max_frame_bytes", "max_inflight", "max_tool_calls"}:
        raise Surprise(f"`ready` names other limits: {ready['limits']!r}")
    pong = talk.hear(type="result", id=talk.send("ping"))
    if pong["result"]["status"] != "ok":
        raise Surprise(f"the ping was answered with {pong['result']!r}")


def _run(talk: Talk) -> None:
    _create(talk, "greeter", [{"text": "Good morning! I came through a pipe."}])
    run = talk.send("run", agent_id="greeter", prompt="Say hello")
    done = talk.hear(type="result", id=run, status="complete", result="Good morning! I came through a pipe.")
    if [message["kind"] for message in done["messages"]] != ["request", "response"]:
        raise Surprise("the run's messages are not one request and one response")


def _stream(talk: Talk) -> None:
    pieces = ["One ", "piece ", "after ", "the ", "other."]
    _create(talk, "poet", [{"chunks": pieces}])
    stream = talk.send("stream", agent_id="poet", prompt="Recite", credit=2)
    heard = [talk.hear(type="chunk", id=stream, seq=seq, kind="text")["data"] for seq in (0, 1)]
    page = talk.page
    page.say("  Its credit is used up: the worker keeps the rest, and stays awake.")
    talk.hear(type="result", id=talk.send("ping"))
    page.say("  More credit; what came meanwhile has been joined.")
    talk.grant(stream, 10)
    while (frame := talk.hear(id=stream))["type"] == "chunk":
        talk.check(frame, {"seq": len(heard), "kind": "text"})
        heard.append(frame["data"])
    talk.check(frame, {"type": "result", "result": "".join(pieces)})
    if "".join(heard) != "".join(pieces):
        raise Surprise(f"the chunks make {''.join(heard)!r}")


def _tool(talk: Talk) -> None:
    parameters = {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]}
    bad, good = ({"name": "track", "args": {"order": order}} for order in ("seven", 7))
    script = [{"tool_calls": [bad]}, {"tool_calls": [good]}, {"text": "Order 7 is in Riga."}]
    _create(talk, "support", script, tools=[{"name": "track", "parameters": parameters}])
    run = talk.send("run", agent_id="support", prompt="Where is order 7?")
    call = talk.hear(type="tool_call", id=run, name="track", args={"order": 7})
    talk.answer("tool_result", call, result={"city": "Riga"})
    done = talk.hear(type="result", id=run, result="Order 7 is in Riga.")
    talk.check(done["usage"], {"requests": 3, "tool_calls": 1})


def _structured(talk: Talk) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    _create(talk, "clerk", [{"output": {"town": "Riga"}}, {"output": {"city": "Riga"}}], output_schema=schema)
    done = talk.hear(type="result", id=talk.send("run", agent_id="clerk", prompt="Where?"), result={"city": "Riga"})
    talk.check(done["usage"], {"requests": 2})


def _approval(talk: Talk) -> None:
    script = [{"tool_calls": [{"name": "refund", "args": {"euro": 900}}]}, {"text": "You get 90 euro back."}]
    tool = {"name": "refund", "parameters": {"type": "object"}, "requires_approval": True}
    _create(talk, "cashier", script, tools=[tool])
    run = talk.send("run", agent_id="cashier", prompt="I want my money back")
    asked = talk.hear(type="approval_request", id=run, name="refund", args={"euro": 900})
    talk.answer("approval", asked, approved=True, args={"euro": 90})
    call = talk.hear(type="tool_call", id=run, call_id=asked["call_id"], args={"euro": 90})
    talk.answer("tool_result", call, result="paid")
    talk.hear(type="result", id=run, result="You get 90 euro back.")


def _deferral(talk: Talk) -> None:
    script = [{"tool_calls": [{"name": "inspect", "args": {"parcel": 7}}]}]
    tool = {"name": "inspect", "parameters": {"type": "object"}, "handler": "deferred"}
    _create(talk, "customs", script, tools=[tool])
    run = talk.send("run", agent_id="customs", prompt="Look into parcel 7")
    left = talk.hear(type="result", id=run, status="deferred", result=None)
    (call,) = left["deferred"]["calls"]
    talk.check(call, {"name": "inspect", "args": {"parcel": 7}})
    talk.page.say("  A day later, in this worker or another one: the messages, and what was found.")
    run = talk.send(
        "run",
        agent_id="customs",
        message_history=left["messages"],
        deferred_results={call["call_id"]: {"result": "a cat"}},
        model={"script": [{"text": "There is a cat in it."}]},
    )
    talk.hear(type="result", id=run, status="complete", result="There is a cat in it.")


def _failure(talk: Talk) -> None:
    busy = {"error": {"status": 429, "message": "slow down", "retry_after_ms": 1500}}
    _create(talk, "popular", [busy])
    run = talk.send("run", agent_id="popular", prompt="Hello?")
    failed = talk.hear(type="error", id=run, error_type="ModelHTTPError", retryable=True, retry_after_ms=1500)
    talk.check(failed["details"], {"status_code": 429})
    run = talk.send("run", agent_id="nobody", prompt="Hello?")
    talk.hear(type="error", id=run, error_type="AgentNotFound", retryable=False)


def _cancel(talk: Talk) -> None:
    _create(talk, "thinker", [{"delay_ms": 3_600_000, "text": "42"}])
    run = talk.send("run", agent_id="thinker", prompt="Think about it for an hour")
    cancel = talk.send("cancel", target=run)
    first = talk.hear()
    second = talk.hear()
    ended, answered = (first, second) if first.get("id") == run else (second, first)
    talk.check(ended, {"type": "error", "id": run, "error_type": "Cancelled", "retryable": False})
    talk.check(answered, {"type": "result", "id": cancel, "result": {"cancelled": True}})


def _end(talk: Talk) -> None:
    talk.hear(type="result", id=talk.send("shutdown"), result={})
    talk.hear(type="goodbye", reason="shutdown")


@dataclass(frozen=True, slots=True)
class Scene:
    sentence: str
    play: Callable[[Talk], None]


SCENES: Final = (
    Scene("The worker says what it is, and answers a ping before pydantic-ai is imported.", _start),
    Scene("An agent is data. This one has a scripted model: the same answer every time.", _run),
    Scene("A stream comes in chunks, and only as many as the parent has given credit for.", _stream),
    Scene("The model calls a tool, wrongly at first: only arguments that meet the schema reach the parent.", _tool),
    Scene("A result with a schema: what does not meet it goes back to the model.", _structured),
    Scene("A call that needs a person's word, who also lowers the sum.", _approval),
    Scene("A call that takes a day: the run ends, and another one goes on from its messages.", _deferral),
    Scene("Failures have names, and say whether it is worth trying again.", _failure),
    Scene("An hour is too long: the run is cancelled, and both get their answer.", _cancel),
    Scene("An orderly end.", _end),
)


def _create(talk: Talk, agent_id: str, script: list[Frame], **fields: Any) -> None:
    created = talk.send("create_agent", agent_id=agent_id, model={"script": script}, **fields)
    talk.check(talk.hear(type="result", id=created)["result"], {"agent_id": agent_id, "model": "script"})


# --- the two ends of the pipe


class Child:
    """A worker process and its pipes. Leaving the block ends it, whatever it does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "axon_port"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=without_options()
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise Surprise("the worker has no pipes")
        self._into, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._from, select.POLLIN)
        self._frames: deque[Frame] = deque()
        self.session = Session[None](MAX_FRAME_BYTES)
        self.pid = self._process.pid

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def send(self, data: bytes) -> None:
        # Whole, because all frames of this demo together fit into the pipe.
        try:
            os.write(self._into, data)
        except BrokenPipeError:
            raise Surprise("the worker does not read any more") from None

    def receive(self) -> Frame:
        """The next frame. Raises `Surprise` when none comes in time, or none can come."""
        deadline = time.monotonic() + FRAME_SECONDS
        while not self._frames:
            self._read(deadline)
        return self._frames.popleft()

    def ended(self) -> int:
        """The exit status, when nothing more has come."""
        deadline = time.monotonic() + FRAME_SECONDS
        self._wait_for_output(deadline)
        if self._frames or os.read(self._from, 1):
            raise Surprise("something came after the goodbye")
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Surprise("the worker said goodbye and stayed") from None

    def _read(self, deadline: float) -> None:
        self._wait_for_output(deadline)
        data = os.read(self._from, _READ_BYTES)
        if not data:
            raise Surprise("the worker has closed its output")
        try:
            self._frames.extend(heard.frame for heard in self.session.receive(data))
        except ProtocolViolation as violation:
            raise Surprise(violation.message) from None

    def _wait_for_output(self, deadline: float) -> None:
        if not self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise Surprise(f"nothing came for {FRAME_SECONDS:g} s")


class Talk:
    """The conversation: what is said is shown, what is heard is shown and checked."""

    def __init__(self, child: Child, page: Page) -> None:
        self.child = child
        self.page = page
        self.frames = 0

    def send(self, kind: str, **fields: Any) -> int:
        """Send a command with an id of its own; the id."""
        try:
            request, data = self.child.session.request(kind, fields, None)
        except CommandError as error:
            raise Surprise(f"the worker says that it could not take this command: {error}") from None
        self._sent({"type": kind, "id": request, **fields}, data)
        return request

    def answer(self, kind: str, call: Frame, **fields: Any) -> None:
        """Send the answer to a call or to a request for approval."""
        frame: Frame = {"type": kind, "id": call["id"], "call_id": call["call_id"], **fields}
        self._sent(frame, self.child.session.answer(call["id"], call["call_id"], kind, fields))

    def grant(self, stream: int, n: int) -> None:
        """Let `n` more chunks of a stream come."""
        self._sent({"type": "credit", "id": stream, "n": n}, self.child.session.grant(stream, n))

    def _sent(self, frame: Frame, data: bytes | None) -> None:
        if data is None:
            raise Surprise(f"nobody waits for the `{frame['type']}` any more")
        self.page.frame(frame, self.page.sent)
        self.frames += 1
        self.child.send(data)

    def hear(self, **expected: Any) -> Frame:
        """The next frame that is no log. Raises `Surprise` where it differs from what is expected."""
        while True:
            frame = self.child.receive()
            self.frames += 1
            self.page.frame(frame, self.page.received)
            if frame.get("type") != "log":
                break
        self.check(frame, expected)
        return frame

    def check(self, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        """Whether each field has the value expected. Raises `Surprise`."""
        for name, value in expected.items():
            if name not in found or found[name] != value:
                raise Surprise(f"`{name}` should be {value!r} and is {found.get(name)!r}")


# --- what it looks like


@dataclass(frozen=True, slots=True)
class Page:
    """An output, and what can be shown on it."""

    out: TextIO
    width: int
    colours: bool
    sent: str
    received: str
    more: str

    @classmethod
    def for_output(cls, out: TextIO) -> Page:
        """Colours on a terminal only; other signs where the encoding lacks arrows."""
        terminal = out.isatty()
        colours = takes_colours(out)
        width = max(60, shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns) if terminal else PLAIN_WIDTH
        arrows = ("→", "←", "…")
        try:
            "".join(arrows).encode(out.encoding or "utf-8")
        except UnicodeEncodeError:
            arrows = ("->", "<-", "...")
        return cls(out, width, colours, *arrows)

    def say(self, text: str) -> None:
        print(text, file=self.out, flush=True)

    def title(self, text: str) -> None:
        self.say(f"\n{self._painted(text, '1')}")

    def verdict(self, text: str, *, good: bool) -> None:
        self.say(f"\n{self._painted(text, '1;32' if good else '1;31')}")

    def frame(self, frame: Frame, arrow: str) -> None:
        """One line, long fields cut."""
        text = "{" + ", ".join(self._field(name, value) for name, value in frame.items()) + "}"
        room = self.width - len(arrow) - 3
        if len(text) > room:
            text = text[: room - len(self.more)] + self.more
        colour = "36" if arrow == self.sent else "31" if frame.get("type") == "error" else "33"
        self.say(f"  {self._painted(arrow, colour)} {self._painted(text, colour)}")

    def _field(self, name: str, value: object) -> str:
        if name == "run_id" and isinstance(value, str):
            return f'"{name}": "{value[:8]}{self.more}"'
        return f'"{name}": {self._brief(value)}'

    def _brief(self, value: object, room: int = FIELD_CHARACTERS) -> str:
        text = json.dumps(value)
        if len(text) <= room:
            return text
        if isinstance(value, str):
            return json.dumps(value[:room])[:-1] + self.more + '"'
        if isinstance(value, dict):
            fields = cast("Frame", value)
            inner = ", ".join(f'"{name}": {self._brief(child, room - len(name) - 6)}' for name, child in fields.items())
            return f"{{{inner}}}" if len(inner) <= room else f"{{{_counted(fields, 'field')}}}"
        return f"[{_counted(cast('Sized', value), 'item')}]"

    def _painted(self, text: str, colour: str) -> str:
        return painted(text, colour, wanted=self.colours)


def _counted(things: Sized, noun: str) -> str:
    return f"1 {noun}" if len(things) == 1 else f"{len(things)} {noun}s"
