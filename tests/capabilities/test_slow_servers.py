"""How long a server may take to start, and that nothing else about it has changed."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai.capabilities import MCP
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.toolsets import AbstractToolset

from axon_port.agents.allow import Allowed
from axon_port.agents.capabilities import INIT_TIMEOUT_MS, MAX_INIT_TIMEOUT_MS, build_capabilities
from tests.kit import Worker, failed, succeeded
from tests.kit.messages import tool_returns

from .conftest import SERVER

SLOW_S = 6
"""Longer than the 5 s that pydantic-ai gives."""

NEVER_S = 3600
SHORT_MS = 200
HTTP = "http://127.0.0.1:9/mcp"
ALLOWED = Allowed(capabilities=frozenset({"MCP", "MCP:stdio"}))
TURNS = [{"tool_calls": [{"name": "add", "args": {"x": 2, "y": 3}}]}, {"text": "done"}]


def slow_server(folder: Path, seconds: float) -> str:
    """A server over stdio that takes so long before it serves."""
    script = folder / "slow_server.py"
    script.write_text(
        f"import runpy, time\ntime.sleep({seconds})\nrunpy.run_path({str(SERVER)!r}, run_name='__main__')\n"
    )
    return str(script)


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"


def prefixed(spec: Any) -> dict[str, Any]:
    """The same inside another capability."""
    return {"PrefixTools": {"prefix": "shop", "capability": spec}}


def test_a_server_that_starts_slowly_is_waited_for(worker: Worker, tmp_path: Path) -> None:
    """clause: CAP-INIT, CAP-MCP"""
    agent = worker.agent(TURNS, capabilities=[{"MCP": {"url": slow_server(tmp_path, SLOW_S)}}])
    assert [content for _, content, _ in tool_returns(succeeded(worker.run(agent))["messages"])] == [5]


@pytest.mark.parametrize("nested", [False, True], ids=["alone", "nested"])
def test_a_server_that_does_not_start_in_time_ends_the_run(worker: Worker, tmp_path: Path, nested: bool) -> None:
    """clause: CAP-INIT"""
    spec = {"MCP": {"url": slow_server(tmp_path, NEVER_S), "init_timeout_ms": SHORT_MS}}
    agent = worker.agent(TURNS, capabilities=[prefixed(spec) if nested else spec])
    failed(worker.run(agent), "ToolError")
    failed(worker.run(agent), "ToolError")


def test_a_server_that_never_answers_over_http_ends_the_run(worker: Worker, mute: str) -> None:
    """clause: CAP-INIT"""
    agent = worker.agent(TURNS, capabilities=[{"MCP": {"url": mute, "init_timeout_ms": SHORT_MS}}])
    failed(worker.run(agent), "ToolError")


def test_a_run_does_not_wait_longer_for_a_server_than_it_may_take(worker: Worker, tmp_path: Path) -> None:
    """clause: CAP-INIT, RUN-TIMEOUT"""
    agent = worker.agent(TURNS, capabilities=[{"MCP": {"url": slow_server(tmp_path, NEVER_S)}}])
    answer = failed(worker.run(agent, timeout_ms=SHORT_MS), "Timeout")
    assert answer["details"] == {"timeout_ms": SHORT_MS}


@pytest.mark.parametrize(
    "wrong", [0, -1, MAX_INIT_TIMEOUT_MS + 1, 10**20, 1.0, 0.5, True, False, "5", [5], {}], ids=repr
)
def test_a_time_that_is_none_is_refused(worker: Worker, wrong: Any) -> None:
    """clause: CAP-INIT, CAP-SPECS"""
    spec = {"MCP": {"url": HTTP, "init_timeout_ms": wrong}}
    for each in (spec, prefixed(spec)):
        answer = worker.ask("create_agent", agent_id="odd", model="test", replace=True, capabilities=[each])
        assert "init_timeout_ms: an integer from 1 to 86400000" in failed(answer, "InvalidAgent")["message"]


@pytest.mark.parametrize("right", [1, INIT_TIMEOUT_MS, MAX_INIT_TIMEOUT_MS, None], ids=repr)
def test_every_time_that_is_one_is_taken(worker: Worker, right: int | None) -> None:
    """clause: CAP-INIT, ENV-NULL"""
    spec = {"MCP": {"url": HTTP, "init_timeout_ms": right}}
    for each in (spec, prefixed(spec)):
        succeeded(worker.ask("create_agent", agent_id="even", model="test", replace=True, capabilities=[each]))


def test_a_tool_of_a_server_inside_another_capability_waits_for_a_person_too(worker: Worker, http_url: str) -> None:
    """clause: CAP-APPROVAL"""
    turns = [{"tool_calls": [{"name": "shop_refund", "args": {"amount": 30}}]}, {"text": "done"}]
    spec = prefixed({"MCP": {"url": http_url, "requires_approval": ["refund"], "init_timeout_ms": INIT_TIMEOUT_MS}})
    run = worker.start_run(worker.agent(turns, capabilities=[spec]))
    first = worker.wait_for(lambda frame: frame["type"] in {"approval_request", "result"}, of=run)
    assert first["type"] == "approval_request", "the call was made without a person's word"
    worker.decide(first, approved=True)
    ((_, content, _),) = tool_returns(succeeded(worker.terminal(run))["messages"])
    assert content == "refunded 30"


# ---------------------------------------------------------------- all the rest is pydantic-ai's


def connection(server: MCP[Any]) -> MCPToolset[Any] | None:
    """The worker's own connection to a server, where it has one."""
    found: list[AbstractToolset[Any]] = []
    if (toolset := server.get_toolset()) is not None:
        toolset.apply(found.append)
    (leaf,) = found or [None]
    assert leaf is None or isinstance(leaf, MCPToolset)
    return leaf


def facts(server: MCP[Any]) -> dict[str, Any]:
    """What tells two servers apart."""
    toolset = connection(server)
    told = {name: getattr(server, name) for name in ("id", "url", "native", "headers", "allowed_tools", "tool_prefix")}
    if toolset is not None:
        transport = toolset.client.transport
        told |= {"toolset": toolset.id, "instructions": toolset.include_instructions, "transport": type(transport)}
        told |= {name: getattr(transport, name, None) for name in ("url", "headers", "command", "args", "env", "cwd")}
    return told


@pytest.mark.filterwarnings("ignore:Inferring a stdio transport")
@pytest.mark.parametrize(
    "arguments",
    [
        {"url": HTTP},
        {"url": HTTP, "id": "shop"},
        {"url": HTTP, "id": "127.0.0.1"},
        {"url": f"{HTTP}/sse", "headers": {"a": "b"}, "authorization_token": "Bearer x"},
        {"url": HTTP, "headers": {"a": "b"}, "native": True},
        {"url": HTTP, "native": True, "local": False},
        {"url": HTTP, "native": True, "local": True, "id": "shop", "allowed_tools": ["add"], "tool_prefix": True},
        {"url": HTTP, "local": "http://127.0.0.1:10/mcp", "authorization_token": "Bearer x"},
        {"url": HTTP, "defer_loading": True, "id": "shop", "description": "a shop"},
        {"url": str(SERVER)},
        {"url": str(SERVER), "id": "shop", "tool_prefix": "s"},
    ],
    ids=repr,
)
def test_nothing_but_the_time_differs_from_what_pydantic_ai_makes(arguments: dict[str, Any]) -> None:
    """clause: CAP-INIT, CAP-SPECS"""
    theirs = MCP[Any].from_spec(**arguments)
    (ours,) = build_capabilities([{"MCP": {**arguments, "init_timeout_ms": SHORT_MS}}], ALLOWED)
    assert type(ours) is MCP
    assert facts(ours) == facts(theirs)
