"""What a parent's `tool_result` means to the run that waits for it (PROTOCOL.md, CALL-CONTENT)."""

from __future__ import annotations

from axon_port.agents.host import Answer, Broken, Failed, Retry, Returned
from axon_port.agents.prompts import parts_content
from axon_port.wire.commands import ToolResult


def answer_of(command: ToolResult) -> Answer:
    """Raises `WireError` `InvalidCommand` for content that is no base64; the call stays open."""
    if command.retry is not None:
        return Retry(command.retry)
    if command.failed is not None:
        return Failed(command.failed)
    if command.error is not None:
        return Broken(command.error, command.details)
    return Returned(command.result, tuple(parts_content(command.content or [], field="content")))
