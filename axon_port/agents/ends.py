"""How a tool can end: its run with it, or because somebody asked it to."""

from __future__ import annotations

import asyncio
from typing import Any

from axon_port.wire.errors import WireError


class ToolFault(WireError):
    """A tool ended the run."""

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__("ToolError", message, details=details)


def is_our_cancellation(error: BaseException) -> bool:
    """Whether the task was asked to stop. A `CancelledError` that a tool made up is a failure like any other."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
