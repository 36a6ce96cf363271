"""`axon-port` and `python -m axon_port`."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    from axon_port.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
