"""Section 4, agents: create, replace, list, delete, and what is refused."""

import json
from typing import Any

import pytest

from tests.kit import Worker, failed, succeeded

from .scenarios import asking_agent, calls, endpoint, fails, says, start_asking, tool

CANARY = "sk-canary-0123456789abcdef"
SCRIPT = {"script": [says("hello")]}


def create(worker: Worker, agent_id: str, **fields: Any) -> dict[str, Any]:
    """The answer to a `create_agent` with a scripted model, unless `fields` say otherwise."""
    return worker.ask("create_agent", **{"agent_id": agent_id, "model": SCRIPT, **fields})


def listed(worker: Worker) -> dict[str, dict[str, Any]]:
    """What `list_agents` says, by agent."""
    agents = succeeded(worker.ask("list_agents"))["result"]["agents"]
    return {agent["agent_id"]: agent for agent in agents}


def test_creating_an_agent_answers_with_its_model_and_tools(worker: Worker) -> None:
    answer = succeeded(create(worker, "made", tools=[tool("a"), tool("b", handler="deferred")]))
    assert answer["result"] == {"agent_id": "made", "model": "script", "tools": ["a", "b"]}


def test_an_agent_without_tools_has_an_empty_list(worker: Worker) -> None:
    assert succeeded(create(worker, "bare"))["result"]["tools"] == []


MODELS: list[tuple[Any, list[str]]] = [
    ("test", ["test"]),
    (endpoint("openai:gpt-5.2"), ["gpt-5.2"]),
    (endpoint("anthropic:claude-sonnet-4-5"), ["claude-sonnet-4-5"]),
    (endpoint("llama3"), ["llama3"]),
    (["test", SCRIPT], ["test", "script"]),
    ([endpoint("openai:gpt-5.2", api_key=CANARY), "test"], ["gpt-5.2", "test"]),
]


@pytest.mark.parametrize(("model", "names"), MODELS, ids=[str(n) for n in range(len(MODELS))])
def test_the_model_in_answers_is_a_string_that_says_which(worker: Worker, model: Any, names: list[str]) -> None:
    """clause: AGENT-LABEL"""
    before = len(worker.frames)
    answer = succeeded(create(worker, "which", model=model, replace=True))["result"]
    assert isinstance(answer["model"], str)
    assert all(name in answer["model"] for name in names)
    assert listed(worker)["which"]["model"] == answer["model"]
    assert CANARY not in json.dumps(worker.frames[before:])


def test_an_endpoint_needs_neither_a_base_url_nor_a_key_given_beside_it() -> None:
    with Worker(env={"OPENAI_API_KEY": CANARY}) as worker:
        succeeded(create(worker, "a", model={"name": "openai:gpt-5.2"}))
        succeeded(create(worker, "b", model={"name": "llama3", "base_url": "http://127.0.0.1:9/v1"}))
        assert CANARY not in json.dumps(worker.frames)


@pytest.mark.parametrize("size", [1, 256])
def test_an_agent_id_has_up_to_256_characters(worker: Worker, size: int) -> None:
    name = "ä" * size
    assert succeeded(create(worker, name))["result"]["agent_id"] == name
    assert succeeded(worker.run(name))["agent_id"] == name


def test_an_agent_that_exists_is_not_replaced_unasked(worker: Worker) -> None:
    """clause: AGENT-EXISTS"""
    succeeded(create(worker, "twice"))
    failed(create(worker, "twice", model={"script": [says("other")]}), "AgentExists")
    failed(create(worker, "twice", replace=False), "AgentExists")
    assert succeeded(worker.run("twice"))["result"] == "hello"


def test_replace_puts_a_new_agent_in_its_place(worker: Worker) -> None:
    succeeded(create(worker, "new"))
    succeeded(create(worker, "new", model={"script": [says("other")]}, replace=True))
    assert succeeded(worker.run("new"))["result"] == "other"


def test_replace_may_create_an_agent_too(worker: Worker) -> None:
    succeeded(create(worker, "created by replacing", replace=True))


def test_a_refused_replacement_leaves_the_agent_that_was_there(worker: Worker) -> None:
    """clause: AGENT-ATOMIC"""
    succeeded(create(worker, "kept"))
    failed(create(worker, "kept", tools=[tool("a"), tool("a")], replace=True), "InvalidAgent")
    assert succeeded(worker.run("kept"))["result"] == "hello"


def test_a_run_in_flight_finishes_with_the_agent_it_began_with(worker: Worker) -> None:
    """clause: AGENT-EXISTS"""
    agent = asking_agent(worker)
    run, call = start_asking(worker, agent)
    succeeded(create(worker, agent, replace=True))
    other, other_call = start_asking(worker)
    succeeded(worker.ask("delete_agent", agent_id=agent))
    worker.answer(call, result=1)
    worker.answer(other_call, result=1)
    assert succeeded(worker.terminal(run))["result"] == "done"
    assert succeeded(worker.terminal(other))["result"] == "done"


def test_a_deleted_agent_is_not_found_and_its_runs_in_flight_finish(worker: Worker) -> None:
    """clause: AGENT-DELETE, RUN-NOT-FOUND"""
    agent = asking_agent(worker)
    run, call = start_asking(worker, agent)
    assert succeeded(worker.ask("delete_agent", agent_id=agent))["result"] == {}
    failed(worker.run(agent), "AgentNotFound")
    assert agent not in listed(worker)
    worker.answer(call, result=1)
    assert succeeded(worker.terminal(run))["result"] == "done"


def test_a_deleted_agents_name_is_free_again(worker: Worker) -> None:
    succeeded(create(worker, "free"))
    succeeded(worker.ask("delete_agent", agent_id="free"))
    succeeded(create(worker, "free"))


@pytest.mark.parametrize("kind", ["run", "stream", "delete_agent"])
def test_an_agent_that_is_not_there_is_not_found(worker: Worker, kind: str) -> None:
    """clause: AGENT-DELETE, RUN-NOT-FOUND"""
    more = {} if kind == "delete_agent" else {"prompt": "p"}
    failed(worker.ask(kind, agent_id="nobody", **more), "AgentNotFound")


def test_the_list_has_each_agent_with_its_runs_in_flight(worker: Worker) -> None:
    agent = asking_agent(worker)
    assert listed(worker)[agent] == {"agent_id": agent, "model": "script", "tools": ["lookup"], "runs_inflight": 0}
    run, call = start_asking(worker, agent)
    assert listed(worker)[agent]["runs_inflight"] == 1
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))
    assert listed(worker)[agent]["runs_inflight"] == 0


def test_a_new_worker_has_no_agents() -> None:
    with Worker() as worker:
        assert succeeded(worker.ask("list_agents"))["result"] == {"agents": []}


# ---------------------------------------------------------------- of the wrong shape: InvalidCommand

MISSHAPEN: dict[str, dict[str, Any]] = {
    "no model": {"model": None},
    "module together with model": {"module": "a.b:c"},
    "a list inside a list of models": {"model": ["test", ["test"]]},
    "a script that is a turn": {"model": {"script": says("x")}},
    "a turn that is a string": {"model": {"script": ["x"]}},
    "a turn with an unknown field": {"model": {"script": [{"says": "x"}]}},
    "chunks that are a string": {"model": {"script": [{"chunks": "x"}]}},
    "chunks unlike the text": {"model": {"script": [{"text": "ab", "chunks": ["a", "c"]}]}},
    "a negative delay": {"model": {"script": [{"text": "x", "delay_ms": -1}]}},
    "tool calls that are no list": {"model": {"script": [{"tool_calls": {"name": "a"}}]}},
    "an error without a status": {"model": {"script": [{"error": {"message": "x"}}]}},
    "a tool without a name": {"tools": [{"description": "d", "parameters": {"type": "object"}}]},
    "a tool of the parent without parameters": {"tools": [{"name": "a", "description": "d"}]},
    "a deferred tool without parameters": {"tools": [{"name": "a", "description": "d", "handler": "deferred"}]},
    "a tool with an unknown field": {"tools": [tool(colour="red")]},
    "an unknown handler": {"tools": [tool(handler="grandparent")]},
    "a python handler without a function": {"tools": [tool(handler={"python": "os"})]},
    "a python handler with dots after the colon": {"tools": [tool(handler={"python": "os:path.join"})]},
    "capabilities that are no list": {"capabilities": {"WebSearch": {}}},
    "an unknown output mode": {"output_mode": "telepathic"},
    "retry without sense": {"retry": {"attempts": "many"}},
}


@pytest.mark.parametrize("fields", MISSHAPEN.values(), ids=MISSHAPEN.keys())
def test_a_field_of_the_wrong_shape_is_an_invalid_command(worker: Worker, fields: dict[str, Any]) -> None:
    """clause: AGENT-SHAPE, TOOL-PARAMETERS"""
    failed(create(worker, "misshapen", **fields), "InvalidCommand")
    failed(worker.run("misshapen"), "AgentNotFound")


# ---------------------------------------------------------------- well-formed but unusable: InvalidAgent

NO_SCHEMA = {"type": "nonsense"}
UNUSABLE: dict[str, dict[str, Any]] = {
    "parameters that are no schema": {"tools": [tool(parameters=NO_SCHEMA)]},
    "parameters of no object": {"tools": [tool(parameters={"type": "string"})]},
    "parameters with a reference to nowhere": {
        "tools": [tool(parameters={"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}})]
    },
    "a pattern that is none": {
        "tools": [tool(parameters={"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}})]
    },
    "an output schema that is none": {"output_schema": NO_SCHEMA},
    "a bound that is no number": {"output_schema": {"type": "integer", "minimum": "one"}},
    "a schema for deps that is none": {"deps_schema": NO_SCHEMA},
    "two tools of one name": {"tools": [tool("a"), tool("a")]},
    "a tool named as the output tool": {"tools": [tool("final_result")], "output_schema": {"type": "object"}},
    "an unknown provider": {"model": "nobody:nothing"},
    "an unknown model": {"model": "nothing"},
    "an unknown model in a list": {"model": ["test", "nobody:nothing"]},
    "a template that does not end": {"instructions": "Hello {{name"},
    "a template that does not end, in a list": {"system_prompt": ["fine", "Hello {{name"]},
}


@pytest.mark.parametrize("fields", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_cannot_work_is_an_invalid_agent_and_nothing_is_registered(worker: Worker, fields: dict[str, Any]) -> None:
    """clause: AGENT-INVALID, AGENT-ATOMIC, SCHEMA-INVALID"""
    failed(create(worker, "unusable", **fields), "InvalidAgent")
    failed(worker.run("unusable"), "AgentNotFound")
    assert "unusable" not in listed(worker)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai:gpt-5.2", "OPENAI_API_KEY"),
        ("anthropic:claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("google:gemini-2.5-flash", "API_KEY"),
        ({"name": "openai:gpt-5.2"}, "OPENAI_API_KEY"),
    ],
)
def test_a_provider_whose_key_is_missing_says_what_to_do(worker: Worker, model: Any, variable: str) -> None:
    """clause: MODEL-NAME"""
    error = failed(create(worker, "keyless", model=model), "InvalidAgent")
    assert variable in error["message"]


def test_a_run_with_an_unknown_model_is_refused(worker: Worker) -> None:
    failed(worker.run(worker.agent([says("x")]), model="nobody:nothing"), "InvalidAgent")


@pytest.mark.parametrize("name", ["a" * 300, "with space", "ä", "a.b", "-"])
def test_a_strange_tool_name_works_or_is_an_invalid_agent(worker: Worker, name: str) -> None:
    """fault: B18"""
    agent_id = f"strange {name[:5]}"
    answer = create(worker, agent_id, tools=[tool(name)], model={"script": [calls(name), says("done")]})
    if answer["type"] == "error":
        failed(answer, "InvalidAgent")
        return
    run, call = start_asking(worker, agent_id)
    assert call["name"] == name
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_a_recursive_tool_schema_works(worker: Worker) -> None:
    """clause: SCHEMA-REFERENCES
    fault: B18
    """
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}}}
    schema = {"$ref": "#/$defs/node", "$defs": {"node": {**node, "required": ["n"]}}, "type": "object"}
    good = {"n": 1, "next": {"n": 2, "next": {"n": 3}}}
    script = [calls(("walk", {"n": 1, "next": {"next": {}}})), calls(("walk", good)), says("done")]
    agent = worker.agent(script, tools=[tool("walk", parameters=schema)])
    run, call = start_asking(worker, agent)
    assert call["args"] == good
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))


def test_an_agent_may_have_a_thousand_tools(worker: Worker) -> None:
    names = [f"tool_{n}" for n in range(1000)]
    agent = worker.agent([calls(names[0], names[999]), says("done")], tools=[tool(name) for name in names])
    run = worker.start_run(agent)
    for _ in range(2):
        worker.answer(worker.wait_for("tool_call", of=run), result=1)
    succeeded(worker.terminal(run))


def test_a_thousand_agents_come_and_go(worker: Worker) -> None:
    for n in range(1000):
        worker.submit("create_agent", id=f"+{n}", agent_id=f"crowd {n}", model=SCRIPT)
    for n in range(1000):
        worker.submit("delete_agent", id=f"-{n}", agent_id=f"crowd {n}")
    for n in range(1000):
        succeeded(worker.terminal(f"+{n}"))
        succeeded(worker.terminal(f"-{n}"))


# ---------------------------------------------------------------- what the command line has to allow


def test_a_python_handler_that_is_not_allowed_names_the_flag(worker: Worker) -> None:
    """clause: SEC-IMPORT"""
    error = failed(create(worker, "i", tools=[tool(handler={"python": "os:getcwd"})]), "ImportNotAllowed")
    assert "--allow-import" in error["message"]
    failed(worker.run("i"), "AgentNotFound")


def test_a_module_that_is_not_allowed_names_the_flag(worker: Worker) -> None:
    answer = worker.ask("create_agent", agent_id="i", module="os:getcwd")
    assert "--allow-import" in failed(answer, "ImportNotAllowed")["message"]


CAPABILITIES: list[Any] = [
    {"WebSearch": {}},
    {"WebFetch": {}},
    {"MCP": {"url": "http://127.0.0.1:9/mcp"}},
    {"MCP": {"url": "/usr/bin/env"}},
    {"Nonsense": {}},
]


@pytest.mark.parametrize("capability", CAPABILITIES, ids=json.dumps)
def test_a_capability_that_is_not_allowed_names_the_flag(worker: Worker, capability: Any) -> None:
    """clause: SEC-CAPABILITY"""
    error = failed(create(worker, "c", capabilities=[capability]), "CapabilityNotAllowed")
    assert "--allow-capability" in error["message"]
    failed(worker.run("c"), "AgentNotFound")


@pytest.mark.parametrize("option", ["--allow-capability", "AXON_PORT_ALLOW_CAPABILITY"])
def test_an_mcp_server_that_is_a_program_needs_a_flag_of_its_own(option: str) -> None:
    """clause: SEC-MCP"""
    options = [option, "MCP"] if option.startswith("--") else []
    env = {} if options else {option: "WebSearch,MCP"}
    with Worker(*options, env=env) as worker:
        error = failed(create(worker, "c", capabilities=[{"MCP": {"url": "server.py"}}]), "CapabilityNotAllowed")
        assert "MCP:stdio" in error["message"]


def test_a_capability_that_is_allowed_is_not_refused_for_its_name() -> None:
    """clause: CAP-SPECS"""
    with Worker("--allow-capability", "MCP") as worker:
        answer = create(worker, "c", capabilities=[{"MCP": {"url": "http://127.0.0.1:9/mcp"}}])
        assert answer["type"] == "result" or answer["error_type"] == "InvalidAgent"
        failed(create(worker, "d", capabilities=[{"WebSearch": {}}]), "CapabilityNotAllowed")


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("key", [CANARY, f"{CANARY}\n", f" {CANARY}"], ids=["plain", "line feed", "space"])
def test_a_key_is_in_nothing_that_the_worker_writes(key: str) -> None:
    with Worker("--log-level", "debug") as worker:
        create(worker, "keyed", model=endpoint("openai:gpt-5.2", api_key=key))
        create(worker, "listed", model=[endpoint("llama3", api_key=key), SCRIPT])
        for agent in ("keyed", "listed"):
            worker.run(agent)
            worker.collect(worker.start_stream(agent))
        worker.ask("list_agents")
        worker.ask("stats")
        assert CANARY not in json.dumps(worker.frames)
        assert CANARY not in worker.stderr


def test_a_key_in_a_providers_error_is_not_passed_on(worker: Worker) -> None:
    succeeded(create(worker, "keyed", model=endpoint("openai:gpt-5.2", api_key=CANARY), replace=True))
    before = len(worker.frames)
    failed(worker.run(worker.agent([fails(401, f"wrong key {CANARY}")])), "ModelHTTPError")
    assert CANARY not in json.dumps(worker.frames[before:])


def test_ids_and_names_are_never_redacted(worker: Worker) -> None:
    key = f"key-{CANARY}"
    succeeded(create(worker, "keyed too", model=endpoint("openai:gpt-5.2", api_key=key)))
    succeeded(create(worker, key, tools=[tool("a")]))
    worker.send({"type": "run", "id": key, "agent_id": key, "prompt": "p"})
    answer = succeeded(worker.terminal(key))
    assert (answer["id"], answer["agent_id"]) == (key, key)


@pytest.mark.parametrize("key", ["result", "error", "chunk", "script", "0"])
def test_a_key_that_is_a_word_of_the_protocol_changes_no_frame(worker: Worker, key: str) -> None:
    succeeded(create(worker, "worded", model=endpoint("openai:gpt-5.2", api_key=key), replace=True))
    answer = succeeded(worker.run(worker.agent([says("a result")])))
    assert answer["result"] == "a result"
