"""Errors that are hostile themselves."""


class Mute(Exception):
    """It cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text either")

    __repr__ = __str__


def _causes(depth: int) -> Exception:
    error = ValueError("the first cause")
    for number in range(depth):
        following = ValueError(f"because of {number}")
        following.__cause__ = error
        error = following
    return error


def _group(width: int, depth: int) -> Exception:
    errors: list[Exception] = [ValueError("x" * 1000) for _ in range(width)]
    for _ in range(depth):
        errors = [ExceptionGroup("deep", errors)]
    return ExceptionGroup("wide", errors)


def throw(kind: str) -> str:
    """Raises what it is told to."""
    made = {
        "surrogates": lambda: ValueError("\ud800" * 20_000),
        "long": lambda: ValueError("x" * 10_000_000),
        "mute": Mute,
        "mute cause": lambda: _with_cause(ValueError("outside"), Mute()),
        "causes": lambda: _causes(1000),
        "round": _round,
        "group": lambda: _group(10_000, 0),
        "deep group": lambda: _group(10, 500),
        "arguments": lambda: ValueError(*["x" * 1000] * 10_000),
    }
    raise made[kind]()


async def throw_on_the_loop(kind: str) -> str:
    """Raises what it is told to, on the event loop."""
    return throw(kind)


def _with_cause(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _round() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one
