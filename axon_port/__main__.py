"""`axon-port` and `python -m axon_port`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks into the working directory first: a file called like a library would be imported in its place.
    sys.path.append(sys.path.pop(0))

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    from axon_port.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
