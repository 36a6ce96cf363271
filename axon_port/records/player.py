"""Holds a recorded conversation again, with a fresh worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import anyio

from axon_port.client.launch import Launch
from axon_port.records.conversation import Call, Conversation, Frame, Key, Stage
from axon_port.records.ending import Ending
from axon_port.records.pacing import Step, matching
from axon_port.records.subject import Subject
from axon_port.wire import codec
from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize, encode_frame

Progress = Callable[[int], None]

PATIENCE_SECONDS: Final = 10.0
"""How long one step waits for what came before it in the record, or longer where that took long then; after that the
replay goes on, and the difference is told."""

SLOWER: Final = 2
"""How many times as long as in the record it may take."""


class Broken(Exception):
    """The worker of the replay said something that was no frame."""


class Player:
    """Plays a recorded conversation to one worker. `play` once."""

    def __init__(
        self, launch: Launch, recorded: Conversation, *, timed: bool = False, patience: float = PATIENCE_SECONDS
    ) -> None:
        """With `timed` no command is sent earlier than it was in the record."""
        self._launch = launch
        self._recorded = recorded
        self._timed = timed
        self._began = time.monotonic()
        self._patience = patience
        self._heard = Conversation()
        self._news = anyio.Event()
        self._ended = False
        self._broken = False

    async def play(self, steps: Sequence[Step], ending: Ending, on_step: Progress) -> Conversation:
        """What was said this time. Raises `Broken`, and `WorkerNotStarted` where there is no such program."""
        process = Subject(self._launch)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._hear, process, tasks.cancel_scope)
                last = await self._play_steps(process, steps, on_step)
                await self._end(process, ending, ending.at - last)
                tasks.cancel_scope.cancel()
        finally:
            process.kill()
            with anyio.CancelScope(shield=True):
                await process.exited()
            process.close()
        if self._broken:
            raise Broken("the worker of the replay wrote something that is no frame")
        return self._heard

    async def _play_steps(self, process: Subject, steps: Sequence[Step], on_step: Progress) -> int:
        """When, in the record, the last one was sent."""
        last = 0
        for number, step in enumerate(steps, start=1):
            await self._until(lambda step=step: self._may_go(step), step.at - last)
            if self._timed:
                await anyio.sleep(max(0.0, self._began + step.at / 1_000_000 - time.monotonic()))
            await self._send(process, step)
            on_step(number)
            last = step.at
        return last

    async def _end(self, process: Subject, ending: Ending, gap: int) -> None:
        if ending.cause is None:
            await self._until(self._all_over, gap)
            return
        await self._until(lambda: self._has_come(ending.after), gap)
        process.bring_to_end(ending.cause)
        await self._until(lambda: False, gap)

    async def _hear(self, process: Subject, whole: anyio.CancelScope) -> None:
        decoder = FrameDecoder(self._launch.max_frame_bytes)
        while not self._ended and (data := await _read(process)):
            for payload in decoder.receive(data):
                self._take(payload)
            self._tell()
        self._ended = True
        self._tell()
        if self._broken:
            # Such a worker may not read either, and a command would wait for it for ever.
            whole.cancel()

    def _take(self, payload: bytes | bytearray | Oversize | FramingLost) -> None:
        frame = _frame(payload)
        if frame is None:
            self._broken = self._ended = True
            return
        self._heard.event(frame)
        # A descendant may hold the pipe open for longer.
        self._ended = self._ended or frame.get("type") == "goodbye"

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _until(self, reached: Callable[[], bool], gap: int) -> None:
        """`gap` is how many microseconds it took in the record."""
        with anyio.move_on_after(max(self._patience, SLOWER * gap / 1_000_000)):
            while not reached() and not self._ended:
                await self._news.wait()

    def _may_go(self, step: Step) -> bool:
        return self._has_come(step.after) and (step.call is None or self._call_of(step, step.call) is not None)

    def _has_come(self, after: Mapping[Key, Stage]) -> bool:
        heard = self._heard.exchanges
        return all(key not in heard or heard[key].has_come_to(stage) for key, stage in after.items())

    def _all_over(self) -> bool:
        over = {key: Stage(0, begun=False, over=one.over) for key, one in self._recorded.exchanges.items()}
        return self._has_come(over) and len(self._heard.loose) >= len(self._recorded.loose)

    async def _send(self, process: Subject, step: Step) -> None:
        frame = dict(step.frame)
        if step.call is not None:
            call = self._call_of(step, step.call)
            if call is None:
                return  # it was not made this time, which is told as a difference
            frame["call_id"] = call["call_id"]
        self._heard.command(frame)
        try:
            await process.write(encode_frame(codec.encode(frame)))
        except BrokenPipeError:
            self._ended = True

    def _call_of(self, step: Step, call: Call) -> Frame | None:
        if step.key is None or (exchange := self._heard.exchanges.get(step.key)) is None:
            return None
        return matching(call, self._recorded.exchanges[step.key], exchange)


async def _read(process: Subject) -> bytes:
    while (data := process.read()) is None:
        await process.readable()
    return data


def _frame(payload: bytes | bytearray | Oversize | FramingLost) -> Frame | None:
    if isinstance(payload, Oversize | FramingLost):
        return None
    try:
        value = codec.decode(payload)
    except ValueError:
        return None
    return cast("Frame", value) if isinstance(value, dict) else None
