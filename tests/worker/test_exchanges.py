"""One table of what is owed an answer, and one way out of it."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from axon_port.wire import codec
from axon_port.wire.errors import WireError
from axon_port.wire.events import MAX_DETAILS_BYTES, result_frame
from axon_port.worker.exchanges import Exchange, Exchanges
from axon_port.worker.redaction import Redactor

from .rig import MemoryOutbox

MAX = 4096


def table() -> tuple[Exchanges, MemoryOutbox]:
    outbox = MemoryOutbox()
    return Exchanges(outbox, Redactor({}), MAX), outbox


def claimed(exchanges: Exchanges, frame_id: Any = 1, kind: str = "run") -> Exchange:
    exchange = exchanges.claim(frame_id, kind)
    assert exchange is not None
    return exchange


@pytest.mark.parametrize("frame_id", [0, 1, -1, "1", "x" * 256])
def test_an_id_is_claimed_once_until_it_is_settled(frame_id: Any) -> None:
    """clause: ENV-REUSE"""
    exchanges, _ = table()
    exchange = claimed(exchanges, frame_id)
    assert exchange.is_open
    assert exchanges.claim(frame_id, "run") is None
    exchange.succeed(None)
    assert not exchange.is_open
    assert claimed(exchanges, frame_id) is not exchange


def test_a_number_and_its_text_are_different_ids() -> None:
    """clause: ENV-ID"""
    exchanges, outbox = table()
    claimed(exchanges, 1).succeed("number")
    claimed(exchanges, "1")
    assert outbox.frames == [{"type": "result", "id": 1, "result": "number"}]
    assert [exchange.id for exchange in exchanges] == ["1"]


def test_an_exchange_gets_exactly_one_terminal_frame() -> None:
    """clause: ENV-ONE-TERMINAL"""
    exchanges, outbox = table()
    exchange = claimed(exchanges)
    assert exchange.settle(result_frame(1, "first"))
    assert not exchange.settle(result_frame(1, "second"))
    exchange.succeed("third")
    exchange.fail(WireError("Cancelled", "fourth"))
    assert [frame["result"] for frame in outbox.frames] == ["first"]
    assert list(exchanges) == []


def test_no_frame_with_an_id_follows_its_terminal_frame() -> None:
    """clause: ENV-ONE-TERMINAL"""
    exchanges, outbox = table()
    exchange = claimed(exchanges)
    assert exchange.send(b'{"type":"chunk"}')
    exchange.fail(WireError("Timeout", "late"))
    assert not exchange.send(b'{"type":"chunk"}')
    assert [frame["type"] for frame in outbox.frames] == ["chunk", "error"]


def test_an_id_that_is_used_again_belongs_to_its_new_exchange() -> None:
    exchanges, outbox = table()
    old = claimed(exchanges)
    old.succeed("old")
    new = claimed(exchanges)
    assert not old.send(b'{"type":"log"}')
    assert not old.settle(result_frame(1, "late"))
    new.succeed("new")
    assert [frame["result"] for frame in outbox.frames] == ["old", "new"]


def test_an_error_takes_what_is_known_of_the_run_with_it() -> None:
    exchanges, outbox = table()
    claimed(exchanges).fail(WireError("Cancelled", "why"), agent_id="a", messages=[])
    assert outbox.frames == [
        {
            "type": "error",
            "id": 1,
            "error_type": "Cancelled",
            "message": "why",
            "retryable": False,
            "agent_id": "a",
            "messages": [],
        }
    ]


def test_a_result_too_long_is_settled_as_an_error() -> None:
    """clause: FRAME-OUT"""
    exchanges, outbox = table()
    claimed(exchanges).succeed("x" * MAX)
    (frame,) = outbox.frames
    assert (frame["id"], frame["error_type"]) == (1, "ResultTooLarge")
    assert len(outbox.payloads[0]) <= MAX


def test_a_frame_without_an_exchange_can_be_said_at_any_time() -> None:
    exchanges, outbox = table()
    exchanges.say({"type": "goodbye", "reason": "eof"})
    assert outbox.frames == [{"type": "goodbye", "reason": "eof"}]


def test_of_many_threads_that_settle_one_exchange_one_wins() -> None:
    """clause: ENV-ONE-TERMINAL"""
    exchanges, outbox = table()
    for number in range(200):
        exchange = claimed(exchanges)
        start = threading.Barrier(4)
        won: list[str] = []

        def settle(
            name: str, exchange: Exchange = exchange, start: threading.Barrier = start, won: list[str] = won
        ) -> None:
            start.wait()
            exchange.send(b'{"type":"chunk","id":1}')
            if exchange.settle(result_frame(1, name)):
                won.append(name)

        threads = [threading.Thread(target=settle, args=(f"{number}.{thread}",)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        *before, last = map(json.loads, outbox.payloads)
        assert len(won) == 1
        assert last == {"type": "result", "id": 1, "result": won[0]}
        assert all(frame["type"] == "chunk" for frame in before)
        outbox.payloads.clear()


def test_of_many_threads_that_claim_one_id_one_wins() -> None:
    exchanges, _ = table()
    start = threading.Barrier(8)
    found: list[Exchange | None] = []

    def claim() -> None:
        start.wait()
        found.append(exchanges.claim("id", "run"))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(exchange is not None for exchange in found) == 1


@pytest.mark.parametrize("frame_id", [7, "a text", '"\\\x01' * 85])
@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), ValueError("any")])
def test_a_terminal_frame_leaves_though_nothing_can_be_encoded_any_more(
    monkeypatch: pytest.MonkeyPatch, frame_id: Any, error: Exception
) -> None:
    """clause: JSON-OUT-NONE
    fault: C22
    """
    exchanges, outbox = table()
    exchange = claimed(exchanges, frame_id)

    def encode(value: object) -> bytes:
        raise error

    monkeypatch.setattr(codec, "encode", encode)
    assert exchange.settle({"type": "result", "id": frame_id, "result": "r"})
    assert not exchange.settle({"type": "result", "id": frame_id, "result": "r"})
    (frame,) = outbox.frames
    assert (frame["id"], frame["error_type"], frame["retryable"]) == (frame_id, "InternalError", False)
    assert list(exchanges) == []


def test_a_terminal_frame_leaves_though_there_is_no_memory_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: JSON-OUT-NONE"""
    exchanges, outbox = table()
    exchange = claimed(exchanges, 7)
    put = outbox.put

    def small(payload: bytes) -> None:
        if len(payload) > 1000:
            raise MemoryError
        put(payload)

    monkeypatch.setattr(outbox, "put", small)
    assert exchange.settle({"type": "result", "id": 7, "result": "r" * 2_000})
    (frame,) = outbox.frames
    assert (frame["id"], frame["error_type"]) == (7, "InternalError")
    assert list(exchanges) == []


def test_an_answer_without_an_exchange_is_sent_though_there_is_no_memory_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """clause: JSON-OUT-NONE"""
    exchanges, outbox = table()
    claimed(exchanges, 8)
    put_all = outbox.put_all

    def small(payloads: Sequence[bytes], *, soon: bool = False) -> None:
        if any(len(payload) > 1000 for payload in payloads):
            raise MemoryError
        put_all(payloads, soon=soon)

    monkeypatch.setattr(outbox, "put_all", small)
    assert exchanges.answer([7, 8, "9"], "r" * 2_000) == [8]
    assert [(frame["id"], frame["error_type"]) for frame in outbox.frames] == [
        (7, "InternalError"),
        ("9", "InternalError"),
    ]


def test_an_answer_that_grows_by_what_stands_for_a_key_still_fits() -> None:
    """clause: FRAME-OUT"""
    outbox, redactor = MemoryOutbox(), Redactor({})
    redactor.learn("12345678")
    exchanges = Exchanges(outbox, redactor, 1024)
    exchange = exchanges.claim("r", "run")
    assert exchange is not None
    exchange.succeed("12345678" * 120)
    (payload,) = outbox.payloads
    assert len(payload) <= 1024
    assert b"12345678" not in payload
    (frame,) = outbox.frames
    assert (frame["id"], frame["error_type"]) == ("r", "ResultTooLarge")


def test_answers_that_there_is_no_memory_to_make_are_sent_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: JSON-OUT-NONE"""
    exchanges, outbox = table()

    def none_left(_frame_ids: object, _result: object) -> list[bytes]:
        raise MemoryError

    monkeypatch.setattr("axon_port.worker.exchanges.result_payloads", none_left)
    assert exchanges.answer([7, "9"], "r") == []
    assert [(frame["id"], frame["error_type"]) for frame in outbox.frames] == [
        (7, "InternalError"),
        ("9", "InternalError"),
    ]


def test_a_frame_without_an_id_that_cannot_be_written_is_told_as_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    exchanges, outbox = table()

    def encode(value: object) -> bytes:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr("axon_port.worker.exchanges.encode_terminal", encode)
        exchanges.say({"type": "goodbye", "reason": "eof"})
    (frame,) = outbox.frames
    assert (frame["id"], frame["error_type"]) == (None, "InternalError")


@pytest.mark.parametrize("kept", [5, 12, 18])
def test_a_key_on_the_edge_of_a_preview_leaves_nothing_of_itself(kept: int) -> None:
    """clause: SEC-KEYS, ERR-BOUNDS"""
    key = "sk-live-0123456789abcdef"
    outbox, redactor = MemoryOutbox(), Redactor({})
    redactor.learn(key)
    exchanges = Exchanges(outbox, redactor, 2**20)
    # The text is moved by a character at a time, wherever exactly the preview ends.
    for place in range(MAX_DETAILS_BYTES - 128, MAX_DETAILS_BYTES, kept):
        claimed(exchanges).fail(WireError("ToolError", "m", details=["d" * place + key, "e" * 200]))
    previews = [frame["details"]["preview"] for frame in outbox.frames]
    assert previews
    assert all(key[:5] not in preview for preview in previews)
    assert all(len(preview.encode()) <= MAX_DETAILS_BYTES for preview in previews)
