"""Section 8: pings, figures, cancelling, and every way in which a worker ends."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit import REPOSITORY, Frame, Worker, encode, failed, in_time, succeeded
from tests.kit.frames import pack
from tests.kit.messages import prompts
from tests.kit.shapes import LEVELS, is_count
from tests.kit.worker import PROGRAM

from .scenarios import NEVER_MS, asking_agent, calls, fails, says, start_asking, tool

ROUND_UP_S = 25.0
"""Less than the drain timeout, which is 30 s: what ends within this time has not waited for it."""


def figures(worker: Worker) -> dict[str, Any]:
    """What `stats` says."""
    return succeeded(worker.ask("stats"))["result"]


def start_endless(worker: Worker) -> Any:
    """A run that waits for nothing but time, and ends in none."""
    return worker.start_run(worker.agent([says("never", delay_ms=NEVER_MS)]))


def run_until_refused(worker: Worker, agent: str) -> Frame:
    """The first error that a quick run ends with: a signal takes its time to arrive."""
    for _ in range(10_000):
        frame = worker.run(agent)
        if frame["type"] == "error":
            return frame
    raise AssertionError("no run was refused")


def command_line(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs the worker's program to its end, with nothing on its input."""
    return subprocess.run(
        [sys.executable, "-m", "axon_port", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=env,
        check=False,
        timeout=30,
    )


# ---------------------------------------------------------------- ping and stats


def test_a_ping_tells_how_the_worker_is(worker: Worker) -> None:
    """clause: LIFE-PING, CMD-PING"""
    pong = succeeded(worker.ask("ping"))["result"]
    assert set(pong) == {"status", "uptime_ms", "inflight", "agents", "loop_lag_ms"}
    assert pong["status"] == "ok"
    assert all(isinstance(pong[name], int | float) and pong[name] >= 0 for name in set(pong) - {"status"})


def test_a_ping_counts_runs_and_agents() -> None:
    with Worker() as worker:
        agent = asking_agent(worker)
        started = [start_asking(worker, agent) for _ in range(3)]
        pong = succeeded(worker.ask("ping"))["result"]
        assert (pong["inflight"], pong["agents"]) == (3, 1)
        for run, call in started:
            worker.answer(call, result=1)
            succeeded(worker.terminal(run))
        assert succeeded(worker.ask("ping"))["result"]["inflight"] == 0


STATS = {
    *("uptime_ms", "commands", "runs", "tools", "retries", "tokens", "durations_ms", "frames", "bytes"),
    *("logs_dropped", "rss_bytes", "agents"),
}


def test_stats_have_the_shape_of_the_contract(worker: Worker) -> None:
    """clause: LIFE-STATS"""
    run, call = start_asking(worker)
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))
    stats = figures(worker)
    assert set(stats) == STATS
    assert set(stats["runs"]) == {"started", "succeeded", "failed", "cancelled", "inflight"}
    assert set(stats["tools"]) == {"calls", "failed", "timed_out", "abandoned"}
    assert set(stats["retries"]) == {"model", "tools", "output"}
    assert set(stats["tokens"]) == {"input", "output"}
    assert set(stats["frames"]) == set(stats["bytes"]) == {"in", "out"}
    for what in ("run", "tool"):
        durations = stats["durations_ms"][what]
        assert set(durations) == {"count", "sum", "buckets"}
        assert all(len(bucket) == 2 and is_count(bucket[1]) for bucket in durations["buckets"])
    for agent in stats["agents"].values():
        assert set(agent) == {"runs", "tools", "tokens"}


def test_every_ping_is_counted_wherever_it_is_answered(worker: Worker) -> None:
    """One that is not plainly written is left to the loop. clause: LIFE-STATS"""
    before = figures(worker)["commands"].get("ping", 0)
    succeeded(worker.ask("ping"))
    worker.send_raw(pack(b'{"type": "\\u0070ing", "id": "escaped"}'))
    succeeded(worker.terminal("escaped"))
    assert figures(worker)["commands"]["ping"] == before + 2


def test_stats_count_what_has_happened_since_the_start() -> None:
    """clause: LIFE-STATS"""
    with Worker() as worker:
        agent = worker.agent([calls("lookup"), calls("lookup"), says("done")], tools=[tool()])
        run, call = start_asking(worker, agent)
        worker.answer(call, retry="again")
        worker.answer(worker.wait_for("tool_call", of=run), result=1)
        succeeded(worker.terminal(run))
        bad = worker.agent([fails(503), fails(500)], retry={"attempts": 2, "base_ms": 1, "max_ms": 1})
        failed(worker.run(bad), "ModelHTTPError")
        waiting, _ = start_asking(worker, agent)
        succeeded(worker.ask("cancel", target=waiting))
        failed(worker.terminal(waiting), "Cancelled")
        late = worker.agent([calls("late"), says("done")], tools=[tool("late", timeout_ms=10, retries=0)])
        failed(worker.collect(worker.start_run(late))[-1], "ToolRetriesExceeded")
        stats = figures(worker)
        counted = {kind: n for kind, n in stats["commands"].items() if n and kind != "stats"}
        assert counted == {"create_agent": 3, "run": 4, "tool_result": 2, "cancel": 1}
        assert stats["runs"] == {
            "started": 4,
            "succeeded": 1,
            "failed": {"ModelHTTPError": 1, "ToolRetriesExceeded": 1},
            "cancelled": 1,
            "inflight": 0,
        }
        assert (stats["tools"]["calls"], stats["tools"]["timed_out"]) == (4, 1)
        assert stats["retries"]["model"] == 1
        assert stats["retries"]["tools"] >= 1
        assert stats["tokens"]["output"] > 0
        assert stats["durations_ms"]["run"]["count"] == 4
        assert stats["agents"][agent]["runs"] == 2


def test_stats_count_frames_and_bytes_in_both_directions(worker: Worker) -> None:
    before = figures(worker)
    ping = {"type": "ping", "id": "counted"}
    worker.request(ping)
    after = figures(worker)
    assert after["frames"]["in"] - before["frames"]["in"] == 2
    assert after["frames"]["out"] - before["frames"]["out"] == 2
    assert after["bytes"]["in"] - before["bytes"]["in"] >= len(encode(ping))
    assert after["bytes"]["out"] > before["bytes"]["out"]
    assert after["uptime_ms"] >= before["uptime_ms"]
    assert after["rss_bytes"] > 0


# ---------------------------------------------------------------- logs


@pytest.mark.parametrize("level", LEVELS)
def test_a_log_level_can_be_set(worker: Worker, level: str) -> None:
    assert succeeded(worker.ask("set_log_level", level=level))["result"] == {}
    assert succeeded(worker.ask("set_log_level", level="info"))["result"] == {}


def test_a_log_level_holds_from_now_on() -> None:
    """clause: LOG-LEVEL, CMD-SET-LOG-LEVEL"""
    with Worker() as worker:
        agent = asking_agent(worker)
        ended, call = start_asking(worker, agent)
        worker.answer(call, result=1)
        succeeded(worker.terminal(ended))
        worker.answer(call, result=2)
        succeeded(worker.ask("set_log_level", level="debug"))
        assert not [log for log in worker.logs if log["level"] == "debug"]
        worker.answer(call, result=3)
        assert worker.wait_for("log")["level"] == "debug"


@pytest.mark.parametrize("option", [["--log-level", "debug"], []])
def test_a_log_level_is_an_option_and_a_variable(option: list[str]) -> None:
    with Worker(*option, env={} if option else {"AXON_PORT_LOG_LEVEL": "debug"}) as worker:
        run, call = start_asking(worker)
        worker.answer(call, result=1)
        succeeded(worker.terminal(run))
        worker.answer(call, result=2)
        worker.wait_for(lambda frame: frame["type"] == "log" and frame["level"] == "debug")


# ---------------------------------------------------------------- enqueue


def test_what_is_enqueued_goes_with_the_next_model_request(worker: Worker) -> None:
    """clause: RUN-ENQUEUE"""
    run, call = start_asking(worker, prompt="first")
    assert succeeded(worker.ask("enqueue", target=run, prompt="and this"))["result"] == {"enqueued": True}
    worker.answer(call, result=1)
    answer = succeeded(worker.terminal(run))
    assert answer["result"] == "done"
    assert "and this" in json.dumps(prompts(answer["messages"]))
    assert answer["usage"]["requests"] == 2


def test_what_is_enqueued_for_idle_times_leads_to_one_more_request(worker: Worker) -> None:
    agent = worker.agent([calls("lookup"), says("done"), says("done again")], tools=[tool()])
    run, call = start_asking(worker, agent, prompt="first")
    queued = worker.ask("enqueue", target=run, prompt="when you are idle", priority="when_idle")
    assert succeeded(queued)["result"] == {"enqueued": True}
    worker.answer(call, result=1)
    answer = succeeded(worker.terminal(run))
    assert answer["result"] == "done again"
    assert "when you are idle" in json.dumps(prompts(answer["messages"])[-1])


def test_what_is_enqueued_in_the_last_request_leads_to_one_more(worker: Worker) -> None:
    """clause: RUN-ENQUEUE"""

    def attempt(delay: int) -> Frame | None:
        slow = says("done", chunks=["do", "ne"], chunk_delay_ms=delay)
        stream = worker.start_stream(worker.agent([slow, says("done again")]), "first")
        worker.wait_for("chunk", of=stream)
        queued = worker.ask("enqueue", target=stream, prompt="one more")
        end = worker.collect(stream)[-1]
        # The last request was over before, on a slow machine.
        return None if queued["result"] == {"enqueued": False} else end

    answer = succeeded(in_time(attempt))
    assert answer["result"] == "done again"
    assert "one more" in json.dumps(prompts(answer["messages"]))


def test_enqueue_takes_the_forms_of_a_prompt(worker: Worker) -> None:
    run, call = start_asking(worker)
    pieces = [{"type": "text", "text": "look"}, {"type": "image_url", "url": "https://example.org/a.png"}]
    assert succeeded(worker.ask("enqueue", target=run, prompt=pieces))["result"] == {"enqueued": True}
    worker.answer(call, result=1)
    assert "https://example.org/a.png" in json.dumps(prompts(succeeded(worker.terminal(run))["messages"]))


def test_what_is_enqueued_keeps_its_order(worker: Worker) -> None:
    run, call = start_asking(worker)
    for n in range(5):
        succeeded(worker.ask("enqueue", target=run, prompt=f"number {n}"))
    worker.answer(call, result=1)
    said = json.dumps(prompts(succeeded(worker.terminal(run))["messages"]))
    places = [said.index(f"number {n}") for n in range(5)]
    assert places == sorted(places)


def test_enqueue_reaches_a_run_that_waits_its_turn(worker: Worker) -> None:
    """clause: RUN-ENQUEUE"""
    agent = asking_agent(worker, max_concurrency=1)
    first, call = start_asking(worker, agent)
    waiting = worker.start_run(agent, "second")
    assert succeeded(worker.ask("enqueue", target=waiting, prompt="more"))["result"] == {"enqueued": True}
    worker.answer(call, result=1)
    succeeded(worker.terminal(first))
    worker.answer(worker.wait_for("tool_call", of=waiting), result=1)
    assert "more" in json.dumps(prompts(succeeded(worker.terminal(waiting))["messages"]))


def test_nothing_is_enqueued_for_a_run_that_has_ended(worker: Worker) -> None:
    run = worker.start_run(worker.agent([says("done")]))
    succeeded(worker.terminal(run))
    for target in (run, "nobody"):
        assert succeeded(worker.ask("enqueue", target=target, prompt="more"))["result"] == {"enqueued": False}


# ---------------------------------------------------------------- cancel


def test_cancelling_nothing_is_false(worker: Worker) -> None:
    run = worker.start_run(worker.agent([says("done")]))
    succeeded(worker.terminal(run))
    for target in (run, "nobody", 0):
        assert succeeded(worker.ask("cancel", target=target))["result"] == {"cancelled": False}


def test_what_is_no_run_cannot_be_cancelled(worker: Worker) -> None:
    worker.send({"type": "cancel", "id": "self", "target": "self"})
    assert succeeded(worker.terminal("self"))["result"] == {"cancelled": False}


def test_a_cancel_distinguishes_a_number_from_a_string(worker: Worker) -> None:
    worker.send({"type": "run", "id": 5, "agent_id": asking_agent(worker), "prompt": "p"})
    call = worker.wait_for("tool_call", of=5)
    assert succeeded(worker.ask("cancel", target="5"))["result"] == {"cancelled": False}
    worker.answer(call, result=1)
    succeeded(worker.terminal(5))


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_a_cancel_right_behind_a_run_ends_it(worker: Worker, kind: str) -> None:
    agent = worker.agent([says("never", delay_ms=NEVER_MS)])
    for _ in range(20):
        run = worker.submit(kind, agent_id=agent, prompt="p")
        cancel = worker.submit("cancel", target=run)
        failed(worker.terminal(run), "Cancelled")
        assert succeeded(worker.terminal(cancel))["result"] == {"cancelled": True}


def test_a_cancelled_run_tells_its_messages_and_usage(worker: Worker) -> None:
    """clause: RUN-CANCEL"""
    run, call = start_asking(worker, prompt="begun")
    assert succeeded(worker.ask("cancel", target=run))["result"] == {"cancelled": True}
    frames = worker.collect(run)
    assert [frame["type"] for frame in frames] == ["tool_cancel", "error"]
    assert (frames[0]["call_id"], frames[0]["reason"]) == (call["call_id"], "cancelled")
    error = failed(frames[-1], "Cancelled")
    assert prompts(error["messages"]) == ["begun"]
    assert error["usage"]["requests"] == 1


def test_of_two_cancels_at_once_one_terminal_frame_comes(worker: Worker) -> None:
    """clause: RUN-CANCEL, ENV-ONE-TERMINAL"""
    run, _ = start_asking(worker)
    cancels = [worker.submit("cancel", target=run) for _ in range(5)]
    failed(worker.terminal(run), "Cancelled")
    assert all(succeeded(worker.terminal(cancel)) for cancel in cancels)


def test_cancels_and_answers_that_cross_leave_one_terminal_frame(worker: Worker) -> None:
    agent = asking_agent(worker)
    for n in range(100):
        run, call = start_asking(worker, agent)
        if n % 2:
            worker.answer(call, result=1)
        worker.send({"type": "cancel", "id": f"cancel {run}", "target": run})
        if n % 2 == 0:
            worker.answer(call, result=1)
        terminal = worker.terminal(run)
        cancelled = succeeded(worker.terminal(f"cancel {run}"))["result"]["cancelled"]
        assert cancelled is (terminal["type"] == "error")
        if cancelled:
            failed(terminal, "Cancelled")


# ---------------------------------------------------------------- max_inflight


@pytest.mark.parametrize("option", [["--max-inflight", "2"], []])
def test_runs_beyond_max_inflight_are_refused(option: list[str]) -> None:
    """clause: RUN-OVERLOADED"""
    with Worker(*option, env={} if option else {"AXON_PORT_MAX_INFLIGHT": "2"}) as worker:
        assert worker.ready["limits"]["max_inflight"] == 2
        agent = asking_agent(worker)
        first, second = start_asking(worker, agent), start_asking(worker, agent)
        failed(worker.run(agent), "Overloaded")
        failed(worker.collect(worker.start_stream(agent))[-1], "Overloaded")
        succeeded(worker.ask("ping"))
        worker.answer(first[1], result=1)
        succeeded(worker.terminal(first[0]))
        third = start_asking(worker, agent)
        for run, call in (second, third):
            worker.answer(call, result=1)
            succeeded(worker.terminal(run))


def test_runs_that_wait_their_turn_count_towards_max_inflight() -> None:
    """clause: AGENT-TURNS, RUN-OVERLOADED"""
    with Worker("--max-inflight", "2") as worker:
        agent = asking_agent(worker, max_concurrency=1)
        first, call = start_asking(worker, agent)
        waiting = worker.start_run(agent)
        failed(worker.run(worker.agent([says("x")])), "Overloaded")
        worker.answer(call, result=1)
        succeeded(worker.terminal(first))
        worker.answer(worker.wait_for("tool_call", of=waiting), result=1)
        succeeded(worker.terminal(waiting))


def test_a_thousand_runs_at_once_all_end(worker: Worker) -> None:
    agent = worker.agent([says("x", delay_ms=100)])
    runs = [worker.start_run(agent) for _ in range(1000)]
    for run in runs:
        succeeded(worker.terminal(run))


# ---------------------------------------------------------------- shutdown


def test_a_shutdown_says_goodbye_while_the_input_is_open() -> None:
    """clause: LIFE-SHUTDOWN, EVT-GOODBYE, LIFE-EXIT
    fault: D35
    """
    with Worker() as worker:
        assert succeeded(worker.ask("shutdown"))["result"] == {}
        assert worker.recv()["reason"] == "shutdown"
        assert worker.wait_exit() == 0


def test_a_shutdown_lets_runs_finish_within_the_grace() -> None:
    with Worker() as worker:
        run, call = start_asking(worker)
        shutdown = worker.submit("shutdown", grace_ms=NEVER_MS)
        succeeded(worker.ask("ping"))
        worker.answer(call, result=1)
        assert succeeded(worker.terminal(run))["result"] == "done"
        succeeded(worker.terminal(shutdown))
        assert worker.wait_exit() == 0


def test_while_shutting_down_new_runs_are_refused_and_the_rest_is_answered() -> None:
    """clause: LIFE-SHUTDOWN"""
    with Worker() as worker:
        agent = asking_agent(worker)
        run, _ = start_asking(worker, agent)
        other, other_call = start_asking(worker, agent)
        shutdown = worker.submit("shutdown", grace_ms=NEVER_MS)
        failed(worker.run(agent), "ShuttingDown")
        failed(worker.collect(worker.start_stream(agent))[-1], "ShuttingDown")
        for kind in ("ping", "stats", "list_agents"):
            succeeded(worker.ask(kind))
        assert succeeded(worker.ask("enqueue", target=other, prompt="more"))["result"] == {"enqueued": True}
        worker.answer(other_call, result=1)
        succeeded(worker.terminal(other))
        assert succeeded(worker.ask("cancel", target=run))["result"] == {"cancelled": True}
        failed(worker.terminal(run), "Cancelled")
        succeeded(worker.terminal(shutdown))
        assert worker.wait_exit() == 0


def test_what_is_left_after_the_grace_is_cancelled() -> None:
    with Worker() as worker:
        agent = asking_agent(worker)
        started = [start_asking(worker, agent) for _ in range(20)]
        endless = start_endless(worker)
        shutdown = worker.submit("shutdown", grace_ms=100)
        for run in [*(run for run, _ in started), endless]:
            failed(worker.terminal(run), "Cancelled")
        succeeded(worker.terminal(shutdown))
        assert worker.wait_exit(ROUND_UP_S) == 0


def test_the_result_of_a_shutdown_comes_after_all_runs_and_before_goodbye() -> None:
    """clause: LIFE-SHUTDOWN, LIFE-GOODBYE"""
    with Worker() as worker:
        endless = start_endless(worker)
        shutdown = worker.submit("shutdown", grace_ms=0)
        assert worker.wait_exit(ROUND_UP_S) == 0
        order = [frame.get("id", frame["type"]) for frame in worker.frames if frame["type"] != "log"]
        assert order[-3:] == [endless, shutdown, "goodbye"]


@pytest.mark.parametrize("graces", [(NEVER_MS, 50), (50, NEVER_MS)])
def test_of_two_shutdowns_the_shorter_grace_wins(graces: tuple[int, int]) -> None:
    """clause: LIFE-SHUTDOWN-TWICE"""
    with Worker() as worker:
        run, _ = start_asking(worker)
        first, second = (worker.submit("shutdown", grace_ms=grace) for grace in graces)
        failed(worker.terminal(run), "Cancelled")
        assert succeeded(worker.terminal(first))["result"] == {}
        assert succeeded(worker.terminal(second))["result"] == {}
        assert worker.wait_exit(ROUND_UP_S) == 0


def test_a_stream_without_credit_does_not_hold_up_a_shutdown() -> None:
    with Worker() as worker:
        stream = worker.start_stream(worker.agent([says("end")]), credit=0)
        shutdown = worker.submit("shutdown", grace_ms=200)
        failed(worker.terminal(stream), "Cancelled")
        succeeded(worker.terminal(shutdown))
        assert worker.wait_exit(ROUND_UP_S) == 0


def test_a_parent_that_reads_nothing_more_does_not_hold_up_the_end() -> None:
    """What it left unread is cut wherever it stood; the input stays open.

    clause: LIFE-FLUSH
    """
    length = 4 * 1024 * 1024
    process = subprocess.Popen(PROGRAM, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin
        assert process.stdout
        model = {"script": [says("x" * length)]}
        for command in (
            {"type": "create_agent", "id": 1, "agent_id": "a", "model": model},
            {"type": "run", "id": 2, "agent_id": "a", "prompt": "go"},
            {"type": "shutdown", "id": 3, "grace_ms": NEVER_MS},
        ):
            process.stdin.write(encode(command))
        process.stdin.flush()
        process.wait(timeout=60)
        assert b"x" * 10_000 in process.stdout.read()
        assert process.returncode == 0


def test_an_end_of_input_in_a_shutdown_is_no_disturbance() -> None:
    with Worker() as worker:
        run, _ = start_asking(worker)
        shutdown = worker.submit("shutdown", grace_ms=NEVER_MS)
        succeeded(worker.ask("ping"))
        worker.close_stdin()
        failed(worker.terminal(run), "ParentGone")
        succeeded(worker.terminal(shutdown))
        assert worker.wait_exit(ROUND_UP_S) == 0


# ---------------------------------------------------------------- the end of input


def test_at_the_end_of_input_the_worker_says_goodbye() -> None:
    """clause: LIFE-EOF, LIFE-GOODBYE
    fault: A7
    """
    with Worker() as worker:
        worker.close_stdin()
        assert worker.wait_for("goodbye")["reason"] == "eof"
        assert worker.wait_exit() == 0


def test_an_end_of_input_before_any_command_is_an_orderly_end() -> None:
    with Worker(stdin="null") as worker:
        assert worker.wait_exit() == 0
        assert [frame["type"] for frame in worker.frames if frame["type"] != "log"] == ["ready", "goodbye"]


def test_commands_that_came_before_the_end_of_input_are_answered() -> None:
    with Worker() as worker:
        agent_id = asking_agent(worker)
        created = worker.submit("create_agent", agent_id="late", model={"script": [says("late")]})
        late = worker.start_run("late")
        waiting = worker.start_run(agent_id)
        pings = [worker.submit("ping") for _ in range(100)]
        worker.close_stdin()
        succeeded(worker.terminal(created))
        assert succeeded(worker.terminal(late))["result"] == "late"
        failed(worker.terminal(waiting), "ParentGone")
        for ping in pings:
            succeeded(worker.terminal(ping))


def test_at_the_end_of_input_runs_that_wait_on_the_parent_end_and_the_others_finish() -> None:
    """clause: LIFE-EOF"""
    with Worker() as worker:
        waiting, _ = start_asking(worker)
        finishing = worker.start_run(worker.agent([says("done", delay_ms=500)]))
        later = worker.start_run(worker.agent([says("ask", delay_ms=300, **calls("lookup"))], tools=[tool()]))
        approving = worker.start_run(asking_agent(worker, tools=[tool(requires_approval=True)]))
        worker.wait_for("approval_request", of=approving)
        worker.close_stdin()
        for run in (waiting, approving, later):
            failed(worker.terminal(run), "ParentGone")
        assert succeeded(worker.terminal(finishing))["result"] == "done"
        assert worker.wait_for("goodbye")["reason"] == "eof"


def test_runs_that_wait_their_turn_at_the_end_of_input_have_it() -> None:
    with Worker() as worker:
        agent = worker.agent([says("done", delay_ms=100)], max_concurrency=1)
        runs = [worker.start_run(agent) for _ in range(3)]
        worker.close_stdin()
        for run in runs:
            assert succeeded(worker.terminal(run))["result"] == "done"


@pytest.mark.parametrize("option", [["--drain-timeout", "1"], []])
def test_what_is_left_after_the_drain_timeout_is_cancelled(option: list[str]) -> None:
    """clause: LIFE-EOF"""
    with Worker(*option, env={} if option else {"AXON_PORT_DRAIN_TIMEOUT": "1"}) as worker:
        endless = start_endless(worker)
        succeeded(worker.ask("ping"))
        worker.close_stdin()
        failed(worker.terminal(endless), "Cancelled")
        assert worker.wait_for("goodbye")["reason"] == "eof"
        assert worker.wait_exit(ROUND_UP_S) == 0


def test_a_thousand_runs_at_the_end_of_the_drain_timeout_are_each_told() -> None:
    """A loop that has much to do is not blocked. clause: LIFE-EOF, LIFE-WATCHDOG"""
    with Worker("--drain-timeout", "1") as worker:
        agent = worker.agent([says("never", delay_ms=NEVER_MS)])
        runs = [worker.start_run(agent) for _ in range(1000)]
        while succeeded(worker.ask("ping"))["result"]["inflight"] < len(runs):
            pass
        worker.close_stdin()
        for run in runs:
            failed(worker.terminal(run), "Cancelled")
        assert worker.wait_for("goodbye")["reason"] == "eof"
        assert worker.wait_exit(ROUND_UP_S) == 0


def test_eight_hundred_open_calls_do_not_hold_up_the_end() -> None:
    with Worker("--max-tool-calls", "800") as worker:
        agent = worker.agent([calls(*["t"] * 800), says("done")], tools=[tool("t")])
        run = worker.start_run(agent)
        for _ in range(800):
            worker.wait_for("tool_call", of=run)
        worker.close_stdin()
        failed(worker.terminal(run), "ParentGone")
        assert worker.wait_exit(ROUND_UP_S) == 0


# ---------------------------------------------------------------- nobody listens


def test_a_worker_to_whom_nobody_listens_ends_though_its_input_is_open() -> None:
    """clause: LIFE-STDOUT"""
    with Worker() as worker:
        start_endless(worker)
        succeeded(worker.ask("ping"))
        worker.close_stdout()
        worker.wait_exit(ROUND_UP_S)


def test_an_idle_worker_to_whom_nobody_listens_ends() -> None:
    with Worker() as worker:
        succeeded(worker.ask("ping"))
        worker.close_stdout()
        worker.wait_exit(ROUND_UP_S)


def test_a_worker_whose_port_is_closed_does_not_drain() -> None:
    with Worker() as worker:
        start_endless(worker)
        start_asking(worker)
        worker.close_stdout()
        worker.close_stdin()
        worker.wait_exit(ROUND_UP_S)
        assert "Traceback" not in worker.stderr


# ---------------------------------------------------------------- signals

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda s: s.name)
def test_a_signal_ends_an_idle_worker_in_an_orderly_way(number: signal.Signals) -> None:
    """clause: LIFE-SIGNAL"""
    with Worker() as worker:
        succeeded(worker.ask("ping"))
        worker.signal(number)
        assert worker.recv()["reason"] == "signal"
        assert worker.wait_exit(ROUND_UP_S) == 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda s: s.name)
def test_after_a_signal_runs_have_the_default_grace(number: signal.Signals) -> None:
    with Worker() as worker:
        run, call = start_asking(worker)
        left, _ = start_asking(worker)
        quick = worker.agent([says("quick")])
        worker.signal(number)
        failed(run_until_refused(worker, quick), "ShuttingDown")
        worker.answer(call, result=1)
        assert succeeded(worker.terminal(run))["result"] == "done"
        failed(worker.terminal(left), "Cancelled")
        assert worker.wait_for("goodbye")["reason"] == "signal"
        assert worker.wait_exit(ROUND_UP_S) == 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda s: s.name)
def test_a_second_signal_ends_the_worker_at_once(number: signal.Signals) -> None:
    """clause: LIFE-SIGNAL, LIFE-EXIT
    fault: D36
    """
    with Worker() as worker:
        start_asking(worker)
        agent = worker.agent([{"text": "still serving"}])
        worker.signal(number)
        while worker.run(agent)["type"] == "result":
            # Two signals of a kind that wait together are one: the first has to be taken before the second.
            pass
        worker.signal(number)
        assert worker.wait_exit(ROUND_UP_S) == 128 + number


def test_a_signal_with_a_hundred_runs_ends_each_with_a_terminal_frame() -> None:
    """fault: D36"""
    with Worker() as worker:
        agent = asking_agent(worker)
        runs = [start_asking(worker, agent)[0] for _ in range(100)]
        worker.signal(signal.SIGTERM)
        for run in runs:
            failed(worker.terminal(run), "Cancelled")
        assert worker.wait_exit(ROUND_UP_S) == 0


def test_signals_that_were_inherited_as_ignored_are_heard() -> None:
    """fault: D36"""
    ignoring = ("/bin/sh", "-c", 'trap "" TERM INT HUP; exec "$@"', "sh", *PROGRAM)
    for number in SIGNALS:
        with Worker(program=ignoring) as worker:
            succeeded(worker.ask("ping"))
            worker.signal(number)
            assert worker.wait_for("goodbye")["reason"] == "signal"
            assert worker.wait_exit(ROUND_UP_S) == 0


# ---------------------------------------------------------------- surroundings


def test_what_lies_in_the_working_directory_is_not_imported(tmp_path: Path) -> None:
    """fault: D41"""
    for name in ("orjson", "pydantic_ai", "anyio", "json", "logging", "jsonschema_rs"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'a').write({name!r})\n")
    with Worker(cwd=tmp_path, pythonpath=[REPOSITORY]) as worker:
        assert succeeded(worker.run(worker.agent([says("untouched")])))["result"] == "untouched"
    assert not (tmp_path / "seen").exists()


SURROUNDINGS: dict[str, dict[str, str | None]] = {
    "a C locale": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": None, "PYTHONIOENCODING": "ascii"},
    "no home": {"HOME": None},
    "a home that is none": {"HOME": "/dev/null/none"},
    "inspection": {"PYTHONINSPECT": "1"},
    "warnings": {"PYTHONWARNINGS": "always"},
    "development mode": {"PYTHONDEVMODE": "1"},
    "no buffering": {"PYTHONUNBUFFERED": "1"},
}


@pytest.mark.parametrize("env", SURROUNDINGS.values(), ids=SURROUNDINGS.keys())
def test_surroundings_make_no_difference(env: dict[str, str | None]) -> None:
    with Worker(env=env) as worker:
        assert succeeded(worker.run(worker.agent([says("Ä 字 😀")]), "ü"))["result"] == "Ä 字 😀"
        worker.close_stdin()
        assert worker.wait_exit() == 0


# ---------------------------------------------------------------- anything, in any order


@pytest.mark.parametrize("seed", range(8))
def test_whatever_crosses_each_run_has_one_terminal_frame_and_then_silence(worker: Worker, seed: int) -> None:
    chance = random.Random(seed)
    script = [calls("lookup", text="a"), calls("lookup", "lookup", text="b"), says("done", delay_ms=5)]
    agent = worker.agent(script, tools=[tool(timeout_ms=200, retries=5)], max_concurrency=chance.choice([None, 3]))
    runs: list[Any] = []
    for _ in range(40):
        kind = chance.choice(["run", "stream"])
        more = {"credit": chance.choice([0, 1, 50])} if kind == "stream" else {}
        runs.append(worker.submit(kind, agent_id=agent, prompt="p", timeout_ms=5000, **more))
        for _ in range(chance.randrange(4)):
            target = chance.choice(runs)
            made = [frame for frame in worker.frames if frame["type"] == "tool_call" and frame["id"] == target]
            match chance.randrange(4):
                case 0 if made:
                    worker.answer(chance.choice(made), result=1)
                case 1:
                    worker.submit("cancel", target=target)
                case 2:
                    worker.submit(
                        "enqueue", target=target, prompt="more", priority=chance.choice(["asap", "when_idle"])
                    )
                case _:
                    worker.send({"type": "credit", "id": target, "n": chance.randrange(3)})
    for run in runs:
        worker.submit("cancel", target=run)
    for run in runs:
        worker.terminal(run)
    succeeded(worker.ask("ping"))


# ---------------------------------------------------------------- the command line


def test_help_is_text() -> None:
    """clause: OPT-TEXT"""
    done = command_line("--help")
    assert done.returncode == 0
    options = "max-frame-bytes max-inflight max-tool-calls drain-timeout log-level nouse-stdio allow-import"
    for option in [*options.split(), "allow-capability", "version"]:
        assert f"--{option}".encode() in done.stdout


def test_the_version_is_text() -> None:
    done = command_line("--version")
    assert done.returncode == 0
    assert done.stdout.strip().count(b"\n") == 0


WRONG: list[list[str]] = [
    ["--nonsense"],
    ["nonsense"],
    ["--max-frame-bytes", "many"],
    ["--max-frame-bytes"],
    ["--max-frame-bytes", "-1"],
    ["--max-inflight", "-1"],
    ["--max-tool-calls", "1.5"],
    ["--drain-timeout", "soon"],
    ["--drain-timeout", "-1"],
    ["--log-level", "loud"],
    ["--allow-import"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_arguments_end_it_with_64_and_say_why_on_stderr(arguments: list[str]) -> None:
    """clause: OPT-WRONG
    fault: D38
    """
    done = command_line(*arguments)
    assert done.returncode == 64
    assert done.stdout == b""
    assert done.stderr.strip()
    assert b"Traceback" not in done.stderr


VARIABLES: list[tuple[str, str, str, int]] = [
    ("AXON_PORT_MAX_FRAME_BYTES", "--max-frame-bytes", "max_frame_bytes", 1_000_000),
    ("AXON_PORT_MAX_INFLIGHT", "--max-inflight", "max_inflight", 7),
    ("AXON_PORT_MAX_TOOL_CALLS", "--max-tool-calls", "max_tool_calls", 5),
]


@pytest.mark.parametrize(("variable", "option", "limit", "value"), VARIABLES, ids=[v[0] for v in VARIABLES])
def test_a_limit_is_an_option_and_a_variable_and_the_option_wins(
    variable: str, option: str, limit: str, value: int
) -> None:
    """clause: OPT-OPTIONS, OPT-ENVIRONMENT"""
    with Worker(env={variable: str(value)}) as worker:
        assert worker.ready["limits"][limit] == value
    with Worker(option, str(value + 1), env={variable: str(value)}) as worker:
        assert worker.ready["limits"][limit] == value + 1


def frames_without_logs(worker: Worker) -> list[Frame]:
    """What has come, but logs."""
    return [frame for frame in worker.frames if frame["type"] != "log"]


def test_a_worker_that_nobody_talks_to_says_ready_and_nothing_else() -> None:
    with Worker() as worker:
        succeeded(worker.ask("ping"))
        assert [frame["type"] for frame in frames_without_logs(worker)] == ["ready", "result"]
