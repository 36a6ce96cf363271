"""Answers that are kept and given again: a suite that was run once needs no service (PROTOCOL.md, RECORDING-*)."""

from __future__ import annotations

import json
import resource
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic_ai.messages import ModelResponse, TextPart

from axon_port.agents.allow import Allowed
from axon_port.agents.recordings import Answer, Recordings
from tests.kit import Frame, Worker, failed, succeeded, texts
from tests.kit.messages import tool_returns
from tests.kit.providers import Interface, Provider

from .scenes import FEW_TOKENS, KINDS, LOOKUP, Kind, chunks_of, endpoint, lookup_calls

KEY = "sk-in-the-answer-0123456789abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the worker may keep recordings."""
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def keeping(folder: Path) -> Iterator[Worker]:
    """A worker that may."""
    with Worker("--allow-recordings", str(folder), env={"SOME_API_KEY": KEY}) as worker:
        yield worker


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A file for each test."""
    return f"{zlib.crc32(request.node.nodeid.encode())}.jsonl"


def agent(worker: Worker, model: Any, **fields: Any) -> str:
    return worker.agent(None, model=model, model_settings=FEW_TOKENS, **fields)


def conversation(worker: Worker, kind: Kind, agent_id: str, prompt: str = "Where is it?") -> list[Frame]:
    """All frames of a run with one tool call."""
    run = worker.submit(kind, agent_id=agent_id, prompt=prompt)
    worker.answer(worker.wait_for("tool_call", of=run), result="Oslo")
    return worker.collect(run)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_given_again_without_the_service(
    keeping: Worker, folder: Path, interface: Interface, name: str, kind: Kind
) -> None:
    """clause: RECORDING-KEEP, RECORDING-REPLAY"""
    with Provider(interface) as server:
        server.say(tool_calls=lookup_calls("17"))
        server.say(chunks=["It is ", "in ", "Oslo."])
        recorder = agent(keeping, {"record": name, "model": endpoint(server)}, tools=[LOOKUP])
        first = conversation(keeping, kind, recorder)
        server.assert_drained()
    assert len((folder / name).read_text().splitlines()) == 2
    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    again = conversation(keeping, kind, agent(keeping, {"replay": name}, tools=[LOOKUP]))
    assert succeeded(again[-1])["result"] == succeeded(first[-1])["result"] == "It is in Oslo."
    assert again[-1]["usage"] == first[-1]["usage"]
    assert tool_returns(again[-1]["messages"]) == tool_returns(first[-1]["messages"])
    if kind == "stream":
        assert chunks_of(again) == chunks_of(first) != []


def test_an_answer_that_was_not_streamed_comes_in_one_chunk_where_it_is_now(
    keeping: Worker, server: Provider, name: str
) -> None:
    """clause: RECORDING-REPLAY, STREAM-TEXT"""
    server.say(text="It is in Oslo.")
    succeeded(keeping.run(agent(keeping, {"record": name, "model": endpoint(server)}), "Where is it?"))
    stream = keeping.start_stream(agent(keeping, {"replay": name}), "Where is it?")
    assert texts(keeping.collect(stream)) == ["It is in Oslo."]


def test_equal_requests_get_their_answers_in_turn_and_then_the_last(
    keeping: Worker, server: Provider, name: str
) -> None:
    """clause: RECORDING-REPLAY"""
    server.say(text="one")
    server.say(text="two")
    recorder = agent(keeping, {"record": name, "model": endpoint(server)})
    for word in ("one", "two"):
        assert succeeded(keeping.run(recorder))["result"] == word
    replay = agent(keeping, {"replay": name})
    assert [succeeded(keeping.run(replay))["result"] for _ in range(4)] == ["one", "two", "two", "two"]


@pytest.mark.parametrize(
    "changed", [{"prompt": "another"}, {"instructions": "Be brief."}, {"model_settings": {"temperature": 0.5}}]
)
def test_a_request_that_was_not_recorded_has_no_answer(
    keeping: Worker, server: Provider, name: str, changed: dict[str, Any]
) -> None:
    """clause: RECORDING-MISSING, RECORDING-REPLAY"""
    server.say(text="one")
    succeeded(keeping.run(agent(keeping, {"record": name, "model": endpoint(server)})))
    error = failed(keeping.run(agent(keeping, {"replay": name}), **changed), "UnexpectedModelBehavior")
    assert "record it again" in error["message"]


def test_a_failed_attempt_and_a_half_answer_are_not_kept(
    keeping: Worker, server: Provider, folder: Path, name: str
) -> None:
    """clause: RECORDING-KEEP"""
    server.fail(503)
    server.no_finish(text="half an answer")
    server.say(text="whole")
    model = {"record": name, "model": endpoint(server)}
    recorder = agent(keeping, model, retry={"attempts": 3, "base_ms": 0})
    assert succeeded(keeping.run(recorder))["result"] == "whole"
    assert len((folder / name).read_text().splitlines()) == 1


def test_a_recording_holds_no_prompt_no_address_and_no_key(
    keeping: Worker, server: Provider, folder: Path, name: str
) -> None:
    """clause: RECORDING-SECRETS, SEC-KEYS"""
    server.say(text=f"your keys are {KEY} and {server.api_key}")
    succeeded(keeping.run(agent(keeping, {"record": name, "model": endpoint(server)}), "a private question"))
    text = (folder / name).read_text()
    for secret in (KEY, server.api_key, "a private question", server.origin):
        assert secret not in text
    assert "your keys are [redacted] and [redacted]" in text


def test_a_full_disk_ends_the_recording_and_not_the_run(server: Provider) -> None:
    """clause: RECORDING-FAILS"""
    with Worker("--allow-recordings", "/dev") as worker:
        model = {"record": "full", "model": endpoint(server)}
        recorder = agent(worker, model, retry={"attempts": 3, "base_ms": 0})
        for word in ("one", "two"):
            server.say(text=word)
            assert succeeded(worker.run(recorder))["result"] == word
        log = worker.wait_for_log(lambda log: log["level"] == "error")
        assert log["message"] == "recording full cannot be written: it ends here"
    assert len(server.requests) == 2


def test_a_recording_that_ends_has_no_half_line_and_is_added_to_when_it_is_named_again(tmp_path: Path) -> None:
    """clause: RECORDING-FAILS"""
    recordings = Recordings(Allowed(recordings=tmp_path), lambda value: value)
    file = tmp_path / "a.jsonl"

    def add(text: str) -> None:
        anyio.run(recording.add, text, Answer("m", ModelResponse([TextPart(text)])))

    recording = recordings.open("a.jsonl")
    add("one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, hard))
    try:
        add("two")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    add("three")
    recording = recordings.open("a.jsonl")
    add("four")
    answers = recordings.read("a.jsonl")
    assert [text for text in ("one", "two", "three", "four") if answers.next(text)] == ["one", "four"]


@pytest.mark.parametrize("form", ["record", "replay"])
@pytest.mark.parametrize("path", ["../elsewhere", "/etc/hostname", "a/../../b", ".", "link", "nul\0byte", ""])
def test_no_name_leads_out_of_the_folder(keeping: Worker, folder: Path, form: str, path: str) -> None:
    """clause: RECORDING-ALLOWED. fault: H61"""
    link = folder / "link"
    if not link.is_symlink():
        link.symlink_to("/etc/hostname")
    model = {"record": path, "model": "test"} if form == "record" else {"replay": path}
    answer = keeping.ask("create_agent", agent_id="out", model=model)
    failed(answer, "InvalidAgent" if path else "InvalidCommand")


def test_recordings_need_the_flag(worker: Worker) -> None:
    """clause: RECORDING-ALLOWED"""
    for model in ({"record": "x", "model": "test"}, {"replay": "x"}):
        error = failed(worker.ask("create_agent", agent_id="a", model=model), "InvalidAgent")
        assert error["details"] == {"flag": "--allow-recordings"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("GET / HTTP/1.1\n", "line 1 is no answer"),
        ("{}\n", "line 1 is no answer"),
        ('{"request": "x", "model": "m", "response": {"kind": "request", "parts": []}, "events": []}\n', "line 1"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(
    keeping: Worker, folder: Path, name: str, text: str | None, reason: str
) -> None:
    """clause: RECORDING-ALLOWED"""
    if text is not None:
        (folder / name).write_text(text)
    error = failed(keeping.ask("create_agent", agent_id="a", model={"replay": name}), "InvalidAgent")
    assert reason in error["message"]


def test_a_call_that_differs_only_in_an_id_is_another_request(keeping: Worker, server: Provider, name: str) -> None:
    """clause: RECORDING-REPLAY"""
    call = {"tool_name": "t", "tool_call_id": "c"}
    history = [
        {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "x"}]},
        {"kind": "response", "parts": [{**call, "part_kind": "tool-call", "args": {"id": 1}}]},
        {"kind": "request", "parts": [{**call, "part_kind": "tool-return", "content": 1}]},
    ]
    server.say(text="one")
    recorder = agent(keeping, {"record": name, "model": endpoint(server)})
    succeeded(keeping.run(recorder, message_history=history))
    replay = agent(keeping, {"replay": name})
    assert succeeded(keeping.run(replay, message_history=history))["result"] == "one"
    other = json.loads(json.dumps(history).replace('{"id": 1}', '{"id": 2}'))
    failed(keeping.run(replay, message_history=other), "UnexpectedModelBehavior")
