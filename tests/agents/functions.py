"""Functions that tests name as tools."""

import asyncio
import threading
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelRetry, ToolFailed
from pydantic_ai.messages import ToolReturn

desk: Agent[None, str] = Agent("test", defer_model_check=True)
"""An agent that names its model and has not made it."""

release = threading.Event()
started = threading.Event()


def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


async def add_later(a: int) -> int:
    """Adds one, on the loop."""
    await asyncio.sleep(0)
    return a + 1


def thread_name() -> str:
    """Where it runs."""
    return threading.current_thread().name


async def async_thread_name() -> str:
    """Where it runs."""
    return threading.current_thread().name


class Doubled:
    """No JSON, and no value that its own validator would take."""

    def __init__(self, number: int) -> None:
        self.number = 2 * number


Words = Annotated[list[str], BeforeValidator(lambda text: text.split(","))]
Double = Annotated[Any, AfterValidator(Doubled)]
Day = Annotated[date, Field(strict=True)]


def annotated(double: Double, words: Words, amount: Decimal, day: Day) -> list[Any]:
    """What the annotations made of the arguments."""
    return [double.number, words, str(amount * 2), day.year]


def with_metadata(metadata: Any) -> ToolReturn[str]:
    """Says more to the program than to the model."""
    return ToolReturn("fine", metadata={"found": metadata})


def with_odd_metadata() -> ToolReturn[str]:
    """As above, what no message can hold."""
    return ToolReturn("fine", metadata={"found": object()})


def with_odd_content() -> ToolReturn[str]:
    """Shows what no prompt can hold."""
    return ToolReturn("fine", content=[object()])  # pyright: ignore[reportArgumentType]


def hangs() -> str:
    """Waits until a test lets it go."""
    started.set()
    release.wait(20)
    return "late"


async def hangs_on_the_loop() -> str:
    """Never ends by itself."""
    await asyncio.Event().wait()
    return "never"


async def stumbles_on_the_loop() -> str:
    """Waits for ever, and fails when it is asked to stop."""
    started.set()
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("on the way out")
    return "never"


def raises(name: str) -> Any:
    """Raises what its name says."""
    raise ERRORS[name]


async def raises_on_the_loop(name: str) -> Any:
    """Raises what its name says."""
    raise ERRORS[name]


ERRORS: dict[str, BaseException] = {
    "ValueError": ValueError("sk-secret"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "StopIteration": StopIteration("x"),
    "TimeoutError": TimeoutError("own"),
    "MemoryError": MemoryError(),
    "ModelRetry": ModelRetry("once more"),
    "ToolFailed": ToolFailed("gave up"),
    "BaseExceptionGroup": BaseExceptionGroup("several", [KeyboardInterrupt()]),
}
