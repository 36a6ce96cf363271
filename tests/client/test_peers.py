"""Programs that are almost workers: whatever they do, each caller learns it once, and nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from pathlib import Path

import pytest

from axon_port.client import (
    DeferredCall,
    Launch,
    ProtocolViolation,
    Restarts,
    RunResult,
    Worker,
    WorkerGone,
    WorkerNotStarted,
    errors,
)
from axon_port.client import port as port_module
from axon_port.client import worker as worker_module
from tests.kit import processes

from .peers import AT_ONCE, nothing_left, on_a_loop, peer


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that do not end of themselves are not waited for."""
    monkeypatch.setattr(port_module, "GONE_SECONDS", 0.2)
    monkeypatch.setattr(worker_module, "END_SECONDS", 0.2)


@on_a_loop
async def test_the_peer_itself_does_no_harm() -> None:
    with nothing_left() as pids:
        async with peer("ready(); serve()") as worker:
            pids.append(worker.ready["pid"])
            assert (await worker.run("a", "hi")).output == "done"
            assert await worker.ping() == {}


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        ("hear(); os.write(1, frame(type='result', id=1, result=1)[:-3])", WorkerGone, "in the middle of a frame"),
        ("hear(); os.write(1, b'\\0\\0')", WorkerGone, "in the middle of a frame"),
        ("hear(); sys.exit(3)", WorkerGone, "has gone with exit status 3"),
        ("hear(); os.kill(os.getpid(), 9)", WorkerGone, "was killed by signal 9"),
        ("hear(); print('Hello, world', flush=True); hear()", ProtocolViolation, "begins with the text 'Hell'"),
        ("hear(); say(type='result', id=99, result=1); hear()", ProtocolViolation, "over or never was"),
        ("hear(); ready(); hear()", ProtocolViolation, "comes once"),
        ("hear(); os.write(1, b'\\0\\0\\x20\\0' + bytes(8192)); hear()", ProtocolViolation, "mean 8192 bytes"),
        ("hear(); say(type='goodbye', reason='signal')", WorkerGone, "has gone with exit status 0"),
        ("hear(); say(type='goodbye', reason='signal'); ready(); hear()", ProtocolViolation, "after the goodbye"),
    ],
)  # fmt: skip
@on_a_loop
async def test_each_caller_gets_the_end_once(body: str, kind: type[WorkerGone], why: str) -> None:
    await assert_ended(body, kind, why)


@pytest.mark.usefixtures("little_patience")
@pytest.mark.parametrize("body", ["hear(); os.close(0)", "hear(); os.close(1)"])
@on_a_loop
async def test_a_worker_that_closes_a_pipe_has_to_go(body: str) -> None:
    await assert_ended(f"{body}; signal.pause()", WorkerGone, "was killed by signal 9")


async def assert_ended(body: str, kind: type[WorkerGone], why: str) -> None:
    """Four callers of a worker that ends like this get an error each, and so does whoever comes later."""
    with nothing_left() as pids:
        async with peer(f"ready(); {body}") as worker:
            pids.append(worker.ready["pid"])
            calls = [worker.run("a", "hi"), worker.ping(), worker.stream("a", "hi").result(), worker.list_agents()]
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(end) for end in ends] == [kind] * 4
            assert len({id(end) for end in ends}) == 4
            assert why in str(ends[0])
            with pytest.raises(kind, match=why):
                await worker.ping()


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        ("sys.exit(64)", WorkerNotStarted, "has gone with exit status 64 before it was ready"),
        ("os.write(1, b'\\0\\0')", WorkerNotStarted, "before it was ready"),
        ("signal.pause()", WorkerNotStarted, "no `ready` came within 0.3 s"),
        ("print('Python 2.7', flush=True); hear()", ProtocolViolation, "begins with the text 'Pyth'"),
        ("say(type='goodbye', reason='eof')", ProtocolViolation, "first frame"),
    ],
)
@on_a_loop
async def test_a_program_that_never_is_ready_is_not_started(body: str, kind: type[WorkerGone], why: str) -> None:
    patience = 0.3 if "no `ready`" in why else 30.0
    with nothing_left(), pytest.raises(kind, match=why):
        async with peer(body, start_timeout=patience, restarts=AT_ONCE):
            pytest.fail("this is no worker")


@on_a_loop
async def test_a_program_that_is_not_there_is_not_started() -> None:
    with nothing_left(), pytest.raises(WorkerNotStarted, match="cannot be started: No such file"):
        async with Worker.spawn(command=["/nowhere/axon-port"]):
            pytest.fail("there is no such program")


@on_a_loop
async def test_a_program_that_cannot_be_watched_is_not_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left() as pids:

        def exhausted(pid: int) -> int:
            pids.append(pid)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(os, "pidfd_open", exhausted)
        with pytest.raises(WorkerNotStarted, match="cannot be started: Too many open files"):
            async with peer("ready(); serve()"):
                pytest.fail("nobody would hear of its end")
        assert len(pids) == 1


FLOOD = "\nwhile True: say(type='log', timestamp='', level='debug', logger='flood', message='x' * 1000)"


@pytest.mark.usefixtures("little_patience")
@on_a_loop
async def test_a_worker_that_floods_starves_nobody_and_can_be_left() -> None:
    with nothing_left() as pids:
        async with peer(f"ready(); hear(); {FLOOD}") as worker:
            pids.append(worker.ready["pid"])
            call = asyncio.create_task(worker.ping())
            for _ in range(1000):
                await asyncio.sleep(0)
            assert not call.done()
            call.cancel()
            await asyncio.wait({call})


@on_a_loop
async def test_chunks_beyond_the_credit_end_the_worker() -> None:
    body = """
    ready()
    run = hear()
    for seq in range(1000 * run["credit"]):
        say(type="chunk", id=run["id"], seq=seq, step=1, kind="text", data="x")
    while True:
        hear()
    """
    with nothing_left():
        async with peer(body) as worker:
            with pytest.raises(ProtocolViolation, match="beyond the credit"):
                await worker.stream("a", "hi", window=4).result()


@on_a_loop
async def test_a_descendant_that_holds_the_pipe_does_not_hide_the_end() -> None:
    body = """
    ready()
    hear()
    if os.fork() == 0:
        os.setsid()
        signal.pause()
    os.kill(os.getpid(), 9)
    """
    mark = f"AXON_TEST_MARK={os.getpid()}"
    name, _, value = mark.partition("=")
    with nothing_left():
        async with peer(body, env={**os.environ, name: value}) as worker:
            with pytest.raises(WorkerGone, match="killed by signal 9"):
                await worker.ping()
        (holder,) = processes.processes_with(mark)
        processes.kill(holder)


@pytest.mark.usefixtures("little_patience")
@on_a_loop
async def test_a_worker_that_ignores_every_end_is_killed() -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready()\nwhile True: signal.pause()"
    with nothing_left() as pids:
        async with peer(body) as worker:
            pids.append(worker.ready["pid"])


@on_a_loop
async def test_leaving_while_a_start_is_awaited_kills_what_was_started() -> None:
    with nothing_left(), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), peer("signal.pause()"):
            pytest.fail("it is never ready")


@on_a_loop
async def test_a_block_that_fails_fails_with_its_own_error() -> None:
    with nothing_left(), pytest.raises(ZeroDivisionError):
        async with peer("ready(); serve()"):
            _ = 1 // 0


# --- answers that the worker refuses


REFUSING = """
ready()
result(hear(), {"agent_id": "a", "model": "m", "tools": []})
run = hear()
about = dict(agent_id="a", name="pay", args={})
say(type=%r, id=run["id"], call_id="1", **about)
first = hear()
refusal = dict(error_type="InvalidCommand", message="no euro", retryable=False)
say(type="error", id=None, run_id=run["id"], call_id="1", **refusal)
second = hear()
result(run, {"first": first, "second": second})
serve()
"""


@on_a_loop
async def test_an_approval_that_is_refused_becomes_a_refusal_of_the_call() -> None:
    async with peer(REFUSING % "approval_request") as worker:
        await worker.create_agent("a", model="test", on_approval=lambda _: True)
        said = (await worker.run("a", "hi")).output
    assert said["first"]["approved"] is True
    assert said["second"]["approved"] is False
    assert "no euro" in said["second"]["message"]


@on_a_loop
async def test_a_tool_s_answer_that_is_refused_ends_the_run_instead_of_hanging() -> None:
    def pay() -> int:
        return 1

    async with peer(REFUSING % "tool_call") as worker:
        await worker.create_agent("a", model="test", tools=[pay])
        said = (await worker.run("a", "hi")).output
    assert said["first"]["result"] == 1
    assert "no euro" in said["second"]["error"]


CALLING = """
ready()
result(hear(), {"agent_id": "a", "model": "m", "tools": []})
run = hear()
say(type="tool_call", id=run["id"], call_id="1", agent_id="a", name="pay", args={})
result(run, hear())
serve()
"""


@pytest.mark.parametrize("value", ["x" * 5000, object(), float])
@on_a_loop
async def test_a_tool_s_answer_that_cannot_be_sent_ends_the_run_instead_of_hanging(value: object) -> None:
    def pay() -> object:
        return value

    async with peer(CALLING) as worker:
        await worker.create_agent("a", model="test", tools=[pay])
        said = (await worker.run("a", "hi")).output
    assert "error" in said


# --- lives


LIVES = """
lives = int(open(%(path)r).read() or 0)
open(%(path)r, "w").write(str(lives + 1))
ready()
while True:
    command = hear()
    if command["type"] == "create_agent":
        with open(%(path)r + ".agents", "a") as agents:
            agents.write(f"{lives}:{command['agent_id']} ")
        result(command, {"agent_id": command["agent_id"], "model": "m", "tools": []})
    elif command["type"] == "run" and command["prompt"] == "die":
        sys.exit(1)
    elif command["type"] == "shutdown":
        result(command, {})
        say(type="goodbye", reason="shutdown")
        sys.exit(0)
    else:
        result(command, lives)
"""


@on_a_loop
async def test_agents_are_created_again_in_each_life_before_anybody_is_served(tmp_path: Path) -> None:
    path = tmp_path / "lives"
    path.write_text("")
    with nothing_left():
        async with peer(LIVES % {"path": str(path)}, restarts=AT_ONCE) as worker:
            for name in ("first", "second", "third"):
                await worker.create_agent(name, model="test")
            await worker.create_agent("first", model="test", replace=True)
            await worker.delete_agent("second")
            for life in range(1, 4):
                with pytest.raises(WorkerGone) as caught:
                    await worker.run("first", "die")
                assert caught.value.retryable
                assert (await worker.run("first", "live")).output == life
    agents = (tmp_path / "lives.agents").read_text().split()
    assert agents[4:] == [f"{life}:{name}" for life in (1, 2, 3) for name in ("third", "first")]


@on_a_loop
async def test_a_worker_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "lives"
    path.write_text("")
    with nothing_left():
        async with peer(LIVES % {"path": str(path)}, restarts=Restarts(limit=2, first=0.0)) as worker:
            for _ in range(3):
                with pytest.raises(WorkerGone):
                    await worker.run("a", "die")
            with pytest.raises(WorkerGone, match="has gone with exit status 1"):
                await worker.run("a", "live")
    assert path.read_text() == "3"


@on_a_loop
async def test_a_stream_that_two_wait_for_during_a_restart_is_sent_once(tmp_path: Path) -> None:
    path = tmp_path / "lives"
    path.write_text("")
    async with peer(LIVES % {"path": str(path)}, restarts=AT_ONCE) as worker:
        with pytest.raises(WorkerGone):
            await worker.run("a", "die")
        stream = worker.stream("a", "live")
        first, second = await asyncio.gather(stream.result(), stream.result())
        assert first.output == second.output == 1
        assert (await worker.run("a", "live")).output == 1


STREAM_UNTIL_CANCELLED = """
    elif command["type"] == "stream":
        pass
    elif command["type"] == "cancel":
        say(type="error", id=command["target"], error_type="Cancelled", message="it was", retryable=False)
        result(command, {"cancelled": True})
    elif command["type"] == "shutdown":
"""


@on_a_loop
async def test_a_stream_that_was_cancelled_during_a_restart_does_not_go_on(tmp_path: Path) -> None:
    path = tmp_path / "lives"
    path.write_text("")
    body = LIVES.replace('    elif command["type"] == "shutdown":\n', STREAM_UNTIL_CANCELLED[1:])
    async with peer(body % {"path": str(path)}, restarts=AT_ONCE) as worker:
        with pytest.raises(WorkerGone):
            await worker.run("a", "die")
        stream = worker.stream("a", "live")
        waiting = asyncio.create_task(stream.result())
        await asyncio.sleep(0)
        assert await stream.cancel() is True
        with pytest.raises(errors.Cancelled):
            await waiting
        assert await stream.cancel() is False


ENDED_LEG = """
def end(run, status):
    calls = [{"call_id": "c", "name": "ship", "args": {}}]
    say(type="result", id=run["id"], result=None, agent_id="a", run_id="r", status=status, usage={}, duration_ms=0,
        messages=[], deferred={"calls": calls})

ready()
"""


@on_a_loop
async def test_a_leg_that_has_ended_and_is_cancelled_then_is_not_carried_on() -> None:
    asked: list[DeferredCall] = []
    async with peer(ENDED_LEG + "end(hear(), 'deferred'); serve()") as worker:
        run = await worker.start("a", "go", on_deferred=asked.append)
        await worker.ping()
        assert await run.cancel() is True
        with pytest.raises(errors.Cancelled):
            await run.result()
        assert asked == []


ENDED_WHILE_CANCELLED = """
run, *others = hear(), hear(), hear()
cancel, ping = sorted(others, key=lambda command: command["type"])
end(run, %(status)r)
result(ping, {})
ping = hear()
result(cancel, {"cancelled": False})
result(ping, {})
serve()
"""


@pytest.mark.parametrize(("status", "cancelled"), [("deferred", True), ("complete", False)])
@on_a_loop
async def test_a_leg_that_ends_while_it_is_cancelled_is_not_carried_on(status: str, cancelled: bool) -> None:
    asked: list[DeferredCall] = []
    async with peer(ENDED_LEG + ENDED_WHILE_CANCELLED % {"status": status}) as worker:
        run = await worker.start("a", "go", on_deferred=asked.append)
        waiting, cancelling = asyncio.create_task(run.result()), asyncio.create_task(run.cancel())
        # The leg has ended when the first is answered, and the second lets the cancel be.
        await worker.ping()
        await worker.ping()
        assert await cancelling is cancelled
        (end,) = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(end, errors.Cancelled if cancelled else RunResult)
        assert asked == []


CALL_AND_DIE = """
        for call_id in "12":
            say(type="tool_call", id=command["id"], call_id=call_id, agent_id="a", name="pay", args={})
        say(type="tool_cancel", id=command["id"], call_id="2", reason="cancelled")
        result(hear())
        sys.exit(1)
"""


@on_a_loop
async def test_a_tool_that_swallows_its_cancellation_holds_up_nobody(tmp_path: Path) -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    async def pay() -> None:
        begun.set()
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    path = tmp_path / "lives"
    path.write_text("")
    calling = LIVES.replace("sys.exit(1)", CALL_AND_DIE)
    async with peer(calling % {"path": str(path)}, restarts=AT_ONCE) as worker:
        await worker.create_agent("a", model="test", tools=[pay])
        run = asyncio.create_task(worker.run("a", "die"))
        await begun.wait()
        await worker.ping()
        with pytest.raises(WorkerGone):
            await run
        assert (await worker.run("a", "live")).output == 1
        released.set()


def test_waits_between_lives_grow_up_to_a_bound() -> None:
    restarts = Restarts(first=1.0, most=5.0)
    assert [restarts.wait(attempt, 1.0) for attempt in (1, 2, 3, 4, 50)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert restarts.wait(1, 0.0) == 0.5


def test_a_launch_is_a_command_line_that_the_worker_takes(tmp_path: Path) -> None:
    from axon_port.cli import _parser  # pyright: ignore[reportPrivateUsage]

    launch = Launch(
        max_frame_bytes=1024,
        max_inflight=1,
        max_tool_calls=2,
        drain_timeout=0.5,
        log_level="debug",
        allow_import=["shop"],
        allow_capability=["MCP"],
        allow_recordings=tmp_path,
        record=tmp_path / "record",
        env={"AXON_PORT_NOUSE_STDIO": "1", "HOME": "/"},
    )
    argv = launch.argv()
    assert argv[:3] == [sys.executable, "-m", "axon_port"]
    read = _parser().parse_args(argv[3:])
    assert (read.max_frame_bytes, read.max_inflight, read.max_tool_calls) == (1024, 1, 2)
    assert (read.drain_timeout, read.log_level) == (0.5, "debug")
    assert (read.allow_import, read.allow_capability) == (["shop"], ["MCP"])
    assert (read.allow_recordings, read.record) == (str(tmp_path), str(tmp_path / "record"))
    assert launch.environment() == {"HOME": "/"}
