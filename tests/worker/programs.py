"""Small programs in processes of their own, for what would harm the process of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

from .rig import SECONDS

REPOSITORY = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """The environment of a program that imports this package."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}


def program(source: str, *arguments: str) -> list[str]:
    """The command that runs `source`."""
    return [sys.executable, "-c", dedent(source), *arguments]


def run_program(
    source: str, *arguments: str, seconds: float = SECONDS, **how: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run `source` to its end, which must come in time."""
    options: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    command = program(source, *arguments)
    run: Any = subprocess.run
    done: subprocess.CompletedProcess[bytes] = run(command, env=environment(), timeout=seconds, check=False, **options)
    return done
