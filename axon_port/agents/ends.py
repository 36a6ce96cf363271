"""Whose cancellation an exception is."""

from __future__ import annotations

import asyncio


def is_our_cancellation(error: BaseException) -> bool:
    """Whether the task was asked to stop. A `CancelledError` that a tool made up is a failure like any other."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
