"""`python -m tests.bench`: measures, and says what it found."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import chart, report
from tests.bench.peers import PEERS, Peer
from tests.bench.session import Session
from tests.bench.workloads import workloads
from tests.bench.workloads.growth import growths

GROWTH = "growth"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    everything = {workload.name: workload for workload in workloads(quick=options.quick)}
    growth = {f"{GROWTH}-{growth.name}": growth for growth in growths(quick=options.quick)}
    names = _chosen(options.only, [*everything, *growth])
    measured = [everything[name] for name in names if name in everything]
    growing = [growth[name] for name in names if name in growth]
    peers = _here(options.peers)
    repeats = options.repeats or (2 if options.quick else 5)
    with Session(peers, repeats) as session:
        for workload in measured:
            session.measure(workload)
        for growth in growing:
            session.grow(growth)
    print(report.markdown(session, measured, growing, peers))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(session, growing), indent=1) + "\n")
    if options.svg:
        options.svg.write_text(chart.svg(session.results, measured, peers))
    return 1 if session.results.failures else 0


def _chosen(wanted: Sequence[str], names: Sequence[str]) -> list[str]:
    """A name stands for itself, or for those that begin with it: `history`, `growth`."""
    if not wanted:
        return list(names)
    chosen = {
        name for one in wanted for name in names if name == one or (one not in names and name.startswith(f"{one}-"))
    }
    if unknown := [one for one in wanted if not any(name == one or name.startswith(f"{one}-") for name in names)]:
        sys.exit(f"no such workload: {', '.join(unknown)}. There are: {', '.join(names)}")
    return [name for name in names if name in chosen]


def _here(names: Sequence[str]) -> list[Peer]:
    """The peers that were asked for and that can be measured on this machine; a word about the others."""
    found: list[Peer] = []
    for peer in (kind() for kind in PEERS if not names or kind.name in names):
        if (why := peer.missing()) is None:
            found.append(peer)
        else:
            print(f"without {peer.name}: {why}", file=sys.stderr)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures axon-port and its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer of everything: minutes in place of an hour")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORKLOAD", help="by name or the beginning of it")
    parser.add_argument("--peers", nargs="+", default=[], choices=[kind.name for kind in PEERS], metavar="PEER")
    parser.add_argument("--repeats", type=int, help="of everything (5; 2 with --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the chart")
    return parser


if __name__ == "__main__":
    sys.exit(main())
