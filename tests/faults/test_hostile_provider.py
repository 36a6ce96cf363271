"""Faults of providers: no address, no certificate, bytes that are too slow, bodies without a measure.

The provider is raw bytes on a loopback socket; memory is read from /proc, with generous factors.
"""

import contextlib
import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from tests.contract.scenarios import says
from tests.kit import Frame, Worker, failed, in_time, succeeded
from tests.kit.processes import forget_peak, resident_bytes
from tests.kit.providers import INTERFACES, Interface, Provider

MIB = 1 << 20
BLOCK = b" " * MIB
OPEN = b"HTTP/1.1 200 OK\r\nconnection: close\r\n"
JSON = OPEN + b"content-type: application/json\r\n"
EVENTS = OPEN + b"content-type: text/event-stream\r\n"
BOMB = gzip.compress(BLOCK * 100)
EMPTY_MEMBERS = gzip.compress(b"") * 3000

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUFgPB+jcxVtqy7etA9lW5iEpN6MgwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMDE1NDQyNFoYDzIxMjYxMDI3
MTU0NDI0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQFZvQRSewEHbLv7n7lQwc77yz/WEBd2bwmPnoLkOxeUxZfN5RKp7KN
232vu0AmYTUmmx7C3XtCuRHmuoTaik06o1MwUTAdBgNVHQ4EFgQULakuXn7gNb3E
RQ2gs95VQpNGCUowHwYDVR0jBBgwFoAULakuXn7gNb3ERQ2gs95VQpNGCUowDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAsXVPs4Pm7yHFak+Qb5Bz
XSbwPYdSnX4f+8YbZ+LTc0gCIQDkqi83fEhJ+9lreHDPZ7p9AMh94TzmRh0drwyX
wl16VA==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZCcrUwmLjmeu2e3f
Mta5PJcSaQlU3dfDqVGzIXswCLWhRANCAAQFZvQRSewEHbLv7n7lQwc77yz/WEBd
2bwmPnoLkOxeUxZfN5RKp7KN232vu0AmYTUmmx7C3XtCuRHmuoTaik06
-----END PRIVATE KEY-----
"""
"""Signed by itself, for nobody: no client may take it."""


class RawServer:
    """Reads a request on each connection, then plays: what a service should never do, byte by byte."""

    def __init__(
        self,
        play: Callable[[socket.socket], None],
        tls: ssl.SSLContext | None = None,
        *,
        greeting: bytes | None = None,
    ) -> None:
        """With a `greeting` it says that to whatever comes, and hangs up."""
        self._play = play
        self._tls = tls
        self._greeting = greeting
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def endpoint(self, scheme: str = "http") -> dict[str, str]:
        """A model at this server."""
        port = self._listening.getsockname()[1]
        return {"name": "m", "base_url": f"{scheme}://localhost:{port}/v1", "api_key": "sk-of-a-raw-server-0001"}

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            # It ends by our shutdown or by the worker's, in whatever the play was doing.
            with contextlib.suppress(OSError), connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if self._greeting is not None:
            connection.recv(65536)
            connection.sendall(self._greeting)
            return
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
        _read_request(connection)
        self._play(connection)


def _read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)


def next_run_works(worker: Worker) -> None:
    """The worker is as it was."""
    assert succeeded(worker.run(worker.agent([says("next")])))["result"] == "next"


# ---------------------------------------------------------------- no connection


def test_a_name_that_no_one_has_is_a_connection_error() -> None:
    """fault: G57"""
    with Worker(env={"RES_OPTIONS": "timeout:1 attempts:1"}) as worker:
        agent = worker.agent(model={"name": "m", "base_url": "http://nobody.invalid/v1"})
        for kind in ("run", "stream"):
            assert failed(worker.ask(kind, agent_id=agent, prompt="go"), "ModelConnectionError")["retryable"] is True
        next_run_works(worker)


GREETINGS = {"no TLS": b"HTTP/1.1 400 Bad Request\r\n\r\n", "closed in the handshake": b""}


@pytest.mark.parametrize("broken", ["a certificate of nobody", *GREETINGS])
def test_a_bad_end_of_tls_is_a_connection_error(worker: Worker, broken: str, tmp_path: Path) -> None:
    """fault: G57"""
    tls = None
    if broken not in GREETINGS:
        (tmp_path / "certificate.pem").write_text(KEY + CERTIFICATE)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(tmp_path / "certificate.pem")
    with RawServer(_say_nothing, tls, greeting=GREETINGS.get(broken)) as server:
        agent = worker.agent(model=server.endpoint("https"))
        for kind in ("run", "stream"):
            failed(worker.ask(kind, agent_id=agent, prompt="go"), "ModelConnectionError")
    next_run_works(worker)


def _say_nothing(connection: socket.socket) -> None:
    connection.close()


@pytest.mark.parametrize("kind", ["run", "stream"])
@pytest.mark.parametrize("interface", INTERFACES)
def test_bytes_that_come_too_seldom_are_a_silence(worker: Worker, interface: Interface, kind: str) -> None:
    """clause: MODEL-IDLE
    fault: G57
    """
    with Provider(interface) as provider:
        provider.trickle(interval=3600.0, text="hi")
        agent = worker.agent(model=provider.endpoint("m"), model_settings={"max_tokens": 1000}, idle_timeout_ms=500)
        assert failed(worker.ask(kind, agent_id=agent, prompt="go"), "ModelTimeout")["retryable"] is True
        provider.wait_for_request().wait_disconnected()


# ---------------------------------------------------------------- answers that are none


@pytest.mark.parametrize("kind", ["run", "stream"])
@pytest.mark.parametrize("interface", INTERFACES)
def test_an_answer_without_any_choice_is_no_answer(worker: Worker, interface: Interface, kind: str) -> None:
    """Some services' empty answers are asked for again, at the cost of the output's budget.

    clause: MODEL-FINISH
    fault: G59
    """
    with Provider(interface) as provider:
        for _ in range(3):
            provider.garbage("no_choices")
        agent = worker.agent(model=provider.endpoint("m"), model_settings={"max_tokens": 1000})
        answer = worker.ask(kind, agent_id=agent, prompt="go")
        assert answer["type"] == "error"
        assert answer["error_type"] in {"ModelConnectionError", "UnexpectedModelBehavior", "ValidationError"}, answer


# ---------------------------------------------------------------- answers without a measure


def _hundred_mebibytes(head: bytes, before: bytes = b"") -> Callable[[socket.socket], None]:
    def play(connection: socket.socket) -> None:
        connection.sendall(head + b"\r\n" + before)
        for _ in range(100):
            connection.sendall(BLOCK)

    return play


def _bomb(head: bytes) -> Callable[[socket.socket], None]:
    def play(connection: socket.socket) -> None:
        connection.sendall(head + b"content-encoding: gzip\r\n\r\n" + BOMB)

    return play


def _endless_head(connection: socket.socket) -> None:
    connection.sendall(OPEN)
    while True:
        connection.sendall(b"x-header: " + b"x" * 1000 + b"\r\n")


ENDLESS: dict[str, Callable[[socket.socket], None]] = {
    "a body": _hundred_mebibytes(JSON),
    "a text of JSON": _hundred_mebibytes(JSON, b'{"choices": "'),
    "an event": _hundred_mebibytes(EVENTS, b"data: "),
    "an error": _hundred_mebibytes(b"HTTP/1.1 500 No\r\nconnection: close\r\ncontent-type: text/html\r\n"),
    "a bomb": _bomb(JSON),
    "a bomb of events": _bomb(EVENTS),
    "a bomb in an error": _bomb(b"HTTP/1.1 500 No\r\nconnection: close\r\ncontent-type: application/json\r\n"),
    "a head": _endless_head,
}


@pytest.mark.parametrize("kind", ["run", "stream"])
@pytest.mark.parametrize("what", ENDLESS)
def test_an_answer_of_a_hundred_megabytes_is_given_up_and_takes_no_memory(worker: Worker, what: str, kind: str) -> None:
    """Twice what an answer may have, and what it takes to read it, is still less than the answer.

    clause: MODEL-BOUNDS
    fault: G60
    """
    next_run_works(worker)
    with RawServer(ENDLESS[what]) as server:
        agent = worker.agent(model=server.endpoint())
        before = resident_bytes(worker.pid)
        forget_peak(worker.pid)
        answer = worker.ask(kind, agent_id=agent, prompt="go")
        assert failed(answer, "ModelConnectionError")["retryable"] is True
        assert len(json.dumps(answer)) < 20_000
        assert resident_bytes(worker.pid, peak=True) - before < 96 * MIB
    next_run_works(worker)


@pytest.mark.parametrize("kind", ["run", "stream"])
def test_an_answer_that_goes_on_without_saying_anything_ends_with_its_run(worker: Worker, kind: str) -> None:
    """A mebibyte of it takes seconds to read, so that the limit of the run comes first.

    clause: RUN-TIMEOUT
    fault: G60
    """

    begun = threading.Event()

    def play(connection: socket.socket) -> None:
        connection.sendall(EVENTS + b"content-encoding: gzip\r\n\r\n")
        while True:
            connection.sendall(EMPTY_MEMBERS)
            begun.set()

    def attempt(limit: int) -> Frame | None:
        run = worker.submit(kind, agent_id=agent, prompt="go", timeout_ms=limit)
        succeeded(worker.ask("ping"))
        end = worker.terminal(run)
        return end if begun.is_set() else None

    with RawServer(play) as server:
        agent = worker.agent(model=server.endpoint())
        before = resident_bytes(worker.pid)
        forget_peak(worker.pid)
        failed(in_time(attempt, (500, 5_000)), "Timeout")
        assert resident_bytes(worker.pid, peak=True) - before < 64 * MIB
    next_run_works(worker)
