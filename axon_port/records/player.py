"""Holds a recorded conversation again, with a fresh worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio

from axon_port.client.launch import Launch
from axon_port.client.process import Process
from axon_port.records.conversation import Conversation, Exchange, Frame, Key
from axon_port.records.pacing import Step, matching
from axon_port.wire import codec
from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize, encode_frame

Progress = Callable[[int], None]

PATIENCE_SECONDS: Final = 10.0
"""How long one step waits for what came before it in the record; then it goes on, and the difference is told."""


class Broken(Exception):
    """The worker of the replay said something that was no frame."""


class Player:
    """Plays steps to one worker. `play` once."""

    def __init__(self, launch: Launch, *, timed: bool = False, patience: float = PATIENCE_SECONDS) -> None:
        """With `timed` no command is sent earlier than it was in the record."""
        self._launch = launch
        self._timed = timed
        self._began = time.monotonic()
        self._patience = patience
        self._heard = Conversation()
        self._news = anyio.Event()
        self._ended = False
        self._answered: set[tuple[Key, str]] = set()

    async def play(self, steps: Sequence[Step], recorded: Conversation, on_step: Progress) -> Conversation:
        """What was said this time. Raises `Broken`, and `WorkerNotStarted` where there is no such program."""
        process = Process(self._launch)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._hear, process)
                for number, step in enumerate(steps, start=1):
                    await self._until(lambda step=step: self._may_go(step))
                    if self._timed:
                        await anyio.sleep(max(0.0, self._began + step.at / 1_000_000 - time.monotonic()))
                    await self._send(process, step)
                    on_step(number)
                await self._until(lambda: self._all_over(recorded))
                tasks.cancel_scope.cancel()
        finally:
            process.kill()
            with anyio.CancelScope(shield=True):
                await process.exited()
            process.close()
        return self._heard

    async def _hear(self, process: Process) -> None:
        decoder = FrameDecoder(self._launch.max_frame_bytes)
        while data := await _read(process):
            for payload in decoder.receive(data):
                if isinstance(payload, Oversize | FramingLost):
                    raise Broken("the worker of the replay wrote something that is no frame")
                frame: Any = codec.decode(payload)
                self._heard.event(frame)
            self._tell()
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _until(self, reached: Callable[[], bool]) -> None:
        with anyio.move_on_after(self._patience):
            while not reached() and not self._ended:
                await self._news.wait()

    def _may_go(self, step: Step) -> bool:
        for key, stage in step.after.items():
            exchange = self._heard.exchanges.get(key)
            if exchange is not None and not exchange.has_come_to(stage):
                return False
        return step.call is None or self._call_of(step, step.call) is not None

    def _all_over(self, recorded: Conversation) -> bool:
        return all(
            not exchange.over or (other := self._heard.exchanges.get(key)) is None or other.over
            for key, exchange in recorded.exchanges.items()
        )

    async def _send(self, process: Process, step: Step) -> None:
        frame = dict(step.frame)
        if step.call is not None and step.key is not None:
            call = self._call_of(step, step.call)
            if call is None:
                return  # it was not made this time, which is told as a difference
            frame["call_id"] = call["call_id"]
            self._answered.add((step.key, call["call_id"]))
        self._heard.command(frame)
        try:
            await process.write(encode_frame(codec.encode(frame)))
        except BrokenPipeError:
            self._ended = True

    def _call_of(self, step: Step, call: Frame) -> Frame | None:
        exchange: Exchange | None = None if step.key is None else self._heard.exchanges.get(step.key)
        if step.key is None or exchange is None:
            return None
        return matching(call, [one for one in exchange.calls if (step.key, one["call_id"]) not in self._answered])


async def _read(process: Process) -> bytes:
    while (data := process.read()) is None:
        await process.readable()
    return data
