"""What runs leave behind is collected by the bytes that came and went."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from axon_port.worker import leavings
from axon_port.worker.leavings import LEAST_BYTES, SHARE, Leavings
from tests.kit import Worker

from .rig import run_async

PROMPT = "x" * 4_000_000
RUNS = 60


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each call of the collector."""
    calls: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: calls.append(len(calls)))
    return calls


def looks(at: Iterator[int]) -> Leavings:
    return Leavings(lambda: next(at))


def test_the_collector_comes_when_enough_bytes_have_come_and_gone(
    collected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leavings, "resident_bytes", lambda: 0)

    async def main() -> None:
        some = looks(iter([1, LEAST_BYTES - 1, LEAST_BYTES, LEAST_BYTES + 1, 2 * LEAST_BYTES - 1, 2 * LEAST_BYTES]))
        seen: list[int] = []
        for _ in range(6):
            some.look()
            # Not while a run is still ending.
            assert len(collected) == (seen[-1] if seen else 0)
            await asyncio.sleep(0)
            seen.append(len(collected))
        assert seen == [0, 0, 1, 1, 1, 2]

    run_async(main)


def test_in_a_large_process_it_comes_less_often(collected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    large = 10 * SHARE * LEAST_BYTES
    monkeypatch.setattr(leavings, "resident_bytes", lambda: large)

    async def main() -> None:
        some = looks(iter([LEAST_BYTES, LEAST_BYTES + large // SHARE - 1, LEAST_BYTES + large // SHARE]))
        for expected in (1, 1, 2):
            some.look()
            await asyncio.sleep(0)
            assert len(collected) == expected

    run_async(main)


@pytest.mark.parametrize("turn", [{"error": {"status": 500}}, {"delay_ms": 86_400_000}], ids=["fails", "cancelled"])
def test_the_prompts_of_runs_that_ended_badly_do_not_pile_up(turn: dict[str, object]) -> None:
    with Worker() as worker:
        agent = worker.agent([turn])

        def resident() -> int:
            return worker.ask("stats")["result"]["rss_bytes"]

        before, most = resident(), 0
        for _ in range(RUNS):
            run = worker.start_run(agent, PROMPT, messages="none")
            if "delay_ms" in turn:
                worker.ask("cancel", target=run)
            assert worker.terminal(run)["type"] == "error"
            most = max(most, resident())
        assert most - before < RUNS * len(PROMPT) // 2
