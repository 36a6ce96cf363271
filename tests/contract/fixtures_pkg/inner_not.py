"""A module whose name only begins like that of the package `inner`."""


def outside() -> str:
    """Where this function is."""
    return __name__
