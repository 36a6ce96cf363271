"""What commands are told that the process ends without (PROTOCOL.md, LIFE-GOODBYE). From any thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from axon_port.wire.errors import WireError
from axon_port.worker.exchanges import Exchange

RUNS: Final = frozenset({"run", "stream"})
"""Commands that end as `Cancelled`."""


def answer_unbegun(open_exchanges: Iterable[Exchange]) -> None:
    """The worker could not begin with any of these. A shutdown is done; it is told last."""
    shutdowns: list[Exchange] = []
    for exchange in open_exchanges:
        if exchange.kind == "shutdown":
            shutdowns.append(exchange)
        else:
            error_type = "Cancelled" if exchange.kind in RUNS else "ShuttingDown"
            exchange.fail(WireError(error_type, "the worker went down before it could begin"))
    for exchange in shutdowns:
        exchange.succeed({})


def answer_rest(open_exchanges: Iterable[Exchange], shutdowns: Iterable[Exchange], *, orderly: bool) -> None:
    """The shutdowns are done. In an orderly end all others came while it was under way."""
    for exchange in shutdowns:
        exchange.succeed({})
    for exchange in open_exchanges:
        error_type = "ShuttingDown" if orderly else "InternalError"
        exchange.fail(WireError(error_type, "the worker ended before this was done"))
