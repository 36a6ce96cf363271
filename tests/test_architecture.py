"""The architecture page names what there is, and its picture is the one that its text makes."""

import importlib
import re
import xml.etree.ElementTree as ET

import pytest

from tests.kit import REPOSITORY
from tests.kit.picture import PICTURE, SOURCE, drawn, modules, read

PAGE = REPOSITORY / "axon_port" / "ARCHITECTURE.md"
TEXT = PAGE.read_text("utf-8")
DOTTED = sorted(set(re.findall(r"`((?:wire|worker|agents|client)\.[\w.]+)`", TEXT)))


@pytest.mark.parametrize("name", DOTTED)
def test_what_is_named_is_there(name: str) -> None:
    room, module, *attributes = name.split(".")
    found = importlib.import_module(f"axon_port.{room}.{module}")
    for attribute in attributes:
        found = getattr(found, attribute)


def test_every_step_of_the_flow_is_named() -> None:
    assert len(DOTTED) > 30


def test_paths_and_links_lead_somewhere() -> None:
    paths = re.findall(r"`((?:axon_port|tests)/[\w./]+)`", TEXT)
    links = [f"axon_port/{link}" for link in re.findall(r"\]\((?!https?://)([^)#]+)", TEXT)]
    assert len(links) >= 4
    assert [path for path in (*paths, *links) if not (REPOSITORY / path).exists()] == []


def test_every_box_of_the_picture_is_a_module_of_its_room() -> None:
    named = list(modules(SOURCE.read_text("utf-8")))
    assert len(named) > 20
    assert [name for name in named if not (REPOSITORY / "axon_port" / name).is_file()] == []


def test_the_picture_is_made_of_its_text() -> None:
    picture = drawn(read(SOURCE.read_text("utf-8")))
    ET.fromstring(picture)
    assert PICTURE.read_text("utf-8") == picture, "run python -m tests.kit.picture"


@pytest.mark.parametrize("line", ["boxes 0 0 reader: a thread", "arrow reader"])
def test_a_line_that_says_nothing_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no part of a picture"):
        read(line)


def test_an_arrow_that_would_not_be_straight_is_refused() -> None:
    source = "band 0-1 worker: x\nbox 0 0 reader: x\nbox 1 1 intake: x\narrow reader intake:"
    with pytest.raises(ValueError, match="no straight line"):
        drawn(read(source))
