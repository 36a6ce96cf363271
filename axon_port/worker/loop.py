"""The event loop: asyncio's, whose cancelled timers hold nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Final

from axon_port.worker.selector import Selector

_NOWHERE: Final = Context()


class Loop(asyncio.SelectorEventLoop):
    """For a worker.

    asyncio keeps a timer that was cancelled until it would have been due, or until there are a hundred of them and as
    many as there are others. It lets go of what the timer calls, not of its context; and in the context of a run
    pydantic-ai keeps all of the run, its prompt and its history.
    """

    def __init__(self) -> None:
        super().__init__(Selector())

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        """As on systems that have no such thing: asyncio's would take the descriptor that tells of every signal."""
        raise NotImplementedError("the worker hears its signals itself")

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As every loop's."""
        within: Callable[..., Any] = (copy_context() if context is None else context).run
        return super().call_at(when, within, callback, *args, context=_NOWHERE)
