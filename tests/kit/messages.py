"""Looks into `messages`, pydantic-ai's own message JSON, as far as a test has to."""

from collections.abc import Sequence
from typing import Any

from .frames import Frame


def parts(messages: Sequence[Frame], kind: str) -> list[Frame]:
    """All parts of one `part_kind`, in order."""
    return [part for message in messages for part in message["parts"] if part.get("part_kind") == kind]


def prompts(messages: Sequence[Frame]) -> list[Any]:
    """What the user said."""
    return [part["content"] for part in parts(messages, "user-prompt")]


def tool_returns(messages: Sequence[Frame]) -> list[tuple[str, Any, str]]:
    """Name, content and outcome of each tool return that the model saw."""
    return [(part["tool_name"], part["content"], part["outcome"]) for part in parts(messages, "tool-return")]
