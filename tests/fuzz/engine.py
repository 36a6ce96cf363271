"""The engine behind the fuzz targets: atheris where it is installed, plain mutation where it is not.

A target takes bytes and raises where its invariant does not hold. What broke it is written to a file, whose path is
printed; give the path as an argument to see it again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, Final, NoReturn

from tests.kit.processes import resident_bytes

Target = Callable[[bytes], None]
Mutate = Callable[[bytes, random.Random], bytes]

CORPUS: Final = Path(__file__).parent / "corpus"
LONGEST: Final = 4096
"""Bytes of one input: longer ones find nothing new and cost time."""

WARM: Final = 200_000

OURS: Final = (
    *("axon_port.wire.framing", "axon_port.wire.codec", "axon_port.wire.envelope", "axon_port.wire.commands"),
    *("axon_port.wire.data", "axon_port.wire.errors", "axon_port.wire.events", "axon_port.worker.intake"),
)
"""What coverage is measured of."""

INTERESTING: Final = (
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"GET ", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000"),
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"true", b"1e400", b"-0", b"1.0", b"NaN", b"9" * 30),
    *(b"18446744073709551616", b"-9223372036854775808", b"[" * 300, b'{"id":1,', b'"id":[]', b'"type":{}'),
)


def corpus(name: str) -> list[bytes]:
    """The inputs that every search begins with, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few random changes: bits, bytes, pieces put in, taken out, doubled."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(changed))
        match chance.randint(0, 5):
            case 0 if changed:
                changed[place % len(changed)] ^= 1 << chance.randint(0, 7)
            case 1 if changed:
                changed[place % len(changed)] = chance.randint(0, 255)
            case 2:
                changed[place:place] = chance.choice(INTERESTING)
            case 3:
                del changed[place : place + chance.randint(1, 16)]
            case 4:
                changed[place:place] = changed[place : place + chance.randint(1, 64)]
            case _:
                changed[place:place] = chance.randbytes(chance.randint(1, 8))
    return bytes(changed[:LONGEST])


def inputs(name: str, mutate: Mutate, seed: int) -> Iterator[bytes]:
    """The corpus, then changes of it without end."""
    known = corpus(name)
    yield from known
    chance = random.Random(seed)
    while True:
        data = mutate(chance.choice(known), chance)
        if chance.random() < 0.02 and len(known) < 2000:
            known.append(data)
        yield data


@dataclass
class Search:
    """How far a search has come, and what the process held on its way."""

    tried: int = 0
    warm_kib: int = 0
    """Resident memory after `WARM` inputs: by then the engine has collected what it makes others of."""
    last_kib: int = 0

    @property
    def grown_kib(self) -> int:
        return self.last_kib - self.warm_kib if self.tried > WARM else 0


def search(
    name: str, target: Target, mutate: Mutate, *, seed: int = 0, seconds: float | None = None, runs: int | None = None
) -> Search:
    """Try inputs until the time or the number is up. What the target raises is passed on."""
    until = None if seconds is None else time.monotonic() + seconds
    done = Search()
    for data in inputs(name, mutate, seed):
        if (runs is not None and done.tried >= runs) or (until is not None and time.monotonic() > until):
            break
        try:
            target(data)
        except BaseException:
            print(f"broken by {kept(name, data)}", file=sys.stderr)
            raise
        done.tried += 1
        if done.tried == WARM:
            done.warm_kib = resident_bytes(os.getpid()) // 1024
    done.last_kib = resident_bytes(os.getpid()) // 1024
    return done


def kept(name: str, data: bytes) -> Path:
    """A file with the input that broke a target."""
    path = Path(tempfile.gettempdir()) / f"fuzz-{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def main(name: str, target: Target, mutate: Mutate = mutated, arguments: Sequence[str] | None = None) -> int:
    """The command line of a target. The exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{name}", description=f"Fuzz the {name}.")
    parser.add_argument("--seconds", type=float, default=None, help="how long (default: 10, without --runs)")
    parser.add_argument("--runs", type=int, default=None, help="how many inputs")
    parser.add_argument("--seed", type=int, default=None, help="of the plain engine (default: another one each time)")
    parser.add_argument("--plain", action="store_true", help="the plain engine, even where atheris is installed")
    parser.add_argument("files", nargs="*", type=Path, help="inputs to try instead of searching")
    options = parser.parse_args(arguments)
    if options.files:
        for path in options.files:
            target(path.read_bytes())
        return 0
    seconds = 10.0 if options.seconds is None and options.runs is None else options.seconds
    seed = random.SystemRandom().randrange(1, 2**32) if options.seed is None else options.seed
    if not options.plain and importlib.util.find_spec("atheris") is not None:
        with_atheris(name, target, mutate, seed=seed, seconds=seconds, runs=options.runs)
    begun = time.monotonic()
    done = search(name, target, mutate, seed=seed, seconds=seconds, runs=options.runs)
    print(
        f"{name}: {done.tried} inputs in {time.monotonic() - begun:.1f} s, seed {seed}: nothing broke; "
        f"memory {done.last_kib} KiB, {done.grown_kib:+d} KiB since the {WARM}th input"
    )
    return 0


def with_atheris(
    name: str, target: Target, mutate: Mutate, *, seed: int, seconds: float | None, runs: int | None
) -> NoReturn:
    """Search by coverage: libFuzzer keeps what reaches a new branch of ours. It ends the process itself."""
    atheris: Any = importlib.import_module("atheris")
    for module in OURS:
        for function in functions_of(module):
            atheris.instrument_func(function)

    def mutator(data: bytes, longest: int, number: int) -> bytes:
        # Half of the changes are libFuzzer's own: it knows which comparisons failed.
        chance = random.Random(number)
        changed = atheris.Mutate(data, longest) if chance.random() < 0.5 else mutate(data, chance)
        return bytes(changed[:longest])

    limits = [f"-max_total_time={round(seconds)}"] if seconds is not None else []
    limits += [f"-runs={runs}"] if runs is not None else []
    # What it finds goes to the first directory: not to ours, which is kept small by hand.
    found = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
    arguments = [*limits, f"-seed={seed % 2**31}", f"-max_len={LONGEST}", "-print_final_stats=1", "-timeout=30"]
    atheris.Setup([sys.argv[0], *arguments, found, str(CORPUS / name)], target, custom_mutator=mutator)
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")


def functions_of(name: str) -> Iterator[FunctionType]:
    """The functions and methods that a module defines."""
    module = importlib.import_module(name)
    for value in vars(module).values():
        found = vars(value).values() if isinstance(value, type) and value.__module__ == name else [value]
        for one in found:
            function = getattr(one, "__func__", getattr(one, "fget", one))
            if isinstance(function, FunctionType) and function.__module__ == name:
                yield function
