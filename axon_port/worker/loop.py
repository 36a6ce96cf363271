"""The event loop: asyncio's, whose cancelled timers hold nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Final

from axon_port.worker.selector import Selector

_NOWHERE: Final = Context()

_logger = logging.getLogger("axon_port.worker")


class Escaped(Exception):
    """Something raised an exception that is meant to end the process."""


class Loop(asyncio.SelectorEventLoop):
    """For a worker.

    asyncio keeps a timer that was cancelled until it would have been due, or until there are a hundred of them and as
    many as there are others. It lets go of what the timer calls, not of its context; and in the context of a run
    pydantic-ai keeps all of the run, its prompt and its history.
    """

    def __init__(self, on_turn: Callable[[], None] = lambda: None) -> None:
        selector = Selector()
        super().__init__(selector)
        selector.on_turn = on_turn

    def run_forever(self) -> None:
        """As every loop's, but what raises `SystemExit` or `KeyboardInterrupt` ends its own task, which has it by then,
        and no other. The task that the loop is run for must raise neither."""
        while True:
            try:
                return super().run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                _logger.warning("a task raised %r, which ends nothing but itself", error)

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        """As on systems that have no such thing: asyncio's would take the descriptor that tells of every signal."""
        raise NotImplementedError("the worker hears its signals itself")

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As every loop's."""
        within: Callable[..., Any] = (copy_context() if context is None else context).run
        return super().call_at(when, within, callback, *args, context=_NOWHERE)
