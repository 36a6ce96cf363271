"""The recorder: nobody waits for its disk."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from axon_port.wire.record import Entry, read_record
from axon_port.worker import recorder as recorders
from axon_port.worker.recorder import Recorder
from axon_port.worker.redaction import Redactor
from tests.kit import REPOSITORY

from .rig import SECONDS

FORKED = """
import os, sys
from pathlib import Path
from axon_port.worker.recorder import Recorder
from axon_port.worker.redaction import Redactor

path = Path(sys.argv[1])
recorder = Recorder(path, Redactor({}), {})
told, tell = os.pipe()
begun, begin = os.pipe()
child = os.fork()
if child == 0:
    os.close(tell)
    os.write(begin, b"!")
    os.read(told, 1)
    os._exit(0)
os.read(begun, 1)
recorder.start(lambda _error: os._exit(1))
recorder.close(60.0)
Recorder(path, Redactor({}), {})
os.close(tell)
os.waitpid(child, 0)
"""
"""Records again while a forked child of the first recorder lives."""


def test_frames_that_the_disk_cannot_take_in_time_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clause: REC-DISK"""
    monkeypatch.setattr(recorders, "WAITING_BYTES", 100)
    pipe = tmp_path / "slow disk"
    os.mkfifo(pipe)
    read: list[Entry] = []

    def read_all() -> None:
        with pipe.open("rb") as lines:
            begun.set()
            proceed.wait(SECONDS)
            read.extend(read_record(lines)[1])

    begun, proceed = threading.Event(), threading.Event()
    # A recorder does not wait for a reader, so that there has to be one before it.
    held = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    recorder = Recorder(pipe, Redactor({}), {})
    reader = threading.Thread(target=read_all)
    reader.start()
    failures: list[OSError] = []
    recorder.start(failures.append)
    begun.wait(SECONDS)
    os.close(held)
    # More than a pipe holds: the recorder's thread waits in its write, and the rest piles up.
    recorder.said(b'{"text":"%s"}' % (b"x" * 80))
    for number in range(50_000):
        recorder.said(b'{"number": %d}' % number)
    proceed.set()
    recorder.close(SECONDS)
    reader.join(SECONDS)
    kept = [entry.frame["number"] for entry in read if "number" in entry.frame]
    left_out = sum(entry.frame.get("left_out_frames", 0) for entry in read)
    assert kept == sorted(kept)
    assert left_out > 0
    assert len(kept) + left_out == 50_000
    assert failures == []


def test_times_are_taken_where_nobody_can_come_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads tell of frames, and times never go back. clause: REC-FORM"""
    recorder = Recorder(tmp_path / "record", Redactor({}), {})
    came_between: list[bool] = []

    def somebody_else() -> None:
        came_between.append(recorder.lock.acquire(blocking=False))

    def clock() -> int:
        other = threading.Thread(target=somebody_else)
        other.start()
        other.join(SECONDS)
        return 0

    monkeypatch.setattr(recorders.time, "monotonic_ns", clock)
    recorder.heard(b'{"id": 1}')
    recorder.said(b'{"id": 2}')
    assert came_between == [False, False]


def test_nothing_is_recorded_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "record"
    recorder = Recorder(path, Redactor({}), {})
    failures: list[OSError] = []
    recorder.start(failures.append)
    recorder.heard(b'{"id": 1}')
    recorder.close(SECONDS)
    recorder.heard(b'{"id": 2}')
    with path.open("rb") as lines:
        assert [entry.frame for entry in read_record(lines)[1]] == [{"id": 1}]


@pytest.mark.parametrize("value", [b"5", b'["x"]', b' "\xe2\x80\xa6 (3 more characters)"', b"null"])
def test_json_that_is_no_object_is_recorded_by_its_length(tmp_path: Path, value: bytes) -> None:
    """clause: REC-UNREADABLE"""
    path = tmp_path / "record"
    recorder = Recorder(path, Redactor({}), {})
    failures: list[OSError] = []
    recorder.start(failures.append)
    recorder.heard(value)
    recorder.heard(b'\n {"id": 1}')
    recorder.close(SECONDS)
    with path.open("rb") as lines:
        frames = [entry.frame for entry in read_record(lines)[1]]
    assert frames == [{"unreadable_bytes": len(value)}, {"id": 1}]
    assert failures == []


def test_a_fault_of_the_recorder_ends_the_record_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: REC-DISK"""
    caplog.set_level(logging.ERROR, "axon_port")

    def fails(_payload: bytes) -> bytes:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(recorders, "without_secrets", fails)
    recorder = Recorder(tmp_path / "record", Redactor({}), {})
    failures: list[OSError] = []
    recorder.start(failures.append)
    recorder.heard(b'{"id": 1}')
    recorder.close(SECONDS)
    (log,) = [record for record in caplog.records if record.name == "axon_port.recorder"]
    assert "the record ends here" in log.getMessage()
    assert log.exc_info is not None
    assert failures == []


def test_a_file_has_one_recorder_at_a_time(tmp_path: Path) -> None:
    """clause: REC-FORM"""
    path = tmp_path / "record"
    first = Recorder(path, Redactor({}), {})
    with pytest.raises(OSError, match="another worker is recording there"):
        Recorder(path, Redactor({}), {})
    failures: list[OSError] = []
    first.start(failures.append)
    first.heard(b'{"id": 1}')
    first.close(SECONDS)
    with path.open("rb") as lines:
        assert [entry.frame for entry in read_record(lines)[1]] == [{"id": 1}]
    Recorder(path, Redactor({}), {})
    assert path.read_bytes() == b""


def test_a_forked_child_does_not_hold_the_record(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path / "record")], cwd=REPOSITORY, timeout=SECONDS, check=True
    )


def test_an_older_file_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    """clause: REC-FORM"""
    path = tmp_path / "record"
    path.write_text("old")
    path.chmod(0o644)
    Recorder(path, Redactor({}), {})
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (0o600, b"")


def test_a_fifo_that_nobody_reads_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="nobody reads from this FIFO"):
        Recorder(pipe, Redactor({}), {})


def test_a_fifo_is_waited_for_once_somebody_reads(tmp_path: Path) -> None:
    """clause: REC-DISK"""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    recorder = Recorder(pipe, Redactor({}), {})
    os.set_blocking(reader, True)
    failures: list[OSError] = []
    recorder.start(failures.append)
    text = "x" * 1_000_000
    recorder.said(b'{"text":"%b"}' % text.encode())
    # Meanwhile the pipe is full.
    recorder.close(0.2)
    with os.fdopen(reader, "rb") as lines:
        assert [entry.frame for entry in read_record(lines)[1]] == [{"text": text}]
    assert failures == []
