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
        self.asked: dict[Any, set[tuple[str, Wanted]]] = {}

    def teardown(self) -> None:
        self.loop.close()

    def make(self, run_id: Any, call_id: str, wanted: Wanted) -> None:
        async def wait_for() -> Waiting:
            return self.calls.wait_for(run_id, call_id, wanted, None)

        self.open[call_id] = self.loop.run_until_complete(wait_for())
        self.asked[run_id].add((call_id, wanted))

    @rule(run_id=RUNS)
    def begin_or_end(self, run_id: Any) -> None:
        if run_id not in self.asked:
            self.asked[run_id] = set()
            self.calls.begin(run_id)
            return
        for call_id, waiting in list(self.open.items()):
            if waiting.run_id == run_id:
                self.forget(call_id)
        del self.asked[run_id]
        self.calls.end(run_id)

    @rule()
    def know_a_call_that_is_not_asked(self) -> None:
        self.made += 1
        assert self.calls.new_call_id() == str(self.made)

    @rule(run_id=RUNS, wanted=WANTED)
    def new_call(self, run_id: Any, wanted: Wanted) -> None:
        if run_id not in self.asked:
            return
        call_id = self.calls.new_call_id()
        self.made += 1
        assert call_id == str(self.made)
        self.make(run_id, call_id, wanted)

    @rule(call_id=CALL_IDS)
    def approve_and_go_on(self, call_id: str) -> None:
        waiting = self.open.get(call_id)
        if waiting is not None and waiting.wanted == "approval":
            self.calls.forget(waiting)
            self.make(waiting.run_id, call_id, "tool_result")

    @rule(run_id=RUNS, call_id=CALL_IDS, wanted=WANTED)
    def answer(self, run_id: Any, call_id: str, wanted: Wanted) -> None:
        waiting = self.open.get(call_id)
        was_asked = (call_id, wanted) in self.asked.get(run_id, ())
        crossed_the_run_s_end = (
            run_id not in self.asked and waiting is None and call_id in map(str, range(1, self.made + 1))
        )
        try:
            found = self.calls.find(run_id, call_id, wanted)
        except Crossed:
            assert was_asked or crossed_the_run_s_end
            assert waiting is None or waiting.wanted != wanted
        except UnknownCall:
            assert not was_asked
            assert not crossed_the_run_s_end
        else:
            assert found is waiting
            assert (found.run_id, found.wanted) == (run_id, wanted)
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
