"""The engine behind the fuzz targets: atheris where it is installed, plain mutation where it is not.

A target takes bytes and raises where its invariant does not hold. What broke it is written to a file, whose path is
printed; give the path as an argument to see it again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

Target = Callable[[bytes], None]
Mutate = Callable[[bytes, random.Random], bytes]

CORPUS: Final = Path(__file__).parent / "corpus"
LONGEST: Final = 4096
"""Bytes of one input: longer ones find nothing new and cost time."""

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


def search(
    name: str, target: Target, mutate: Mutate, *, seed: int = 0, seconds: float | None = None, runs: int | None = None
) -> int:
    """Try inputs until the time or the number is up; how many were tried. What the target raises is passed on."""
    until = None if seconds is None else time.monotonic() + seconds
    tried = 0
    for data in inputs(name, mutate, seed):
        if (runs is not None and tried >= runs) or (until is not None and time.monotonic() > until):
            break
        try:
            target(data)
        except BaseException:
            print(f"broken by {kept(name, data)}", file=sys.stderr)
            raise
        tried += 1
    return tried


def kept(name: str, data: bytes) -> Path:
    """A file with the input that broke a target."""
    path = Path(tempfile.gettempdir()) / f"fuzz-{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def main(name: str, target: Target, mutate: Mutate = mutated, arguments: Sequence[str] | None = None) -> int:
    """The command line of a target. The exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{name}", description=f"Fuzz the {name}.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=None, help="of the plain engine (default: another one each time)")
    parser.add_argument("--plain", action="store_true", help="the plain engine, even where atheris is installed")
    parser.add_argument("files", nargs="*", type=Path, help="inputs to try instead of searching")
    options = parser.parse_args(arguments)
    if options.files:
        for path in options.files:
            target(path.read_bytes())
        return 0
    if not options.plain and importlib.util.find_spec("atheris") is not None:
        return _with_atheris(name, target, options.seconds)
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    tried = search(name, target, mutate, seed=seed, seconds=options.seconds)
    print(f"{name}: {tried} inputs in {options.seconds:g} s, seed {seed}: nothing broke")
    return 0


def _with_atheris(name: str, target: Target, seconds: float) -> int:
    atheris: Any = importlib.import_module("atheris")
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={round(seconds)}", f"-max_len={LONGEST}", str(CORPUS / name)], target)
    atheris.Fuzz()
    return 0
