"""From a frame to a command that was claimed, on the reader's thread (PROTOCOL.md, ENV-*).

What can be answered without the event loop is answered here: frames that are none, and pings, which are meant to
tell how late the loop is. Everything else goes to the loop in the order in which it came.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from axon_port.wire import codec
from axon_port.wire.envelope import ANSWERS, Envelope, Refused, number_lost, open_envelope, ping_id
from axon_port.wire.errors import WireError
from axon_port.wire.events import BESIDE_ID_BYTES, error_frame
from axon_port.wire.framing import FramingLost, Oversize
from axon_port.worker.exchanges import Exchange, Exchanges, Id
from axon_port.worker.stats import Stats

if TYPE_CHECKING:
    from axon_port.worker.recorder import Recorder

_logger = logging.getLogger("axon_port.intake")

INBOX_BYTES: Final = 512 * 1024 * 1024
"""Commands read and not yet taken by the loop, above which the reader stops: somebody's code blocks the loop."""


@dataclass(frozen=True, slots=True)
class Received:
    """A command in the order of arrival. `exchange` is None for an answer to a run (`tool_result`, …).

    `at`, here and below, is when it was read: what is to end by then does not wait for the loop.
    """

    envelope: Envelope
    exchange: Exchange | None
    size: int
    at: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class InputEnded:
    truncated: bool
    at: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class InputEnding:
    """The input was closed, and what came before that waits until answers are read."""

    at: float


@dataclass(frozen=True, slots=True)
class InputLost:
    """The framing is lost: nothing that follows can be read."""


@dataclass(frozen=True, slots=True)
class Signalled:
    number: int
    at: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class ParentDied:
    """The parent process has gone, though the input is still open."""

    at: float = field(default_factory=time.monotonic, compare=False)


_PAYLOAD: Final = (bytes, bytearray)

Item = Received | InputEnding | InputEnded | InputLost | Signalled | ParentDied


class Inbox:
    """What the loop has still to do, in order. Filled by threads, emptied by the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._told = False
        self._notify: Callable[[], None] | None = None
        self._resume: Callable[[], None] | None = None

    def put(self, *items: Item) -> None:
        """Add what came together: the loop sees all of it or nothing."""
        size = sum(item.size for item in items if isinstance(item, Received))
        with self._lock:
            self._items.extend(items)
            self._bytes += size
        self._tell()

    def has_room(self, resume: Callable[[], None]) -> bool:
        """Whether to read on; if not, `resume` is called when there is room again."""
        if self._bytes <= INBOX_BYTES:
            return True
        with self._lock:
            if self._bytes <= INBOX_BYTES:
                return True
            self._resume = resume
            return False

    def connect(self, notify: Callable[[], None]) -> None:
        """From now on call `notify`, from whichever thread, when something has come since `take` found nothing."""
        with self._lock:
            self._notify = notify
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            notify = self._notify if self._items and not self._told else None
            self._told = self._told or notify is not None
        if notify is None:
            return
        try:
            notify()
        except BaseException:
            # Without memory for it: the next item tries again.
            self._told = False
            raise

    def take(self) -> Item | None:
        """The next item, and None when there is none."""
        with self._lock:
            if not self._items:
                self._told = False
                return None
            item = self._items.popleft()
            if isinstance(item, Received):
                self._bytes -= item.size
            resume = self._resume if self._bytes <= INBOX_BYTES // 2 else None
            if resume is not None:
                self._resume = None
        if resume is not None:
            resume()
        return item

    def __bool__(self) -> bool:
        return bool(self._items)


class Intake:
    """The reader's listener."""

    def __init__(
        self,
        exchanges: Exchanges,
        inbox: Inbox,
        stats: Stats,
        *,
        pong: Callable[[], dict[str, Any]],
        on_ended: Callable[[], None],
        on_gone: Callable[[], None],
        on_signal: Callable[[int], None],
        on_shutdown: Callable[[dict[str, Any]], None],
        on_lost: Callable[[], None],
        on_deaf: Callable[[], None],
        recorder: Recorder | None = None,
    ) -> None:
        self._exchanges = exchanges
        self._id_bytes = exchanges.max_frame_bytes - BESIDE_ID_BYTES
        self._inbox = inbox
        self._stats = stats
        self._pong = pong
        self._on_ended = on_ended
        self._on_gone = on_gone
        self._on_signal = on_signal
        self._on_shutdown = on_shutdown
        self._on_lost = on_lost
        self._on_deaf = on_deaf
        self._recorder = recorder
        self._taken: list[Item] = []
        self._lost = False
        self._ending_at = math.inf
        self.resume: Callable[[], None] = lambda: None
        self.frames_in = 0

    def heard(self, frames: list[bytes | bytearray | Oversize | FramingLost]) -> bool:
        outbox = self._exchanges.outbox
        if len(frames) == 1:
            self._take_all(frames)
        elif frames:
            with outbox.gathered():
                self._take_all(frames)
        if self._lost:
            self._on_lost()
        if outbox.congested:
            outbox.when_room(self.resume)
            return False
        return self._inbox.has_room(self.resume)

    def ended(self, *, truncated: bool) -> None:
        if truncated:
            error = WireError("TruncatedFrame", "the input ended inside a frame: some bytes of it never came")
            self._exchanges.say(error_frame(None, error))
        self._on_ended()
        self._inbox.put(InputEnded(truncated, min(self._ending_at, time.monotonic())))

    def ending(self) -> None:
        # A parent that reads no answers could put off the end for ever.
        self._ending_at = time.monotonic()
        self._on_ended()
        self._inbox.put(InputEnding(self._ending_at))

    def listener_gone(self) -> None:
        self._on_gone()

    def signalled(self, number: int) -> None:
        self._on_signal(number)

    def deaf(self) -> None:
        self._on_deaf()

    def _take_all(self, frames: list[bytes | bytearray | Oversize | FramingLost]) -> None:
        """In order. Pings that follow one another are answered together: what they are told is written once."""
        pings: list[Id] = []
        for frame in frames:
            try:
                if isinstance(frame, _PAYLOAD) and (frame_id := ping_id(frame, self._id_bytes)) is not None:
                    pings.append(frame_id)
                    if self._recorder is not None:
                        self._recorder.heard(frame)
                    continue
                if pings:
                    self._answer_pings(pings)
                    pings = []
                self._take(frame)
            except Exception:  # noqa: BLE001  `_failed` logs it
                self._failed()
        if pings:
            self._answer_pings(pings)
        if self._taken:
            self._hand_over()

    def _hand_over(self) -> None:
        # Together: what was said in one breath is heard in one, as two cancels of the same run.
        taken, self._taken = self._taken, []
        try:
            self._inbox.put(*taken)
        except Exception:  # noqa: BLE001  `_failed` logs it
            for item in taken:
                if isinstance(item, Received) and item.exchange is not None:
                    item.exchange.fail(WireError("InternalError", "the worker has no memory left for this"))
            self._failed()

    def _failed(self) -> None:
        """A fault of ours, but the thread that reads must live on: without it the worker would be deaf."""
        _logger.exception("a frame could not be taken")
        self._exchanges.say(error_frame(None, WireError("InternalError", "the worker failed on a frame")))

    def _answer_pings(self, pings: list[Id]) -> None:
        self.frames_in += len(pings)
        try:
            in_use = self._exchanges.answer(pings, self._pong())
            self._stats.pings_at_once += len(pings) - len(in_use)
            for frame_id in in_use:
                self._in_use(frame_id)
        except Exception:  # noqa: BLE001  `_failed` logs it
            self._failed()

    def _take(self, frame: bytes | bytearray | Oversize | FramingLost) -> None:
        match frame:
            case bytes() | bytearray():
                self.frames_in += 1
                self._receive(frame)
            case Oversize(length):
                self.frames_in += 1
                self._unreadable(length)
                self._exchanges.say(error_frame(None, _skipped(frame, self._exchanges.max_frame_bytes)))
            case FramingLost():
                error = _framing_lost(frame, self._exchanges.max_frame_bytes)
                self._exchanges.say(error_frame(None, error, fatal=True))
                self._on_ended()
                self._taken.append(InputLost())
                self._lost = True

    def _receive(self, payload: bytes | bytearray) -> None:
        try:
            value = codec.decode(payload)
        except codec.NotJson as error:
            self._unreadable(len(payload))
            self._exchanges.say(error_frame(None, WireError("InvalidJSON", f"the frame is no JSON: {error}")))
            return
        except codec.NumberLost as error:
            self._unreadable(len(payload))
            self._refuse(number_lost(error, self._id_bytes))
            return
        if self._recorder is not None:
            self._recorder.heard(payload)
        try:
            envelope = open_envelope(value, self._id_bytes)
        except Refused as refused:
            self._refuse(refused)
            return
        self._admit(envelope, len(payload))

    def _unreadable(self, length: int) -> None:
        if self._recorder is not None:
            self._recorder.skipped(length)

    def _admit(self, envelope: Envelope, size: int) -> None:
        if envelope.type in ANSWERS:
            self._taken.append(Received(envelope, None, size))
        elif (exchange := self._claimed(envelope)) is not None:
            self._taken.append(Received(envelope, exchange, size))
            if envelope.type == "shutdown":
                self._on_shutdown(envelope.fields)

    def _claimed(self, envelope: Envelope) -> Exchange | None:
        """None where its id is in use, which is said before the end of the one that uses it can be."""
        with self._exchanges.lock:
            exchange = self._exchanges.claim(envelope.id, envelope.type)
            if exchange is None:
                self._in_use(envelope.id)
            return exchange

    def _in_use(self, frame_id: Id) -> None:
        message = "this id is in use: its terminal frame has not been sent yet"
        self._exchanges.say(error_frame(None, WireError("DuplicateId", message), run_id=frame_id))

    def _refuse(self, refused: Refused) -> None:
        exchange = None if refused.id is None else self._exchanges.claim(refused.id, "refused")
        if exchange is None:
            self._exchanges.say(error_frame(None, refused.error, **refused.about))
        else:
            exchange.fail(refused.error)


def _skipped(frame: Oversize, limit: int) -> WireError:
    if frame.allowed:
        return WireError(
            "InternalError", f"a frame of {frame.length} bytes was skipped: the worker has no memory for it"
        )
    message = f"a frame of {frame.length} bytes was skipped: the limit is {limit} (--max-frame-bytes)"
    return WireError("FrameTooLarge", message, details={"length": frame.length, "max_frame_bytes": limit})


def _framing_lost(lost: FramingLost, limit: int) -> WireError:
    reason = "plain text came where a frame's length belongs" if lost.is_text else "no frame can be that long"
    message = (
        f"the framing is lost: {reason}. A frame is 4 bytes of length and JSON; `axon-port pack` makes frames of lines"
    )
    return WireError("FrameTooLarge", message, details={"length": lost.length, "max_frame_bytes": limit})
