"""A file that only looks like a record is one line on stderr, whoever wrote it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from axon_port.records.reading import read
from axon_port.records.replay import replay
from axon_port.records.timeline import timeline
from axon_port.wire import codec
from axon_port.wire.record import Head, NotARecord, entry_line, head_line

from .scenes import CALL, RESULT, RUN

HEAD = Head("1.2.3", "2026-11-20T14:41:02Z", {})
CHUNK: dict[str, Any] = {"type": "chunk", "id": 1, "kind": "text", "data": "x"}


def lines(*said: dict[str, Any], head: bytes = head_line(HEAD)) -> list[bytes]:
    return [head, entry_line(1, "in", codec.encode(RUN)), *(entry_line(2, "out", codec.encode(one)) for one in said)]


def without(frame: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in frame.items() if key != name}


@pytest.mark.parametrize(
    "frame",
    [
        without(RESULT, "type"),
        {**RESULT, "type": ["result"]},
        {**RESULT, "id": [1]},
        {**RESULT, "id": True},
        without(CALL, "name"),
        without(CALL, "call_id"),
        {**CALL, "call_id": {}},
        {**without(CALL, "name"), "type": "approval_request"},
        {"type": "tool_cancel", "id": 1},
        {"type": "error", "id": 1},
        without(CHUNK, "data"),
        {**CHUNK, "data": 1},
        {**CHUNK, "kind": []},
        {"left_out_frames": 1, "id": 1},
    ],
)
def test_a_frame_that_no_worker_says_is_named_by_its_line(
    frame: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """clause: REPLAY-COMMAND, REC-TIMELINE"""
    path = tmp_path / "record"
    path.write_bytes(b"".join(lines(CALL, frame)))
    for what in (lambda: replay(path, [], io.StringIO()), lambda: timeline(path, io.StringIO())):
        assert what() == 65
        told = capsys.readouterr().err
        assert (told.count("\n"), "line 4 is no frame that a worker says" in told) == (1, True)


@pytest.mark.parametrize("options", [b"[1]", b'{"max_frame_bytes":"x"}', b'{"drain_timeout":true}'])
def test_options_that_are_none_are_named_by_their_line(options: bytes) -> None:
    """clause: REPLAY-COMMAND"""
    head = b'{"axon_port_record":1,"version":"1","started":"x","options":%b}\n' % options
    with pytest.raises(NotARecord, match="line 1 is not the head of a record: "):
        read(lines(head=head))


def test_what_a_worker_says_is_taken_and_so_is_what_a_parent_sends_whatever_it_is() -> None:
    said = [CALL, CHUNK, {**CHUNK, "kind": "output", "data": 1}, RESULT, {"left_out_frames": 3}, {"type": "log"}]
    strange = entry_line(3, "in", b'{"id":[1],"type":{}}')
    _, entries = read([*lines(*said), strange])
    assert len(list(entries)) == len(said) + 2
