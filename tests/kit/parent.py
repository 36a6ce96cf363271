"""A parent for hundreds of exchanges at once, on an event loop, for hours if need be.

    async with Parent() as parent:
        stream = parent.open("stream", agent_id="a", prompt="go")
        async for frame in stream:
            ...
        await parent.ask("ping")

`Worker` keeps the whole conversation and serves one thread; a `Parent` keeps nothing but what is open. Every frame
goes through `invariants.Envelope` all the same. Leaving the block closes the input and waits for the orderly end;
whether all was well is asked with `problems`.
"""

import asyncio
import itertools
import os
import subprocess
import tempfile
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .frames import Decoder, Frame, NotAFrame, encode, loads
from .invariants import TERMINAL, Envelope, Key, key_of
from .processes import kill, processes_with, wait_for_end
from .worker import MARK, PROGRAM, REPOSITORY, WorkerGone, scrubbed_environment

PATIENCE_S = 60.0
"""How long an end is waited for: far above what a loaded machine needs."""


class Exchange:
    """A command that was sent, and the frames that come with its id."""

    def __init__(self, command: Mapping[str, Any]) -> None:
        self.command = command
        self.id: str | int = command["id"]
        self.last: Frame | None = None
        self._frames: deque[Frame] = deque()
        self._changed = asyncio.Event()
        self._gone = False

    def take(self, frame: Frame) -> None:
        """A frame for this exchange; logs are not kept."""
        if frame["type"] == "log":
            return
        self._frames.append(frame)
        self._changed.set()

    def lose(self) -> None:
        """The worker has gone: nothing more comes."""
        self._gone = True
        self._changed.set()

    async def next(self) -> Frame:
        """The next frame.

        Raises:
            WorkerGone: the worker's output ended before it.
        """
        while not self._frames:
            if self._gone:
                raise WorkerGone(f"no answer to {self.command!r:.300}")
            self._changed.clear()
            await self._changed.wait()
        frame = self._frames.popleft()
        if frame["type"] in TERMINAL:
            self.last = frame
        return frame

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while self.last is None:
            yield await self.next()

    async def until(self, kind: str) -> Frame:
        """The next frame of a type, or the terminal one where none comes any more; the rest is dropped."""
        async for frame in self:
            if frame["type"] == kind:
                return frame
        assert self.last is not None
        return self.last

    async def end(self) -> Frame:
        """The terminal frame."""
        async for _ in self:
            pass
        assert self.last is not None
        return self.last


class Parent:
    """One worker process and all that its parent waits for."""

    def __init__(
        self, *options: str, pythonpath: Sequence[Path] = (), env: Mapping[str, str | None] | None = None
    ) -> None:
        self._options = options
        self._pythonpath = pythonpath
        self._env = env or {}
        self._mark = f"{MARK}={uuid.uuid4()}"
        self._numbers = itertools.count(1)
        self._decoder = Decoder()
        self._envelope = Envelope()
        self._exchanges: dict[Key, Exchange] = {}
        self._blamed: dict[Key, asyncio.Future[Frame]] = {}
        self._refusals: Counter[str] = Counter()
        self._ended = asyncio.Event()
        self._stalled = False
        self._broken: str | None = None
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.spare_names = deque(f"short-lived {number}" for number in range(500))
        """Names for agents that come and go: taken by whoever needs one, and given back."""
        self.received: Counter[str] = Counter()
        """How many frames of each type have come."""
        self.sent: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        """How many errors of each type have come."""
        self.unclaimed: Counter[str] = Counter()
        """Errors without an id that nobody waited for."""
        self.faults_logged: Counter[str] = Counter()
        """Logs at level error, by logger and the beginning of the message."""
        self.examples: dict[str, Frame] = {}
        """The first log of each of these."""

    async def __aenter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: ASYNC220 - asyncio would watch it by a thread of its own
            [*PROGRAM, *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env=scrubbed_environment(self._env, self._pythonpath, self._mark),
            cwd=REPOSITORY,
            start_new_session=True,
        )
        loop = asyncio.get_running_loop()
        self._input, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, self._process.stdin)
        self._output, _ = await loop.connect_read_pipe(lambda: _Output(self), self._process.stdout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self.returncode is None:
                await self.leave()
        finally:
            self.kill()
            self._input.close()
            self._output.close()
            self._stderr.close()

    # --- the process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def stderr(self) -> str:
        """The end of what came on stderr."""
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode("utf-8", "replace")[-4000:]

    async def leave(self) -> int:
        """Closes the input and waits for the end of the worker; its exit status."""
        self._envelope.input_closed()
        self._input.close()
        return await self.gone()

    async def gone(self) -> int:
        """The exit status, when the worker's output has ended."""
        self.resume()
        async with asyncio.timeout(PATIENCE_S):
            await self._ended.wait()
            return await asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    def kill(self) -> None:
        """Ends whatever is left of the worker and its descendants."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for survivor in self.survivors():
            kill(survivor)

    def survivors(self) -> list[int]:
        """Running processes that came from this worker, itself included."""
        return processes_with(self._mark)

    async def left_behind(self) -> list[int]:
        """The survivors that do not go: the worker's guardian needs a moment to end them, and itself."""
        for survivor in self.survivors():
            with suppress(ProcessLookupError):
                await asyncio.get_running_loop().run_in_executor(None, wait_for_end, survivor, PATIENCE_S)
        return self.survivors()

    # --- what is said

    def new_id(self) -> int:
        """An id that was not used before."""
        return next(self._numbers)

    def send(self, command: Mapping[str, Any]) -> None:
        """Sends a command. What is not an exchange of ours is only followed."""
        self._envelope.sent(command)
        self.sent[str(command.get("type"))] += 1
        self._input.write(encode(command))

    def open(self, kind: str, **fields: Any) -> Exchange:
        """Sends a command with a fresh id, or the `id` given, whose frames then come to the exchange."""
        exchange = Exchange({"type": kind, "id": self.new_id(), **fields})
        self._exchanges[key_of(exchange.id)] = exchange
        self.send(exchange.command)
        return exchange

    async def ask(self, kind: str, **fields: Any) -> Frame:
        """The terminal frame of a command."""
        return await self.open(kind, **fields).end()

    def answer(self, call: Frame, **outcome: Any) -> None:
        """Sends the `tool_result` for a `tool_call`."""
        self.send({"type": "tool_result", "id": call["id"], "call_id": call["call_id"], **outcome})

    def decide(self, request: Frame, *, approved: bool, **more: Any) -> None:
        """Sends the `approval` for an `approval_request`."""
        fields = {"id": request["id"], "call_id": request["call_id"]}
        self.send({"type": "approval", **fields, "approved": approved, **more})

    async def blamed(self, command: Mapping[str, Any]) -> Frame:
        """Sends a wrong answer to a run; the error without an id that names it in `run_id`."""
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._blamed[key_of(command["id"])] = future
        self.send(command)
        return await future

    def send_garbage(self, data: bytes, error_type: str) -> None:
        """Sends bytes that are no command, to which the worker has to say one error of this type, without an id."""
        self._refusals[error_type] += 1
        self._input.write(data)

    # --- how it is listened to

    def stall(self) -> None:
        """Leaves what the worker writes in the pipe."""
        if not self._ended.is_set():
            self._stalled = True
            self._output.pause_reading()

    def resume(self) -> None:
        """Reads on."""
        if self._stalled and not self._ended.is_set():
            self._output.resume_reading()
        self._stalled = False

    @property
    def stalled(self) -> bool:
        return self._stalled

    @property
    def waiting(self) -> int:
        """How many exchanges are open."""
        return len(self._exchanges)

    def problems(self) -> list[str]:
        """What has gone against the contract, and, once the worker has ended in good order, what never came."""
        found = [*self._envelope.problems, *([self._broken] if self._broken else [])]
        if self._ended.is_set() and self.returncode == 0:
            if unanswered := self._envelope.unanswered():
                found.append(f"never answered: {unanswered[:20]}")
            if self._decoder.pending:
                found.append(f"the output ends inside a frame, after {self._decoder.pending} bytes of it")
            found += [f"{count} times never said: {error}" for error, count in (+self._refusals).items()]
        return found + [f"{count} times unasked: {error}" for error, count in self.unclaimed.items()]

    def hear(self, data: bytes) -> None:
        """Bytes of the worker."""
        if self._broken is not None:
            return
        try:
            for payload in self._decoder.feed(data):
                self._take(loads(payload))
        except NotAFrame as problem:
            self._broken = str(problem)
            self.hear_end()

    def hear_end(self) -> None:
        """The worker says no more."""
        self._ended.set()
        for exchange in self._exchanges.values():
            exchange.lose()
        self._exchanges.clear()
        for future in self._blamed.values():
            future.cancel()

    def _take(self, frame: Frame) -> None:
        self._envelope.received(frame)
        kind = str(frame.get("type"))
        self.received[kind] += 1
        if kind == "error":
            self.errors[frame["error_type"]] += 1
        elif kind == "log" and frame.get("level") in ("error", "critical"):
            self._hear_fault(frame)
        key = key_of(frame.get("id"))
        if (exchange := self._exchanges.get(key)) is not None:
            exchange.take(frame)
            if kind in TERMINAL:
                del self._exchanges[key]
        elif kind == "error" and frame.get("id") is None:
            self._take_blame(frame)

    def _hear_fault(self, frame: Frame) -> None:
        what = f"{frame.get('logger')}: {frame.get('message')!s:.60}"
        self.faults_logged[what] += 1
        self.examples.setdefault(what, frame)

    def _take_blame(self, frame: Frame) -> None:
        future = self._blamed.pop(key_of(frame.get("run_id")), None)
        if "run_id" not in frame and self._refusals[frame["error_type"]] > 0:
            self._refusals[frame["error_type"]] -= 1
        elif future is None:
            self.unclaimed[f"{frame.get('error_type')}: {frame.get('message')!s:.120}"] += 1
        else:
            future.set_result(frame)


class _Output(asyncio.Protocol):
    """What the worker writes, as it comes."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def data_received(self, data: bytes) -> None:
        self._parent.hear(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._parent.hear_end()
