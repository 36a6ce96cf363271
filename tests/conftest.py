"""How the tests are run: in how many processes, and with which signals."""

import os
import signal


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a quarter of the time is spent waiting, for a grace or a deadline."""
    return (os.cpu_count() or 1) + 1


def pytest_configure() -> None:
    """What the tests start hears interrupts: a shell has what it sends to the background ignore them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
