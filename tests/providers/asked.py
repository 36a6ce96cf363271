"""What a client asked for, read out of the bodies of the four interfaces."""

import json
from typing import Any, Literal

from tests.kit.providers import Interface, Request

OutputMode = Literal["tool", "native", "prompted"]


def is_streamed(interface: Interface, request: Request) -> bool:
    """Whether the answer was wanted as a stream."""
    if interface == "google":
        return request.path.endswith(":streamGenerateContent")
    return request.json.get("stream") is True


def user_parts(interface: Interface, request: Request) -> list[Any]:
    """The parts of the user's last message, as they stand."""
    body = request.json
    if interface == "google":
        return [content for content in body["contents"] if content["role"] == "user"][-1]["parts"]
    messages = body["input" if interface == "openai_responses" else "messages"]
    content = [message for message in messages if message.get("role") == "user"][-1]["content"]
    return [{"text": content}] if isinstance(content, str) else content


def user_texts(interface: Interface, request: Request) -> list[str]:
    """Everything the user said in words, the tool results left out."""
    body = request.json
    messages: list[Any] = body[{"google": "contents", "openai_responses": "input"}.get(interface, "messages")]
    found: list[str] = []
    for message in messages:
        if message.get("role") == "user":
            content = message.get("content", message.get("parts"))
            parts: list[Any] = [{"text": content}] if isinstance(content, str) else content
            found += [part["text"] for part in parts if "text" in part]
    return found


def system_text(interface: Interface, request: Request) -> str:
    """What the model was told before everything else."""
    body = request.json
    match interface:
        case "openai_chat":
            return "\n".join(m["content"] for m in body["messages"] if m["role"] == "system")
        case "openai_responses":
            said = [m["content"] for m in body["input"] if m.get("role") == "system"]
            return "\n".join([*said, *filter(None, [body.get("instructions")])])
        case "anthropic":
            return "\n".join(part["text"] for part in body.get("system", []))
        case "google":
            return "\n".join(part["text"] for part in body.get("systemInstruction", {"parts": []})["parts"])


def tools(interface: Interface, request: Request) -> dict[str, tuple[str, Any]]:
    """Description and schema of each tool."""
    listed: list[Any] = request.json.get("tools", [])
    match interface:
        case "openai_chat":
            found = [tool["function"] for tool in listed]
        case "google":
            found = [function for tool in listed for function in tool["functionDeclarations"]]
        case _:
            found = listed
    keys = ("parameters", "input_schema", "parameters_json_schema")
    return {tool["name"]: (tool["description"], next(tool[key] for key in keys if key in tool)) for tool in found}


def calls(interface: Interface, request: Request) -> list[tuple[str, str, Any]]:
    """Id, name and arguments of the calls in the history."""
    body = request.json
    match interface:
        case "openai_chat":
            found = [call for message in body["messages"] for call in message.get("tool_calls", [])]
            return [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in found]
        case "openai_responses":
            found = [item for item in body["input"] if item.get("type") == "function_call"]
            return [(c["call_id"], c["name"], json.loads(c["arguments"])) for c in found]
        case "anthropic":
            return [(p["id"], p["name"], p["input"]) for p in _parts(body["messages"], "content", "tool_use")]
        case "google":
            found = [part["functionCall"] for part in _google_parts(body) if "functionCall" in part]
            return [(c["id"], c["name"], c["args"]) for c in found]


def tool_returns(interface: Interface, request: Request) -> list[tuple[str, Any]]:
    """Id and content of what the model is told of its calls; content that is JSON as a value."""
    body = request.json
    match interface:
        case "openai_chat":
            found = [(m["tool_call_id"], m["content"]) for m in body["messages"] if m["role"] == "tool"]
        case "openai_responses":
            items = [item for item in body["input"] if item.get("type") == "function_call_output"]
            found = [(item["call_id"], item["output"]) for item in items]
        case "anthropic":
            results = _parts(body["messages"], "content", "tool_result")
            found = [(p["tool_use_id"], "".join(piece["text"] for piece in p["content"])) for p in results]
        case "google":
            replies = [part["functionResponse"] for part in _google_parts(body) if "functionResponse" in part]
            found = [(r["id"], r["response"].get("return_value", r["response"])) for r in replies]
    return [(call_id, _value(content)) for call_id, content in found]


def output_schema(interface: Interface, request: Request, mode: OutputMode) -> Any:
    """The schema of the result, from where this mode puts it."""
    body = request.json
    if mode == "tool":
        return tools(interface, request)["final_result"][1]
    if mode == "prompted":
        lines = system_text(interface, request).splitlines()
        (schema,) = [line for line in lines if line.startswith("{")]
        return json.loads(schema)
    match interface:
        case "openai_chat":
            return body["response_format"]["json_schema"]["schema"]
        case "openai_responses":
            return body["text"]["format"]["schema"]
        case "anthropic":
            return body["output_config"]["format"]["schema"]
        case "google":
            return body["generationConfig"]["responseJsonSchema"]


def _google_parts(body: Any) -> list[Any]:
    return [part for content in body["contents"] for part in content["parts"]]


def _parts(messages: list[Any], key: str, kind: str) -> list[Any]:
    listed = [message[key] for message in messages if isinstance(message[key], list)]
    return [part for content in listed for part in content if part["type"] == kind]


def _value(content: Any) -> Any:
    if not isinstance(content, str):
        return content
    try:
        return json.loads(content)
    except ValueError:
        return content
