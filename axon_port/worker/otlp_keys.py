"""The keys to a telemetry collector, as the standard variables hold them (PROTOCOL.md, OTEL-SECRETS)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_VARIABLE: Final = re.compile(r"OTEL_EXPORTER_OTLP_(?:[A-Z]+_)?(HEADERS|ENDPOINT)")

_NAMING: Final = re.compile(
    r"^accept|content-(encoding|type)|dataset|environment|namespace|org-?id|organi[sz]ation|project|region|stream-name"
    r"|tenant|user-agent",
    re.IGNORECASE,
)
"""Headers whose values are names, which stand in ordinary texts. Any other's is taken for a key: a service calls its
own as it likes."""


def otlp_keys(name: str, value: str) -> list[str]:
    """What is a key in a variable: values of headers, and the password and the parameters of an address."""
    kind = _VARIABLE.fullmatch(name)
    if kind is None:
        return []
    return _in_headers(value) if kind[1] == "HEADERS" else _in_address(value)


def _in_headers(headers: str) -> list[str]:
    found: list[str] = []
    for pair in headers.split(","):
        header, _, value = pair.partition("=")
        if value.strip() and not _NAMING.search(unquote(header.strip())):
            decoded = unquote(value.strip())
            # "Bearer ...": what follows the scheme is the key by itself.
            found += [value.strip(), decoded, *decoded.split(" ", 1)[1:]]
    return found


def _in_address(address: str) -> list[str]:
    try:
        parts = urlsplit(address)
        password = parts.password
    except ValueError:
        return []
    found = [] if password is None else [password, unquote(password)]
    return found + [value for _, value in parse_qsl(parts.query)]
