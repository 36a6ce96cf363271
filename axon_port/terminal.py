"""What a person's terminal can show, and what to tell a person who waits at one."""

from __future__ import annotations

import os
import sys
import termios
from typing import TextIO

BOLD = "1"
RED = "31"
GREEN = "32"
YELLOW = "33"


def takes_colours(out: TextIO) -> bool:
    """Whether an output is a terminal that has not asked for plain text."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str, *, wanted: bool) -> str:
    """`text` in a colour, where colours are wanted."""
    return f"\N{ESCAPE}[{colour}m{text}\N{ESCAPE}[0m" if wanted else text


def advise_who_types() -> None:
    """One line on stderr for a person who has started a worker by hand. A program that speaks through a terminal has
    switched echo and lines off: nothing is written into its frames."""
    modes = int(termios.tcgetattr(0)[3])
    if modes & termios.ECHO and modes & termios.ICANON:
        print(
            "axon-port: waiting for frames, which nobody types: axon-port demo shows some, axon-port pack makes them "
            "of lines of JSON, Ctrl-D ends",
            file=sys.stderr,
        )
