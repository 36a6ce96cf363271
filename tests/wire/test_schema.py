"""`axon-port schema`: the schema is one, says what the parser says, and fits what a real worker sends."""

import copy
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import pytest

from axon_port.wire import schema
from axon_port.wire.commands import COMMANDS, parse_command
from axon_port.wire.errors import ERROR_TYPES, WireError
from axon_port.wire.events import EVENTS
from tests.kit import REPOSITORY, Worker, succeeded
from tests.kit.frames import Frame

PROTOCOL = REPOSITORY / "axon_port" / "wire" / "PROTOCOL.md"
SCALARS: list[Any] = [None, True, 0, -1, 1, 1.5, 2**63, "", "x", "x" * 257]
PALETTE: list[Any] = [*SCALARS, [], [1], ["x"], [None], {}, {"a": 1}, {"n": {}}]
ABSENT = object()

Path_ = tuple[str | int, ...]


@cache
def document() -> dict[str, Any]:
    """The schema, through its text."""
    out = io.StringIO()
    assert schema.print_schema(out) == 0
    return json.loads(out.getvalue())


@cache
def validator(name: str, *, closed: bool = False) -> jsonschema_rs.Validator:
    """A validator of one definition. A `closed` one takes no event with a field that has no name in the schema."""
    whole = copy.deepcopy(document())
    if closed:
        for event in EVENTS:
            whole["$defs"][event.__name__]["additionalProperties"] = False
    del whole["oneOf"]
    return jsonschema_rs.validator_for({**whole, "$ref": f"#/$defs/{name}"})


def faults(name: str, frame: object, *, closed: bool = False) -> list[str]:
    """What is wrong with a frame, by the definition that its type selects."""
    found = validator(name, closed=closed).iter_errors(frame)
    return [f"{list(error.instance_path)}: {error.message}" for error in found]


def examples() -> list[Frame]:
    """Every frame in PROTOCOL.md."""
    found: list[Frame] = []
    decoder = json.JSONDecoder()
    for block in PROTOCOL.read_text("utf-8").split("```json\n")[1:]:
        rest = block.partition("```")[0].strip()
        while rest:
            frame, end = decoder.raw_decode(rest)
            found.append(frame)
            rest = rest[end:].strip()
    return found


def is_command(frame: Mapping[str, Any]) -> bool:
    """Whether a parent sends it."""
    return frame["type"] in COMMANDS


def event_types() -> set[str]:
    """The `type` of each event."""
    return {document()["$defs"][event.__name__]["properties"]["type"]["const"] for event in EVENTS}


def parser_takes(frame: dict[str, Any]) -> bool:
    """Whether commands.py lets the command through."""
    try:
        parse_command(frame)
    except WireError:
        return False
    return True


# ---------------------------------------------------------------- the document


def test_the_schema_is_a_json_schema_and_all_its_references_lead_somewhere() -> None:
    """clause: SHELL-SCHEMA"""
    jsonschema_rs.meta.validate(document())
    assert document()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.validator_for(document(), offline=True)


def test_the_command_line_prints_it() -> None:
    """clause: SHELL-SCHEMA, OPT-TEXT"""
    command = [sys.executable, "-m", "axon_port", "schema"]
    printed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, timeout=60)
    assert json.loads(printed.stdout) == document()
    assert printed.stderr == b""


def test_every_command_and_every_event_has_a_definition_of_its_own() -> None:
    names = {model.__name__ for model in COMMANDS.values()} | {event.__name__ for event in EVENTS}
    assert names <= set(document()["$defs"])
    for group, members in (("Command", len(COMMANDS)), ("Event", len(EVENTS))):
        assert len(document()["$defs"][group]["oneOf"]) == members


def test_every_definition_is_used() -> None:
    text = json.dumps(document())
    assert [name for name in document()["$defs"] if f'"#/$defs/{name}"' not in text] == []


def test_the_error_types_are_listed() -> None:
    """clause: ERR-TYPES"""
    assert tuple(document()["$defs"]["ErrorType"]["enum"]) == ERROR_TYPES
    for error_type in ERROR_TYPES:
        assert f"`{error_type}`" in PROTOCOL.read_text("utf-8")


def test_an_event_may_have_fields_that_came_later_and_a_command_none() -> None:
    """clause: EVT-OPEN"""
    assert not faults("Event", {"type": "goodbye", "reason": "eof", "later": 1})
    assert faults("Command", {"type": "ping", "id": 1, "later": 1})


# ---------------------------------------------------------------- the examples of PROTOCOL.md


@pytest.mark.parametrize("frame", examples(), ids=lambda frame: frame["type"])
def test_an_example_of_the_documentation_is_valid(frame: Frame) -> None:
    name = "Command" if is_command(frame) else "Event"
    assert faults(name, frame, closed=True) == []
    jsonschema_rs.validator_for(document()).validate(frame)
    if is_command(frame):
        parse_command(frame)


def test_there_is_an_example_of_every_command_and_every_event() -> None:
    assert {frame["type"] for frame in examples()} == set(COMMANDS) | event_types()


def section_of(kind: str) -> str:
    """What PROTOCOL.md says of one command, up to its example."""
    clause = f"- **CMD-{kind.upper().replace('_', '-')}** "
    return PROTOCOL.read_text("utf-8").partition(clause)[2].partition("```json")[0]


def table_of(text: str) -> set[str]:
    """The names in the first column of the tables in a text."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_documentation_names_every_field_of_a_command_and_no_other(kind: str) -> None:
    """clause: CMD-CREATE-AGENT, CMD-DELETE-AGENT, CMD-LIST-AGENTS, CMD-RUN, CMD-STREAM, CMD-TOOL-RESULT,
    CMD-APPROVAL, CMD-CREDIT, CMD-CANCEL, CMD-ENQUEUE, CMD-PING, CMD-STATS, CMD-SET-LOG-LEVEL, CMD-SHUTDOWN"""
    fields = set(document()["$defs"][COMMANDS[kind].__name__]["properties"]) - {"id", "type"}
    text = section_of(kind) + (section_of("run") if kind == "stream" else "")
    assert fields <= set(re.findall(r"`(\w+)`", text))
    assert table_of(text) <= fields


@pytest.mark.parametrize(
    ("begins", "name"),
    [("| field of a tool |", "Tool"), ("| field of a turn |", "Turn"), ("| part | fields |", "UrlPart")],
)
def test_the_documentation_names_every_field_of_a_tool_and_a_turn(begins: str, name: str) -> None:
    table = PROTOCOL.read_text("utf-8").partition(begins)[2].partition("\n\n")[0]
    assert set(document()["$defs"][name]["properties"]) - {"type"} <= set(re.findall(r"`(\w+)`", table))
    assert table_of(table) <= set(document()["$defs"][name]["properties"])


# ---------------------------------------------------------------- the parser and the schema


PYTHON_TOOL: Frame = {"name": "t", "handler": {"python": "m:f"}}
LESS_COMMON: list[Frame] = [
    {"type": "run", "id": 1, "agent_id": "a", "prompt": "p", "result_type": {"type": "string"}},
    {"type": "run", "id": 1, "agent_id": "a", "prompt": "p", "output_schema": True, "message_history": [{}]},
    {"type": "stream", "id": "s", "agent_id": "a", "message_history": [{}], "events": ["text", "output"], "credit": 0},
    {"type": "create_agent", "id": 1, "agent_id": "a", "model": ["test", {"script": []}, {"name": "m"}]},
    {"type": "create_agent", "id": 1, "agent_id": "a", "module": "m:a", "output_schema": {}, "system_prompt": ["x"]},
    {"type": "tool_result", "id": 1, "call_id": "1", "result": None},
    {"type": "run", "id": 1, "agent_id": "a", "deferred_results": {"c": {"approved": False, "message": "no"}}},
    {"type": "run", "id": 1, "agent_id": "a", "deferred_results": {"c": {"retry": "x"}, "d": {"failed": "x"}}},
    {"type": "run", "id": 1, "agent_id": "a", "prompt": "p", "usage_limits": {"request_limit": None, "cost_limit": 1}},
    {"type": "create_agent", "id": 1, "agent_id": "a", "model": {"script": [{"output": None}]}},
    {"type": "create_agent", "id": 1, "agent_id": "a", "model": {"script": [{"error": {"status": 400}}]}},
    {"type": "create_agent", "id": 1, "agent_id": "a", "model": "test", "capabilities": ["A", {"B": {"c": 1}}]},
    {"type": "create_agent", "id": 1, "agent_id": "a", "model": "test", "tools": [PYTHON_TOOL]},
]


def places(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """The paths to everything inside a value."""
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        children = cast("Frame", value).items()
    elif isinstance(value, list):
        children = enumerate(cast("list[Any]", value))
    for key, child in children:
        yield (*at, key)
        yield from places(child, (*at, key))


def changed(frame: Frame, at: Path_, value: Any) -> Frame:
    """The frame with another value at a place, or without what was there."""
    copied = copy.deepcopy(frame)
    inside: Any = copied
    for step in at[:-1]:
        inside = inside[step]
    if value is ABSENT:
        del inside[at[-1]]
    else:
        inside[at[-1]] = value
    return copied


def variants(frame: Frame) -> Iterator[Frame]:
    """The frame with one thing changed, removed or added."""
    names = document()["$defs"][COMMANDS[frame["type"]].__name__]["properties"]
    for at in [*places(frame), *((name,) for name in names if name not in frame)]:
        if at == ("type",):
            continue
        for value in [*PALETTE, ABSENT]:
            if value is not ABSENT or at[0] in frame:
                yield changed(frame, at, value)
    yield {**frame, "unknown": 1}


def beyond_a_schema(frame: Frame) -> bool:
    """Whether only the parser can know: `chunks` that do not make up `text`."""
    match frame:
        case {"model": {"script": [*turns]}}:
            return any({"text", "chunks"} <= set(cast("Frame", turn)) for turn in turns if isinstance(turn, dict))
        case _:
            return False


COMMAND_EXAMPLES = [frame for frame in [*examples(), *LESS_COMMON] if is_command(frame)]


@pytest.mark.parametrize("frame", COMMAND_EXAMPLES, ids=lambda frame: frame["type"])
def test_the_schema_takes_what_the_parser_takes_and_nothing_else(frame: Frame) -> None:
    """clause: ENV-NULL, ENV-FIELDS, ENV-ID"""
    assert parser_takes(frame)
    takes = validator("Command").is_valid
    for variant in variants(frame):
        if parser_takes(variant) != takes(variant):
            assert beyond_a_schema(variant), f"parser and schema differ on {json.dumps(variant)}"


@pytest.mark.parametrize(
    ("outcome", "taken"), [({"result": 1}, True), ({"retry": "x"}, False), ({"error": "x"}, False)]
)
def test_what_the_model_is_shown_goes_with_a_result(outcome: Frame, taken: bool) -> None:
    content = [{"type": "text", "text": "x"}]
    frame: Frame = {"type": "tool_result", "id": 1, "call_id": "1", "content": content, **outcome}
    assert parser_takes(frame) == validator("Command").is_valid(frame) == taken
    assert parser_takes({**frame, "content": None}) == validator("Command").is_valid({**frame, "content": None})


def test_one_point_nought_is_no_integer_to_the_parser() -> None:
    """The schema cannot tell 1.0 from 1, and says so."""
    frame: Frame = {"type": "credit", "id": 1, "n": 1.0}
    assert not parser_takes(frame)
    assert not faults("Command", frame)


# ---------------------------------------------------------------- a real worker


TOOLS: list[Frame] = [
    {"name": "lookup", "parameters": {"type": "object"}, "timeout_ms": 60_000},
    {"name": "refund", "parameters": {"type": "object"}, "requires_approval": True},
    {"name": "ship", "parameters": {"type": "object"}, "handler": "deferred"},
]


def call(*names: str) -> Frame:
    """A turn that calls tools."""
    return {"thinking": "hm", "tool_calls": [{"name": name, "args": {}} for name in names]}


def talk(worker: Worker) -> None:
    """A conversation in which every type of event and most commands occur."""
    turns = [call("lookup", "refund"), {"text": "done", "chunks": ["do", "ne"]}]
    agent = worker.agent(turns, tools=TOOLS)
    kinds = ["text", "thinking", "output", "tool_call", "tool_return"]
    stream = worker.start_stream(agent, events=kinds, credit=0)
    worker.answer(worker.wait_for("tool_call", of=stream), result={"found": None})
    worker.decide(worker.wait_for("approval_request", of=stream), approved=False, message="no")
    worker.send({"type": "credit", "id": stream, "n": 100})
    succeeded(worker.terminal(stream))
    structured = worker.agent([{"output": [1, 2]}], output_schema={"type": "array"})
    succeeded(worker.terminal(worker.start_stream(structured, events=kinds)))
    worker.run(worker.agent([call("ship")], tools=TOOLS))
    worker.run(worker.agent([{"error": {"status": 429, "retry_after_ms": 1}}]))
    worker.run("nobody")
    cancelled = worker.start_run(agent)
    asked = worker.wait_for("tool_call", of=cancelled)
    worker.ask("enqueue", target=cancelled, prompt="and quickly")
    worker.ask("cancel", target=cancelled)
    worker.terminal(cancelled)
    worker.ask("set_log_level", level="debug")
    worker.answer(asked, result=1)
    for kind in ("ping", "stats", "list_agents"):
        worker.ask(kind)
    worker.ask("delete_agent", agent_id=agent)
    worker.send_raw(b"\0\0\0\4nope")
    worker.wait_for("error", of=None)
    worker.ask("shutdown", grace_ms=0)
    assert worker.wait_exit() == 0


def test_what_a_real_worker_sends_and_takes_is_valid(tmp_path: Path) -> None:
    """clause: EVT-READY, EVT-RESULT, EVT-ERROR, EVT-CHUNK, EVT-TOOL-CALL, EVT-TOOL-CANCEL, EVT-APPROVAL-REQUEST,
    EVT-LOG, EVT-GOODBYE"""
    with Worker(cwd=tmp_path, pythonpath=[REPOSITORY]) as worker:
        talk(worker)
    for direction, frame in worker.log:
        assert faults("Command" if direction == "sent" else "Event", frame, closed=True) == [], frame
    assert {frame["type"] for frame in worker.frames} == event_types()
