"""Python tools that a load calls: well-behaved ones of every kind, and one that counts what the worker holds."""

import asyncio
import gc
import logging
import subprocess

log = logging.getLogger(__name__)


def add(x: int, y: int = 1) -> int:
    """Adds two numbers, on a thread."""
    return x + y


async def add_later(x: int, y: int = 1) -> int:
    """Adds two numbers, on the loop."""
    await asyncio.sleep(0.002)
    return x + y


def say(text: str) -> str:
    """Prints and logs."""
    print(text)
    log.info("said %s", text)
    return "said"


def big(size: int) -> str:
    """A long text."""
    return "x" * size


def start() -> int:
    """Runs a program and waits for it."""
    return subprocess.run(["/bin/true"], check=True).returncode


async def census() -> dict[str, int]:
    """Tasks of the loop and objects of the interpreter, garbage taken out first."""
    gc.collect()
    return {"tasks": len(asyncio.all_tasks()), "objects": len(gc.get_objects())}
