"""Records of real workers that a replay has to find the same: `axon-port replay` on each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit import Worker, succeeded

from .test_replay import command

ASKS = {"tool_calls": [{"name": "weather", "args": {"city": "Riga"}}]}
WEATHER: dict[str, Any] = {"name": "weather", "parameters": {"type": "object"}}


def approved_first(worker: Worker) -> None:
    agent = worker.agent([ASKS, {"text": "a coat"}], tools=[{**WEATHER, "requires_approval": True}])
    run = worker.start_run(agent)
    worker.decide(worker.wait_for("approval_request"), approved=True)
    worker.answer(worker.wait_for("tool_call"), result=3)
    succeeded(worker.terminal(run))


def twins_answered_the_other_way_round(worker: Worker) -> None:
    agent = worker.agent([{"tool_calls": ASKS["tool_calls"] * 2}, {"text": "a coat"}], tools=[WEATHER])
    run = worker.start_run(agent)
    first, second = (worker.wait_for("tool_call") for _ in range(2))
    worker.answer(second, result="two")
    worker.answer(first, result="one")
    succeeded(worker.terminal(run))


def a_parent_that_goes_with_a_call_open(worker: Worker) -> None:
    run = worker.start_run(worker.agent([ASKS, {"text": "a coat"}], tools=[WEATHER]))
    worker.wait_for("tool_call")
    worker.close_stdin()
    worker.terminal(run)


def a_parent_that_goes_while_a_model_thinks(worker: Worker) -> None:
    run = worker.start_run(worker.agent([{"text": "x", "delay_ms": 600_000}]))
    worker.close_stdin()
    worker.terminal(run)


def chunks_without_credit(worker: Worker) -> None:
    stream = worker.start_stream(worker.agent([{"chunks": ["a ", "b ", "c"]}]), credit=1)
    worker.wait_for("chunk", of=stream)
    worker.close_stdin()
    worker.terminal(stream)


def frames_that_are_none(worker: Worker) -> None:
    worker.send_raw(b"\0\0\0\3{x}", noted=False)
    worker.wait_for("error", of=None)
    worker.send_raw(b"\0\0\0\3[1]", noted=False)
    worker.wait_for("error", of=None)
    worker.send({"type": "ping", "id": True})
    worker.wait_for("error", of=None)


def names_that_may_hold_secrets_and_do_not(worker: Worker) -> None:
    fields = {"env": {"type": "string", "enum": ["prod"]}, "api_key": {"type": "string"}, "headers": {"type": "object"}}
    tool = {"name": "weather", "parameters": {"type": "object", "properties": fields}}
    asks = {"tool_calls": [{"name": "weather", "args": {"env": "prod"}}]}
    schema = {"type": "object", "properties": {"env": {"type": "string"}}}
    agent = worker.agent([asks, {"text": "x"}], tools=[tool], instructions="in {{env}}", deps_schema=schema)
    run = worker.start_run(agent, deps={"env": "production"})
    worker.answer(worker.wait_for("tool_call"), result={"status": 200, "headers": {"content-type": "text/plain"}})
    succeeded(worker.terminal(run))


@pytest.mark.parametrize(
    "scene",
    [
        approved_first,
        twins_answered_the_other_way_round,
        a_parent_that_goes_with_a_call_open,
        a_parent_that_goes_while_a_model_thinks,
        chunks_without_credit,
        frames_that_are_none,
        names_that_may_hold_secrets_and_do_not,
    ],
)
def test_a_scene_is_played_the_same(scene: Callable[[Worker], None], tmp_path: Path) -> None:
    """clause: REPLAY-COMMAND, REPLAY-PACE, REPLAY-END, REPLAY-OPTIONS, REC-UNREADABLE, REC-SECRETS"""
    path = tmp_path / "record"
    with Worker("--record", str(path), "--drain-timeout", "0.5") as worker:
        scene(worker)
    done = command("replay", str(path))
    assert (done.stdout.splitlines()[-1].partition(": ")[2], done.stderr) == ("all the same", "")
