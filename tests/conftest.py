"""How many processes run the tests."""

import os


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a quarter of the time is spent waiting, for a grace or a deadline."""
    return (os.cpu_count() or 1) + 1
