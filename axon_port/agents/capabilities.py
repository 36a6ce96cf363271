"""pydantic-ai's capabilities by data, under the allow-list (PROTOCOL.md, CAP-*).

A capability can start processes, open files and reach servers; which ones a frame may name is the command line's
word, also for those inside another's arguments.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_ai._utils import get_function_type_hints  # pyright: ignore[reportPrivateImportUsage]
from pydantic_ai.agent.spec import (
    CapabilitySpecContext,
    capability_spec_context,
    get_capability_registry,
    load_capability_from_nested_spec,
)
from pydantic_ai.capabilities import CAPABILITY_TYPES, MCP, AbstractCapability
from pydantic_ai.tools import RunContext, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset

from axon_port.agents.allow import Allowed
from axon_port.agents.credentials import check_credentials, secrets_in, without_userinfo
from axon_port.wire.commands import Capability
from axon_port.wire.errors import WireError

MCP_STDIO: Final = "MCP:stdio"
"""What the allow-list calls MCP servers that are started as processes, or are anything but an http(s) URL."""

APPROVAL_FIELD: Final = "requires_approval"
"""Ours, beside pydantic-ai's arguments of an MCP server: true, or the names of its tools that a person must allow."""

INIT_TIMEOUT_FIELD: Final = "init_timeout_ms"
"""Ours as well: how long an MCP server may take to start and to say what it is."""

INIT_TIMEOUT_MS: Final = 30_000
"""Where nothing is said: pydantic-ai's 5 s are too few for a server that is downloaded, or starts on a busy machine."""

MAX_INIT_TIMEOUT_MS: Final = 86_400_000

_OUR_FIELDS: Final = frozenset({APPROVAL_FIELD, INIT_TIMEOUT_FIELD})

_SCRIPTS: Final = (".py", ".js")

_MCP_SERVERS: Final = ("url", "local", "native")

_logger = logging.getLogger("axon_port.capabilities")


def secrets_of(specs: Iterable[Capability]) -> Iterator[str]:
    """What must appear nowhere of the arguments of MCP servers, those inside another's arguments included.

    Tokens, each whole and as its last word (`Bearer …`), the values of headers that are named like a key, and passwords
    of URLs, as they are written and decoded. Never empty; of any length. Takes whatever a frame has, and raises
    nothing.
    """
    return (
        secret
        for spec in specs
        for name, arguments in _named(spec)
        if name == "MCP"
        for secret in secrets_in(arguments)
    )


def capability_names() -> list[str]:
    """The names that a spec may have."""
    return sorted(CAPABILITY_TYPES)


def build_capabilities(specs: Sequence[Capability], allowed: Allowed) -> list[AbstractCapability[Any]]:
    """Blocking: some import their libraries. Raises `WireError`: `CapabilityNotAllowed`, `InvalidAgent`."""
    for name, arguments in (named for spec in specs for named in _named(spec)):
        allowed.demand_capability(name)
        if name == "MCP" and any(not _is_http(server) for server in _servers(arguments)):
            allowed.demand_capability(MCP_STDIO)
        if name == "MCP":
            check_credentials(arguments)
    return [_build(spec) for spec in specs]


async def close_capabilities(capabilities: Iterable[AbstractCapability[Any]]) -> None:
    """End what capabilities keep alive between runs: the processes and connections of MCP servers."""
    toolsets: list[AbstractToolset[Any]] = []
    for capability in capabilities:
        toolset = cast("AbstractToolset[Any] | None", capability.get_toolset())
        if isinstance(toolset, AbstractToolset):
            toolset.apply(toolsets.append)
    for toolset in toolsets:
        if (close := getattr(toolset, "aclose", None)) is not None:
            try:
                await close()
            except Exception:
                # The others have to be closed too.
                _logger.exception("an MCP server could not be closed")


def _build(spec: Capability) -> AbstractCapability[Any]:
    name, arguments = _read(spec) or ("", None)
    if name not in CAPABILITY_TYPES:
        known = ", ".join(capability_names())
        raise WireError("InvalidAgent", f"there is no capability {name[:256]!r}: there are {known}")
    try:
        return _load(name, arguments)
    except Exception as error:  # noqa: BLE001  foreign code, and arguments it may not have expected
        reason = without_userinfo(str(error)) or type(error).__name__
        raise WireError("InvalidAgent", f"capability {name}: {reason}") from None


def _load(name: str, arguments: Any) -> AbstractCapability[Any]:
    kind = CAPABILITY_TYPES[name]
    # Where `from_spec` is not its own, it passes everything on.
    maker: Any = kind.from_spec if "from_spec" in vars(kind) else kind.__init__
    try:
        hints = get_function_type_hints(maker)
    except NameError:
        hints = {}
    given = cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else {}
    for field, value in given.items():
        _check_type(field, value, hints.get(field))
    # Those inside its arguments are made by the same function.
    context = CapabilitySpecContext(get_capability_registry(), _made)
    token = capability_spec_context.set(context)
    try:
        return load_capability_from_nested_spec(name if arguments is None else {name: arguments})
    finally:
        capability_spec_context.reset(token)


def _made(
    kind: type[AbstractCapability[Any]], args: tuple[Any, ...], arguments: dict[str, Any]
) -> AbstractCapability[Any]:
    if not issubclass(kind, MCP):
        return kind.from_spec(*args, **arguments)
    theirs = {field: value for field, value in arguments.items() if field not in _OUR_FIELDS}
    init_timeout_ms = _init_timeout_ms(arguments.get(INIT_TIMEOUT_FIELD))
    server: MCP[Any] = kind.from_spec(*args, **_as_path(args, theirs))
    _share(server, init_timeout_ms, arguments.get("id"))
    return _with_approval(server, arguments.get(APPROVAL_FIELD, False))


def _as_path(args: tuple[Any, ...], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with a script beside its name as what it is: for names of scripts FastMCP warns every agent."""
    script: Any = args[0] if args else arguments.get("url")
    if not isinstance(script, str) or not script.endswith(_SCRIPTS) or not Path(script).exists():
        return arguments
    # pydantic-ai has a word of its own about each of these.
    if not arguments.keys().isdisjoint({"headers", "authorization_token", "native", "local"}):
        return arguments
    return {**arguments, "local": Path(script)}


def _init_timeout_ms(wanted: Any) -> int:
    if wanted is None:
        return INIT_TIMEOUT_MS
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= MAX_INIT_TIMEOUT_MS:
        raise ValueError(f"{INIT_TIMEOUT_FIELD}: an integer from 1 to {MAX_INIT_TIMEOUT_MS} is expected")
    return wanted


def _share(server: MCP[Any], init_timeout_ms: int, given_id: str | None) -> None:
    """Let the runs share the worker's own connection to a server. The provider's own (`native`) is not ours."""
    local = server.local
    if not isinstance(local, AbstractToolset):
        return
    from pydantic_ai.mcp import MCPToolset  # which `server` has imported: it takes longer than all the rest

    from axon_port.agents.mcp_servers import Server

    if isinstance(local, MCPToolset):
        # Over the same transport, so that address and headers stay what pydantic-ai has made of the arguments.
        server.local = Server(
            local.client.transport,
            # What is derived from an address is derived again: telemetry tells it from an id that somebody chose.
            given_id=given_id,
            include_instructions=local.include_instructions,
            init_timeout_ms=init_timeout_ms,
        )


def _check_type(field: str, value: Any, hint: Any) -> None:
    # pydantic-ai takes what it is given; a number where a list belongs would fail in the middle of a run.
    if hint is None:
        return
    try:
        adapter = TypeAdapter[Any](hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    except PydanticUserError:
        return
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{field}: {error.errors()[0]['msg']}") from None


def _with_approval(server: MCP[Any], wanted: Any) -> MCP[Any]:
    if not isinstance(wanted, bool) and not _is_texts(wanted):
        raise TypeError(f"{APPROVAL_FIELD}: true, false or a list of tool names is expected")
    if wanted is False:
        return server
    return _Approved(server, None if wanted is True else frozenset(cast("list[str]", wanted)))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in cast("list[Any]", value))


class _Approved(MCP[Any]):
    """An MCP server some or all of whose tools a person must allow. The names are the server's own."""

    def __init__(self, server: MCP[Any], names: frozenset[str] | None) -> None:
        for name, value in vars(server).items():
            setattr(self, name, value)
        self._names = names

    def get_toolset(self) -> AbstractToolset[Any] | None:
        toolset = super().get_toolset()
        names = self._names
        prefix = self.id if self.tool_prefix is True else self.tool_prefix or None

        def needs(_ctx: RunContext[Any], tool: ToolDefinition, _args: dict[str, Any]) -> bool:
            own = tool.name if prefix is None else tool.name.removeprefix(f"{prefix}_")
            return names is None or own in names or tool.name in names

        return None if toolset is None else toolset.approval_required(needs)


def _read(spec: Any) -> tuple[str, Any] | None:
    """Name and arguments of a spec in any of pydantic-ai's forms; None for what is none."""
    if isinstance(spec, str):
        return spec, None
    if not isinstance(spec, dict):
        return None
    fields = cast("dict[str, Any]", spec)
    if "name" in fields and fields.keys() <= {"name", "arguments"}:
        return str(fields["name"]), fields.get("arguments")
    if len(fields) == 1:
        return next(iter(fields.items()))
    return None


def _named(spec: Any) -> Iterator[tuple[str, Any]]:
    """Each capability that a spec names, at whatever depth, with its arguments."""
    read = _read(spec)
    if read is not None:
        yield read
        yield from _inside(read[1])


def _inside(arguments: Any) -> Iterator[tuple[str, Any]]:
    values: Iterable[Any] = ()
    if isinstance(arguments, dict):
        values = cast("dict[str, Any]", arguments).values()
    elif isinstance(arguments, list):
        values = cast("list[Any]", arguments)
    for value in values:
        read = _read(value)
        if read is not None and read[0] in CAPABILITY_TYPES:
            yield read
        yield from _inside(value)


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
    # The client would run a file of that name: "http:/…/server.py" is a path, too.
    is_script = server.lower().endswith(_SCRIPTS)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not is_script
