"""What a forked child of the worker is: nobody (PROTOCOL.md, LIFE-FORK).

The descriptors and the outbox see to it themselves that it neither reads nor writes frames, signals.py that it hears
its own signals only. Here it loses the event loop.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn


def leave_to_parent(loop: Any) -> None:
    """From now on a child forked by a coroutine ends when the coroutine comes back to its copy of `loop`.

    What that has still to do is the parent's to do, and what it waits for the two share.
    """

    kept: list[Any] = []

    def end_it() -> None:
        # Not destroyed: what stands in a `finally` is the parent's to do as well, and would wait for its locks.
        kept.extend(loop._ready)
        loop._ready.clear()
        loop._ready.append(_Ending())

    os.register_at_fork(after_in_child=end_it)


class _Ending:
    """The only handle that the loop of a forked child runs."""

    _cancelled = False

    def _run(self) -> NoReturn:
        os._exit(0)
