"""The table of pending calls against a model: each answer finds its call, crossed it, or is for none."""

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from axon_port.worker.calls import Crossed, PendingCalls, UnknownCall, Waiting, Wanted

from .profile import bounded

RUNS = st.sampled_from([1, 2, "1"])
WANTED = st.sampled_from(["tool_result", "approval"])
CALL_IDS = st.one_of(
    st.integers(0, 30).map(str), st.sampled_from(["", "01", "-1", " 1", "1.0", "x", "\u0661"]), st.text(max_size=3)
)


class CallsMachine(RuleBasedStateMachine):
    """Makes, answers and forgets calls at random."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.calls = PendingCalls()
        self.made = 0
        self.open: dict[str, Waiting] = {}
        self.unasked: dict[str, Any] = {}

    def teardown(self) -> None:
        self.loop.close()

    def make(self, run_id: Any, call_id: str, wanted: Wanted) -> None:
        async def wait_for() -> Waiting:
            return self.calls.wait_for(run_id, call_id, wanted, None)

        self.open[call_id] = self.loop.run_until_complete(wait_for())
        if wanted == "tool_result":
            self.unasked.pop(call_id, None)

    @rule(run_id=RUNS)
    def know_a_call_that_is_not_asked(self, run_id: Any) -> None:
        self.number_a_call(run_id)

    def number_a_call(self, run_id: Any) -> str:
        call_id = self.calls.new_call_id(run_id)
        self.made += 1
        assert call_id == str(self.made)
        self.unasked[call_id] = run_id
        return call_id

    @rule(run_id=RUNS)
    def end_a_run(self, run_id: Any) -> None:
        for call_id, waiting in list(self.open.items()):
            if waiting.run_id == run_id:
                self.forget(call_id)
        self.calls.end(run_id)
        self.unasked = {call_id: owner for call_id, owner in self.unasked.items() if owner != run_id}

    @rule(run_id=RUNS, wanted=WANTED)
    def new_call(self, run_id: Any, wanted: Wanted) -> None:
        self.make(run_id, self.number_a_call(run_id), wanted)

    @rule(call_id=CALL_IDS)
    def approve_and_go_on(self, call_id: str) -> None:
        waiting = self.open.get(call_id)
        if waiting is not None and waiting.wanted == "approval":
            self.calls.forget(waiting)
            self.make(waiting.run_id, call_id, "tool_result")

    @rule(run_id=RUNS, call_id=CALL_IDS, wanted=WANTED)
    def answer(self, run_id: Any, call_id: str, wanted: Wanted) -> None:
        waiting = self.open.get(call_id)
        ours = waiting is not None and (type(waiting.run_id), waiting.run_id) == (type(run_id), run_id)
        was_made = call_id in {str(number) for number in range(1, self.made + 1)}
        try:
            found = self.calls.find(run_id, call_id, wanted)
        except Crossed:
            assert was_made
            assert wanted == "approval" or call_id not in self.unasked
            assert waiting is None or (ours and waiting.wanted == "tool_result" and wanted == "approval")
        except UnknownCall:
            early = wanted == "tool_result" and call_id in self.unasked
            assert not was_made or early or (waiting is not None and (not ours or waiting.wanted != wanted))
        else:
            assert found is waiting
            assert ours
            assert found.wanted == wanted
            found.answered.set_result(None)
            del self.open[call_id]

    @rule(call_id=CALL_IDS)
    def forget(self, call_id: str) -> None:
        if (waiting := self.open.pop(call_id, None)) is not None:
            self.calls.forget(waiting)

    @invariant()
    def each_open_call_is_found(self) -> None:
        for call_id, waiting in self.open.items():
            assert self.calls.find(waiting.run_id, call_id, waiting.wanted) is waiting


TestCalls = CallsMachine.TestCase
TestCalls.settings = bounded(200, stateful_step_count=30)
