"""What a model says, before any interface puts it into its own shape."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NotRequired, TypedDict, Unpack

JsonObject = dict[str, Any]

Finish = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True)
class Usage:
    """Token counts of one answer; `cached` is a part of `input`, `reasoning` a part of `output`."""

    input: int = 11
    output: int = 7
    cached: int = 0
    reasoning: int = 0


class ToolCallFields(TypedDict):
    """A tool call as a test writes it; `args` as a string goes out as it is, valid JSON or not."""

    name: str
    args: Mapping[str, Any] | str
    id: NotRequired[str]


@dataclass(frozen=True)
class ToolCall:
    name: str
    args: Mapping[str, Any] | str
    id: str | None = None

    def text(self) -> str:
        """The arguments as JSON text, for interfaces that send them so."""
        return self.args if isinstance(self.args, str) else json.dumps(self.args)

    def value(self) -> JsonObject:
        """The arguments as an object, for interfaces that send them so.

        Raises:
            TypeError: they were given as text, which such an interface cannot say.
        """
        if isinstance(self.args, str):
            raise TypeError(f"the arguments of {self.name} are text, and this interface sends an object")
        return dict(self.args)


class AnswerFields(TypedDict, total=False):
    """The keywords of `Provider.say` and of every fault that is a fault of some answer."""

    text: str | None
    chunks: Sequence[str] | None
    thinking: str | None
    tool_calls: Sequence[ToolCallFields]
    output: Any
    finish: Finish | None
    usage: Usage | None


_NO_OUTPUT = object()


@dataclass(frozen=True)
class Answer:
    """One turn of a model.

    `output` is a structured result: it becomes a call of the request's output tool where there is one, and
    JSON text where there is none. A `finish` or `usage` of None is one that the service left out.
    """

    chunks: tuple[str, ...] = ()
    thinking: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    output: Any = field(default=_NO_OUTPUT)
    finish: Finish | None = "stop"
    usage: Usage | None = field(default_factory=Usage)

    @property
    def text(self) -> str:
        return "".join(self.chunks)

    def for_tools(self, names: Sequence[str]) -> "Answer":
        """The answer with its `output` put into the form that a request with these tools asks for."""
        if self.output is _NO_OUTPUT:
            return self
        tool = next((name for name in names if name.startswith("final_result")), None)
        if tool is None:
            return replace(self, chunks=pieces(json.dumps(self.output)), output=_NO_OUTPUT)
        return replace(self, tool_calls=(*self.tool_calls, ToolCall(tool, self.output)), output=_NO_OUTPUT)


def make_answer(**fields: Unpack[AnswerFields]) -> Answer:
    """The answer that these keywords describe; with none at all, a short text.

    Raises:
        ValueError: `text` and `chunks` say different things.
    """
    text, chunks = fields.get("text"), fields.get("chunks")
    if text is not None and chunks is not None and text != "".join(chunks):
        raise ValueError("text and chunks differ")
    if text is None and chunks is None and not ({"tool_calls", "output", "thinking"} & fields.keys()):
        text = "Hello from the loopback"
    return Answer(
        chunks=tuple(chunks) if chunks is not None else pieces(text or ""),
        thinking=fields.get("thinking"),
        tool_calls=tuple(ToolCall(call["name"], call["args"], call.get("id")) for call in fields.get("tool_calls", ())),
        output=fields.get("output", _NO_OUTPUT),
        finish=fields.get("finish", "stop"),
        usage=fields.get("usage", Usage()),
    )


def pieces(text: str, count: int = 3) -> tuple[str, ...]:
    """The text cut into at most `count` pieces of about one size, as a model's tokens would arrive."""
    size = max(1, -(-len(text) // count))
    return tuple(text[start : start + size] for start in range(0, len(text), size))
