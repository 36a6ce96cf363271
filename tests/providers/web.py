"""Public addresses without a network: a proxy on a loopback address that answers for them."""

import http.server
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]

HOST = "1.1.1.1"
"""A public address as far as anybody can tell; the proxy answers in its place."""

MEBIBYTE = bytes(1024 * 1024)


class Web:
    """What is at each path of the host, as a context manager. A path may be answered anew each time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, list[Answer]] = {}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str | None]:
        """For a worker that fetches from here."""
        others = ("HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
        return {"http_proxy": f"http://127.0.0.1:{self._server.server_port}", **dict.fromkeys(others)}

    def put(self, path: str, *answers: Answer) -> str:
        """The address at which these answers are given, the last of them from then on."""
        url = f"http://{HOST}/{path}"
        self.answers[url] = list(answers)
        return url

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                waiting = web.answers[self.path]
                (waiting.pop(0) if len(waiting) > 1 else waiting[0])(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it)
                """Says nothing."""

        return Handler


def file(data: bytes, media_type: str = "image/png") -> Answer:
    """Something that is there."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", media_type)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def status(code: int, location: str | None = None) -> Answer:
    """Nothing but a status."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        if location is not None:
            handler.send_header("location", location)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


def hang_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    """A connection that breaks."""
    handler.close_connection = True


def too_much(handler: http.server.BaseHTTPRequestHandler) -> None:
    """More than is taken."""
    handler.send_response(200)
    handler.send_header("content-type", "image/png")
    handler.end_headers()
    try:
        for _ in range(60):
            handler.wfile.write(MEBIBYTE)
    except OSError:
        # The worker has had enough.
        handler.close_connection = True


def silence(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Nothing for longer than a test takes, or until nobody waits."""
    handler.connection.settimeout(0.05)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if not handler.connection.recv(1):
                break
        except TimeoutError:
            continue
    handler.close_connection = True
