"""The thread that reads: pipes, files, sockets; the end, the other end, signals, and holding still."""

import os
import queue
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from axon_port.wire.framing import FramingLost, Oversize, encode_frame
from axon_port.worker.reader import READ_BYTES, Reader

from .rig import SECONDS, Ends, pipe

MAX = 200_000


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.willing = True

    def heard(self, frames: list[bytes | bytearray | Oversize | FramingLost]) -> bool:
        for frame in frames:
            self.events.put(bytes(frame) if isinstance(frame, bytearray) else frame)
        return self.willing

    def ended(self, *, truncated: bool) -> None:
        self.events.put(("ended", truncated))

    def ending(self) -> None:
        self.events.put("ending")

    def listener_gone(self) -> None:
        self.events.put("gone")

    def signalled(self, number: int) -> None:
        self.events.put(("signal", number))

    def deaf(self) -> None:
        self.events.put("deaf")

    def next(self) -> Any:
        return self.events.get(timeout=SECONDS)


@contextmanager
def reading(read_fd: int | None) -> Generator[tuple[Reader, Ear, Ends]]:
    """A reader at work, its listener, and the pipe whose other end it watches."""
    ear = Ear()
    with pipe() as output:
        reader = Reader(read_fd, output.write_fd, ear, MAX)
        reader.start()
        try:
            yield reader, ear, output
        finally:
            # The thread goes on: it hears signals until the process ends.
            reader.leave_input()


def test_frames_are_heard_in_order_however_they_are_written() -> None:
    payloads = [b"one", b"2" * 70_000, b"three"]
    data = b"".join(map(encode_frame, payloads))
    with pipe() as ends, reading(ends.read_fd) as (reader, ear, _):
        for start in range(0, len(data), 997):
            os.write(ends.write_fd, data[start : start + 997])
        assert [ear.next() for _ in payloads] == payloads
        assert reader.bytes_in == len(data)


def test_a_frame_is_heard_as_soon_as_it_is_whole() -> None:
    with pipe() as ends, reading(ends.read_fd) as (_, ear, _output):
        frame = encode_frame(b"first")
        os.write(ends.write_fd, frame + frame[:6])
        assert ear.next() == b"first"
        os.write(ends.write_fd, frame[6:])
        assert ear.next() == b"first"


@pytest.mark.parametrize(
    ("data", "truncated"),
    [
        (b"", False),
        (encode_frame(b"x"), False),
        (encode_frame(b"xyz")[:-1], True),
        (b"\x00", True),
        (b"\0\0\0\0", False),
    ],
)
def test_the_end_of_the_input_says_whether_it_broke_off(data: bytes, truncated: bool) -> None:
    """clause: FRAME-TRUNCATED"""
    with pipe() as ends, reading(ends.read_fd) as (_, ear, _output):
        if data:
            os.write(ends.write_fd, data)
        ends.close_write()
        events = [ear.next()]
        while not isinstance(events[-1], tuple):
            events.append(ear.next())
        assert events[-1] == ("ended", truncated)


def test_an_input_that_was_never_there_has_ended() -> None:
    with reading(None) as (reader, ear, _):
        assert ear.next() == ("ended", False)
        os.write(reader.signal_fd, bytes([15]))
        assert ear.next() == ("signal", 15)


def test_an_input_that_does_not_block_is_read_like_any_other() -> None:
    """clause: STDIO-KINDS"""
    with pipe() as ends:
        os.set_blocking(ends.read_fd, False)
        with reading(ends.read_fd) as (_, ear, _output):
            for number in range(3):
                os.write(ends.write_fd, encode_frame(str(number).encode()))
                assert ear.next() == str(number).encode()
            assert os.get_blocking(ends.read_fd) is False


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    """clause: STDIO-KINDS"""
    path = tmp_path / "commands.bin"
    payloads = [b"a", b"b" * (READ_BYTES + 1), b"c"]
    path.write_bytes(b"".join(map(encode_frame, payloads)))
    with path.open("rb") as file, reading(file.fileno()) as (_, ear, _output):
        assert [ear.next() for _ in range(4)] == [*payloads, ("ended", False)]


def test_a_socket_is_read_to_its_end() -> None:
    """clause: STDIO-KINDS"""
    ours, theirs = socket.socketpair()
    with ours, theirs, reading(ours.fileno()) as (_, ear, _output):
        theirs.sendall(encode_frame(b"x"))
        assert ear.next() == b"x"
        theirs.shutdown(socket.SHUT_WR)
        assert ear.next() == ("ended", False)


def test_a_terminal_that_hangs_up_is_an_end_of_input() -> None:
    parent, child = os.openpty()
    try:
        with reading(child) as (_, ear, _output):
            os.close(parent)
            assert ear.next() == ("ended", False)
    finally:
        os.close(child)


def test_nothing_more_is_read_until_the_listener_has_room() -> None:
    with pipe() as ends, reading(ends.read_fd) as (reader, ear, _):
        ear.willing = False
        os.write(ends.write_fd, encode_frame(b"first"))
        assert ear.next() == b"first"
        os.write(ends.write_fd, encode_frame(b"second"))
        # A signal goes through the same loop: it would have read the second frame before.
        os.write(reader.signal_fd, bytes([1]))
        assert ear.next() == ("signal", 1)
        os.write(reader.signal_fd, bytes([2]))
        assert ear.next() == ("signal", 2)
        ear.willing = True
        reader.resume()
        assert ear.next() == b"second"


def test_being_told_to_go_on_twice_is_once_enough() -> None:
    with pipe() as ends, reading(ends.read_fd) as (reader, ear, _):
        reader.resume()
        for number in range(5):
            ear.willing = False
            os.write(ends.write_fd, encode_frame(str(number).encode()))
            assert ear.next() == str(number).encode()
            ear.willing = True
            reader.resume()
            reader.resume()


def test_the_end_of_the_input_is_seen_during_a_rest_and_heard_after_it() -> None:
    """clause: LIFE-EOF"""
    with pipe() as ends, reading(ends.read_fd) as (reader, ear, _):
        ear.willing = False
        os.write(ends.write_fd, encode_frame(b"x"))
        assert ear.next() == b"x"
        os.write(ends.write_fd, encode_frame(b"y"))
        ends.close_write()
        assert ear.next() == "ending"
        ear.willing = True
        reader.resume()
        assert [ear.next(), ear.next()] == [b"y", ("ended", False)]


def test_the_half_closed_end_of_a_socket_is_seen_during_a_rest() -> None:
    """clause: LIFE-EOF"""
    ours, parents = socket.socketpair()
    with ours, parents, reading(ours.fileno()) as (_, ear, _output):
        ear.willing = False
        parents.send(encode_frame(b"x"))
        assert ear.next() == b"x"
        parents.shutdown(socket.SHUT_WR)
        assert ear.next() == "ending"


def test_a_closed_output_is_noticed_without_writing_to_it() -> None:
    """clause: LIFE-STDOUT"""
    with pipe() as ends, reading(ends.read_fd) as (_, ear, output):
        output.close_read()
        assert ear.next() == "gone"
        os.write(ends.write_fd, encode_frame(b"still"))
        assert ear.next() == b"still"


def test_a_closed_output_is_noticed_after_the_end_of_the_input() -> None:
    """clause: LIFE-STDOUT"""
    with pipe() as ends, reading(ends.read_fd) as (_, ear, output):
        ends.close_write()
        assert ear.next() == ("ended", False)
        output.close_read()
        assert ear.next() == "gone"


def test_signals_are_heard_by_number() -> None:
    """clause: LIFE-SIGNAL"""
    with pipe() as ends, reading(ends.read_fd) as (reader, ear, _):
        os.write(reader.signal_fd, bytes([15, 2]))
        assert [ear.next(), ear.next()] == [("signal", 15), ("signal", 2)]


def test_a_frame_too_long_and_lost_framing_are_heard_as_such() -> None:
    with pipe() as ends, reading(ends.read_fd) as (_, ear, _output):
        os.write(ends.write_fd, (MAX + 1).to_bytes(4, "big"))
        assert ear.next() == Oversize(MAX + 1)
        os.write(ends.write_fd, b"." * 60_000)
        os.write(ends.write_fd, b"." * (MAX + 1 - 60_000) + b"text")
        assert isinstance(ear.next(), FramingLost)
        ends.close_write()
        assert ear.next() == ("ended", False)


@pytest.mark.parametrize("willing", [True, False])
def test_a_reader_that_left_its_input_hears_all_the_rest(willing: bool) -> None:
    """clause: LIFE-SIGNAL, LIFE-STDOUT"""
    with pipe() as ends, reading(ends.read_fd) as (reader, ear, output):
        ear.willing = willing
        os.write(ends.write_fd, encode_frame(b"before"))
        assert ear.next() == b"before"
        reader.leave_input()
        os.write(reader.signal_fd, bytes([1]))
        assert ear.next() == ("signal", 1)
        os.write(ends.write_fd, encode_frame(b"x"))
        os.write(reader.signal_fd, bytes([2]))
        assert ear.next() == ("signal", 2)
        assert ends.read_payload() == b"x"
        output.close_read()
        assert ear.next() == "gone"


def test_an_input_that_fails_has_ended() -> None:
    """A terminal that was hung up, a socket that was reset. clause: LIFE-EOF"""
    ours, parents = socket.socketpair()
    # Closing a socket with something unread in it resets the other end.
    ours.send(b"unread")
    parents.send(encode_frame(b"last")[:6])
    with ours:
        parents.close()
        with reading(ours.fileno()) as (_, ear, _output):
            assert ear.next()[0] == "ended"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hears nothing would not even hear that its parent has gone."""

    def fails(_self: Ear, _frames: object) -> bool:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(Ear, "heard", fails)
    with pipe() as ends, reading(ends.read_fd) as (reader, ear, _):
        os.write(ends.write_fd, encode_frame(b"x"))
        assert ear.next() == "deaf"
        reader._thread.join(SECONDS)  # pyright: ignore[reportPrivateUsage]


def test_bytes_that_there_is_no_memory_for_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: FRAME-MEMORY"""
    with pipe() as ends, reading(ends.read_fd) as (_, ear, _output):
        read, failures = os.read, [MemoryError(), MemoryError()]

        def sometimes(fd: int, size: int) -> bytes:
            if fd == ends.read_fd and failures:
                raise failures.pop()
            return read(fd, size)

        monkeypatch.setattr(os, "read", sometimes)
        os.write(ends.write_fd, encode_frame(b"x"))
        assert ear.next() == b"x"
        assert failures == []
