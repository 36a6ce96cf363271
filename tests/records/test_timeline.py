"""The page of a record: what its script is given, and that nothing in a frame can end that script."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from axon_port.records.gather import KEPT_FRAMES, Bar, gather
from axon_port.records.timeline import page, timeline
from axon_port.wire.record import Entry, Head, entry_line, head_line

from .scenes import CALL, RESULT, RUN, a_run_with_a_call, into, out

HEAD = Head("1.2.3", "2026-11-20T14:41:02Z", {})


def bar_of(entries: list[Entry]) -> Bar:
    (bar,) = gather(entries).runs
    return bar


def given_to_the_page(text: str) -> Any:
    line = next(line for line in text.splitlines() if line.startswith("const scene = "))
    return json.loads(line.removeprefix("const scene = ").removesuffix(";"))


def script_of(text: str) -> str:
    return text.partition("<script>")[2].partition("</script>")[0]


def test_a_run_is_a_bar_from_its_command_to_its_end() -> None:
    """clause: REC-TIMELINE"""
    bar = bar_of(a_run_with_a_call())
    assert (bar.id, bar.kind, bar.agent, bar.begin, bar.end, bar.outcome) == (1, "run", "guide", 2, 10, "complete")
    assert [(call.name, call.begin, call.end, call.outcome) for call in bar.calls] == [("weather", 5, 9, "result")]
    assert bar.model == [(2, 5), (9, 10)]
    assert [mark.kind for mark in bar.marks] == ["run", "tool_call", "tool_result", "result"]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (RESULT, "complete"),
        ({**RESULT, "status": "deferred"}, "deferred"),
        ({"type": "error", "id": 1, "error_type": "Cancelled"}, "Cancelled"),
        (None, "open"),
    ],
)
def test_a_bar_says_how_it_ended(end: dict[str, Any] | None, outcome: str) -> None:
    assert bar_of([into(0, RUN), *([] if end is None else [out(1, end)])]).outcome == outcome


def test_a_call_that_was_withdrawn_ends_with_its_cancel() -> None:
    bar = bar_of([into(0, RUN), out(1000, CALL), out(3000, {"type": "tool_cancel", "id": 1, "call_id": "7"})])
    assert [(call.end, call.outcome) for call in bar.calls] == [(3, "cancelled")]


@pytest.mark.parametrize(("approved", "outcome"), [(True, "approved"), (False, "refused")])
def test_a_call_that_waited_for_a_word_ends_with_it(approved: bool, outcome: str) -> None:
    """clause: REC-TIMELINE"""
    word = {"type": "approval", "id": 1, "call_id": "7", "approved": approved}
    bar = bar_of([into(0, RUN), out(1000, {**CALL, "type": "approval_request"}), into(3000, word), into(4000, word)])
    assert [(call.end, call.outcome) for call in bar.calls] == [(3, outcome)]


@pytest.mark.parametrize(
    "frame",
    [
        {"type": ["x"], "id": 1},
        {"type": "tool_result", "result": 1},
        {"type": "tool_result", "id": 1, "call_id": ["7"]},
        {"type": "tool_result", "id": [1], "call_id": "7"},
        {"left_out_frames": 3},
    ],
)
def test_a_frame_that_no_worker_takes_is_shown_and_disturbs_nothing(frame: dict[str, Any]) -> None:
    """clause: REC-TIMELINE"""
    entries = a_run_with_a_call()
    scene = gather([*entries[:5], into(6000, frame), *entries[5:]])
    (bar,) = scene.runs
    assert [(call.end, call.outcome) for call in bar.calls] == [(9, "result")]
    assert any(mark.at == 6 for mark in [*bar.marks, *scene.loose])


def test_commands_that_are_no_runs_and_frames_that_belong_to_none_are_kept_apart() -> None:
    scene = gather(a_run_with_a_call())
    assert [bar.kind for bar in scene.others] == ["create_agent"]
    assert [mark.kind for mark in scene.loose] == ["ready", "goodbye"]
    assert scene.length == 11


def test_of_a_long_stream_the_beginning_and_the_end_are_kept_and_the_rest_is_counted() -> None:
    chunk = {"type": "chunk", "id": 1, "seq": 0, "step": 1, "kind": "text", "data": "x"}
    bar = bar_of([into(0, RUN), *[out(1, chunk)] * 1000, out(2, RESULT)])
    assert (len(bar.marks), bar.left_out) == (KEPT_FRAMES + 1, 1001 - KEPT_FRAMES)
    assert bar.marks[-1].kind == "result"


def test_the_page_is_given_the_scene_whatever_a_frame_holds() -> None:
    """clause: REC-TIMELINE"""
    hostile = "</script><script>alert(1)</script><!-- \u2028 \ud800 \x1b[2J /*DATA*/null"
    text = page(HEAD, gather([into(0, {**RUN, "prompt": hostile})]), "a </title> name")
    assert text.count("</script>") == 1
    assert "<!--" not in script_of(text)
    seen = given_to_the_page(text)
    assert (seen["name"], seen["version"]) == ("a </title> name", "1.2.3")
    assert json.loads(seen["runs"][0]["marks"][0]["text"])["prompt"] == hostile
    text.encode()


def test_the_page_needs_nothing_from_anywhere() -> None:
    """clause: REC-TIMELINE"""
    text = page(HEAD, gather(a_run_with_a_call()), "x")
    for word in ("http:", "https:", "src=", "@import", "url(", "fetch(", "innerHTML", "eval("):
        assert word not in text


@pytest.mark.skipif(shutil.which("node") is None, reason="node checks the script, and is not there")
def test_the_script_of_the_page_is_one(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text(script_of(page(HEAD, gather(a_run_with_a_call()), "x")))
    done = subprocess.run(["node", "--check", script], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_no_record_gets_one_line_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """clause: REC-TIMELINE"""
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("GET / HTTP/1.1\n")
    assert timeline(nonsense, io.StringIO()) == 65
    assert "line 1 is not the head of a record" in capsys.readouterr().err
    assert timeline(tmp_path / "nowhere", io.StringIO()) == 66
    assert "No such file" in capsys.readouterr().err


def test_a_record_becomes_a_page(tmp_path: Path) -> None:
    """clause: REC-TIMELINE"""
    record = tmp_path / "some.record"
    record.write_bytes(head_line(HEAD) + entry_line(2000, "in", b'{"type":"run","id":1,"agent_id":"guide"}'))
    text = io.StringIO()
    assert timeline(record, text) == 0
    assert given_to_the_page(text.getvalue())["runs"][0]["agent"] == "guide"
