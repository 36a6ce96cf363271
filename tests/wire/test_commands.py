"""Commands as models: what each needs, what it takes, and what is said where a field is wrong."""

import json
from typing import Any

import pytest

from axon_port.wire import codec, commands
from axon_port.wire.commands import COMMANDS, parse_command
from axon_port.wire.errors import WireError

from .feeds import framed_every_way

LEAST: dict[str, dict[str, Any]] = {
    "create_agent": {"agent_id": "a", "model": "test"},
    "delete_agent": {"agent_id": "a"},
    "list_agents": {},
    "run": {"agent_id": "a", "prompt": "go"},
    "stream": {"agent_id": "a", "prompt": "go"},
    "tool_result": {"call_id": "1", "result": None},
    "approval": {"call_id": "1", "approved": True},
    "credit": {"n": 0},
    "cancel": {"target": 1},
    "enqueue": {"target": "x", "prompt": "more"},
    "ping": {},
    "stats": {},
    "set_log_level": {"level": "debug"},
    "shutdown": {},
}

TOOL = {"name": "look", "parameters": {"type": "object"}}

MOST: dict[str, dict[str, Any]] = {
    "create_agent": {
        "agent_id": "a",
        "model": ["test", {"name": "m", "base_url": "http://127.0.0.1:1", "api_key": "k"}, {"script": [{"text": "x"}]}],
        "instructions": ["one", "two"],
        "system_prompt": "three",
        "tools": [
            {**TOOL, "description": "d", "handler": "parent", "timeout_ms": 5, "retries": 0, "sequential": True},
            {"name": "py", "handler": {"python": "a.b:c"}, "strict": True},
            {**TOOL, "name": "later", "handler": "deferred"},
            {**TOOL, "name": "ask", "requires_approval": True},
        ],
        "output_schema": {"type": "array"},
        "output_mode": "native",
        "deps": {"a": 1},
        "deps_schema": True,
        "model_settings": {"temperature": 0},
        "usage_limits": {"request_limit": None, "tool_calls_limit": 3, "cost_limit": 0.5},
        "end_strategy": "exhaustive",
        "metadata": {"k": "v"},
        "retries": 0,
        "result_retries": 5,
        "tool_timeout_ms": 1,
        "timeout_ms": 1,
        "idle_timeout_ms": 1,
        "max_concurrency": 1,
        "retry": {"attempts": 1, "base_ms": 0, "max_ms": 0},
        "capabilities": ["WebSearch", {"MCP": {"url": "http://127.0.0.1:1"}}],
        "replace": True,
    },
    "stream": {
        "agent_id": "a",
        "prompt": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "url": "http://127.0.0.1/p.png"},
            {"type": "document_url", "url": "http://127.0.0.1/d", "media_type": "application/pdf"},
            {"type": "binary", "media_type": "image/png", "data": "aGk="},
        ],
        "message_history": [{}],
        "messages": "none",
        "instructions": "i",
        "deps": None,
        "model": {"script": []},
        "model_settings": {},
        "usage_limits": {},
        "output_schema": False,
        "timeout_ms": 2**63 - 1,
        "idle_timeout_ms": 1,
        "retry": {},
        "metadata": {},
        "deferred_results": {"c": {"result": None}, "d": {"approved": False, "message": "no"}},
        "traceparent": "whatever",
        "events": ["text", "thinking", "output", "tool_call", "tool_return"],
        "credit": 0,
    },
    "shutdown": {"grace_ms": 0},
    "enqueue": {"target": 1, "prompt": [{"type": "text", "text": "x"}], "priority": "when_idle"},
    "approval": {"call_id": "1", "approved": False, "message": "no", "args": {}},
    "tool_result": {"call_id": "1", "error": "broken", "details": {"of": 1}},
}


def parsed(kind: str, fields: dict[str, Any], frame_id: Any = 1) -> Any:
    value = codec.decode(framed_every_way(codec.encode({"type": kind, "id": frame_id, **fields})))
    assert isinstance(value, dict)
    return parse_command(value)  # pyright: ignore[reportUnknownArgumentType]


def refused(kind: str, fields: dict[str, Any]) -> WireError:
    with pytest.raises(WireError) as caught:
        parsed(kind, fields)
    assert caught.value.error_type == "InvalidCommand"
    assert not caught.value.retryable
    return caught.value


def faults(kind: str, fields: dict[str, Any]) -> list[tuple[list[str | int], str, str]]:
    return [(fault["loc"], fault["msg"], fault["type"]) for fault in refused(kind, fields).details]


def creating(**fields: Any) -> dict[str, Any]:
    return {**LEAST["create_agent"], **fields}


def running(**fields: Any) -> dict[str, Any]:
    return {**LEAST["run"], **fields}


@pytest.mark.parametrize("kind", COMMANDS)
def test_each_command_needs_little(kind: str) -> None:
    command = parsed(kind, LEAST[kind])
    assert isinstance(command, COMMANDS[kind]) is True
    assert (command.type, command.id) == (kind, 1)


@pytest.mark.parametrize("kind", MOST)
def test_each_command_takes_all_that_the_protocol_gives_it(kind: str) -> None:
    command = parsed(kind, MOST[kind], "x")
    assert command.model_fields_set == {"type", "id", *MOST[kind]}
    for name, value in MOST[kind].items():
        assert command.given(name)
        if isinstance(value, str | int | bool):
            assert getattr(command, name) == value


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_unknown_field_is_refused_by_name(kind: str) -> None:
    """clause: ENV-FIELDS"""
    assert faults(kind, {**LEAST[kind], "bogus": 1}) == [
        (["bogus"], "Extra inputs are not permitted", "extra_forbidden")
    ]


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_unknown_field_that_is_null_is_refused_like_any_other(kind: str) -> None:
    """clause: ENV-FIELDS, ENV-NULL"""
    assert faults(kind, {**LEAST[kind], "bogus": None}) == [
        (["bogus"], "Extra inputs are not permitted", "extra_forbidden")
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, fields in LEAST.items() for name in fields if name not in ("result", "model", "prompt")],
)
def test_a_required_field_that_is_missing_or_null_is_named(kind: str, name: str) -> None:
    without = {key: value for key, value in LEAST[kind].items() if key != name}
    assert faults(kind, without) == [([name], "Field required", "missing")]
    assert faults(kind, {**without, name: None}) == [([name], "Field required", "missing")]


OPTIONAL = [
    (kind, name)
    for kind, fields in MOST.items()
    for name in fields
    if name not in LEAST[kind] and name not in ("deps", "error", "result")
]


@pytest.mark.parametrize(("kind", "name"), OPTIONAL)
def test_null_stands_for_an_absent_optional_field(kind: str, name: str) -> None:
    """clause: ENV-NULL"""
    command = parsed(kind, {**LEAST[kind], name: None})
    assert not command.given(name)
    assert command == parsed(kind, LEAST[kind])


@pytest.mark.parametrize("kind", ["create_agent", "run", "stream"])
def test_null_is_a_value_of_deps(kind: str) -> None:
    """clause: ENV-NULL"""
    assert parsed(kind, {**LEAST[kind], "deps": None}).given("deps")
    assert not parsed(kind, LEAST[kind]).given("deps")


@pytest.mark.parametrize("frame_id", [0, -(2**63), 2**63 - 1, "1", "x" * 256])
def test_the_id_is_kept_with_its_type(frame_id: Any) -> None:
    found = parsed("ping", {}, frame_id).id
    assert (type(found), found) == (type(frame_id), frame_id)
    target = parsed("cancel", {"target": frame_id}).target
    assert (type(target), target) == (type(frame_id), frame_id)


@pytest.mark.parametrize("target", [True, 1.5, 1.0, "", "x" * 257, 2**63, [], {}])
@pytest.mark.parametrize("kind", ["cancel", "enqueue"])
def test_a_target_that_can_be_no_id_is_refused(kind: str, target: Any) -> None:
    (fault,) = faults(kind, {**LEAST[kind], "target": target})
    assert fault[0] == ["target"]


WRONG: list[tuple[str, dict[str, Any], list[str | int]]] = [
    ("create_agent", creating(agent_id=""), ["agent_id"]),
    ("create_agent", creating(agent_id="x" * 257), ["agent_id"]),
    ("create_agent", creating(agent_id=1), ["agent_id"]),
    ("create_agent", creating(model=5), ["model"]),
    ("create_agent", creating(model=""), ["model"]),
    ("create_agent", creating(model=[]), ["model"]),
    ("create_agent", creating(model=["test", ["test"]]), ["model", 1]),
    ("create_agent", creating(model={"name": ""}), ["model", "name"]),
    ("create_agent", creating(model={"base_url": "http://127.0.0.1"}), ["model", "name"]),
    ("create_agent", creating(model={"name": "m", "key": "k"}), ["model", "key"]),
    ("create_agent", creating(model={"script": {}}), ["model", "script"]),
    ("create_agent", creating(model={"script": [{"txt": "x"}]}), ["model", "script", 0, "txt"]),
    ("create_agent", creating(model={"script": [{"text": 1}]}), ["model", "script", 0, "text"]),
    ("create_agent", creating(model={"script": [{"delay_ms": -1}]}), ["model", "script", 0, "delay_ms"]),
    (
        "create_agent",
        creating(model={"script": [{"error": {"status": 200}}]}),
        ["model", "script", 0, "error", "status"],
    ),
    (
        "create_agent",
        creating(model={"script": [{"tool_calls": [{}]}]}),
        ["model", "script", 0, "tool_calls", 0, "name"],
    ),
    ("create_agent", creating(tools={}), ["tools"]),
    ("create_agent", creating(tools=[{"parameters": {}}]), ["tools", 0, "name"]),
    ("create_agent", creating(tools=[{"name": "t"}]), ["tools", 0]),
    ("create_agent", creating(tools=[{**TOOL, "handler": "child"}]), ["tools", 0, "handler"]),
    ("create_agent", creating(tools=[{**TOOL, "handler": {"ruby": "a"}}]), ["tools", 0, "handler", "python"]),
    ("create_agent", creating(tools=[{**TOOL, "parameters": []}]), ["tools", 0, "parameters"]),
    ("create_agent", creating(tools=[{**TOOL, "timeout_ms": 0}]), ["tools", 0, "timeout_ms"]),
    ("create_agent", creating(output_schema="object"), ["output_schema"]),
    ("create_agent", creating(output_mode="xml"), ["output_mode"]),
    ("create_agent", creating(instructions=1), ["instructions"]),
    ("create_agent", creating(instructions=["x", 1]), ["instructions", 1]),
    ("create_agent", creating(usage_limits={"requests": 1}), ["usage_limits", "requests"]),
    ("create_agent", creating(usage_limits={"request_limit": -1}), ["usage_limits", "request_limit"]),
    ("create_agent", creating(end_strategy="late"), ["end_strategy"]),
    ("create_agent", creating(retries=-1), ["retries"]),
    ("create_agent", creating(max_concurrency=0), ["max_concurrency"]),
    ("create_agent", creating(timeout_ms=1.5), ["timeout_ms"]),
    ("create_agent", creating(timeout_ms="1"), ["timeout_ms"]),
    ("create_agent", creating(timeout_ms=2**63), ["timeout_ms"]),
    ("create_agent", creating(retry={"attempts": 0}), ["retry", "attempts"]),
    ("create_agent", creating(replace=1), ["replace"]),
    ("create_agent", creating(capabilities={}), ["capabilities"]),
    ("create_agent", creating(capabilities=[{"A": {}, "B": {}}]), ["capabilities", 0]),
    ("run", running(prompt=5), ["prompt"]),
    ("run", running(prompt=[]), ["prompt"]),
    ("run", running(prompt=[5]), ["prompt", 0]),
    ("run", running(prompt=[{"type": "binary", "data": ""}]), ["prompt", 0, "media_type"]),
    ("run", running(prompt=[{"type": "image_url"}]), ["prompt", 0, "url"]),
    ("run", running(message_history={}), ["message_history"]),
    ("run", running(messages="some"), ["messages"]),
    ("run", running(deferred_results={"c": {}}), ["deferred_results", "c"]),
    ("run", running(deferred_results={"~c": {"result": 1, "retry": "x"}}), ["deferred_results", "~c"]),
    ("run", running(deferred_results={"c": {"result": 1, "args": {}}}), ["deferred_results", "c"]),
    ("run", running(events=["text"]), ["events"]),
    ("run", running(credit=1), ["credit"]),
    ("stream", running(events="text"), ["events"]),
    ("stream", running(events=["text", "audio"]), ["events", 1]),
    ("stream", running(credit=-1), ["credit"]),
    ("stream", running(credit=2**63), ["credit"]),
    ("credit", {"n": -1}, ["n"]),
    ("credit", {"n": 1.0}, ["n"]),
    ("credit", {"n": True}, ["n"]),
    ("tool_result", {"call_id": 1, "result": 1}, ["call_id"]),
    ("tool_result", {"call_id": "1", "retry": 1}, ["retry"]),
    ("approval", {"call_id": "1", "approved": "yes"}, ["approved"]),
    ("approval", {"call_id": "1", "approved": True, "args": []}, ["args"]),
    ("enqueue", {"target": 1, "prompt": "x", "priority": "soon"}, ["priority"]),
    ("set_log_level", {"level": "loud"}, ["level"]),
    ("shutdown", {"grace_ms": -1}, ["grace_ms"]),
]


@pytest.mark.parametrize(("kind", "fields", "loc"), WRONG, ids=lambda value: repr(value)[:60])
def test_a_wrong_field_is_named_by_its_place(kind: str, fields: dict[str, Any], loc: list[str | int]) -> None:
    """clause: ENV-FIELDS, AGENT-SHAPE, STREAM-WRONG"""
    assert faults(kind, fields)[0][0] == loc


TEXTS: list[tuple[str, dict[str, Any], str]] = [
    ("create_agent", {"agent_id": "a"}, "model: `model` is required (or `module`)"),
    ("create_agent", creating(module="a:b"), "module: `module` stands instead of `model`: give one of them"),
    (
        "run",
        {"agent_id": "a"},
        "prompt: `prompt` is required where no `message_history` or `deferred_results` carries the run on",
    ),
    ("create_agent", creating(tools=[{"name": "t"}]), "tools.0: `parameters` is required: a JSON Schema of an object"),
    (
        "create_agent",
        creating(model={"script": [{"text": "ab", "chunks": ["a", "c"]}]}),
        "model.script.0: `chunks` joined must be `text`",
    ),
    ("tool_result", {"call_id": "1"}, "exactly one of `result`, `retry`, `failed`, `error` is needed"),
    (
        "tool_result",
        {"call_id": "1", "result": 1, "retry": "x"},
        "exactly one of `result`, `retry`, `failed`, `error` is needed",
    ),
    ("tool_result", {"call_id": "1", "result": 1, "details": 2}, "`details` goes with `error`"),
    (
        "tool_result",
        {"call_id": "1", "retry": "x", "content": [{"type": "image_url", "url": "https://x"}]},
        "`content` goes with `result`",
    ),
    (
        "run",
        running(deferred_results={"c": {}}),
        "deferred_results.c: exactly one of `result`, `retry`, `failed`, `approved` is needed",
    ),
    (
        "run",
        running(deferred_results={"c": {"result": 1, "message": "m"}}),
        "deferred_results.c: `message` and `args` go with `approved`",
    ),
]


@pytest.mark.parametrize(("kind", "fields", "text"), TEXTS, ids=lambda value: repr(value)[:60])
def test_a_rule_of_our_own_says_what_to_do(kind: str, fields: dict[str, Any], text: str) -> None:
    """clause: SCRIPT-CHUNKS, TOOL-PARAMETERS, AGENT-SHAPE, RUN-NOTHING"""
    assert refused(kind, fields).message == text


@pytest.mark.parametrize("kind", ["create_agent", "run"])
def test_a_null_inside_model_settings_is_none(kind: str) -> None:
    """clause: ENV-NULL"""
    command = parsed(kind, {**LEAST[kind], "model_settings": {"temperature": None, "max_tokens": 5}})
    assert command.model_settings == {"max_tokens": 5}


@pytest.mark.parametrize("history", [None, []])
def test_a_run_without_a_prompt_needs_something_to_carry_on(history: Any) -> None:
    """clause: RUN-NOTHING"""
    assert faults("run", {"agent_id": "a", "message_history": history, "deferred_results": {}})[0][0] == ["prompt"]
    assert parsed("run", {"agent_id": "a", "message_history": [{}]}).prompt is None
    assert parsed("run", {"agent_id": "a", "deferred_results": {"c": {"retry": "x"}}}).prompt is None


@pytest.mark.parametrize("kind", ["create_agent", "run", "stream"])
def test_result_type_is_another_name_of_output_schema(kind: str) -> None:
    assert parsed(kind, {**LEAST[kind], "result_type": {"type": "null"}}).output_schema == {"type": "null"}
    refused(kind, {**LEAST[kind], "result_type": {}, "output_schema": {}})


@pytest.mark.parametrize("outcome", ["retry", "failed", "error"])
def test_a_null_outcome_is_none(outcome: str) -> None:
    assert parsed("tool_result", {"call_id": "1", "result": 0, outcome: None}).result == 0
    refused("tool_result", {"call_id": "1", outcome: None})


def test_a_result_of_null_is_a_result() -> None:
    assert parsed("tool_result", {"call_id": "1", "result": None}).given("result")


@pytest.mark.parametrize("secret", ["sk-secret-in-a-frame"])
def test_no_error_repeats_what_the_parent_sent(secret: str) -> None:
    """clause: ENV-NO-ECHO"""
    for kind, fields in (
        ("create_agent", creating(model={"name": "m", "api_key": [secret]})),
        ("create_agent", creating(model={"name": 1, "api_key": secret})),
        ("create_agent", creating(model={"name": "m", "api_key": secret, "extra": secret})),
        ("create_agent", creating(model=[[secret]])),
        ("run", running(prompt={"text": secret})),
        ("run", running(deps=secret, messages=secret)),
        ("set_log_level", {"level": secret}),
    ):
        error = refused(kind, fields)
        assert secret not in f"{error} {error.details}"


def test_a_key_is_not_shown_by_a_model() -> None:
    endpoint = commands.Endpoint(name="m", api_key="sk-secret-in-a-frame")
    assert "secret" not in repr(endpoint)


def test_commands_cannot_be_changed() -> None:
    command = parsed("ping", {})
    with pytest.raises(ValueError, match="frozen"):
        command.id = 2


def test_a_script_takes_turns_of_every_kind() -> None:
    turns: list[dict[str, Any]] = [
        {},
        {"text": "x", "thinking": "t"},
        {"text": "ab", "chunks": ["a", "b"]},
        {"chunks": []},
        {"tool_calls": [{"name": "t"}, {"name": "t", "args": None}, {"name": "t", "args": "{broken"}]},
        {"output": None},
        {"error": {"status": 503, "message": "m", "retry_after_ms": 0}, "delay_ms": 5, "chunk_delay_ms": 5},
    ]
    script = parsed("create_agent", creating(model={"script": turns})).model.script
    assert [turn.model_fields_set for turn in script] == [set(turn) for turn in turns]
    assert script[4].tool_calls[0].args == {}
    assert script[4].tool_calls[1].args is None


def test_data_of_any_depth_that_the_parser_lets_through_is_taken() -> None:
    deps: Any = 0
    for _ in range(190):
        deps = {"a": deps}
    assert parsed("run", running(deps=deps)).deps == deps


FIELDS = [(kind, field) for kind in LEAST for field in COMMANDS[kind].model_fields if field != "type"]


@pytest.mark.parametrize("around", ["[%s]", '{"a": %s}', '{"capability": %s}'])
@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_a_field_as_deep_as_the_parser_lets_through_is_taken_or_refused(kind: str, field: str, around: str) -> None:
    """clause: JSON-DEPTH, ENV-FIELDS"""
    text = "1"
    for _ in range(199):
        text = around % text
    fields: Any = codec.decode(codec.encode({"type": kind, "id": 1, **LEAST[kind], field: json.loads(text)}))
    try:
        taken = parse_command(fields)
    except WireError as error:
        assert error.error_type == "InvalidCommand"  # noqa: PT017  either is right
    else:
        assert getattr(taken, field) is not None
