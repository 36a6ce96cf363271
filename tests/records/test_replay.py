"""`axon-port replay` and `axon-port timeline` as commands, on records of real workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit import REPOSITORY, Worker, succeeded

WEATHER = {"name": "weather", "parameters": {"type": "object"}}


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "axon_port", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
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


def test_a_worker_that_says_no_frames_is_one_line(record: Path) -> None:
    """clause: REPLAY-COMMAND"""
    done = command("replay", str(record), "--option=--help")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "axon-port replay: the worker of the replay wrote something that is no frame\n"


def test_the_environment_s_options_are_not_for_a_replay(record: Path, tmp_path: Path) -> None:
    """clause: REPLAY-OPTIONS"""
    before = record.read_bytes()
    other = tmp_path / "other"
    done = command("replay", str(record), AXON_PORT_RECORD=str(record), AXON_PORT_MAX_TOOL_CALLS="nonsense")
    assert (done.returncode, record.read_bytes() == before) == (0, True)
    assert command("replay", str(record), f"--option=--record={other}").returncode == 0
    assert other.exists()


@pytest.mark.parametrize("joined", [True, False])
def test_a_replay_does_not_write_over_what_it_plays(record: Path, tmp_path: Path, joined: bool) -> None:
    """clause: REPLAY-OPTIONS"""
    before = record.read_bytes()
    alias = tmp_path / "alias"
    alias.symlink_to(record)
    options = [f"--option=--record={alias}"] if joined else ["--option=--record", f"--option={alias}"]
    done = command("replay", str(record), *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (64, "", 1)
    assert record.read_bytes() == before


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
