"""The soak: a short one, and what it makes of its samples."""

import asyncio
import json
from pathlib import Path

from tests.bench.soak import GROWN_KIB, Sample, slope, soak

RECORDED = Path(__file__).parent / "results" / "soak.json"


def samples(*rss: int) -> list[Sample]:
    return [Sample(60.0 * number, kib, 10, 5, 0, 3) for number, kib in enumerate(rss)]


def test_the_slope_is_that_of_the_line_through_the_samples() -> None:
    assert slope(samples(1000, 1010, 1020, 1030)) == 600
    assert slope(samples(1000, 1020, 1000, 1020)) < 300
    assert slope(samples(1000, 1000)) == 0
    assert slope(samples(1000)) == 0


def test_the_hour_that_was_recorded_lost_nothing_and_left_nothing() -> None:
    """fault: E48"""
    report = json.loads(RECORDED.read_text())
    assert report["seconds"] >= 3600
    assert report["runs"]["started"] >= 100_000
    assert report["problems"] == []
    assert report["grown"] == []
    rows = [Sample(*row) for row in report["samples"]["rows"]]
    later = rows[len(rows) // 2 :]
    assert slope(later) * (later[-1].seconds - later[0].seconds) / 3600 < GROWN_KIB


def test_a_short_soak_loses_nothing_and_leaves_nothing() -> None:
    """The hour is told in `results/soak.json`.

    fault: E48
    """
    report = asyncio.run(soak(minutes=0.05, rate=25, seed=3, warm_s=2))
    assert report["problems"] == []
    assert [line for line in report["grown"] if not line.startswith(("memory", "objects"))] == []
    assert report["runs"]["started"] > 20
    assert report["runs"]["inflight"] == 0
