"""Anthropic's messages interface."""

from collections.abc import Mapping

from .answers import Answer, Finish, JsonObject, ToolCall, Usage, pieces
from .dialect import Frames, Turn, bearer, named
from .exchange import Request

_FINISH: dict[Finish, str] = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
"""Stands for the signature of a thinking block: opaque to clients, which send it back as it is."""


class Anthropic:
    prefix = "anthropic"
    event: str | None = "content_block_delta"

    def base_url(self, origin: str) -> str:
        return origin

    def accepts(self, request: Request) -> bool:
        return (request.method, request.path) == ("POST", "/v1/messages")

    def key(self, headers: Mapping[str, str]) -> str | None:
        return bearer(headers) or headers.get("x-api-key")

    def model(self, request: Request) -> str:
        return str(request.json.get("model"))

    def wants_stream(self, request: Request) -> bool:
        return request.json.get("stream") is True

    def tool_names(self, request: Request) -> list[str]:
        return [tool["name"] for tool in request.json.get("tools", [])]

    def headers(self, request: Request) -> dict[str, str]:
        return {
            "request-id": f"req_{request.number:024d}",
            "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
            "anthropic-ratelimit-requests-remaining": "999",
        }

    def plain(self, turn: Turn) -> JsonObject:
        answer = turn.answer
        stop = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        return {**_message(turn), "content": _blocks(turn), **stop, "usage": _usage(answer.usage)}

    def frames(self, turn: Turn) -> Frames:
        answer = turn.answer
        head = _opening(turn)
        for index, block in enumerate(_blocks(turn)):
            head += _block_events(turn, index, block)
        return Frames(named(head), named([_closing(answer)]), named([{"type": "message_stop"}]))

    def more(self, turn: Turn, text: str) -> bytes:
        return named([_delta(0, {"type": "text_delta", "text": text})])[0]

    def empty_plain(self, turn: Turn) -> JsonObject:
        return {**self.plain(turn), "content": []}

    def empty_frames(self, turn: Turn) -> Frames:
        return Frames(named(_opening(turn)), named([_closing(turn.answer)]), named([{"type": "message_stop"}]))

    def error(self, status: int, message: str) -> JsonObject:
        kind = _ERROR_TYPES.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_0"}

    def error_frame(self, status: int, message: str) -> bytes:
        return named([self.error(status, message)])[0]


def _message(turn: Turn) -> JsonObject:
    return {"id": turn.name("msg_"), "type": "message", "role": "assistant", "model": turn.model}


def _opening(turn: Turn) -> list[JsonObject]:
    usage = {**_usage(turn.answer.usage), "output_tokens": 1}
    empty: JsonObject = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    return [{"type": "message_start", "message": {**_message(turn), **empty}}, {"type": "ping"}]


def _closing(answer: Answer) -> JsonObject:
    delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": _usage(answer.usage)}


def _stop_reason(answer: Answer) -> str | None:
    if answer.finish is None:
        return None
    return "tool_use" if answer.finish == "stop" and answer.tool_calls else _FINISH[answer.finish]


def _blocks(turn: Turn) -> list[JsonObject]:
    answer = turn.answer
    blocks: list[JsonObject] = []
    if answer.thinking is not None:
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": _SIGNATURE})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    streamed = turn.request.json.get("stream") is True
    return blocks + [_call(turn, i, call, streamed) for i, call in enumerate(answer.tool_calls)]


def _call(turn: Turn, index: int, call: ToolCall, streamed: bool) -> JsonObject:
    given = call.text() if streamed else call.value()
    return {
        "type": "tool_use",
        "id": call.id or turn.name("toolu_", index),
        "name": call.name,
        "input": given,
    }


def _block_events(turn: Turn, index: int, block: JsonObject) -> list[JsonObject]:
    empty, deltas = _block_deltas(turn, block)
    return [
        {"type": "content_block_start", "index": index, "content_block": {**block, **empty}},
        *(_delta(index, delta) for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _block_deltas(turn: Turn, block: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """The fields that a block begins empty with, and the deltas that fill them."""
    match block["type"]:
        case "thinking":
            parts = [{"type": "thinking_delta", "thinking": part} for part in pieces(block["thinking"])]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {"thinking": "", "signature": ""}, [*parts, signature]
        case "text":
            return {"text": ""}, [{"type": "text_delta", "text": part} for part in turn.answer.chunks]
        case _:
            # The service begins with an empty piece of JSON, and so does this.
            parts = ("", *pieces(block["input"]))
            return {"input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]


def _delta(index: int, delta: JsonObject) -> JsonObject:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _usage(usage: Usage | None) -> JsonObject:
    """Anthropic counts cached tokens beside the input, not in it, and never leaves usage out."""
    counts = usage or Usage(input=0, output=0)
    return {
        "input_tokens": counts.input - counts.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": counts.output,
        "service_tier": "standard",
    }
