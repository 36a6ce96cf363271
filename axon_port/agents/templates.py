"""`{{variables}}` in instructions and system prompts (PROTOCOL.md, TPL-*).

A variable is a path into `deps`: `{{customer.name}}`, `{{items.0}}`. Its value goes in as text, neither escaped nor
expanded again; what is no string goes in as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic_ai.tools import RunContext

from axon_port.wire import codec
from axon_port.wire.errors import WireError

_OPENING: Final = "{{"
_VARIABLE: Final = re.compile(r"\{\{\s*([^\s{}.]+(?:\.[^\s{}.]+)*)\s*\}\}")

_INDEX_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Template:
    """A text in pieces: plain ones at even places, paths at odd ones."""

    pieces: tuple[str, ...]

    def render(self, deps: Any) -> str:
        """The text with its values. Raises `WireError` `InvalidDeps` where one is missing."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        return "".join(piece if place % 2 == 0 else _value(piece, deps) for place, piece in enumerate(self.pieces))


def parse_template(text: str) -> Template:
    """Raises `WireError` `InvalidAgent` for braces that open and are no variable."""
    pieces = tuple(_VARIABLE.split(text))
    for plain in pieces[::2]:
        if _OPENING in plain:
            at = text.find(plain) + plain.find(_OPENING)
            message = f"the template is broken at character {at}: write {{{{name}}}} or {{{{name.part}}}}"
            raise WireError("InvalidAgent", message)
    return Template(pieces)


def system_prompt_function(template: Template) -> Callable[[RunContext[Any]], str]:
    """A template as pydantic-ai takes a system prompt: a function of the run's deps."""

    def system_prompt(ctx: RunContext[Any]) -> str:
        return template.render(ctx.deps)

    return system_prompt


def _value(path: str, deps: Any) -> str:
    value = deps
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = cast("dict[str, Any]", value)[step]
        elif isinstance(value, list) and _is_index(step, cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(step)]
        else:
            message = f"a template needs {path!r}, which the deps do not have"
            raise WireError("InvalidDeps", message, details={"variable": path})
    return value if isinstance(value, str) else codec.encode(value).decode()


def _is_index(step: str, values: list[Any]) -> bool:
    # A number of thousands of digits is one that Python does not read.
    return step.isdecimal() and len(step) <= _INDEX_DIGITS and int(step) < len(values)
