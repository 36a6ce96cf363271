"""A package below the fixture package, for prefixes."""


def inside() -> str:
    """Where this function is."""
    return __name__
