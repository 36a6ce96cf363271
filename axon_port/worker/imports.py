"""Which pydantic-ai will be imported, and how: without logfire, where that is installed and nobody asked for it.

Where logfire is there, pydantic's plugins and pydantic-graph import it, which takes a third of the start. For the time
of the import it is as if it were not installed: both have a way to go on without it. Afterwards anybody can import it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from axon_port.worker.options import Options

_MODULE: Final = "logfire"
_PREFIX: Final = "LOGFIRE_"
_PLUGINS: Final = "PYDANTIC_DISABLE_PLUGINS"
_PLUGIN: Final = "logfire-plugin"


def wants_logfire(options: Options, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names it, or code may come in that uses it."""
    return bool(options.allow_import) or any(name.startswith(_PREFIX) for name in environment)


@contextmanager
def without_logfire() -> Generator[None]:
    """Inside the block an import of logfire fails, if it was not imported before, and pydantic loads no plugin of it.

    pydantic looks for plugins once, for the first model; the variable only has to be there then.
    """
    modules = cast("dict[str, object]", sys.modules)
    if _MODULE in modules or _PLUGINS in os.environ:
        yield
        return
    # How Python's import system is told that a module cannot be found.
    modules[_MODULE] = None
    os.environ[_PLUGINS] = _PLUGIN
    try:
        yield
    finally:
        del os.environ[_PLUGINS]
        del modules[_MODULE]


def pydantic_ai_version() -> str:
    """Of the package that will be imported; `unknown` where there is none."""
    # As importlib.metadata finds it, which takes longer to import than all of ours until here.
    for folder in sys.path:
        for info in Path(folder).glob("pydantic_ai*-*.dist-info"):
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            if name in {"pydantic_ai", "pydantic_ai_slim"}:
                return version
    return "unknown"
