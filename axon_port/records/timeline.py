"""`axon-port timeline FILE`: one page of HTML that needs nothing else (PROTOCOL.md, REC-TIMELINE)."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Final, TextIO

from axon_port.records.gather import Scene, gather
from axon_port.records.reading import read
from axon_port.records.refusal import refuse
from axon_port.wire.record import Head, NotARecord

DATA: Final = "/*DATA*/null"
"""Where the page's script finds the scene."""


def timeline(path: Path, out: TextIO) -> int:
    """Write the page of a record. Exit status 0, or 65 and 66 where there is no record."""
    try:
        with path.open("rb") as lines:
            head, entries = read(lines)
            scene = gather(entries)
    except (OSError, NotARecord) as error:
        return refuse("timeline", path, error)
    out.write(page(head, scene, path.name))
    return 0


def page(head: Head, scene: Scene, name: str) -> str:
    """The page. Nothing in a frame can end the script that holds it."""
    fields = {"name": name, "version": head.version, "started": head.started, **asdict(scene)}
    safe = json.dumps(fields, separators=(",", ":")).replace("<", "\\u003c")
    template = files("axon_port.records").joinpath("timeline.html").read_text("utf-8")
    before, mark, after = template.partition(DATA)
    if not mark:
        raise RuntimeError("the page has no place for its data")
    return before + safe + after
