"""Frames that have come and have not been taken, in the order in which they came.

Whoever waits for an id looks at the frames of that id only: tests take thousands of answers, each by its own.
"""

import itertools
from collections.abc import Callable
from typing import Any

from .frames import Frame
from .invariants import Key, key_of
from .shapes import is_id

ANY: Any = object()
"""Stands for every id, and for none."""


class Inbox:
    """Not for several threads at a time."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._frames: dict[int, Frame] = {}
        self._of: dict[Key, dict[int, Frame]] = {}

    def add(self, frame: Frame) -> None:
        """A frame has come."""
        number = next(self._numbers)
        self._frames[number] = frame
        self._of.setdefault(_key(frame), {})[number] = frame

    def clear(self) -> None:
        """Drops them all."""
        self._frames.clear()
        self._of.clear()

    def search(self, accepts: Callable[[Frame], bool], of: Any) -> Callable[[], Frame | None]:
        """What takes the first frame that is accepted, with the id if one is given, or says None until one comes."""
        seen = -1

        def found() -> Frame | None:
            nonlocal seen
            for number, frame in (self._frames if of is ANY else self._of.get(key_of(of), {})).items():
                if number > seen:
                    seen = number
                    if accepts(frame):
                        self._take(number)
                        return frame
            return None

        return found

    def _take(self, number: int) -> None:
        key = _key(self._frames.pop(number))
        del self._of[key][number]
        if not self._of[key]:
            del self._of[key]


def _key(frame: Frame) -> Key:
    frame_id = frame.get("id")
    return key_of(frame_id if is_id(frame_id) else None)
