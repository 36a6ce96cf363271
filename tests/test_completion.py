"""`axon-port completion`: the scripts say what the parser knows, and bash understands them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from axon_port.cli import LEVELS, _parser  # pyright: ignore[reportPrivateUsage]
from axon_port.completion import SHELLS, commands_of
from tests.beam.programs import needed

COMMANDS = commands_of(_parser())


@cache
def script(shell: str) -> str:
    command = [sys.executable, "-m", "axon_port", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def completed(line: str, directory: Path) -> list[str]:
    """What bash, which takes an equals sign for a word, offers for the last word of a line."""
    words = [word for word in re.split(r" |(=)", line) if word is not None]
    words = words[:-1] if words[-2:] == ["=", ""] else words
    source = f"""
    source /dev/stdin
    COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
    _axon_port
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = [needed("bash"), "--norc", "-c", source]
    done = subprocess.run(
        command, input=script("bash"), cwd=directory, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines() if done.stdout.strip() else []


def test_the_parser_is_read_wholly() -> None:
    program, *rest = COMMANDS
    assert {"--version", "--max-inflight", "--allow-import"} <= {option.flag for option in program.options}
    (level,) = [option for option in program.options if option.flag == "--log-level"]
    assert (level.takes_value, level.choices) == (True, tuple(LEVELS))
    assert {command.name for command in rest} == set(program.words) >= {"demo", "doctor", "completion"}
    assert all(command.help for command in rest)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_the_script(shell: str) -> None:
    """clause: SHELL-COMPLETION"""
    text = script(shell)
    for command in COMMANDS:
        assert command.name in text
        for option in command.options:
            assert (option.flag if shell != "fish" else f"-l {option.flag[2:]} ") in text


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("axon-port --max-i", ["--max-inflight"]),
        ("axon-port doc", ["doctor"]),
        ("axon-port doctor --j", ["--json"]),
        ("axon-port --max-inflight 3 doctor --endpoi", ["--endpoints", "--endpoint"]),
        ("axon-port --log-level ", list(LEVELS)),
        ("axon-port --log-level=", list(LEVELS)),
        ("axon-port --log-level=de", ["debug"]),
        ("axon-port --max-inflight ", []),
        ("axon-port completion ", ["bash", "fish", "zsh", "--help"]),
        ("axon-port completion b", ["bash"]),
        ("axon-port nonsense", []),
        ("axon-port replay monday", ["monday 7.jsonl"]),
        ("axon-port timeline ", ["--help", "monday 7.jsonl"]),
    ],
)
def test_bash_offers_what_can_stand_there(line: str, offered: list[str], tmp_path: Path) -> None:
    """clause: SHELL-COMPLETION"""
    (tmp_path / "monday 7.jsonl").touch()
    assert completed(line, tmp_path) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_read_their_scripts(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    path = tmp_path / "script"
    path.write_text(script(shell))
    subprocess.run([shell, "-n", path], check=True, timeout=60)


def test_no_word_of_a_help_text_ends_a_quotation() -> None:
    for shell in ("zsh", "fish"):
        for line in script(shell).splitlines():
            assert line.startswith("#") or line.count("'") % 2 == 0, line
