"""What runs leave to the collector, and when it is called for it.

A run in which something failed, or that was cancelled, is held by its own tracebacks: contextlib, anyio and pydantic-ai
keep exceptions in the frames that those came through. The collector counts objects, not bytes: it would come after a
hundred such runs, with prompts of megabytes each.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

from axon_port.worker.stats import resident_bytes

LEAST_BYTES: Final = 64 * 1024 * 1024
"""How many bytes of frames come and go before the collector is called."""

SHARE: Final = 4
"""Or the fourth part of the process, if that is more: it looks at everything that lives, which takes a second where
ten thousand runs wait."""


class Leavings:
    """Asked when a run has ended. Only for the event loop."""

    def __init__(self, frame_bytes: Callable[[], int]) -> None:
        self._frame_bytes = frame_bytes
        self._next = LEAST_BYTES

    def look(self) -> None:
        """Have the collector called in a moment, when this run is gone too, if enough bytes have come and gone."""
        if (now := self._frame_bytes()) >= self._next:
            self._next = now + max(LEAST_BYTES, resident_bytes() // SHARE)
            asyncio.get_running_loop().call_soon(gc.collect)
