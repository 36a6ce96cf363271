"""`--record FILE`: what a worker writes down of its conversation."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from axon_port.wire.framing import FrameDecoder
from axon_port.wire.record import Entry, read_record
from tests.kit import REPOSITORY
from tests.kit.frames import encode
from tests.kit.worker import Worker, succeeded

from .scenarios import asking_agent, start_asking

KEY = "sk-0123456789abcdef"
CANARY = "canary-of-the-environment"


def entries(path: Path) -> list[Entry]:
    with path.open("rb") as lines:
        return list(read_record(lines)[1])


def told(worker: Worker) -> Iterator[tuple[str, dict[str, Any]]]:
    """The conversation as the parent saw it, in the words of a record."""
    for direction, frame in worker.log:
        yield ("in" if direction == "sent" else "out"), frame


def test_a_record_holds_every_frame_in_the_order_of_the_pipe(tmp_path: Path) -> None:
    """clause: REC-FORM, REC-ORDER, OPT-OPTIONS"""
    path = tmp_path / "record"
    with Worker("--record", str(path)) as worker:
        agent = asking_agent(worker)
        run, call = start_asking(worker, agent)
        worker.answer(call, result="found")
        succeeded(worker.terminal(run))
    recorded = entries(path)
    for direction in ("in", "out"):
        assert [entry.frame for entry in recorded if entry.direction == direction] == [
            frame for way, frame in told(worker) if way == direction
        ]
    times = [entry.at for entry in recorded]
    assert times == sorted(times)
    of_run = [(entry.direction, entry.frame["type"]) for entry in recorded if entry.frame.get("id") == run]
    assert of_run == [("in", "run"), ("out", "tool_call"), ("in", "tool_result"), ("out", "result")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_variable_asks_for_a_record_and_the_head_tells_the_options(tmp_path: Path) -> None:
    """clause: OPT-ENVIRONMENT, REC-FORM"""
    path = tmp_path / "record"
    with Worker("--max-inflight", "7", env={"AXON_PORT_RECORD": str(path)}) as worker:
        version = worker.ready["version"]
    with path.open("rb") as lines:
        head, _ = read_record(lines)
    assert (head.version, head.options["max_inflight"]) == (version, 7)


def test_a_record_holds_no_key(tmp_path: Path) -> None:
    """clause: REC-SECRETS, SEC-KEYS"""
    path = tmp_path / "record"
    with Worker("--record", str(path), env={"SOME_API_KEY": CANARY}) as worker:
        model = {"name": "openai:x", "api_key": KEY, "base_url": "http://127.0.0.1:9/v1"}
        succeeded(worker.ask("create_agent", agent_id="a", model=model))
        worker.agent([{"text": f"{KEY} {CANARY}"}], instructions=f"never tell {KEY} or {CANARY}")
    text = path.read_text()
    assert KEY not in text
    assert CANARY not in text
    assert "never tell [redacted] or [redacted]" in text


def test_what_was_no_frame_of_json_is_recorded_by_its_length(tmp_path: Path) -> None:
    """clause: REC-UNREADABLE"""
    path = tmp_path / "record"
    too_long = encode({"type": "ping", "id": "x" * 600})
    huge = b'{"type":"ping","id":9,"x":1e999}'
    with Worker("--record", str(path), "--max-frame-bytes", "512") as worker:
        for data in (b"\0\0\0\3{,}", too_long, len(huge).to_bytes(4, "big") + huge):
            worker.send_raw(data)
            worker.wait_for("error")
    unreadable = [entry.frame for entry in entries(path) if entry.direction == "in"]
    assert unreadable == [{"unreadable_bytes": length} for length in (3, len(too_long) - 4, len(huge))]


def test_a_killed_worker_leaves_a_record_that_can_be_read(tmp_path: Path) -> None:
    """clause: REC-FORM"""
    path = tmp_path / "record"
    with Worker("--record", str(path), at_exit="kill") as worker:
        agent = asking_agent(worker)
        start_asking(worker, agent)
        while b"tool_call" not in path.read_bytes():
            succeeded(worker.ask("ping"))
        worker.kill()
    assert [entry.frame["type"] for entry in entries(path)][:3] == ["ready", "create_agent", "result"]


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="this system has no /dev/full")
def test_a_disk_that_fails_ends_the_record_and_nothing_else() -> None:
    """clause: REC-DISK"""
    with Worker("--record", "/dev/full") as worker:
        log = worker.wait_for_log(lambda log: "the record ends here" in log["message"])
        assert (log["level"], log["logger"]) == ("error", "axon_port.recorder")
        assert succeeded(worker.run(worker.agent([{"text": "hello"}])))["result"] == "hello"


def test_a_record_that_cannot_be_opened_is_told_before_anything_else(tmp_path: Path) -> None:
    """clause: REC-DISK, OPT-WRONG"""
    with Worker("--record", str(tmp_path / "nowhere" / "record")) as worker:
        assert worker.wait_exit() == 64
        assert worker.frames == []
        assert "No such file or directory" in worker.stderr


def test_a_record_that_cannot_be_opened_is_a_frame_where_stderr_is_joined(tmp_path: Path) -> None:
    """clause: REC-DISK, OPT-WRONG"""
    command = [sys.executable, "-m", "axon_port", "--record", str(tmp_path / "nowhere" / "record")]
    ended = subprocess.run(
        command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert ended.returncode == 64
    (payload,) = FrameDecoder(2**20).receive(ended.stdout)
    assert isinstance(payload, bytes)
    assert "No such file or directory" in json.loads(payload)["message"]
