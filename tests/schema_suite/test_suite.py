"""Each (schema, instance) of the official suite as a scripted run: the verdict, and the result on the wire.

One worker gets them all, many at a time: the model gives the instance, the run has the schema, and no retry is left.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.kit import Frame, Worker, failed

from .suite import Group, groups

AT_ONCE = 200
"""Runs in flight: below `max_inflight`, so that none is refused."""

WRONG: dict[tuple[str, str, str], str] = {}
"""What the validator itself gets wrong, by file, group and test, with the reason. An entry that is right fails."""

pytestmark = pytest.mark.skipif(not groups(), reason="the suite is not beside the repository")

Case = tuple[Group, dict[str, Any]]


@cache
def known() -> tuple[Group, ...]:
    """The groups of the suite, read once."""
    return tuple(groups())


def cases() -> Iterator[Case]:
    """Every test of every group that needs nothing from elsewhere."""
    return ((group, test) for group in known() if not group.is_remote for test in group.tests)


def answers(worker: Worker, commands: list[dict[str, Any]], mode: str = "tool") -> list[Frame]:
    """The terminal frames of runs, in their order, with a bounded number of them in flight."""
    agent = worker.agent([], result_retries=0, output_mode=mode)
    taken: list[Frame] = []
    for start in range(0, len(commands), AT_ONCE):
        ids = [worker.start_run(agent, messages="none", **command) for command in commands[start : start + AT_ONCE]]
        taken += [worker.terminal(run) for run in ids]
    return taken


def verdicts_on(listed: list[Case], mode: str) -> list[tuple[Case, Frame]]:
    """What a worker makes of cases."""
    commands = [
        {"model": {"script": [{"output": test["data"]}]}, "output_schema": group.schema} for group, test in listed
    ]
    with Worker() as worker:
        return list(zip(listed, answers(worker, commands, mode), strict=True))


@pytest.fixture(scope="module")
def verdicts() -> list[tuple[Case, Frame]]:
    """What the worker made of every case."""
    return verdicts_on(list(cases()), "tool")


def is_right(test: dict[str, Any], answer: Frame) -> bool:
    """Whether the answer is the verdict of the suite; of a valid instance, exactly the instance came back."""
    if not test["valid"]:
        return answer["type"] == "error" and answer["error_type"] == "ValidationError"
    return answer["type"] == "result" and as_text(answer["result"]) == as_text(test["data"])


def as_text(value: Any) -> str:
    """JSON that tells 1 from 1.0 and true."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("file", sorted({group.file for group in known()}))
def test_every_verdict_is_that_of_the_suite(verdicts: list[tuple[Case, Frame]], file: str) -> None:
    """clause: OUT-SCHEMA, OUT-WRAPPED, SCHEMA-DRAFT, SCHEMA-REFERENCES, SCHEMA-FORMAT"""
    wrong = {
        (group.file, group.name, test["description"]): answer
        for (group, test), answer in verdicts
        if group.file == file and not is_right(test, answer)
    }
    unexpected = {name: answer for name, answer in wrong.items() if name not in WRONG}
    assert not unexpected, "\n".join(f"{name}: {answer!r:.500}" for name, answer in unexpected.items())
    stale = [name for name in WRONG if name[0] == file and name not in wrong]
    assert not stale, f"these are right: take them out of WRONG: {stale}"


@pytest.mark.parametrize("mode", ["native", "prompted"])
def test_the_verdicts_do_not_depend_on_how_the_model_is_asked(mode: str) -> None:
    """One valid and one invalid instance of each group. clause: OUT-MODES, OUT-WRAPPED"""
    one_of_each = {(group.file, group.name, test["valid"]): (group, test) for group, test in cases()}
    wrong = [
        ((group.file, group.name, test["description"]), answer)
        for (group, test), answer in verdicts_on(list(one_of_each.values()), mode)
        if not is_right(test, answer)
    ]
    assert [(name, answer) for name, answer in wrong if name not in WRONG] == []


def test_what_is_said_to_be_wrong_is_a_test_of_the_suite() -> None:
    names = {(group.file, group.name, test["description"]) for group, test in cases()}
    assert sorted(WRONG.keys() - names) == []


def test_a_schema_that_needs_another_document_is_refused() -> None:
    """clause: SCHEMA-REFERENCES"""
    remote = [group for group in known() if group.is_remote]
    assert {"refRemote.json"} <= {group.file for group in remote}
    commands = [{"model": {"script": [{"output": 1}]}, "output_schema": group.schema} for group in remote]
    with Worker() as worker:
        for group, answer in zip(remote, answers(worker, commands), strict=True):
            assert failed(answer, "InvalidAgent"), group.name
