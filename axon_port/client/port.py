"""One life of a worker: a process, its pipes and the session on them.

`live` runs from the start of the process to its end. One task reads and settles, one writes whole frames in order;
neither waits for a caller or a callback. Whatever ends the process, every request has exactly one fate when `live`
returns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import anyio.lowlevel

from axon_port.client.calls import THREADS, approval, log, tool_result
from axon_port.client.errors import CommandError, ProtocolViolation, WorkerGone, WorkerNotStarted
from axon_port.client.exchange import Exchange, Frame
from axon_port.client.launch import Launch
from axon_port.client.logs import tell
from axon_port.client.process import Process
from axon_port.client.results import Call
from axon_port.client.session import Heard, Session

HIGH_BYTES: Final = 1024 * 1024
"""Of commands waiting for the pipe: further ones wait to be made. A worker reads always, so this is seldom reached."""

GONE_SECONDS: Final = 5.0
"""For a process that has closed one of its pipes to end of itself."""

ENDED: Final = WorkerGone("the worker was ended")

REFUSED: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "tool_result": lambda why: {"error": f"the tool's answer could not be sent: {why}"},
    "approval": lambda why: {"approved": False, "message": f"the approval could not be sent: {why}"},
}
"""What is said in place of an answer that cannot be: the call must not wait for ever."""


class Port:
    """Commands go in by `ask`, and their fates come to the `Exchange` that was given."""

    def __init__(self, launch: Launch) -> None:
        """Start the process. Raises `WorkerNotStarted` where there is no such program."""
        self._launch = launch
        self._session = Session[Exchange](launch.max_frame_bytes)
        self._process = Process(launch)
        self._outbox: deque[bytes] = deque()
        self._queued = 0
        self._work = asyncio.Event()
        self._roomy = asyncio.Event()
        self._ready = asyncio.Event()
        self._deaf = False
        self._exited = asyncio.Event()
        self._late = False
        self._violation: ProtocolViolation | None = None
        self._waiting_for_output = anyio.CancelScope()
        self._threads = anyio.CapacityLimiter(THREADS)
        self._callbacks: set[asyncio.Task[None]] = set()
        """What keeps them alive: the loop does not."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ready(self) -> Frame:
        """The worker's `ready` frame; empty before it has come."""
        return self._session.ready

    @property
    def serving(self) -> bool:
        """Whether a command that is sent now may be answered."""
        return self._session.phase == "serving" and not self._deaf

    # --- for callers

    async def until_ready(self) -> None:
        """Returns when the worker is ready, or has gone."""
        await self._ready.wait()

    async def ask(self, kind: str, fields: Mapping[str, Any], exchange: Exchange) -> bool:
        """Send a command; False where it was not sent, because nobody listens any more.

        Raises what `Session.request` does. A caller that is cancelled while it waits here has sent nothing.
        """
        while self.serving and self._queued > HIGH_BYTES:
            self._roomy.clear()
            await self._roomy.wait()
        if not self.serving:
            return False
        exchange.id, data = self._session.request(kind, fields, exchange)
        self._put(data)
        return True

    def grant(self, exchange: Exchange, n: int) -> None:
        """Let `n` more chunks of a stream come."""
        if data := self._session.grant(exchange.id, n):
            self._put(data)

    def abandon(self, exchange: Exchange) -> None:
        """Nobody waits for this run any more: have it cancelled."""
        if exchange.id and not exchange.settled and self.serving:
            _, data = self._session.request("cancel", {"target": exchange.id}, Exchange())
            self._put(data)

    def kill(self) -> None:
        self._process.kill()

    # --- one life

    async def live(self) -> WorkerGone:
        """Serve until the process has ended; why it did. Whoever cancels this kills it."""
        gone = ENDED
        try:
            async with anyio.create_task_group() as tasks:
                for task in (self._write, self._watch_start, self._watch_input, self._watch_end):
                    tasks.start_soon(task)
                await self._read()
                if self._violation is None:
                    with anyio.move_on_after(GONE_SECONDS):
                        await self._exited.wait()
                tasks.cancel_scope.cancel()
        finally:
            self.kill()
            with anyio.CancelScope(shield=True):
                gone = self._reason(await self._process.exited())
            self._end(gone)
        return gone

    def _end(self, gone: WorkerGone) -> None:
        for exchange in self._session.close():
            exchange.settle(gone.again())
        self._ready.set()
        self._roomy.set()
        self._process.close()

    def _reason(self, status: int) -> WorkerGone:
        how = f"was killed by signal {-status}" if status < 0 else f"has gone with exit status {status}"
        if self._violation is not None:
            return ProtocolViolation(self._violation.message, status)
        if self._late:
            return WorkerNotStarted(f"no `ready` came within {self._launch.start_timeout:g} s", status)
        if not self.ready:
            return WorkerNotStarted(f"the worker {how} before it was ready: is this an axon-port?", status)
        if self._session.inside_frame:
            return WorkerGone(f"the worker {how}, in the middle of a frame", status)
        return WorkerGone(f"the worker {how}", status)

    async def _read(self) -> None:
        """Hear everything until the end of the output, or of the process, or until it breaks the protocol."""
        while True:
            data = self._process.read()
            if data is None:
                if self._exited.is_set():
                    return  # all that it wrote has been read; what holds the pipe open is no worker
                with anyio.CancelScope() as self._waiting_for_output:
                    await self._process.readable()
                continue
            if not data:
                return
            try:
                for heard in self._session.receive(data):
                    self._dispatch(heard)
            except ProtocolViolation as violation:
                self._violation = violation
                return
            await anyio.lowlevel.checkpoint()  # a worker that floods must not starve the others

    async def _watch_start(self) -> None:
        with anyio.move_on_after(self._launch.start_timeout):
            await self._ready.wait()
        if not self.ready:
            self._late = True
            self.kill()

    async def _watch_end(self) -> None:
        await self._process.exited()
        self._exited.set()
        self._waiting_for_output.cancel()

    async def _write(self) -> None:
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                data = b"".join(self._outbox)
                self._outbox.clear()
                await self._process.write(data)
                self._queued -= len(data)
                self._roomy.set()
        except BrokenPipeError:
            return  # `_watch_input` sees to it

    async def _watch_input(self) -> None:
        await self._process.unheard()
        # What it has still to say may come, then it has to go.
        self._deaf = True
        self._roomy.set()
        await anyio.sleep(GONE_SECONDS)
        self.kill()

    def _put(self, data: bytes) -> None:
        self._outbox.append(data)
        self._queued += len(data)
        self._work.set()

    # --- what the worker says

    def _dispatch(self, heard: Heard[Exchange]) -> None:
        frame, exchange = heard
        match frame["type"]:
            case "ready":
                self._ready.set()
            case "log":
                tell(frame, self.pid)
            case "result" | "error" if exchange is not None and frame["id"] is not None:
                exchange.settle(frame)
            case "error":
                self._complaint(frame, exchange)
            case "chunk" if exchange is not None:
                exchange.chunk(frame)
            case "tool_call" | "approval_request" if exchange is not None:
                self._start_answer(exchange, frame)
            case "tool_cancel" if exchange is not None:
                if task := exchange.calls.get(frame["call_id"]):
                    task.cancel()
            case _:
                pass

    def _start_answer(self, exchange: Exchange, frame: Frame) -> None:
        """Ask a callback, in a task that nobody waits for: one that swallows its cancellation holds up nothing."""
        call = Call(frame["agent_id"], frame["call_id"], frame["name"], frame["args"])
        answer = self._answer if frame["type"] == "tool_call" else self._decide
        task = asyncio.create_task(answer(exchange, call), name=f"{frame['type']} {call.name}")
        exchange.calls[call.call_id] = task
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def _answer(self, exchange: Exchange, call: Call) -> None:
        fields = await tool_result(exchange, call, self._threads)
        self._send_answer(exchange, call.call_id, "tool_result", fields)

    async def _decide(self, exchange: Exchange, call: Call) -> None:
        fields = await approval(exchange.callbacks, call)
        self._send_answer(exchange, call.call_id, "approval", fields)

    def _send_answer(self, exchange: Exchange, call_id: str, kind: str, fields: Mapping[str, Any]) -> None:
        try:
            data = self._session.answer(exchange.id, call_id, kind, fields)
        except (CommandError, TypeError) as error:
            log.exception("the answer to call %s could not be sent", call_id)
            exchange.raised = error
            data = self._session.answer(exchange.id, call_id, kind, REFUSED[kind](type(error).__name__))
        if data is not None:
            self._put(data)

    def _complaint(self, frame: Frame, exchange: Exchange | None) -> None:
        log.error("the worker refused what it was told: %s: %s", frame["error_type"], frame["message"])
        if exchange is None:
            return
        kind = "approval" if self._session.call_state(exchange.id, frame["call_id"]) == "asked" else "tool_result"
        self._send_answer(exchange, frame["call_id"], kind, REFUSED[kind](frame["message"]))
