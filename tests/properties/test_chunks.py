"""The chunk queue against a model: nothing lost, nothing out of order, no credit overdrawn.

What leaves is of answers that were not given up, and no chunk is of two answers.
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from axon_port.worker.chunks import ANSWER, Chunk, ChunkQueue

from .profile import bounded

KINDS = st.sampled_from(["text", "thinking", "tool_call", "tool_return"])
JOINED = ("text", "thinking")

Item = tuple[int, str, Any]
"""Step, kind and data."""


class Suspicious:
    """Knows no key, but takes a `0` at the end of a text for the beginning of one."""

    def text(self, text: str) -> str:
        return text

    def begun(self, text: str) -> int:
        return int(text.endswith("0"))


class ChunkMachine(RuleBasedStateMachine):
    """Adds, grants and takes at random. `put` holds what went in and was not given up, `taken` what came out."""

    @initialize(credit=st.one_of(st.none(), st.integers(0, 3)), most=st.integers(1, 6), suspicious=st.booleans())
    def start(self, credit: int | None, most: int, suspicious: bool) -> None:
        self.queue = ChunkQueue(credit, most, Suspicious() if suspicious else None)
        self.suspicious = suspicious
        self.most = most
        self.granted = credit
        self.step = 1
        self.put: list[Item] = []
        self.earlier = 0
        self.begins: list[int] = []
        self.taken: list[Chunk] = []
        self.numbers = 0

    @rule(kind=KINDS, text=st.text(st.characters() | st.just("0"), min_size=1, max_size=9))
    def add(self, kind: str, text: str) -> None:
        self.numbers += 1
        data: Any = text if kind in JOINED else {"n": self.numbers}
        self.put.append((self.step, kind, data))
        self.queue.add(kind, self.step, data)

    @rule(kind=KINDS, text=st.text(st.characters() | st.just("0"), min_size=1, max_size=9))
    def pass_on_or_add(self, kind: str, text: str) -> None:
        chunk = self.queue.pass_on(kind, self.step, text) if kind in JOINED else None
        if chunk is None:
            self.add(kind, text)
        else:
            self.put.append((self.step, kind, text))
            self.taken.append(chunk)

    @rule()
    def next_step(self) -> None:
        self.step += 1

    @rule()
    def begin_answer(self) -> None:
        self.queue.begin_answer()
        self.earlier = len(self.put)
        self.begins.append(len(atoms(self.put)))

    @rule()
    def give_up(self) -> None:
        if not self.answer_is_sent():
            self.put[self.earlier :] = [item for item in self.put[self.earlier :] if item[1] not in ANSWER]
        self.queue.take_back()

    def answer_is_sent(self) -> bool:
        """What was taken is the beginning of what was put: whether it reaches into the answer under way."""
        before = len(atoms(self.put[: self.earlier]))
        return any(kind in ANSWER for _, kind, _ in atoms(map(item_of, self.taken))[before:])

    @rule(credit=st.integers(0, 4))
    def grant(self, credit: int) -> None:
        self.queue.grant(credit)
        if self.granted is not None:
            self.granted += credit

    @rule()
    def unlimit(self) -> None:
        self.queue.unlimit()
        self.granted = None

    @rule(most=st.integers(1, 4))
    def take_some(self, most: int) -> None:
        ready = self.queue.ready()
        for _ in range(most):
            chunk = next(ready, None)
            if chunk is None:
                return
            self.taken.append(chunk)

    @rule()
    def take_all(self) -> None:
        self.taken.extend(self.queue.ready())
        assert not self.queue or self.queue.credit == 0 or self.suspicious

    @invariant()
    def an_answer_is_sent_with_its_first_chunk(self) -> None:
        if hasattr(self, "taken"):
            assert self.queue.answer_sent == self.answer_is_sent()

    @invariant()
    def what_was_taken_is_the_beginning_of_what_was_put(self) -> None:
        if hasattr(self, "taken"):
            taken = atoms(map(item_of, self.taken))
            assert taken == atoms(self.put)[: len(taken)]

    @invariant()
    def no_chunk_is_of_two_answers(self) -> None:
        if hasattr(self, "taken"):
            ends = list(accumulate(len(atoms([item_of(chunk)])) for chunk in self.taken))
            inside = {begin for begin in self.begins if 0 < begin < max(ends, default=0)}
            assert inside <= set(ends)

    @invariant()
    def seq_has_no_gap(self) -> None:
        if hasattr(self, "taken"):
            assert [chunk.seq for chunk in self.taken] == list(range(len(self.taken)))

    @invariant()
    def credit_is_never_overdrawn(self) -> None:
        if hasattr(self, "taken") and self.granted is not None:
            assert len(self.taken) <= self.granted
            assert self.queue.credit == self.granted - len(self.taken)

    @invariant()
    def chunks_are_of_the_length_allowed(self) -> None:
        if hasattr(self, "taken"):
            assert all(len(chunk.data) <= self.most for chunk in self.taken if chunk.kind in JOINED)

    def teardown(self) -> None:
        if not hasattr(self, "taken"):
            return
        self.queue.close_text()
        self.queue.unlimit()
        self.taken.extend(self.queue.ready())
        assert not self.queue
        assert atoms(map(item_of, self.taken)) == atoms(self.put)


def item_of(chunk: Chunk) -> Item:
    return chunk.step, chunk.kind, chunk.data


def atoms(items: Iterable[Item]) -> list[Item]:
    """Deltas letter by letter, so that it does not matter how they were joined and split."""
    return [(step, kind, piece) for step, kind, data in items for piece in (list(data) if kind in JOINED else [data])]


TestChunks = ChunkMachine.TestCase
TestChunks.settings = bounded(300, stateful_step_count=30)


@bounded(300)
@given(st.lists(st.text(max_size=30), max_size=10), st.integers(1, 7), st.lists(st.integers(0, 3), max_size=40))
def test_a_text_survives_any_rhythm_of_credit(pieces: list[str], most: int, grants: list[int]) -> None:
    """clause: STREAM-CREDIT, STREAM-JOIN"""
    queue = ChunkQueue(0, most)
    taken: list[Chunk] = []
    waiting = list(pieces)
    for credit in grants:
        if waiting:
            queue.add("text", 1, waiting.pop(0))
        queue.grant(credit)
        taken.extend(queue.ready())
    for piece in waiting:
        queue.add("text", 1, piece)
    queue.unlimit()
    taken.extend(queue.ready())
    assert "".join(chunk.data for chunk in taken) == "".join(pieces)
