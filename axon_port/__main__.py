"""`axon-port` and `python -m axon_port`."""

import os
import sys


def _look_here_last() -> None:
    # `python -m` looks into the working directory first, and so does an empty entry of PYTHONPATH: a file called like
    # a library would be imported in its place.
    if sys.flags.safe_path:
        return
    try:
        here = os.getcwd()  # noqa: PTH109  before anything is imported
    except OSError:
        # The directory was removed.
        here = ""
    sys.path.sort(key=lambda entry: entry in {"", here})


if __name__ == "__main__":
    _look_here_last()

from typing import NoReturn  # noqa: E402


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    _look_here_last()
    from axon_port.cli import run

    try:
        status = run(sys.argv[1:])
    except SystemExit as left:
        status = int(left.code or 0)
    if sys.flags.inspect:
        # An interpreter that is asked to inspect would stay, and read commands for itself.
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
