"""A module that prints while it is imported."""

import os
import sys

print("printed at import")
sys.stderr.write("said at import\n")
os.write(1, b"written at import\n")


def nothing() -> str:
    """Does nothing more."""
    return "nothing"
