"""What children of the worker learn of its environment: no key, unless somebody names it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import REPOSITORY, Worker, succeeded
from tests.kit.messages import tool_returns

KEY = "sk-canary-for-no-child-0123456789"
ENVIRONMENT = {"OPENAI_API_KEY": KEY, "SHOP_TOKEN": KEY, "AWS_SECRET_ACCESS_KEY": KEY, "SHOP_NAME": "a shop"}

STARTING = """
import asyncio, multiprocessing, os, subprocess, sys, tempfile

KEYS = "sorted(n for n in os.environ if 'canary' in os.environ[n])"
SAY = [sys.executable, "-c", f"import os; print({KEYS}, os.environ.get('SHOP_NAME'))"]
TEXT = dict(capture_output=True, text=True, check=True)

def run(): return subprocess.run(SAY, **TEXT).stdout
def run_open(): return subprocess.run(SAY, close_fds=False, **TEXT).stdout
def popen(): return os.popen(f"{SAY[0]} -c \\"{SAY[2]}\\"").read()
async def later():
    child = await asyncio.create_subprocess_exec(*SAY, stdout=subprocess.PIPE)
    return (await child.communicate())[0].decode()
def fork():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.execv(SAY[0], SAY)
    os.close(writing)
    with open(reading) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text
def named():
    names = ("SHOP_TOKEN", "SHOP_NAME")
    return subprocess.run(SAY, env={name: os.environ[name] for name in names}, **TEXT).stdout
def own(): return f"{len(eval(KEYS))} keys"
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker with keys, whose functions start processes in every way."""
    folder: Path = tmp_path_factory.mktemp("modules")
    (folder / "starting.py").write_text(STARTING)
    with Worker("--allow-import", "starting", env=ENVIRONMENT, pythonpath=[folder, REPOSITORY]) as made:
        yield made


def said(worker: Worker, function: str) -> str:
    """What one function returned."""
    tool = {"name": function, "handler": {"python": f"starting:{function}"}}
    agent = worker.agent([{"tool_calls": [{"name": function}]}, {"text": "done"}], tools=[tool])
    ((_, content, _),) = tool_returns(succeeded(worker.run(agent))["messages"])
    return content.strip()


@pytest.mark.parametrize("function", ["run", "run_open", "popen", "later", "fork"])
def test_a_process_of_a_function_inherits_no_key(worker: Worker, function: str) -> None:
    """clause: SEC-CHILDREN
    fault: H66
    """
    assert said(worker, function) == "[] a shop"


def test_a_process_gets_the_key_that_is_named(worker: Worker) -> None:
    """clause: SEC-CHILDREN
    fault: H66
    """
    assert said(worker, "named") == "['SHOP_TOKEN'] a shop"


def test_the_worker_itself_still_finds_its_keys(worker: Worker) -> None:
    """clause: SEC-CHILDREN"""
    assert said(worker, "own") == "3 keys"
    succeeded(worker.ask("create_agent", agent_id="by the environment", model="openai:gpt-5.2"))
