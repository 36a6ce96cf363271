"""The timer that needs no Python, in processes of their own."""

import pytest

from .programs import run_program

HELD = {
    # A C call that keeps the interpreter lock and never comes back.
    "a call that waits": "import ctypes; ctypes.PyDLL(None).pause()",
    "a call that computes": "import re; re.match('(a|a)*$', 'a' * 60 + 'b')",
    "a loop": "exec('while True: pass')",
}


@pytest.mark.parametrize(
    ("how", "cpu"), [("a call that waits", False), ("a call that computes", True), ("a loop", True), ("a loop", False)]
)
def test_a_process_that_cannot_turn_is_ended_with_our_status(how: str, cpu: bool) -> None:
    """clause: LIFE-HELD, LIFE-WATCHDOG"""
    source = f"from axon_port.worker.last_resort import ExitTimer\nExitTimer(70, cpu={cpu}).arm(0.1)\n{HELD[how]}"
    assert run_program(source).returncode == 70


def test_a_timer_of_cpu_time_does_not_run_while_nobody_computes() -> None:
    source = """
import select
from axon_port.worker.last_resort import ExitTimer
timer, other = ExitTimer(70, cpu=True), ExitTimer(71, cpu=False)
timer.arm(1.0)
other.arm(1.5)
select.select([], [], [])
"""
    assert run_program(source).returncode == 71


def test_a_timer_that_is_armed_anew_starts_anew() -> None:
    source = """
import sys
from axon_port.worker.last_resort import ExitTimer
timer, other = ExitTimer(70, cpu=False), ExitTimer(71, cpu=False)
timer.arm(0.5)
other.arm(3600)
timer.arm(3600)
other.arm(0.1)
sys.stdin.read()
while True:
    pass
"""
    assert run_program(source).returncode == 71


def test_a_timer_that_was_never_armed_ends_nothing() -> None:
    source = """
from axon_port.worker.last_resort import ExitTimer
timers = ExitTimer(70, cpu=True), ExitTimer(71, cpu=False)
print("alive")
"""
    done = run_program(source)
    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_a_timer_that_is_armed_for_ever_leaves_nothing_behind() -> None:
    source = """
import gc
from axon_port.worker.last_resort import ExitTimer
timers = ExitTimer(70, cpu=True), ExitTimer(71, cpu=False)
for timer in timers:
    timer.arm(3600)
gc.collect()
gc.disable()
for timer in timers * 100:
    timer.arm(3600)
print(gc.collect())
"""
    assert run_program(source).stdout == b"0\n"
