"""Fuzz a real worker: `python -m tests.fuzz.served --runs 100000`.

Changed commands go to a worker's input as frames, whatever they are; bytes that lose the framing, and orders to stop,
are left out. After each batch a ping is answered, what the commands have begun is cancelled and deleted again, and
every frame has kept the envelope. At the end a run works, and the memory is what it was.
"""

import argparse
import itertools
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from tests.kit import Worker, loads, pack, succeeded
from tests.kit.frames import NotAFrame
from tests.kit.invariants import key_of
from tests.kit.processes import resident_bytes
from tests.kit.shapes import is_id

from .commands import changed
from .engine import Mutate, inputs

BATCH: Final = 200
WARM: Final = 0.2
"""The part of all frames after which memory is measured first."""

STOPS: Final = "shutdown"
MOST_PINGS: Final = 100_000


@dataclass(frozen=True)
class Served:
    """What came of it."""

    frames: int
    batches: int
    answered: int
    warm_kib: int
    last_kib: int


def serve(runs: int, seed: int, mutate: Mutate = changed) -> Served:
    """That many frames to one worker, in batches. Raises AssertionError where it breaks a promise."""
    source = inputs("commands", mutate, seed)
    warm_kib, sent, batches, answered = 0, 0, 0, 0
    with Worker("--max-inflight", "50", "--log-level", "critical", timeout=120) as worker:
        while sent < runs:
            lines: list[bytes] = []
            while len(lines) < min(BATCH, runs - sent):
                lines += [line for line in next(source).split(b"\n") if _type_of(line) != STOPS]
            for line in lines:
                _send(worker, line)
            sent += len(lines)
            batches += 1
            answered += _tidy(worker, lines, f"kit {batches} ")
            if warm_kib == 0 and sent >= runs * WARM:
                warm_kib = resident_bytes(worker.pid) // 1024
        last_kib = resident_bytes(worker.pid) // 1024
        agent = {"agent_id": "the last", "model": {"script": [{"text": "still here"}]}}
        succeeded(worker.ask("create_agent", id="kit create", **agent))
        end = worker.ask("run", id="kit run", agent_id="the last", prompt="go")
        assert succeeded(end)["result"] == "still here"
    return Served(sent, batches, answered, warm_kib, last_kib)


def _send(worker: Worker, line: bytes) -> None:
    """A line as a frame. What the worker reads and the kit is too strict for has to be known to the kit."""
    value = _loaded(line)
    if isinstance(value, dict):
        try:
            loads(line)
        except NotAFrame:
            worker.expect(cast("dict[str, Any]", value))
    worker.send_raw(pack(line))


def _type_of(line: bytes) -> Any:
    value = _loaded(line)
    return cast("dict[str, Any]", value).get("type") if isinstance(value, dict) else None


def _loaded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _tidy(worker: Worker, lines: Sequence[bytes], prefix: str) -> int:
    """Ends the runs, deletes the agents, and forgets what was said, all of which was checked as it came; how many
    frames that were.
    """
    values = [cast("dict[str, Any]", value) for value in map(_loaded, lines) if isinstance(value, dict)]
    ids = {key_of(value["id"]) for value in values if _can_be_an_id(value.get("id"))}
    cancels = [
        worker.submit("cancel", id=f"{prefix}{number}", target=target)
        for number, (_, target) in enumerate(sorted(ids, key=repr))
    ]
    for cancel in cancels:
        succeeded(worker.terminal(cancel))
    succeeded(worker.ask("set_log_level", id=f"{prefix}level", level="critical"))
    listed = succeeded(worker.ask("list_agents", id=f"{prefix}list"))["result"]["agents"]
    for number, agent in enumerate(listed):
        succeeded(worker.ask("delete_agent", id=f"{prefix}delete {number}", agent_id=agent["agent_id"]))
    _until_idle(worker, prefix)
    worker.check(finished=False)
    heard = len(worker.frames)
    worker.forget()
    del worker.log[:]
    return heard


def _can_be_an_id(value: Any) -> bool:
    try:
        return is_id(value) and bool(str(value).encode())
    except UnicodeEncodeError:
        return False


def _until_idle(worker: Worker, prefix: str) -> None:
    """Waits for the ends of the runs that were cancelled."""
    for number in itertools.count():
        if succeeded(worker.ask("ping", id=f"{prefix}ping {number}"))["result"]["inflight"] == 0:
            return
        assert number < MOST_PINGS, "runs that were cancelled do not end"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.served", description="Fuzz a real worker.")
    parser.add_argument("--runs", type=int, default=20_000, help="how many frames (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=None, help="of the changes (default: another one each time)")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    done = serve(options.runs, seed)
    print(
        f"served: {done.frames} frames, {done.answered} answers, seed {seed}: nothing broke, a run works; memory "
        f"{done.last_kib} KiB, {done.last_kib - done.warm_kib:+d} KiB since {WARM:.0%} of the frames"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
