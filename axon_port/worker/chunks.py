"""The chunks of one stream: what may leave, what must wait, what is joined (PROTOCOL.md, STREAM-*).

No I/O: bytes of credit and of text in, chunks out. While nothing may leave, neighbouring deltas of one kind are
joined, so that a slow parent gets fewer, longer chunks and nothing is lost; what waits is bounded by the answer.
The end of a text that may be the beginning of a key waits for what follows it: two halves of a key in two chunks
would be told as they are. What waits of an answer of which nothing has left can be taken back: the model may then be
asked again (MODEL-RETRY).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple, Protocol, cast, runtime_checkable

JOINED: Final = frozenset({"text", "thinking"})
"""Kinds whose data are deltas; of `output`, each a growing whole, the latest stands for those before it."""

ANSWER: Final = JOINED | {"output"}
"""Kinds that are pieces of an answer while the model gives it; the others tell of what it asked for."""

_LATER: Final = (0, "", None)
"""Instead of kind, … of what leaves: nothing may leave now. Told from data by its identity."""

_NOTHING: Final = object()


@runtime_checkable
class Growing(Protocol):
    """Data that is evaluated only when it leaves."""

    def value(self) -> tuple[bool, Any]: ...


class Chunk(NamedTuple):
    seq: int
    step: int
    kind: str
    data: Any


class Keys(Protocol):
    """What knows the keys that no text may hold."""

    def text(self, text: str) -> str: ...

    def begun(self, text: str) -> int: ...


class _NoKeys:
    def text(self, text: str) -> str:
        return text

    def begun(self, text: str) -> int:
        return 0


@dataclass(slots=True)
class _Text:
    """Deltas that wait. Each is redacted once, however many chunks they leave in."""

    deltas: list[str]
    _clean: deque[str] = field(default_factory=deque[str])
    _taken: int = 0
    """Characters of the first of the clean ones that have left."""
    held: str = ""
    """The end that may be the beginning of a key."""

    def settle(self, keys: Keys, *, follows: bool) -> None:
        """Find out what may leave. What may be the beginning of a key may not, as long as something follows."""
        text = self.held + "".join(self.deltas)
        self.deltas.clear()
        free = len(text) - (_unsettled(text, keys) if follows else 0)
        if free:
            self._clean.append(keys.text(text[:free]))
        self.held = text[free:]

    @property
    def is_settled(self) -> bool:
        """Whether all that may leave has left."""
        return not self._clean

    @property
    def is_empty(self) -> bool:
        return not self._clean and not self.held

    def take(self, most: int) -> str:
        """The next of what may leave."""
        pieces: list[str] = []
        while self._clean and most:
            piece = self._clean[0][self._taken : self._taken + most]
            pieces.append(piece)
            most -= len(piece)
            self._taken += len(piece)
            if self._taken == len(self._clean[0]):
                self._clean.popleft()
                self._taken = 0
        return "".join(pieces)


@dataclass(slots=True)
class _Waiting:
    step: int
    kind: str
    data: Any
    closed: int
    """How often texts had been closed when this came: once more, and it is whole."""
    held: Any = _NOTHING
    answer: int | None = None


class ChunkQueue:
    """Chunks on their way out. `credit` None means without limit."""

    def __init__(self, credit: int | None, max_characters: int, keys: Keys | None = None) -> None:
        self.credit = credit
        self._keys: Keys = keys or _NoKeys()
        self._max = max(1, max_characters)
        self._waiting: deque[_Waiting] = deque()
        self._tails: dict[str, _Waiting] = {}
        """What may be the beginning of a key, of kinds that another one has followed: their next delta tells."""
        self._closed = 0
        self._step = 0
        self._seq = 0
        self._answer = 0
        self._answer_sent = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def sent(self) -> int:
        """How many chunks have left."""
        return self._seq

    @property
    def answer_sent(self) -> bool:
        """Whether anything of the answer under way has left."""
        return self._answer_sent

    def begin_answer(self) -> None:
        """What waits is of earlier answers: what comes is not joined to it."""
        self.close_text()
        self._answer += 1
        self._answer_sent = False

    def take_back(self) -> None:
        """Drop what waits of the answer under way, unless some of it has left."""
        if not self._answer_sent:
            self._waiting = deque(one for one in self._waiting if one.answer != self._answer)
            self._tails.clear()

    def add(self, kind: str, step: int, data: Any) -> None:
        if step != self._step or kind not in ANSWER:
            self.close_text()
            self._step = step
        last = self._waiting[-1] if self._waiting else None
        if last is None or last.kind != kind or self._is_whole(last):
            self._append(kind, step, data)
        else:
            _go_on(last, data)

    def pass_on(self, kind: str, step: int, data: Any) -> Chunk | None:
        """The chunk of a delta that may leave as it came; None, and nothing done, where it is to be added."""
        if self._waiting or self._tails or self.credit == 0 or kind not in JOINED:
            return None
        text = self._keys.text(data)
        # One key may be the beginning of another: what was taken out can have been half of what must be.
        if not text or len(text) > self._max or self._keys.begun(data):
            return None
        return self._leaving(step, kind, text, self._answer)

    def grant(self, credit: int) -> None:
        """More chunks may leave. A stream without flow control has no use for it."""
        if self.credit is not None:
            self.credit += credit

    def close_text(self) -> None:
        """What was added is whole: it need not wait for what follows."""
        self._waiting.extend(self._tails.values())
        self._tails.clear()
        self._closed += 1

    def unlimit(self) -> None:
        """Nobody can give credit any more."""
        self.credit = None

    def ready(self) -> Iterator[Chunk]:
        """The chunks that may leave now, each at the cost of one credit."""
        while self._waiting and self.credit != 0:
            answer = self._waiting[0].answer
            data = self._next_data()
            if data is _LATER:
                return
            if data is None:
                continue
            yield self._leaving(*data, answer)

    def _leaving(self, step: int, kind: str, data: Any, answer: int | None) -> Chunk:
        if self.credit is not None:
            self.credit -= 1
        chunk = Chunk(self._seq, step, kind, data)
        self._seq += 1
        self._answer_sent = self._answer_sent or answer == self._answer
        return chunk

    def _append(self, kind: str, step: int, data: Any) -> None:
        if (tail := self._tails.pop(kind, None)) is not None:
            _go_on(tail, data)
            self._waiting.append(tail)
            return
        answer = self._answer if kind in ANSWER else None
        content = _Text([data]) if kind in JOINED else data
        self._waiting.append(_Waiting(step, kind, content, self._closed, answer=answer))

    def _is_whole(self, waiting: _Waiting) -> bool:
        return waiting.closed < self._closed

    def _continuation(self, first: _Waiting) -> _Waiting | None:
        """What waits of the same text behind another kind."""
        behind = takewhile(lambda one: one.closed == first.closed, islice(self._waiting, 1, None))
        return next((one for one in behind if one.kind == first.kind), None)

    def _next_data(self) -> tuple[int, str, Any] | None:
        first = self._waiting[0]
        if first.kind in JOINED:
            return self._next_text(first)
        if isinstance(first.data, Growing):
            return self._next_value(first, first.data)
        self._waiting.popleft()
        return first.step, first.kind, first.data

    def _next_value(self, first: _Waiting, growing: Growing) -> tuple[int, str, Any] | None:
        known, value = growing.value()
        value = value if known else first.held
        if self._keys.begun(_last_text(value)):
            if self._continuation(first) is not None:
                # It stands for this one too.
                self._waiting.popleft()
                return None
            if not self._is_whole(first):
                first.held = value
                return None if self._hold(first) else _LATER
        self._waiting.popleft()
        return None if value is _NOTHING else (first.step, first.kind, value)

    def _next_text(self, first: _Waiting) -> tuple[int, str, Any] | None:
        waiting: _Text = first.data
        if waiting.deltas or waiting.is_settled:
            follows = not self._is_whole(first) or self._continuation(first) is not None
            waiting.settle(self._keys, follows=follows)
        text = waiting.take(self._max)
        if waiting.is_settled and not self._let_go(first, waiting) and not text:
            return _LATER
        return (first.step, first.kind, text) if text else None

    def _let_go(self, first: _Waiting, waiting: _Text) -> bool:
        """Whether the first makes room for another: all that may leave of it has left."""
        if waiting.is_empty:
            self._waiting.popleft()
        elif (goes_on := self._continuation(first)) is not None:
            goes_on.data.deltas.insert(0, waiting.held)
            self._waiting.popleft()
        elif not self._is_whole(first):
            return self._hold(first)
        return True

    def _hold(self, first: _Waiting) -> bool:
        """Have the first wait for what follows it; whether another kind can go before it."""
        if len(self._waiting) == 1:
            return False
        self._tails[first.kind] = self._waiting.popleft()
        return True


def _go_on(waiting: _Waiting, data: Any) -> None:
    """What waits of an answer takes more of its kind: a delta, or a whole that stands for it."""
    if waiting.kind in JOINED:
        waiting.data.deltas.append(data)
    else:
        waiting.data = data


def _unsettled(text: str, keys: Keys) -> int:
    """How many characters at the end of `text` have to wait: the beginning of a key, and every key that overlaps it."""
    waits = keys.begun(text)
    while 0 < waits < len(text) and keys.text(text[:-waits]) + keys.text(text[-waits:]) != keys.text(text):
        waits += 1
    return waits


def _last_text(value: Any) -> str:
    """The text at the end of a value as JSON is written: the one that may still be growing."""
    while isinstance(value, dict | list) and value:
        value = cast("list[Any]", list(value.values()) if isinstance(value, dict) else value)[-1]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportUnknownArgumentType]
    return value if isinstance(value, str) else ""
