"""Sections 1, 3 and 11: the descriptors that frames go over, whatever they are."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.kit import REPOSITORY, Decoder, Worker, encode, loads, pack, succeeded, texts
from tests.kit.channels import Channel

from .scenarios import asking_agent, says, start_asking

PIECES = ["x" * 1000] * 200
LONG = "y" * 300_000


def works(worker: Worker) -> None:
    """Proves that short and long frames get through both ways, and that a run of several frames does."""
    succeeded(worker.ask("ping"))
    worker.send_raw(pack(b""))
    run, call = start_asking(worker)
    worker.answer(call, result=LONG)
    answer = succeeded(worker.terminal(run))
    assert LONG in str(answer["messages"])
    frames = worker.collect(worker.start_stream(worker.agent([says("".join(PIECES), chunks=PIECES)])))
    assert "".join(texts(frames)) == "".join(PIECES)


WAYS: list[dict[str, Any]] = [
    {},
    {"stdin": "nonblocking"},
    {"stdout": "nonblocking"},
    {"stdin": "nonblocking", "stdout": "nonblocking", "stderr": "nonblocking"},
    {"stdin": "socket"},
    {"stdout": "socket"},
    {"stdin": "socket", "stdout": "stdin"},
    {"stdin": "pty"},
    {"stdout": "pty"},
    {"stdin": "pty", "stdout": "pty"},
    {"stderr": "null"},
    {"stderr": "closed"},
    {"stderr": "socket"},
    {"stderr": "stdout"},
    {"stdin": "socket", "stdout": "stdin", "stderr": "stdout"},
    {"nouse_stdio": True},
    {"nouse_stdio": True, "stdin": "nonblocking", "stdout": "nonblocking"},
    {"nouse_stdio": True, "stdin": "pty", "stdout": "pty"},
    {"nouse_stdio": True, "stderr": "closed"},
    {"nouse_stdio": True, "stdin": "socket", "stdout": "stdin", "stderr": "stdout"},
]


@pytest.mark.parametrize("ways", WAYS, ids=lambda ways: "-".join(f"{k}={v}" for k, v in ways.items()) or "pipes")
def test_frames_go_over_whatever_the_descriptors_are(ways: dict[str, Any]) -> None:
    """clause: STDIO-KINDS, STDIO-NOUSE
    fault: A9
    """
    with Worker(**ways) as worker:
        works(worker)


def test_frames_go_over_a_terminal_both_ways() -> None:
    with Worker(stdin="pty", stdout="stdin") as worker:
        works(worker)
        succeeded(worker.ask("shutdown"))
        assert worker.wait_exit() == 0


@pytest.mark.parametrize("state", ["full", "broken"])
def test_a_stderr_that_takes_nothing_holds_up_nothing(state: str) -> None:
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, bytes(4096))
        os.set_blocking(writing, True)
        if state == "broken":
            os.close(reading)
        with Worker("--log-level", "debug", stderr=writing, env={"PYTHONWARNINGS": "always"}) as worker:
            works(worker)
    finally:
        os.close(writing)
        if state == "full":
            os.close(reading)


def commands_in(path: Path) -> Path:
    """A file with a few commands."""
    script = {"script": [says("from a file")]}
    path.write_bytes(
        encode({"type": "create_agent", "id": 1, "agent_id": "a", "model": script})
        + encode({"type": "run", "id": 2, "agent_id": "a", "prompt": "p"})
        + b"".join(encode({"type": "ping", "id": f"p{n}"}) for n in range(100))
    )
    return path


@pytest.mark.parametrize("nouse_stdio", [False, True], ids=["stdio", "3-and-4"])
def test_commands_may_stand_in_a_file(tmp_path: Path, nouse_stdio: bool) -> None:
    """clause: STDIO-KINDS
    fault: A9
    """
    with Worker(stdin=commands_in(tmp_path / "in"), nouse_stdio=nouse_stdio) as worker:
        assert succeeded(worker.terminal(2))["result"] == "from a file"
        for n in range(100):
            succeeded(worker.terminal(f"p{n}"))
        assert worker.wait_exit() == 0


def test_frames_may_be_written_to_a_file(tmp_path: Path) -> None:
    with Worker(stdin=commands_in(tmp_path / "in"), stdout=tmp_path / "out") as worker:
        assert worker.wait_exit() == 0
        assert succeeded(worker.terminal(2))["result"] == "from a file"
        assert worker.frames[0]["type"] == "ready"
        assert worker.frames[-1]["reason"] == "eof"


def test_a_file_that_ends_inside_a_frame_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(encode({"type": "ping", "id": 1})[:-1])
    with Worker(stdin=path) as worker:
        assert worker.wait_exit() == 65
        assert worker.wait_for("error")["error_type"] == "TruncatedFrame"


@pytest.mark.parametrize("stdin", ["null", "closed"])
def test_without_an_input_it_ends_in_an_orderly_way_or_says_why(stdin: Channel) -> None:
    """clause: STDIO-CLOSED
    fault: A9
    """
    with Worker(stdin=stdin) as worker:
        status = worker.wait_exit()
        assert "Traceback" not in worker.stderr
        if status == 0:
            assert worker.frames[-1]["reason"] == "eof"
        else:
            assert len(worker.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("stdin", ["null", "closed"])
def test_dev_null_is_an_input_that_has_ended(stdin: Channel) -> None:
    with Worker(stdin=stdin, stderr="closed") as worker:
        worker.wait_exit()
        assert {frame["type"] for frame in worker.frames} <= {"ready", "log", "error", "goodbye"}


@pytest.mark.parametrize("stderr", ["pipe", "closed"])
@pytest.mark.parametrize("stdout", ["closed", "null"])
def test_without_an_output_it_ends(stdout: Channel, stderr: Channel) -> None:
    """clause: STDIO-CLOSED
    fault: A9
    """
    with Worker(stdout=stdout, stderr=stderr) as worker:
        if stdout == "null":
            worker.close_stdin()
        worker.wait_exit()
        assert "Traceback" not in worker.stderr


def test_with_all_three_descriptors_closed_it_ends() -> None:
    with Worker(stdin="closed", stdout="closed", stderr="closed") as worker:
        worker.wait_exit()


def test_closed_descriptors_do_not_become_frame_descriptors_by_accident(tmp_path: Path) -> None:
    """clause: STDIO-CLOSED"""
    with Worker(stdin="closed", stdout="pipe", stderr="closed", cwd=REPOSITORY) as worker:
        worker.wait_exit()
        assert all(frame["type"] in ("ready", "log", "error", "goodbye") for frame in worker.frames)


# ---------------------------------------------------------------- 3 and 4


@pytest.mark.parametrize("by", [True, "variable"])
def test_with_nouse_stdio_nothing_stands_on_descriptor_1(by: bool | Literal["variable"]) -> None:
    with Worker(nouse_stdio=by) as worker:
        works(worker)
        assert worker.stray == b""


MISSING = {"neither": "", "3 alone": "3=0", "4 alone": "4=1"}


@pytest.mark.parametrize("plan", MISSING.values(), ids=MISSING.keys())
def test_with_nouse_stdio_and_3_or_4_not_open_it_ends_with_64(plan: str) -> None:
    """clause: STDIO-NOUSE"""
    launcher = [sys.executable, "-I", "-S", str(REPOSITORY / "tests" / "kit" / "launch.py"), plan]
    command = [*(launcher if plan else []), sys.executable, "-m", "axon_port", "--nouse-stdio"]
    done = subprocess.run(command, cwd=REPOSITORY, input=b"", capture_output=True, check=False, timeout=30)
    assert done.returncode == 64
    assert done.stdout == b""
    assert len(done.stderr.strip().splitlines()) == 1


# ---------------------------------------------------------------- stderr joined to stdout


def test_a_usage_error_with_stderr_joined_to_stdout_is_nothing_but_frames() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "axon_port", "--nonsense"],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=30,
    )
    assert done.returncode == 64
    decoder = Decoder()
    frames = [loads(payload) for payload in decoder.feed(done.stdout)]
    assert decoder.pending == 0
    logs = [frame for frame in frames if frame["type"] == "log"]
    assert any("--nonsense" in log["message"] and log["logger"] == "stderr" for log in logs)


def test_with_stderr_joined_to_stdout_from_the_first_byte_there_are_only_frames() -> None:
    """clause: STDIO-STDERR"""
    with Worker(stderr="stdout", env={"PYTHONWARNINGS": "always", "PYTHONVERBOSE": None}) as worker:
        run, call = start_asking(worker, asking_agent(worker))
        worker.answer(call, result=1)
        succeeded(worker.terminal(run))
