"""The fuzz targets, for a few seconds and the same every time; `python -m tests.fuzz.decoder` goes on for longer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from axon_port.wire.commands import COMMANDS, parse_command

from . import commands, decoder, engine, served

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("seed", range(4))
def test_the_decoder_holds_its_promises(seed: int) -> None:
    assert engine.search("decoder", decoder.target, engine.mutated, seed=seed, runs=4000).tried == 4000


@pytest.mark.parametrize("seed", range(4))
def test_commands_hold_their_promises(seed: int) -> None:
    assert engine.search("commands", commands.target, commands.changed, seed=seed, runs=1200).tried == 1200


def test_every_command_of_the_corpus_is_a_command_and_every_command_is_in_it() -> None:
    import json

    kinds = {type(parse_command(json.loads(line))) for line in commands.all_lines() if b"1e400" not in line}
    assert kinds == set(COMMANDS.values())


def test_a_real_worker_takes_whatever_comes_and_still_serves() -> None:
    done = served.serve(1000, seed=1)
    assert done.frames >= 1000
    assert done.answered > 500


def test_coverage_is_measured_of_the_functions_and_methods_of_a_module() -> None:
    names = {function.__qualname__ for function in engine.functions_of("axon_port.wire.framing")}
    assert {"FrameDecoder.receive", "encode_frame"} <= names
    assert all(list(engine.functions_of(module)) for module in engine.OURS)


@pytest.mark.parametrize("name", ["decoder", "commands"])
def test_a_target_can_be_searched_by_coverage(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the extra `fuzz` is not installed")
    before = sorted((engine.CORPUS / name).iterdir())
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", f"tests.fuzz.{name}", "--runs", "300", "--seed", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"stat::number_of_executed_units: 300" in done.stderr
    assert sorted((engine.CORPUS / name).iterdir()) == before


@pytest.mark.parametrize("name", ["decoder", "commands"])
def test_a_target_can_be_run_by_itself(name: str) -> None:
    command = [sys.executable, "-m", f"tests.fuzz.{name}", "--seconds", "0.2", "--seed", "1", "--plain"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(f"{name}: ".encode())


def test_an_input_that_breaks_a_target_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.tempfile, "gettempdir", lambda: str(tmp_path))

    def breaks(_data: bytes) -> None:
        raise AssertionError("broken")

    with pytest.raises(AssertionError, match="broken"):
        engine.search("decoder", breaks, engine.mutated, runs=1)
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == engine.corpus("decoder")[0]
