"""An application that has pydantic-ai and nothing else: imports it, says so, and makes one run when it is told to."""

from __future__ import annotations

import sys

import pydantic_ai
from pydantic_ai.models.test import TestModel


def main() -> None:
    print("imported", flush=True)
    for _ in sys.stdin:
        print(pydantic_ai.Agent(TestModel()).run_sync("What shall I wear today?").output, flush=True)


if __name__ == "__main__":
    main()
