"""The HTTP client under every provider: time-outs, redirects, and bounds on what an answer may grow to.

Knows no provider and no key.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from ipaddress import ip_address
from typing import Final, cast
from urllib.parse import urlsplit

import httpx2
from pydantic_ai.models import get_user_agent
from typing_extensions import override

CONNECT_TIMEOUT_S: Final = 5.0
"""Seconds for a connection, also where an SDK asks for more: a host that cannot be reached must not look like
a slow model."""

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Bytes of one answer after decompression, or of one event of a streamed answer. Bounds what a broken or
hostile server can make the worker hold; answers of models, images included, stay well below it."""

MAX_STREAM_BYTES: Final = 128 * 1024 * 1024
"""Bytes of a whole streamed answer: each token comes in some hundred bytes of event, and models write a
hundred thousand tokens. Ends a stream that never would."""

MAX_CONNECTIONS: Final = 1000
"""Connections at once to one provider: the SDKs' own limit. Runs beyond it wait for a free one."""

MAX_IDLE_CONNECTIONS: Final = 100
"""Connections kept open for the next request."""

_INFLATE_STEP: Final = 64 * 1024
"""Bytes inflated at a time, so that a small body cannot become a large one before it is counted."""

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def new_http_client(tls: ssl.SSLContext, base_url: str | None, read_timeout: float) -> httpx2.AsyncClient:
    """An HTTP client for one provider, to be closed by the caller on the event loop that used it.

    It follows no redirect: only `Authorization` would be dropped on the way to another host, not the other
    headers that carry keys. Proxies come from the environment, except to a loopback address.
    """
    return httpx2.AsyncClient(
        verify=tls,
        follow_redirects=False,
        trust_env=not _is_loopback(base_url),
        timeout=httpx2.Timeout(read_timeout, connect=CONNECT_TIMEOUT_S),
        limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS),
        headers={"User-Agent": get_user_agent(), "Accept-Encoding": "gzip"},
        event_hooks={"request": [_cap_connect_timeout], "response": [_bound_answer]},
    )


def _is_loopback(base_url: str | None) -> bool:
    host = urlsplit(base_url).hostname if base_url is not None else None
    if host is None:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _cap_connect_timeout(request: httpx2.Request) -> None:
    """Keep a time-out that an SDK gives as one number from applying to the connection too."""
    timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
    wanted = timeouts.get("connect")
    capped = CONNECT_TIMEOUT_S if wanted is None else min(wanted, CONNECT_TIMEOUT_S)
    request.extensions = {**request.extensions, "timeout": {**timeouts, "connect": capped}}


async def _bound_answer(response: httpx2.Response) -> None:
    """Put a bound on what a body may grow to, and inflate it here, where it is counted."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise httpx2.RemoteProtocolError(
            "the answer comes in an encoding that was not asked for", request=response.request
        )
    compressed = encoding != "identity"
    if compressed:
        del response.headers["content-encoding"]
        response.headers.pop("content-length", None)
    body = cast(httpx2.AsyncByteStream, response.stream)
    events = response.headers.get("content-type", "").startswith("text/event-stream")
    response.stream = _BoundedBody(body, response.request, compressed=compressed, events=events)


class _BoundedBody(httpx2.AsyncByteStream):
    """A body of at most `MAX_ANSWER_BYTES`; of events, so many each and `MAX_STREAM_BYTES` in all.

    Raises `httpx2.RemoteProtocolError` for a longer one, and for a compressed one that is damaged or ends
    early.
    """

    def __init__(
        self, body: httpx2.AsyncByteStream, request: httpx2.Request, *, compressed: bool, events: bool
    ) -> None:
        self._body = body
        self._request = request
        self._inflate = _Inflate() if compressed else None
        self._events = events
        self._received = 0
        self._total = 0
        self._held = 0
        self._tail = b""

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                self._count(piece)
                yield piece

    @override
    async def aclose(self) -> None:
        await self._body.aclose()

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        inflate = self._inflate
        async for data in self._body:
            if inflate is None:
                yield data
                continue
            # Members that are empty inflate to nothing, and go on for ever.
            self._received += len(data)
            if self._received > MAX_STREAM_BYTES:
                raise self._broken(f"the compressed answer is longer than {MAX_STREAM_BYTES} bytes")
            try:
                for piece in inflate.feed(data):
                    yield piece
            except zlib.error as error:
                raise self._broken("the answer is not the gzip it says it is") from error
        if inflate is not None and inflate.unfinished:
            raise self._broken("the answer ended before its end")

    def _count(self, piece: bytes) -> None:
        self._total += len(piece)
        self._held += len(piece)
        if self._events:
            joined = self._tail + piece
            end = max(joined.rfind(mark) for mark in (b"\n\n", b"\n\r\n", b"\r\r"))
            if end >= 0:
                self._held = len(joined) - end
            self._tail = joined[-2:]
        if self._held > MAX_ANSWER_BYTES:
            raise self._broken(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        if self._total > MAX_STREAM_BYTES:
            raise self._broken(f"the streamed answer is longer than {MAX_STREAM_BYTES} bytes")

    def _broken(self, text: str) -> httpx2.RemoteProtocolError:
        return httpx2.RemoteProtocolError(text, request=self._request)


class _Inflate:
    """gzip, one member after the other, in pieces of a bounded size."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._begun = False

    @property
    def unfinished(self) -> bool:
        """Whether the data so far end inside a member."""
        return self._begun and not self._member.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The inflated pieces of more data. Raises `zlib.error` for what is no gzip."""
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_WINDOW)
            self._begun = True
            piece = self._member.decompress(data, _INFLATE_STEP)
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece
