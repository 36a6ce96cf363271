"""One table of what is owed an answer, and one way out of it (PROTOCOL.md, ENV-*).

Whoever reads a command claims its id; whoever finishes it settles it. Nothing else sends a terminal frame, so a
command gets exactly one, and no frame with its id follows it, whatever happens in which order and on which thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

from axon_port.wire import codec
from axon_port.wire.errors import WireError
from axon_port.wire.events import Frame, encode_terminal, error_frame, result_frame, result_payloads
from axon_port.wire.words import Id
from axon_port.worker.outbox import Outbox
from axon_port.worker.redaction import Redactor

_logger = logging.getLogger("axon_port.exchanges")

_LAST_WORDS = codec.encode(error_frame(None, WireError("InternalError", "the answer could not be written"))).split(
    b"null"
)


def last_words(frame_id: Id | None) -> bytes:
    """The payload of the terminal frame for when no other can be made: where memory is out, nothing can be encoded."""
    return codec.encode(frame_id).join(_LAST_WORDS)


class Exchange:
    """A command that was read and has not been answered yet."""

    __slots__ = ("_last_words", "_open", "_table", "claimed_ns", "id", "kind")

    def __init__(self, table: Exchanges, frame_id: Id, kind: str) -> None:
        self._table = table
        # The time of day in nanoseconds, as traces count it; 0 where nobody traces.
        self.claimed_ns = time.time_ns() if table.traced else 0
        self._open = True
        self._last_words = last_words(frame_id)
        self.id = frame_id
        self.kind = kind

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def keys(self) -> Redactor:
        """What takes keys out of texts. Who measures a frame has it redacted before: it can grow."""
        return self._table.redactor

    def send(self, payload: bytes, *, soon: bool = False) -> bool:
        """Send an encoded frame with this id that is not the last. False, and nothing sent, after the last one.

        `soon`: see `Outbox.put_all`.
        """
        payload = self._table.redactor.payload(payload)
        outbox = self._table.outbox
        with outbox.lock:
            if self._open:
                outbox.put_all((payload,), soon=soon)
            return self._open

    def settle(self, frame: Frame) -> bool:
        """Send the terminal frame and free the id. False, and nothing sent, where that was done already."""
        payload = self._table.terminal(frame, self._last_words)
        with self._table.lock:
            if not self._open:
                return False
            # Closed first: what a finalizer says while the frame is put is not to come behind it.
            self._open = False
            try:
                self._table.put_last(payload, self._last_words)
            except BaseException:
                self._open = True
                raise
            self._table.release(self)
            return True

    def succeed(self, result: Any) -> None:
        self.settle(result_frame(self.id, result))

    def fail(self, error: WireError, **extra: Any) -> None:
        self.settle(error_frame(self.id, error, **extra))


class Exchanges:
    """The table. Claimed on the reader's thread, settled anywhere. Where runs are `traced` it notes when they came."""

    def __init__(self, outbox: Outbox, redactor: Redactor, max_frame_bytes: int, *, traced: bool = False) -> None:
        self.outbox = outbox
        self.redactor = redactor
        self.max_frame_bytes = max_frame_bytes
        self.traced = traced
        self._open: dict[Id, Exchange] = {}

    @property
    def lock(self) -> threading.RLock:
        """The outbox's: with one of its own, a finalizer that logs could wait for who waits for its thread."""
        return self.outbox.lock

    def __iter__(self) -> Iterator[Exchange]:
        return iter(list(self._open.values()))

    def claim(self, frame_id: Id, kind: str) -> Exchange | None:
        """The exchange of a new command, or None where its id is in use."""
        with self.lock:
            if frame_id in self._open:
                return None
            exchange = self._open[frame_id] = Exchange(self, frame_id, kind)
            return exchange

    def answer(self, frame_ids: Sequence[Id], result: Any) -> list[Id]:
        """Claim, settle and free each id in one, all with the same result, in which nothing is to be redacted.

        The ids that are in use get nothing; they are returned.
        """
        with self.outbox.lock:
            in_use: list[Id] = []
            free = frame_ids
            if not self._open.keys().isdisjoint(frame_ids):
                in_use = [frame_id for frame_id in frame_ids if frame_id in self._open]
                free = [frame_id for frame_id in frame_ids if frame_id not in self._open]
            try:
                self.outbox.put_all(self._answers(free, result))
            except MemoryError:
                self.outbox.put_all([last_words(frame_id) for frame_id in free])
            return in_use

    def _answers(self, frame_ids: Sequence[Id], result: Any) -> list[bytes]:
        payloads = result_payloads(frame_ids, result)
        if max(map(len, payloads), default=0) <= self.max_frame_bytes:
            return payloads
        return [
            payload
            if len(payload) <= self.max_frame_bytes
            else self.terminal(result_frame(frame_id, result), last_words(frame_id))
            for frame_id, payload in zip(frame_ids, payloads, strict=True)
        ]

    def put_last(self, payload: bytes, otherwise: bytes) -> None:
        """Only under the lock: send a terminal frame, or `otherwise` where there is no memory for it."""
        try:
            self.outbox.put(payload)
        except MemoryError:
            self.outbox.put(otherwise)

    def release(self, exchange: Exchange) -> None:
        """Only for `Exchange.settle`, which holds the lock."""
        del self._open[exchange.id]

    def say(self, frame: Frame) -> None:
        """Send a frame that belongs to no exchange: an error with `id: null`, `ready`."""
        self.outbox.put(self.terminal(frame, last_words(None)))

    def say_last(self, frame: Frame) -> None:
        """Send the last frame of all (LIFE-GOODBYE)."""
        self.outbox.close(self.terminal(frame, last_words(None)))

    def terminal(self, frame: Frame, otherwise: bytes) -> bytes:
        """The payload of a last frame, or `otherwise`: a command that was read is always answered."""
        try:
            return self._fitting(frame)
        except Exception:
            with contextlib.suppress(Exception):  # logging is writing too
                _logger.exception("an answer could not be written")
            return otherwise

    def _fitting(self, frame: Frame) -> bytes:
        payload = self.redactor.payload(encode_terminal(frame, self.max_frame_bytes))
        if len(payload) <= self.max_frame_bytes:
            return payload
        # What stands in the place of a short key is longer than the key.
        return encode_terminal(cast("Frame", codec.decode(payload)), self.max_frame_bytes)
