"""The faults that the worker is proof against, and the tests that provoke them, tied in both directions.

A test names the faults it provokes in its docstring or in a comment: `fault: D32`, or several, separated by commas.
What each promises is in PROTOCOL.md; this list only says what happens to the worker.
"""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ID = r"[A-H]\d+"
PROVOKES = re.compile(rf"fault:\s*({ID}(?:\s*,\s*{ID})*)")

FAULTS = {
    # Bytes in
    "A1": "the same bytes, split anywhere",
    "A2": "a thousand frames in one write",
    "A3": "frames of no length, of the greatest, of one more, of a length that cannot be meant",
    "A4": "lengths about the sizes of buffers",
    "A5": "a long frame, a byte at a time",
    "A6": "32 MiB in small reads",
    "A7": "the input ends after each byte of a frame, and between frames",
    "A8": "text in the place of frames",
    "A9": "the input is /dev/null, a file, a terminal, a socket, closed",
    "A10": "interrupted and empty reads; a million tiny frames",
    # JSON and commands
    "B11": "what is no object, or no JSON, or no UTF-8",
    "B12": "nested deeply, wherever data stands",
    "B13": "integers beyond a double and beyond 64 bits",
    "B14": "a key twice",
    "B15": "wrong ids, fields and types",
    "B16": "an id, a call or a credit that is not, or is no longer, expected",
    "B17": "a frame that is small and grows in memory",
    "B18": "tool schemas beyond the usual",
    "B19": "a pattern that explodes",
    # Bytes out
    "C20": "user code writes to stdout by every road",
    "C21": "user code reads stdin",
    "C22": "a result that JSON cannot hold",
    "C23": "an error that is hostile itself",
    "C24": "a result longer than a frame",
    "C25": "a parent that does not read",
    "C26": "short and blocked writes",
    "C27": "many threads that log",
    "C28": "only the reading end is closed",
    "C29": "stderr closed, full or broken",
    "C30": "a million records from a tool",
    # Life and death
    "D31": "the port or the BEAM goes, by every death, in every state",
    "D32": "somebody else holds the input open when the parent dies",
    "D33": "a tool holds the loop, or the interpreter, when the input ends",
    "D34": "a thread that sleeps at the end",
    "D35": "a shutdown while the input stays open",
    "D36": "signals with a hundred runs; a second one; ignored ones",
    "D37": "descendants of every kind",
    "D38": "a broken environment, a bad option",
    "D39": "too few descriptors, processes, bytes on the disk; no HOME; LANG=C",
    "D40": "the clock jumps",
    "D41": "a hostile directory and hostile variables",
    "D42": "a tool forks",
    # Load
    "E43": "ten thousand runs at once",
    "E44": "credit that never comes, or is wrong",
    "E45": "hundreds of tool calls in one answer",
    "E46": "functions that hang in their threads",
    "E47": "large results among pings",
    "E48": "an hour, a hundred thousand runs",
    # Runs and tools
    "F49": "a cancel at every moment",
    "F50": "a time limit of a millisecond",
    "F51": "a parent that never answers a call",
    "F52": "a tool that raises whatever can be raised",
    "F53": "a tool that swallows its cancellation",
    "F54": "an output that breaks its schema; tools without an end",
    "F55": "a hundred cancelled runs with MCP tools",
    "F56": "an MCP server that dies in a run",
    # Providers
    "G57": "no connection, no bytes, no more bytes",
    "G58": "every status that a provider answers",
    "G59": "answers that are no answers",
    "G60": "answers without a measure",
    # Security
    "H61": "a frame that would import, start or open something",
    "H62": "a base_url that would get a key of the environment",
    "H63": "keys by every road out",
    "H64": "private addresses, files, forged histories",
    "H65": "control characters and frames inside text",
    "H66": "what children learn of the environment",
    "H67": "pickle, eval and yaml",
}

WAITING: frozenset[str] = frozenset()
"""Faults without a test. Whoever writes one takes it out."""


@cache
def provoked() -> dict[str, set[str]]:
    """The faults that tests name, and the files that name them."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path == Path(__file__).resolve():
            continue
        text = re.sub(r"\n\s*#\s*", "\n", path.read_text("utf-8"))
        for named in PROVOKES.findall(text):
            for fault in re.split(r"\s*,\s*", named):
                found.setdefault(fault, set()).add(path.name)
    return found


def test_every_fault_is_provoked() -> None:
    missing = sorted(FAULTS.keys() - provoked().keys() - WAITING)
    assert not missing, "no test says `fault: …` for: " + ", ".join(missing)


def test_what_waits_has_no_test() -> None:
    assert FAULTS.keys() >= WAITING
    assert sorted(WAITING & provoked().keys()) == [], "these have a test: take them out of WAITING"


def test_what_is_named_is_listed() -> None:
    unknown = {fault: files for fault, files in provoked().items() if fault not in FAULTS}
    assert not unknown
