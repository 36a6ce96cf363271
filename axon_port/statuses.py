"""With which status a process of ours ends, after sysexits(3) (PROTOCOL.md, LIFE-EXIT)."""

from __future__ import annotations

from typing import Final

EX_OK: Final = 0
EX_USAGE: Final = 64
"""Wrong arguments, or a frame descriptor that is not open."""
EX_DATAERR: Final = 65
"""The input broke off inside a frame, or the framing was lost; a file is not what it should be."""
EX_NOINPUT: Final = 66
"""A file that cannot be read."""
EX_SOFTWARE: Final = 70
"""A fault of the worker itself, or somebody's code that blocks its end."""
EX_IOERR: Final = 74
"""A subcommand could not read its input or write its output."""
EX_INTERRUPTED: Final = 130
"""A person pressed Ctrl-C."""
