"""The examples do what they say."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.beam.programs import environment, needed, with_axon_port
from tests.kit import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
TIMEOUT = 120.0


def output_of(command: Sequence[str | Path], directory: Path, env: dict[str, str]) -> list[str]:
    """The lines of an example that ends well and complains of nothing."""
    done = subprocess.run(
        command, cwd=directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode().splitlines()


def test_the_erlang_example_streams_cancels_and_ends(tmp_path: Path) -> None:
    script = EXAMPLES / "erlang" / "agent.escript"
    assert output_of([needed("escript"), script], tmp_path, with_axon_port(tmp_path)) == [
        "the stream says: one two three four five",
        "the run ended with Cancelled",
        "exit status 0",
    ]


def test_the_tasks_in_erlang_do_what_they_print(tmp_path: Path) -> None:
    script = EXAMPLES / "erlang" / "tasks.escript"
    env = {**with_axon_port(tmp_path), "ERL_CRASH_DUMP_SECONDS": "0"}
    assert output_of([needed("escript"), script], tmp_path, env) == [
        "asked: here",
        "failed: AgentNotFound",
        "stream: Roses are red.",
        "tool: Take a coat.",
        "limit: Timeout, Cancelled",
        "refused: No.",
        "runs under way: 0",
        "crash: {exit_status,137}",
        "asked: here",
        "stopped: shutdown",
    ]


@pytest.fixture(scope="session")
def worker_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the gen_server and its scenes, compiled without a warning."""
    directory = tmp_path_factory.mktemp("worker_scenes")
    sources = [EXAMPLES / "erlang" / "axon_worker.erl", REPOSITORY / "tests" / "beam" / "worker_scenes.erl"]
    subprocess.run([needed("erlc"), "-Wall", "-Werror", "-o", directory, *sources], timeout=TIMEOUT, check=True)
    return directory


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param("callers_die", id="the runs of callers that died are cancelled"),
        pytest.param("caller_is_dead_before_he_is_read", id="also of one that died before his run began"),
        pytest.param("callers_give_up", id="a run that timed out is cancelled, nothing comes afterwards"),
        pytest.param("cannot_be_encoded", id="a term that is no JSON, or too long, is the error of who gave it"),
        pytest.param("stopped", id="while the worker drains, runs are heard and answered"),
        pytest.param("stopped_without_grace", id="what outlasts the grace is told that it was cancelled"),
        pytest.param("refused", id="a refused tool_result is logged, told, and not the end of its run"),
        pytest.param("refused_unread", id="a frame that the worker could not read is logged"),
        pytest.param("worker_dies", id="a caller is told that there is no worker any more"),
        pytest.param("keys_are_not_shown", id="keys that functions give are in no report of a supervisor"),
        pytest.param("written_to_a_closed_port", id="a closed port is no error of what writes to it"),
    ],
)
def test_the_erlang_worker(scene: str, worker_scenes: Path, tmp_path: Path) -> None:
    env = {**with_axon_port(tmp_path), "ERL_CRASH_DUMP_SECONDS": "0"}
    command = [needed("erl"), "-noshell", "-pa", worker_scenes, "-run", "worker_scenes", "main", scene]
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_the_elixir_example_answers_a_tool_call_and_streams(tmp_path: Path) -> None:
    script = EXAMPLES / "elixir" / "port.exs"
    lines = output_of([needed("elixir"), script], tmp_path, with_axon_port(tmp_path))
    assert lines == [
        "the model asks for the weather in Riga",
        "chunk: Take ",
        "chunk: a coat.",
        "answer: Take a coat.",
        "exit status 0",
    ]


def test_the_shell_example_gets_an_answer_to_each_line(tmp_path: Path) -> None:
    """clause: SHELL-PACK, SHELL-UNPACK"""
    needed("jq")
    script = EXAMPLES / "shell" / "session.sh"
    frames = [json.loads(line) for line in output_of([needed("bash"), script], tmp_path, with_axon_port(tmp_path))]
    assert frames[0]["type"] == "ready"
    assert frames[-1] == {"type": "goodbye", "reason": "eof"}
    assert [frame["data"] for frame in frames if frame["type"] == "chunk"] == ["Roses ", "are ", "red."]
    answers = {frame["id"]: frame for frame in frames if frame["type"] in {"result", "error"}}
    poem = {"type": "result", "result": "Roses are red.", "agent_id": "poet", "status": "complete"}
    assert answers[2] == {"id": 2, **poem}
    assert answers[3] == {"id": 3, **poem}
    assert answers[4]["error_type"] == "AgentNotFound"
    assert set(answers) == {1, 2, 3, 4}


def test_the_shell_dialogue_answers_pays_cancels_and_ends(tmp_path: Path) -> None:
    needed("jq")
    script = EXAMPLES / "shell" / "dialog.sh"
    assert output_of([needed("bash"), script], tmp_path, with_axon_port(tmp_path)) == [
        "chunk: Take ",
        "chunk: a coat.",
        "answer: Take a coat.",
        "the run ended with Cancelled",
        "goodbye: eof",
        "exit status 0",
    ]


def test_the_python_example_runs_streams_and_is_told_what_failed(tmp_path: Path) -> None:
    lines = output_of([sys.executable, EXAMPLES / "python" / "parent.py"], tmp_path, environment())
    # Two threads print, each a line and then its end.
    assert "".join(lines[:2]) == "the weather in Riga?" * 2
    assert lines[2:4] == ["Take a coat. 2 requests"] * 2
    # How much of the poem comes in one chunk is a matter of speed.
    assert "Roses are red, violets are blue.".startswith(lines[4].strip())
    assert "violets" in lines[4]
    assert lines[5:] == ["AgentNotFound: there is no agent 'painter': send create_agent first Not to be tried again."]


def test_the_tasks_in_python_do_what_they_print(tmp_path: Path) -> None:
    lines = output_of([sys.executable, EXAMPLES / "python" / "tasks.py"], tmp_path, environment())
    assert lines == [
        "after a crash: here",
        "structured: Riga 1",
        "history: You are Ada. 4 messages",
        "stream: Roses are red. complete",
        "tools: Done. [{'city': 'Riga', 'degrees': 8}, '10 refunded by call 2']",
        "limit: True {'timeout_ms': 50}",
        "the caller has given up",
        "cancelled: True",
        "what was said is kept: True",
        "deferred: deferred ['ship']",
        "answered: It is on its way.",
        "runs failed: {'Timeout': 1}",
        "loop: ['agents', 'inflight', 'loop_lag_ms', 'status', 'uptime_ms']",
    ]
