"""What the commands show at a terminal, and do not show elsewhere."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.beam.programs import environment
from tests.kit import Worker, encode
from tests.kit.terminal import at_a_terminal, read_terminal

AXON_PORT = [sys.executable, "-m", "axon_port"]
TIMEOUT = 120.0
ESCAPE = "\N{ESCAPE}["
ADVICE = "waiting for frames, which nobody types"


def shown(*arguments: str, status: int = 0, variables: Mapping[str, str] | None = None) -> str:
    """What a command writes to a terminal."""
    inherited = {name: value for name, value in environment().items() if name != "NO_COLOR"}
    env = {**inherited, "TERM": "xterm", **(variables or {})}
    with at_a_terminal([*AXON_PORT, *arguments], env) as (process, terminal):
        text = read_terminal(terminal)
        assert process.wait(TIMEOUT) == status, text
    return text


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commands, of which one will be answered otherwise in a replay."""
    path = tmp_path_factory.mktemp("terminal") / "record"
    with Worker("--record", str(path)) as worker:
        worker.run(worker.agent([{"text": "a coat"}]))
        worker.ask("ping")
    path.write_text(path.read_text().replace('"result":"a coat"', '"result":"a hat"'))
    return path


def test_a_replay_tells_how_far_it_is_and_what_differs_in_colours(record: Path) -> None:
    text = shown("replay", str(record), status=1)
    assert "\r1 of 3 commands\r" in text
    assert text.index("3 of 3 commands") < text.index("a hat")
    assert f'recorded  {ESCAPE}31m"a hat"{ESCAPE}0m' in text
    assert f'replayed  {ESCAPE}32m"a coat"{ESCAPE}0m' in text


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_terminal_may_want_no_colours(record: Path, plain: dict[str, str]) -> None:
    assert f"{ESCAPE}3" not in shown("replay", str(record), status=1, variables=plain)
    assert ESCAPE not in shown("doctor", variables=plain)


def test_the_doctor_uses_colours() -> None:
    assert f"{ESCAPE}32mok" in shown("doctor")


def test_who_starts_a_worker_by_hand_is_told_what_it_waits_for() -> None:
    """clause: OPT-TEXT"""
    with at_a_terminal(AXON_PORT, environment(), types=True) as (process, terminal):
        os.write(terminal, b"\x04")
        text = read_terminal(terminal)
        assert process.wait(TIMEOUT) == 0
    assert text.count(ADVICE) == 1
    assert '"reason":"eof"' in text


def test_a_program_that_speaks_through_a_terminal_gets_nothing_but_frames() -> None:
    """clause: STDIO-FRAMES, STDIO-KINDS"""
    with at_a_terminal(AXON_PORT, environment(), types=True, raw=True) as (process, terminal):
        os.write(terminal, encode({"type": "shutdown", "id": 1}))
        text = read_terminal(terminal)
        assert process.wait(TIMEOUT) == 0
    assert text.startswith("\0\0\0")
    assert ADVICE not in text
