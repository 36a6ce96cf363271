"""What every run of a worker shares."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from axon_port.agents.definition import Workshop
from axon_port.worker.admission import Admission
from axon_port.worker.calls import PendingCalls
from axon_port.worker.outbox import Outbox
from axon_port.worker.roster import Roster
from axon_port.worker.spans import Telemetry
from axon_port.worker.stats import Stats


@dataclass(frozen=True)
class RunServices:
    """Given to each run by the dispatcher; `max_frame_bytes` and `max_tool_calls` are the options of these names."""

    outbox: Outbox
    admission: Admission
    calls: PendingCalls
    roster: Roster
    stats: Stats
    workshop: Workshop
    threads: anyio.CapacityLimiter
    telemetry: Telemetry
    max_frame_bytes: int
    max_tool_calls: int
