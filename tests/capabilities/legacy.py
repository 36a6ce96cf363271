"""An MCP server over HTTP of the older kind, with sessions, that does as a test says: it waits, it forgets."""

import json
import threading
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

PATIENCE_S = 30
SESSION = "Mcp-Session-Id"


class LegacyServer:
    """Has one tool, `pong`. `heard` holds the methods of all requests, in order."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.sessions: set[str] = set()
        self.left = threading.Event()
        self._news = threading.Condition()
        self._gates: defaultdict[str, threading.Event] = defaultdict(_open_gate)

    def hold_back(self, method: str) -> None:
        """Answers to this method wait from now on."""
        self._gates[method].clear()

    def let_go(self, method: str) -> None:
        """They wait no longer."""
        self._gates[method].set()

    def wait_for(self, method: str) -> None:
        """Returns when a request of this method has come."""
        with self._news:
            assert self._news.wait_for(lambda: method in self.heard, PATIENCE_S), f"nobody asked for {method}"

    def restart(self) -> None:
        """Knows no session any more."""
        self.sessions.clear()

    def answer(self, request: dict[str, Any], session: str | None) -> tuple[int, dict[str, Any] | None, str | None]:
        """Status, result or error, and the session that was opened."""
        method = request["method"]
        with self._news:
            self.heard.append(method)
            self._news.notify_all()
        self._gates[method].wait(PATIENCE_S)
        if method == "server/discover":
            return 200, {"error": {"code": -32601, "message": "no"}}, None
        if method == "initialize":
            opened = uuid4().hex
            self.sessions.add(opened)
            info = {"name": "legacy", "version": "1"}
            said: dict[str, Any] = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
            return 200, {"result": said}, opened
        if session not in self.sessions:
            return 404, {"error": {"code": -32600, "message": "session not found"}}, None
        if "id" not in request:
            return 202, None, None
        if method == "tools/list":
            return 200, {"result": {"tools": [{"name": "pong", "inputSchema": {"type": "object"}}]}}, None
        return 200, {"result": {"content": [{"type": "text", "text": "pong"}]}}, None


@contextmanager
def legacy_server() -> Generator[tuple[LegacyServer, str]]:
    """A server and its address."""
    server = LegacyServer()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield server, f"http://127.0.0.1:{listening.server_address[1]}/mcp"
        listening.shutdown()


def _open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


def _handler(server: LegacyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, said, session = server.answer(request, self.headers.get(SESSION))
            whole = None if said is None else {"jsonrpc": "2.0", "id": request.get("id"), **said}
            # Whoever was cancelled does not wait for it.
            try:
                self._say(status, b"" if whole is None else json.dumps(whole).encode(), session)
            except OSError:
                self.close_connection = True

        def do_GET(self) -> None:
            self._say(405, b"", None)

        def do_DELETE(self) -> None:
            server.sessions.discard(self.headers.get(SESSION, ""))
            self._say(200, b"", None)
            server.left.set()

        def _say(self, status: int, body: bytes, session: str | None) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if session is not None:
                self.send_header(SESSION, session)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any, **__: Any) -> None:
            """Says nothing."""

    return Handler
