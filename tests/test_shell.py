"""The command in a shell: text in, text out, exit statuses, files and pipes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import jsonschema_rs
import pytest

from axon_port import __version__
from axon_port.wire.commands import COMMANDS
from tests.beam.programs import environment, needed, with_axon_port
from tests.kit import REPOSITORY, Frame, encode, loads

AXON_PORT = [sys.executable, "-m", "axon_port"]
TIMEOUT = 120.0

GREETING = (
    {"type": "create_agent", "id": 1, "agent_id": "a", "model": {"script": [{"text": "héllo"}]}},
    {"type": "run", "id": "2", "agent_id": "a", "prompt": "hi", "messages": "none"},
    {"type": "ping", "id": 2**31 + 1},
)


SUBCOMMANDS = ("demo", "doctor", "pack", "unpack", "schema", "completion", "replay", "timeline")

PACKED = b"".join(encode(command) for command in GREETING)


def axon_port(
    *arguments: str, stdin: bytes = b"", variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*AXON_PORT, *arguments],
        input=stdin,
        capture_output=True,
        cwd=REPOSITORY,
        env=environment(**(variables or {})),
        timeout=TIMEOUT,
        check=False,
    )


def in_a_shell(script: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """What bash makes of a script that may call `axon-port`, in the directory, with pipefail."""
    return subprocess.run(
        [needed("bash"), "-c", f"set -euo pipefail\n{script}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=directory,
        env=with_axon_port(directory),
        timeout=TIMEOUT,
        check=False,
    )


def unpacked(frames: bytes) -> list[Frame]:
    done = axon_port("unpack", stdin=frames)
    assert (done.returncode, done.stderr) == (0, b"")
    return [loads(line) for line in done.stdout.splitlines()]


def answers(frames: list[Frame]) -> dict[Any, Any]:
    return {frame["id"]: frame["result"] for frame in frames if frame["type"] == "result"}


def assert_greeted(frames: list[Frame]) -> None:
    assert frames[0]["type"] == "ready"
    assert frames[-1] == {"type": "goodbye", "reason": "eof"}
    found = answers(frames)
    assert found["2"] == "héllo"
    assert set(found) == {1, "2", 2**31 + 1}


# --- pack and unpack


def test_pack_makes_a_frame_of_each_line() -> None:
    """clause: SHELL-PACK"""
    done = axon_port("pack", stdin=b'{"a": 1}\n\n  \n[]\r\n"no newline at the end"')
    frames = b'\0\0\0\x08{"a": 1}\0\0\0\x02[]\0\0\0\x17"no newline at the end"'
    assert (done.returncode, done.stdout, done.stderr) == (0, frames, b"")


def test_pack_keeps_the_bytes_of_a_line() -> None:
    line = '{"n": 123456789012345678901234567890, "text": "žluťoučký \\u017e", "f": 1.10}'.encode()
    assert axon_port("pack", stdin=line).stdout[4:] == line


def test_pack_stops_at_a_line_that_is_no_json_and_names_it() -> None:
    """clause: SHELL-PACK"""
    done = axon_port("pack", stdin=b'{"id": 1}\n\n{"id": \n{"id": 3}\n')
    assert done.returncode == 65
    assert done.stdout == b'\0\0\0\x09{"id": 1}'
    assert done.stderr.startswith(b"axon-port pack: line 3 is no JSON")
    assert done.stderr.count(b"\n") == 1


@contextmanager
def under_way(command: str) -> Generator[tuple[IO[bytes], IO[bytes]]]:
    """The input and the output of a command that runs meanwhile."""
    with subprocess.Popen(
        [*AXON_PORT, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdin, process.stdout


def test_pack_does_not_wait_for_the_end() -> None:
    with under_way("pack") as (into, out):
        into.write(b"[]\n")
        into.flush()
        assert out.read(6) == b"\0\0\0\x02[]"


def test_unpack_makes_a_line_of_each_frame() -> None:
    """clause: SHELL-UNPACK"""
    done = axon_port("unpack", stdin=b'\0\0\0\x02[]\0\0\0\0\0\0\0\x0a{\n "a":\n1}')
    assert (done.returncode, done.stdout, done.stderr) == (0, b'[]\n{  "a": 1}\n', b"")


def test_unpack_does_not_wait_for_the_end() -> None:
    with under_way("unpack") as (into, out):
        into.write(b"\0\0\0\x02[]\0\0")
        into.flush()
        assert out.readline() == b"[]\n"
        into.write(b"\0\x02{}")
        into.flush()
        assert out.readline() == b"{}\n"


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        (b"\0\0\0\x02[", b"ended inside a frame"),
        (b"\0\0", b"ended inside a frame"),
        (b"Hello, world\n", b"no sequence of frames"),
        (b"GET / HTTP/1.1\r\n\r\n", b"no sequence of frames"),
    ],
)
def test_unpack_says_what_is_no_sequence_of_frames(frames: bytes, complaint: bytes) -> None:
    """clause: SHELL-UNPACK"""
    done = axon_port("unpack", stdin=frames)
    assert done.returncode == 65
    assert done.stderr.startswith(b"axon-port unpack: ")
    assert complaint in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_nothing_in_is_nothing_out(command: str) -> None:
    done = axon_port(command)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(("command", "piece"), [("pack", b"[]\n"), ("unpack", b"\0\0\0\2[]")])
def test_a_reader_that_has_seen_enough_gets_no_traceback(command: str, piece: bytes, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(piece * 100_000)
    done = in_a_shell(f"axon-port {command} < input | head -c 6 > output || true", tmp_path)
    assert done.stderr == b""
    assert len((tmp_path / "output").read_bytes()) == 6


# --- the worker between pipes and files


def test_a_session_goes_through_a_pipe(tmp_path: Path) -> None:
    needed("jq")
    (tmp_path / "commands.jsonl").write_text("".join(f"{json.dumps(command)}\n" for command in GREETING))
    done = in_a_shell("axon-port pack < commands.jsonl | axon-port | axon-port unpack | jq -c .", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert_greeted([loads(line) for line in done.stdout.splitlines()])


def test_input_and_output_may_be_files(tmp_path: Path) -> None:
    """clause: STDIO-KINDS"""
    (tmp_path / "commands.bin").write_bytes(PACKED)
    done = in_a_shell("axon-port < commands.bin > answers.bin", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert_greeted(unpacked((tmp_path / "answers.bin").read_bytes()))


def test_output_may_be_appended_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "commands.bin").write_bytes(PACKED)
    done = in_a_shell("for i in 1 2; do axon-port < commands.bin >> answers.bin; done", tmp_path)
    assert done.returncode == 0
    frames = unpacked((tmp_path / "answers.bin").read_bytes())
    assert len(frames) == 2 * 5
    assert_greeted(frames[:5])
    assert_greeted(frames[5:])


def test_a_file_that_ends_inside_a_frame_is_status_65(tmp_path: Path) -> None:
    """clause: FRAME-TRUNCATED, LIFE-EXIT"""
    (tmp_path / "commands.bin").write_bytes(PACKED[:-1])
    done = in_a_shell("axon-port < commands.bin > answers.bin || exit $?", tmp_path)
    assert done.returncode == 65
    frames = unpacked((tmp_path / "answers.bin").read_bytes())
    assert [frame["error_type"] for frame in frames if frame["type"] == "error"] == ["TruncatedFrame"]
    assert answers(frames)["2"] == "héllo"


def test_plain_text_is_answered_with_the_name_of_the_tool_that_packs(tmp_path: Path) -> None:
    """clause: FRAME-LOST"""
    done = in_a_shell("""echo '{"type": "ping", "id": 1}' | axon-port > answers.bin || exit $?""", tmp_path)
    assert done.returncode == 65
    frames = unpacked((tmp_path / "answers.bin").read_bytes())
    (error,) = [frame for frame in frames if frame["type"] == "error"]
    assert error["fatal"] is True
    assert "axon-port pack" in error["message"]
    assert frames[-1] == {"type": "goodbye", "reason": "fatal"}


@pytest.mark.parametrize("redirection", ["< /dev/null", "<&-"])
def test_without_input_a_worker_says_hello_and_goodbye(redirection: str, tmp_path: Path) -> None:
    """clause: STDIO-CLOSED, LIFE-EOF"""
    done = in_a_shell(f"axon-port {redirection} > answers.bin", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    kinds = [frame["type"] for frame in unpacked((tmp_path / "answers.bin").read_bytes())]
    assert kinds == ["ready", "goodbye"]


def test_without_output_a_worker_does_not_start(tmp_path: Path) -> None:
    """clause: STDIO-CLOSED"""
    done = in_a_shell("axon-port < /dev/null >&- || exit $?", tmp_path)
    assert done.returncode == 64
    assert done.stderr.startswith(b"axon-port: descriptor 1 is not open")
    assert done.stderr.count(b"\n") == 1


# --- options


def test_help_explains_every_option_and_command() -> None:
    """clause: OPT-OPTIONS, OPT-TEXT"""
    done = axon_port("--help", variables={"COLUMNS": "200"})
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for option in (
        *("--max-frame-bytes", "--max-inflight", "--max-tool-calls", "--drain-timeout", "--log-level"),
        *("--nouse-stdio", "--allow-import", "--allow-capability", "--version"),
    ):
        assert f"  {option}" in text
    for command in SUBCOMMANDS:
        assert f"\n    {command} " in text
    assert "AXON_PORT_MAX_INFLIGHT" in text


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_each_command_has_help_with_an_example(command: str) -> None:
    done = axon_port(command, "--help", variables={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert text.startswith(f"usage: axon-port {command}")
    assert f"axon-port {command}" in text.partition("Example: ")[2]


def test_version_is_one_line() -> None:
    """clause: OPT-TEXT"""
    done = axon_port("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"axon-port {__version__}\n".encode(), b"")


WRONG = [
    ["--no-such-option"],
    ["serve"],
    ["--max-inflight"],
    ["--max-inflight", "0"],
    ["--max-inflight", "many"],
    ["--max-frame-bytes", "12"],
    ["--max-frame-bytes", "4294967296"],
    ["--max-tool-calls", "-1"],
    ["--drain-timeout", "-1"],
    ["--drain-timeout", "nan"],
    ["--drain-timeout", "inf"],
    ["--log-level", "loud"],
    ["--max-infl", "3"],
    ["--allow-import", "not a module"],
    ["--allow-import", ""],
    ["--allow-import", "os..path"],
    ["--nouse-stdio"],
    ["pack", "--fast"],
    ["unpack", "file.bin"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_arguments_are_one_line_and_status_64(arguments: list[str]) -> None:
    """clause: OPT-WRONG, LIFE-EXIT"""
    done = axon_port(*arguments)
    assert (done.returncode, done.stdout) == (64, b"")
    assert done.stderr.startswith(b"axon-port: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ("--max-inflght 3", "did you mean --max-inflight?"),
        ("--max-inflght=3", "did you mean --max-inflight?"),
        ("doctr", "did you mean doctor?"),
        ("doctor --jsn", "did you mean --json?"),
        ("--log-level debgu", "did you mean debug?"),
        ("--max-inflight", "write --max-inflight N"),
        ("doctor --import", "write --import MODULE"),
        ("-V", "did you mean --version?"),
        ("serve", "leave it out, a worker serves without a command"),
        ("replay", "write axon-port replay FILE (axon-port replay --help"),
        ("replay --option --allow-import=x file", "write --option=OPTION"),
        ("completion", "write axon-port completion bash|fish|zsh"),
        ("pack commands.jsonl", "write axon-port pack < commands.jsonl"),
        ("unpack answers.bin", "write axon-port unpack < answers.bin"),
        ("--max-inflight 3 replay file", "write axon-port replay --option=--max-inflight=N FILE"),
        ("--nouse-stdio replay file", "write axon-port replay --option=--nouse-stdio FILE"),
        ("--log-level=debug doctor", "is for a worker, and doctor does not heed it: write axon-port doctor"),
    ],
)
def test_a_mistake_is_answered_with_what_to_type(arguments: str, advice: str) -> None:
    done = axon_port(*arguments.split())
    assert (done.returncode, done.stdout) == (64, b"")
    assert advice in done.stderr.decode()


@pytest.mark.parametrize("arguments", WRONG[:5], ids=" ".join)
def test_wrong_arguments_are_a_frame_where_stderr_is_joined(arguments: list[str], tmp_path: Path) -> None:
    """clause: STDIO-STDERR"""
    (tmp_path / "arguments").write_text("".join(f"{argument}\0" for argument in arguments))
    done = in_a_shell("xargs -0 sh -c 'axon-port \"$@\" 2>&1 || echo $? >status' sh < arguments", tmp_path)
    assert (tmp_path / "status").read_text() == "64\n"
    (frame,) = unpacked(done.stdout)
    assert (frame["type"], frame["logger"]) == ("log", "stderr")
    assert "axon-port --help" in frame["message"]


def test_wrong_arguments_of_a_command_are_text_where_no_worker_was_meant(tmp_path: Path) -> None:
    done = in_a_shell("axon-port replay --jsn file 2>&1 || exit $?", tmp_path)
    assert done.returncode == 64
    assert done.stdout.startswith(b"axon-port: unrecognized arguments: --jsn: did you mean --json?")


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_an_interrupt_ends_a_command_without_a_traceback(command: str) -> None:
    with subprocess.Popen(
        [*AXON_PORT, command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"[]\n" if command == "pack" else b"\0\0\0\2[]")
        process.stdin.flush()
        assert process.stdout.read(3)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, complaint) == (130, b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AXON_PORT_MAX_INFLIGHT", "none"),
        ("AXON_PORT_DRAIN_TIMEOUT", "soon"),
        ("AXON_PORT_LOG_LEVEL", "loud"),
        ("AXON_PORT_NOUSE_STDIO", "maybe"),
        ("AXON_PORT_ALLOW_IMPORT", "fine,not fine"),
    ],
)
def test_a_wrong_variable_is_one_line_and_status_64(name: str, value: str) -> None:
    """clause: OPT-WRONG"""
    done = axon_port(variables={name: value})
    assert (done.returncode, done.stdout) == (64, b"")
    assert done.stderr.startswith(b"axon-port: ")
    assert (name if name != "AXON_PORT_ALLOW_IMPORT" else "not fine").encode() in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("arguments", ["--help", "--version", "pack", "pack --help", "completion bash"])
def test_a_wrong_variable_stops_nobody_who_starts_no_worker(arguments: str) -> None:
    """clause: OPT-WRONG"""
    done = axon_port(*arguments.split(), variables={"AXON_PORT_LOG_LEVEL": "loud", "AXON_PORT_NOUSE_STDIO": "maybe"})
    assert (done.returncode, done.stderr) == (0, b"")


def limits(*arguments: str, variables: dict[str, str] | None = None) -> dict[str, int]:
    return unpacked(axon_port(*arguments, variables=variables).stdout)[0]["limits"]


def test_options_have_the_defaults_of_the_contract() -> None:
    """clause: OPT-OPTIONS"""
    assert limits() == {"max_frame_bytes": 67108864, "max_inflight": 1024, "max_tool_calls": 64}


def test_variables_set_options_and_the_command_line_wins() -> None:
    """clause: OPT-ENVIRONMENT"""
    variables = {
        "AXON_PORT_MAX_FRAME_BYTES": "4096",
        "AXON_PORT_MAX_INFLIGHT": "7",
        "AXON_PORT_MAX_TOOL_CALLS": "3",
    }
    assert limits(variables=variables) == {"max_frame_bytes": 4096, "max_inflight": 7, "max_tool_calls": 3}
    found = limits("--max-inflight", "8", "--max-frame-bytes=8192", variables=variables)
    assert found == {"max_frame_bytes": 8192, "max_inflight": 8, "max_tool_calls": 3}


# --- outputs that fail, are missing or have gone

FAST = ("pack < input", "unpack < frames", "schema", "completion zsh", "timeline record", "replay record")
SLOW = ("demo", "doctor")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something for every command to read; a replay of the record differs."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "input").write_text("".join(f"{json.dumps(command)}\n" for command in GREETING))
    (folder / "frames").write_bytes(PACKED)
    record = folder / "record"
    assert axon_port("--record", str(record), stdin=PACKED).returncode == 0
    text = record.read_text()
    record.write_text(text.replace('"result":"héllo"', f'"result":"h{"ü" * 500}"'))
    assert record.read_text() != text
    return folder


@pytest.mark.parametrize("command", [*FAST, *SLOW])
def test_a_full_disk_is_one_line_and_status_74(command: str, folder: Path) -> None:
    done = in_a_shell(f"axon-port {command} > /dev/full || exit $?", folder)
    name = command.split(maxsplit=1)[0]
    assert (done.returncode, done.stderr) == (74, f"axon-port {name}: No space left on device\n".encode())


@pytest.mark.parametrize("command", [*FAST, *SLOW])
def test_without_an_output_no_command_runs(command: str, folder: Path) -> None:
    done = in_a_shell(f"axon-port {command} >&- || exit $?", folder)
    name = command.split(maxsplit=1)[0]
    assert (done.returncode, done.stderr) == (
        64,
        f"axon-port {name}: descriptor 1 is not open for writing\n".encode(),
    )


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_without_an_input_there_is_nothing_to_read(command: str, folder: Path) -> None:
    done = in_a_shell(f"axon-port {command} <&-", folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_a_complaint_that_nobody_can_hear_changes_no_status(stderr: str, folder: Path) -> None:
    for command, status in (("unpack < input", 65), ("replay record", 1), ("timeline nothing", 66)):
        done = in_a_shell(f"axon-port {command} {stderr} || exit $?", folder)
        assert done.returncode == status, command


@pytest.mark.parametrize("command", ["--no-such-option", "pack --fast", "--max-inflight 3 pack"])
def test_a_complaint_without_a_stderr_does_not_go_to_the_output(command: str, folder: Path) -> None:
    """clause: OPT-TEXT"""
    done = in_a_shell(f"axon-port {command} 2>&- || exit $?", folder)
    assert (done.returncode, done.stdout) == (64, b"")


@pytest.mark.parametrize("command", FAST)
def test_a_reader_that_has_gone_changes_no_status_of_what_is_judged(command: str, folder: Path) -> None:
    name, *rest = command.split()
    unread, out = os.pipe()
    os.close(unread)
    with (folder / (rest[1] if "<" in rest else "input")).open("rb") as stdin:
        done = subprocess.run(
            [*AXON_PORT, name, *(word for word in rest if "<" not in rest)],
            stdin=stdin,
            stdout=out,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment(),
            timeout=TIMEOUT,
            check=False,
        )
    os.close(out)
    assert (done.returncode, done.stderr) == (1 if name == "replay" else 0, b"")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("completion zsh", "’"),
        ("timeline record", "→"),
        ("replay record", '"h???'),
        ("doctor --import nö", "n?: ModuleNotFoundError"),
    ],
)
def test_an_output_of_plain_ascii_is_no_traceback(command: str, shown: str, folder: Path) -> None:
    done = in_a_shell(f"export PYTHONIOENCODING=ascii; axon-port {command} || exit $?", folder)
    assert done.stderr == b""
    assert shown in done.stdout.decode()


@pytest.mark.parametrize("command", ["pack", "unpack", "schema", "demo", "replay", "timeline"])
def test_a_package_that_is_missing_is_one_line_and_status_70(command: str, folder: Path) -> None:
    # Without site-packages.
    words = [sys.executable, "-S", *AXON_PORT[1:], command, *(["record"] * (command in {"replay", "timeline"}))]
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        env=environment(),
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (70, b"")
    assert done.stderr.startswith(f"axon-port {command}: cannot start: No module named ".encode())
    assert done.stderr.count(b"\n") == 1


# --- where a record cannot go


@pytest.mark.parametrize("redirection", ["> answers.bin", "| cat"])
def test_a_record_does_not_go_among_the_frames(redirection: str, tmp_path: Path) -> None:
    """clause: STDIO-FRAMES"""
    done = in_a_shell(f"axon-port --record /dev/stdout < /dev/null {redirection} || exit $?", tmp_path)
    assert (done.returncode, done.stdout) == (64, b"")
    assert [path.read_bytes() for path in tmp_path.glob("answers.bin")] in ([], [b""])
    assert done.stderr == b"axon-port: --record /dev/stdout: frames come or go there, and nothing else may\n"


def test_a_record_does_not_replace_the_input(tmp_path: Path) -> None:
    (tmp_path / "commands.bin").write_bytes(PACKED)
    done = in_a_shell("axon-port --record commands.bin < commands.bin || exit $?", tmp_path)
    assert (done.returncode, done.stdout) == (64, b"")
    assert (tmp_path / "commands.bin").read_bytes() == PACKED


def test_records_may_be_thrown_away_with_the_frames(tmp_path: Path) -> None:
    done = in_a_shell("axon-port --record /dev/null < /dev/null > /dev/null", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


# --- schema


def test_schema_is_a_json_schema_that_knows_every_command() -> None:
    """clause: SHELL-SCHEMA"""
    done = axon_port("schema")
    assert (done.returncode, done.stderr) == (0, b"")
    schema = json.loads(done.stdout)
    jsonschema_rs.meta.validate(schema)
    text = json.dumps(schema)
    for name in (*COMMANDS, "ready", "result", "error", "chunk", "tool_call", "approval_request", "log", "goodbye"):
        assert f'"{name}"' in text


def test_the_console_script_is_the_module(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("axon-port")
    if not script.exists():
        pytest.skip("the package is not installed in this environment")
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, timeout=TIMEOUT, check=True)
    assert done.stdout == f"axon-port {__version__}{os.linesep}".encode()
