"""The first metric of each workload as a small bar chart, all of them in one SVG without a script or a font."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from tests.bench.peers import Peer
from tests.bench.report import short
from tests.bench.results import Results
from tests.bench.targets import OURS
from tests.bench.workloads import Workload

COLUMNS: Final = 3
PANEL_WIDTH: Final = 330
BAR: Final = 13
STEP: Final = 19
NAMES: Final = 142
"""Width of the names at the left of the bars."""
FIGURES: Final = 56
"""Width of the figures at their right."""
HEAD: Final = 40
MARGIN: Final = 16

STYLE: Final = """
  text { font: 11px system-ui, sans-serif; fill: #57606a; }
  .title { font-weight: 600; font-size: 12px; fill: #1f2328; }
  .ours { fill: #0a7d55; }
  .theirs { fill: #b6bec9; }
  .mine { font-weight: 600; fill: #1f2328; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1; }
    .title, .mine { fill: #f0f6fc; }
    .ours { fill: #2fbf8a; }
    .theirs { fill: #4a525c; }
  }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One workload: bars from the best to the worst."""

    title: str
    note: str
    bars: Sequence[tuple[str, float, bool]]
    """Name, figure, whether it is ours."""

    @property
    def height(self) -> int:
        return HEAD + STEP * len(self.bars) + MARGIN


def svg(results: Results, workloads: Sequence[Workload], peers: Sequence[Peer]) -> str:
    """A drawing as wide as a README."""
    panels = [panel for workload in workloads if (panel := _panel(results, workload, peers)) is not None]
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    parts: list[str] = []
    top = MARGIN
    for row in rows:
        for column, panel in enumerate(row):
            parts += _drawn(panel, MARGIN + column * PANEL_WIDTH, top)
        top += max(panel.height for panel in row)
    width = 2 * MARGIN + COLUMNS * PANEL_WIDTH
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}"'
    label = 'role="img" aria-label="axon-port beside the other ways to reach the same agents"'
    return "\n".join([f"{head} {label}>", f"<style>{STYLE}</style>", *parts, "</svg>"]) + "\n"


def _panel(results: Results, workload: Workload, peers: Sequence[Peer]) -> Panel | None:
    metric = workload.metrics[0]
    bars = [
        (peer.title, figure, peer.name == OURS)
        for peer in peers
        if (figure := results.median(workload.name, peer.name, metric.name)) is not None
    ]
    if len(bars) < 2:
        return None
    bars.sort(key=lambda bar: bar[1], reverse=metric.more_is_better)
    note = f"{metric.of}, {metric.unit}; {'more' if metric.more_is_better else 'less'} is better"
    return Panel(workload.title, note, bars)


def _drawn(panel: Panel, left: int, top: int) -> Iterator[str]:
    longest = max(figure for _, figure, _ in panel.bars) or 1.0
    room = PANEL_WIDTH - NAMES - FIGURES - MARGIN
    yield f'<text class="title" x="{left}" y="{top + 12}">{escape(panel.title)}</text>'
    yield f'<text x="{left}" y="{top + 27}">{escape(panel.note)}</text>'
    for place, (name, figure, ours) in enumerate(panel.bars):
        y = top + HEAD + place * STEP
        length = max(1.0, room * figure / longest)
        style = ' class="mine"' if ours else ""
        yield f'<text{style} x="{left + NAMES - 8}" y="{y + 10}" text-anchor="end">{escape(name)}</text>'
        bar = f'x="{left + NAMES}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"'
        yield f'<rect class="{"ours" if ours else "theirs"}" {bar}/>'
        yield f'<text{style} x="{left + NAMES + length + 5:.1f}" y="{y + 10}">{short(figure)}</text>'
