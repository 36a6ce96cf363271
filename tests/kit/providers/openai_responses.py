"""OpenAI's responses interface: an answer is a list of items, a stream a numbered list of events on them."""

from collections.abc import Mapping

from .answers import Answer, JsonObject, ToolCall, Usage, pieces
from .dialect import CREATED, Frames, Turn, bearer, named
from .exchange import Request
from .openai_chat import ERROR_TYPES, openai_error, openai_headers

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class OpenAIResponses:
    prefix = "openai-responses"
    event: str | None = "response.output_text.delta"

    def base_url(self, origin: str) -> str:
        return f"{origin}/v1"

    def accepts(self, request: Request) -> bool:
        return (request.method, request.path) == ("POST", "/v1/responses")

    def key(self, headers: Mapping[str, str]) -> str | None:
        return bearer(headers)

    def model(self, request: Request) -> str:
        return str(request.json.get("model"))

    def wants_stream(self, request: Request) -> bool:
        return request.json.get("stream") is True

    def tool_names(self, request: Request) -> list[str]:
        return [tool["name"] for tool in request.json.get("tools", []) if tool["type"] == "function"]

    def headers(self, request: Request) -> dict[str, str]:
        return openai_headers(request)

    def plain(self, turn: Turn) -> JsonObject:
        return _response(turn, _items(turn), _status(turn.answer))

    def frames(self, turn: Turn) -> Frames:
        items, status = _items(turn), _status(turn.answer)
        begun = _response(turn, [], "in_progress")
        head: list[JsonObject] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        for index, item in enumerate(items):
            head += _item_events(turn, index, item)
        over = "response.incomplete" if status == "incomplete" else "response.completed"
        events = _numbered([*head, {"type": over, "response": _response(turn, items, status)}])
        return Frames(named(events[:-1]), named(events[-1:]))

    def more(self, turn: Turn, text: str) -> bytes:
        event = _text_event("delta", turn.name("msg_"), 0)
        return named([{**event, "delta": text, "logprobs": [], "sequence_number": 99}])[0]

    def empty_plain(self, turn: Turn) -> JsonObject:
        return _response(turn, [], "completed")

    def empty_frames(self, turn: Turn) -> Frames:
        begun = {"type": "response.created", "response": _response(turn, [], "in_progress")}
        over = {"type": "response.completed", "response": _response(turn, [], "completed")}
        events = named(_numbered([begun, over]))
        return Frames(events[:1], events[1:])

    def error(self, status: int, message: str) -> JsonObject:
        return openai_error(status, message)

    def error_frame(self, status: int, message: str) -> bytes:
        _, code = ERROR_TYPES.get(status, (None, "server_error"))
        event = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 99}
        return named([event])[0]


def _status(answer: Answer) -> str:
    if answer.finish is None:
        return "in_progress"
    return "incomplete" if answer.finish in _INCOMPLETE else "completed"


def _response(turn: Turn, items: list[JsonObject], status: str) -> JsonObject:
    over = status in ("completed", "incomplete")
    reason = _INCOMPLETE.get(turn.answer.finish or "stop") if status == "incomplete" else None
    usage = turn.answer.usage
    return {
        "id": turn.name("resp_"),
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": turn.request.json.get("instructions"),
        "max_output_tokens": turn.request.json.get("max_output_tokens"),
        "metadata": {},
        "model": turn.model,
        "output": items,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _usage(usage) if over and usage is not None else None,
        "user": None,
    }


def _items(turn: Turn) -> list[JsonObject]:
    answer = turn.answer
    items: list[JsonObject] = []
    if answer.thinking is not None:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        items.append({"id": turn.name("rs_"), "type": "reasoning", "summary": summary})
    if answer.text:
        part = _text_part(answer.text)
        items.append(_message(turn, [part], "incomplete" if _status(answer) == "incomplete" else "completed"))
    return items + [_call(turn, index, call) for index, call in enumerate(answer.tool_calls)]


def _text_part(text: str) -> JsonObject:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(turn: Turn, content: list[JsonObject], status: str) -> JsonObject:
    return {
        "id": turn.name("msg_"),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _call(turn: Turn, index: int, call: ToolCall) -> JsonObject:
    return {
        "id": turn.name("fc_", index),
        "type": "function_call",
        "status": "completed",
        "arguments": call.text(),
        "call_id": call.id or turn.name("call_", index),
        "name": call.name,
    }


def _item_events(turn: Turn, index: int, item: JsonObject) -> list[JsonObject]:
    hollow: JsonObject = {"reasoning": {"summary": []}, "message": {"content": []}}
    opening: JsonObject = {**item, **hollow.get(item["type"], {"arguments": ""})}
    if item["type"] != "reasoning":
        opening["status"] = "in_progress"
    inner = {"reasoning": _reasoning_events, "message": _message_events, "function_call": _call_events}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": opening},
        *inner[item["type"]](turn, index, item),
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _reasoning_events(turn: Turn, index: int, item: JsonObject) -> list[JsonObject]:
    text = turn.answer.thinking or ""
    where = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    part = {"type": "summary_text", "text": ""}
    summary = "response.reasoning_summary"
    return [
        {"type": f"{summary}_part.added", **where, "part": part},
        *({"type": f"{summary}_text.delta", **where, "delta": piece} for piece in pieces(text)),
        {"type": f"{summary}_text.done", **where, "text": text},
        {"type": f"{summary}_part.done", **where, "part": {**part, "text": text}},
    ]


def _message_events(turn: Turn, index: int, item: JsonObject) -> list[JsonObject]:
    where = {"item_id": item["id"], "output_index": index, "content_index": 0}
    answer = turn.answer
    return [
        {"type": "response.content_part.added", **where, "part": _text_part("")},
        *({**_text_event("delta", item["id"], index), "delta": piece, "logprobs": []} for piece in answer.chunks),
        {**_text_event("done", item["id"], index), "text": answer.text, "logprobs": []},
        {"type": "response.content_part.done", **where, "part": _text_part(answer.text)},
    ]


def _text_event(kind: str, item_id: str, index: int) -> JsonObject:
    where = {"item_id": item_id, "output_index": index, "content_index": 0}
    return {"type": f"response.output_text.{kind}", **where}


def _call_events(turn: Turn, index: int, item: JsonObject) -> list[JsonObject]:
    where = {"item_id": item["id"], "output_index": index}
    arguments, kind = item["arguments"], "response.function_call_arguments"
    return [
        *({"type": f"{kind}.delta", **where, "delta": piece} for piece in pieces(arguments)),
        {"type": f"{kind}.done", **where, "arguments": arguments, "name": item["name"]},
    ]


def _numbered(events: list[JsonObject]) -> list[JsonObject]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
