"""What the tap tells its host of an answer, and when the answer counts as sent."""

from typing import Any

from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta, ThinkingPart
from pydantic_ai.models import ModelRequestParameters

from axon_port.agents.host import ChunkKind
from axon_port.agents.tap import RunTap

from .stand_ins import Desk


class Counter(Desk):
    """A host that keeps chunks until they are let out."""

    def __init__(self, *wanted: ChunkKind) -> None:
        super().__init__()
        self._wanted = wanted
        self._sent = False
        self.waits: list[tuple[str, int, Any]] = []

    def wants(self, kind: ChunkKind) -> bool:
        return kind in self._wanted

    def chunk(self, kind: ChunkKind, step: int, data: Any) -> None:
        self.waits.append((kind, step, data))

    def let_out(self) -> None:
        self.waits.clear()
        self._sent = True

    def begin_answer(self) -> None:
        self._sent = False

    def held_until(self) -> float:
        return 0.0

    def answer_sent(self) -> bool:
        return self._sent

    def take_back(self) -> None:
        self.waits.clear()


def tapped(host: Counter) -> RunTap:
    """A tap that has heard the beginning of an answer."""
    tap = RunTap(host, None, streaming=True)
    tap.begin_step()
    tap.begin_answer(ModelRequestParameters())
    tap.hear(PartStartEvent(index=0, part=ThinkingPart("hm")))
    tap.hear(PartStartEvent(index=1, part=TextPart("Hel")))
    tap.hear(PartDeltaEvent(index=1, delta=TextPartDelta("lo")))
    return tap


def test_what_waits_at_the_host_is_not_sent() -> None:
    """clause: MODEL-RETRY"""
    host = Counter("text")
    tap = tapped(host)
    assert host.waits == [("text", 1, "Hel"), ("text", 1, "lo")]
    assert not tap.sent
    host.let_out()
    assert tap.sent
    tap.begin_answer(ModelRequestParameters())
    assert not tap.sent


def test_what_waits_at_the_host_can_be_taken_back() -> None:
    """clause: MODEL-RETRY"""
    host = Counter("text", "thinking")
    tap = tapped(host)
    assert len(host.waits) == 3
    tap.take_back()
    assert host.waits == []


def test_of_an_answer_that_nobody_wants_nothing_is_sent() -> None:
    """clause: STREAM-EVENTS"""
    host = Counter()
    assert not tapped(host).sent
    assert host.waits == []
