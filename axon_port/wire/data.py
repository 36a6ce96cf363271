"""The pieces that commands are made of (PROTOCOL.md, CMD-*).

Models are strict (no "1" for 1), closed (an unknown field is refused) and frozen. A null for an optional field is
as if the field were absent, except where null is a value: those fields are named in `null_is_value`.
"""

# No `annotations` from the future: pydantic would compile each, which takes a fourth of this module's import.
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

INT64: Final = 2**63 - 1

MAX_KEPT_DEPTH: Final = 190
"""Levels of a value that ends up in messages. A frame may have 200, and a history puts five around each value: what
is told of a run can be given back to a next one."""


def too_deep(value: Any) -> bool:
    """Whether arrays and objects are nested more than `MAX_KEPT_DEPTH` levels deep."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_KEPT_DEPTH):
        if not level:
            return False
        level = [child for outer in level for child in _children(outer) if isinstance(child, dict | list)]
    return bool(level)


def _children(outer: Any) -> Any:
    return cast("dict[str, Any]", outer).values() if isinstance(outer, dict) else outer


def _shallow(value: Any) -> Any:
    if too_deep(value):
        raise ValueError(f"a result may be nested {MAX_KEPT_DEPTH} levels deep, so that a history can hold it")
    return value


Kept = Annotated[Any, AfterValidator(_shallow)]
"""A value that ends up in messages."""

Id = Annotated[
    Annotated[str, Field(min_length=1, max_length=256), Tag("\0text")]
    | Annotated[int, Field(ge=-INT64 - 1, le=INT64), Tag("\0number")],
    Discriminator(lambda value: "\0number" if type(value) is int else "\0text"),
]
"""The parent's own. `1` and `"1"` are different ids."""

AgentId = Annotated[str, Field(min_length=1, max_length=256)]
Milliseconds = Annotated[int, Field(ge=1, le=INT64)]
JsonObject = dict[str, Any]


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


ModelSettings = Annotated[JsonObject, AfterValidator(_without_nulls)]
"""pydantic-ai's: none of them has null for a value."""

Texts = Annotated[
    Annotated[str, Tag("\0text")] | Annotated[list[str], Tag("\0list")],
    Discriminator(lambda value: "\0list" if isinstance(value, list) else "\0text"),
]
JsonSchema = Annotated[
    Annotated[JsonObject, Tag("\0object")] | Annotated[bool, Tag("\0bool")],
    Discriminator(lambda value: "\0bool" if isinstance(value, bool) else "\0object"),
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


NamedModel = Annotated[
    Annotated[str, Field(min_length=1), Tag("\0name")] | Annotated[Endpoint, Tag("\0endpoint")],
    Discriminator(lambda value: "\0endpoint" if isinstance(value, dict | Endpoint) else "\0name"),
]


class Recorded(Data):
    """A provider's model whose answers are kept in the file `record`, under `--allow-recordings`."""

    record: Annotated[str, Field(min_length=1)]
    model: NamedModel


class Replayed(Data):
    """The answers of such a file, without a network."""

    replay: Annotated[str, Field(min_length=1)]


_MODELS: Final[dict[type[Any], str]] = {
    list: "\0list",
    Endpoint: "\0endpoint",
    Script: "\0script",
    Recorded: "\0record",
    Replayed: "\0replay",
}


def _model_tag(value: Any) -> str:
    if not isinstance(value, dict):
        return next((tag for kind, tag in _MODELS.items() if isinstance(value, kind)), "\0name")
    fields = cast("dict[str, Any]", value)
    return next((f"\0{form}" for form in ("script", "record", "replay") if form in fields), "\0endpoint")


Model = Annotated[
    Annotated[str, Field(min_length=1), Tag("\0name")]
    | Annotated[Endpoint, Tag("\0endpoint")]
    | Annotated[Script, Tag("\0script")]
    | Annotated[Recorded, Tag("\0record")]
    | Annotated[Replayed, Tag("\0replay")],
    Discriminator(lambda value: "\0name" if isinstance(value, list) else _model_tag(value)),
]
Models = Annotated[
    Annotated[str, Field(min_length=1), Tag("\0name")]
    | Annotated[Endpoint, Tag("\0endpoint")]
    | Annotated[Script, Tag("\0script")]
    | Annotated[Recorded, Tag("\0record")]
    | Annotated[Replayed, Tag("\0replay")]
    | Annotated[list[Model], Field(min_length=1), Tag("\0list")],
    Discriminator(_model_tag),
]


Reference = Annotated[str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$")]
"""`package.module:attribute`, one attribute without dots."""


class PythonHandler(Data):
    """A function that the worker imports, under `--allow-import`."""

    python: Reference


Handler = Annotated[
    Annotated[Literal["parent", "deferred"], Tag("\0name")] | Annotated[PythonHandler, Tag("\0python")],
    Discriminator(lambda value: "\0python" if isinstance(value, dict | PythonHandler) else "\0name"),
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
    Annotated[str, Field(min_length=1), Tag("\0text")]
    | Annotated[JsonObject, Field(min_length=1, max_length=1), Tag("\0object")],
    Discriminator(lambda value: "\0object" if isinstance(value, dict) else "\0text"),
]
"""A pydantic-ai capability spec: its name, or an object with the name as its only key."""


class TextPart(Data):
    """A piece of text in a prompt."""

    type: Literal["text"]
    text: str


class UrlPart(Data):
    """A picture, a recording or a document by its address. `media_type` where the URL does not tell."""

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
        return "\0binary"
    return "\0url" if isinstance(kind, str) and kind.endswith("_url") else "\0text"


PromptPart = Annotated[
    Annotated[TextPart, Tag("\0text")] | Annotated[UrlPart, Tag("\0url")] | Annotated[BinaryPart, Tag("\0binary")],
    Discriminator(_part_tag),
]
Prompt = Annotated[
    Annotated[str, Tag("\0text")] | Annotated[list[PromptPart], Field(min_length=1), Tag("\0list")],
    Discriminator(lambda value: "\0list" if isinstance(value, list) else "\0text"),
]


class DeferredResult(Data):
    """What became of a deferred call: exactly one of `result`, `retry`, `failed`, `approved`."""

    null_is_value = frozenset({"result"})

    result: Kept = None
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
