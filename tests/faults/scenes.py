"""Agents with tools of the faulty package, and what a process has used."""

import time
from pathlib import Path
from typing import Any

from tests.contract.scenarios import calls, says
from tests.kit import Frame, Worker

HERE = Path(__file__).parent
MIB = 1 << 20


def faulty_worker(*options: str, **how: Any) -> Worker:
    """A worker that may import the faulty package."""
    return Worker("--allow-import", "faulty", *options, pythonpath=[HERE], **how)


def faulty_tool(function: str, **fields: Any) -> dict[str, Any]:
    """A tool that the worker runs, named like its function: `module.function`."""
    module, _, name = function.rpartition(".")
    return {"name": name, "handler": {"python": f"faulty.{module}:{name}"}, **fields}


def faulty_agent(worker: Worker, function: str, **args: Any) -> str:
    """An agent that calls one function of the faulty package once and then says `done`."""
    name = function.rpartition(".")[2]
    return worker.agent([calls((name, args)), says("done")], tools=[faulty_tool(function)])


def start_faulty(worker: Worker, function: str, **args: Any) -> Any:
    """The id of a run of such an agent."""
    return worker.start_run(faulty_agent(worker, function, **args))


def run_faulty(worker: Worker, function: str, **args: Any) -> Frame:
    """The terminal frame of a run of such an agent."""
    return worker.terminal(start_faulty(worker, function, **args))


def all_threads_sleep(pid: int) -> bool:
    """Whether no thread of the process computes or waits for a processor."""
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(state == "S" for state in states)


def wait_until_held_back(worker: Worker) -> None:
    """Returns when the worker has done what it can do without its parent: it sleeps whenever one looks."""
    deadline, seen = time.monotonic() + 240, 0
    while seen < 50:
        assert time.monotonic() < deadline, "the worker never comes to rest"
        seen = seen + 1 if all_threads_sleep(worker.pid) else 0
        time.sleep(0.005)  # between two looks; nothing depends on its length
