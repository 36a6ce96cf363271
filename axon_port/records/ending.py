"""How a recorded worker came to its end, where no command did it, and when a replay may do the same.

A record does not tell the moment. It is after everything that did not come of the end itself: a run that ended because
nobody could answer it had made its calls before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from axon_port.records.conversation import Conversation, Exchange, Key, Stage
from axon_port.wire.record import Entry

Cause = Literal["eof", "signal"]

_BY_THE_END: Final = frozenset({"ParentGone", "Cancelled", "ShuttingDown"})


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of the input, or a signal; `cause` is None where it was neither. `at` is the last moment recorded."""

    cause: Cause | None
    at: int
    after: Mapping[Key, Stage]


def ending_of(entries: Sequence[Entry], recorded: Conversation) -> Ending:
    """The ending of a whole record, whose conversation is `recorded`."""
    exchanges = recorded.exchanges
    after = {key: _before_the_end(exchange) for key, exchange in exchanges.items()}
    return Ending(_cause(entries, recorded), entries[-1].at if entries else 0, after)


def _cause(entries: Sequence[Entry], recorded: Conversation) -> Cause | None:
    for entry in entries:
        if entry.direction == "out" and entry.frame.get("type") == "goodbye":
            reason = entry.frame.get("reason")
            return reason if reason in ("eof", "signal") else None
    # The end of a worker that was killed while it ended is not recorded, but what it said meanwhile is.
    alone = any(exchange.failure == "ParentGone" or exchange.overdrawn for exchange in recorded.exchanges.values())
    return "eof" if alone else None


def _before_the_end(exchange: Exchange) -> Stage:
    calls, begun, over = exchange.stage
    if exchange.overdrawn:
        # Chunks that had no credit came when nobody could give it any more; without any the others did too.
        return Stage(calls, begun=begun and exchange.credit != 0, over=False)
    return Stage(calls, begun=begun, over=over and exchange.failure not in _BY_THE_END)
