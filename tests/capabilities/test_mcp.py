"""MCP servers as tools: listed, called, prefixed, put to a person, failing, dying; and what becomes of the child."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit import REPOSITORY, Frame, Worker, failed, succeeded, texts
from tests.kit.messages import tool_returns
from tests.kit.processes import is_running

from .conftest import CANARY, SERVER, capable

GONE_S = 30
TICKS = os.sysconf("SC_CLK_TCK")


def calls(*wanted: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A turn in which the model calls tools."""
    return {"tool_calls": [{"name": name, "args": args} for name, args in wanted]}


def agent_of(worker: Worker, address: str, *turns: dict[str, Any], last: bool = True, **arguments: Any) -> str:
    """An agent with the tools of one server; its model says `done` after its turns."""
    script = [*turns, {"text": "done"}] if last else list(turns)
    return worker.agent(script, capabilities=[{"MCP": {"url": address, **arguments}}])


def returned(answer: Frame) -> list[Any]:
    """What the model saw of the calls that went well, in a run that did."""
    return [content for _, content, outcome in tool_returns(succeeded(answer)["messages"]) if outcome == "success"]


def outcomes(answer: Frame) -> list[str]:
    """How the calls of a run went."""
    return [outcome for _, _, outcome in tool_returns(answer["messages"])]


def child_of(worker: Worker, address: str = str(SERVER)) -> tuple[str, int]:
    """An agent whose server has been started, and the server's pid."""
    agent = agent_of(worker, address, calls(("pid", {})))
    (pid,) = returned(worker.run(agent))
    return agent, int(pid)


class Watched:
    """A process that is no child of ours, by a descriptor that no other process can take over."""

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def kill(self) -> None:
        """Ends it."""
        signal.pidfd_send_signal(self._fd, signal.SIGKILL)

    def wait_end(self) -> None:
        """Returns when the process has ended."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        ended = poll.poll(GONE_S * 1000)
        os.close(self._fd)
        assert ended, "the process still runs"


# ---------------------------------------------------------------- tools


def test_the_tools_of_a_server_are_listed_for_the_model_and_called(worker: Worker, address: str) -> None:
    """clause: CAP-MCP, TOOL-FOREIGN"""
    agent = agent_of(worker, address, calls(("add", {"x": 2, "y": 3}), ("add", {"x": 4, "y": 5})))
    assert returned(worker.run(agent)) == [5, 9]
    assert returned(worker.run(agent)) == [5, 9]


def test_the_tools_of_a_server_are_not_listed_in_answers(worker: Worker, address: str) -> None:
    """clause: AGENT-LISTED"""
    agent = agent_of(worker, address)
    listed = succeeded(worker.ask("list_agents"))["result"]["agents"]
    assert [each["tools"] for each in listed if each["agent_id"] == agent] == [[]]


def test_many_runs_use_one_server_at_once(worker: Worker, address: str) -> None:
    agent = agent_of(worker, address, calls(("add", {"x": 2, "y": 3})))
    runs = [worker.start_run(agent) for _ in range(20)]
    assert [returned(worker.terminal(run)) for run in runs] == [[5]] * 20


def test_a_stream_tells_of_the_calls(worker: Worker, address: str) -> None:
    """clause: STREAM-TOOLS"""
    agent = agent_of(worker, address, calls(("add", {"x": 2, "y": 3})))
    run = worker.start_stream(agent, events=["text", "tool_call", "tool_return"])
    frames = worker.collect(run)
    (call,), (back,) = texts(frames, "tool_call"), texts(frames, "tool_return")
    assert (call["name"], call["args"], back["content"]) == ("add", {"x": 2, "y": 3}, 5)
    assert call["call_id"] == back["call_id"]


def test_a_prefix_stands_before_the_names(worker: Worker, address: str) -> None:
    """clause: CAP-MCP, CAP-SPECS"""
    turns = [calls(("shop_add", {"x": 2, "y": 3})), {"text": "done"}]
    for spec in (
        {"MCP": {"url": address, "tool_prefix": "shop"}},
        {"PrefixTools": {"prefix": "shop", "capability": {"MCP": {"url": address}}}},
        {"PrefixTools": {"prefix": "shop", "capability": {"MCP": address}}},
    ):
        assert returned(worker.run(worker.agent(turns, capabilities=[spec]))) == [5]


def test_only_the_tools_that_are_allowed_are_there(worker: Worker, address: str) -> None:
    agent = agent_of(worker, address, calls(("refund", {"amount": 1})), allowed_tools=["add"])
    assert outcomes(worker.run(agent)) == ["retried"]


def test_a_server_checks_its_own_arguments(worker: Worker, address: str) -> None:
    """clause: TOOL-FOREIGN"""
    agent = agent_of(worker, address, calls(("add", {"x": "two"})), calls(("add", {"x": 2, "y": 3})))
    assert outcomes(worker.run(agent)) == ["retried", "success"]


def test_a_tool_of_a_server_that_fails_tells_the_model_and_spends_its_budget(worker: Worker, address: str) -> None:
    """clause: TOOL-RETRIES"""
    once = agent_of(worker, address, calls(("fail", {})))
    assert outcomes(worker.run(once)) == ["retried"]
    again = agent_of(worker, address, calls(("fail", {})), calls(("fail", {})))
    failed(worker.run(again), "ToolRetriesExceeded")


def test_a_tool_of_a_server_and_one_of_the_parent_work_side_by_side(worker: Worker, address: str) -> None:
    tool = {"name": "lookup", "parameters": {"type": "object"}}
    turns = [calls(("lookup", {}), ("add", {"x": 2, "y": 3})), {"text": "done"}]
    run = worker.start_run(worker.agent(turns, tools=[tool], capabilities=[{"MCP": {"url": address}}]))
    worker.answer(worker.wait_for("tool_call", of=run), result="found")
    assert returned(worker.terminal(run)) == ["found", 5]


# ---------------------------------------------------------------- approval


def refunding(worker: Worker, address: str, approval: Any, **arguments: Any) -> str:
    """An agent that asks for a refund."""
    turn = calls(("refund", {"amount": 30}))
    return agent_of(worker, address, turn, requires_approval=approval, **arguments)


@pytest.mark.parametrize("approval", [True, ["refund"], ["add", "refund"]], ids=repr)
def test_a_person_allows_a_call(worker: Worker, address: str, approval: Any) -> None:
    """clause: CAP-APPROVAL, TOOL-FOREIGN, TOOL-APPROVAL"""
    run = worker.start_run(refunding(worker, address, approval))
    request = worker.wait_for("approval_request", of=run)
    assert (request["name"], request["args"]) == ("refund", {"amount": 30})
    worker.decide(request, approved=True)
    assert returned(worker.terminal(run)) == ["refunded 30"]


def test_a_person_changes_the_arguments(worker: Worker, address: str) -> None:
    """clause: CAP-APPROVAL, CMD-APPROVAL"""
    run = worker.start_run(refunding(worker, address, True))
    worker.decide(worker.wait_for("approval_request", of=run), approved=True, args={"amount": 10})
    assert returned(worker.terminal(run)) == ["refunded 10"]


def test_a_person_refuses(worker: Worker, address: str) -> None:
    """clause: CAP-APPROVAL, TOOL-REFUSED"""
    run = worker.start_run(refunding(worker, address, True))
    worker.decide(worker.wait_for("approval_request", of=run), approved=False, message="not today")
    ((name, content, outcome),) = tool_returns(succeeded(worker.terminal(run))["messages"])
    assert (name, content, outcome) == ("refund", "not today", "denied")


@pytest.mark.parametrize("approval", [False, [], ["add"]], ids=repr)
def test_the_other_tools_are_called_at_once(worker: Worker, address: str, approval: Any) -> None:
    """clause: CAP-APPROVAL"""
    assert returned(worker.run(refunding(worker, address, approval))) == ["refunded 30"]


@pytest.mark.parametrize("name", ["refund", "shop_refund"])
def test_a_tool_with_a_prefix_needs_approval_by_either_name(worker: Worker, address: str, name: str) -> None:
    """A list that names the tool as its server does must not let it through. clause: CAP-APPROVAL"""
    turn = calls(("shop_refund", {"amount": 30}))
    agent = agent_of(worker, address, turn, requires_approval=[name], tool_prefix="shop")
    run = worker.start_run(agent)
    first = worker.wait_for(lambda frame: frame["type"] in {"approval_request", "result"}, of=run)
    assert first["type"] == "approval_request", "the call was made without a person's word"
    worker.decide(first, approved=False)
    succeeded(worker.terminal(run))


@pytest.mark.parametrize("approval", ["refund", 1, [1], [[]], {"refund": True}], ids=repr)
def test_an_approval_that_is_neither_true_nor_names_is_refused(worker: Worker, http_url: str, approval: Any) -> None:
    """clause: CAP-APPROVAL, CAP-SPECS"""
    capabilities = [{"MCP": {"url": http_url, "requires_approval": approval}}]
    answer = worker.ask("create_agent", agent_id="odd", model="test", replace=True, capabilities=capabilities)
    failed(answer, "InvalidAgent")


def test_a_cancel_while_a_person_thinks_ends_the_run(worker: Worker, address: str) -> None:
    """clause: CALL-CANCEL"""
    run = worker.start_run(refunding(worker, address, True))
    worker.wait_for("approval_request", of=run)
    succeeded(worker.ask("cancel", target=run))
    frames = worker.collect(run)
    assert [frame["type"] for frame in frames] == ["tool_cancel", "error"]
    failed(frames[-1], "Cancelled")


# ---------------------------------------------------------------- servers that fail


def test_a_server_that_dies_in_a_call_ends_the_run_and_the_next_one_works(worker: Worker) -> None:
    """clause: CAP-MCP, TOOL-RETRIES
    fault: F56
    """
    agent = agent_of(worker, str(SERVER), calls(("pid", {})), calls(("die", {})), calls(("die", {})), last=False)
    answer = worker.run(agent, timeout_ms=30_000, messages="all")
    failed(answer, "ToolRetriesExceeded")
    first = [content for name, content, _ in tool_returns(answer["messages"]) if name == "pid"]
    assert not Path(f"/proc/{first[0]}").exists(), "the child was not reaped"
    turns = {"script": [calls(("add", {"x": 2, "y": 3})), {"text": "done"}]}
    assert returned(worker.run(agent, model=turns)) == [5]


@pytest.mark.parametrize("kind", ["nobody listens", "no server", "ends at once", "says nothing"])
def test_a_server_that_cannot_be_reached_is_no_fault_of_the_worker(worker: Worker, tmp_path: Path, kind: str) -> None:
    """clause: ERR-TYPES, CAP-MCP"""
    script = tmp_path / "server.py"
    script.write_text({"ends at once": "raise SystemExit(3)", "says nothing": "print('hello')"}.get(kind, ""))
    address = "http://127.0.0.1:9/mcp" if kind == "nobody listens" else str(script)
    answer = worker.run(agent_of(worker, address), timeout_ms=30_000)
    assert answer["type"] == "error"
    assert answer["error_type"] != "InternalError", answer["message"]


def test_a_run_that_waits_for_a_server_is_cancelled_at_once(worker: Worker, address: str) -> None:
    """clause: RUN-CANCEL, TOOL-FOREIGN"""
    agent = agent_of(worker, address, calls(("wait", {})))
    run = worker.start_stream(agent, events=["tool_call"])
    worker.wait_for("chunk", of=run)
    succeeded(worker.ask("cancel", target=run))
    failed(worker.terminal(run), "Cancelled")


def test_a_run_that_waits_for_a_server_times_out(worker: Worker, address: str) -> None:
    """clause: RUN-TIMEOUT, TOOL-FOREIGN"""
    failed(worker.run(agent_of(worker, address, calls(("wait", {}))), timeout_ms=1500), "Timeout")


# ---------------------------------------------------------------- the child


def test_a_child_sees_no_key_of_the_environment(worker: Worker) -> None:
    """clause: CAP-MCP, SEC-KEYS
    fault: H66
    """
    (environment,) = returned(worker.run(agent_of(worker, str(SERVER), calls(("environment", {})))))
    assert CANARY not in json.dumps(environment)
    assert not environment.keys() & {"OPENAI_API_KEY", "SHOP_TOKEN"}


def test_a_child_holds_no_descriptor_of_the_frames(worker: Worker) -> None:
    """clause: STDIO-CHILDREN"""
    _, pid = child_of(worker)
    frames = {os.readlink(f"/proc/{worker.pid}/fd/{number}") for number in frame_descriptors(worker)}
    held = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    assert frames
    assert not frames & held


def frame_descriptors(worker: Worker) -> list[int]:
    """The worker's descriptors of pipes that it shares with this process, stderr left out."""
    ours = {link for entry in Path("/proc/self/fd").iterdir() if (link := _link(entry)).startswith("pipe:")}
    entries = {int(entry.name): _link(entry) for entry in Path(f"/proc/{worker.pid}/fd").iterdir()}
    return [number for number, link in entries.items() if link in ours and link != entries[2]]


def _link(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except FileNotFoundError:
        return ""


def test_the_child_of_a_deleted_agent_ends(worker: Worker) -> None:
    """An agent that is gone keeps no process. clause: AGENT-DELETE"""
    agent, pid = child_of(worker)
    child = Watched(pid)
    succeeded(worker.ask("delete_agent", agent_id=agent))
    child.wait_end()


@pytest.mark.parametrize("ending", ["end of input", "shutdown", "SIGTERM", "killed in the middle of a call", "SIGKILL"])
def test_the_child_is_gone_when_the_worker_is(ending: str) -> None:
    """clause: CAP-MCP, LIFE-CHILDREN
    fault: D37
    """
    with capable("MCP", "MCP:stdio", at_exit="kill") as worker:
        agent, pid = child_of(worker)
        child = Watched(pid)
        if ending == "end of input":
            worker.close_stdin()
        elif ending == "shutdown":
            succeeded(worker.ask("shutdown"))
        elif ending in {"SIGTERM", "SIGKILL"}:
            worker.signal(signal.Signals[ending])
        else:
            waiting = {"script": [calls(("wait", {}))]}
            run = worker.start_stream(agent, model=waiting, events=["tool_call"])
            worker.wait_for("chunk", of=run)
            succeeded(worker.ask("shutdown", grace_ms=0))
        assert worker.wait_exit() == (-signal.SIGKILL if ending == "SIGKILL" else 0)
        child.wait_end()


def test_worker_and_child_are_gone_when_the_parent_was_killed() -> None:
    """clause: LIFE-CHILDREN, LIFE-EOF
    fault: D37
    """
    command = [sys.executable, "-m", "tests.capabilities.parent", str(SERVER)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        watched = [Watched(pid) for pid in json.loads(parent.stdout.readline())]
        parent.kill()
    for each in watched:
        each.wait_end()


def test_a_hundred_cancelled_runs_leave_nothing_that_works_on(address: str) -> None:
    """clause: RUN-CANCEL, CAP-MCP
    fault: F55
    """
    with capable("MCP", "MCP:stdio") as worker:
        agent = agent_of(worker, address, calls(("wait", {})))
        for _ in range(10):
            runs = [worker.start_stream(agent, events=["tool_call"]) for _ in range(10)]
            for run in runs:
                worker.wait_for("chunk", of=run)
            for run in runs:
                worker.submit("cancel", target=run)
            for run in runs:
                failed(worker.terminal(run), "Cancelled")
        before = cpu_seconds(worker.pid)
        idle_second()
        assert cpu_seconds(worker.pid) - before < 0.3
        stats = succeeded(worker.ask("stats"))["result"]
        assert (stats["runs"]["inflight"], stats["runs"]["cancelled"]) == (0, 100)
        turns = {"script": [calls(("add", {"x": 2, "y": 3})), {"text": "done"}]}
        assert returned(worker.run(agent, model=turns)) == [5]


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def idle_second() -> None:
    """Lets a second pass: it is what is measured."""
    select.select([], [], [], 1)


def test_a_child_that_nobody_asked_for_is_not_started(worker: Worker) -> None:
    """Creating an agent starts nothing; its first run does. clause: CAP-MCP"""
    before = children_of(worker.pid)
    agent = agent_of(worker, str(SERVER), calls(("pid", {})))
    assert children_of(worker.pid) == before
    (pid,) = returned(worker.run(agent))
    assert is_running(pid)
    assert children_of(worker.pid) - before == {pid}


def children_of(pid: int) -> set[int]:
    """The running children of a process."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for path in listed for child in path.read_text().split()}
