"""A replay against a worker that is a few lines of Python: how long it waits, and how it ends."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import pytest

from axon_port.client.launch import Launch
from axon_port.records.conversation import Conversation, Frame, Key, conversation_of
from axon_port.records.ending import ending_of
from axon_port.records.pacing import steps
from axon_port.records.player import Broken, Player
from axon_port.wire.record import Entry

from .scenes import ANSWER, CALL, RESULT, RUN, into, out

CHUNK: dict[str, Any] = {"type": "chunk", "id": 1, "kind": "text", "data": "x"}
CANCELLED: dict[str, Any] = {"type": "error", "id": 1, "error_type": "Cancelled"}

KIT = """
import json, os, signal, sys, time
def say(frame):
    text = json.dumps(frame).encode()
    os.write(1, len(text).to_bytes(4, "big") + text)
def hear():
    length = sys.stdin.buffer.read(4)
    return json.loads(sys.stdin.buffer.read(int.from_bytes(length, "big"))) if length else None
"""


def play(code: str, entries: list[Entry], *, patience: float = 60) -> Conversation:
    recorded = conversation_of(entries)
    player = Player(Launch(command=[sys.executable, "-c", KIT + code]), recorded, patience=patience)

    async def bounded() -> Conversation:
        with anyio.fail_after(100):
            return await player.play(steps(entries), ending_of(entries, recorded), _nothing)

    return anyio.run(bounded)


def _nothing(_number: int) -> None:
    pass


def said(heard: Conversation) -> list[Frame]:
    return heard.exchanges[Key(1, 1)].said


def test_what_took_long_in_the_record_may_take_long_again() -> None:
    """clause: REPLAY-PACE"""
    code = f"hear(); time.sleep(0.5); say({RESULT!r}); hear()"
    assert said(play(code, [into(0, RUN), out(30_000_000, RESULT)], patience=0.01)) == [RESULT]


def test_a_command_waits_as_long_as_it_did() -> None:
    """clause: REPLAY-PACE"""
    again = {**RUN, "id": 2}
    code = f"hear(); time.sleep(0.5); say({RESULT!r}); say({{**{RESULT!r}, 'id': hear()['id']}}); hear()"
    entries = [into(0, RUN), out(29_000_000, RESULT), into(30_000_000, again), out(59_000_000, {**RESULT, "id": 2})]
    assert said(play(code, entries, patience=0.01)) == [RESULT]


@pytest.mark.parametrize("text", ["print('usage: none')", "say([1])", "os.write(1, b'\\0\\0\\0\\2{x')"])
def test_what_is_no_frame_ends_the_replay_with_one_error(text: str) -> None:
    """clause: REPLAY-COMMAND"""
    with pytest.raises(Broken):
        play(f"{text}; sys.stdout.flush(); hear()", [into(0, RUN), out(1, RESULT)])


def test_what_is_no_frame_ends_it_though_a_command_waits_to_be_read() -> None:
    """clause: REPLAY-COMMAND"""
    with pytest.raises(Broken):
        play("print('usage: none', flush=True); time.sleep(600)", [into(0, {**RUN, "prompt": "x" * 1_000_000})])


def test_a_record_that_ended_by_a_signal_is_played_with_one() -> None:
    """clause: REPLAY-END"""
    bye = {"type": "goodbye", "reason": "signal"}
    code = f"""
def end(*_):
    say({CANCELLED!r}); say({bye!r}); os._exit(0)
signal.signal(signal.SIGTERM, end)
hear(); say({CHUNK!r})
while True: signal.pause()
"""
    assert said(play(code, [into(0, RUN), out(1, CHUNK), out(2, CANCELLED), out(3, bye)])) == [CHUNK, CANCELLED]


def test_a_record_that_ended_with_its_input_is_played_so_and_heard_to_its_last_frame() -> None:
    """clause: REPLAY-END"""
    bye = {"type": "goodbye", "reason": "eof"}
    late = {"type": "error", "id": None, "error_type": "InvalidCommand"}
    code = f"hear(); say({RESULT!r}); assert hear() is None; say({late!r}); say({bye!r}); time.sleep(600)"
    heard = play(code, [into(0, RUN), out(1, RESULT), out(2, late), out(3, bye)])
    assert (said(heard), heard.loose) == ([RESULT], [late])


def test_errors_without_an_id_are_waited_for() -> None:
    """clause: REPLAY-COMPARED"""
    late = {"type": "error", "id": None, "error_type": "InvalidCommand"}
    code = f"hear(); say({RESULT!r}); time.sleep(0.3); say({late!r}); hear()"
    assert play(code, [into(0, RUN), out(1, RESULT), out(2, late)]).loose == [late]


def test_an_answer_to_the_second_of_equal_calls_goes_to_the_second() -> None:
    """clause: REPLAY-PACE"""
    first, second = ({**CALL, "call_id": call_id} for call_id in ("x", "y"))
    code = f"hear(); say({first!r}); say({second!r}); say({{**{RESULT!r}, 'result': hear()['call_id']}}); hear()"
    entries = [into(0, RUN), out(1, CALL), out(2, {**CALL, "call_id": "8"}), into(3, {**ANSWER, "call_id": "8"})]
    assert said(play(code, [*entries, out(4, RESULT)]))[-1]["result"] == "y"


def test_a_result_goes_to_the_call_and_not_to_the_request_for_its_approval() -> None:
    """clause: REPLAY-PACE"""
    asked, approval = {**CALL, "type": "approval_request"}, {"type": "approval", "id": 1, "call_id": "7"}
    code = f"""
hear(); say({asked!r}); first = hear(); say({CALL!r}); say({{**{RESULT!r}, "result": [first["type"], hear()["type"]]}})
hear()
"""
    entries = [into(0, RUN), out(1, asked), into(2, approval), out(3, CALL), into(4, ANSWER), out(5, RESULT)]
    assert said(play(code, entries))[-1]["result"] == ["approval", "tool_result"]
