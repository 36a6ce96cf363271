"""Hundreds of scenes at once on one worker, for a time or a number, while its parent stalls now and then.

What is drawn follows from the seed; which scene meets which moment of another one does not.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.kit import Frame, load, succeeded
from tests.kit.parent import PATIENCE_S, Parent
from tests.kit.providers import Provider

from . import wild
from .weather import Weather

STALLS = ((0.05, 0.3), (0.3, 1.0), (1.0, 3.0))
"""How long the parent does not read, in seconds, from and to."""

BETWEEN_STALLS_S = 12.0


@dataclass
class Storm:
    """What came of it."""

    seed: int
    played: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    most_at_once: int = 0
    stalls: int = 0
    seconds: float = 0.0
    before: dict[str, int] = field(default_factory=dict[str, int])
    after: dict[str, int] = field(default_factory=dict[str, int])
    stats: dict[str, Any] = field(default_factory=dict[str, Any])
    frames: Mapping[str, int] = field(default_factory=dict[str, int])
    errors: Mapping[str, int] = field(default_factory=dict[str, int])
    faults_logged: Mapping[str, int] = field(default_factory=dict[str, int])
    unexpected: list[Frame] = field(default_factory=list[Frame])
    """Logs at level error that no tool of ours has caused."""

    @property
    def grown(self) -> list[str]:
        """What there is more of than before."""
        return [
            f"{name}: {count} before, {self.after[name]} after"
            for name, count in self.before.items()
            if name != "objects" and self.after[name] > count
        ]

    @property
    def problems(self) -> list[str]:
        """Everything that should not be."""
        logged = [f"logged: {log!s:.3000}" for log in self.unexpected]
        return [*self.failures, *(f"grown: {line}" for line in self.grown), *logged]


async def storm(seed: int, *, at_once: int, seconds: float | None = None, scenes: int | None = None) -> Storm:
    """A whole life of a worker: quiet, the storm, quiet again."""
    told = Storm(seed)
    weather = Weather(seed)
    with ExitStack() as open_ones:
        providers = [open_ones.enter_context(Provider(interface)) for interface in wild.MODELS]
        options = (*load.IMPORTS, *wild.IMPORTS)
        async with Parent(*options, pythonpath=[load.TOOLS, wild.TOOLS]) as parent:
            for provider in providers:
                provider.respond(weather)
            await load.furnish(parent)
            names = {wild.MODELS[provider.interface]: provider for provider in providers}
            await wild.furnish(parent, {name: provider.endpoint(name) for name, provider in names.items()})
            told.before = await load.at_rest(parent, list(wild.MODELS.values()))
            stalling = asyncio.create_task(_stall_now_and_then(parent, Random(seed), told))
            begun = time.monotonic()
            await _play(parent, told, at_once, begun + seconds if seconds is not None else None, scenes)
            told.seconds = time.monotonic() - begun
            stalling.cancel()
            parent.resume()
            weather.fair = True
            told.after = await load.at_rest(parent, list(wild.MODELS.values()), {**told.before, "objects": sys.maxsize})
            told.stats = succeeded(await parent.ask("stats"))["result"]
            if (status := await parent.leave()) != 0:
                told.failures.append(f"the worker ended with status {status}: {parent.stderr}")
            told.failures += parent.problems()
            if survivors := await parent.left_behind():
                told.failures.append(f"left behind: {survivors}")
            told.unexpected = [log for log in parent.examples.values() if log["logger"] != "axon_port.tools"]
            told.frames, told.errors, told.faults_logged = parent.received, parent.errors, parent.faults_logged
    return told


async def _play(parent: Parent, told: Storm, at_once: int, until: float | None, scenes: int | None) -> None:
    """So many players, each of whom plays one scene after the other."""
    choices = {**load.SCENES, **wild.WILD_SCENES}
    names, weights = list(choices), list(choices.values())
    number = 0
    on_stage: dict[int, str] = {}

    async def player() -> None:
        nonlocal number
        while (until is None or time.monotonic() < until) and (scenes is None or number < scenes):
            number += 1
            mine = number
            chance = Random(f"{told.seed} {number}")
            (scene,) = chance.choices(names, weights)
            on_stage[mine] = scene.__name__
            told.most_at_once = max(told.most_at_once, len(on_stage))
            try:
                await scene(parent, chance)
            except Exception as problem:  # noqa: BLE001 - every failure of a scene is told at the end
                told.failures.append(f"{scene.__name__}: {type(problem).__name__}: {problem!s:.400}")
            del on_stage[mine]
            told.played[scene.__name__] += 1

    players = [asyncio.create_task(player()) for _ in range(at_once)]
    while True:
        played = told.played.total()
        _, unfinished = await asyncio.wait(players, timeout=PATIENCE_S)
        if not unfinished or told.played.total() == played:
            break
    for one in unfinished:
        one.cancel()
    if unfinished:
        told.failures.append(f"{len(unfinished)} scenes never ended: {sorted(on_stage.values())}")


async def _stall_now_and_then(parent: Parent, chance: Random, told: Storm) -> None:
    while True:
        await asyncio.sleep(chance.random() * BETWEEN_STALLS_S)
        told.stalls += 1
        parent.stall()
        await asyncio.sleep(chance.uniform(*chance.choice(STALLS)))
        parent.resume()
