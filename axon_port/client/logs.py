"""A worker's logs, told to Python's logging."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from axon_port.wire.words import LEVELS

LOGGER: Final = "axon_port.worker"
"""Every record comes by way of this logger; its name is this and the worker's own logger's."""


def tell(frame: Mapping[str, Any], pid: int) -> None:
    """Hand on a `log` frame. The record has it as `worker_frame`, and the process number as `worker_pid`."""
    logger = logging.getLogger(LOGGER)
    level = LEVELS.get(frame["level"], logging.INFO)
    if not logger.isEnabledFor(level):
        return
    # One logger for all: Python keeps each one for ever, and what runs in a worker may name as many as it likes.
    name = f"{LOGGER}.{frame['logger']}"
    extra = {"worker_frame": dict(frame), "worker_pid": pid}
    record = logger.makeRecord(name, level, "", 0, _text(frame), (), None, extra=extra)
    with suppress(ValueError, OverflowError):  # the time of its arrival is good enough
        record.created = datetime.fromisoformat(frame["timestamp"]).timestamp()
    logger.handle(record)


def _text(frame: Mapping[str, Any]) -> str:
    traceback = frame.get("traceback")
    return f"{frame['message']}\n{traceback}" if traceback else frame["message"]
