"""The clauses of PROTOCOL.md and the tests, tied in both directions.

A clause is defined where its id stands in bold in PROTOCOL.md. A test names the clauses it proves in its docstring or
in a comment: `clause: FRAME-OVERSIZE`, or several, separated by commas. Code and documentation may name an id, or a
family as `FRAME-*`; what they name must exist.
"""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
PROTOCOL = ROOT / "axon_port" / "wire" / "PROTOCOL.md"
SOURCES = ("axon_port", "tests", "examples")
SUFFIXES = {".py", ".md", ".ex", ".exs", ".erl", ".sh"}
NOT_OURS = {"deps", "_build", ".venv", "node_modules", "__pycache__"}

ID = r"[A-Z]+(?:-[A-Z0-9]+)+"
DEFINED = re.compile(rf"\*\*({ID})\*\*")
PROVES = re.compile(rf"clause:\s*({ID}(?:\s*,\s*{ID})*)")
FAMILY = re.compile(r"\b([A-Z]+)-\\?\*")

WAITING = """

"""
"""Clauses without a test. Whoever writes one takes its id out: an entry that is proved, or that is none, fails."""

NOT_YET = frozenset(WAITING.split())


@cache
def text_of(path: Path) -> str:
    """The text of a file."""
    return path.read_text("utf-8")


@cache
def files() -> tuple[Path, ...]:
    """Code and tests in every language; neither this file nor what defines the clauses."""
    found = (path for name in SOURCES for path in sorted((ROOT / name).rglob("*")))
    return tuple(
        path
        for path in found
        if path.suffix in SUFFIXES and not NOT_OURS & set(path.parts) and path not in {PROTOCOL, HERE}
    )


def is_test(path: Path) -> bool:
    """Whether what a file names counts as proved: a Python test, or one of the examples' own tests."""
    return path.name.startswith("test_") or path.name.endswith(("_test.exs", "_test.exs.eex", "_SUITE.erl"))


@cache
def defined() -> frozenset[str]:
    """The ids that PROTOCOL.md defines."""
    return frozenset(DEFINED.findall(text_of(PROTOCOL)))


@cache
def families() -> frozenset[str]:
    """The first words of the ids."""
    return frozenset(clause.partition("-")[0] for clause in defined())


def proved_by(path: Path) -> set[str]:
    """The ids that a test file says it proves. A list may go on in the next line."""
    without_comment_signs = re.sub(r"\n\s*#\s*", "\n", text_of(path))
    return {clause for named in PROVES.findall(without_comment_signs) for clause in re.split(r"\s*,\s*", named)}


@cache
def proved() -> frozenset[str]:
    """The ids that have a test."""
    return frozenset(clause for path in files() if is_test(path) for clause in proved_by(path))


def mentioned(path: Path) -> set[str]:
    """Everything in a file that looks like one of our ids: by its family, or because it is said to be proved."""
    ours = re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(families()))})(?:-[A-Z0-9]+)+(?![\w-])")
    return set(ours.findall(text_of(path))) | proved_by(path)


def test_a_clause_is_defined_once() -> None:
    counted = Counter(DEFINED.findall(text_of(PROTOCOL)))
    assert counted, "PROTOCOL.md defines no clause"
    assert [clause for clause, times in counted.items() if times > 1] == []


def test_every_clause_has_a_test() -> None:
    missing = sorted(defined() - proved() - NOT_YET)
    assert not missing, "no test says `clause: …` for: " + ", ".join(missing)


def test_what_is_not_yet_proved_is_a_clause_and_has_no_test() -> None:
    assert sorted(NOT_YET - defined()) == [], "these are no clauses of PROTOCOL.md: take them out of NOT_YET"
    assert sorted(NOT_YET & proved()) == [], "these have a test: take them out of NOT_YET"


@pytest.mark.parametrize("path", [*files(), PROTOCOL], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_named_exists(path: Path) -> None:
    unknown = sorted(mentioned(path) - defined())
    assert not unknown, f"named here, and defined nowhere in PROTOCOL.md: {', '.join(unknown)}"
    nameless = sorted(set(FAMILY.findall(text_of(path))) - families())
    assert not nameless, f"families without a clause in PROTOCOL.md: {', '.join(nameless)}"


def test_every_family_stands_in_the_table_of_contents() -> None:
    contents = text_of(PROTOCOL).partition("\n## ")[0]
    assert set(FAMILY.findall(contents)) == families()
