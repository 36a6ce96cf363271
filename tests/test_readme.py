"""What the README says is so: its examples are the files that are tested, its tables are the code's."""

import importlib
import json
import math
import re
import subprocess
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from axon_port.wire import commands
from axon_port.wire.errors import ERROR_TYPES, RETRYABLE
from axon_port.wire.schema import protocol_schema
from axon_port.worker import signals
from axon_port.worker.options import Options
from tests.beam.programs import needed
from tests.kit import REPOSITORY, Frame, Worker

README = (REPOSITORY / "README.md").read_text("utf-8")
BOUNDS = (REPOSITORY / "axon_port" / "BOUNDS.md").read_text("utf-8")
CI = REPOSITORY / ".ci" / "run"

EXAMPLES = {
    "elixir": "examples/elixir/port.exs",
    "bash": "examples/shell/session.sh",
    "python": "examples/python/parent.py",
}

ROOMS = ("wire", "worker", "agents")
UNITS = {"": 1, "ms": 1, "s": 1, "KiB": 1024, "MiB": 1024**2}

CHANGING = {"pid", "python", "pydantic_ai", "run_id", "duration_ms"}
"""Fields of the conversation that differ from one time to the next."""


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def table(first_heading: str, text: str = README) -> list[list[str]]:
    """The rows of the table whose first column has this heading, cell by cell."""
    found = re.search(rf"^\| {re.escape(first_heading)} \|.*\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None, first_heading
    return [[cell.strip() for cell in re.split(r" \| |^\| | \|$", row)[1:-1]] for row in found[1].splitlines()]


def named(cell: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


# --- commands


def test_each_command_works_on_its_own_and_is_what_ci_runs() -> None:
    demo, tests = (block.strip() for block in blocks("sh"))
    ci = CI.read_text("utf-8").splitlines()
    assert demo in ci
    assert tests in ci
    assert demo.endswith("axon-port demo")
    assert tests.endswith("python -m pytest")


def test_the_ci_script_is_sound() -> None:
    subprocess.run([needed("bash"), "-n", CI], check=True, timeout=60)
    assert CI.stat().st_mode & 0o111


def test_there_is_no_block_that_nobody_checks() -> None:
    assert sorted(re.findall(r"^```(\w*)$", README, re.MULTILINE)) == sorted(
        ["sh", "sh", "json", *EXAMPLES, *[""] * (3 + len(EXAMPLES))]
    )


@pytest.mark.parametrize("language", EXAMPLES)
def test_an_example_is_the_file_that_is_run(language: str) -> None:
    assert blocks(language) == [(REPOSITORY / EXAMPLES[language]).read_text("utf-8")]


# --- the conversation


@cache
def conversation() -> list[Frame]:
    return [json.loads(line) for line in blocks("json")[0].splitlines()]


def test_the_conversation_is_valid() -> None:
    schema = protocol_schema()
    for frame in conversation():
        name = "Command" if frame["type"] in commands.COMMANDS else "Event"
        jsonschema_rs.validate({**schema, "oneOf": [{"$ref": f"#/$defs/{name}"}]}, frame)


def test_the_conversation_happens_as_it_is_shown() -> None:
    with Worker(at_exit="kill") as worker:
        for frame in conversation():
            if frame["type"] in commands.COMMANDS:
                worker.send(frame)
            else:
                heard = worker.ready if frame["type"] == "ready" else worker.recv()
                assert lasting(heard) == lasting(frame)
        assert worker.wait_exit() == 0


def lasting(frame: Frame) -> dict[str, Any]:
    """A frame without the values that change."""
    return {name: "…" if name in CHANGING else value for name, value in frame.items()}


def test_every_command_is_listed() -> None:
    listed: list[str] = []
    for heading in ("commands with an answer of their own", "commands that belong to a run, and carry its id"):
        listed += [name for row in table(heading) for name in named(row[0])]
    assert sorted(listed) == sorted(commands.COMMANDS)


# --- tables


def test_every_error_type_is_listed_with_what_its_retryable_is() -> None:
    listed = {error_type: retryable for types, retryable, _ in table("`error_type`") for error_type in named(types)}
    assert list(listed) == [name for types, _, _ in table("`error_type`") for name in named(types)]
    assert sorted(listed) == sorted(ERROR_TYPES)
    assert {name for name, retryable in listed.items() if retryable == "yes"} == RETRYABLE
    assert [name for name, retryable in listed.items() if retryable == "by status"] == ["ModelHTTPError"]


def number(text: str) -> float:
    """A value of the table of bounds."""
    found = re.fullmatch(r"([\d.]+)(?: (\w+))?", text)
    assert found is not None, text
    return float(found[1]) * UNITS[found[2] or ""]


def constant(name: str) -> float:
    """An option's default, or a constant by its module and name."""
    if name.startswith("--"):
        return getattr(Options(), name.removeprefix("--").replace("-", "_"))
    module, _, attribute = name.partition(".")
    (room,) = [room for room in ROOMS if (REPOSITORY / "axon_port" / room / f"{module}.py").exists()]
    return getattr(importlib.import_module(f"axon_port.{room}.{module}"), attribute)


@pytest.mark.parametrize("row", [*table("bound"), *table("bound", BOUNDS)], ids=lambda row: row[0])
def test_a_bound_has_the_value_of_the_code(row: list[str]) -> None:
    (name,) = named(row[0])
    assert math.isclose(number(row[1]), constant(name))


NO_BOUNDS = {
    "chunk_flow.CHUNK_BYTES": "what stands around a chunk's data",
    "chunk_flow.ESCAPED_BYTES": "what a character can take in JSON",
    "codec.COLLECTED_BYTES": "from where on the collector is off",
    "envelope.MAX_ID_BYTES": "what envelope.MAX_ID_LENGTH can take in JSON",
    "framing.HEADER_BYTES": "the form of a frame",
    "leavings.LEAST_BYTES": "when the collector is called",
    "logs.LINE_BYTES": "logs.LINE_FRAME_BYTES without what stands around a line",
    "open_calls.BROKEN_SECONDS": "how long the tearing down of a run may take before it could ask once more",
    "outbox.FLUSH_TICK_SECONDS": "how often something is looked at",
    "outbox.INLINE_BYTES": "what a pipe takes at once",
    "reader.MEMORY_SECONDS": "how often something is tried",
    "reader.READ_BYTES": "one read of many",
    "selector.LOOK_SECONDS": "how often something is looked at",
    "serve.SWITCH_SECONDS": "how often threads take turns",
    "serve.TELEMETRY_RESERVE_SECONDS": "what serve.TELEMETRY_SECONDS leaves of a deadline",
    "watchdog.BEAT_SECONDS": "how often something is said",
    "watchdog.URGENT_SWITCH_SECONDS": "how often threads take turns",
    "words.DEFAULT_MAX_FRAME_BYTES": "`--max-frame-bytes` has a row",
}
"""Named like a bound, and none: beyond it nothing is refused, cut or given up."""


def test_no_bound_is_missing() -> None:
    """By their names: a new one stands in the table or, with a reason, above."""
    found = {
        f"{path.stem}.{name}"
        for room in ROOMS
        for path in (REPOSITORY / "axon_port" / room).glob("*.py")
        for name in re.findall(
            r"^((?:MAX_\w+|[A-Z]\w*(?:_SECONDS|_BYTES|_S))\b)(?:: Final)? = ", path.read_text(), re.MULTILINE
        )
    }
    listed = {name for row in table("bound", BOUNDS) for name in named(row[0])}
    assert found - listed == NO_BOUNDS.keys()
    assert len(listed) == len(table("bound", BOUNDS))


def test_the_exit_statuses_are_those_of_the_code() -> None:
    from axon_port.statuses import EX_DATAERR, EX_OK, EX_SOFTWARE, EX_USAGE

    listed = [row[0] for row in table("exit status")]
    expected = {EX_OK, 1, EX_USAGE, EX_DATAERR, EX_SOFTWARE}
    assert listed == [*map(str, sorted(expected)), "128 + n"]


def test_the_signals_are_those_of_the_code() -> None:
    row = next(row for row in table("what happens") if row[0].startswith("SIGTERM"))
    assert row[0].split(", ") == [number.name for number in signals.ENDING]


# --- files


def test_every_file_that_is_named_exists() -> None:
    modules = [f"axon_port/{name}" for name in re.findall(r"`((?:wire|worker|agents)/\w*(?:\.py)?)`", README)]
    scripts = re.findall(r"examples/\w+/\w+\.\w+", README)
    assert [name for name in (*modules, *scripts) if not (REPOSITORY / name).exists()] == []
    assert len(modules) > 20


def test_every_promise_names_tests_that_exist() -> None:
    table = README.partition("| promise | its limit |")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) > 10
    for promise, _, tests in rows:
        named = re.findall(r"`(tests/[^`]+\.py)`", tests)
        assert named, f"no test for: {promise}"
        assert [name for name in named if not (REPOSITORY / name).is_file()] == []
