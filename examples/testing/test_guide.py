"""Tests of an agent without a model: with a script, and with what a real model said once.

python -m pytest test_guide.py                            # no key, no network
RECORD=1 OPENAI_API_KEY=… python -m pytest test_guide.py  # asks the provider, and keeps its answers
"""

import asyncio
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from axon_port.client import RunResult, Worker, errors

HERE = Path(__file__).parent
SERVICE = {"record": "suite.jsonl", "model": "openai-chat:gpt-5.2"}
RECORDED = SERVICE if os.environ.get("RECORD") else {"replay": "suite.jsonl"}

Ask = Callable[[Any, str], RunResult]


def weather(city: str) -> dict[str, int]:
    """The weather in a city."""
    return {"degrees": 8 if city == "Riga" else 20}


async def advise(worker: Worker, model: Any, prompt: str) -> RunResult:
    """What is tested."""
    await worker.create_agent("guide", model=model, instructions="Be brief.", tools=[weather], replace=True)
    return await worker.run("guide", prompt)


@pytest.fixture(scope="module")
def ask() -> Generator[Ask]:
    """One worker for all tests of the file."""
    with asyncio.Runner() as runner:
        worker = runner.run(Worker.spawn(allow_recordings=HERE).__aenter__())
        yield lambda model, prompt: runner.run(advise(worker, model, prompt))
        runner.run(worker.__aexit__(None, None, None))


def test_the_model_gets_the_weather(ask: Ask) -> None:
    call = {"name": "weather", "args": {"city": "Riga"}}
    result = ask({"script": [{"tool_calls": [call]}, {"text": "Take a coat."}]}, "What shall I wear?")
    assert result.output == "Take a coat."
    assert [part["content"] for part in result.messages[2]["parts"]] == [{"degrees": 8}]  # type: ignore[index]


def test_a_busy_provider_is_worth_another_try(ask: Ask) -> None:
    with pytest.raises(errors.ModelHTTPError) as caught:
        ask({"script": [{"error": {"status": 429, "retry_after_ms": 1500}}]}, "What shall I wear?")
    assert caught.value.retryable
    assert caught.value.retry_after_ms == 1500


def test_what_the_model_said_when_it_was_asked(ask: Ask) -> None:
    result = ask(RECORDED, "What shall I wear in Riga?")
    assert "coat" in result.output
    assert result.usage["tool_calls"] == 1
