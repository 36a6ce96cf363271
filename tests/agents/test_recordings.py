"""Recordings of answers: who can read the files. What is in them is shown with providers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from axon_port.agents.allow import Allowed
from axon_port.agents.recordings import Recordings, _append_whole  # pyright: ignore[reportPrivateUsage]
from axon_port.wire.errors import WireError


def recordings(folder: Path) -> Recordings:
    return Recordings(Allowed(recordings=folder), lambda value: value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def test_an_older_recording_that_others_could_read_becomes_private(path: Path) -> None:
    path.write_text("old\n")
    path.chmod(0o644)
    recordings(path.parent).open(path.name)
    assert (mode(path), path.read_text()) == (0o600, "old\n")


def test_a_recording_that_was_removed_is_made_anew_as_private(path: Path) -> None:
    recordings(path.parent).open(path.name)
    assert mode(path) == 0o600
    path.unlink()
    _append_whole(path, b"an answer\n")
    assert (mode(path), path.read_bytes()) == (0o600, b"an answer\n")


def test_a_fifo_that_nobody_reads_is_no_recording(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(WireError, match="cannot be written"):
        recordings(path.parent).open(path.name)
