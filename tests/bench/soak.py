"""A worker under a steady mixed load: `python -m tests.bench.soak --minutes 60 --json FILE`.

One worker gets the scenes of `tests.kit.load`, and runs against two loopback providers, at a steady rate. After a
warm-up its memory is sampled; before and after, when it is idle, its descriptors, threads, children, tasks and objects
are counted. The exit status is 1 when something has grown, or a frame was lost, doubled or out of place.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.kit import load, succeeded
from tests.kit.parent import PATIENCE_S, Parent
from tests.kit.processes import children, descriptors, resident_bytes, threads
from tests.kit.providers import Answer, Interface, Provider, Request, ToolCall

RATE: Final = 34.0
"""Scenes begun in a second; most are one run."""

MOST_AT_ONCE: Final = 100
"""Scenes under way, where the machine does not keep up with the rate."""

PROVIDER_SHARE: Final = 0.08
SAMPLE_S: Final = 3.0
QUIET_S: Final = 11.0
"""Until what the warm-up has left idle can end: see `load.at_rest`."""

GROWN_KIB: Final = 3072
"""Growth of memory, fitted over the second half of the measured time, that counts as none: the heap is never quite the
same. In the first half what is freed still leaves holes, and caches fill; a leak goes on."""

GROWN_OBJECTS: Final = 5000
"""Likewise of the interpreter's objects: caches of the libraries."""

GROWTH: Final = {"descriptors": 0, "threads": 0, "children": 0, "tasks": 0, "objects": GROWN_OBJECTS}

MODELS: Final[Mapping[Interface, str]] = {"openai_chat": "gpt-5.2", "anthropic": "claude-sonnet-4-5"}


@dataclass(frozen=True)
class Sample:
    """What the worker held at a time, in seconds since the start."""

    seconds: float
    rss_kib: int
    descriptors: int
    threads: int
    children: int
    under_way: int


@dataclass
class Soak:
    """One soak and its books."""

    parent: Parent
    chance: Random
    rate: float
    played: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    samples: list[Sample] = field(default_factory=list[Sample])
    under_way: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    async def load(self, seconds: float) -> None:
        """Begins scenes at the rate for so long, then waits for all that are under way."""
        scenes: dict[Callable[[Parent, Random], Awaitable[None]], float] = dict(load.SCENES)
        scenes[asks_a_provider] = PROVIDER_SHARE * sum(scenes.values())
        names, weights = list(scenes), list(scenes.values())
        begun, until = time.monotonic(), time.monotonic() + seconds
        due = 0
        while time.monotonic() < until:
            due += 1
            await asyncio.sleep(max(0.0, begun + due / self.rate - time.monotonic()))
            if len(self.under_way) < MOST_AT_ONCE:
                (scene,) = self.chance.choices(names, weights)
                self._begin(scene)
        if self.under_way:
            _, left = await asyncio.wait(self.under_way, timeout=PATIENCE_S)
            self.failures += [f"{task.get_name()} never ended" for task in left]

    def _begin(self, scene: Callable[[Parent, Random], Awaitable[None]]) -> None:
        async def played() -> None:
            try:
                await scene(self.parent, Random(self.chance.random()))
            except Exception as problem:  # noqa: BLE001 - every failure of a scene is told at the end
                self.failures.append(f"{scene.__name__}: {type(problem).__name__}: {problem!s:.300}")

        self.played[scene.__name__] += 1
        task = asyncio.create_task(played(), name=scene.__name__)
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def watch(self) -> None:
        """Samples until cancelled."""
        while True:
            self.samples.append(self.sample())
            await asyncio.sleep(SAMPLE_S)

    def sample(self) -> Sample:
        pid = self.parent.pid
        held = (len(descriptors(pid)), threads(pid), len(children(pid)))
        return Sample(round(self.seconds, 1), resident_bytes(pid) // 1024, *held, len(self.under_way))

    async def idle(self, most: Mapping[str, int] | None = None) -> dict[str, int]:
        """What the worker holds when nothing is under way and what was idle has gone."""
        if most is None:
            await asyncio.sleep(QUIET_S)
        held = await load.at_rest(self.parent, list(MODELS.values()), most)
        return {**held, "rss_kib": resident_bytes(self.parent.pid) // 1024}


async def asks_a_provider(parent: Parent, chance: Random) -> None:
    """A run or a stream over HTTP, with a tool call in it."""
    kind = chance.choice(["run", "stream"])
    exchange = parent.open(kind, agent_id=chance.choice(list(MODELS.values())), prompt="go")
    async for frame in exchange:
        if frame["type"] == "tool_call":
            parent.answer(frame, result={"degrees": 8})
    assert succeeded(exchange.last or {})["result"] == "Take a coat."


def answered(request: Request) -> Answer:
    """A call first, then a text; a quiet prompt gets the text at once."""
    if b"degrees" in request.body or b"quiet" in request.body:
        return Answer(("Take ", "a ", "coat."))
    return Answer(tool_calls=(ToolCall("look", {"n": 1}, f"call_{request.number}"),))


def slope(samples: Sequence[Sample]) -> float:
    """KiB an hour, by least squares."""
    mean_x = sum(sample.seconds for sample in samples) / len(samples)
    mean_y = sum(sample.rss_kib for sample in samples) / len(samples)
    over = sum((sample.seconds - mean_x) * (sample.rss_kib - mean_y) for sample in samples)
    under = sum((sample.seconds - mean_x) ** 2 for sample in samples)
    return over / under * 3600 if under else 0.0


async def soak(minutes: float, rate: float, seed: int, warm_s: float = 15.0) -> dict[str, Any]:
    """The whole of it, a tenth of it or `warm_s` for the warm-up; its report."""
    with ExitStack() as open_ones:
        providers = [open_ones.enter_context(Provider(interface)) for interface in MODELS]
        async with Parent(*load.IMPORTS, pythonpath=[load.TOOLS]) as parent:
            await load.furnish(parent)
            for provider in providers:
                provider.respond(answered)
                name = MODELS[provider.interface]
                fields: dict[str, Any] = {"model": provider.endpoint(name), "tools": [load.LOOK]}
                fields["model_settings"] = {"max_tokens": 1000}
                # On a machine that stands still for 5 s a connection is not made in time.
                fields["retry"] = {"attempts": 4, "base_ms": 100}
                succeeded(await parent.ask("create_agent", agent_id=name, **fields))
            run = Soak(parent, Random(seed), rate)
            total = minutes * 60
            warm = max(warm_s, total / 10)
            await run.load(warm)
            before, measured_from = await run.idle(), run.seconds
            watch = asyncio.create_task(run.watch())
            await run.load(total - warm)
            watch.cancel()
            after = await run.idle({name: before[name] + most for name, most in GROWTH.items()})
            stats = succeeded(await parent.ask("stats"))["result"]
            status = await parent.leave()
            problems = [*parent.problems(), *run.failures]
            problems += [f"logged: {log!s:.2000}" for log in parent.examples.values()]
            if status != 0:
                problems.append(f"the worker ended with status {status}: {parent.stderr}")
            return _report(run, before, after, stats, problems, measured_from)


def _report(
    run: Soak,
    before: dict[str, int],
    after: dict[str, int],
    stats: dict[str, Any],
    problems: list[str],
    measured_from: float,
) -> dict[str, Any]:
    samples = run.samples
    later = samples[len(samples) // 2 :]
    hours, fitted = (later[-1].seconds - later[0].seconds) / 3600, slope(later)
    grown = [
        f"{name}: {before[name]} before, {after[name]} after"
        for name, most in GROWTH.items()
        if after[name] > before[name] + most
    ]
    if fitted * hours > GROWN_KIB:
        grown.append(f"memory: {fitted * hours:.0f} KiB in the last {hours * 60:.1f} minutes")
    every = max(1, len(samples) // 60)
    return {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count(), "system": platform.release()},
        "seconds": round(run.seconds, 1),
        "measured_seconds": round(run.seconds - measured_from, 1),
        "rate_wanted": run.rate,
        "scenes": sum(run.played.values()),
        "scenes_a_second": round(sum(run.played.values()) / run.seconds, 1),
        "runs": stats["runs"],
        "tool_calls": stats["tools"]["calls"],
        "frames": stats["frames"],
        "bytes": stats["bytes"],
        "tokens": stats["tokens"],
        "logs_dropped": stats["logs_dropped"],
        "rss_kib": {
            "idle_before": before["rss_kib"],
            "idle_after": after["rss_kib"],
            "least": min(sample.rss_kib for sample in samples),
            "most": max(sample.rss_kib for sample in samples),
        },
        "slope_kib_per_hour": {"all": round(slope(samples), 1), "second_half": round(fitted, 1)},
        "idle_before": before,
        "idle_after": after,
        "wrong_frames": len(problems),
        "problems": problems[:20],
        "grown": grown,
        "faults_logged": dict(run.parent.faults_logged),
        "errors": dict(run.parent.errors),
        "played": dict(run.played),
        "samples": {
            "columns": ["seconds", "rss_kib", "descriptors", "threads", "children", "under_way"],
            "rows": [
                [one.seconds, one.rss_kib, one.descriptors, one.threads, one.children, one.under_way]
                for one in samples[::every]
            ],
        },
    }


def told(report: Mapping[str, Any]) -> str:
    """The report for people."""
    runs, rss, slopes = report["runs"], report["rss_kib"], report["slope_kib_per_hour"]
    lines = [
        f"{report['seconds']:.0f} s, {runs['started']} runs, {report['tool_calls']} tool calls, "
        f"{report['frames']['in']} frames in, {report['frames']['out']} out, {report['scenes_a_second']} scenes/s",
        f"memory: {slopes['all']:+.0f} KiB/hour after the warm-up, {slopes['second_half']:+.0f} in its second half; "
        f"{rss['least']} to {rss['most']} KiB; idle {rss['idle_before']} before, {rss['idle_after']} after",
        *(
            f"{name}: {report['idle_before'][name]} before, {report['idle_after'][name]} after"
            for name in ("descriptors", "threads", "children", "tasks", "objects")
        ),
        f"lost, doubled or misplaced frames, and wrong answers: {report['wrong_frames']}",
        *(f"  {problem}" for problem in report["problems"]),
        *(f"grown: {line}" for line in report["grown"]),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 when something grew or was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description="A worker under a steady load.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: %(default)g)")
    parser.add_argument("--rate", type=float, default=RATE, help="scenes a second (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (default: %(default)d)")
    parser.add_argument("--json", type=Path, help="a file for the whole report")
    options = parser.parse_args(arguments)
    report = asyncio.run(soak(options.minutes, options.rate, options.seed))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(told(report))
    return 1 if report["problems"] or report["grown"] else 0


if __name__ == "__main__":
    sys.exit(main())
