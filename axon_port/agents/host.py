"""What a run asks of whoever hosts it, and what it hears back.

The worker is one host; a test can be another. This is the only way out of a run besides its outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic_ai.messages import UserContent

from axon_port.wire.words import ChunkKind


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that somebody outside answers. `timeout` is in seconds."""

    call_id: str
    name: str
    args: dict[str, Any]
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """The tool's result, given to the model; `content` is shown to it besides: pictures, documents, …"""

    value: Any
    content: tuple[UserContent, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """The model is asked to call again, at the cost of the tool's retry budget."""

    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The model sees that the call failed and goes on, at no such cost."""

    message: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The run ends with `ToolError`."""

    message: str
    details: Any = None


Answer = Returned | Retry | Failed | Broken


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's word on a call. `args` replace the model's; `message` is what the model sees of a refusal."""

    approved: bool
    message: str | None = None
    args: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Happened:
    """Something the counters want to know: a tool call, one that failed, a retry of a kind."""

    what: Literal[
        "tool_called",
        "tool_answered",
        "tool_failed",
        "tool_timed_out",
        "tool_abandoned",
        "model_retry",
    ]
    seconds: float = 0.0


class Host(Protocol):
    """The world around one run."""

    def new_call_id(self) -> str:
        """A `call_id` that was never used and never will be again."""
        ...

    async def call_parent(self, call: Call) -> Answer:
        """Ask the parent to run a tool. Raises `TimeoutError` when `call.timeout` passed without an answer."""
        ...

    async def ask_approval(self, call: Call, *, faults: ArgumentsCheck) -> Decision:
        """Ask the parent whether a call may be made; `faults` checks the arguments it puts in place."""
        ...

    def chunk(self, kind: ChunkKind, step: int, data: Any) -> None:
        """Something of the answer, as it comes. Never blocks: who cannot keep up gets longer pieces."""
        ...

    def wants(self, kind: ChunkKind) -> bool:
        """Whether chunks of this kind are to be sent at all."""
        ...

    def begin_answer(self) -> None:
        """The model is asked: chunks of text, thinking and output are now those of a new answer."""
        ...

    def answer_sent(self) -> bool:
        """Whether any of them has gone out. One that waits has not."""
        ...

    def held_until(self) -> float:
        """When, by the loop's clock, chunks were last held back for want of credit: now, if they are; 0 for never."""
        ...

    def take_back(self) -> None:
        """The answer is given up: those that wait are dropped, unless one of them has gone out."""
        ...

    def note(self, event: Happened) -> None:
        """For the counters."""
        ...


class ArgumentsCheck(Protocol):
    """What is wrong with arguments: faults of `{"loc", "msg", "type"}`, or nothing."""

    def __call__(self, args: dict[str, Any], /) -> list[dict[str, Any]]: ...
