"""What callbacks say, as the worker is told it."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import anyio
import pytest

from axon_port.client import Approved, Call, DeferredCall, Denied, Failed, Retry, tool
from axon_port.client.calls import approval, deferred_results, tool_result
from axon_port.client.exchange import Callbacks, Exchange
from axon_port.client.results import RunResult, joined

WORDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a result": ({"n": 1}, {"result": {"n": 1}}),
    "nothing": (None, {"result": None}),
    "to be tried again": (Retry("once more"), {"retry": "once more"}),
    "failed": (Failed("it is lost"), {"failed": "it is lost"}),
    "approved": (Approved(), {"approved": True}),
    "approved with other arguments": (Approved({"n": 2}), {"approved": True, "args": {"n": 2}}),
    "denied": (Denied("not today"), {"approved": False, "message": "not today"}),
    "denied without a word": (Denied(), {"approved": False}),
}


@pytest.mark.parametrize(("said", "entry"), WORDS.values(), ids=WORDS)
def test_what_became_of_a_deferred_call_is_an_entry(said: Any, entry: dict[str, Any]) -> None:
    """clause: DEFER-CARRY-ON"""

    def resolve(_call: DeferredCall) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    call = DeferredCall("c1", "ship", {})
    assert anyio.run(deferred_results, resolve, [call]) == {"c1": entry}


@pytest.mark.parametrize(("word", "approved"), [(True, True), (False, False), (None, False), ({"n": 1}, False)])
def test_a_call_that_waits_for_a_word_is_made_only_on_a_clear_one(word: Any, approved: bool) -> None:
    """clause: DEFER-APPROVAL, DEFER-CARRY-ON"""

    def resolve(_call: DeferredCall) -> Any:
        return word

    call = DeferredCall("c1", "refund", {}, approval=True)
    assert anyio.run(deferred_results, resolve, [call]) == {"c1": {"approved": approved}}


async def double(n: int) -> int:
    """Twice the number."""
    return 2 * n


def answered(function: Any, **args: Any) -> dict[str, Any]:
    """The fields of the answer to a call of a function."""

    async def main() -> dict[str, Any]:
        exchange = Exchange(Callbacks({"look": tool(function, name="look")}))
        return await tool_result(exchange, Call("a", "1", "look", args), anyio.CapacityLimiter(1))

    return anyio.run(main)


def test_a_function_with_arguments_of_its_own_is_called_with_them() -> None:
    assert answered(functools.partial(functools.partial(double), 4)) == {"result": 8}


@pytest.mark.parametrize("left", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_programs_own_end_is_not_held_up_by_a_tool(left: BaseException) -> None:
    def leaves() -> None:
        raise left

    with pytest.raises(type(left)):
        answered(leaves)


async def closed(_call: object) -> bool:
    """As one that waits for a dialog that was closed."""
    word = asyncio.get_running_loop().create_future()
    word.cancel()
    return await word


def test_a_word_that_was_cancelled_is_a_refusal() -> None:
    fields = anyio.run(approval, Callbacks(on_approval=closed), Call("a", "1", "pay", {}))
    assert fields == {"approved": False, "message": "the approval could not be asked for"}


def test_whoever_asks_for_a_word_and_is_cancelled_stops() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def ask(_call: Call) -> bool:
            asked.set()
            return await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(approval(Callbacks(on_approval=ask), Call("a", "1", "pay", {})))
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    anyio.run(main)


@pytest.mark.parametrize("left", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_programs_own_end_is_not_held_up_by_an_approval(left: BaseException) -> None:
    def leaves(_call: Call) -> bool:
        raise left

    with pytest.raises(type(left)):
        anyio.run(approval, Callbacks(on_approval=leaves), Call("a", "1", "pay", {}))


def test_what_became_of_a_deferred_call_is_never_left_out() -> None:
    """A carried on run without it would be refused."""
    with pytest.raises(RuntimeError, match="a call of ship was cancelled"):
        anyio.run(deferred_results, closed, [DeferredCall("c1", "ship", {})])


def leg(**usage: Any) -> RunResult:
    return RunResult("x", "complete", "a", "r", None, usage, 1)


def test_what_the_legs_of_a_run_cost_is_added_up_whatever_the_provider_counts() -> None:
    first = leg(requests=1, cost_usd=0.5, details={"reasoning": 3}, only_first=1)
    second = leg(requests=2, cost_usd=0.25, details={"reasoning": 4, "audio": 1}, only_second=2)
    assert joined(first, second, "new").usage == {
        "requests": 3,
        "cost_usd": 0.75,
        "details": {"reasoning": 7, "audio": 1},
        "only_first": 1,
        "only_second": 2,
    }
