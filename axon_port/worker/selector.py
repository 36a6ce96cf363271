"""When the event loop looks at its descriptors: when it has nothing else to do, and now and then.

asyncio looks before every turn, and a run takes two dozen turns of some fifty microseconds. Each look also lets go of
the interpreter, which wakes a thread that waits for it, mostly in vain: 4 % of the time of 64 runs at once.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Final

LOOK_SECONDS: Final = 0.001
"""How long callbacks that are ready keep the loop from its descriptors: far less than a turn of many runs takes."""


class Selector(selectors.DefaultSelector):
    """For `asyncio.SelectorEventLoop`."""

    _looked = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.on_turn: Callable[[], None] = lambda: None
        """Called in every turn of the loop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As every selector's; nothing where the caller does not want to wait and has looked a moment ago."""
        self.on_turn()
        if timeout is not None and timeout <= 0 and time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        ready = super().select(timeout)
        self._looked = time.monotonic()
        return ready
