"""A timer that ends the process though no Python can run (PROTOCOL.md, LIFE-HELD).

A C call that holds the interpreter lock stops every thread of ours, the watchdog's too. POSIX timers need none: this
one has libc start a thread of its own, which calls `_exit` with our status (timer_create(2), SIGEV_THREAD). Where
there is no such timer, `faulthandler` takes its place, with an exit status of 1.
"""

from __future__ import annotations

import ctypes
import faulthandler
import sys
import time
from typing import Any, Final

_SIGEV_THREAD: Final = 2
_SIGEVENT_BYTES: Final = 64


class _Value(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("pointer", ctypes.c_void_p))


class _Event(ctypes.Structure):
    _fields_ = (
        ("value", _Value),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("padding", ctypes.c_char * _SIGEVENT_BYTES),
    )


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class ExitTimer:
    """Ends the process with `status` when `seconds` of a clock have passed since the last `arm`.

    `cpu` counts the CPU time of the process, which stands still while it is stopped or waits.
    """

    def __init__(self, status: int, *, cpu: bool) -> None:
        self._cpu = cpu
        # Loaded once: each time leaves a cycle of objects behind, and `arm` is called several times a second.
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = _created(self._libc, time.CLOCK_PROCESS_CPUTIME_ID if cpu else time.CLOCK_MONOTONIC, status)

    def arm(self, seconds: float) -> None:
        """Start anew."""
        if self._timer is not None:
            whole, rest = divmod(seconds, 1)
            spec = _Spec(0, 0, int(whole), int(rest * 1e9) or 1)
            self._libc.timer_settime(self._timer, 0, ctypes.byref(spec), None)
        elif not self._cpu:
            faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def _created(libc: ctypes.CDLL, clock: int, status: int) -> Any:
    if sys.platform != "linux":
        return None
    exit_at_once = ctypes.cast(libc._exit, ctypes.c_void_p)
    event = _Event(_Value(status), 0, _SIGEV_THREAD, exit_at_once, None, b"")
    timer = ctypes.c_void_p()
    try:
        failed = libc.timer_create(clock, ctypes.byref(event), ctypes.byref(timer))
    except AttributeError:
        return None
    return None if failed else timer
