"""`axon-port demo`, as a newcomer runs it, and against workers that do not keep the protocol."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from axon_port import demo as demo_module
from axon_port.demo import SCENES, demo
from tests.kit import REPOSITORY
from tests.kit.processes import is_running
from tests.kit.terminal import at_a_terminal, read_terminal

DEMO = [sys.executable, "-m", "axon_port", "demo"]
TIMEOUT = 120.0

PROXY = """\
import subprocess, sys, threading
from axon_port.wire import codec
from axon_port.wire.framing import FrameDecoder, encode_frame

worker = subprocess.Popen([{python!r}, "-m", "axon_port"], stdin=0, stdout=subprocess.PIPE)
out = sys.stdout.buffer
number = 0

def say(frame):
    out.write(encode_frame(codec.encode(frame)))
    out.flush()

decoder = FrameDecoder(2**26)
while data := worker.stdout.read1(65536):
    for payload in decoder.receive(data):
        number += 1
        frame = codec.decode(payload)
        {change}
        say(frame)
status = worker.wait()
{last}
sys.exit(status)
"""
"""A worker with a fault: the real one behind a line of code that changes what it says."""


def run_demo(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        DEMO,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def demo_against(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: str = sys.executable
) -> tuple[int, str]:
    """The demo's status and text, with a program of ours in the worker's place."""
    script = tmp_path / "worker.py"
    script.write_text(program)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{interpreter}" "{script}"\n')
    python.chmod(0o755)
    monkeypatch.setattr("axon_port.demo.sys.executable", str(python))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    out = io.StringIO()
    return demo(out), out.getvalue()


def faulty(*, change: str = "", last: str = "") -> str:
    return PROXY.format(python=sys.executable, change=change, last=last)


def test_every_frame_is_shown_and_the_status_is_zero() -> None:
    """clause: DEMO-STATUS"""
    done = run_demo()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    frames = [line for line in lines if line.startswith(("  → ", "  ← "))]
    assert lines[-1].startswith(f"{len(frames)} frames, each of them right")
    for scene in SCENES:
        assert scene.sentence in lines


def test_every_kind_of_frame_that_a_newcomer_meets_is_in_it() -> None:
    shown = set(re.findall(r'^  [→←] \{"type": "(\w+)"', run_demo().stdout, re.MULTILINE))
    assert shown >= {
        *("ready", "result", "error", "chunk", "tool_call", "approval_request", "goodbye"),
        *("ping", "create_agent", "run", "stream", "credit", "tool_result", "approval", "cancel", "shutdown"),
    }


def test_no_line_is_longer_than_a_wide_window() -> None:
    assert max(map(len, run_demo().stdout.splitlines())) <= demo_module.PLAIN_WIDTH


def test_its_worker_is_gone_when_it_has_ended() -> None:
    found = re.search(r'"pid": (\d+)', run_demo().stdout)
    assert found is not None
    assert not is_running(int(found[1]))


def test_a_pipe_gets_no_colours() -> None:
    assert "\N{ESCAPE}" not in run_demo(TERM="xterm").stdout


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_gets_colours_unless_it_asks_for_none(environment: dict[str, str], coloured: bool) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with at_a_terminal(DEMO, {**inherited, **environment}) as (process, terminal):
        text = read_terminal(terminal)
        assert process.wait(TIMEOUT) == 0
    assert ("\N{ESCAPE}[" in text) is coloured


def test_an_output_without_arrows_gets_plain_signs() -> None:
    done = run_demo(PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert '  -> {"type": "ping"' in done.stdout
    assert done.stdout.isascii()


def test_variables_for_workers_do_not_reach_its_worker() -> None:
    assert run_demo(AXON_PORT_MAX_FRAME_BYTES="1024", AXON_PORT_LOG_LEVEL="debug").returncode == 0


def test_its_worker_begins_nobody_s_record_anew(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("of somebody")
    assert run_demo(AXON_PORT_RECORD=str(tmp_path / "record")).returncode == 0
    assert (tmp_path / "record").read_text() == "of somebody"


def test_a_reader_that_has_seen_enough_is_no_traceback() -> None:
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(TIMEOUT) == 1
    assert said == b""


def test_the_parent_imports_no_pydantic_ai() -> None:
    program = (
        "import io, sys\n"
        "from axon_port.demo import demo\n"
        "assert demo(io.StringIO()) == 0\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'pydantic_ai']\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, timeout=TIMEOUT, check=True)


def test_a_process_number_that_is_not_the_child_s_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = demo_against(faulty(), tmp_path, monkeypatch)
    assert status == 1
    assert "That was not right: `pid` should be" in text


KEEP_PID = "frame.update({'pid': __import__('os').getpid()} if number == 1 else {})"


@pytest.mark.parametrize(
    ("change", "last", "complaint"),
    [
        ("if frame.get('seq') == 0: continue", "", "`seq` should be 0 and is 1"),
        ("if frame['type'] == 'chunk': frame['data'] = frame['data'].upper()", "", "the chunks make"),
        ("if frame['type'] == 'result': say(frame)", "", "which is over or never was"),
        ("if frame['type'] == 'tool_call': frame['args'] = {'order': 'seven'}", "", "`args` should be"),
        ("if frame['type'] == 'result': frame['id'] = str(frame['id'])", "", "which is over or never was"),
        ("if frame['type'] == 'error': frame['retryable'] = None", "", "`error` has no usable `retryable`"),
        ("if frame['type'] == 'goodbye': continue", "", "the worker has closed its output"),
        ("if frame['type'] == 'goodbye': say(frame)", "", "something came after the goodbye"),
        ("", "status = 3", "the worker ended with status 3"),
    ],
)
def test_a_frame_that_is_wrong_is_found(
    change: str, last: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clause: DEMO-STATUS"""
    program = faulty(change=f"{KEEP_PID}\n        {change}", last=last)
    status, text = demo_against(program, tmp_path, monkeypatch)
    assert status == 1
    assert complaint in text.splitlines()[-1]


def test_the_proxy_itself_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = demo_against(faulty(change=KEEP_PID), tmp_path, monkeypatch)
    assert status == 0, text


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("", "the worker has closed its output"),
        ("print('Hello, I am a program that writes text', flush=True)", "something that is no frame came"),
        ("import os; os.write(1, b'\\0\\0\\0\\2[]')", "a frame is no JSON object"),
        ("import os; os.write(1, b'\\0\\0\\0\\2{]')", "a frame is no JSON:"),
    ],
)
def test_a_program_that_is_no_worker_is_found(
    program: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text = demo_against(program, tmp_path, monkeypatch)
    assert status == 1
    assert complaint in text


def test_a_silent_worker_is_waited_for_in_vain_and_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_module, "FRAME_SECONDS", 1.0)
    program = f"import os, signal\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nsignal.pause()"
    status, text = demo_against(program, tmp_path, monkeypatch)
    assert status == 1
    assert "nothing came for 1 s" in text
    assert not is_running(int((tmp_path / "pid").read_text()))
