"""The chunks of one run on their way to the pipe: credit and the outbox hold them back (PROTOCOL.md, STREAM-*)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from axon_port.wire import codec, commands
from axon_port.wire.events import halved
from axon_port.worker.chunks import Chunk, ChunkQueue
from axon_port.worker.exchanges import Exchange
from axon_port.worker.outbox import Outbox, call_on

CHUNK_BYTES: Final = 128
"""Bytes of a chunk's frame besides its data and its id, with numbers of twenty digits."""

GROWTH: Final = 4
"""How many times as long a frame can become when it is redacted: ten characters stand for four or more."""

ESCAPED_BYTES: Final = 6
"""Bytes that one character takes at most in JSON."""


class ChunkFlow:
    """Sends what may leave as soon as it may; a `run`, which asked for no events, has none."""

    def __init__(
        self, exchange: Exchange, command: commands.Run | commands.Stream, outbox: Outbox, max_frame_bytes: int
    ) -> None:
        streams = isinstance(command, commands.Stream)
        overhead = CHUNK_BYTES + len(codec.encode(exchange.id))
        self.events: frozenset[str] = frozenset(command.events) if streams else frozenset()
        self._exchange = exchange
        self._outbox = outbox
        self._max_frame_bytes = max_frame_bytes
        self._queue = ChunkQueue(
            command.credit if streams else None, (max_frame_bytes - overhead) // ESCAPED_BYTES, exchange.keys
        )
        self._moved = asyncio.Event()
        self._room_asked = False
        self._credited_at = 0.0

    @property
    def answer_sent(self) -> bool:
        """Whether anything of the model's answer under way has left for the outbox."""
        return self._queue.answer_sent

    @property
    def held_until(self) -> float:
        """See `axon_port.agents.host.Host.held_until`."""
        return asyncio.get_running_loop().time() if self._queue.credit == 0 else self._credited_at

    def begin_answer(self) -> None:
        """What is added from now on is of a new answer."""
        self._queue.begin_answer()
        self._flush()

    def take_back(self) -> None:
        """Drop what waits of the answer under way, unless some of it has left."""
        self._queue.take_back()
        self._flush()

    def add(self, kind: str, step: int, data: Any) -> None:
        if self._outbox.has_room and (chunk := self._queue.pass_on(kind, step, data)) is not None:
            self._send(chunk)
            return
        self._queue.add(kind, step, data)
        self._flush()

    def grant(self, credit: int) -> None:
        """Credit from the parent; nothing happens to a stream that asked for none."""
        self._credited_at = self.held_until
        self._queue.grant(credit)
        self._flush()

    def unlimit(self) -> None:
        """Nobody can give credit any more: what waits may leave."""
        self._credited_at = self.held_until
        self._queue.unlimit()
        self._flush()

    def close_text(self) -> None:
        """The model has said what it says before something else happens: nothing of it need wait."""
        self._queue.close_text()
        self._flush()

    async def drained(self) -> None:
        """Return when every chunk has left for the outbox. Nothing more will be added."""
        self._queue.close_text()
        while self._queue:
            self._moved.clear()
            self._flush()
            if self._queue:
                await self._moved.wait()

    def _flush(self) -> None:
        outbox = self._outbox
        ready = self._queue.ready()
        # Looked at once for both: the writer's thread makes room at any moment.
        while (roomy := outbox.has_room) and (chunk := next(ready, None)) is not None:
            self._send(chunk)
        if not self._queue:
            self._moved.set()
        elif not roomy and not self._room_asked:
            self._room_asked = True
            loop = asyncio.get_running_loop()
            outbox.when_room(lambda: call_on(loop, self._roomy))

    def _roomy(self) -> None:
        self._room_asked = False
        self._flush()

    def _send(self, chunk: Chunk) -> None:
        self._exchange.send(self._payload(chunk), soon=True)

    def _payload(self, chunk: Chunk) -> bytes:
        frame = {
            "type": "chunk",
            "id": self._exchange.id,
            "seq": chunk.seq,
            "step": chunk.step,
            "kind": chunk.kind,
            "data": chunk.data,
        }
        payload = codec.encode(frame)
        if GROWTH * len(payload) > self._max_frame_bytes:
            # Redacted before it is measured: what stands for a short key is longer than the key.
            payload = self._exchange.keys.payload(payload)
        if len(payload) <= self._max_frame_bytes:
            return payload
        if chunk.kind == "output":
            # Whatever its schema says: any value can be one.
            return codec.encode({**frame, "data": {"omitted_bytes": len(payload)}})
        data = _omitted(chunk.data, len(payload))
        emptied = {**frame, "data": data}
        # A model can call a tool by any name.
        return halved(codec.encode(emptied), data, "name", self._max_frame_bytes, lambda: codec.encode(emptied))


def _omitted(data: Any, length: int) -> dict[str, Any]:
    """What stands for a chunk's data that no frame can hold: a call without its arguments or its content."""
    kept = {key: data[key] for key in ("name", "call_id") if key in data}
    return {**kept, **{key: {"omitted_bytes": length} for key in ("args", "content") if key in data}}
