"""Every road to descriptor 1, and every road from descriptor 0."""

import ctypes
import logging
import os
import subprocess
import sys
import warnings

ROADS = ("print", "sys.stdout.write", "os.write", "puts", "warnings", "console", "child", "module")
console = logging.getLogger("faulty.console")
console.propagate = False
console.addHandler(logging.StreamHandler(sys.stdout))


def take(road: str, text: str) -> None:
    """Writes a line by one road."""
    match road:
        case "print":
            print(text)
        case "sys.stdout.write":
            sys.stdout.write(f"{text}\n")
        case "os.write":
            os.write(1, f"{text}\n".encode())
        case "puts":
            library = ctypes.CDLL(None)
            library.puts(text.encode())
            library.fflush(None)
        case "warnings":
            warnings.warn(text, stacklevel=1)
        case "console":
            console.error(text)
        case "child":
            subprocess.run(["/bin/echo", text], check=True)
        case _:
            logging.warning(text)


def take_all(tag: str) -> str:
    """Writes a line by every road, on a thread."""
    for road in ROADS:
        take(road, f"{tag} by {road}")
    return "taken"


async def take_all_on_the_loop(tag: str) -> str:
    """Writes a line by every road, on the event loop."""
    return take_all(tag)


def read(road: str) -> str:
    """Reads what a person would type."""
    match road:
        case "input":
            try:
                return input()
            except EOFError:
                return "end of file"
        case "sys.stdin":
            return sys.stdin.read() or "end of file"
        case "os.read":
            return os.read(0, 100).decode() or "end of file"
        case "child":
            return subprocess.run(["/bin/cat"], check=True, capture_output=True, text=True).stdout or "end of file"
        case _:
            breakpoint()
            return "went on"


take_all("import")
