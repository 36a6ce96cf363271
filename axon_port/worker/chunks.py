"""The chunks of one stream: what may leave, what must wait, what is joined (PROTOCOL.md, STREAM-*).

No I/O: bytes of credit and of text in, chunks out. While nothing may leave, neighbouring deltas of one kind are
joined, so that a slow parent gets fewer, longer chunks and nothing is lost; what waits is bounded by the answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

JOINED: Final = frozenset({"text", "thinking"})
"""Kinds whose data are deltas; of `output`, each a growing whole, the latest stands for those before it."""


@runtime_checkable
class Growing(Protocol):
    """Data that is evaluated only when it leaves."""

    def value(self) -> tuple[bool, Any]: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    seq: int
    step: int
    kind: str
    data: Any


@dataclass(slots=True)
class _Waiting:
    step: int
    kind: str
    data: Any
    pieces: list[str] = field(default_factory=list[str])


class ChunkQueue:
    """Chunks on their way out. `credit` None means without limit."""

    def __init__(self, credit: int | None, max_characters: int) -> None:
        self.credit = credit
        self._max = max(1, max_characters)
        self._waiting: deque[_Waiting] = deque()
        self._seq = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, kind: str, step: int, data: Any) -> None:
        last = self._waiting[-1] if self._waiting else None
        if last is None or last.kind != kind or last.step != step:
            pieces = [data] if kind in JOINED else []
            self._waiting.append(_Waiting(step, kind, data, pieces))
        elif kind in JOINED:
            last.pieces.append(data)
        elif kind == "output":
            last.data = data
        else:
            self._waiting.append(_Waiting(step, kind, data))

    def grant(self, credit: int) -> None:
        """More chunks may leave. A stream without flow control has no use for it."""
        if self.credit is not None:
            self.credit += credit

    def unlimit(self) -> None:
        """Nobody can give credit any more."""
        self.credit = None

    def ready(self) -> Iterator[Chunk]:
        """The chunks that may leave now, each at the cost of one credit."""
        while self._waiting and self.credit != 0:
            data = self._next_data()
            if data is None:
                continue
            step, kind, value = data
            if self.credit is not None:
                self.credit -= 1
            chunk = Chunk(self._seq, step, kind, value)
            self._seq += 1
            yield chunk

    def _next_data(self) -> tuple[int, str, Any] | None:
        first = self._waiting[0]
        if first.kind in JOINED:
            text = "".join(first.pieces)
            if len(text) > self._max:
                first.pieces = [text[self._max :]]
                return first.step, first.kind, text[: self._max]
            self._waiting.popleft()
            return first.step, first.kind, text
        self._waiting.popleft()
        if isinstance(first.data, Growing):
            known, value = first.data.value()
            return (first.step, first.kind, value) if known else None
        return first.step, first.kind, first.data
