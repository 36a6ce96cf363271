"""The single writer, on real pipes: short writes, full pipes, broken ones, many threads."""

import asyncio
import contextlib
import os
import select
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest

from axon_port.wire.framing import encode_frame
from axon_port.worker import outbox as outboxes
from axon_port.worker.outbox import HIGH_BYTES, INLINE_BYTES, LOW_BYTES, Outbox, call_on

from .rig import SECONDS, SMALL_PIPE, Ends, pipe, run_async, waited

KINDS = pytest.mark.parametrize(
    ("size", "blocking"), [(None, True), (None, False), (SMALL_PIPE, True), (SMALL_PIPE, False)], ids=repr
)


@contextmanager
def writing(ends: Ends) -> Generator[tuple[Outbox, list[str]]]:
    """An outbox on a pipe, and how often it said that the pipe is broken; its thread has ended afterwards."""
    before = set(threading.enumerate())
    said: list[str] = []
    outbox = Outbox(ends.write_fd, lambda: said.append("broken"), lambda: said.append("mute"))
    try:
        yield outbox, said
    finally:
        outbox.break_off()
        ends.close_read()
        for thread in set(threading.enumerate()) - before:
            if thread.name == "axon-port writer":
                thread.join(SECONDS)
                assert not thread.is_alive()


@KINDS
@pytest.mark.parametrize("length", [0, 1, 100, 4091, 4092, 4093, 65_531, 65_532, 65_536, 314_159])
def test_a_frame_of_any_length_arrives_whole(size: int | None, blocking: bool, length: int) -> None:
    """clause: OUT-WRITER
    fault: C26
    """
    payload = bytes(number % 251 for number in range(length))
    with pipe(size=size, blocking=blocking) as ends, writing(ends) as (outbox, _):
        outbox.put(payload)
        assert ends.read_payload() == payload
        assert outbox.flush(SECONDS)
        assert (outbox.frames_out, outbox.bytes_out) == (1, length + 4)


@KINDS
def test_gathered_frames_arrive_in_order_with_those_before_and_after(size: int | None, blocking: bool) -> None:
    """clause: OUT-WRITER"""
    payloads = [f"{number}:".encode() + b"x" * (number * 37 % 9000 if number % 5 else 10) for number in range(300)]
    with pipe(size=size, blocking=blocking) as ends, writing(ends) as (outbox, _):
        for start in range(0, len(payloads), 30):
            with outbox.gathered():
                for payload in payloads[start : start + 29]:
                    outbox.put(payload)
            outbox.put(payloads[start + 29])
        assert [ends.read_payload() for _ in payloads] == payloads
        assert outbox.flush(SECONDS)
        assert outbox.waiting_bytes == 0


def test_gathered_frames_leave_at_the_end_and_in_one_piece() -> None:
    """clause: OUT-WRITER"""
    with pipe(blocking=False) as ends, writing(ends) as (outbox, _):
        with outbox.gathered():
            outbox.put(b"first")
            from_elsewhere = threading.Thread(target=outbox.put, args=(b"from elsewhere",))
            from_elsewhere.start()
            from_elsewhere.join(SECONDS)
            outbox.put(b"last")
            assert not outbox.flush(0)
            assert select.select([ends.read_fd], [], [], 0)[0] == []
        expected = [b"first", b"from elsewhere", b"last"]
        # Small enough for one write: it has all come when anything has.
        assert os.read(ends.read_fd, 65_536) == b"".join(map(encode_frame, expected))


async def one_turn() -> None:
    await asyncio.sleep(0)


def test_what_is_to_leave_soon_leaves_at_the_end_of_the_loop_s_turn_and_in_one_piece() -> None:
    """clause: OUT-WRITER"""

    async def main(ends: Ends, outbox: Outbox) -> bytes:
        outbox.put_all([b"first"], soon=True)
        outbox.put_all([b"second", b"third"], soon=True)
        assert select.select([ends.read_fd], [], [], 0)[0] == []
        await one_turn()
        return os.read(ends.read_fd, 65_536)

    with pipe(blocking=False) as ends, writing(ends) as (outbox, _):
        assert asyncio.run(main(ends, outbox)) == b"".join(map(encode_frame, [b"first", b"second", b"third"]))
        assert outbox.waiting_bytes == 0


@pytest.mark.parametrize("thread", [False, True], ids=["here", "elsewhere"])
def test_a_frame_that_is_not_to_wait_takes_those_before_it_along(thread: bool) -> None:
    """clause: OUT-WRITER"""

    async def main(ends: Ends, outbox: Outbox) -> None:
        outbox.put_all([b"chunk"], soon=True)
        if thread:
            other = threading.Thread(target=outbox.put, args=(b"result",))
            other.start()
            other.join(SECONDS)
        else:
            outbox.put(b"result")
        assert os.read(ends.read_fd, 65_536) == encode_frame(b"chunk") + encode_frame(b"result")
        await one_turn()
        assert select.select([ends.read_fd], [], [], 0)[0] == []

    with pipe(blocking=False) as ends, writing(ends) as (outbox, _):
        asyncio.run(main(ends, outbox))


def test_what_is_to_leave_soon_is_not_kept_beyond_what_one_write_takes() -> None:
    """clause: OUT-WRITER"""

    async def main(ends: Ends, outbox: Outbox) -> None:
        for number in range(20):
            outbox.put_all([b"%03d" % number * 100], soon=True)
            assert outbox.waiting_bytes <= INLINE_BYTES
        # At most a turn's worth waits: what is beyond one write has left.
        assert ends.read_payloads(1) == [b"%03d" % number * 100 for number in range(14)]

    with pipe(blocking=False) as ends, writing(ends) as (outbox, _):
        asyncio.run(main(ends, outbox))


def test_what_was_to_leave_soon_leaves_though_the_loop_has_ended() -> None:
    """clause: OUT-WRITER, LIFE-FLUSH"""

    async def main(outbox: Outbox) -> None:
        outbox.put_all([b"chunk"], soon=True)
        asyncio.get_running_loop().stop()

    with pipe(blocking=False) as ends, writing(ends) as (outbox, _):
        loop = asyncio.new_event_loop()
        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(main(outbox))
        loop.close()
        assert outbox.flush(SECONDS)
        assert ends.read_payload() == b"chunk"


def test_a_pipe_that_breaks_while_frames_are_gathered_is_told_once() -> None:
    """clause: LIFE-STDOUT"""
    with pipe() as ends, writing(ends) as (outbox, said):
        with outbox.gathered():
            outbox.put(b"nobody reads this")
            ends.close_read()
        outbox.put(b"nor this")
        assert outbox.broken
        assert said == ["broken"]


@KINDS
def test_frames_arrive_in_the_order_in_which_they_were_put(size: int | None, blocking: bool) -> None:
    """clause: OUT-WRITER
    fault: C26
    """
    payloads = [f"{number}:".encode() + b"x" * (number * 37 % 9000) for number in range(300)]
    with pipe(size=size, blocking=blocking) as ends, writing(ends) as (outbox, _):
        for payload in payloads:
            outbox.put(payload)
        assert ends.read_payloads(len(payloads)) == payloads
        assert outbox.flush(SECONDS)
        assert outbox.waiting_bytes == 0


def test_a_parent_that_reads_byte_by_byte_gets_whole_frames() -> None:
    payloads = [b"a" * 5000, b"b", b"c" * 100]
    with pipe(size=SMALL_PIPE, blocking=False) as ends, writing(ends) as (outbox, _):
        for payload in payloads:
            outbox.put(payload)
        expected = b"".join(map(encode_frame, payloads))
        assert b"".join(ends.read(1) for _ in expected) == expected


@KINDS
def test_of_eight_threads_that_write_at_once_nothing_interleaves(size: int | None, blocking: bool) -> None:
    """clause: OUT-WRITER"""
    each = 150

    def payload(thread: int, number: int) -> bytes:
        return f"{thread}.{number}.".encode() * (1 + (number * 7 + thread) * 31 % 2500)

    with pipe(size=size, blocking=blocking) as ends, writing(ends) as (outbox, _):
        start = threading.Barrier(8)

        def write(thread: int) -> None:
            start.wait()
            for number in range(each):
                outbox.put(payload(thread, number))

        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        found = ends.read_payloads(8 * each)
        for thread in threads:
            thread.join(SECONDS)
    order: dict[int, int] = dict.fromkeys(range(8), 0)
    for got in found:
        thread = int(got[:1])
        assert got == payload(thread, order[thread])
        order[thread] += 1


@KINDS
def test_putting_a_frame_never_waits_for_the_reader(size: int | None, blocking: bool) -> None:
    with pipe(size=size, blocking=blocking) as ends, writing(ends) as (outbox, _):
        filled = ends.fill()
        done = threading.Event()

        def put() -> None:
            for number in range(100):
                outbox.put(str(number).encode())
            outbox.put(b"x" * 2**20)
            done.set()

        threading.Thread(target=put, daemon=True).start()
        waited(done)
        assert not outbox.flush(0)
        ends.read(filled)
        assert ends.read_payloads(101)[:100] == [str(number).encode() for number in range(100)]
        assert outbox.flush(SECONDS)


def test_small_frames_that_wait_leave_in_few_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: OUT-WRITER"""
    calls: list[int] = []
    writev = os.writev

    def counted(fd: int, buffers: Any) -> int:
        calls.append(len(buffers))
        return writev(fd, buffers)

    monkeypatch.setattr(outboxes.os, "writev", counted)
    with pipe() as ends, writing(ends) as (outbox, _):
        filled = ends.fill()
        for number in range(1000):
            outbox.put(str(number).encode())
        ends.read(filled)
        assert ends.read_payloads(1000)[-1] == b"999"
    assert len(calls) <= 12
    assert max(calls) <= outboxes.GATHERED_FRAMES


def test_a_closed_reader_is_told_once_and_the_rest_is_dropped() -> None:
    with pipe() as ends, writing(ends) as (outbox, said):
        ends.close_read()
        for _ in range(50):
            outbox.put(b"nobody reads this")
        assert said == ["broken"]
        assert outbox.broken
        assert outbox.waiting_bytes == 0
        assert not outbox.flush(SECONDS)


def test_a_reader_that_closes_while_a_frame_is_half_written_is_told_once() -> None:
    for blocking in (True, False):
        with pipe(size=SMALL_PIPE, blocking=blocking) as ends, writing(ends) as (outbox, said):
            outbox.put(b"x" * 2**20)
            outbox.put(b"y")
            ends.read(1000)
            ends.close_read()
            assert not outbox.flush(SECONDS)
            assert outbox.broken
            outbox.put(b"z")
            outbox.break_off()
            assert outbox.waiting_bytes == 0
        assert said == ["broken"]


def test_breaking_off_drops_what_waits_and_wakes_whoever_waits() -> None:
    with pipe(size=SMALL_PIPE) as ends, writing(ends) as (outbox, said):
        outbox.put(b"x" * (LOW_BYTES * 2))
        woken = threading.Event()
        flushed: list[bool] = []
        thread = threading.Thread(target=lambda: flushed.append(outbox.flush(SECONDS)))
        thread.start()
        outbox.when_room(woken.set)
        assert not woken.is_set()
        outbox.break_off()
        outbox.break_off()
        waited(woken)
        thread.join(SECONDS)
        assert flushed == [False]
        assert said == ["broken"]
        again = threading.Event()
        outbox.when_room(again.set)
        assert again.is_set()


def test_whoever_wants_room_is_called_once_and_only_when_there_is_some() -> None:
    with pipe() as ends, writing(ends) as (outbox, _):
        called: list[str] = []
        outbox.when_room(lambda: called.append("at once"))
        assert called == ["at once"]
        outbox.put(b"x" * (LOW_BYTES * 2))
        later = threading.Event()

        def roomy() -> None:
            called.append("later")
            later.set()

        outbox.when_room(roomy)
        assert called == ["at once"]
        ends.read_payload()
        waited(later)
        assert called == ["at once", "later"]


def test_a_parent_that_never_reads_congests_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "CONGESTED_BYTES", 100_000)
    with pipe(size=SMALL_PIPE) as ends, writing(ends) as (outbox, _):
        assert not outbox.congested
        outbox.put(b"x" * 200_000)
        assert outbox.congested
        ends.read_payload()
        assert outbox.flush(SECONDS)
        assert not outbox.congested


def no_memory(*_: object) -> Any:
    raise MemoryError


def test_a_writer_that_fails_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would leave any more, and nobody know."""
    monkeypatch.setattr(outboxes.os, "writev", no_memory)
    with pipe(size=SMALL_PIPE, blocking=False) as ends, writing(ends) as (outbox, said):
        outbox.put(b"x" * 100_000)
        while not said:
            assert not outbox.flush(0.001)
        assert said == ["mute"]


def test_small_frames_that_there_is_no_memory_to_join_are_left_to_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "islice", no_memory)
    with pipe(blocking=False) as ends, writing(ends) as (outbox, _):
        with outbox.gathered():
            outbox.put(b"first")
            outbox.put(b"second")
        assert [ends.read_payload() for _ in range(2)] == [b"first", b"second"]
        assert outbox.flush(SECONDS)
        assert outbox.waiting_bytes == 0


def test_the_marks_stand_in_their_order() -> None:
    assert LOW_BYTES < HIGH_BYTES < outboxes.CONGESTED_BYTES


def test_frames_can_go_to_a_file(tmp_path: Path) -> None:
    """clause: STDIO-KINDS"""
    path = tmp_path / "answers.bin"
    payloads = [b"a", b"b" * 100_000, b"c"]
    with path.open("wb") as file:
        outbox = Outbox(file.fileno(), lambda: None, lambda: None)
        for payload in payloads:
            outbox.put(payload)
        assert outbox.flush(SECONDS)
        outbox.break_off()
    assert path.read_bytes() == b"".join(map(encode_frame, payloads))


@pytest.mark.parametrize("blocking", [True, False])
def test_frames_can_go_to_a_socket(blocking: bool) -> None:
    """clause: STDIO-KINDS"""
    ours, theirs = socket.socketpair()
    payloads = [b"a", b"b" * 1_000_000, b"c"]
    with ours, theirs:
        ours.setblocking(blocking)
        outbox = Outbox(ours.fileno(), lambda: None, lambda: None)
        for payload in payloads:
            outbox.put(payload)
        expected = b"".join(map(encode_frame, payloads))
        theirs.settimeout(SECONDS)
        found = bytearray()
        while len(found) < len(expected):
            found += theirs.recv(2**16)
        assert bytes(found) == expected
        assert outbox.flush(SECONDS)
        outbox.break_off()


def test_the_flags_of_the_descriptor_stay_as_they_are() -> None:
    """clause: STDIO-KINDS"""
    for blocking in (True, False):
        with pipe(size=SMALL_PIPE, blocking=blocking) as ends, writing(ends) as (outbox, _):
            outbox.put(b"x" * 50_000)
            ends.read_payload()
            assert os.get_blocking(ends.write_fd) is blocking


def test_what_is_called_on_the_loop_is_called_in_the_context_that_was_given() -> None:
    where: ContextVar[str] = ContextVar("where", default="a thread's own")
    seen: list[str] = []

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        where.set("the loop's")
        context = copy_context()

        def from_a_thread() -> None:
            call_on(loop, lambda: seen.append(where.get()), context)
            call_on(loop, lambda: (seen.append(where.get()), done.set()))

        threading.Thread(target=from_a_thread).start()
        await done.wait()

    run_async(main)
    assert seen == ["the loop's", "a thread's own"]
