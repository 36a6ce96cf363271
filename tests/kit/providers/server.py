"""The server: a listening socket, a thread for each connection, a queue of plans, and what was asked."""

import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any, Literal, Self, Unpack, get_args

from .answers import Answer, AnswerFields, JsonObject, make_answer
from .anthropic import Anthropic
from .dialect import Dialect, Turn
from .exchange import PATIENCE_S, ClientGone, Closing, Gate, Reply, Request, make_request, read_body
from .faults import (
    Cut,
    Endless,
    Fail,
    Garbage,
    GarbageKind,
    GzipBomb,
    NoFinish,
    Plan,
    Say,
    Scene,
    Stall,
    Trickle,
    Unexpected,
)
from .google import Google
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses

Interface = Literal["openai_chat", "openai_responses", "anthropic", "google"]
INTERFACES: Sequence[Interface] = get_args(Interface)

_DIALECTS: Mapping[Interface, Callable[[], Dialect]] = {
    "openai_chat": OpenAIChat,
    "openai_responses": OpenAIResponses,
    "anthropic": Anthropic,
    "google": Google,
}

_GIB = 1 << 30


class Provider:
    """A loopback service of one interface, as a context manager: it listens as long as its block runs.

    Each call of `say` or of a fault queues what the next request gets, `times` times; `respond` says what
    requests get for which nothing is queued. Whether an answer is streamed is up to the request. Leaving the
    block ends every connection, and raises AssertionError if a request came for which there was no answer, or
    if a thread of the server failed.
    """

    def __init__(self, interface: Interface, *, api_key: str = "sk-loopback-0123456789abcdef") -> None:
        self.interface: Interface = interface
        self.api_key = api_key
        self.requests: list[Request] = []
        self.failures: list[BaseException] = []
        self.unexpected: list[Request] = []
        self._dialect = _DIALECTS[interface]()
        self._plans: deque[Plan] = deque()
        self._otherwise: Callable[[Request], Answer | Plan] | None = None
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._shut = Gate()
        self._gates: list[Gate] = [self._shut]
        self._server = _Server(self)
        self._port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is None:
            self._raise_failures()

    # --- where it is

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        return self._dialect.base_url(self.origin)

    def endpoint(self, model: str) -> dict[str, str]:
        """The protocol's model endpoint: this interface's prefix, its form of the URL, and the key."""
        return {
            "name": f"{self._dialect.prefix}:{model}",
            "base_url": self.base_url,
            "api_key": self.api_key,
        }

    # --- what it answers

    def say(self, *, times: int = 1, **answer: Unpack[AnswerFields]) -> None:
        """An answer: text (whole, or as the chunks of a stream), thinking, tool calls, structured output."""
        self._queue(Say(make_answer(**answer)), times)

    def fail(
        self,
        status: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: JsonObject | str | bytes | None = None,
        message: str = "The loopback service fails on purpose.",
        echo_key: bool = False,
        after: int | None = None,
        times: int = 1,
    ) -> None:
        """An HTTP error with the service's own body, or `body` (text goes out as HTML).

        `echo_key` puts the request's key into the message. `after` reports the error inside a stream,
        behind so many frames.
        """
        self._queue(Fail(status, headers or {}, body, message, echo_key, after, make_answer()), times)

    def cut(
        self,
        *,
        after: int = 1,
        before: Literal["headers"] | None = None,
        how: Literal["reset", "close"] = "reset",
        times: int = 1,
        **answer: Unpack[AnswerFields],
    ) -> None:
        """The connection breaks: before the head, behind `after` frames, or in the middle of a plain body."""
        self._queue(Cut(make_answer(**answer), after, before, how), times)

    def stall(
        self, *, after: int = 1, before: Literal["headers"] | None = None, **answer: Unpack[AnswerFields]
    ) -> None:
        """The answer stops there until `release` or the end of the server; then it goes on or breaks."""
        gate = Gate()
        self._gates.append(gate)
        self._queue(Stall(make_answer(**answer), gate, after, before), 1)

    def trickle(self, *, interval: float = 0.001, **answer: Unpack[AnswerFields]) -> None:
        """The right answer, a byte at a time with so many seconds in between."""
        self._queue(Trickle(make_answer(**answer), interval), 1)

    def no_finish(self, *, after: int | None = None, keep_reason: bool = False, **answer: Unpack[AnswerFields]) -> None:
        """The answer ends cleanly without its finish reason, or with it but without the closing mark."""
        self._queue(NoFinish(make_answer(**answer), after, keep_reason), 1)

    def garbage(self, kind: GarbageKind, *, after: int = 0, **answer: Unpack[AnswerFields]) -> None:
        """Status 200 and no answer; in a stream, behind `after` frames of one."""
        self._queue(Garbage(kind, after, make_answer(**answer)), 1)

    def gzip_bomb(self, size: int, **answer: Unpack[AnswerFields]) -> None:
        """A valid answer that grows to `size` bytes when it is unpacked."""
        self._queue(GzipBomb(make_answer(**answer), size), 1)

    def endless(self, limit: int = _GIB) -> None:
        """An answer that goes on and on; `limit` keeps a client that has none from eating the machine."""
        self._queue(Endless(make_answer(), limit), 1)

    def respond(self, answer: Callable[[Request], Answer | Plan]) -> None:
        """What requests get for which nothing is queued, an answer or a fault: for runs that overtake each other."""
        self._otherwise = answer

    def release(self) -> None:
        """Lets everything go on that is stalled, or queued to be."""
        for gate in self._gates:
            if gate is not self._shut:
                gate.open()

    # --- what it was asked

    @property
    def bodies(self) -> list[JsonObject]:
        return [request.json for request in self.requests]

    def wait_for_request(self, number: int = 0, timeout: float = PATIENCE_S) -> Request:
        """The request with this number, counted from 0, as soon as it is here."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) > number, timeout):
                raise AssertionError(f"request {number} did not come within {timeout:g} s")
            return self.requests[number]

    def assert_drained(self) -> None:
        """Raises AssertionError where an answer is left that nobody asked for."""
        if self._plans:
            raise AssertionError(f"{len(self._plans)} answers were not asked for: {list(self._plans)}")

    # --- the end

    def close(self) -> None:
        """Breaks every connection and returns once their threads have ended. A second call does nothing."""
        for gate in self._gates:
            gate.open(closing=True)
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(PATIENCE_S)
        self._server.server_close()
        with self._changed:
            _shut_down(self._connections)
            if not self._changed.wait_for(lambda: not self._connections, PATIENCE_S):
                raise AssertionError(f"{len(self._connections)} connections did not end")
        for gate in self._gates:
            gate.dispose()
        self._gates.clear()

    def _raise_failures(self) -> None:
        if self.failures:
            raise AssertionError("the loopback server failed") from self.failures[0]
        if self.unexpected:
            asked = [(request.number, request.path) for request in self.unexpected]
            raise AssertionError(f"requests for which nothing was queued: {asked}")

    # --- how a request is served

    def _queue(self, plan: Plan, times: int) -> None:
        with self._changed:
            self._plans.extend([plan] * times)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answers one request; called by the handler on its connection's thread."""
        body = read_body(handler)
        with self._changed:
            # In one step, so that the order of the answers is the order of the record.
            request = make_request(handler, body, len(self.requests))
            self.requests.append(request)
            plan = self._plan_for(request)
            self._changed.notify_all()
        try:
            plan.play(self._scene(plan, request, handler))
        except ClientGone:
            request.disconnected.set()
            handler.close_connection = True
        except Closing:
            handler.close_connection = True
        finally:
            request.finished.set()

    def _plan_for(self, request: Request) -> Plan:
        if not self._dialect.accepts(request):
            return Fail(404, message=f"no such path: {request.path}")
        if self._plans:
            return self._plans.popleft()
        if self._otherwise is not None:
            planned = self._otherwise(request)
            return Say(planned) if isinstance(planned, Answer) else planned
        self.unexpected.append(request)
        return Unexpected()

    def _scene(self, plan: Plan, request: Request, handler: BaseHTTPRequestHandler) -> Scene:
        answer = plan.answer.for_tools(self._dialect.tool_names(request))
        turn = Turn(answer, request, self._dialect.model(request))
        streamed = self._dialect.wants_stream(request)
        return Scene(self._dialect, turn, Reply(handler, request), streamed, self._shut)

    def connection_begins(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.add(connection)

    def connection_is_over(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def connection_failed(self, error: BaseException | None) -> None:
        """A client that leaves between two requests is no failure; everything else is one of this kit."""
        if error is not None and not isinstance(error, ConnectionError):
            self.failures.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        _owner(self).serve(self)

    def do_GET(self) -> None:
        _owner(self).serve(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it)
        """Says nothing: what was asked is in `Provider.requests`."""


def _owner(handler: BaseHTTPRequestHandler) -> Provider:
    assert isinstance(handler.server, _Server)
    return handler.server.owner


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024
    """Load tests open hundreds of connections at once; the default of 5 would drop some."""

    def __init__(self, owner: Provider) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.owner.connection_begins(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.owner.connection_is_over(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.owner.connection_failed(sys.exc_info()[1])


def _shut_down(connections: Iterable[socket.socket]) -> None:
    for connection in connections:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The peer was faster: there is nothing left to shut.
            continue
