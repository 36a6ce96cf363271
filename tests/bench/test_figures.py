"""The figures in the README are those of the last whole session."""

import json
from pathlib import Path

from tests.bench.targets import TARGETS
from tests.kit import REPOSITORY

RESULTS = Path(__file__).parent / "results"


def rows_of(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")}


def test_every_row_of_the_readme_is_one_of_the_session() -> None:
    speed = (REPOSITORY / "README.md").read_text().partition("## Speed\n")[2].partition("\n## ")[0]
    told = rows_of(speed)
    assert len(told) > len(TARGETS)
    assert told <= rows_of((RESULTS / "figures.md").read_text())


def test_the_session_looked_at_every_target() -> None:
    session = json.loads((RESULTS / "figures.json").read_text())
    assert session["failures"] == []
    assert [(one["workload"], one["metric"], one["wanted"]) for one in session["targets"]] == [
        (target.workload, target.metric, target.text) for target in TARGETS
    ]
