"""What a run used, as a parent sees it (PROTOCOL.md, RUN-USAGE)."""

from __future__ import annotations

from typing import Any, Final

from pydantic_ai.usage import RunUsage


def usage_fields(usage: RunUsage) -> dict[str, Any]:
    """`usage` as a parent sees it: the counts that are always there, and what else the provider gave."""
    fields: dict[str, Any] = {
        "requests": usage.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "tool_calls": usage.tool_calls,
    }
    for name in (
        "cache_write_tokens",
        "cache_read_tokens",
        "output_reasoning_tokens",
        "input_audio_tokens",
        "cache_audio_read_tokens",
        "output_audio_tokens",
    ):
        if count := getattr(usage, name, 0):
            fields[name] = count
    if usage.details:
        fields["details"] = dict(usage.details)
    if usage.cost is not None:
        fields["cost_usd"] = float(usage.cost)
    return fields


NOTHING_USED: Final = usage_fields(RunUsage())
"""The usage of a run that ended before it began."""
