"""`python -m tests.chaos --minutes 5 --seed 1`: a storm, then deaths; exit status 1 where anything was lost or grew."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from .deaths import die_and_come_back
from .storm import Storm, storm


def told(result: Storm) -> str:
    """A storm for people."""
    runs = result.stats["runs"]
    lines = [
        f"seed {result.seed}: {sum(result.played.values())} scenes in {result.seconds:.0f} s, at most "
        f"{result.most_at_once} at once, {result.stalls} stalls of the parent; {runs['started']} runs, "
        f"{result.stats['tools']} tools, {sum(result.frames.values())} frames: {dict(result.frames)}",
        f"errors: {dict(result.errors)}",
        f"logged as errors: {dict(result.faults_logged)}",
        *(f"{name}: {count} before, {result.after[name]} after" for name, count in result.before.items()),
        f"lost, doubled or misplaced frames, wrong answers, things left: {len(result.problems)}",
        *(f"  {problem}" for problem in result.problems[:20]),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Everything at once, everything wrong.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (default: %(default)d)")
    parser.add_argument("--at-once", type=int, default=300, help="scenes at once (default: %(default)d)")
    options = parser.parse_args(arguments)
    result = asyncio.run(storm(options.seed, at_once=options.at_once, seconds=options.minutes * 60))
    print(told(result))
    deaths = asyncio.run(die_and_come_back(options.seed))
    print(f"deaths: statuses {deaths.statuses}, {sum(deaths.results.values())} jobs, each once: {not deaths.problems}")
    print("\n".join(f"  {problem}" for problem in deaths.problems))
    return 1 if result.problems or deaths.problems else 0


if __name__ == "__main__":
    sys.exit(main())
