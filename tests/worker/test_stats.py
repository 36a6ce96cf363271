"""Counters since the start."""

from typing import Any

import pytest

from axon_port.worker import stats as counters
from axon_port.worker.stats import BUCKETS_MS, Histogram, Stats, resident_bytes


def shown(stats: Stats) -> dict[str, object]:
    return stats.as_json(frames={"in": 1, "out": 2}, bytes_={"in": 3, "out": 4}, logs_dropped=5)


def test_a_new_worker_shows_every_counter_at_zero() -> None:
    """clause: LIFE-STATS"""
    found = shown(Stats())
    empty = {"count": 0, "sum": 0.0, "buckets": [[bound, 0] for bound in (*BUCKETS_MS, None)]}
    assert isinstance(found.pop("uptime_ms"), int)
    assert isinstance(found.pop("rss_bytes"), int)
    assert found == {
        "commands": {},
        "runs": {"started": 0, "succeeded": 0, "failed": {}, "cancelled": 0, "inflight": 0},
        "tools": {"calls": 0, "failed": 0, "timed_out": 0, "abandoned": 0},
        "retries": {"model": 0, "tools": 0, "output": 0},
        "tokens": {"input": 0, "output": 0},
        "durations_ms": {"run": empty, "tool": empty},
        "frames": {"in": 1, "out": 2},
        "bytes": {"in": 3, "out": 4},
        "logs_dropped": 5,
        "agents": {},
    }


def test_what_is_counted_is_shown() -> None:
    stats = Stats()
    stats.commands["run"] += 2
    stats.runs_started = 2
    stats.runs_failed["Timeout"] += 1
    stats.tools["calls"] += 3
    stats.retries["model"] += 1
    stats.tokens["input"] += 10
    stats.agent("a").runs += 1
    stats.agent("a").tokens += 7
    found = shown(stats)
    assert found["commands"] == {"run": 2}
    assert found["runs"] == {"started": 2, "succeeded": 0, "failed": {"Timeout": 1}, "cancelled": 0, "inflight": 0}
    assert found["tools"] == {"calls": 3, "failed": 0, "timed_out": 0, "abandoned": 0}
    assert found["agents"] == {"a": {"runs": 1, "tools": 0, "tokens": 7}}


@pytest.mark.parametrize(
    ("milliseconds", "bound"),
    [
        (0, 1),
        (0.5, 1),
        (1, 1),
        (1.01, 2),
        (5, 5),
        (299_999, 300_000),
        (300_000, 300_000),
        (300_001, None),
        (10**9, None),
    ],
)
def test_a_duration_is_counted_at_its_bound_and_above(milliseconds: float, bound: int | None) -> None:
    histogram = Histogram()
    histogram.add(milliseconds)
    found = histogram.as_json()
    first = next(entry[0] for entry in found["buckets"] if entry[1] == 1)
    assert first == bound
    assert (found["count"], found["sum"]) == (1, round(milliseconds, 3))


def test_buckets_are_cumulative_and_end_with_all() -> None:
    histogram = Histogram()
    for milliseconds in (0.1, 3, 3, 70, 10**6):
        histogram.add(milliseconds)
    found = histogram.as_json()
    counts = [count for _, count in found["buckets"]]
    assert counts == sorted(counts)
    assert found["buckets"][-1] == [None, 5]
    assert dict(map(tuple, found["buckets"]))[5] == 3


def test_agents_beyond_the_bound_share_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_AGENTS", 3)
    stats = Stats()
    for number in range(10):
        stats.agent(f"agent-{number}").runs += 1
    stats.agent("agent-0").runs += 1
    found: Any = shown(stats)["agents"]
    assert {name: count["runs"] for name, count in found.items()} == {"agent-0": 2, "agent-1": 1, "agent-2": 1, "…": 7}


def test_resident_memory_is_that_of_a_process_with_an_interpreter() -> None:
    assert 2**20 < resident_bytes() < 2**36


def test_resident_memory_is_known_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_file(*_: object) -> object:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_such_file)
    assert resident_bytes() > 2**20
