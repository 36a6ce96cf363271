"""`axon-port replay` and `axon-port timeline` as commands, on records of real workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit import REPOSITORY, Worker, succeeded

WEATHER = {"name": "weather", "parameters": {"type": "object"}}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "axon_port", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=REPOSITORY,
    )


def script(text: str) -> list[dict[str, Any]]:
    calls = [{"name": "weather", "args": {"city": city}} for city in ("Riga", "Oslo")]
    return [{"tool_calls": calls}, {"chunks": [text[:3], text[3:]]}]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conversation with tools, chunks under credit, an id used twice, errors, and a cancel."""
    path = tmp_path_factory.mktemp("records") / "a record"
    with Worker("--record", str(path), "--max-tool-calls", "2") as worker:
        agent = worker.agent(script("a coat and a hat"), tools=[WEATHER])
        for credit in (None, 1):
            stream = worker.start_stream(agent, credit=credit)
            calls = [worker.wait_for("tool_call", of=stream) for _ in range(2)]
            for call in reversed(calls):
                worker.answer(call, result={"degrees": len(call["args"]["city"])})
            if credit is not None:
                worker.wait_for("chunk", of=stream)
                worker.send({"type": "credit", "id": stream, "n": 10})
            succeeded(worker.terminal(stream))
        for _ in range(2):
            worker.request({"type": "run", "id": "again", "agent_id": "nobody", "prompt": "x"})
        waiting = worker.start_run(agent)
        worker.wait_for("tool_call", of=waiting)
        succeeded(worker.ask("cancel", target=waiting))
        worker.terminal(waiting)
        worker.ask("ping")
    return path


@pytest.mark.parametrize("more", [(), ("--timed",)])
def test_the_same_worker_answers_the_same(record: Path, more: tuple[str, ...]) -> None:
    """clause: REPLAY-COMMAND, REPLAY-PACE, REPLAY-COMPARED"""
    done = command("replay", str(record), *more)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("frames played: all the same\n")


def test_another_answer_is_told_for_people_and_for_programs(record: Path, tmp_path: Path) -> None:
    """clause: REPLAY-COMMAND"""
    changed = tmp_path / "changed"
    # The second piece of the answer: the recorded script says a hat, the recorded results another thing.
    lines = record.read_text().splitlines(keepends=True)
    altered = [
        line.replace("a coat and a hat", "a coat and a cap") if '"type":"result"' in line else line for line in lines
    ]
    changed.write_text("".join(altered))
    done = command("replay", str(changed))
    assert done.returncode == 1
    assert 'recorded  "a coat and a cap"\n  replayed  "a coat and a hat"' in done.stdout
    found = json.loads(command("replay", str(changed), "--json").stdout)
    assert found["frames"] > 10
    assert {one["command"] for one in found["differences"]} == {"stream"}


def test_what_lets_code_in_is_not_taken_from_a_record(tmp_path: Path) -> None:
    """clause: REPLAY-OPTIONS"""
    path = tmp_path / "imports"
    dumps = {"name": "dumps", "parameters": {"type": "object"}, "handler": {"python": "json:dumps"}}
    with Worker("--record", str(path), "--allow-import", "json") as worker:
        agent = worker.agent([{"tool_calls": [{"name": "dumps", "args": {"obj": 1}}]}, {"text": "done"}], tools=[dumps])
        succeeded(worker.run(agent))
    without = command("replay", str(path))
    assert without.returncode == 1
    assert "ImportNotAllowed" in without.stdout
    assert command("replay", str(path), "--option=--allow-import=json").returncode == 0


def test_a_worker_that_cannot_start_is_one_line(record: Path) -> None:
    done = command("replay", str(record), "--option=--no-such-option")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["replay", "timeline"])
def test_what_is_no_record_is_one_line_and_a_status(what: str, tmp_path: Path) -> None:
    """clause: REPLAY-COMMAND, REC-TIMELINE"""
    (tmp_path / "text").write_text("hello\n")
    for path, status in ((tmp_path / "text", 65), (tmp_path / "nowhere", 66)):
        done = command(what, str(path))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
        assert done.stderr.startswith(f"axon-port {what}: ")


def test_a_timeline_is_a_page(record: Path) -> None:
    """clause: REC-TIMELINE"""
    done = command("timeline", str(record))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.count("</script>") == 1
