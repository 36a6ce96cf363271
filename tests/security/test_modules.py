"""Agents written in Python whose own tools misbehave: the same promises as for tools that are given as data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import SharedWorker
from tests.kit import REPOSITORY, Frame, Worker, failed, succeeded, texts
from tests.kit.messages import tool_returns

SOURCE = """
import asyncio, logging, os, sys
from pydantic import TypeAdapter
from pydantic_ai import Agent, ApprovalRequired, ModelRetry, RunContext, ToolFailed, ToolReturn
from pydantic_ai.tools import Tool
log = logging.getLogger("desk")
agent = Agent(name="desk", deps_type=dict, instructions="be a desk")

ENDS = {
    "ValueError": ValueError, "SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError, "MemoryError": MemoryError, "RecursionError": RecursionError,
    "TimeoutError": TimeoutError, "StopIteration": StopIteration, "StopAsyncIteration": StopAsyncIteration,
    "GeneratorExit": GeneratorExit, "BaseException": BaseException,
}
def _make(kind):
    if kind == "BaseExceptionGroup":
        return BaseExceptionGroup("several", [KeyboardInterrupt(), SystemExit(4)])
    if kind == "ExceptionGroup":
        return ExceptionGroup("several", [ValueError("inside")])
    return ENDS[kind]("the secret of the desk")

@agent.tool_plain
def throw(kind: str) -> str:
    raise _make(kind)

@agent.tool_plain
async def throw_later(kind: str) -> str:
    await asyncio.sleep(0)
    raise _make(kind)

@agent.tool_plain
async def cancel_itself() -> str:
    asyncio.current_task().cancel()
    await asyncio.sleep(0)
    return "went on"

@agent.tool_plain
def misread() -> int:
    return TypeAdapter(int).validate_python("the secret of the desk")

@agent.tool_plain
def look_like(kind: str) -> dict:
    return {"found": [{"kind": kind, "url": "http://127.0.0.1:9/a.png", "data": "AAAA", "media_type": "image/png"}]}

@agent.tool_plain
async def hold_on() -> str:
    log.warning("holding on")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            log.warning("asked to stop")

@agent.tool_plain
def leave() -> str:
    sys.exit(3)

@agent.tool_plain
def say(text: str) -> str:
    print(text)
    os.write(1, b"by descriptor\\n")
    log.warning("logged %s", text)
    return "said"

@agent.tool_plain
def ask(again: bool) -> str:
    if again:
        raise ModelRetry("once more")
    return "fine"

@agent.tool_plain
def give_up() -> str:
    raise ToolFailed("there is none")

@agent.tool_plain
def odd(where: str) -> object:
    return object() if where == "value" else ToolReturn("fine", metadata=object())

@agent.tool
def context(ctx: RunContext[dict], key: str) -> object:
    return {"deps": ctx.deps, "value": ctx.deps[key]}

@agent.tool_plain(requires_approval=True)
def refund(amount: int) -> str:
    return f"refunded {amount}"

@agent.tool
def refund_if_told(ctx: RunContext[dict], amount: int) -> str:
    if not ctx.tool_call_approved:
        raise ApprovalRequired
    return f"refunded {amount}"
"""


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedWorker]:
    """Holds a worker that may import the desk."""
    folder: Path = tmp_path_factory.mktemp("modules")
    (folder / "desk.py").write_text(SOURCE)
    shared = SharedWorker(lambda: Worker("--allow-import", "desk", pythonpath=[folder, REPOSITORY]))
    yield shared
    shared.end()


@pytest.fixture
def worker(holder: SharedWorker, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """That worker."""
    yield from holder.lend(request)


def desk(worker: Worker, **fields: Any) -> str:
    """An agent of the module, without a model of its own."""
    return worker.agent(module="desk:agent", **fields)


def script(*wanted: tuple[str, dict[str, Any]], turns: int = 1) -> dict[str, Any]:
    """A model that makes these calls, once or in several turns, and then says `done`."""
    turn = {"tool_calls": [{"name": name, "args": args} for name, args in wanted]}
    return {"script": [*[turn] * turns, {"text": "done"}]}


def called(worker: Worker, name: str, **args: Any) -> Frame:
    """The end of a run that calls one tool of the desk."""
    return worker.run(desk(worker), model=script((name, args)), deps={"name": "Ada"})


@pytest.mark.parametrize("tool", ["throw", "throw_later"])
@pytest.mark.parametrize(
    "kind",
    ["ValueError", "SystemExit", "KeyboardInterrupt", "CancelledError", "MemoryError", "RecursionError",
     "TimeoutError", "StopIteration", "StopAsyncIteration", "GeneratorExit", "BaseException", "BaseExceptionGroup",
     "ExceptionGroup"],
)  # fmt: skip
def test_a_tool_that_raises_ends_its_run_and_no_other(worker: Worker, tool: str, kind: str) -> None:
    """clause: TOOL-FOREIGN, TOOL-RAISES"""
    ask = {"name": "wait", "parameters": {"type": "object"}}
    beside = worker.start_run(worker.agent(model=script(("wait", {})), tools=[ask]))
    call = worker.wait_for("tool_call", of=beside)
    answer = failed(called(worker, tool, kind=kind), "ToolError")
    assert "the secret of the desk" not in answer["message"]
    worker.wait_for_log(lambda log: kind in log.get("traceback", ""))
    worker.answer(call, result=1)
    assert succeeded(worker.terminal(beside))["result"] == "done"


@pytest.mark.parametrize(("tool", "told"), [("cancel_itself", "CancelledError"), ("misread", "ValidationError")])
def test_what_goes_wrong_inside_a_tool_is_the_tool_s(worker: Worker, tool: str, told: str) -> None:
    """It is neither the worker's fault nor, as arguments that do not fit would be, the model's.

    clause: TOOL-FOREIGN, TOOL-RAISES
    """
    message = failed(called(worker, tool), "ToolError")["message"]
    assert told in message
    assert "the secret of the desk" not in message
    worker.wait_for_log(lambda log: told in log.get("traceback", ""))


def test_a_tool_that_does_not_stop_is_left_behind_and_counted(worker: Worker) -> None:
    """clause: TOOL-FOREIGN, RUN-CANCEL"""
    before = succeeded(worker.ask("stats"))["result"]["tools"]["abandoned"]
    run = worker.start_run(desk(worker), model=script(("hold_on", {})))
    worker.wait_for_log(lambda log: log["message"] == "holding on")
    worker.submit("cancel", target=run)
    failed(worker.terminal(run), "Cancelled")
    assert succeeded(worker.ask("stats"))["result"]["tools"]["abandoned"] == before + 1


@pytest.mark.parametrize("kind", ["binary", "image-url"])
def test_json_that_looks_like_a_file_or_an_address_stays_json_in_a_history(worker: Worker, kind: str) -> None:
    """clause: TOOL-FOREIGN, RUN-HISTORY"""
    first = succeeded(called(worker, "look_like", kind=kind))
    again = worker.run(
        desk(worker), message_history=first["messages"], model={"script": [{"text": "done"}]}, messages="all"
    )
    ((_, content, _),) = tool_returns(succeeded(again)["messages"])
    ((_, before, _),) = tool_returns(first["messages"])
    assert content == before


def test_a_tool_that_leaves_does_not_take_the_worker_with_it(worker: Worker) -> None:
    """clause: TOOL-FOREIGN"""
    failed(called(worker, "leave"), "ToolError")
    assert succeeded(worker.ask("ping"))["result"]["status"] == "ok"


def test_what_a_tool_prints_and_logs_arrives_as_logs(worker: Worker) -> None:
    """clause: STDIO-CAPTURE, LOG-RECORDS"""
    succeeded(called(worker, "say", text="by print"))
    for logger, text in (("stdout", "by print"), ("stdout", "by descriptor"), ("desk", "logged by print")):
        worker.wait_for_log(lambda log, logger=logger, text=text: log["logger"] == logger and text in log["message"])


@pytest.mark.parametrize("where", ["value", "metadata"])
def test_a_tool_that_returns_what_no_message_can_hold_is_to_blame_itself(worker: Worker, where: str) -> None:
    """clause: TOOL-FOREIGN, TOOL-RAISES"""
    assert failed(called(worker, "odd", where=where), "ToolError")["messages"]


def test_a_tool_may_ask_again_and_may_give_up(worker: Worker) -> None:
    """clause: TOOL-FOREIGN, TOOL-RETRIES"""
    assert [end for _, _, end in tool_returns(called(worker, "ask", again=True)["messages"])] == ["retried"]
    assert [end for _, _, end in tool_returns(called(worker, "give_up")["messages"])] == ["failed"]
    again = worker.run(desk(worker), model=script(("ask", {"again": True}), turns=2))
    failed(again, "ToolRetriesExceeded")


def test_a_tool_sees_the_deps_as_they_were_given(worker: Worker) -> None:
    """clause: RUN-DEPS, CMD-MODULE"""
    deps = {"name": "Ada", "big": 2**70, "deep": {"list": [1, None, 1.5]}}
    answer = worker.run(desk(worker), model=script(("context", {"key": "big"})), deps=deps)
    ((_, content, _),) = tool_returns(succeeded(answer)["messages"])
    assert content == {"deps": deps, "value": 2**70}


def test_a_tool_that_misses_something_in_the_deps_fails_as_code_does(worker: Worker) -> None:
    """clause: TOOL-FOREIGN"""
    failed(called(worker, "context", key="nothing"), "ToolError")


@pytest.mark.parametrize("name", ["refund", "refund_if_told"])
@pytest.mark.parametrize("approved", [True, False])
def test_a_tool_that_needs_a_word_asks_the_parent(worker: Worker, name: str, approved: bool) -> None:
    """clause: TOOL-FOREIGN, TOOL-APPROVAL"""
    run = worker.start_stream(
        desk(worker), model=script((name, {"amount": 30})), deps={}, events=["tool_call", "tool_return"]
    )
    request = worker.wait_for("approval_request", of=run)
    assert (request["name"], request["args"]) == (name, {"amount": 30})
    more = {"args": {"amount": 10}} if approved else {"message": "not today"}
    worker.decide(request, approved=approved, **more)
    frames = worker.collect(run)
    ((_, content, _),) = tool_returns(succeeded(frames[-1])["messages"])
    assert content == ("refunded 10" if approved else "not today")
    assert {chunk["call_id"] for kind in ("tool_call", "tool_return") for chunk in texts(frames, kind)} <= {
        request["call_id"]
    }


def test_a_tool_of_the_parent_may_wait_for_a_word_beside_tools_of_the_module(worker: Worker) -> None:
    """The parent is asked about the module's at once, and about its own when the run has ended.

    clause: TOOL-FOREIGN, DEFER-APPROVAL
    """
    tool = {"name": "ship", "parameters": {"type": "object"}, "requires_approval": True, "approval": "deferred"}
    wanted = script(("ship", {}), ("refund", {"amount": 30}))
    run = worker.start_run(desk(worker, tools=[tool]), model=wanted, deps={})
    request = worker.wait_for("approval_request", of=run)
    assert request["name"] == "refund"
    worker.decide(request, approved=True)
    answer = succeeded(worker.terminal(run))
    assert [(call["name"], call["approval"]) for call in answer["deferred"]["calls"]] == [("ship", True)]
    assert [(name, content) for name, content, _ in tool_returns(answer["messages"])] == [("refund", "refunded 30")]


def test_what_is_imported_stays_as_it_was(worker: Worker) -> None:
    """clause: AGENT-REFINE"""
    tool = {"name": "lookup", "parameters": {"type": "object"}}
    refined = desk(worker, tools=[tool], instructions="and be quick", system_prompt="only a desk", retries=0)
    run = worker.start_run(refined, model=script(("lookup", {})))
    worker.answer(worker.wait_for("tool_call", of=run), result=1)
    assert "and be quick" in str(succeeded(worker.terminal(run))["messages"])
    plain = worker.run(desk(worker), model=script(("lookup", {})))
    assert [end for _, _, end in tool_returns(succeeded(plain)["messages"])] == ["retried"]
    assert "quick" not in str(plain["messages"])
    assert "only a desk" not in str(plain["messages"])


def test_a_run_without_any_model_is_refused(worker: Worker) -> None:
    """Neither the module nor the run has one. clause: CMD-MODULE, AGENT-INVALID"""
    answer = worker.run(desk(worker))
    assert answer["type"] == "error"
    assert answer["error_type"] != "InternalError", answer
