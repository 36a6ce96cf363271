"""Limits as short as the machine allows, for what has to come before them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

LIMITS_MS = (200, 2_000, 20_000)
"""The first is enough but for a slow machine, the last for any: the kit waits longer still."""

T = TypeVar("T")


def in_time(attempt: Callable[[int], T | None], limits_ms: Sequence[int] = LIMITS_MS) -> T:
    """What comes of an attempt within the first limit that is long enough.

    None says that a limit was over before what it should find under way: nothing was tested, and a longer one is tried.
    What fails under every limit fails.
    """
    for limit in limits_ms:
        if (found := attempt(limit)) is not None:
            return found
    raise AssertionError(f"not under way within {limits_ms[-1]} ms")
