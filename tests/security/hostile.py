"""Commands that try to reach what no command may reach: hostile texts in every place where a text can stand."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from .watched import MARK

CODE = f"__import__('{MARK}').run()"

Path_ = tuple[str | int, ...]


def texts(canary: Path) -> list[str]:
    """Names of modules, files and addresses, and code; `canary` is a file that nobody may open."""
    return [
        MARK,
        f"{MARK}:run",
        f"{MARK}.sub:run",
        f"{MARK}:agent",
        "antigravity",
        "turtledemo:main",
        "os:system",
        "builtins:eval",
        "subprocess:Popen",
        f"..{MARK}:run",
        f"axon_port.{MARK}:run",
        CODE,
        f"{{{{{CODE}}}}}",
        f"{{{{__class__.__mro__.{MARK}}}}}",
        "{0.__class__.__init__.__globals__}",
        f"${{{CODE}}}",
        f"%({MARK})s",
        f"!!python/object/apply:os.system ['{MARK}']",
        f"cos\nsystem\n(S'{MARK}'\ntR.",
        str(canary),
        f"file://{canary}",
        f"{canary}\0.py",
        "http://127.0.0.1:9/schema.json",
        "https://axon-canary.invalid/x",
        f"file://{canary}#/$defs/a",
        "s3://axon-canary/x",
        f"data:text/x-python,{CODE}",
        f"| touch {canary}.touched",
        f"00-{'0' * 32}-{MARK}-01",
    ]


def schema() -> dict[str, Any]:
    """A schema with every keyword that can refer to something."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:example:root",
        "$ref": "#/$defs/a",
        "$dynamicRef": "#b",
        "$defs": {"a": {"$anchor": "a"}, "b": {"$dynamicAnchor": "b"}},
        "title": "t",
        "description": "d",
        "format": "uri",
        "pattern": "x",
        "contentMediaType": "text/plain",
        "contentSchema": {"$ref": "#/$defs/a"},
    }


def create_agent() -> dict[str, Any]:
    """A command with every field in which a text can stand."""
    return {
        "agent_id": "hostile",
        "model": {"script": [{"text": "a", "thinking": "b"}, {"tool_calls": [{"name": "f", "args": {"q": "c"}}]}]},
        "instructions": ["i", "j"],
        "system_prompt": "s",
        "tools": [
            {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"q": schema()}}},
            {"name": "g", "parameters": {"type": "object"}, "handler": "deferred"},
        ],
        "output_mode": "prompted",
        "output_schema": schema(),
        "deps": {"name": "n"},
        "deps_schema": {"type": "object", "properties": {"name": schema()}},
        "model_settings": {"extra_body": {"a": "b"}, "extra_headers": {"c": "d"}, "service_tier": "e"},
        "metadata": {"m": "o"},
        "end_strategy": "early",
        "replace": True,
    }


def models() -> list[Any]:
    """Models in which a text can stand. Nobody runs them: their addresses are the parent's word."""
    return [
        "test",
        {"name": "openai:gpt-5.2", "api_key": "sk-not-a-real-key"},
        {"name": "llama", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-not-a-real-key"},
        ["test", {"name": "anthropic:x", "base_url": "http://127.0.0.1:9"}],
    ]


def run(history: list[Any]) -> dict[str, Any]:
    """A run with every field in which a text can stand; `history` is that of an earlier one."""
    return {
        "agent_id": "plain",
        "prompt": [
            {"type": "text", "text": "t"},
            {"type": "image_url", "url": "u", "media_type": "image/png"},
            {"type": "document_url", "url": "https://example.com/a.pdf"},
            {"type": "binary", "media_type": "image/png", "data": "AAAA"},
        ],
        "message_history": history,
        "instructions": "i",
        "deps": {"name": "n"},
        "output_schema": schema(),
        "metadata": {"m": "o"},
        "model_settings": {"extra_headers": {"c": "d"}},
        "traceparent": f"00-{'1' * 32}-{'2' * 16}-01",
    }


def others() -> dict[str, dict[str, Any]]:
    """The commands besides `create_agent`, `run` and the answers to a run, each with texts where it may have one."""
    parts = run([])["prompt"]
    return {
        "stream": {"agent_id": "plain", "prompt": parts, "events": ["text"], "deps": {"name": "n"}},
        "delete_agent": {"agent_id": "nobody"},
        "list_agents": {"id": "i"},
        "cancel": {"target": "nobody"},
        "enqueue": {"target": "nobody", "prompt": parts, "priority": "asap"},
        "ping": {"id": "i"},
        "stats": {"id": "i"},
        "set_log_level": {"level": "info"},
        "shutdown": {"grace_ms": "soon"},
    }


def with_each(command: dict[str, Any], hostile: list[str]) -> Iterator[dict[str, Any]]:
    """The command, once for each place of a text (value or key) and each hostile text."""
    for path in _places(command):
        for text in hostile:
            changed = copy.deepcopy(command)
            _put(changed, path, text)
            yield changed


def with_handlers(hostile: list[str]) -> Iterator[dict[str, Any]]:
    """Agents and tools that name code."""
    for text in hostile:
        tool = {"name": "f", "handler": {"python": text}}
        yield {"agent_id": "hostile", "model": "test", "tools": [tool], "replace": True}
        yield {"agent_id": "hostile", "model": "test", "tools": [{**tool, "handler": text}], "replace": True}
        yield {"agent_id": "hostile", "module": text, "replace": True}
        yield {"agent_id": "hostile", "model": text, "replace": True}


def with_capabilities(names: list[str], hostile: list[str]) -> Iterator[dict[str, Any]]:
    """Agents whose capabilities have hostile arguments, in each form."""
    arguments = [
        "local",
        "native",
        "tool",
        "kind",
        "url",
        "id",
        "description",
        "headers",
        "authorization_token",
        "prefix",
        "capability",
        "strategy",
        "tools",
        "working_dir",
        "env",
        "effort",
        "fallback_subagent_model",
        "fallback_image_model",
        "image_model",
        "instructions",
        "retention",
        "user_location",
        "blocked_domains",
        "server_url",
        "spec",
        "func",
        "wrapped",
        "toolset",
        "processor",
    ]
    for name in names:
        for number, text in enumerate(hostile):
            # A quarter of the arguments with each text, another one with the next: all of both, not each with each.
            named = ({name: {each: text}} for each in arguments[number % 4 :: 4])
            for spec in (text, {name: text}, {name: [text]}, *named):
                yield {"agent_id": "hostile", "model": "test", "capabilities": [spec], "replace": True}


def _places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(cast("list[Any]", value)):
            yield from _places(item, (*path, place))
    elif isinstance(value, str):
        yield path


def _put(command: Any, path: Path_, text: str) -> None:
    for step in path[:-1]:
        command = command[step]
    command[path[-1]] = text
