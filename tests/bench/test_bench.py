"""The benchmark runs to its end and says what it found; what it found is not judged here."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.__main__ import main


def test_a_quick_session_ends_with_tables_and_a_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, drawing = tmp_path / "figures.json", tmp_path / "figures.svg"
    options = ["--quick", "--repeats", "1", "--json", str(figures), "--svg", str(drawing)]
    assert main([*options, "--only", "ping", "run", "--peers", "axon-port", "in-process"]) == 0
    told = capsys.readouterr().out
    assert "| workload | axon-port | pydantic-ai in process |" in told
    assert "| ping, one at a time: p50, µs |" in told
    assert "| run, p50 | at most 1.05 × in-process |" in told
    taken = {(taken["workload"], taken["peer"]) for taken in json.loads(figures.read_text())["figures"]}
    assert {("ping", "axon-port"), ("run", "axon-port"), ("run", "in-process")} <= taken
    assert ElementTree.fromstring(drawing.read_text()).tag.endswith("svg")
