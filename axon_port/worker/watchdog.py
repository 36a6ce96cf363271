"""The thread that needs no event loop (PROTOCOL.md, LIFE-WATCHDOG).

It ends the process when a deadline passes that the loop did not meet, notices that the parent process is gone while
something else holds the input open, and knows how late the loop is.

Where a C call holds the interpreter lock, even this thread cannot run. Two things that need no Python end the process
then: after a deadline `faulthandler`, and at any time a timer of the CPU time that this thread sets back as it turns
(so that a stopped process is not taken for a stuck one). Either leaves the stacks on stderr.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

TICK_SECONDS: Final = 0.25
"""How often the parent process is looked at: noticed within a second."""

BEAT_SECONDS: Final = 0.1
"""How often the loop says that it turns."""

LAST_RESORT_SECONDS: Final = 1.0
"""After a deadline, until the process ends even if no Python can run."""

HELD_CPU_SECONDS: Final = 30.0
"""CPU time that one C call may burn while it holds the interpreter lock: no ping is answered meanwhile."""

URGENT_SWITCH_SECONDS: Final = 0.0001
"""At the end, how long a thread that computes keeps the interpreter from this one; 50 times less than usual."""


class Watchdog:
    """`on_expired` ends the process; `on_orphaned` is called once when the parent process has gone."""

    def __init__(self, on_expired: Callable[[], None], on_orphaned: Callable[[], None]) -> None:
        self._on_expired = on_expired
        self._on_orphaned = on_orphaned
        self._parent = os.getppid()
        self._deadline: float | None = None
        self._changed = threading.Condition()
        self._last_beat = time.monotonic()
        faulthandler.register(signal.SIGVTALRM, file=2, chain=True)
        threading.Thread(target=self._watch, name="axon-port watchdog", daemon=True).start()

    def beat(self) -> None:
        """The loop turns."""
        self._last_beat = time.monotonic()

    @property
    def lag_ms(self) -> int:
        """How late the loop is, in milliseconds."""
        return max(0, round((time.monotonic() - self._last_beat - BEAT_SECONDS) * 1000))

    def expire_in(self, seconds: float) -> None:
        """End the process after `seconds`, whatever the loop does. The earliest deadline counts."""
        with self._changed:
            deadline = time.monotonic() + seconds
            if self._deadline is not None and self._deadline <= deadline:
                return
            self._deadline = deadline
            self._changed.notify_all()
        faulthandler.dump_traceback_later(seconds + LAST_RESORT_SECONDS, exit=True, file=2)

    def _watch(self) -> None:
        orphaned = False
        while True:
            with self._changed:
                remaining = None if self._deadline is None else self._deadline - time.monotonic()
                if remaining is None or remaining > 0:
                    self._changed.wait(TICK_SECONDS if remaining is None else min(TICK_SECONDS, remaining))
                    expired = False
                else:
                    expired = True
            if expired:
                sys.setswitchinterval(URGENT_SWITCH_SECONDS)
                self._on_expired()
                return
            signal.setitimer(signal.ITIMER_VIRTUAL, HELD_CPU_SECONDS)
            if not orphaned and os.getppid() != self._parent:
                orphaned = True
                self._on_orphaned()
