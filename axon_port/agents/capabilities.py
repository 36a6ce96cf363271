"""pydantic-ai's capabilities by data, under the allow-list (PROTOCOL.md, CAP-*).

A capability can start processes, open files and reach servers; which ones a frame may name is the command line's
word, also for those inside another's arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_ai.agent.spec import load_capability_from_nested_spec
from pydantic_ai.capabilities import CAPABILITY_TYPES, MCP, AbstractCapability
from pydantic_ai.exceptions import UserError
from pydantic_ai.tools import RunContext, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset

from axon_port.agents.allow import Allowed
from axon_port.wire.commands import Capability
from axon_port.wire.errors import WireError

MCP_STDIO: Final = "MCP:stdio"
"""What the allow-list calls MCP servers that are started as processes, or are anything but an http(s) URL."""

APPROVAL_FIELD: Final = "requires_approval"
"""Ours, beside pydantic-ai's arguments of an MCP server: true, or the names of its tools that a person must allow."""

_MCP_SERVERS: Final = ("url", "local", "native")


def build_capabilities(specs: Sequence[Capability], allowed: Allowed) -> list[AbstractCapability[Any]]:
    """Blocking: some import their libraries. Raises `WireError`: `CapabilityNotAllowed`, `InvalidAgent`."""
    for name, arguments in _named(list(specs)):
        allowed.demand_capability(name)
        if name == "MCP" and any(not _is_http(server) for server in _servers(arguments)):
            allowed.demand_capability(MCP_STDIO)
    return [_build(spec) for spec in specs]


def _build(spec: Capability) -> AbstractCapability[Any]:
    name, arguments = (spec, None) if isinstance(spec, str) else next(iter(spec.items()))
    if name not in CAPABILITY_TYPES:
        known = ", ".join(sorted(CAPABILITY_TYPES))
        raise WireError("InvalidAgent", f"there is no capability {name[:256]!r}: there are {known}")
    try:
        if name == "MCP" and isinstance(arguments, dict) and APPROVAL_FIELD in arguments:
            return _with_approval(cast("dict[str, Any]", arguments))
        return load_capability_from_nested_spec(spec)
    except (UserError, ValidationError, TypeError, ValueError, ImportError) as error:
        raise WireError("InvalidAgent", f"capability {name}: {error}") from None


def _with_approval(arguments: dict[str, Any]) -> AbstractCapability[Any]:
    wanted = arguments[APPROVAL_FIELD]
    rest = {key: value for key, value in arguments.items() if key != APPROVAL_FIELD}
    names = frozenset(cast("list[str]", wanted)) if isinstance(wanted, list) else None
    server = load_capability_from_nested_spec({"MCP": rest})
    return server if wanted is False else _Approved(cast("MCP[Any]", server), names)


class _Approved(MCP[Any]):
    """An MCP server some or all of whose tools a person must allow."""

    def __init__(self, server: MCP[Any], names: frozenset[str] | None) -> None:
        for name, value in vars(server).items():
            setattr(self, name, value)
        self._names = names

    def get_toolset(self) -> AbstractToolset[Any] | None:
        toolset = super().get_toolset()
        names = self._names

        def needs(_ctx: RunContext[Any], tool: ToolDefinition, _args: dict[str, Any]) -> bool:
            return names is None or tool.name in names

        return None if toolset is None else toolset.approval_required(needs)


def _named(value: Any) -> Iterator[tuple[str, Any]]:
    """Each capability that a spec names, at whatever depth, with its arguments."""
    if isinstance(value, str):
        yield value, None
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _named(item)
    elif isinstance(value, dict):
        name, arguments = next(iter(cast("dict[str, Any]", value).items()))
        yield name, arguments
        yield from _inside(arguments)


def _inside(arguments: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(arguments, dict):
        fields = cast("dict[str, Any]", arguments)
        for key, value in fields.items():
            if key in CAPABILITY_TYPES:
                yield key, value
            elif isinstance(value, str) and value in CAPABILITY_TYPES:
                yield value, None
            yield from _inside(value)
    elif isinstance(arguments, list):
        for item in cast("list[Any]", arguments):
            if isinstance(item, str) and item in CAPABILITY_TYPES:
                yield item, None
            yield from _inside(item)


def _servers(arguments: Any) -> Iterator[Any]:
    """What names a server among the arguments of an MCP capability."""
    if isinstance(arguments, dict):
        for field in _MCP_SERVERS:
            server: Any = cast("dict[str, Any]", arguments).get(field)
            if server is not None and not isinstance(server, bool):
                yield server
    elif isinstance(arguments, list):
        yield from cast("list[Any]", arguments)
    elif arguments is not None:
        yield arguments


def _is_http(server: Any) -> bool:
    if isinstance(server, dict):
        fields = cast("dict[str, Any]", server)
        return set(fields) <= {"url", "headers", "id", "allowed_tools", "description", "authorization_token"} and (
            _is_http(fields.get("url"))
        )
    if not isinstance(server, str):
        return False
    try:
        parts = urlsplit(server)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
