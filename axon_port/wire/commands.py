"""What a parent may send: one model for each command, and the table of them (PROTOCOL.md, CMD-*).

Models are strict (no "1" for 1), closed (an unknown field is refused) and frozen. A null for an optional field is
as if the field were absent, except where null is a value: those fields are named in `null_is_value`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from axon_port.wire.errors import WireError, invalid_command, invalid_fields

INT64: Final = 2**63 - 1

Id = Annotated[
    Annotated[str, Field(min_length=1, max_length=256), Tag("~text")]
    | Annotated[int, Field(ge=-INT64 - 1, le=INT64), Tag("~number")],
    Discriminator(lambda value: "~number" if type(value) is int else "~text"),
]
"""The parent's own. `1` and `"1"` are different ids."""

AgentId = Annotated[str, Field(min_length=1, max_length=256)]
Milliseconds = Annotated[int, Field(ge=1, le=INT64)]
JsonObject = dict[str, Any]
Texts = Annotated[
    Annotated[str, Tag("~text")] | Annotated[list[str], Tag("~list")],
    Discriminator(lambda value: "~list" if isinstance(value, list) else "~text"),
]
JsonSchema = Annotated[
    Annotated[JsonObject, Tag("~object")] | Annotated[bool, Tag("~bool")],
    Discriminator(lambda value: "~bool" if isinstance(value, bool) else "~object"),
]


class Data(BaseModel):
    """A piece of a command."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, protected_namespaces=(), hide_input_in_errors=True
    )

    null_is_value: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, Any]", data)
        absent = cls.model_fields.keys() - cls.null_is_value | {"result_type"}
        return {name: value for name, value in fields.items() if value is not None or name not in absent}

    def given(self, name: str) -> bool:
        """Whether the parent sent this field (and it was not a null that stands for absence)."""
        return name in self.model_fields_set


class Endpoint(Data):
    """A model behind an address of the parent's choice. With a `base_url` only this `api_key` is ever sent."""

    name: Annotated[str, Field(min_length=1)]
    base_url: Annotated[str, Field(min_length=1)] | None = None
    api_key: str | None = Field(default=None, min_length=1, repr=False)


class ScriptedCall(Data):
    """A tool call that a scripted turn makes. `args` may be anything, so that a bad call can be tested."""

    null_is_value = frozenset({"args"})

    name: Annotated[str, Field(min_length=1)]
    args: Any = Field(default_factory=dict[str, Any])


class ScriptedError(Data):
    """A provider's HTTP error."""

    status: Annotated[int, Field(ge=400, le=599)]
    message: str = "scripted error"
    retry_after_ms: Annotated[int, Field(ge=0, le=INT64)] | None = None


class Turn(Data):
    """One answer of the scripted model."""

    null_is_value = frozenset({"output"})

    text: str | None = None
    chunks: list[str] | None = None
    thinking: str | None = None
    tool_calls: list[ScriptedCall] = []
    output: Any = None
    error: ScriptedError | None = None
    delay_ms: Annotated[int, Field(ge=0, le=INT64)] = 0
    chunk_delay_ms: Annotated[int, Field(ge=0, le=INT64)] = 0

    @model_validator(mode="after")
    def _chunks_make_the_text(self) -> Self:
        if self.text is not None and self.chunks is not None and "".join(self.chunks) != self.text:
            raise ValueError("`chunks` joined must be `text`")
        return self


class Script(Data):
    """The scripted model: each request of a run takes the next turn."""

    script: list[Turn]


def _model_tag(value: Any) -> str:
    if isinstance(value, dict):
        return "~script" if "script" in value else "~endpoint"
    if isinstance(value, list):
        return "~list"
    if isinstance(value, Script):
        return "~script"
    return "~endpoint" if isinstance(value, Endpoint) else "~name"


Model = Annotated[
    Annotated[str, Field(min_length=1), Tag("~name")]
    | Annotated[Endpoint, Tag("~endpoint")]
    | Annotated[Script, Tag("~script")],
    Discriminator(lambda value: "~name" if isinstance(value, list) else _model_tag(value)),
]
Models = Annotated[
    Annotated[str, Field(min_length=1), Tag("~name")]
    | Annotated[Endpoint, Tag("~endpoint")]
    | Annotated[Script, Tag("~script")]
    | Annotated[list[Model], Field(min_length=1), Tag("~list")],
    Discriminator(_model_tag),
]


Reference = Annotated[str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$")]
"""`package.module:attribute`, one attribute without dots."""


class PythonHandler(Data):
    """A function that the worker imports, under `--allow-import`."""

    python: Reference


Handler = Annotated[
    Annotated[Literal["parent", "deferred"], Tag("~name")] | Annotated[PythonHandler, Tag("~python")],
    Discriminator(lambda value: "~python" if isinstance(value, dict | PythonHandler) else "~name"),
]


class Tool(Data):
    """A tool of an agent."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    parameters: JsonObject | None = None
    handler: Handler = "parent"
    timeout_ms: Milliseconds | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    sequential: bool = False
    requires_approval: bool = False
    approval: Literal["parent", "deferred"] = "parent"
    strict: bool | None = None

    @model_validator(mode="after")
    def _parameters_are_given(self) -> Self:
        if self.parameters is None and not isinstance(self.handler, PythonHandler):
            raise ValueError("`parameters` is required: a JSON Schema of an object")
        return self


class RetryPolicy(Data):
    """How often a model request is made in all, and the waits between."""

    attempts: Annotated[int, Field(ge=1)] = 3
    base_ms: Annotated[int, Field(ge=0, le=INT64)] = 500
    max_ms: Annotated[int, Field(ge=0, le=INT64)] = 30_000


Limit = Annotated[int, Field(ge=0)]


class UsageLimits(Data):
    """pydantic-ai's `UsageLimits`. A null switches a limit off, `request_limit` (50) included."""

    null_is_value = frozenset(
        {
            "request_limit",
            "tool_calls_limit",
            "input_tokens_limit",
            "output_tokens_limit",
            "total_tokens_limit",
            "per_request_input_tokens_limit",
            "cost_limit",
        }
    )

    request_limit: Limit | None = None
    tool_calls_limit: Limit | None = None
    input_tokens_limit: Limit | None = None
    output_tokens_limit: Limit | None = None
    total_tokens_limit: Limit | None = None
    per_request_input_tokens_limit: Limit | None = None
    cost_limit: Annotated[float, Field(ge=0)] | None = None
    count_tokens_before_request: bool = False


Capability = Annotated[
    Annotated[str, Field(min_length=1), Tag("~text")]
    | Annotated[JsonObject, Field(min_length=1, max_length=1), Tag("~object")],
    Discriminator(lambda value: "~object" if isinstance(value, dict) else "~text"),
]
"""A pydantic-ai capability spec: its name, or an object with the name as its only key."""


class TextPart(Data):
    """A piece of text in a prompt."""

    type: Literal["text"]
    text: str


class UrlPart(Data):
    """A picture, a recording or a document that the provider fetches. `media_type` where the URL does not tell."""

    type: Literal["image_url", "audio_url", "video_url", "document_url"]
    url: Annotated[str, Field(min_length=1)]
    media_type: Annotated[str, Field(min_length=1)] | None = None


class BinaryPart(Data):
    """The same, as base64."""

    type: Literal["binary"]
    media_type: Annotated[str, Field(min_length=1)]
    data: str


def _part_tag(value: Any) -> str:
    kind: Any = cast("dict[str, Any]", value).get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if kind == "binary":
        return "~binary"
    return "~url" if isinstance(kind, str) and kind.endswith("_url") else "~text"


PromptPart = Annotated[
    Annotated[TextPart, Tag("~text")] | Annotated[UrlPart, Tag("~url")] | Annotated[BinaryPart, Tag("~binary")],
    Discriminator(_part_tag),
]
Prompt = Annotated[
    Annotated[str, Tag("~text")] | Annotated[list[PromptPart], Field(min_length=1), Tag("~list")],
    Discriminator(lambda value: "~list" if isinstance(value, list) else "~text"),
]


class DeferredResult(Data):
    """What became of a deferred call: exactly one of `result`, `retry`, `failed`, `approved`."""

    null_is_value = frozenset({"result"})

    result: Any = None
    retry: str | None = None
    failed: str | None = None
    approved: bool | None = None
    message: str | None = None
    args: JsonObject | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        outcomes = self.model_fields_set & {"result", "retry", "failed", "approved"}
        if len(outcomes) != 1:
            raise ValueError("exactly one of `result`, `retry`, `failed`, `approved` is needed")
        if self.model_fields_set & {"message", "args"} and self.approved is None:
            raise ValueError("`message` and `args` go with `approved`")
        return self


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
    model_settings: JsonObject | None = None
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
    model_settings: JsonObject | None = None
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


ChunkKind = Literal["text", "thinking", "output", "tool_call", "tool_return"]


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


LogLevel = Literal["debug", "info", "warning", "error", "critical"]


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
    null_is_value = frozenset({"result", "details"})

    call_id: str
    result: Any = None
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
    except RecursionError:
        raise WireError("InvalidCommand", "the command is nested too deep") from None
