"""The pages for each way of use: what can be pasted does what is said, what is quoted is a part of what is run."""

import re
import sys
from pathlib import Path

import pytest

from tests.beam.programs import needed, with_axon_port
from tests.kit import REPOSITORY
from tests.kit.pages import blocks, commands, is_as_shown, stands_in, typed

EXAMPLES = REPOSITORY / "examples"

PAGES = {
    **{name: EXAMPLES / name / "README.md" for name in ("shell", "python", "erlang", "testing")},
    "troubleshooting": EXAMPLES / "TROUBLESHOOTING.md",
}

LINKING = [
    REPOSITORY / name
    for name in (
        "README.md",
        "CHANGELOG.md",
        "axon_port/ARCHITECTURE.md",
        "axon_port/BOUNDS.md",
        "axon_port/wire/PROTOCOL.md",
    )
] + sorted(EXAMPLES.rglob("*.md"))
"""Every page with links."""

QUOTED = [
    ("shell", "sh", EXAMPLES / "shell" / "dialog.sh"),
    ("python", "python", EXAMPLES / "python" / "tasks.py"),
    ("erlang", "erlang", EXAMPLES / "erlang" / "tasks.escript"),
    ("testing", "python", EXAMPLES / "testing" / "test_guide.py"),
    ("testing", "elixir", EXAMPLES / "elixir" / "test" / "axon_port" / "guide_test.exs"),
]
"""Whose blocks of a language are parts of a file, which test_examples.py, test_testing.py or beam/test_mix.py runs."""

CHECKED = {"bash", "text", "", "sh", "python", "erlang", "elixir"}
"""What each block of a page may be: pasted, printed, an end of a block, quoted."""


@pytest.mark.parametrize("page", PAGES)
def test_what_can_be_pasted_prints_what_is_shown(page: str, tmp_path: Path) -> None:
    for program in ("jq", "elixir", "escript"):
        needed(program)
    env = with_axon_port(tmp_path)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    here = tmp_path / "here"
    here.mkdir()
    otherwise = [
        f"{command.source}\nprints\n{printed}"
        for command in commands(PAGES[page].read_text("utf-8"))
        if not is_as_shown(printed := typed(command.source, here, env), command.printed or "")
    ]
    assert not otherwise, "\n\n".join(otherwise)


@pytest.mark.parametrize(("page", "language", "path"), QUOTED)
def test_what_is_quoted_is_a_part_of_what_is_run(page: str, language: str, path: Path) -> None:
    source = path.read_text("utf-8")
    found = blocks(PAGES[page].read_text("utf-8"), language)
    assert found
    assert [block for block in found if not stands_in(block, source)] == []


@pytest.mark.parametrize("page", PAGES)
def test_there_is_no_block_that_nobody_checks(page: str) -> None:
    assert set(re.findall(r"^ *```(\w*)", PAGES[page].read_text("utf-8"), re.MULTILINE)) <= CHECKED


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text("utf-8"))
    assert [link for link in links if not leads_somewhere(page, link)] == []


def test_a_link_to_no_heading_leads_nowhere(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# The port's `owner`, or not\n")
    assert leads_somewhere(page, "#the-ports-owner-or-not")
    assert leads_somewhere(tmp_path / "other.md", "page.md#the-ports-owner-or-not")
    assert not leads_somewhere(page, "#the-port-s-owner-or-not")
    assert not leads_somewhere(page, "none.md")


def test_text_that_was_printed_is_compared() -> None:
    assert is_as_shown("a 1\nb\n", "a …\nb\n")
    assert is_as_shown("a\nx\ny\nb\n", "a\n…\nb\n")
    assert not is_as_shown("a\nb\n", "a\n")
    assert not is_as_shown("a\n", "b\n")
