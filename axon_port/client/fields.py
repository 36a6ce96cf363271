"""The fields of commands that a caller may give by name, as PROTOCOL.md has them (CMD-*)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Object = Mapping[str, Any]
Model = str | Object | Sequence[str | Object]
Prompt = str | Sequence[Object]
Texts = str | Sequence[str]


class AgentFields(TypedDict, total=False):
    """Of `create_agent`, besides its name, its model or module, and its tools."""

    instructions: Texts
    system_prompt: Texts
    output_schema: Object | bool
    output_mode: Literal["tool", "native", "prompted"]
    deps: Any
    deps_schema: Object | bool
    model_settings: Object
    usage_limits: Object
    end_strategy: Literal["early", "graceful", "exhaustive"]
    metadata: Object
    retries: int
    result_retries: int
    tool_timeout_ms: int
    timeout_ms: int
    idle_timeout_ms: int
    max_concurrency: int
    retry: Object
    capabilities: Sequence[str | Object]
    replace: bool


class RunFields(TypedDict, total=False):
    """Of `run` and `stream`, besides the agent and the prompt."""

    message_history: Sequence[Any] | None
    messages: Literal["new", "all", "none"]
    instructions: Texts
    deps: Any
    model: Model
    model_settings: Object
    usage_limits: Object
    output_schema: Object | bool
    timeout_ms: int
    idle_timeout_ms: int
    retry: Object
    metadata: Object
    deferred_results: Object
    traceparent: str
