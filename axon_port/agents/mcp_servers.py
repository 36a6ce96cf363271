"""Connections to MCP servers, each shared by the runs of an agent (PROTOCOL.md, CAP-MCP, CAP-INIT).

A connection lives in a task of its own, which belongs to no run: a run that is cancelled while it connects or lists
tools takes nothing from the others, they all hear of one failure at once, and what the connection logs bears no run's
id. Runs count who uses it; when nobody does it ends, while the transport keeps the process of a server over stdio. A
server that was started anew has forgotten the connection: who finds that it does not answer opens another.

To import this takes longer than all the rest of a worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import Context
from pathlib import Path
from typing import Any, Final

import anyio
from fastmcp.client.transports import ClientTransport
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.tools import RunContext
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from axon_port.agents.credentials import without_userinfo

ANSWER_SECONDS: Final = 1.0
"""A connection that says nothing for so long is taken for a busy one: of a dead one that is heard at once."""

CLOSE_SECONDS: Final = 2.0
"""How long a server may take to end itself before it is left to the end of the worker."""

_logger = logging.getLogger("axon_port.capabilities")


def _log_like_all_others() -> None:
    """FastMCP prints for people, and lets nobody else have what it logs."""
    theirs = logging.getLogger("fastmcp")
    theirs.handlers.clear()
    theirs.propagate = True
    theirs.setLevel(logging.NOTSET)


_log_like_all_others()


class Server(MCPToolset[Any]):
    """A server as an agent knows it. Nobody enters it: each run gets a hold on the connection of the moment."""

    def __init__(
        self, transport: ClientTransport, *, given_id: str | None, include_instructions: bool, init_timeout_ms: int
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            transport, id=given_id, include_instructions=include_instructions
        )
        self._transport = transport
        self._given_id = given_id
        self._init_timeout_ms = init_timeout_ms
        self._checking = asyncio.Lock()
        self._session = self._new_session()
        self._current: _Connection | None = None
        self._connections: list[_Connection] = []

    @property
    def label(self) -> str:
        return f"the MCP server {self.id or _script_of(self._transport)!r}"

    async def for_run(  # pyright: ignore[reportIncompatibleMethodOverride]  a run takes any toolset
        self, ctx: RunContext[Any]
    ) -> AbstractToolset[Any]:
        return _Hold(self)

    def is_current(self, connection: _Connection) -> bool:
        """Whether who comes now gets this one."""
        return self._current is connection

    async def hold(self) -> _Connection:
        """The connection of the moment, open; it is to be released.

        Raises `ConnectionError`: it could not be opened, or not within `init_timeout_ms` of when somebody first asked.
        """
        connection = self._current
        if connection is None:
            connection = self._current = self._new_connection()
        elif connection.is_open:
            # The server may have ended since anybody asked it something.
            connection.is_doubtful = True
        connection.holders += 1
        try:
            await connection.opened()
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: _Connection) -> None:
        """Never waits, so that no cancel can come between."""
        connection.holders -= 1
        if connection.holders == 0:
            self._forget(connection)
            connection.end()

    async def answering(self, connection: _Connection) -> _Connection:
        """A connection that is held, or another one in its place where it does not answer any more."""
        async with self._checking:
            if connection.is_doubtful and self._current is connection:
                connection.is_doubtful = False
                if not await connection.answers():
                    self._give_up(connection)
        if self._current is connection:
            return connection
        another = await self.hold()
        self.release(connection)
        return another

    async def aclose(self) -> None:
        """End the connections, whoever holds them, and the process of a server over stdio."""
        connections, self._current = list(self._connections), None
        for connection in connections:
            connection.end()
        with anyio.move_on_after(CLOSE_SECONDS):
            if connections:
                await asyncio.wait([connection.life for connection in connections])
            for session in {self._session, *(connection.session for connection in connections)}:
                await session.client.close()

    def _new_session(self) -> _Session:
        return _Session(
            self._transport, given_id=self._given_id, include_instructions=self.include_instructions, told_as=self.label
        )

    def _new_connection(self) -> _Connection:
        # What ends still has the transport, and over stdio there is one for all.
        before = [connection.life for connection in self._connections if connection.holders == 0]
        connection = _Connection(self._session, self._init_timeout_ms, before)
        self._connections.append(connection)
        connection.life.add_done_callback(lambda _: self._over(connection))
        return connection

    def _over(self, connection: _Connection) -> None:
        self._connections.remove(connection)
        if connection.has_failed:
            self._give_up(connection)

    def _give_up(self, connection: _Connection) -> None:
        self._forget(connection)
        # Those who hold it go on with theirs.
        if self._session is connection.session:
            self._session = self._new_session()

    def _forget(self, connection: _Connection) -> None:
        if self._current is connection:
            self._current = None


class _Session(MCPToolset[Any]):
    """pydantic-ai's part of a connection.

    It would count who uses it, and wait for a lock to do so: whoever is cancelled there is counted for ever. Here
    connections are counted; who uses one has it open.
    """

    def __init__(
        self, transport: ClientTransport, *, given_id: str | None, include_instructions: bool, told_as: str
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            transport,
            id=given_id,
            include_instructions=include_instructions,
            init_timeout=0,  # none: ours counts from the start of the process
        )
        self.told_as = told_as

    @property
    def label(self) -> str:
        # Told where two tools have one name. What pydantic-ai advises then is nothing that a frame could do.
        return f"{self.told_as} (whose tools can have a `tool_prefix`)"

    async def __aenter__(self) -> _Session:
        return self

    async def __aexit__(self, *args: Any) -> bool | None:
        return None

    async def connect(self) -> None:
        """Open it. Only for `_Connection`."""
        await super().__aenter__()

    async def disconnect(self) -> None:
        """Let go of it, and forget which tools there are. Only for `_Connection`."""
        await super().__aexit__(None, None, None)


class _Connection:
    """One connection, from the first who asks for it to the last who lets go."""

    def __init__(self, session: _Session, init_timeout_ms: int, before: list[asyncio.Task[None]]) -> None:
        self.session = session
        self.holders = 0
        self.is_doubtful = False
        self._init_timeout_ms = init_timeout_ms
        self._unused = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        # In no run's context: what it logs would bear that run's id for as long as it lives.
        self.life: asyncio.Task[None] = Context().run(loop.create_task, self._live(before))
        self.life.add_done_callback(self._ended)

    @property
    def is_open(self) -> bool:
        return self._opened.done()

    @property
    def has_failed(self) -> bool:
        """Whether it has never been open, and will not be."""
        return self._opened.done() and self._opened.exception() is not None

    async def opened(self) -> None:
        """Raises `ConnectionError`."""
        await asyncio.wait([self._opened])
        if (error := self._opened.exception()) is not None:
            # Each who waited gets one of his own: a traceback grows with everybody who raises it.
            raise ConnectionError(str(error)) from error.__cause__

    def end(self) -> None:
        """Nobody needs it any more."""
        self._unused.set()
        if not self.is_open:
            self.life.cancel()

    async def answers(self) -> bool:
        """Whether the server is still there, be it busy. It is asked for its tools, which every server lists."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.session.client.list_tools()
        except TimeoutError:
            return True
        except Exception as error:  # noqa: BLE001  of whatever lies between us and the server
            _logger.debug("%s does not answer: %r", self.session.told_as, error)
            return False
        return True

    async def _live(self, before: list[asyncio.Task[None]]) -> None:
        try:
            async with asyncio.timeout(self._init_timeout_ms / 1000):
                if before:
                    await asyncio.wait(before)
                await self.session.connect()
        except Exception as error:  # noqa: BLE001  the runs that wait are told
            self._opened.set_exception(self._told(error))
            return
        self._opened.set_result(None)
        try:
            await self._unused.wait()
        finally:
            await self._leave()

    async def _leave(self) -> None:
        try:
            await self.session.disconnect()
        except Exception as error:  # noqa: BLE001  of a server that has gone
            _logger.debug("%s was left with %r", self.session.told_as, error)

    def _told(self, error: Exception) -> ConnectionError:
        if isinstance(error, TimeoutError):
            said = f"did not start and answer within {self._init_timeout_ms} ms: see init_timeout_ms"
        else:
            said = f"cannot be reached: {without_userinfo(str(error)) or type(error).__name__}"
        told = ConnectionError(f"{self.session.told_as} {said}")
        told.__cause__ = error
        return told

    def _ended(self, _: asyncio.Task[None]) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(f"{self.session.told_as} is not needed any more"))
        self._opened.exception()  # asyncio complains of one that nobody took


class _Hold(WrapperToolset[Any]):
    """What one run has of a server."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._server = server
        self._connection: _Connection | None = None
        self._moving = asyncio.Lock()

    async def __aenter__(self) -> _Hold:
        self._take(await self._server.hold())
        return self

    async def __aexit__(self, *args: Any) -> bool | None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._server.release(connection)
        return None

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        async with self._used() as connection:
            return await connection.session.get_tools(ctx)

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        async with self._used() as connection:
            return await connection.session.call_tool(name, tool_args, ctx, tool)

    @asynccontextmanager
    async def _used(self) -> AsyncGenerator[_Connection]:
        connection = await self._answering()
        # Another call of this run may find that it does not answer, and let go.
        connection.holders += 1
        try:
            yield connection
        except Exception as error:
            # A tool's own words to the model have no cause. What broke off is put to it as well, and has one.
            if not isinstance(error, ModelRetry) or error.__cause__ is not None:
                connection.is_doubtful = True
            raise
        finally:
            self._server.release(connection)

    async def _answering(self) -> _Connection:
        async with self._moving:
            connection = self._connection
            if connection is None:
                raise RuntimeError("the run has let go of its MCP server")
            if connection.is_doubtful or not self._server.is_current(connection):
                connection = self._take(await self._server.answering(connection))
            return connection

    def _take(self, connection: _Connection) -> _Connection:
        self._connection = connection
        self.wrapped = connection.session
        return connection


def _script_of(transport: ClientTransport) -> str:
    script: object = getattr(transport, "script_path", None)
    return script.name if isinstance(script, Path) else type(transport).__name__
