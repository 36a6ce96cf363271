"""An MCP server for the tests: over stdio, or over HTTP with the argument `http`, when it prints its port."""

import os
import socket
import sys

import anyio
from mcp.server.mcpserver import MCPServer

LONG_S = 600

server = MCPServer("fixture")


@server.tool()
def add(x: int, y: int) -> int:
    """Adds two numbers."""
    return x + y


@server.tool()
def refund(amount: int) -> str:
    """Gives money back."""
    return f"refunded {amount}"


@server.tool()
def fail() -> str:
    """Raises."""
    raise ValueError("the shop is closed")


@server.tool()
def environment() -> dict[str, str]:
    """What the server was started with."""
    return dict(os.environ)


@server.tool()
def pid() -> int:
    """The number of this process."""
    return os.getpid()


@server.tool()
async def wait() -> str:
    """Answers when nobody is there any more."""
    await anyio.sleep(LONG_S)
    return "late"


@server.tool()
def die() -> str:
    """Ends the server in the middle of a call."""
    os._exit(3)


def serve_http() -> None:
    """Serves on a port of the system's choice."""
    import uvicorn  # which is no small part of the start, and servers over stdio are started for single tests

    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="error")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    if sys.argv[1:] == ["http"]:
        serve_http()
    else:
        server.run("stdio")
