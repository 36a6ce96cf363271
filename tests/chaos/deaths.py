"""Tools that end the worker under load: the parent starts another one and hears of each of its jobs once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from tests.kit import WorkerGone, load, succeeded
from tests.kit.parent import Parent

from . import wild

DEATHS = {"_exit": 3, "segfault": -11, "abort": -6, "kill": -9}
"""The exit status that the parent sees of each."""

JOBS = 60
AGENTS = ("talks", "talks long", "works", "tries again")


@dataclass
class Deaths:
    """What came of it."""

    statuses: list[int] = field(default_factory=list[int])
    results: Counter[int] = field(default_factory=Counter[int])
    """How often each job got a terminal frame."""
    failures: list[str] = field(default_factory=list[str])

    @property
    def problems(self) -> list[str]:
        wrong = {job: self.results[job] for job in range(JOBS) if self.results[job] != 1}
        return [*self.failures, *([f"answered other than once: {wrong}"] if wrong else [])]


async def die_and_come_back(seed: int, ways: Sequence[str] = tuple(DEATHS)) -> Deaths:
    """One worker after the other dies with jobs in flight; the last one finishes what is left."""
    told = Deaths()
    chance = Random(seed)
    for way in [*ways, None]:
        options = (*load.IMPORTS, *wild.IMPORTS)
        async with Parent(*options, pythonpath=[load.TOOLS, wild.TOOLS]) as parent:
            await load.furnish(parent)
            await wild.furnish(parent, {})
            left = [job for job in range(JOBS) if not told.results[job]]
            some = left if way is None else chance.sample(left, min(len(left), chance.randint(5, 25)))
            jobs = [asyncio.create_task(_job(parent, told, job, chance.choice(AGENTS))) for job in some]
            if way is not None:
                told.statuses.append(await _killed(parent, told, way, chance))
            await asyncio.gather(*jobs)
            told.failures += parent.problems()
    return told


async def _job(parent: Parent, told: Deaths, job: int, agent: str) -> None:
    try:
        succeeded(await parent.ask("stream", agent_id=agent, prompt=str(job)))
    except WorkerGone:
        return
    told.results[job] += 1


async def _killed(parent: Parent, told: Deaths, way: str, chance: Random) -> int:
    """The exit status of a worker whose tool ends it."""
    for _ in range(chance.randint(0, 3)):
        await load.runs(parent, chance)
    run = parent.open("run", agent_id="is wild", prompt="go", model=wild.calling("die", how=way))
    status = await parent.gone()
    with suppress(WorkerGone):
        told.failures.append(f"an answer to a run that died: {await run.end()}")
    if status != DEATHS[way]:
        told.failures.append(f"{way} gave status {status}: {parent.stderr}")
    if survivors := await parent.left_behind():
        told.failures.append(f"{way} left behind: {survivors}")
    return status
