"""The client with real workers and the scripted model."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any, get_type_hints

import pytest

from axon_port.client import (
    Approved,
    Call,
    DeferredCall,
    Denied,
    Failed,
    Retry,
    RunResult,
    Shown,
    Worker,
    WorkerGone,
    errors,
    runs,
    tool,
)
from axon_port.client.fields import AgentFields, RunFields
from axon_port.wire.commands import CreateAgent, Stream
from tests.kit import REPOSITORY
from tests.kit.messages import parts, tool_returns
from tests.kit.patience import LIMITS_MS
from tests.kit.processes import is_running

from .peers import AT_ONCE, SECONDS, nothing_left, on_a_loop

On = Callable[[Callable[[Worker], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def on() -> Generator[On]:
    """Runs a coroutine function with the one worker of this file."""
    with asyncio.Runner() as runner:
        worker = runner.run(Worker.spawn(log_level="debug").__aenter__())

        def run(test: Callable[[Worker], Awaitable[None]]) -> None:
            async def bounded() -> None:
                async with asyncio.timeout(SECONDS):
                    await test(worker)

            runner.run(bounded())

        yield run
        pid: int = worker.ready["pid"]
        runner.run(worker.__aexit__(None, None, None))
    assert not is_running(pid)


def calls(name: str, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "args": one} for one in arguments]}


def script(*turns: dict[str, Any]) -> dict[str, Any]:
    return {"script": list(turns)}


async def until(worker: Worker, inflight: int) -> None:
    """Returns when so many runs are under way."""
    while (await worker.ping())["inflight"] != inflight:
        pass


async def commands(worker: Worker) -> tuple[int, int]:
    """How many runs and streams the worker was given."""
    counts = (await worker.stats())["commands"]
    return counts["run"], counts["stream"]


# --- runs and tools


def test_functions_answer_tool_calls_in_their_own_ways(on: On) -> None:
    threads: list[int] = []

    def plain(n: int) -> int:
        threads.append(threading.get_ident())
        return n + 1

    async def slow(n: int) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"n": n}

    def picky(n: int) -> str:
        if n < 2:
            raise Retry("n is too small")
        return "fine"

    def broken() -> None:
        raise Failed("the shop is closed")

    def label(call: Call) -> Shown:
        return Shown(call.agent_id, [{"type": "text", "text": "a label"}])

    async def talk(worker: Worker) -> None:
        turns = [
            calls("plain", {"n": 1}),
            calls("slow", {"n": 2}),
            calls("picky", {"n": 1}),
            calls("picky", {"n": 2}),
            calls("broken", {}),
            calls("print_label", {}),
        ]
        tools = [plain, slow, picky, broken, tool(label, name="print_label")]
        made = await worker.create_agent("shop", model=script(*turns, {"text": "sold"}), tools=tools)
        assert made["tools"] == ["plain", "slow", "picky", "broken", "print_label"]
        result = await worker.run("shop", "tea, please")
        assert (result.output, result.status, result.agent_id) == ("sold", "complete", "shop")
        assert result.usage["requests"] == 7
        assert result.messages is not None
        assert tool_returns(result.messages) == [
            ("plain", 2, "success"),
            ("slow", {"n": 2}, "success"),
            ("picky", "n is too small", "retried"),
            ("picky", "fine", "success"),
            ("broken", "the shop is closed", "failed"),
            ("print_label", "shop", "success"),
        ]

    on(talk)
    assert threading.get_ident() not in threads


def test_what_a_tool_raises_is_the_cause_of_the_run_s_error(on: On, caplog: pytest.LogCaptureFixture) -> None:
    def explode() -> None:
        raise ZeroDivisionError("secret")

    async def talk(worker: Worker) -> None:
        await worker.create_agent("bomb", model=script(calls("explode", {})), tools=[explode])
        with pytest.raises(errors.ToolError) as caught:
            await worker.run("bomb", "go")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.message == "the tool explode raised ZeroDivisionError"
        assert caught.value.usage == {
            "requests": 1,
            **{k: v for k, v in (caught.value.usage or {}).items() if k != "requests"},
        }

    on(talk)
    assert "ZeroDivisionError: secret" in caplog.text


def test_a_stray_cancellation_is_a_tool_s_own_failure(on: On) -> None:
    async def stray() -> None:
        raise asyncio.CancelledError

    async def talk(worker: Worker) -> None:
        await worker.create_agent("stray", model=script(calls("stray", {})), tools=[stray])
        with pytest.raises(errors.ToolError, match="raised CancelledError"):
            await worker.run("stray", "go")
        assert (await worker.ping())["status"] == "ok"

    on(talk)


def test_a_tool_without_a_function_ends_the_run(on: On) -> None:
    async def talk(worker: Worker) -> None:
        nowhere = {"name": "nowhere", "parameters": {"type": "object"}}
        await worker.create_agent("lost", model=script(calls("nowhere", {})), tools=[nowhere])
        with pytest.raises(errors.ToolError, match="has no function for the tool 'nowhere'"):
            await worker.run("lost", "go")

    on(talk)


def test_a_call_that_nobody_waits_for_is_cancelled_here_too(on: On) -> None:
    begun, ended = list[str](), list[str]()

    async def endless() -> None:
        begun.append("endless")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("endless")

    async def talk(worker: Worker) -> None:
        for number, limit in enumerate(LIMITS_MS):
            limited = tool(endless, timeout_ms=limit, retries=0)
            await worker.create_agent(f"slow {number}", model=script(calls("endless", {})), tools=[limited])
            with pytest.raises(errors.ToolRetriesExceeded):
                await worker.run(f"slow {number}", "go")
            if begun:
                break

    on(talk)
    assert begun == ended == ["endless"]


def test_a_run_sent_right_behind_its_agent_finds_its_functions(on: On) -> None:
    def tax() -> int:
        return 20

    async def talk(worker: Worker) -> None:
        model = script(calls("tax", {}), {"text": "20"})
        made, result = await asyncio.gather(
            worker.create_agent("taxman", model=model, tools=[tax]), worker.run("taxman", "how much?")
        )
        assert made["agent_id"] == "taxman"
        assert result.output == "20"

    on(talk)


def test_a_replaced_agent_s_run_goes_on_with_the_functions_it_began_with(on: On) -> None:
    async def talk(worker: Worker) -> None:
        may_go, called = asyncio.Event(), asyncio.Event()

        async def first() -> str:
            called.set()
            await may_go.wait()
            return "first"

        def second() -> str:
            return "second"

        model = script(calls("who", {}), calls("who", {}), {"text": "done"})
        await worker.create_agent("twin", model=model, tools=[tool(first, name="who")])
        old = asyncio.create_task(worker.run("twin", "who?"))
        await called.wait()
        await worker.create_agent("twin", model=model, tools=[tool(second, name="who")], replace=True)
        new = await worker.run("twin", "who?")
        may_go.set()
        assert whose(await old) == ["first", "first"]
        assert whose(new) == ["second", "second"]

    def whose(result: RunResult) -> list[str]:
        return [content for _, content, _ in tool_returns(result.messages or [])]

    on(talk)


def test_an_error_of_the_worker_is_raised(on: On) -> None:
    async def talk(worker: Worker) -> None:
        with pytest.raises(errors.AgentNotFound) as caught:
            await worker.run("nobody", "hello?")
        assert caught.value.details == {"agent_id": "nobody"}
        with pytest.raises(errors.InvalidCommand):
            await worker.create_agent("wrong")
        busy = {"error": {"status": 429, "message": "slow down", "retry_after_ms": 1500}}
        await worker.create_agent("busy", model=script(busy))
        with pytest.raises(errors.ModelHTTPError) as failed:
            await worker.run("busy", "hello?")
        assert (failed.value.retryable, failed.value.retry_after_ms) == (True, 1500)
        with pytest.raises(errors.FrameTooLarge):
            await worker.run("busy", "x" * (65 * 1024 * 1024))

    on(talk)


# --- cancelling


ENDLESS = script({"delay_ms": 3_600_000, "text": "42"})


def test_a_caller_that_is_cancelled_cancels_the_run(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await worker.create_agent("thinker", model=ENDLESS)
        call = asyncio.create_task(worker.run("thinker", "think"))
        await until(worker, inflight=1)
        call.cancel()
        await asyncio.wait({call})
        await until(worker, inflight=0)

    on(talk)


def test_a_run_under_way_can_be_added_to_and_cancelled(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await worker.create_agent("thinker", model=ENDLESS, replace=True)
        run = await worker.start("thinker", "think")
        assert await run.enqueue("and be brief") is True
        assert await run.cancel() is True
        with pytest.raises(errors.Cancelled) as caught:
            await run.result()
        with pytest.raises(errors.Cancelled):
            await run.result()
        assert caught.value.messages is not None
        assert await run.cancel() is False
        assert await run.enqueue("too late") is False

    on(talk)


# --- streams


POEM = script({"chunks": [f"{n} " for n in range(500)]})


def test_a_stream_is_taken_chunk_by_chunk_and_ends_with_its_result(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await worker.create_agent("poet", model=POEM)
        async with worker.stream("poet", "a poem", window=3, messages="none") as stream:
            chunks = [chunk async for chunk in stream]
            result = await stream.result()
        assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
        assert {(chunk.step, chunk.kind) for chunk in chunks} == {(1, "text")}
        assert "".join(chunk.data for chunk in chunks) == result.output
        assert result.messages is None

    on(talk)


def test_a_slow_consumer_is_never_flooded(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await worker.create_agent("poet", model=POEM, replace=True)
        async with worker.stream("poet", "a poem", window=4) as stream:
            text = (await anext(stream)).data
            before = (await worker.stats())["frames"]["out"]
            for _ in range(20):
                await worker.ping()
            assert (await worker.stats())["frames"]["out"] - before <= 4 + 20 + 1
            text += "".join([chunk.data async for chunk in stream])
            assert text == (await stream.result()).output

    on(talk)


def test_leaving_a_stream_cancels_its_run(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await worker.create_agent("poet", model=POEM, replace=True)
        async with worker.stream("poet", "a poem", window=1) as stream:
            await anext(stream)
        await until(worker, inflight=0)
        with pytest.raises(errors.Cancelled):
            await stream.result()

    on(talk)


def test_breaking_off_a_bare_loop_cancels_its_run(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await worker.create_agent("poet", model=POEM, replace=True)
        async for chunk in worker.stream("poet", "a poem", window=1):
            assert chunk.seq == 0
            break
        gc.collect()
        await until(worker, inflight=0)

    on(talk)


def test_a_stream_shows_the_kinds_that_were_asked_for_and_calls_functions(on: On) -> None:
    def weather(city: str) -> int:
        return len(city)

    async def talk(worker: Worker) -> None:
        model = script({"thinking": "hm", **calls("weather", {"city": "Riga"})}, {"chunks": ["four"]})
        await worker.create_agent("guide", model=model, tools=[weather])
        stream = worker.stream("guide", "?", events=["thinking", "tool_call", "tool_return", "text"])
        found = [(chunk.step, chunk.kind) async for chunk in stream]
        assert found == [(1, "thinking"), (1, "tool_call"), (1, "tool_return"), (2, "text")]

    on(talk)


def test_a_stream_that_fails_raises_after_its_last_chunk(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await worker.create_agent("half", model=script({"chunks": ["a", "b"], **calls("nowhere", {})}), retries=0)
        texts: list[str] = []

        async def read() -> None:
            async for chunk in worker.stream("half", "?"):
                texts.append(chunk.data)

        with pytest.raises(errors.ToolRetriesExceeded):
            await read()
        assert "".join(texts) == "ab"

    on(talk)


def test_a_window_of_nothing_is_refused(on: On) -> None:
    async def talk(worker: Worker) -> None:
        with pytest.raises(ValueError, match="window of no chunk"):
            worker.stream("poet", "a poem", window=0)

    on(talk)


# --- people


PAY = script(calls("pay", {"euro": 900}), {"text": "done"})


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        (True, ("pay", 900, "success")),
        (Approved({"euro": 90}), ("pay", 90, "success")),
        (Denied("not today"), ("pay", "not today", "denied")),
        (False, ("pay", "The tool call was denied.", "denied")),
    ],
)
def test_a_person_s_word_decides_on_a_call(on: On, word: Any, seen: tuple[str, Any, str]) -> None:
    asked: list[Call] = []

    def pay(euro: int) -> int:
        return euro

    async def ask(call: Call) -> Any:
        asked.append(call)
        return word

    async def talk(worker: Worker) -> None:
        tools = [tool(pay, requires_approval=True)]
        await worker.create_agent("cashier", model=PAY, tools=tools, replace=True)
        result = await worker.run("cashier", "my money", on_approval=ask)
        assert tool_returns(result.messages or []) == [seen]

    on(talk)
    assert [(call.agent_id, call.name, call.args) for call in asked] == [("cashier", "pay", {"euro": 900})]


def test_without_anybody_to_ask_a_call_is_not_made(on: On) -> None:
    made: list[int] = []

    def pay(euro: int) -> None:
        made.append(euro)

    def raising(_: Call) -> bool:
        raise ZeroDivisionError

    async def talk(worker: Worker) -> None:
        tools = [tool(pay, requires_approval=True)]
        await worker.create_agent("cashier", model=PAY, tools=tools, replace=True)
        await worker.run("cashier", "my money")
        await worker.run("cashier", "my money", on_approval=raising)

    on(talk)
    assert made == []


def deferring(worker: Worker, **fields: Any) -> Awaitable[Any]:
    model = script(calls("ship", {"order": 1}, {"order": 2}), {"text": "both are there"})
    ship = {"name": "ship", "parameters": {"type": "object"}, "handler": "deferred"}
    return worker.create_agent("clerk", model=model, tools=[ship], replace=True, **fields)


def test_a_deferred_run_is_carried_on_by_hand(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await deferring(worker)
        left = await worker.run("clerk", "ship them")
        assert (left.status, left.output) == ("deferred", None)
        assert [(call.name, call.args, call.approval) for call in left.deferred] == [
            ("ship", {"order": 1}, False),
            ("ship", {"order": 2}, False),
        ]
        assert left.messages is not None
        results = {call.call_id: {"result": "shipped"} for call in left.deferred}
        done = await worker.run(
            "clerk", message_history=left.messages, deferred_results=results, model=script({"text": "ok"})
        )
        assert done.output == "ok"

    on(talk)


@pytest.mark.parametrize("how", ["run", "stream"])
@pytest.mark.parametrize("selection", ["new", "all", "none"])
def test_a_deferred_run_is_carried_on_by_its_callback(on: On, how: str, selection: Any) -> None:
    async def talk(worker: Worker) -> None:
        async def shipped(call: DeferredCall) -> str:
            if call.args["order"] == 2:
                raise Failed("out of stock")
            # A script begins anew with each run: the one that carries on needs another.
            await worker.create_agent("clerk", model=script({"text": "both are there"}), replace=True)
            return "shipped"

        await deferring(worker, on_deferred=shipped)
        fields: dict[str, Any] = {"messages": selection}
        if how == "run":
            result = await worker.run("clerk", "ship them", **fields)
        else:
            stream = worker.stream("clerk", "ship them", window=1, **fields)
            assert "".join([chunk.data async for chunk in stream]) == "both are there"
            result = await stream.result()
        assert (result.output, result.status, result.usage["requests"]) == ("both are there", "complete", 2)
        if selection == "none":
            assert result.messages is None
            return
        found = tool_returns(result.messages or [])
        assert found == [("ship", "shipped", "success"), ("ship", "out of stock", "failed")]
        assert len(parts(result.messages or [], "user-prompt")) == 1

    on(talk)


def test_a_run_that_is_deferred_again_and_again_is_given_back(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_LEGS", 3)

    def shipped(_: DeferredCall) -> str:
        return "shipped"

    async def talk(worker: Worker) -> None:
        await deferring(worker, on_deferred=shipped)
        result = await worker.run("clerk", "ship them")
        assert (result.status, result.usage["requests"], len(result.deferred)) == ("deferred", 3, 2)

    on(talk)


def test_a_callback_that_fails_is_the_caller_s_own_error(on: On) -> None:
    def fails(_: DeferredCall) -> None:
        raise ZeroDivisionError

    async def talk(worker: Worker) -> None:
        await deferring(worker)
        with pytest.raises(ZeroDivisionError):
            await worker.run("clerk", "ship them", on_deferred=fails)

    on(talk)


def test_a_deferred_run_that_two_wait_for_is_carried_on_once(on: On) -> None:
    asked: list[DeferredCall] = []

    async def talk(worker: Worker) -> None:
        async def shipped(call: DeferredCall) -> str:
            asked.append(call)
            await worker.create_agent("clerk", model=script({"text": "both are there"}), replace=True)
            return "shipped"

        await deferring(worker, on_deferred=shipped)
        stream = worker.stream("clerk", "ship them")
        first, second = await asyncio.gather(stream.result(), stream.result())
        assert first is second
        assert (first.output, first.usage["requests"], len(asked)) == ("both are there", 2, 2)

    on(talk)


@pytest.mark.parametrize("how", ["run", "stream", "a stream that is left"])
def test_what_is_cancelled_while_its_callback_is_asked_is_not_carried_on(on: On, how: str) -> None:
    async def talk(worker: Worker) -> None:
        asked, answered = asyncio.Event(), asyncio.Event()

        async def shipped(_: DeferredCall) -> str:
            asked.set()
            await answered.wait()
            return "shipped"

        await deferring(worker, on_deferred=shipped)
        run = await (
            worker.start("clerk", "ship them") if how == "run" else worker.stream("clerk", "ship them").start()
        )
        before = await commands(worker)
        waiting = asyncio.create_task(run.result())
        await asked.wait()
        if how == "a stream that is left":
            run.abandon()
        else:
            assert await run.enqueue("and quickly") is False
            assert await run.cancel() is True
        answered.set()
        for waits in (waiting, run.result()):
            with pytest.raises(errors.Cancelled) as caught:
                await waits
            assert caught.value.agent_id == "clerk"
            assert (caught.value.usage or {})["requests"] == 1
            assert len(parts(caught.value.messages or [], "tool-call")) == 2
        assert await run.cancel() is False
        assert await commands(worker) == before

    on(talk)


def test_a_stream_that_was_cancelled_does_not_begin(on: On) -> None:
    async def talk(worker: Worker) -> None:
        await worker.create_agent("poet", model=POEM, replace=True)
        before = await commands(worker)
        stream = worker.stream("poet", "a poem")
        assert await stream.cancel() is True
        with pytest.raises(errors.Cancelled) as caught:
            await anext(stream)
        with pytest.raises(errors.Cancelled):
            await stream.result()
        assert (caught.value.usage, caught.value.messages) == (None, None)
        assert await stream.cancel() is False
        assert await commands(worker) == before

    on(talk)


# --- the worker itself


def test_the_worker_s_logs_are_python_s(on: On, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(worker: Worker) -> None:
        with caplog.at_level(logging.DEBUG, "axon_port.worker"):
            await worker.create_agent("quiet", model=script({"text": "hush"}))
            await worker.run("quiet", "?", traceparent="none at all")
        records = [record for record in caplog.records if record.name.startswith("axon_port.worker.")]
        assert records
        record: Any = records[-1]
        assert record.worker_frame["message"] == record.getMessage()
        assert record.worker_pid == worker.ready["pid"]
        assert record.levelno == logging.DEBUG

    on(talk)


def test_what_it_is_and_has_can_be_asked(on: On) -> None:
    async def talk(worker: Worker) -> None:
        assert (await worker.ping())["status"] == "ok"
        await worker.create_agent("one", model="test")
        assert "one" in [agent["agent_id"] for agent in await worker.list_agents()]
        await worker.delete_agent("one")
        with pytest.raises(errors.AgentNotFound):
            await worker.delete_agent("one")
        await worker.set_log_level("debug")
        assert (await worker.stats())["commands"]["ping"] >= 1
        assert is_running(worker.ready["pid"])

    on(talk)


def test_the_fields_by_name_are_those_of_the_commands() -> None:
    assert set(get_type_hints(AgentFields)) == set(CreateAgent.model_fields) - {
        *("id", "type", "agent_id", "model", "module", "tools")
    }
    assert set(get_type_hints(RunFields)) == set(Stream.model_fields) - {
        *("id", "type", "agent_id", "prompt", "events", "credit")
    }


# --- lives


@on_a_loop
async def test_a_worker_killed_under_load_fails_each_caller_once_and_comes_back() -> None:
    def weather(city: str) -> str:
        return f"rain in {city}"

    with nothing_left() as pids:
        async with Worker.spawn(restarts=AT_ONCE) as worker:
            model = script(calls("weather", {"city": "Riga"}), {"chunks": ["a ", "coat"]})
            await worker.create_agent("guide", model=model, tools=[weather])
            await worker.create_agent("thinker", model=ENDLESS)
            await worker.set_log_level("error")
            pids.append(worker.ready["pid"])
            stuck = [asyncio.create_task(worker.run("thinker", "think")) for _ in range(40)]
            busy = [asyncio.create_task(worker.run("guide", "?")) for _ in range(40)]
            streams = [asyncio.create_task(worker.stream("guide", "?", window=1).result()) for _ in range(20)]
            await asyncio.wait({busy[0]})
            os.kill(worker.ready["pid"], signal.SIGKILL)
            ends = await asyncio.gather(*stuck, *busy, *streams, return_exceptions=True)
            assert {type(end) for end in ends[:40]} == {WorkerGone}
            assert {type(end) for end in ends} <= {WorkerGone, RunResult}
            assert (await worker.run("guide", "?")).output == "a coat"
            pids.append(worker.ready["pid"])
            assert len(await worker.list_agents()) == 2
    assert len(set(pids)) == 2


def test_importing_the_client_imports_neither_pydantic_ai_nor_the_worker_s_rooms() -> None:
    source = (
        "import sys, axon_port.client\n"
        "ours = ('agents', 'worker', 'cli', 'wire.commands')\n"
        "rooms = ('pydantic_ai.', *(f'axon_port.{name}.' for name in ours))\n"
        "print([name for name in sys.modules if f'{name}.'.startswith(rooms)])"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().strip() == "[]"
