"""The descriptors: what carries frames, and what user code finds in their place. Each test in a process of its own."""

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .programs import run_program

CLAIM = """
import json, os, subprocess, sys
from axon_port.worker import stdio

NOUSE = {nouse}
try:
    port = stdio.claim(nouse_stdio=NOUSE)
except stdio.BadDescriptor as error:
    os.write(2, f"bad: {{error}}".encode())
    os._exit(64)

def say(**what):
    os.write(port.write_fd, json.dumps(what).encode() + b"\\n")

def printed(logger="stdout"):
    fd = next(fd for fd, name in port.captured.items() if name == logger)
    os.set_blocking(fd, False)
    try:
        return os.read(fd, 65536).decode()
    except BlockingIOError:
        return ""
"""


def claimed(source: str, *, nouse: bool = False, **how: Any) -> subprocess.CompletedProcess[bytes]:
    return run_program(CLAIM.format(nouse=nouse) + source, **how)


def said(source: str, **how: Any) -> Any:
    done = claimed(source, **how)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_frames_come_and_go_on_private_descriptors() -> None:
    """clause: STDIO-FRAMES"""
    found = said(
        "say(read=os.read(port.read_fd, 99).decode(), fds=[port.read_fd, port.write_fd])", input=b"in", stdin=None
    )
    assert found["read"] == "in"
    assert min(found["fds"]) >= 5


WRITES = {
    "print": "print('x', flush=True)",
    "a descriptor": "os.write(1, b'x\\n')",
    "a C library": "import ctypes; c = ctypes.CDLL(None); c.puts(b'x'); c.fflush(None)",
    "a child process": "subprocess.run([sys.executable, '-c', \"print('x')\"], check=True)",
    "a shell": "os.system('echo x')",
}


@pytest.mark.parametrize("how", WRITES)
def test_whatever_is_written_to_stdout_is_captured(how: str) -> None:
    """clause: STDIO-CAPTURE"""
    assert said(f"{WRITES[how]}\nsay(printed=printed())") == {"printed": "x\n"}


def test_stdin_is_empty_for_whoever_reads_it() -> None:
    """clause: STDIO-NULL"""
    source = """
reads = "import sys; print(repr(sys.stdin.read()))"
child = subprocess.run([sys.executable, "-c", reads], stdout=subprocess.PIPE, check=True)
say(ours=os.read(0, 10).decode(), child=child.stdout.decode(), frame=os.read(port.read_fd, 10).decode())
"""
    assert said(source, input=b"a frame", stdin=None) == {"ours": "", "child": "''\n", "frame": "a frame"}


def test_no_child_inherits_a_frame_descriptor() -> None:
    """clause: STDIO-CHILDREN"""
    source = """
fds = [port.read_fd, port.write_fd, *port.captured]
child = subprocess.run(["ls", "/proc/self/fd"], stdout=subprocess.PIPE, check=True, close_fds=False)
open_there = {int(fd) for fd in child.stdout.split()}
say(leaked=sorted(open_there & set(fds)))
"""
    assert said(source) == {"leaked": []}


def test_a_forked_child_can_neither_write_frames_nor_hold_the_pipes() -> None:
    """clause: STDIO-CHILDREN"""
    source = """
if (pid := os.fork()) == 0:
    os.write(port.write_fd, b"not a frame")
    os.read(port.read_fd, 10)
    os._exit(0)
os.waitpid(pid, 0)
say(read=os.read(port.read_fd, 10).decode())
"""
    assert said(source, input=b"a frame", stdin=None) == {"read": "a frame"}


@pytest.mark.parametrize("joined", [True, False])
def test_stderr_is_captured_only_where_it_was_joined_to_the_frames(joined: bool) -> None:
    """clause: STDIO-STDERR"""
    source = "os.write(2, b'oops\\n'); say(loggers=sorted(port.captured.values()))"
    if not joined:
        done = claimed(source)
        assert (json.loads(done.stdout), done.stderr) == ({"loggers": ["stdout"]}, b"oops\n")
        return
    source += "\nassert printed('stderr') == 'oops\\n'"
    assert said(source, stderr=subprocess.STDOUT) == {"loggers": ["stderr", "stdout"]}


def test_stderr_joined_through_a_socket_is_seen() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = claimed("say(loggers=sorted(port.captured.values()))", stdout=theirs, stderr=theirs)
        theirs.close()
        assert done.returncode == 0
        assert json.loads(ours.recv(1000)) == {"loggers": ["stderr", "stdout"]}


@pytest.mark.parametrize("closed", [[0], [2], [0, 2]])
def test_descriptors_that_were_closed_at_the_start_become_harmless_ones(closed: list[int]) -> None:
    """clause: STDIO-CLOSED"""
    shell = " ".join(f"{fd}{'<' if fd == 0 else '>'}&-" for fd in closed)
    source = CLAIM.format(nouse=False) + (
        "file = open(sys.executable, 'rb')\n"
        "null = [os.fstat(fd).st_rdev == os.stat(os.devnull).st_rdev for fd in (0, 2)]\n"
        "say(read_fd=port.read_fd is None, new=file.fileno(), null=null)"
    )
    done = run_shell(source, shell)
    found = json.loads(done.stdout)
    assert found["read_fd"] is (0 in closed)
    assert found["new"] > 2
    assert found["null"] == [True, 2 in closed]


def test_a_closed_stdout_is_one_clear_sentence_and_a_status() -> None:
    done = run_shell(CLAIM.format(nouse=False), ">&-")
    assert (done.returncode, done.stderr) == (64, b"bad: descriptor 1 is not open for writing: frames go there")


@pytest.mark.parametrize(
    ("shell", "message"),
    [
        ("", b"bad: descriptor 4 is not open for writing: frames go there"),
        ("3</dev/null", b"bad: descriptor 4 is not open for writing: frames go there"),
        ("4>/dev/null", b"bad: descriptor 3 is not open for reading: frames go there"),
        ("3>/dev/null 4>/dev/null", b"bad: descriptor 3 is not open for reading: frames go there"),
        ("3</dev/null 4</dev/null", b"bad: descriptor 4 is not open for writing: frames go there"),
    ],
)
def test_frames_on_3_and_4_need_both_in_the_right_direction(shell: str, message: bytes) -> None:
    """clause: STDIO-NOUSE"""
    done = run_shell(CLAIM.format(nouse=True), shell)
    assert (done.returncode, done.stderr) == (64, message)


def run_shell(source: str, redirections: str) -> subprocess.CompletedProcess[bytes]:
    """Run `source` with descriptors as a shell gives them."""
    starter = """
import os, sys
os.execv("/bin/sh", ["sh", "-c", f'exec "$0" -c "$1" {sys.argv[2]}', sys.executable, sys.argv[1]])
"""
    return run_program(starter, source, redirections)


def test_frames_on_3_and_4_leave_prints_to_the_logs(tmp_path: Path) -> None:
    """clause: STDIO-NOUSE, STDIO-CAPTURE"""
    into, out = tmp_path / "in", tmp_path / "out"
    into.write_bytes(b"a frame")
    source = (
        "os.write(1, b'x\\n')\n"
        "gone = []\n"
        "for fd in (3, 4):\n"
        "    try:\n"
        "        os.fstat(fd)\n"
        "    except OSError:\n"
        "        gone.append(fd)\n"
        "say(read=os.read(port.read_fd, 10).decode(), printed=printed(), gone=gone)"
    )
    done = run_shell(CLAIM.format(nouse=True) + source, f"3<{into} 4>{out}")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    assert json.loads(out.read_bytes()) == {"read": "a frame", "printed": "x\n", "gone": [3, 4]}


def test_stderr_is_compared_with_4_where_frames_go_there(tmp_path: Path) -> None:
    """clause: STDIO-STDERR"""
    out = tmp_path / "out"
    done = run_shell(
        CLAIM.format(nouse=True) + "say(loggers=sorted(port.captured.values()))", f"3</dev/null 4>{out} 2>&4"
    )
    assert done.returncode == 0
    assert json.loads(out.read_bytes()) == {"loggers": ["stderr", "stdout"]}


def test_a_terminal_that_is_both_is_not_joined() -> None:
    parent, child = os.openpty()
    try:
        done = claimed("say(loggers=sorted(port.captured.values()))", stdout=child, stderr=child)
        assert done.returncode == 0
        assert json.loads(os.read(parent, 1000)) == {"loggers": ["stdout"]}
    finally:
        os.close(parent)
        os.close(child)


def test_what_was_printed_has_an_end_when_the_pipes_are_released() -> None:
    source = """
os.write(1, b"last words")
port.release_captured()
fd = next(iter(port.captured))
say(printed=os.read(fd, 100).decode(), end=os.read(fd, 100).decode())
os.write(1, b"into the void")
"""
    assert said(source) == {"printed": "last words", "end": ""}
