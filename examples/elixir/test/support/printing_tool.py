"""A tool that prints, warns and fails in the worker."""

import logging


def shout(word: str) -> str:
    print(f"heard {word}")
    logging.getLogger("shop").warning("loud", extra={"decibel": 120})
    raise ValueError(word)
