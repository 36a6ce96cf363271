"""The pages of the documentation: their code blocks, and shell commands run as somebody would who reads them."""

from __future__ import annotations

import re
import shutil
import textwrap
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kit.terminal import at_a_terminal, read_terminal

TIMEOUT = 120.0
"""Of one block; the slowest starts several workers and a node."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[mK]")
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?!\n)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Command:
    """Shell commands, and what the page says that they print; None where it says nothing."""

    source: str
    printed: str | None


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return [text for found, text in _BLOCK.findall(page) if found == language]


def commands(page: str) -> Iterator[Command]:
    """Each `bash` block, with the `text` block that comes next to it."""
    found = list(_BLOCK.finditer(page))
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block[1] == "bash":
            answered = following is not None and following[1] == "text"
            yield Command(block[2], following[2] if following is not None and answered else None)


def stands_in(block: str, source: str) -> bool:
    """Whether a block is a part of a file, indented or not."""
    return any(textwrap.indent(block, " " * depth) in source for depth in range(0, 13, 2))


def typed(source: str, directory: Path, environment: Mapping[str, str]) -> str:
    """What a person sees who types this into bash, in the directory, without colours."""
    bash = shutil.which("bash") or "bash"
    with at_a_terminal([bash, "-c", source], environment, cwd=directory) as (process, terminal):
        deadline = threading.Timer(TIMEOUT, process.kill)
        deadline.start()
        try:
            text = read_terminal(terminal)
            process.wait(TIMEOUT)
        finally:
            deadline.cancel()
    return _OVERWRITTEN.sub("", _ESCAPE.sub("", text).replace("\r\n", "\n"))


def is_as_shown(printed: str, shown: str) -> bool:
    """Whether this was printed: `…` in a line is any text, a line of nothing else is any number of lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in shown.splitlines()
    )
    return re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else f"{printed}\n") is not None
