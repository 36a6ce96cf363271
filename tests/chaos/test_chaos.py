"""A short storm, the same seed every time; `python -m tests.chaos` goes on for as long as one likes."""

import asyncio

from . import interleavings
from .deaths import DEATHS, JOBS, die_and_come_back
from .storm import storm
from .weather import Weather


def test_in_a_storm_nothing_is_lost_and_afterwards_nothing_is_left() -> None:
    """clause: ENV-ONE-TERMINAL, ENV-REUSE, RUN-UNWIND, OUT-WRITER, STDIO-CAPTURE"""
    told = asyncio.run(storm(7, at_once=40, scenes=100))
    assert told.problems == []
    assert sum(told.played.values()) == 100
    assert told.most_at_once == 40


def test_a_tool_that_ends_the_worker_costs_no_job_and_doubles_none() -> None:
    told = asyncio.run(die_and_come_back(7, ["_exit", "segfault"]))
    assert told.problems == []
    assert told.statuses == [DEATHS["_exit"], DEATHS["segfault"]]
    assert sum(told.results.values()) == JOBS


def test_cancels_and_replies_in_every_order_leave_one_end_and_a_history_to_go_on_from() -> None:
    """Ten thousand are told by `python -m tests.chaos.interleavings`.

    fault: F49

    clause: RUN-CANCEL, RUN-RESUME, CALL-CANCEL, CALL-ANSWER
    """
    ends = interleavings.tell(150)
    assert min(ends["cancelled"], ends["result"]) > 10


def test_the_weather_of_a_run_depends_on_nothing_but_its_number() -> None:
    plans = [[Weather(1).plan(str(number).encode(), turn) for turn in (1, 2)] for number in range(30)]
    again = [[Weather(1).plan(str(number).encode(), turn) for turn in (1, 2)] for number in range(30)]
    assert plans == again
    assert len({repr(plan) for pair in plans for plan in pair}) > 20
