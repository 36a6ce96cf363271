"""A parent that starts a worker, has it start an MCP server, tells their pids and waits to be killed.

Usage: `python parent.py SERVER_SCRIPT`, from the root of the repository.
"""

import json
import signal
import sys

from tests.kit import Worker, succeeded
from tests.kit.messages import tool_returns


def main(script: str) -> None:
    """Prints one line: the worker's pid and the server's."""
    with Worker("--allow-capability", "MCP", "--allow-capability", "MCP:stdio", at_exit="kill") as worker:
        turns = [{"tool_calls": [{"name": "pid"}]}, {"text": "done"}]
        answer = succeeded(worker.run(worker.agent(turns, capabilities=[{"MCP": {"url": script}}])))
        ((_, server, _),) = tool_returns(answer["messages"])
        print(json.dumps([worker.pid, server]), flush=True)
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
