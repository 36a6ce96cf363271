"""A collector, a worker that exports to it, and the conversation of a worker whose test has failed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import pytest_runtest_makereport
from tests.kit import REPOSITORY, Worker

from .collector import Collector

__all__ = ["pytest_runtest_makereport"]

FUNCTIONS = """
import logging
from opentelemetry import trace
from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.instrumented import InstrumentedModel
from pydantic_ai.models.test import TestModel

KEY = "sk-canary-of-a-tool-0123456789"

def traced(text: str):
    with trace.get_tracer("shop").start_as_current_span("look into the shop", attributes={"shop.query": text, "n": 3}):
        return "SAID-BY-THE-TOOL"

def broken(text: str):
    with trace.get_tracer("shop").start_as_current_span("break"):
        raise ValueError(f"{text} is SAID-BY-THE-TOOL")

plain = Agent(TestModel(), name="plain")
told = Agent(TestModel(), name="told")
told.instrument = True
off = Agent(TestModel(), name="off")
off.instrument = False
capable = Agent(TestModel(), name="capable", capabilities=[Instrumentation()])
wrapped = Agent(InstrumentedModel(TestModel()), name="wrapped")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Functions and agents written in Python, some with an instrumentation of their own."""
    root = tmp_path_factory.mktemp("modules")
    (root / "shop.py").write_text(FUNCTIONS)
    return root


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector that takes everything."""
    with Collector() as made:
        yield made


@pytest.fixture(scope="module")
def worker(collector: Collector, folder: Path) -> Iterator[Worker]:
    """A worker that exports to it."""
    options = ("--allow-import", "shop", "--allow-capability", "Instrumentation")
    with Worker(*options, env=collector.environment(), pythonpath=[folder, REPOSITORY]) as made:
        yield made
