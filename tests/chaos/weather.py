"""Providers that fail as a seed says: late, cut off, overloaded, broken, silent, or as they should.

What a request gets follows from the seed, from the number in its run's prompt (`prompt(7)`) and from how many requests
that run has made before; so it does not depend on which run is faster.
"""

import re
import threading
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.kit.providers import Answer, Request, ToolCall
from tests.kit.providers.faults import Cut, Fail, Garbage, NoFinish, Plan, Say, Scene, Trickle

TEXT: Final = "Take a coat."
GARBAGE: Final = ("sse", "json", "utf8", "empty", "no_choices", "shape", "html")
STATUSES: Final = (400, 401, 404, 408, 409, 413, 429, 429, 429, 500, 500, 502, 503, 529)
SILENT_S: Final = 60.0
"""Longer than any client of these tests waits."""

NUMBER = re.compile(rb"weather (\d+)\.")


def prompt(number: int) -> str:
    """The prompt of a run that gets the weather of this number."""
    return f"weather {number}."


@dataclass(frozen=True)
class Late:
    """Another plan, after a time."""

    plan: Plan
    seconds: float

    @property
    def answer(self) -> Answer:
        return self.plan.answer

    def play(self, scene: Scene) -> None:
        scene.reply.pause(scene.gate, self.seconds)
        self.plan.play(scene)


@dataclass(frozen=True)
class Silent:
    """The beginning of an answer, and then nothing until the client has left."""

    answer: Answer
    after: int

    def play(self, scene: Scene) -> None:
        if self.after and scene.streamed:
            scene.reply.start(200, scene.head())
            for frame in scene.frames().all[: self.after]:
                scene.reply.write(frame)
        scene.reply.pause(scene.gate, SILENT_S)
        scene.reply.hang_up(reset=True)


class Weather:
    """What all requests of a chaos run get. Called on the threads of the servers."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._asked: Counter[bytes] = Counter()
        self._lock = threading.Lock()
        self.fair = False
        """Nothing fails any more."""

    def __call__(self, request: Request) -> Answer | Plan:
        found = NUMBER.search(request.body)
        if found is None or self.fair:
            return Answer((TEXT,))
        number = found[1]
        with self._lock:
            self._asked[number] += 1
            turn = self._asked[number]
        return self.plan(number, turn)

    def plan(self, number: bytes, turn: int) -> Plan:
        """What a run gets for its first request, its second, …"""
        chance = Random(f"{self._seed} {number.decode()} {turn}")
        answer, after = _answer(chance, turn), chance.randint(0, 4)
        plans: list[tuple[int, Plan]] = [
            (50, Say(answer)),
            (12, Late(Say(answer), chance.random() / 5)),
            (4, Trickle(answer, 0.0005)),
            (4, Cut(answer, after, before="headers")),
            (6, Cut(answer, after, how=chance.choice(["reset", "close"]))),
            (8, Fail(chance.choice(STATUSES), {"retry-after": "0"} if after else {})),
            (3, Fail(529, after=after)),
            (6, Garbage(chance.choice(GARBAGE), after, answer)),
            (4, NoFinish(answer, after or None)),
            (3, Silent(answer, after)),
        ]
        return chance.choices([plan for _, plan in plans], [weight for weight, _ in plans])[0]


def _answer(chance: Random, turn: int) -> Answer:
    if turn > 3 or chance.random() < 0.4:
        return Answer(("Take ", "a ", "coat."))
    wrong = chance.random()
    name = "look elsewhere" if wrong < 0.05 else "look"
    args = {"n": "x"} if 0.05 < wrong < 0.1 else {"n": turn}
    calls = [ToolCall(name, args, f"call_{turn}_{number}") for number in range(chance.randint(1, 3))]
    return Answer(tool_calls=tuple(calls))
