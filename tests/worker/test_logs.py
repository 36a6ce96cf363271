"""Logs as frames: records, warnings, printed lines; levels, bounds, redaction, the run they belong to."""

import logging
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from axon_port.wire.events import MAX_MESSAGE_CHARACTERS
from axon_port.wire.words import REDACTED
from axon_port.worker import logs
from axon_port.worker.exchanges import Exchange, Exchanges
from axon_port.worker.logs import LINE_BYTES, WAITING_BYTES, Capture, FrameHandler, LogSink, RunTag, current_run
from axon_port.worker.redaction import Redactor
from tests.kit.shapes import problems_of

from .rig import MemoryOutbox, pipe, waited

KEY = "sk-0123456789abcdef0123456789abcdef"


class Sink:
    """A sink and what came out of it."""

    def __init__(self, level: str = "info", max_frame_bytes: int = 2**20) -> None:
        self.outbox = MemoryOutbox()
        self.redactor = Redactor({})
        self.exchanges = Exchanges(self.outbox, self.redactor, max_frame_bytes)
        self.sink = LogSink(self.exchanges, self.redactor, level)

    @property
    def frames(self) -> list[dict[str, Any]]:
        frames = self.outbox.frames
        for frame in frames:
            assert list(problems_of(frame)) == []
        return frames

    @property
    def messages(self) -> list[str]:
        return [frame["message"] for frame in self.frames]

    def exchange(self, frame_id: int | str = 7) -> Exchange:
        exchange = self.exchanges.claim(frame_id, "run")
        assert exchange is not None
        return exchange


@pytest.fixture
def logger() -> tuple[logging.Logger, Sink]:
    """A logger of its own whose records go to a sink, and nowhere else."""
    sink = Sink("debug")
    logger = logging.Logger("test.logger")
    logger.addHandler(FrameHandler(sink.sink))
    return logger, sink


def test_a_log_frame_says_when_who_and_what() -> None:
    """clause: EVT-LOG"""
    sink = Sink()
    sink.sink.write("warning", "some.logger", "hello", fields={"n": 1}, traceback="Traceback", created=1700000000.5)
    assert sink.frames == [
        {
            "type": "log",
            "timestamp": "2023-11-14T22:13:20.500000Z",
            "level": "warning",
            "logger": "some.logger",
            "message": "hello",
            "traceback": "Traceback",
            "fields": {"n": 1},
        }
    ]


@pytest.mark.parametrize("least", logs.LEVELS)
def test_only_what_is_severe_enough_is_sent(least: str) -> None:
    """clause: LOG-LEVEL"""
    sink = Sink(least)
    for level in logs.LEVELS:
        sink.sink.write(level, "x", level)
    names = list(logs.LEVELS)
    assert sink.messages == names[names.index(least) :]


@pytest.mark.parametrize(("level", "count"), [("debug", 1), ("info", 1), ("warning", 1), ("error", 0), ("critical", 0)])
def test_printed_lines_are_information_that_only_errors_silence(level: str, count: int) -> None:
    """clause: LOG-LEVEL"""
    sink = Sink(level)
    sink.sink.line("stdout", b"printed")
    assert [(frame["level"], frame["logger"]) for frame in sink.frames] == [("info", "stdout")] * count


def test_a_log_of_a_run_carries_its_id_until_its_terminal_frame() -> None:
    """clause: LOG-RUN"""
    sink = Sink()
    exchange = sink.exchange()
    tag = RunTag(exchange, "agent")
    sink.sink.write("info", "x", "during", tag=tag)
    exchange.succeed(None)
    sink.sink.write("info", "x", "after", fields={"a": 1}, tag=tag)
    during, _, after = sink.outbox.frames
    assert (during["id"], during["agent_id"]) == (7, "agent")
    assert "id" not in after
    assert "agent_id" not in after
    assert after["fields"] == {"a": 1, "run_id": 7}


def test_logs_never_hold_up_replies_and_what_was_dropped_is_counted() -> None:
    """clause: LOG-DROPPED"""
    sink = Sink()
    sink.outbox.stall(WAITING_BYTES + 1)
    for _ in range(3):
        sink.sink.write("error", "x", "dropped")
    sink.sink.line("stdout", b"dropped")
    assert sink.frames == []
    assert sink.sink.dropped == 4
    sink.outbox.drain()
    sink.sink.write("info", "x", "next")
    report, following = sink.frames
    assert report["message"] == "4 log records were dropped: there were too many for the parent"
    assert (report["level"], report["fields"]) == ("warning", {"dropped": 4})
    assert following["message"] == "next"
    sink.sink.write("info", "x", "last")
    assert sink.messages[2:] == ["last"]
    assert sink.sink.dropped == 4


def test_logs_beyond_their_rate_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: LOG-DROPPED
    fault: C30
    """
    monkeypatch.setattr(logs, "BURST", 5)
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    sink = Sink()
    for number in range(50):
        sink.sink.write("error", "x", str(number))
        sink.sink.line("stdout", b"printed")
    assert sink.messages == ["0", "printed", "1", "printed", "2"]
    assert sink.sink.dropped == 95
    now[0] += 2 / logs.RATE_PER_SECOND
    for _ in range(3):
        sink.sink.write("info", "x", "next")
    assert [frame.get("fields") for frame in sink.frames[5:]] == [{"dropped": 95}, None, None]
    assert sink.sink.dropped == 96
    now[0] += 3600
    for _ in range(10):
        sink.sink.line("stdout", b"after a rest")
    assert sink.messages[8:] == [sink.messages[8], *["after a rest"] * 5]
    assert sink.frames[8]["fields"] == {"dropped": 1}


def test_a_parent_that_wants_errors_only_is_not_told_of_dropped_logs() -> None:
    """clause: LOG-DROPPED, LOG-LEVEL"""
    sink = Sink("error")
    sink.outbox.stall(WAITING_BYTES + 1)
    sink.sink.write("error", "x", "dropped")
    sink.outbox.drain()
    sink.sink.write("error", "x", "next")
    assert sink.messages == ["next"]
    assert sink.sink.dropped == 1


def test_a_message_has_a_limit() -> None:
    """clause: LOG-BOUNDS"""
    sink = Sink()
    sink.sink.write("info", "x", "m" * 10**6, traceback="t" * 10**6)
    (frame,) = sink.frames
    assert len(frame["message"]) < MAX_MESSAGE_CHARACTERS + 50
    assert len(frame["traceback"]) == logs.MAX_TRACEBACK_CHARACTERS


@pytest.mark.parametrize("limit", [1024, 2048, 10_000])
def test_a_log_is_never_longer_than_a_frame(limit: int) -> None:
    """clause: FRAME-OUT"""
    sink = Sink(max_frame_bytes=limit)
    tag = RunTag(sink.exchange("i" * 256), "a" * 200)
    sink.sink.write("info", "logger", '"' * 8000, fields={"f": "x" * 9000}, traceback="t" * 9000, tag=tag)
    sink.sink.write("info", "logger", "\x01" * 8000)
    sink.sink.line("stdout", b"\x01" * 60_000)
    assert len(sink.frames) >= 3
    assert max(map(len, sink.outbox.payloads)) <= limit


def test_a_log_with_the_longest_names_fits_into_the_shortest_frame() -> None:
    """clause: FRAME-OUT"""
    sink = Sink(max_frame_bytes=512)
    tag = RunTag(sink.exchange("\x01" * 53), "\x01" * 256)
    sink.sink.write("critical", "logger" * 500, "\x01" * 8000, fields={"f": 1}, traceback="t" * 9000, tag=tag)
    (frame,) = sink.frames
    assert (frame["id"], "agent_id" in frame) == ("\x01" * 53, False)
    assert "logger".startswith(frame["logger"][:6])
    assert len(sink.outbox.payloads[0]) <= 512


@pytest.mark.parametrize("line", [b"x" * LINE_BYTES, b'"' * LINE_BYTES, b"\x01" * LINE_BYTES, b"\xff" * LINE_BYTES])
def test_a_printed_line_makes_frames_of_at_most_64_kib(line: bytes) -> None:
    """clause: LOG-LINES"""
    sink = Sink()
    with pipe() as ends:
        capture = Capture(ends.read_fd, "stdout", sink.sink)
        writer = threading.Thread(target=lambda: (os.write(ends.write_fd, line), ends.close_write()))
        writer.start()
        writer.join()
        capture.finish(20)
    assert max(map(len, sink.outbox.payloads)) <= 65_536


@pytest.mark.parametrize(
    ("fields", "traceback"),
    [({"key": KEY, "list": [f"a {KEY}"]}, None), (None, f"Traceback\n  {KEY}\n"), ({"key": KEY}, KEY)],
)
def test_no_key_is_logged(fields: Any, traceback: str | None) -> None:
    """clause: SEC-KEYS"""
    sink = Sink()
    sink.redactor.learn(KEY)
    sink.sink.write("info", "x", f"the key is {KEY}", fields=fields, traceback=traceback)
    sink.sink.line("stdout", f"print({KEY})".encode())
    assert KEY.encode() not in b"".join(sink.outbox.payloads)
    assert sink.messages == [f"the key is {REDACTED}", f"print({REDACTED})"]


@pytest.mark.parametrize("kept", [8, 20, len(KEY) - 1])
def test_a_key_that_a_limit_cuts_in_two_leaves_nothing_of_itself(kept: int) -> None:
    """clause: SEC-KEYS"""
    sink = Sink()
    sink.redactor.learn(KEY)
    sink.sink.write("info", "x", "m" * (MAX_MESSAGE_CHARACTERS - kept) + KEY)
    sink.sink.write("info", "x", "m", traceback=KEY + "t" * (logs.MAX_TRACEBACK_CHARACTERS - kept))
    message, traceback = sink.frames
    assert KEY[:kept] not in message["message"].replace("m" * 50, "")
    assert KEY[-kept:] not in traceback["traceback"]


def test_a_record_becomes_a_frame(logger: tuple[logging.Logger, Sink]) -> None:
    log, sink = logger
    log.warning("%s of %d", "one", 2, extra={"user": "x", "count": 3, "thing": object, "none": None})
    (frame,) = sink.frames
    assert (frame["level"], frame["logger"], frame["message"]) == ("warning", "test.logger", "one of 2")
    assert frame["fields"] == {"user": "x", "count": 3, "thing": "<class 'object'>", "none": None}
    assert "traceback" not in frame


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (1, "debug"),
        (10, "debug"),
        (15, "debug"),
        (20, "info"),
        (25, "info"),
        (30, "warning"),
        (45, "error"),
        (99, "critical"),
    ],
)
def test_a_level_of_any_number_has_a_name(logger: tuple[logging.Logger, Sink], number: int, level: str) -> None:
    log, sink = logger
    sink.sink.level = 0
    log.log(number, "x")
    assert [frame["level"] for frame in sink.frames] == [level]


def log_raised(log: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except type(error):
        log.exception("failed")


def test_an_exception_brings_its_traceback(logger: tuple[logging.Logger, Sink]) -> None:
    log, sink = logger
    log_raised(log, ValueError("inside"))
    (frame,) = sink.frames
    assert frame["level"] == "error"
    assert frame["traceback"].startswith("Traceback")
    assert frame["traceback"].endswith("ValueError: inside")


class Hostile(Exception):
    """An exception and a value that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def test_records_that_cannot_be_shown_are_still_told_of(logger: tuple[logging.Logger, Sink]) -> None:
    log, sink = logger
    log.info("%d and %d", "x", 2)
    log.info("fields", extra={"bad": Hostile()})
    log_raised(log, Hostile())
    misfit, fields, exception = sink.frames
    assert misfit["message"] == "'%d and %d' (its arguments do not fit: TypeError)"
    assert fields["fields"] == {"bad": "<Hostile: RuntimeError>"}
    assert "Hostile" in exception["traceback"]


class Unreadable(Exception):
    """An exception that no traceback can be made of."""

    @property
    def __cause__(self) -> BaseException:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise RuntimeError("no")


def test_an_exception_without_a_traceback_is_still_told_of(logger: tuple[logging.Logger, Sink]) -> None:
    log, sink = logger
    log.error("failed", exc_info=(Unreadable, Unreadable(), None))
    (frame,) = sink.frames
    assert frame["traceback"] == "Unreadable (its traceback cannot be shown: RuntimeError)"


def test_a_record_whose_fields_have_no_form_is_sent_without_them(logger: tuple[logging.Logger, Sink]) -> None:
    log, sink = logger
    log.info("counted", extra={"count": 10**5000})
    (frame,) = sink.frames
    assert frame["message"] == "counted"
    assert "fields" not in frame


def test_a_message_that_cannot_be_shown_is_still_told_of(logger: tuple[logging.Logger, Sink]) -> None:
    log, sink = logger
    log.error(Hostile())
    assert len(sink.frames) == 1


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "\N{GRINNING FACE}"])
def test_a_record_with_any_text_is_sent(logger: tuple[logging.Logger, Sink], text: str) -> None:
    log, sink = logger
    log.info(text, extra={"field": text, "number": float("nan")})
    (frame,) = sink.frames
    assert frame["message"] == text.replace("\ud800", "\ufffd")
    assert frame["fields"]["number"] is None


def test_a_record_of_a_run_knows_it(logger: tuple[logging.Logger, Sink]) -> None:
    """clause: LOG-RUN"""
    log, sink = logger
    token = current_run.set(RunTag(sink.exchange(), "agent"))
    try:
        log.info("inside")
    finally:
        current_run.reset(token)
    log.info("outside")
    inside, outside = sink.frames
    assert (inside["id"], inside["agent_id"]) == (7, "agent")
    assert "id" not in outside


def test_a_sink_that_python_s_logging_does_not_go_to_leaves_it_alone() -> None:
    root = logging.getLogger()
    before = root.level, logging.getLogger("httpx").level
    Sink("info").sink.set_level("critical")
    assert (root.level, logging.getLogger("httpx").level) == before


def test_installing_sends_logging_and_warnings_to_the_sink() -> None:
    """clause: LOG-RECORDS"""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    chatty = {name: logging.getLogger(name).level for name in ("httpx", "openai")}
    sink = Sink("info")
    try:
        logs.install(sink.sink)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            warnings.warn("look out", UserWarning, stacklevel=1)
        logging.getLogger("mine").info("a record")
        logging.getLogger("httpx").info("a request")
        logging.getLogger("httpx").warning("a bad request")
        sink.sink.set_level("debug")
        logging.getLogger("httpx").info("another request")
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, old in chatty.items():
            logging.getLogger(name).setLevel(old)
    warned, *rest = sink.frames
    assert (warned["logger"], warned["level"]) == ("py.warnings", "warning")
    assert "look out" in warned["message"]
    assert [frame["message"] for frame in rest] == ["a record", "a bad request", "another request"]


def captured(*pieces: bytes) -> list[str]:
    """What printing these pieces makes of lines."""
    sink = Sink()
    with pipe() as ends:
        capture = Capture(ends.read_fd, "stdout", sink.sink)
        for piece in pieces:
            os.write(ends.write_fd, piece)
        ends.close_write()
        capture.finish(20)
    return sink.messages


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"one\n"], ["one"]),
        ([b"one\ntwo\nthree"], ["one", "two", "three"]),
        ([b"on", b"e\ntw", b"o\n"], ["one", "two"]),
        ([b"dos\r\nunix\n"], ["dos", "unix"]),
        ([b"\n\n"], ["", ""]),
        ([], []),
        ([b"\xff\xfe\n"], ["\ufffd\ufffd"]),
        ([b"\x00\n"], ["\x00"]),
    ],
)
def test_what_is_printed_arrives_line_by_line(pieces: list[bytes], lines: list[str]) -> None:
    """clause: LOG-LINES"""
    assert captured(*pieces) == lines


@pytest.mark.parametrize("length", [LINE_BYTES - 1, LINE_BYTES, LINE_BYTES + 1, 3 * LINE_BYTES + 17])
def test_a_line_of_any_length_arrives_whole_in_its_pieces(length: int) -> None:
    sink = Sink()
    with pipe() as ends:
        capture = Capture(ends.read_fd, "stdout", sink.sink)
        data = b"".join(b"%07d." % number for number in range(length // 8 + 1))[:length] + b"\nend\n"
        for start in range(0, len(data), 5000):
            os.write(ends.write_fd, data[start : start + 5000])
        ends.close_write()
        capture.finish(20)
    assert "".join(sink.messages[:-1]).encode() == data[:length]
    assert sink.messages[-1] == "end"


@pytest.mark.parametrize("text", [KEY, f"{KEY}{KEY}", f"{KEY[:4]}{KEY}", "\u00fc" * 20])
@pytest.mark.parametrize("before", [1, 5, 16, 30, len(KEY) - 1])
@pytest.mark.parametrize("level", ["info", "error"])
def test_what_stands_where_a_printed_line_is_cut_is_read_whole(text: str, before: int, level: str) -> None:
    """clause: SEC-KEYS, LOG-LINES"""
    sink = Sink(level)
    sink.redactor.learn(KEY)
    line = f"{'x' * (LINE_BYTES - before)}{text}, and so on"
    with pipe() as ends:
        capture = Capture(ends.read_fd, "stdout", sink.sink)
        os.write(ends.write_fd, line.encode() + b"\nend\n")
        ends.close_write()
        capture.finish(20)
    said = [line.replace(KEY, REDACTED), "end"]
    assert ["".join(sink.messages[:-1]), *sink.messages[-1:]] == (said if level == "info" else [""])


def test_the_rest_of_a_key_is_not_told_when_its_beginning_was_dropped() -> None:
    """clause: SEC-KEYS, LOG-DROPPED"""
    sink = Sink()
    sink.redactor.learn(KEY)
    sink.outbox.stall(WAITING_BYTES + 1)
    rest = sink.sink.line_part("stdout", f"{'x' * LINE_BYTES}{KEY[:9]}".encode())
    sink.outbox.drain()
    sink.sink.line("stdout", rest + f"{KEY[9:]}, and so on".encode())
    assert sink.messages[-1] == f"{REDACTED}, and so on"


def test_a_printed_line_that_there_is_no_memory_for_is_counted_and_the_next_one_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever prints would wait for ever, once the pipe is full. clause: LOG-DROPPED"""
    sink = Sink()
    line, lost = sink.sink.line, threading.Event()

    def scarce(logger: str, text: bytes) -> None:
        if not lost.is_set():
            lost.set()
            raise MemoryError
        line(logger, text)

    monkeypatch.setattr(sink.sink, "line", scarce)
    with pipe() as ends:
        capture = Capture(ends.read_fd, "stdout", sink.sink)
        os.write(ends.write_fd, b"lost\n")
        waited(lost)
        os.write(ends.write_fd, b"there\n")
        ends.close_write()
        capture.finish(20)
    assert sink.sink.dropped == 1
    assert sink.messages == ["1 log records were dropped: there were too many for the parent", "there"]


def test_a_descriptor_that_cannot_be_read_ends_its_capture(tmp_path: Path) -> None:
    """Somebody's code closed it, or put something else in its place."""
    sink = Sink()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        capture = Capture(folder, "stdout", sink.sink)
        capture.finish(20)
        assert not capture._thread.is_alive()  # pyright: ignore[reportPrivateUsage]
    finally:
        os.close(folder)
    assert sink.frames == []
