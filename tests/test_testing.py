"""The example suite of examples/testing runs without a network, and its recording is what recording makes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.beam.programs import environment
from tests.kit import REPOSITORY
from tests.kit.providers import Provider

EXAMPLE = REPOSITORY / "examples" / "testing"
KEY = "sk-loopback-0123456789abcdef"
TIMEOUT = 120.0


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A copy, away from our own configuration."""
    shutil.copytree(EXAMPLE, tmp_path / "testing", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "testing"


def passes(suite: Path, **variables: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_guide.py"]
    done = subprocess.run(
        command, cwd=suite, env=environment(**variables), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def requests(recording: Path) -> list[str]:
    """The digests of what was asked."""
    return [json.loads(line)["request"] for line in recording.read_text("utf-8").splitlines()]


def test_the_suite_passes_without_a_network(suite: Path) -> None:
    """clause: RECORDING-REPLAY"""
    passes(suite, OPENAI_BASE_URL="http://127.0.0.1:9/v1")


def test_the_suite_records_what_its_recording_holds(suite: Path) -> None:
    """Where this fails, take the new file: the digest of a request is made otherwise now.

    clause: RECORDING-KEEP
    """
    (suite / "suite.jsonl").unlink(missing_ok=True)
    with Provider("openai_chat", api_key=KEY) as server:
        server.say(tool_calls=[{"name": "weather", "args": {"city": "Riga"}}])
        server.say(text="Eight degrees: take a coat.")
        passes(suite, RECORD="1", OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=KEY)
        server.assert_drained()
    assert requests(suite / "suite.jsonl") == requests(EXAMPLE / "suite.jsonl")
