"""The thread that needs no event loop (PROTOCOL.md, LIFE-WATCHDOG).

It ends the process when a deadline passes that the loop did not meet, notices that the parent process is gone while
something else holds the input open, and knows how late the loop is.

Where a C call holds the interpreter lock, even this thread cannot run. Two timers that need no Python end the process
then: one after a deadline, and one of the CPU time that this thread sets back as it turns (so that a stopped process
is not taken for a stuck one).
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

from axon_port.worker.last_resort import ExitTimer

BLOCKED_SECONDS: Final = 1.0
"""A loop that has not turned for so long is blocked. One that turns is busy."""

BUSY_SECONDS: Final = 10.0
"""How much longer than its deadline a busy loop may take: it is on its way to the end, with much to answer."""

TICK_SECONDS: Final = 0.25
"""How often the parent process is looked at: noticed within a second."""

BEAT_SECONDS: Final = 0.1
"""How often the loop says how late it is."""

LAST_RESORT_SECONDS: Final = 1.0
"""After a deadline, until the process ends even if no Python can run."""

HELD_CPU_SECONDS: Final = 20.0
"""CPU time that one C call may burn while it holds the interpreter lock: no ping is answered meanwhile. Less where
the drain timeout is shorter."""

LEAST_HELD_CPU_SECONDS: Final = 6.0
"""However short the drain timeout is: parsing the longest frame stays well below."""

URGENT_SWITCH_SECONDS: Final = 0.0001
"""At the end, how long a thread that computes keeps the interpreter from this one; 50 times less than usual."""


class Watchdog:
    """`on_expired` ends the process, the timers do so with `status`; `on_orphaned` is called once, when the parent
    process has gone."""

    def __init__(
        self, on_expired: Callable[[], None], on_orphaned: Callable[[], None], *, status: int, drain_timeout: float
    ) -> None:
        self._on_expired = on_expired
        self._on_orphaned = on_orphaned
        self._parent = os.getppid()
        self._deadline = math.inf
        self._busy_deadline = math.inf
        self._changed = threading.Condition()
        self._last_beat = self._last_turn = time.monotonic()
        self._last_resort = ExitTimer(status, cpu=False)
        self._held = ExitTimer(status, cpu=True)
        self._held_seconds = min(HELD_CPU_SECONDS, max(LEAST_HELD_CPU_SECONDS, drain_timeout))
        threading.Thread(target=self._watch, name="axon-port watchdog", daemon=True).start()

    def beat(self) -> None:
        """The loop has come to what it has to do every `BEAT_SECONDS`."""
        self._last_beat = time.monotonic()

    def turned(self) -> None:
        """The loop has done what was ready, or a run has ended: it is not blocked."""
        self._last_turn = time.monotonic()

    @property
    def lag_ms(self) -> int:
        """How late the loop is, in milliseconds."""
        return max(0, round((time.monotonic() - self._last_beat - BEAT_SECONDS) * 1000))

    @property
    def turns(self) -> bool:
        """Whether the loop turns, however late."""
        return time.monotonic() - self._last_turn < BLOCKED_SECONDS

    @property
    def remaining(self) -> float:
        """Seconds until the earliest deadline."""
        with self._changed:
            return self._deadline - time.monotonic()

    def expire_in(self, seconds: float, *, busy: float = BUSY_SECONDS) -> None:
        """End the process after `seconds` where the loop is blocked, and `busy` later where it turns.

        The earliest deadline counts.
        """
        with self._changed:
            deadline = time.monotonic() + seconds
            self._busy_deadline = min(self._busy_deadline, deadline + busy)
            if self._deadline <= deadline:
                return
            self._deadline = deadline
            self._last_resort.arm(seconds + LAST_RESORT_SECONDS)
            self._changed.notify_all()

    def leave_in(self, seconds: float) -> None:
        """The loop has met its deadline: from now on this one counts, for what the parent has still to read."""
        with self._changed:
            self._deadline = self._busy_deadline = time.monotonic() + seconds
            self._last_resort.arm(seconds + LAST_RESORT_SECONDS)
            self._changed.notify_all()

    def _watch(self) -> None:
        orphaned = False
        while True:
            with self._changed:
                if self._deadline <= time.monotonic():
                    self._last_resort.arm(LAST_RESORT_SECONDS)
                left = (self._busy_deadline if self.turns else self._deadline) - time.monotonic()
                if left > 0:
                    self._changed.wait(min(TICK_SECONDS, left))
            if left <= 0:
                sys.setswitchinterval(URGENT_SWITCH_SECONDS)
                self._on_expired()
                return
            self._held.arm(self._held_seconds)
            if not orphaned and os.getppid() != self._parent:
                orphaned = True
                self._on_orphaned()


def stack_of_main() -> str:
    """Where the thread of the loop stands."""
    main = threading.main_thread().ident
    frame = sys._current_frames().get(main or 0)  # pyright: ignore[reportPrivateUsage]
    return "" if frame is None else "".join(traceback.format_stack(frame))
