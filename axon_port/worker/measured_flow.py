"""The chunks of one run, counted, and how long they were held back: for a trace, and only where there is one."""

from __future__ import annotations

import time
from typing import Any

from axon_port.worker.chunk_flow import ChunkFlow
from axon_port.worker.chunks import Chunk


class MeasuredFlow(ChunkFlow):
    """Sums, so that a stream of any length costs one look at the clock each time that it is held back."""

    chunk_bytes: int = 0
    credit_seconds: float = 0.0
    room_seconds: float = 0.0
    _held_for: str | None = None
    _held_since: float = 0.0

    @property
    def chunks(self) -> int:
        return self._queue.sent

    def figures(self) -> dict[str, Any]:
        """What to say of the whole stream; times in seconds. A hold that lasts counts until now."""
        self._hold(None)
        return {
            "axon_port.chunks": self.chunks,
            "axon_port.chunk_bytes": self.chunk_bytes,
            "axon_port.credit_wait": round(self.credit_seconds, 6),
            "axon_port.room_wait": round(self.room_seconds, 6),
        }

    def _flush(self) -> None:
        super()._flush()
        if not self._queue:
            self._hold(None)
        elif self._queue.credit == 0:
            self._hold("credit")
        else:
            self._hold(None if self._outbox.has_room else "room")

    def _hold(self, reason: str | None) -> None:
        if reason == self._held_for:
            return
        now = time.monotonic()
        if self._held_for == "credit":
            self.credit_seconds += now - self._held_since
        elif self._held_for == "room":
            self.room_seconds += now - self._held_since
        self._held_for, self._held_since = reason, now

    def _payload(self, chunk: Chunk) -> bytes:
        payload = super()._payload(chunk)
        self.chunk_bytes += len(payload)
        return payload
