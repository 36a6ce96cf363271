"""A measurement as data: what is asked of a peer, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Op = Literal["ping", "run", "stream", "tool", "prompt", "answer", "history"]

Holding = Literal["agents", "runs"]


@dataclass(frozen=True, slots=True)
class Task:
    """`count` operations, `inflight` of them at a time.

    `size` is the operation's own: deltas of a stream, bytes of a prompt or an answer, messages of a history. With
    `batch` the next `inflight` leave in one write when the last of those before has come. `busy` runs are kept in
    flight besides, and not measured. Before each operation `pause` seconds pass, which are not measured either.
    """

    op: Op
    count: int = 1
    inflight: int = 1
    size: int = 0
    batch: bool = False
    busy: int = 0
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen, in seconds. `cpu` is that of the peer's process, `driver_cpu` that of whoever asked."""

    latencies: list[float] = field(repr=False)
    wall: float
    cpu: float
    driver_cpu: float = 0.0

    @staticmethod
    def from_json(value: dict[str, Any]) -> Sample:
        return Sample(value["latencies"], value["wall"], value["cpu"], value.get("driver_cpu", 0.0))


class PeerFailed(Exception):
    """A peer answered with an error, or not at all."""
