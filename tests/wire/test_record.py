"""The form of a record: lines that can be read again, without secrets, up to the last whole one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_port.wire import codec
from axon_port.wire.record import Entry, Head, NotARecord, entry_line, head_line, read_record, without_secrets
from tests.properties.profile import UNICODE, bounded, json_values

HEAD = Head("1.2.3", "2026-11-20T14:41:02Z", {"max_inflight": 7})
LINE = entry_line(5, "in", b'{"type": "ping", "id": 1}')
KEY = "sk-0123456789abcdef"


def hidden(command: dict[str, Any]) -> Any:
    return json.loads(without_secrets(codec.encode(command)))


@bounded(100)
@given(json_values(UNICODE, st.floats(allow_nan=False, allow_infinity=False)))
def test_what_was_written_is_read_again(value: Any) -> None:
    """clause: REC-FORM"""
    frame = {"value": value}
    head, entries = read_record([head_line(HEAD), entry_line(17, "out", codec.encode(frame))])
    assert (head, list(entries)) == (HEAD, [Entry(17, "out", frame)])


def test_a_frame_of_several_lines_is_one_line() -> None:
    """clause: REC-FORM"""
    line = entry_line(1, "in", b'{\n  "type": "ping",\r\n  "id": "a\\nb"\n}')
    assert line.count(b"\n") == 1
    _, entries = read_record([head_line(HEAD), line])
    assert next(entries).frame == {"type": "ping", "id": "a\nb"}


def test_a_record_that_was_cut_off_is_read_up_to_its_last_whole_line() -> None:
    """clause: REC-FORM"""
    for cut in range(len(LINE)):
        _, entries = read_record([head_line(HEAD), LINE, LINE[:cut]])
        assert [entry.at for entry in entries] == [5]


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET / HTTP/1.1\n",
        b"[]\n",
        b"{}\n",
        b'{"axon_port_record": 2}\n',
        b'{"axon_port_record":1,"options":[1]}\n',
        b"[" * 99_999,
    ],
)
def test_what_is_no_record_is_refused_at_its_first_line(first: bytes) -> None:
    with pytest.raises(NotARecord, match="line 1 is not the head of a record"):
        read_record([first])


@pytest.mark.parametrize("line", [b"\n", b"[1]\n", b'[1, "up", {}]\n', b'["1", "in", {}]\n', b'[1, "in", []]\n'])
def test_a_line_that_is_no_frame_is_named(line: bytes) -> None:
    _, entries = read_record([head_line(HEAD), LINE, line])
    next(entries)
    with pytest.raises(NotARecord, match="line 3 is no frame of a record"):
        next(entries)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": {"name": "openai:x", "api_key": KEY}},
        {"model": [{"name": "a", "api_key": KEY}, {"name": "b", "api_key": KEY}]},
        {"capabilities": [{"MCP": {"url": "http://x", "authorization_token": KEY}}]},
        {"capabilities": [{"MCP": {"url": "http://x", "headers": {"X-Key": KEY}}}]},
        {"capabilities": [{"MCP": {"command": "x", "env": {"A": KEY, "B": [KEY]}}}]},
        {"model_settings": {"extra_headers": {"Authorization": f"Bearer {KEY}"}}},
        {"model_settings": {"extra_body": {"apiKey": KEY, "X-API-Key": KEY, "x_api_key": KEY}}},
        {"model": {"name": "a", "API_KEY": KEY, "Authorization-Token": [KEY]}},
        {"capabilities": [{"MCP": {"url": "http://x", "Headers": {"X-Key": KEY}, "child_ENV": {"A": KEY}}}]},
        {"capabilities": [{"MCP": {"headers": [["Authorization", f"Bearer {KEY}"]]}}]},
        {"capabilities": [{"MCP": {"headers": [{"name": "X-Key", "value": KEY}]}}]},
        {"capabilities": [{"MCP": {"headers": f"X-Key: {KEY}"}}]},
        {"capabilities": [{"MCP": {"env": [f"TOKEN={KEY}", [[KEY]]]}}]},
        {"capabilities": [{"MCP": {"authorization": {"token": KEY, "more": [{"a": KEY}]}}}]},
        {"capabilities": [{"MCP": {"authorization": [{"properties": {"api_key": KEY}}]}}]},
        {"model_settings": {"extra_headers": [["x", KEY]], "extra_body": {"api_key": {"of": {"a": [KEY]}}}}},
        {"deps": {"properties": {"api_key": KEY, "authorization": {"a": {"b": KEY}}}}},
        {"model": [{"record": "x", "model": {"name": "a", "headers": {"A": KEY}}}]},
        {"capabilities": [{"MCP": {"properties": {"env": {"A": KEY}, "api_key": {"a": KEY}}}}]},
        {"model_settings": {"extra_body": {"parameters": {"properties": {"api_key": {"a": KEY}}}}}},
        {"model": {"script": [{"tool_calls": [{"name": "x", "args": {"api_key": KEY}}]}]}},
        {"result": {"properties": {"api_key": {"type": KEY}}}},
        {"result": {"parameters": {"properties": {"api_key": {"type": KEY}}}}},
        {"tools": [{"name": "x", "parameters": {"default": {"api_key": KEY}}}]},
        {"output_schema": {"properties": [{"api_key": {"a": KEY}}]}},
    ],
)
def test_the_secrets_of_a_command_are_hidden_and_nothing_else(fields: dict[str, Any]) -> None:
    """clause: REC-SECRETS"""
    command = {"type": "create_agent", "id": 1, **fields}
    shown = hidden(command)
    assert KEY not in json.dumps(shown)
    assert "[redacted]" in json.dumps(shown)
    assert shown.keys() == command.keys()


def test_what_is_hidden_keeps_its_shape_and_a_null_stays() -> None:
    """clause: REC-SECRETS"""
    server = {"headers": [["a", 1], {"b": None}], "env": {"c": {"d": True}}, "api_key": None, "authorization": 5}
    hide = "[redacted]"
    assert hidden({"model": server})["model"] == {
        "headers": [[hide, hide], {"b": None}],
        "env": {"c": {"d": hide}},
        "api_key": None,
        "authorization": hide,
    }


def test_a_schema_of_what_is_called_like_a_secret_is_none() -> None:
    """A record of a tool that takes a key can be replayed. clause: REC-SECRETS, REPLAY-COMMAND"""
    parameters = {"type": "object", "properties": {"api_key": {"type": "string"}, "authorization": {"$ref": "#"}}}
    command = {"type": "create_agent", "tools": [{"name": "fetch", "parameters": parameters}]}
    assert hidden(command) == command


@pytest.mark.parametrize("where", ["parameters", "output_schema", "deps_schema"])
def test_of_the_schema_of_a_secret_its_values_are_hidden(where: str) -> None:
    """clause: REC-SECRETS"""
    field = {"type": "string", "anyOf": [{"const": KEY}, {"enum": [KEY, None]}], "default": KEY, "examples": [[KEY]]}
    schema = {"type": "object", "properties": {"x-api-key": field, "authorization": True, "city": {"default": "Riga"}}}
    command = {"tools": [{"parameters": schema}]} if where == "parameters" else {where: schema}
    shown = hidden(command)
    found = (shown["tools"][0] if where == "parameters" else shown)[where]["properties"]
    hide = "[redacted]"
    assert found["x-api-key"] == {
        "type": "string",
        "anyOf": [{"const": hide}, {"enum": [hide, None]}],
        "default": hide,
        "examples": [[hide]],
    }
    assert (found["authorization"], found["city"]) == (True, {"default": "Riga"})


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "tool_result", "result": {"status": 200, "headers": {"a": "b"}}},
        {"type": "run", "deps": {"env": "production"}},
        {"type": "run", "message_history": [{"parts": [{"args": {"env": "x"}, "content": {"headers": [1]}}]}]},
        {"type": "approval", "args": {"env": "x", "headers": {"a": "b"}}},
        {"type": "create_agent", "tools": [{"parameters": {"properties": {"env": {"enum": ["prod"]}}}}]},
        {"type": "create_agent", "deps_schema": {"properties": {"env": {"default": "prod"}}}},
        {"type": "create_agent", "output_schema": {"properties": {"headers": {"type": "object"}}}},
        {"type": "create_agent", "model": {"script": [{"tool_calls": [{"args": {"env": "x"}}]}]}},
    ],
)
def test_headers_and_environments_are_secrets_only_where_a_server_is_given_them(fields: dict[str, Any]) -> None:
    """clause: REC-SECRETS, REPLAY-COMMAND"""
    assert hidden(fields) == fields


def test_a_command_without_secrets_is_recorded_byte_by_byte() -> None:
    payload = b'{"type" : "run","id":1, "prompt":"x" }'
    assert without_secrets(payload) is payload


def test_a_secret_is_hidden_however_its_name_is_escaped() -> None:
    """clause: REC-SECRETS"""
    payload = b'{"type":"create_agent","model":{"api\\u005fkey":"%b"}}' % KEY.encode()
    assert json.loads(without_secrets(payload))["model"] == {"api_key": "[redacted]"}


def test_a_text_is_recorded_as_it_is_read_however_it_was_escaped() -> None:
    """A key that the redactor knows is not found in any other form. clause: REC-SECRETS, SEC-KEYS"""
    payload = b'{"type":"run","id":1,"prompt":"sk\\u002dlive a\\/b"}'
    assert without_secrets(payload) == b'{"type":"run","id":1,"prompt":"sk-live a/b"}'


@pytest.mark.parametrize("name", ["environment", "max_tokens", "headers_of", "key", "authorizations"])
def test_other_fields_are_recorded_as_they_are(name: str) -> None:
    command = {"type": "run", "id": 1, "model": {name: {"a": "b"}, "headers": {"c": "d"}}}
    assert hidden(command)["model"] == {name: {"a": "b"}, "headers": {"c": "[redacted]"}}
