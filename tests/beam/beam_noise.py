"""Tools that write where they like, and one that never lets go of the event loop."""

import ctypes
import os
import subprocess
import sys


def shout(word: str) -> str:
    """Write the word on stdout in four ways, and once on stderr."""
    print(f"print {word}", flush=True)
    os.write(1, f"write {word}\n".encode())
    libc = ctypes.CDLL(None)
    libc.puts(f"puts {word}".encode())
    libc.fflush(None)
    subprocess.run(["/bin/echo", f"echo {word}"], check=True)
    print(f"stderr {word}", file=sys.stderr, flush=True)
    return "said"


async def spin() -> None:
    """Hold the loop for good, after saying so."""
    print("spinning", flush=True)
    while True:
        pass
