"""What a person's terminal can show."""

from __future__ import annotations

import os
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
