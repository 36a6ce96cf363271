"""What the tests want of the machine, and how an example finds the worker."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.kit import REPOSITORY


def needed(program: str) -> str:
    """The path of a program. Without it a test fails under CI, which installs it, and is skipped elsewhere."""
    path = shutil.which(program)
    if path is not None:
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{program} is missing; .ci/run installs it")
    pytest.skip(f"{program} is not installed here")


def environment(**more: str) -> dict[str, str]:
    """Our own, without options for workers; the package that is tested is the one that is imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AXON_PORT_")}
    return {**inherited, "PYTHONPATH": str(REPOSITORY), **more}


def with_axon_port(directory: Path) -> dict[str, str]:
    """An environment whose PATH begins with an `axon-port` that is this checkout."""
    command = directory / "axon-port"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m axon_port "$@"\n')
    command.chmod(0o755)
    return environment(PATH=f"{directory}{os.pathsep}{os.environ['PATH']}")
