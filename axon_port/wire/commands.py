"""What a parent may send: one model for each command, and the table of them (PROTOCOL.md, CMD-*).

The rules that all models keep are those of data.py, whose pieces can be had from here as well.
"""

# No `annotations` from the future: pydantic would compile each, which takes a fourth of this module's import.
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AliasChoices, Field, ValidationError, model_validator

from axon_port.wire.data import (
    INT64,
    AgentId,
    BinaryPart,
    Capability,
    Data,
    DeferredResult,
    Endpoint,
    Handler,
    Id,
    JsonObject,
    JsonSchema,
    Kept,
    Limit,
    Milliseconds,
    Model,
    Models,
    ModelSettings,
    NamedModel,
    Prompt,
    PromptPart,
    PythonHandler,
    Recorded,
    Reference,
    Replayed,
    RetryPolicy,
    Script,
    ScriptedCall,
    ScriptedError,
    TextPart,
    Texts,
    Tool,
    Turn,
    UrlPart,
    UsageLimits,
)
from axon_port.wire.errors import invalid_command, invalid_fields
from axon_port.wire.words import ChunkKind, LogLevel

__all__ = (
    "COMMANDS",
    "INT64",
    "AgentId",
    "Approval",
    "BinaryPart",
    "Cancel",
    "Capability",
    "ChunkKind",
    "Command",
    "CreateAgent",
    "Credit",
    "Data",
    "DeferredResult",
    "DeleteAgent",
    "Endpoint",
    "Enqueue",
    "Handler",
    "Id",
    "JsonObject",
    "JsonSchema",
    "Limit",
    "ListAgents",
    "LogLevel",
    "Milliseconds",
    "Model",
    "ModelSettings",
    "Models",
    "NamedModel",
    "Ping",
    "Prompt",
    "PromptPart",
    "PythonHandler",
    "Recorded",
    "Reference",
    "Replayed",
    "RetryPolicy",
    "Run",
    "RunFields",
    "Script",
    "ScriptedCall",
    "ScriptedError",
    "SetLogLevel",
    "Shutdown",
    "Stats",
    "Stream",
    "TextPart",
    "Texts",
    "Tool",
    "ToolResult",
    "Turn",
    "UrlPart",
    "UsageLimits",
    "parse_command",
)


class Command(Data):
    """What every command has besides its `type`."""

    id: Id


class CreateAgent(Command):
    """Defines an agent as data."""

    type: Literal["create_agent"]
    null_is_value = frozenset({"deps"})

    agent_id: AgentId
    model: Models | None = None
    module: Reference | None = None
    instructions: Texts | None = None
    system_prompt: Texts | None = None
    tools: list[Tool] = []
    output_schema: JsonSchema | None = Field(
        default=None, validation_alias=AliasChoices("output_schema", "result_type")
    )
    output_mode: Literal["tool", "native", "prompted"] | None = None
    deps: Any = None
    deps_schema: JsonSchema | None = None
    model_settings: ModelSettings | None = None
    usage_limits: UsageLimits | None = None
    end_strategy: Literal["early", "graceful", "exhaustive"] | None = None
    metadata: JsonObject | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    result_retries: Annotated[int, Field(ge=0)] | None = None
    tool_timeout_ms: Milliseconds | None = None
    timeout_ms: Milliseconds | None = None
    idle_timeout_ms: Milliseconds | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    retry: RetryPolicy | None = None
    capabilities: list[Capability] = []
    replace: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.module is not None and self.model is not None:
            raise invalid_command(["module"], "`module` stands instead of `model`: give one of them")
        if self.module is None and self.model is None:
            raise invalid_command(["model"], "`model` is required (or `module`)", "missing")
        return self


class DeleteAgent(Command):
    """Forgets an agent; its runs in flight finish."""

    type: Literal["delete_agent"]
    agent_id: AgentId


class ListAgents(Command):
    """Asks for what is registered."""

    type: Literal["list_agents"]


class RunFields(Command):
    """What `run` and `stream` share."""

    null_is_value = frozenset({"deps"})

    agent_id: AgentId
    prompt: Prompt | None = None
    message_history: list[Any] | None = None
    messages: Literal["new", "all", "none"] = "new"
    instructions: Texts | None = None
    deps: Any = None
    model: Models | None = None
    model_settings: ModelSettings | None = None
    usage_limits: UsageLimits | None = None
    output_schema: JsonSchema | None = Field(
        default=None, validation_alias=AliasChoices("output_schema", "result_type")
    )
    timeout_ms: Milliseconds | None = None
    idle_timeout_ms: Milliseconds | None = None
    retry: RetryPolicy | None = None
    metadata: JsonObject | None = None
    deferred_results: dict[str, DeferredResult] | None = None
    traceparent: str | None = None

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.prompt is None and not self.message_history and not self.deferred_results:
            message = "`prompt` is required where no `message_history` or `deferred_results` carries the run on"
            raise invalid_command(["prompt"], message, "missing")
        return self


class Run(RunFields):
    """Runs an agent and answers with the whole result."""

    type: Literal["run"]


class Stream(RunFields):
    """As `run`, with chunks of `events` on the way."""

    type: Literal["stream"]
    events: list[ChunkKind] = ["text"]
    credit: Annotated[int, Field(ge=0, le=INT64)] | None = None


class Ping(Command):
    """Asks whether the worker lives."""

    type: Literal["ping"]


class Stats(Command):
    """Asks for the counters since the start."""

    type: Literal["stats"]


class SetLogLevel(Command):
    """Sets what is logged from now on."""

    type: Literal["set_log_level"]
    level: LogLevel


class Cancel(Command):
    """Ends the run or stream with the id `target`."""

    type: Literal["cancel"]
    target: Id


class Enqueue(Command):
    """Adds to a run that is under way."""

    type: Literal["enqueue"]
    target: Id
    prompt: Prompt
    priority: Literal["asap", "when_idle"] = "asap"


class Shutdown(Command):
    """Ends the worker, at most `grace_ms` from now."""

    type: Literal["shutdown"]
    grace_ms: Annotated[int, Field(ge=0, le=INT64)] | None = None


class ToolResult(Command):
    """An answer to a `tool_call`; `id` is the run's. Exactly one of `result`, `retry`, `failed`, `error`.

    Beside a `result`, `content` holds what the model is shown and no JSON can hold: parts as in a prompt.
    """

    type: Literal["tool_result"]
    null_is_value = frozenset({"result"})

    call_id: str
    result: Kept = None
    content: Annotated[list[PromptPart], Field(min_length=1)] | None = None
    retry: str | None = None
    failed: str | None = None
    error: str | None = None
    details: Any = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        if len(self.model_fields_set & {"result", "retry", "failed", "error"}) != 1:
            raise ValueError("exactly one of `result`, `retry`, `failed`, `error` is needed")
        if "details" in self.model_fields_set and self.error is None:
            raise ValueError("`details` goes with `error`")
        if self.content is not None and "result" not in self.model_fields_set:
            raise ValueError("`content` goes with `result`")
        return self


class Approval(Command):
    """An answer to an `approval_request`; `id` is the run's."""

    type: Literal["approval"]
    call_id: str
    approved: bool
    message: str | None = None
    args: JsonObject | None = None


class Credit(Command):
    """More chunks for a stream; `id` is the stream's."""

    type: Literal["credit"]
    n: Annotated[int, Field(ge=0, le=INT64)]


COMMANDS: Final[dict[str, type[Command]]] = {
    "create_agent": CreateAgent,
    "delete_agent": DeleteAgent,
    "list_agents": ListAgents,
    "run": Run,
    "stream": Stream,
    "tool_result": ToolResult,
    "approval": Approval,
    "credit": Credit,
    "cancel": Cancel,
    "enqueue": Enqueue,
    "ping": Ping,
    "stats": Stats,
    "set_log_level": SetLogLevel,
    "shutdown": Shutdown,
}


def parse_command(fields: dict[str, Any]) -> Command:
    """The command in a JSON object whose `type` is in `COMMANDS`. Raises `WireError` `InvalidCommand`."""
    try:
        return COMMANDS[fields["type"]].model_validate(fields)
    except ValidationError as error:
        raise invalid_fields(error) from None
