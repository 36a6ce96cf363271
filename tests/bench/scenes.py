"""What is asked and what the model answers: the same for every peer, as plain data."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from tests.bench.task import Op

ANSWER: Final = "Take a coat, it is going to rain."
PROMPT: Final = "What shall I wear today?"
DELTA: Final = "word "

TOOL_NAME: Final = "weather"
TOOL_ARGS: Final = {"city": "Riga"}
TOOL_RESULT: Final = {"degrees": 8}
TOOL_PARAMETERS: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

_LINE: Final = "The ferry left at a quarter past nine, with forty lorries and a brass band on its deck.\n"


def turns(op: Op, size: int) -> list[dict[str, Any]]:
    """The model's answers, one for each request of the run."""
    match op:
        case "stream":
            return [{"chunks": [DELTA] * size}]
        case "tool":
            calls = [{"name": TOOL_NAME, "args": TOOL_ARGS}] * max(1, size)
            return [{"tool_calls": calls}, {"text": ANSWER}]
        case "answer":
            return [{"text": text(size)}]
        case _:
            return [{"text": ANSWER}]


def prompt(op: Op, size: int) -> str:
    return text(size) if op == "prompt" else PROMPT


@cache
def text(size: int) -> str:
    """Prose of `size` bytes: an escape in every line, as JSON has it."""
    return (_LINE * (size // len(_LINE) + 1))[:size]


@cache
def history(size: int) -> list[dict[str, Any]]:
    """`size` messages of a conversation, as pydantic-ai writes them."""
    return [_request(number) if number % 2 == 0 else _response(number) for number in range(size)]


def _request(number: int) -> dict[str, Any]:
    part = {"part_kind": "user-prompt", "content": f"{PROMPT} ({number})", "timestamp": "2026-11-20T09:00:00.123456Z"}
    return {"kind": "request", "parts": [part], "timestamp": "2026-11-20T09:00:00.123456Z", **_IDS}


def _response(number: int) -> dict[str, Any]:
    return {
        "kind": "response",
        "parts": [{"part_kind": "text", "content": f"{ANSWER} ({number})"}],
        "usage": {"input_tokens": 12, "output_tokens": 9, "details": {}},
        "model_name": "script",
        "provider_name": "script",
        "finish_reason": "stop",
        "timestamp": "2026-11-20T09:00:00.123456Z",
        **_IDS,
    }


_IDS: Final = {
    "run_id": "01a1f981-c7bd-7036-89b5-a9f7dc3dbd08",
    "conversation_id": "01a1f981-c7bd-7036-89b5-a9f8c3f1f683",
}
