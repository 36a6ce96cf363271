"""OpenAI's chat completions, and those of the many that follow them."""

from collections.abc import Mapping
from typing import Any

from .answers import Answer, Finish, JsonObject, ToolCall, Usage, pieces
from .dialect import CREATED, Frames, Turn, bearer, sse
from .exchange import Request

_FINISH: dict[Finish, str] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}

ERROR_TYPES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
"""The `type` and `code` of OpenAI's error bodies; what is not here is a server error."""


class OpenAIChat:
    prefix = "openai-chat"
    event: str | None = None

    def base_url(self, origin: str) -> str:
        return f"{origin}/v1"

    def accepts(self, request: Request) -> bool:
        return (request.method, request.path) == ("POST", "/v1/chat/completions")

    def key(self, headers: Mapping[str, str]) -> str | None:
        return bearer(headers)

    def model(self, request: Request) -> str:
        return str(request.json.get("model"))

    def wants_stream(self, request: Request) -> bool:
        return request.json.get("stream") is True

    def tool_names(self, request: Request) -> list[str]:
        return [tool["function"]["name"] for tool in request.json.get("tools", [])]

    def headers(self, request: Request) -> dict[str, str]:
        return openai_headers(request)

    def plain(self, turn: Turn) -> JsonObject:
        answer = turn.answer
        message: JsonObject = {"role": "assistant", "content": answer.text or None, "refusal": None}
        message["annotations"] = []
        if answer.thinking is not None:
            message["reasoning_content"] = answer.thinking
        if answer.tool_calls:
            message["tool_calls"] = [_call(turn, i, call) for i, call in enumerate(answer.tool_calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(answer)}
        return {**_envelope(turn, "chat.completion"), "choices": [choice], **_usage_field(answer.usage)}

    def frames(self, turn: Turn) -> Frames:
        answer = turn.answer
        deltas: list[JsonObject] = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"reasoning_content": piece} for piece in pieces(answer.thinking or "")]
        deltas += [{"content": piece} for piece in answer.chunks]
        for index, call in enumerate(answer.tool_calls):
            deltas += _call_deltas(turn, index, call)
        finish = [_chunk(turn, {}, _reason(answer))]
        if answer.usage is not None and _wants_usage(turn.request):
            finish.append({**_empty_chunk(turn), "usage": _usage(answer.usage)})
        head = tuple(sse(_chunk(turn, delta)) for delta in deltas)
        return Frames(head, tuple(map(sse, finish)), (sse("[DONE]"),))

    def more(self, turn: Turn, text: str) -> bytes:
        return sse(_chunk(turn, {"content": text}))

    def empty_plain(self, turn: Turn) -> JsonObject:
        return {**self.plain(turn), "choices": []}

    def empty_frames(self, turn: Turn) -> Frames:
        return Frames((sse(_empty_chunk(turn)),), (), (sse("[DONE]"),))

    def error(self, status: int, message: str) -> JsonObject:
        return openai_error(status, message)

    def error_frame(self, status: int, message: str) -> bytes:
        return sse(openai_error(status, message))


def openai_headers(request: Request) -> dict[str, str]:
    return {
        "x-request-id": f"req_{request.number:032d}",
        "openai-version": "2020-10-01",
        "openai-processing-ms": "12",
        "x-ratelimit-remaining-requests": "9999",
    }


def openai_error(status: int, message: str) -> JsonObject:
    kind, code = ERROR_TYPES.get(status, ("server_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _envelope(turn: Turn, kind: str) -> JsonObject:
    return {
        "id": turn.name("chatcmpl-"),
        "object": kind,
        "created": CREATED,
        "model": turn.model,
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }


def _wants_usage(request: Request) -> bool:
    options: JsonObject = request.json.get("stream_options") or {}
    return options.get("include_usage") is True


def _empty_chunk(turn: Turn) -> JsonObject:
    return {**_envelope(turn, "chat.completion.chunk"), "choices": [], "usage": None}


def _chunk(turn: Turn, delta: JsonObject, reason: str | None = None) -> JsonObject:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {**_empty_chunk(turn), "choices": [choice]}


def _reason(answer: Answer) -> str | None:
    if answer.finish is None:
        return None
    return "tool_calls" if answer.finish == "stop" and answer.tool_calls else _FINISH[answer.finish]


def _call(turn: Turn, index: int, call: ToolCall) -> JsonObject:
    function = {"name": call.name, "arguments": call.text()}
    return {"id": call.id or turn.name("call_", index), "type": "function", "function": function}


def _call_deltas(turn: Turn, index: int, call: ToolCall) -> list[JsonObject]:
    opening = _call(turn, index, call)
    opening["function"]["arguments"] = ""
    parts: list[dict[str, Any]] = [
        opening,
        *({"function": {"arguments": part}} for part in pieces(call.text())),
    ]
    return [{"tool_calls": [{"index": index, **part}]} for part in parts]


def _usage_field(usage: Usage | None) -> JsonObject:
    return {} if usage is None else {"usage": _usage(usage)}


def _usage(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
