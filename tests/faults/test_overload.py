"""Overload: at every limit of the command line and ten times over it, what is accepted still finishes.

The other bounds of BOUNDS.md are provoked where their modules are tested.
"""

from typing import Any

from axon_port.agents.bench import THREADS
from axon_port.wire.framing import LOST_FRAMING_FACTOR
from axon_port.worker.outbox import CONGESTED_BYTES
from axon_port.worker.stats import MAX_AGENTS, Stats
from tests.contract.scenarios import calls, says, tool
from tests.kit import Worker, encode, failed, pack, succeeded
from tests.kit.processes import forget_peak, resident_bytes

from .scenes import MIB, faulty_agent, faulty_tool, faulty_worker, run_faulty
from .test_stalled_parent import wait_until_held_back

MAX_INFLIGHT = 1024
TEN = 10


def asking_agent(worker: Worker, count: int = 1) -> str:
    """An agent whose run makes so many calls at once and then says `done`."""
    return worker.agent([calls(*(("t", {"n": n}) for n in range(count))), says("done")], tools=[tool("t")])


# ---------------------------------------------------------------- --max-frame-bytes


def test_frames_of_the_limit_and_up_to_ten_times_over_it() -> None:
    """fault: A3"""
    limit = 100_000
    with faulty_worker("--max-frame-bytes", str(limit)) as worker:
        command = {"type": "run", "id": "full", "agent_id": worker.agent([says("read")]), "messages": "none"}
        full = encode({**command, "prompt": "x" * (limit - len(encode({**command, "prompt": ""})) + 4)})
        assert len(full) == 4 + limit
        worker.send_raw(pack(b"x" * (limit + 1)))
        forget_peak(worker.pid)
        before = resident_bytes(worker.pid)
        for length in (limit + 1, *(factor * limit for factor in range(2, LOST_FRAMING_FACTOR + 1))):
            worker.send_raw(pack(b"x" * length))
        assert resident_bytes(worker.pid, peak=True) - before < MIB
        worker.send_raw(full)
        assert succeeded(worker.terminal("full"))["result"] == "read"
        refused = [frame for frame in worker.frames if frame["type"] == "error"]
        assert len(refused) == 1 + LOST_FRAMING_FACTOR
        assert {frame["error_type"] for frame in refused} == {"FrameTooLarge"}
        worker.send_raw((TEN * limit).to_bytes(4, "big"))
        lost = worker.wait_for(lambda frame: frame.get("fatal") is True)
        assert failed(lost, "FrameTooLarge")["details"]["length"] == TEN * limit
        assert worker.wait_exit() == 65


# ---------------------------------------------------------------- --max-inflight


def test_ten_times_as_many_runs_as_are_allowed() -> None:
    """clause: RUN-OVERLOADED
    fault: E43
    """
    with Worker(timeout=120) as worker:
        assert worker.ready["limits"]["max_inflight"] == MAX_INFLIGHT
        agent = asking_agent(worker)
        runs = [worker.start_run(agent, messages="none") for _ in range(TEN * MAX_INFLIGHT)]
        accepted, refused = runs[:MAX_INFLIGHT], runs[MAX_INFLIGHT:]
        for run in refused:
            error = failed(worker.terminal(run), "Overloaded")
            assert (error["retryable"], error["details"]) == (True, {"max_inflight": MAX_INFLIGHT})
        # None of those that were accepted has ended: refusals do not wait for them.
        open_calls = [worker.wait_for("tool_call") for _ in accepted]
        pong = succeeded(worker.ask("ping"))["result"]
        assert pong["inflight"] == MAX_INFLIGHT
        for call in open_calls:
            worker.answer(call, result=1)
        for run in accepted:
            assert succeeded(worker.terminal(run))["result"] == "done"
        # What was refused may come again.
        assert succeeded(worker.run(worker.agent([says("again")])))["result"] == "again"


# ---------------------------------------------------------------- --max-tool-calls


def test_ten_times_as_many_calls_as_may_be_open() -> None:
    """clause: TOOL-PARALLEL
    fault: E45
    """
    with Worker("--max-tool-calls", "64") as worker:
        run = worker.start_run(asking_agent(worker, TEN * 64), messages="none")
        first = [worker.wait_for("tool_call", of=run) for _ in range(64)]
        # Another run, asked and answered meanwhile, brings nothing more of this one.
        other = worker.start_run(asking_agent(worker))
        worker.answer(worker.wait_for("tool_call", of=other), result=1)
        succeeded(worker.terminal(other))
        assert sum(frame["type"] == "tool_call" and frame["id"] == run for frame in worker.frames) == 64
        for call in first:
            worker.answer(call, result=1)
        seen = [call["args"]["n"] for call in first]
        for _ in range((TEN - 1) * 64):
            call = worker.wait_for("tool_call", of=run)
            seen.append(call["args"]["n"])
            worker.answer(call, result=1)
        assert seen == list(range(TEN * 64))
        assert succeeded(worker.terminal(run))["usage"]["tool_calls"] == TEN * 64


# ---------------------------------------------------------------- threads


def test_more_hung_functions_than_there_are_threads() -> None:
    """clause: TOOL-THREADS
    fault: E46
    """
    with faulty_worker(timeout=120) as worker:
        hanging = faulty_agent(worker, "floods.wait_at_gate")
        hung = [worker.start_run(hanging) for _ in range(2 * THREADS)]
        succeeded(worker.ask("ping"))
        assert succeeded(worker.run(worker.agent([says("another")])))["result"] == "another"
        run = worker.start_run(asking_agent(worker))
        worker.answer(worker.wait_for("tool_call", of=run), result=1)
        succeeded(worker.terminal(run))
        waiting = worker.start_run(faulty_agent(worker, "floods.big", size=3))
        # A coroutine needs no thread, and lets the others through.
        succeeded(run_faulty(worker, "floods.open_gate"))
        for run in (*hung, waiting):
            assert succeeded(worker.terminal(run))["result"] == "done"


# ---------------------------------------------------------------- agents


def test_agents_without_number_have_a_bounded_place_in_the_figures() -> None:
    """clause: LIFE-STATS"""
    stats = Stats()
    for number in range(TEN * MAX_AGENTS):
        stats.agent(f"agent {number}").runs += 1
    told: dict[str, Any] = stats.as_json(frames={}, bytes_={}, logs_dropped=0)["agents"]
    assert len(told) == MAX_AGENTS + 1
    assert sum(agent["runs"] for agent in told.values()) == TEN * MAX_AGENTS


def test_a_crowd_of_agents_comes_and_goes_and_leaves_no_memory() -> None:
    with Worker(timeout=120) as worker:

        def crowd() -> None:
            model = {"script": [says("x")]}
            for number in range(100):
                worker.submit("create_agent", id=f"+{number}", agent_id=f"crowd {number}", model=model, tools=[tool()])
                worker.submit("run", id=f"r{number}", agent_id=f"crowd {number}", prompt="p", messages="none")
                worker.submit("delete_agent", id=f"-{number}", agent_id=f"crowd {number}")
            for number in range(100):
                for sign in "+r-":
                    succeeded(worker.terminal(f"{sign}{number}"))

        crowd()
        before = resident_bytes(worker.pid)
        for _ in range(2):
            crowd()
        assert succeeded(worker.ask("list_agents"))["result"] == {"agents": []}
        assert resident_bytes(worker.pid) - before < 32 * MIB


# ---------------------------------------------------------------- queued output


def test_a_parent_that_only_ever_sends_is_not_read_for_ever() -> None:
    """Beyond the mark of congestion the worker stops reading; all that it read is answered afterwards.

    clause: IN-BOUND
    fault: C25
    """
    tools = [tool(f"{number:03d}" + "n" * 1000) for number in range(500)]
    with Worker(timeout=120) as worker:
        worker.agent([], tools=tools)
        answer = len(encode(worker.ask("list_agents")))
        forget_peak(worker.pid)
        before = resident_bytes(worker.pid)
        worker.stop_reading()
        enough = CONGESTED_BYTES // answer + 1
        asked = [worker.submit("list_agents") for _ in range(enough)]
        wait_until_held_back(worker)
        # A pipe holds these: nobody reads them any more, but they are not lost.
        late = [worker.submit("list_agents") for _ in range(50)]
        wait_until_held_back(worker)
        assert resident_bytes(worker.pid, peak=True) - before < CONGESTED_BYTES + 64 * MIB
        worker.resume_reading()
        for command in (*asked, *late):
            succeeded(worker.terminal(command))
        succeeded(worker.ask("ping"))


# ---------------------------------------------------------------- credit


def test_a_stream_whose_credit_never_comes_waits_alone_and_holds_its_answer_only() -> None:
    """clause: STREAM-CREDIT
    fault: E44
    """
    pieces = ["x" * 1000] * 1000
    with Worker(timeout=120) as worker:
        agent = worker.agent([says("".join(pieces), chunks=pieces)])
        for _ in range(3):
            succeeded(worker.collect(worker.start_stream(agent, messages="none"))[-1])
        before = resident_bytes(worker.pid)
        stuck = [worker.start_stream(agent, messages="none", credit=0) for _ in range(10)]
        for credit in (-1, "1", None):
            worker.send({"type": "credit", "id": stuck[0], "n": credit})
            error = worker.wait_for(lambda frame: frame["type"] == "error" and frame["id"] is None)
            assert error["run_id"] == stuck[0]
        worker.send({"type": "credit", "id": "another", "n": 5})
        worker.send({"type": "credit", "id": str(stuck[0]), "n": 5})
        for _ in range(30):
            assert succeeded(worker.collect(worker.start_stream(agent, messages="none", credit=2**62))[-1])
        assert not any(frame["type"] == "chunk" and frame["id"] in stuck for frame in worker.frames)
        assert resident_bytes(worker.pid) - before < 64 * MIB
        for stream in stuck:
            worker.send({"type": "credit", "id": stream, "n": 2**63 - 1})
            (chunk, end) = worker.collect(stream)
            assert (chunk["seq"], chunk["data"]) == (0, "".join(pieces))
            succeeded(end)


def test_tools_of_threads_and_of_the_parent_share_a_run() -> None:
    """A named cap for the parent's calls does not hold up the worker's own."""
    with faulty_worker("--max-tool-calls", "1") as worker:
        wanted = [*["t"] * 3, *[("slow", {"value": n}) for n in range(20)]]
        tools = [tool("t"), faulty_tool("floods.slow")]
        run = worker.start_run(worker.agent([calls(*wanted), says("done")], tools=tools))
        for _ in range(3):
            worker.answer(worker.wait_for("tool_call", of=run), result=1)
        assert succeeded(worker.terminal(run))["usage"]["tool_calls"] == 23
