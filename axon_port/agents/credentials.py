"""What opens an MCP server, among its arguments, and how it stays out of what is told (PROTOCOL.md, CAP-SECRETS)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast
from urllib.parse import unquote

from axon_port.wire.errors import WireError

_URLS: Final = ("url", "local", "native")

_SENDABLE: Final = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?|")
"""What a header can carry. Of anything else the HTTP client would say what it was: a line break at the end is what a
token out of a file has."""

_USERINFO: Final = re.compile(r"(?<=//)[^/?#]*@")

_IN_TEXT: Final = re.compile(r"(?<=//)[^/?#\s]*@")

_SECRET_HEADER: Final = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
"""Names of headers whose values open something. What the others have are words that may stand in any text."""


def check_credentials(arguments: Any) -> None:
    """Raises `WireError` `InvalidAgent` for what could not be sent, and does not say what it was."""
    for field, value in _credentials(arguments):
        if isinstance(value, str) and _SENDABLE.fullmatch(value) is None:
            message = f"capability MCP: {field!r}: only printable ASCII is expected, and no space at either end"
            raise WireError("InvalidAgent", message)


def secrets_in(arguments: Any) -> Iterator[str]:
    """What must appear nowhere of the arguments of one server. Never empty."""
    for field, value in _credentials(arguments):
        if isinstance(value, str) and _is_secret(field):
            forms = {value, unquote(value)} if field == "url" else {value, value.rpartition(" ")[2]}
            yield from sorted(forms - {""})


def _is_secret(field: str) -> bool:
    name = field.removeprefix("headers.")
    return name == field or _SECRET_HEADER.search(name) is not None


def without_userinfo(text: str) -> str:
    """A text whose URLs name nobody, and nobody's password."""
    return _IN_TEXT.sub("", text)


def _credentials(arguments: Any) -> Iterator[tuple[str, Any]]:
    """Where they stand and what they are, for all servers that the arguments name."""
    if isinstance(arguments, str):
        yield from (("url", part) for part in _userinfo(arguments))
    elif isinstance(arguments, list):
        for value in cast("list[Any]", arguments):
            yield from _credentials(value)
    elif isinstance(arguments, dict):
        fields = cast("dict[str, Any]", arguments)
        yield "authorization_token", fields.get("authorization_token")
        headers = fields.get("headers")
        if isinstance(headers, dict):
            yield from ((f"headers.{name[:64]}", value) for name, value in cast("dict[str, Any]", headers).items())
        for field in _URLS:
            yield from _credentials(fields.get(field))


def _userinfo(url: str) -> Iterator[str]:
    # Not by `urlsplit`, which leaves out the very line breaks that are looked for.
    found = _USERINFO.search(url)
    if found is not None:
        # A token may stand where a user does; beside a password the user is a word.
        user, _, password = found[0].removesuffix("@").partition(":")
        yield password or user
