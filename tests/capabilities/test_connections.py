"""The connection that the runs of an agent share: cancelled, given up, opened again, told of in logs and messages."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from axon_port.agents.allow import Allowed
from axon_port.agents.capabilities import build_capabilities
from tests.kit import Frame, Worker, failed, succeeded
from tests.kit.messages import tool_returns

from .conftest import SERVER
from .legacy import PATIENCE_S, LegacyServer, legacy_server
from .test_mcp import Watched

ASK = {"name": "ask", "parameters": {"type": "object"}}
PONG = {"tool_calls": [{"name": "pong"}]}
DONE = {"text": "done"}
INIT_MS = 1000
"""Time enough for several runs to wait for one and the same server."""


@pytest.fixture
def legacy() -> Iterator[tuple[LegacyServer, str]]:
    """A server that does as it is told, and its address."""
    with legacy_server() as both:
        yield both


def agent_of(worker: Worker, address: str, *turns: dict[str, Any], **arguments: Any) -> str:
    """An agent with the tools of a server, and one of the parent's."""
    return worker.agent([*turns, DONE], tools=[ASK], capabilities=[{"MCP": {"url": address, **arguments}}])


def returned(answer: Frame, tool: str) -> list[tuple[Any, str]]:
    """What the calls of a tool came to."""
    return [(content, outcome) for name, content, outcome in tool_returns(answer["messages"]) if name == tool]


def waiting_run(worker: Worker, agent: str, *turns: dict[str, Any]) -> tuple[Any, Frame]:
    """A run that holds the connection until its call is answered, and that call."""
    run = worker.start_run(agent, model={"script": [{"tool_calls": [{"name": "ask"}]}, *turns, DONE]})
    return run, worker.wait_for("tool_call", of=run)


# ---------------------------------------------------------------- cancelled


@pytest.mark.parametrize("ending", ["cancel", "timeout"])
def test_a_run_that_ends_while_tools_are_listed_lets_go_of_the_connection(
    worker: Worker, legacy: tuple[LegacyServer, str], ending: str
) -> None:
    """clause: CAP-MCP, RUN-CANCEL, RUN-TIMEOUT"""
    server, address = legacy
    agent = agent_of(worker, address, PONG)
    server.hold_back("tools/list")
    run = worker.start_run(agent, **({"timeout_ms": INIT_MS} if ending == "timeout" else {}))
    server.wait_for("tools/list")
    if ending == "cancel":
        worker.submit("cancel", target=run)
    failed(worker.terminal(run), "Cancelled" if ending == "cancel" else "Timeout")
    assert server.left.wait(PATIENCE_S), "the connection is still there"
    server.let_go("tools/list")
    server.restart()
    assert returned(succeeded(worker.run(agent)), "pong") == [("pong", "success")]


def test_a_run_that_is_cancelled_while_it_connects_leaves_the_others_waiting(
    worker: Worker, legacy: tuple[LegacyServer, str]
) -> None:
    """clause: CAP-MCP, RUN-CANCEL"""
    server, address = legacy
    agent = agent_of(worker, address, PONG)
    server.hold_back("initialize")
    first, second = worker.start_run(agent), worker.start_run(agent)
    server.wait_for("initialize")
    worker.submit("cancel", target=first)
    failed(worker.terminal(first), "Cancelled")
    server.let_go("initialize")
    assert returned(succeeded(worker.terminal(second)), "pong") == [("pong", "success")]
    assert server.heard.count("initialize") == 1


# ---------------------------------------------------------------- a server that was started anew


def test_a_server_that_forgot_the_connection_is_connected_to_again_while_a_run_holds_it(
    worker: Worker, legacy: tuple[LegacyServer, str]
) -> None:
    """clause: CAP-MCP"""
    server, address = legacy
    agent = agent_of(worker, address, PONG)
    holding, call = waiting_run(worker, agent, PONG)
    server.restart()
    assert returned(succeeded(worker.run(agent)), "pong") == [("pong", "success")]
    worker.answer(call, result=1)
    assert returned(succeeded(worker.terminal(holding)), "pong") == [("pong", "success")]


def test_a_process_that_ended_is_started_again_while_a_run_holds_the_connection(worker: Worker) -> None:
    """clause: CAP-MCP"""
    agent = agent_of(worker, str(SERVER), {"tool_calls": [{"name": "pid"}]})
    _, call = waiting_run(worker, agent)
    ((first, _),) = returned(succeeded(worker.run(agent)), "pid")
    process = Watched(first)
    process.kill()
    process.wait_end()
    ((second, outcome),) = returned(succeeded(worker.run(agent)), "pid")
    assert outcome == "success"
    assert second != first
    worker.answer(call, result=1)
    succeeded(worker.terminal(call["id"]))


def test_a_call_that_breaks_off_is_told_to_the_model_and_the_next_one_is_made(
    worker: Worker, legacy: tuple[LegacyServer, str]
) -> None:
    """clause: CAP-MCP, TOOL-RETRIES"""
    server, address = legacy
    run, call = waiting_run(worker, agent_of(worker, address), PONG, PONG)
    server.restart()
    worker.answer(call, result=1)
    answer = succeeded(worker.terminal(run))
    assert [outcome for _, outcome in returned(answer, "pong")] == ["retried", "success"]


def test_a_server_that_is_busy_keeps_its_connection(worker: Worker, legacy: tuple[LegacyServer, str]) -> None:
    """clause: CAP-MCP"""
    server, address = legacy
    agent = agent_of(worker, address, PONG)
    holding, call = waiting_run(worker, agent)
    server.hold_back("tools/list")
    assert returned(succeeded(worker.run(agent)), "pong") == [("pong", "success")]
    server.let_go("tools/list")
    worker.answer(call, result=1)
    succeeded(worker.terminal(holding))
    assert server.heard.count("initialize") == 1


# ---------------------------------------------------------------- a server that does not start


def test_all_runs_that_wait_for_a_server_are_told_at_once_and_by_name(
    worker: Worker, legacy: tuple[LegacyServer, str]
) -> None:
    """clause: CAP-INIT"""
    server, address = legacy
    server.hold_back("initialize")
    agent = agent_of(worker, address, init_timeout_ms=INIT_MS, id="shop")
    runs = [worker.start_run(agent) for _ in range(3)]
    for run in runs:
        message = failed(worker.terminal(run), "ToolError")["message"]
        assert "the MCP server 'shop' did not start and answer within 1000 ms: see init_timeout_ms" in message
    assert server.heard.count("initialize") == 1


def test_a_server_that_is_a_script_is_told_by_its_name(worker: Worker, tmp_path: Path) -> None:
    """clause: CAP-MCP"""
    script = tmp_path / "shop.py"
    script.write_text("raise SystemExit(3)")
    assert "the MCP server 'shop.py'" in failed(worker.run(agent_of(worker, str(script))), "ToolError")["message"]


def test_two_servers_with_tools_of_one_name_are_told_by_name(worker: Worker, http_url: str) -> None:
    """clause: CAP-MCP"""
    capabilities = [{"MCP": {"url": http_url, "id": name}} for name in ("shop", "depot")]
    message = failed(worker.run(worker.agent([DONE], capabilities=capabilities)), "InvalidAgent")["message"]
    for said in ("the MCP server 'shop'", "the MCP server 'depot'", "`tool_prefix`"):
        assert said.lower() in message.lower()


# ---------------------------------------------------------------- logs


def test_what_a_connection_logs_is_no_run_s(worker: Worker, tmp_path: Path) -> None:
    """clause: LOG-RECORDS"""
    script = tmp_path / "noisy.py"
    script.write_text(
        f"import runpy\nprint('hello', flush=True)\nrunpy.run_path({str(SERVER)!r}, run_name='__main__')\n"
    )
    succeeded(worker.run(agent_of(worker, str(script))))
    log = worker.wait_for_log(lambda log: log["logger"] == "mcp.client.stdio")
    assert "id" not in log


def test_what_fastmcp_logs_is_logged_like_all_else() -> None:
    """clause: LOG-RECORDS"""
    build_capabilities([{"MCP": "http://127.0.0.1:9/mcp"}], Allowed(capabilities=frozenset({"MCP"})))
    theirs = logging.getLogger("fastmcp")
    assert theirs.propagate
    assert theirs.handlers == []


def test_a_script_is_taken_without_a_warning() -> None:
    """clause: CAP-MCP"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_capabilities([{"MCP": {"url": str(SERVER)}}], Allowed(capabilities=frozenset({"MCP", "MCP:stdio"})))
