"""Signals: which of them end the worker, and how they are heard (PROTOCOL.md, LIFE-SIGNAL)."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def catch(wakeup_fd: int) -> None:
    """Have the numbers of the signals that end the worker written to `wakeup_fd`, however they were inherited.

    A parent may have ignored or blocked them. It may have ignored SIGCHLD too, and then nobody here would learn with
    which status a child ended.
    """
    for number in ENDING:
        signal.signal(number, _heard_by_the_reader)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    _keep_from_children()


def _heard_by_the_reader(_number: int, _frame: FrameType | None) -> None:
    # Python must have a handler, or the signal does what it does by default; the wake-up descriptor tells the reader.
    return


def _keep_from_children() -> None:
    """What is sent to a forked child is for the child. Our reader would hear of it, and the child would go on."""
    masks = threading.local()

    def hold() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def release_in_child() -> None:
        signal.set_wakeup_fd(-1)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=release_in_child)
