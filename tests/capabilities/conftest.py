"""MCP servers and workers that may use them, shared by the tests."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import SharedWorker, pytest_runtest_makereport
from tests.kit import Worker

__all__ = ["pytest_runtest_makereport"]

SERVER = Path(__file__).with_name("mcp_server.py")
CANARY = "sk-canary-of-the-environment-0123456789"


def capable(*names: str, **how: Any) -> Worker:
    """A worker that may use these capabilities."""
    return Worker(*(word for name in names for word in ("--allow-capability", name)), **how)


@pytest.fixture(scope="session")
def http_url() -> Iterator[str]:
    """The address of a server over HTTP."""
    with subprocess.Popen([sys.executable, str(SERVER), "http"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        process.terminate()


@pytest.fixture(scope="module")
def shared() -> Iterator[SharedWorker]:
    """Holds a worker that may start servers and wrap their tools; its orderly end is a test of its own."""
    environment = {"OPENAI_API_KEY": CANARY, "SHOP_TOKEN": CANARY}
    holder = SharedWorker(lambda: capable("MCP", "MCP:stdio", "PrefixTools", env=environment))
    yield holder
    holder.end()


@pytest.fixture
def worker(shared: SharedWorker, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """The shared worker; afterwards the invariants hold and nothing is in flight."""
    yield from shared.lend(request)


@pytest.fixture(params=["stdio", "http"])
def address(request: pytest.FixtureRequest) -> str:
    """What names a server, in both ways to reach one."""
    return str(SERVER) if request.param == "stdio" else request.getfixturevalue("http_url")
