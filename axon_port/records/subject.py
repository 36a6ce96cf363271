"""The worker of a replay, which can be brought to its end in the ways that a record tells of."""

from __future__ import annotations

import signal

from axon_port.client.process import Process
from axon_port.records.ending import Cause


class Subject(Process):
    """A process whose parent goes, or who is told to go."""

    def bring_to_end(self, cause: Cause) -> None:
        """Do what `cause` says. It may have ended already."""
        if cause == "eof":
            self._pipes[0].close()
        else:
            self._child.send_signal(signal.SIGTERM)
