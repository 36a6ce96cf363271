"""What the commands say of a file that is no record, or cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

from axon_port.statuses import EX_DATAERR, EX_NOINPUT
from axon_port.wire.record import NotARecord


def refuse(command: str, path: Path, error: OSError | NotARecord) -> int:
    """One line on stderr; the exit status."""
    if isinstance(error, NotARecord):
        print(f"axon-port {command}: {path}: {error}; axon-port --record FILE writes one", file=sys.stderr)
        return EX_DATAERR
    advice = "; axon-port --record FILE writes a record" if isinstance(error, FileNotFoundError) else ""
    print(f"axon-port {command}: {path}: {error.strerror}{advice}", file=sys.stderr)
    return EX_NOINPUT
