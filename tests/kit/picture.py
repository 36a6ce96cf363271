"""Makes axon_port/architecture.svg of axon_port/architecture.txt: `python -m tests.kit.picture`.

Columns and rows are a grid; an arrow goes straight, right or left within a row, up or down within a column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

PACKAGE: Final = Path(__file__).resolve().parents[2] / "axon_port"
SOURCE: Final = PACKAGE / "architecture.txt"
PICTURE: Final = PACKAGE / "architecture.svg"

COLUMN, ROW = 168, 96
BOX_WIDTH, BOX_HEIGHT = 132, 48
SIDE = 132
"""Pixels: of the grid, of a box of one column, and of the margin in which those outside stand."""

BANDS: Final = ("#eef6ff", "#fff7e8", "#eefaf0")
STYLE: Final = """
text { font: 13px sans-serif; fill: #1d2733; text-anchor: middle }
.remark { font-size: 10.5px; fill: #4f5d6d }
.band { font-size: 12px; text-anchor: start; fill: #4f5d6d; paint-order: stroke; stroke-width: 5px }
.room { font-weight: bold; fill: #1d2733 }
.label { font-size: 11px; fill: #0b5394; paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
.box { fill: #ffffff; stroke: #8a99a8 }
.outside { fill: #1d2733; stroke: none }
.outside + text, .outside + text + text { fill: #ffffff }
.arrow { stroke: #0b5394; stroke-width: 1.5; fill: none; marker-end: url(#head) }
.link { stroke: #a9b4bf; stroke-width: 1.2; stroke-dasharray: 4 3 }
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A box with its place in pixels: left, top, right, bottom."""

    name: str
    remark: str
    left: float
    top: float
    right: float
    bottom: float
    outside: bool = False


@dataclass(slots=True)
class Picture:
    """What the source says."""

    bands: list[tuple[int, int, str, str]] = field(default_factory=list[tuple[int, int, str, str]])
    boxes: list[Box] = field(default_factory=list[Box])
    lines: list[tuple[str, str, str, str]] = field(default_factory=list[tuple[str, str, str, str]])

    @property
    def width(self) -> float:
        return max(box.right for box in self.boxes) + (COLUMN - BOX_WIDTH) / 2

    @property
    def height(self) -> float:
        return (max(last for _, last, _, _ in self.bands) + 1) * ROW + 8


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def read(source: str) -> Picture:
    """Raises `ValueError` for a line that says nothing."""
    picture = Picture()
    columns = 0
    sides: list[tuple[str, int, str, str]] = []
    for line in source.splitlines():
        if not line or line.startswith("#"):
            continue
        head, _, remark = (part.strip() for part in line.partition(":"))
        match head.split():
            case ["band", rows, name]:
                picture.bands.append((*_range(rows), name, remark))
            case ["box", place, row, name]:
                first, last = _range(place)
                columns = max(columns, last + 1)
                picture.boxes.append(_box(first, last, int(row), name, remark))
            case ["side", side, row, name]:
                sides.append((side, int(row), name, remark))
            case ["arrow" | "link" as kind, start, end]:
                picture.lines.append((kind, start, end, remark))
            case _:
                raise ValueError(f"no part of a picture: {line}")
    for side, row, name, remark in sides:
        left = 8.0 if side == "left" else SIDE + columns * COLUMN + 16
        top = row * ROW + (ROW - BOX_HEIGHT) / 2 + 8
        picture.boxes.append(Box(name, remark, left, top, left + SIDE - 24, top + BOX_HEIGHT, outside=True))
    return picture


def _box(first: int, last: int, row: int, name: str, remark: str) -> Box:
    left = SIDE + first * COLUMN + (COLUMN - BOX_WIDTH) / 2
    right = SIDE + last * COLUMN + (COLUMN + BOX_WIDTH) / 2
    top = row * ROW + (ROW - BOX_HEIGHT) / 2 + 8
    return Box(name, remark, left, top, right, top + BOX_HEIGHT)


def drawn(picture: Picture) -> str:
    """The picture as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width:g} {picture.height:g}" role="img">',
        "<title>How a frame comes in, becomes a run, and leaves</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#0b5394"/></marker></defs>',
        f'<rect width="{picture.width:g}" height="{picture.height:g}" fill="#ffffff"/>',
    ]
    titles: list[str] = []
    right = max(box.right for box in picture.boxes if not box.outside) + 14
    for (first, last, name, remark), colour in zip(picture.bands, cycle(BANDS), strict=False):
        top = first * ROW + 4
        parts.append(
            f'<rect x="{SIDE}" y="{top}" width="{right - SIDE:g}" height="{(last + 1 - first) * ROW - 4}" rx="8" '
            f'fill="{colour}"/>'
        )
        titles.append(
            f'<text class="band" stroke="{colour}" x="{SIDE + 18}" y="{top + 16}">'
            f'<tspan class="room">{escape(name)}</tspan><tspan>: {escape(remark)}</tspan></text>'
        )
    parts.extend(_line(picture, *line) for line in picture.lines)
    parts.extend(titles)
    parts.extend(_drawn_box(box) for box in picture.boxes)
    parts.extend(_label(picture, *line) for line in picture.lines if line[3])
    return "\n".join([*parts, "</svg>", ""])


def _drawn_box(box: Box) -> str:
    middle = (box.left + box.right) / 2
    kind = "box outside" if box.outside else "box"
    return (
        f'<rect class="{kind}" x="{box.left:g}" y="{box.top:g}" width="{box.right - box.left:g}" '
        f'height="{BOX_HEIGHT}" rx="6"/><text x="{middle:g}" y="{box.top + 20:g}">{escape(box.name)}</text>'
        f'<text class="remark" x="{middle:g}" y="{box.top + 37:g}">{escape(box.remark)}</text>'
    )


def _ends(picture: Picture, start: str, end: str) -> tuple[float, float, float, float]:
    """Where an arrow begins and ends; a name that occurs twice is the one in the right place."""
    for one in (box for box in picture.boxes if box.name == start):
        for other in (box for box in picture.boxes if box.name == end):
            if one.top == other.top and (one.outside is False or one.left < other.left):
                if one.right <= other.left:
                    return one.right, one.top + BOX_HEIGHT / 2, other.left, other.top + BOX_HEIGHT / 2
                if not other.outside:
                    return one.left, one.top + BOX_HEIGHT / 2, other.right, other.top + BOX_HEIGHT / 2
            left, right = max(one.left, other.left), min(one.right, other.right)
            if left < right and one.top != other.top:
                middle = (left + right) / 2
                down = one.top < other.top
                return middle, one.bottom if down else one.top, middle, other.top if down else other.bottom
    raise ValueError(f"no straight line leads from {start} to {end}")


def _line(picture: Picture, kind: str, start: str, end: str, _label: str) -> str:
    x1, y1, x2, y2 = _ends(picture, start, end)
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def _label(picture: Picture, _kind: str, start: str, end: str, label: str) -> str:
    x1, y1, x2, y2 = _ends(picture, start, end)
    above = -6 if y1 == y2 else 4
    aside = 0 if y1 == y2 else 4 + len(label) * 3.2
    return f'<text class="label" x="{(x1 + x2) / 2 + aside:g}" y="{(y1 + y2) / 2 + above:g}">{escape(label)}</text>'


def modules(source: str) -> Iterator[str]:
    """The modules that the source names, each with its room: `worker/reader.py`."""
    rooms = {row: name for first, last, name, _ in read(source).bands for row in range(first, last + 1)}
    for row, name in re.findall(r"^box \S+ (\d+) (\w+):", source, re.MULTILINE):
        yield f"{rooms[int(row)]}/{name}.py"


def main(write: Callable[[str], object] = PICTURE.write_text) -> None:
    """Write the picture."""
    write(drawn(read(SOURCE.read_text("utf-8"))))


if __name__ == "__main__":
    main()
