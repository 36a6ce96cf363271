"""Workers that may import `deeds`, and the words of the tests about them."""

import os
import select
from pathlib import Path
from typing import Any

from tests.kit import Frame, Worker, succeeded
from tests.kit.messages import tool_returns

HERE = Path(__file__).parent
SECONDS = 60.0
"""The longest that anything is waited for: a loaded machine is slow."""


def worker_with_deeds(*options: str, **how: Any) -> Worker:
    """A worker that may import `deeds`."""
    chosen: dict[str, Any] = {"pythonpath": [HERE], "timeout": SECONDS, **how}
    return Worker("--allow-import", "deeds", *options, **chosen)


def doing(worker: Worker, *deeds: tuple[str, dict[str, Any]]) -> str:
    """An agent that does something, one after the other, and then says `done`."""
    turns = [{"tool_calls": [{"name": name, "args": args}]} for name, args in deeds]
    tools = [{"name": name, "handler": {"python": f"deeds:{name}"}} for name in sorted({name for name, _ in deeds})]
    return worker.agent([*turns, {"text": "done"}], tools=tools)


def done(worker: Worker, name: str, **args: Any) -> Any:
    """What one deed returned, in a run that ended well."""
    ((_, content, _),) = tool_returns(succeeded(worker.run(doing(worker, (name, args))))["messages"])
    return content


def refused(worker: Worker, name: str, **args: Any) -> Frame:
    """The error of a run whose deed failed."""
    frame = worker.run(doing(worker, (name, args)))
    assert frame["type"] == "error", frame
    return frame


class Survivors:
    """The processes that came from a worker, by descriptors that no other process can take over."""

    def __init__(self, worker: Worker) -> None:
        self._ends = {pid: os.pidfd_open(pid) for pid in worker.survivors()}

    def __len__(self) -> int:
        return len(self._ends)

    def wait_until_gone(self) -> None:
        """Returns when all of them have ended; whoever is still there is named."""
        for pid, end in self._ends.items():
            poll = select.poll()
            poll.register(end, select.POLLIN)
            ended = poll.poll(SECONDS * 1000)
            os.close(end)
            assert ended, f"process {pid} is still there"
