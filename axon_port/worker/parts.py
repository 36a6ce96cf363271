"""What the process makes before its loop turns, for those that serve on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from axon_port.worker.exchanges import Exchanges
from axon_port.worker.intake import Inbox
from axon_port.worker.logs import LogSink
from axon_port.worker.options import Options
from axon_port.worker.redaction import Redactor
from axon_port.worker.spans import Telemetry
from axon_port.worker.stats import Stats
from axon_port.worker.watchdog import Watchdog


@dataclass(frozen=True)
class Parts:
    """`pong` is the result of a ping; `frames` tells of frames and of bytes, each `in` and `out`."""

    options: Options
    exchanges: Exchanges
    inbox: Inbox
    stats: Stats
    sink: LogSink
    redactor: Redactor
    watchdog: Watchdog
    pong: Callable[[], dict[str, Any]]
    frames: Callable[[], tuple[dict[str, int], dict[str, int]]]
    telemetry: Telemetry
