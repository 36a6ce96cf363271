"""Google's Gemini interface: model and method are in the path, and nothing closes a stream but its end."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from .answers import Answer, Finish, JsonObject, ToolCall, Usage, pieces
from .dialect import Frames, Turn, sse
from .exchange import Request

_FINISH: dict[Finish, str] = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_PATH = re.compile(r"/v1(?:beta|alpha)?/models/(?P<model>[^/:]+):(?:g|streamG)enerateContent")
_SIGNATURE = "dGhvdWdodC1zaWduYXR1cmU="


class Google:
    prefix = "google"
    event: str | None = None

    def base_url(self, origin: str) -> str:
        return origin

    def accepts(self, request: Request) -> bool:
        return request.method == "POST" and _PATH.fullmatch(request.path) is not None

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-goog-api-key")

    def model(self, request: Request) -> str:
        found = _PATH.fullmatch(request.path)
        return unquote(found["model"]) if found else ""

    def wants_stream(self, request: Request) -> bool:
        return request.path.endswith(":streamGenerateContent")

    def tool_names(self, request: Request) -> list[str]:
        tools = request.json.get("tools", [])
        return [function["name"] for tool in tools for function in tool.get("functionDeclarations", [])]

    def headers(self, request: Request) -> dict[str, str]:
        return {"vary": "Origin, X-Origin, Referer", "server": "scaffolding on HTTPServer2"}

    def plain(self, turn: Turn) -> JsonObject:
        parts = _thoughts(turn.answer, whole=True)
        if turn.answer.text:
            parts.append({"text": turn.answer.text})
        return _response(turn, [*parts, *_calls(turn)], finished=True)

    def frames(self, turn: Turn) -> Frames:
        parts = _thoughts(turn.answer, whole=False)
        parts += [{"text": piece} for piece in turn.answer.chunks]
        calls = _calls(turn)
        head = [_response(turn, [part]) for part in parts]
        if calls:
            head.append(_response(turn, calls))
        return Frames(tuple(map(sse, head)), (sse(_response(turn, [{"text": ""}], finished=True)),))

    def more(self, turn: Turn, text: str) -> bytes:
        return sse(_response(turn, [{"text": text}]))

    def empty_plain(self, turn: Turn) -> JsonObject:
        return {name: value for name, value in self.plain(turn).items() if name != "candidates"}

    def empty_frames(self, turn: Turn) -> Frames:
        return Frames((sse(self.empty_plain(turn)),), ())

    def error(self, status: int, message: str) -> JsonObject:
        return {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}}

    def error_frame(self, status: int, message: str) -> bytes:
        return sse(self.error(status, message))


def _response(turn: Turn, parts: list[JsonObject], *, finished: bool = False) -> JsonObject:
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finished and turn.answer.finish is not None:
        candidate["finishReason"] = _FINISH[turn.answer.finish]
    usage = turn.answer.usage
    return {
        "candidates": [candidate],
        **({} if usage is None else {"usageMetadata": _usage(usage, finished=finished)}),
        "modelVersion": turn.model,
        "responseId": turn.name("rsp"),
    }


def _thoughts(answer: Answer, *, whole: bool) -> list[JsonObject]:
    if answer.thinking is None:
        return []
    texts = (answer.thinking,) if whole else pieces(answer.thinking)
    return [{"text": text, "thought": True} for text in texts]


def _calls(turn: Turn) -> list[JsonObject]:
    """Calls go out together and whole; the service signs the first of them."""
    calls = [_call(turn, index, call) for index, call in enumerate(turn.answer.tool_calls)]
    return [{**call, **({"thoughtSignature": _SIGNATURE} if i == 0 else {})} for i, call in enumerate(calls)]


def _call(turn: Turn, index: int, call: ToolCall) -> JsonObject:
    return {"functionCall": {"id": call.id or turn.name("fn", index), "name": call.name, "args": call.value()}}


def _usage(usage: Usage, *, finished: bool) -> JsonObject:
    """Gemini counts thoughts beside the candidates, and repeats its counts, growing, in every chunk."""
    output = usage.output - usage.reasoning if finished else 1
    counts: JsonObject = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": output,
        "totalTokenCount": usage.input + output + usage.reasoning,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input}],
    }
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    if usage.cached:
        counts["cachedContentTokenCount"] = usage.cached
    return counts
