"""`axon-port replay FILE`: the record, a worker, and what differs, for people or as JSON (PROTOCOL.md, REPLAY-*)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Final, TextIO

import anyio

from axon_port.client.errors import WorkerNotStarted
from axon_port.client.launch import WORKER, Launch, without_options
from axon_port.records.compare import Difference, differences
from axon_port.records.conversation import conversation_of
from axon_port.records.ending import ending_of
from axon_port.records.pacing import steps
from axon_port.records.player import Broken, Player, Progress
from axon_port.records.reading import LIMITS, read
from axon_port.records.refusal import refuse
from axon_port.statuses import EX_USAGE
from axon_port.terminal import BOLD, GREEN, RED, painted, takes_colours
from axon_port.wire import codec
from axon_port.wire.record import Entry, Head, NotARecord

EX_DIFFERENT: Final = 1

RECORD: Final = "--record"


def replay(path: Path, options: Sequence[str], out: TextIO, *, timed: bool = False, as_json: bool = False) -> int:
    """Play a record; `options` are more for its worker. Exit status 0: the same, 1: not, 64 to 66: not played."""
    if _overwrites(path, options):
        print(f"axon-port replay: {path}: this is played; {RECORD} needs another file", file=sys.stderr)
        return EX_USAGE
    try:
        with path.open("rb") as lines:
            head, frames = read(lines)
            entries = list(frames)
    except (OSError, NotARecord) as error:
        return refuse("replay", path, error)
    try:
        found = _played(head, entries, options, timed=timed)
    except (WorkerNotStarted, Broken) as error:
        print(f"axon-port replay: {error}", file=sys.stderr)
        return EX_DIFFERENT
    _report(found, len(entries), out, as_json=as_json)
    return EX_DIFFERENT if found else 0


def _played(head: Head, entries: list[Entry], options: Sequence[str], *, timed: bool) -> list[Difference]:
    limits = [f"--{name.replace('_', '-')}={head.options[name]}" for name in LIMITS if name in head.options]
    launch = Launch(
        command=[*WORKER, *limits, *options],
        env=without_options(),
        max_frame_bytes=int(head.options.get("max_frame_bytes", Launch.max_frame_bytes)),
    )
    recorded, todo = conversation_of(entries), steps(entries)
    player = Player(launch, recorded, timed=timed)
    replayed = anyio.run(player.play, todo, ending_of(entries, recorded), _progress(len(todo)))
    return list(differences(recorded, replayed))


def _overwrites(path: Path, options: Sequence[str]) -> bool:
    """Whether the worker's own record would take the place of the one that is played."""
    words = [word for option in options for word in option.split("=", 1)]
    targets = [Path(value) for name, value in pairwise(words) if name == RECORD]
    return path.exists() and any(target.exists() and target.samefile(path) for target in targets)


def _progress(total: int) -> Progress:
    if not sys.stderr.isatty():
        return lambda _number: None

    def show(number: int) -> None:
        end = "\r" if number < total else "\r\033[K"
        print(f"\r{number} of {total} commands", end=end, file=sys.stderr, flush=True)

    return show


def _report(found: list[Difference], frames: int, out: TextIO, *, as_json: bool) -> None:
    if as_json:
        out.write(codec.encode({"frames": frames, "differences": [asdict(one) for one in found]}).decode() + "\n")
        return
    colours = takes_colours(out)
    for one in found:
        whose = "" if one.id is None else f"{one.command} {one.id!r}: "
        place = painted(f"{whose}{one.path}", BOLD, wanted=colours)
        recorded, replayed = painted(one.recorded, RED, wanted=colours), painted(one.replayed, GREEN, wanted=colours)
        out.write(f"{place}\n  recorded  {recorded}\n  replayed  {replayed}\n")
    summary = "all the same" if not found else f"{len(found)} difference{'s' * (len(found) > 1)}"
    verdict = painted(summary, RED if found else GREEN, wanted=colours)
    out.write(f"{frames} frames played: {verdict}\n")
