"""The chunk queue against a model: nothing lost, nothing out of order, no credit overdrawn."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from axon_port.worker.chunks import Chunk, ChunkQueue

from .profile import bounded

KINDS = st.sampled_from(["text", "thinking", "tool_call", "tool_return"])
JOINED = ("text", "thinking")


class ChunkMachine(RuleBasedStateMachine):
    """Adds, grants and takes at random. `given` holds what went in, `taken` what came out."""

    @initialize(credit=st.one_of(st.none(), st.integers(0, 3)), most=st.integers(1, 6))
    def start(self, credit: int | None, most: int) -> None:
        self.queue = ChunkQueue(credit, most)
        self.most = most
        self.granted = credit
        self.step = 1
        self.put: list[tuple[int, str, Any]] = []
        self.taken: list[Chunk] = []
        self.numbers = 0

    @rule(kind=KINDS, text=st.text(max_size=9))
    def add(self, kind: str, text: str) -> None:
        self.numbers += 1
        data: Any = text if kind in JOINED else {"n": self.numbers}
        self.put.append((self.step, kind, data))
        self.queue.add(kind, self.step, data)

    @rule()
    def next_step(self) -> None:
        self.step += 1

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
        assert not self.queue or self.queue.credit == 0

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
        self.queue.unlimit()
        self.taken.extend(self.queue.ready())
        assert not self.queue
        assert runs((chunk.step, chunk.kind, chunk.data) for chunk in self.taken) == runs(self.put)


def runs(items: Any) -> list[tuple[int, str, Any]]:
    """Neighbouring deltas of one kind and step as one: what a reader makes of them."""
    found: list[tuple[int, str, Any]] = []
    for step, kind, data in items:
        if kind in JOINED and found and found[-1][:2] == (step, kind):
            found[-1] = (step, kind, found[-1][2] + data)
        else:
            found.append((step, kind, data))
    return [item for item in found if item[2] != ""]


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
