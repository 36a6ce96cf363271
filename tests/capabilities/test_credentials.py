"""Tokens, headers and passwords in the arguments of MCP servers: refused unheard, found for the redactor, not told."""

from typing import Any

import pytest

from axon_port.agents.allow import Allowed
from axon_port.agents.capabilities import build_capabilities, secrets_of
from axon_port.wire.errors import WireError
from tests.kit import Worker, succeeded

HTTP = "http://127.0.0.1:9/mcp"
ALLOWED = Allowed(capabilities=frozenset({"MCP", "MCP:stdio", "PrefixTools"}))
SECRET = "supersecret"


def refusal(arguments: Any) -> str:
    """Why an MCP server with these arguments is refused."""
    with pytest.raises(WireError) as caught:
        build_capabilities([{"MCP": arguments}], ALLOWED)
    assert caught.value.error_type == "InvalidAgent"
    return caught.value.message


@pytest.mark.parametrize("end", ["\n", "\r", " ", "\x00", "\x7f", "é", "€"], ids=repr)
@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("authorization_token", "authorization_token"),
        ("headers", "headers.X-Key"),
        ("url", "url"),
        ("native", "native"),
    ],
)
def test_what_no_header_can_carry_is_refused_and_not_repeated(field: str, place: str, end: str) -> None:
    """clause: CAP-SECRETS"""
    value = f"{SECRET}{end}"
    arguments: dict[str, Any] = {
        "authorization_token": {"url": HTTP, "authorization_token": value},
        "headers": {"url": HTTP, "headers": {"X-Key": value}},
        "url": {"url": f"http://user:{value}@127.0.0.1:9/mcp"},
        "native": {"url": HTTP, "native": {"url": HTTP, "authorization_token": value}},
    }[field]
    message = refusal(arguments)
    assert SECRET not in message
    assert repr(place if place != "native" else "authorization_token") in message


@pytest.mark.parametrize("value", ["Bearer abc", "a\tb", "!", ""], ids=repr)
def test_what_a_header_can_carry_is_taken(value: str) -> None:
    """clause: CAP-SECRETS"""
    build_capabilities([{"MCP": {"url": HTTP, "authorization_token": value, "headers": {"A": value}}}], ALLOWED)


@pytest.mark.parametrize("address", ["ftp://user:supersecret@host/x", "ssh://supersecret@host"])
def test_an_address_that_is_of_no_use_is_told_without_its_user(address: str) -> None:
    """clause: CAP-SECRETS"""
    message = refusal({"url": HTTP, "local": address})
    assert SECRET not in message
    assert "host" in message


FOUND: list[tuple[Any, list[str]]] = [
    ("MCP", []),
    ({"MCP": HTTP}, []),
    ({"Thinking": {"authorization_token": SECRET}}, []),
    ({"MCP": {"url": HTTP, "authorization_token": f"Bearer {SECRET}"}}, [f"Bearer {SECRET}", SECRET]),
    ({"MCP": {"url": HTTP, "authorization_token": SECRET}}, [SECRET]),
    ({"MCP": {"url": HTTP, "headers": {"X-Key": SECRET, "X-Env": "production", "N": 5}}}, [SECRET]),
    ({"MCP": {"url": "http://me:super%2Fsecret@h/"}}, ["super%2Fsecret", "super/secret"]),
    ({"MCP": "http://supersecret@h"}, [SECRET]),
    ({"MCP": ["http://supersecret@h"]}, [SECRET]),
    ({"MCP": {"url": HTTP, "local": "http://a:b@h"}}, ["b"]),
    ({"MCP": {"url": HTTP, "native": {"url": HTTP, "headers": {"api-key": SECRET}}}}, [SECRET]),
    ({"name": "MCP", "arguments": {"url": HTTP, "headers": {"k": SECRET, "Cookie": SECRET}}}, [SECRET]),
    ({"PrefixTools": {"prefix": "p", "capability": {"MCP": {"url": "http://a:b@h"}}}}, ["b"]),
    ({"MCP": {"url": 5, "headers": [SECRET], "authorization_token": None}}, []),
    ({"MCP": {"url": "http://[", "headers": {"k": ""}}}, []),
]


@pytest.mark.parametrize(("spec", "secrets"), FOUND, ids=repr)
def test_what_must_appear_nowhere_is_found(spec: Any, secrets: list[str]) -> None:
    """clause: CAP-SECRETS"""
    assert sorted(secrets_of([spec])) == sorted(secrets)


def test_a_token_for_a_server_is_kept_out_of_texts() -> None:
    """clause: CAP-SECRETS, SEC-KEYS"""
    with Worker("--allow-capability", "MCP") as worker:
        headers = {"X-Api-Key": "another secret", "X-Env": "production"}
        spec = {"MCP": {"url": HTTP, "authorization_token": f"Bearer {SECRET}", "headers": headers}}
        worker.agent([], capabilities=[spec])
        telling = worker.agent([{"text": f"{SECRET}, another secret, production"}])
        assert succeeded(worker.run(telling))["result"] == "[redacted], [redacted], production"
