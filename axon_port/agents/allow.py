"""What the command line lets in: modules by prefix, capabilities by name (PROTOCOL.md, SEC-*).

A frame can name anything; nothing is imported, started or opened that is not allowed here.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from axon_port.wire.errors import WireError

_DOTTED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Allowed:
    """The allow-lists of one worker. Empty lists allow nothing."""

    imports: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    recordings: Path | None = None

    def module(self, module: str) -> bool:
        """Whether `module` is a prefix of the list or lies below one, by whole dotted components."""
        return any(module == prefix or module.startswith(f"{prefix}.") for prefix in self.imports)

    def load(self, reference: str) -> Any:
        """The object that `package.module:attribute` names. Blocking: it imports.

        Raises `WireError`: `ImportNotAllowed`, or `InvalidAgent` where the reference leads nowhere. Its form was
        checked with the command.
        """
        module, _, attribute = reference.partition(":")
        self._demand(module)
        try:
            imported = importlib.import_module(module)
        except BaseException as error:  # a module that exits when it is imported must not take the worker with it
            raise WireError("InvalidAgent", f"module {module} cannot be imported: {error!r}") from error
        missing = object()
        found = getattr(imported, attribute, missing)
        if found is missing:
            raise WireError("InvalidAgent", f"module {module} has no attribute {attribute!r}")
        return found

    def function(self, reference: str) -> Any:
        """As `load`, for a function: the module that defines it must be allowed too, not only one that imported it."""
        found = self.load(reference)
        if not callable(found):
            raise WireError("InvalidAgent", f"{reference} is not a function")
        defined_in: object = getattr(found, "__module__", None)
        self._demand(defined_in if isinstance(defined_in, str) else type(found).__module__)
        return found

    def _demand(self, module: str) -> None:
        if not self.module(module):
            message = f"module {module} may not be imported: start the worker with --allow-import {module}"
            raise WireError("ImportNotAllowed", message, details={"module": module, "flag": "--allow-import"})

    def recording(self, name: str) -> Path:
        """The file that a recording's name stands for, below the allowed folder. Raises `WireError` `InvalidAgent`."""
        if self.recordings is None:
            message = "recordings are not allowed: start the worker with --allow-recordings FOLDER"
            raise WireError("InvalidAgent", message, details={"flag": "--allow-recordings"})
        folder = self.recordings.resolve()
        if "\0" in name or not (path := (folder / name).resolve()).is_relative_to(folder) or path == folder:
            raise WireError(
                "InvalidAgent", f"recording {name[:256]!r} is no file below the folder of --allow-recordings"
            )
        return path

    def demand_capability(self, name: str) -> None:
        """Raises `WireError` `CapabilityNotAllowed`."""
        if name not in self.capabilities:
            message = f"capability {name} is not allowed: start the worker with --allow-capability {name}"
            details = {"capability": name, "flag": "--allow-capability"}
            raise WireError("CapabilityNotAllowed", message, details=details)


def import_prefixes(values: Iterable[str]) -> tuple[str, ...]:
    """The prefixes of the command line. Raises `ValueError` for one that is no dotted name."""
    prefixes = tuple(values)
    for prefix in prefixes:
        if not _DOTTED.fullmatch(prefix):
            raise ValueError(f"{prefix!r} is no dotted module name")
    return prefixes
