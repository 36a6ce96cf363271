"""Gives a program exactly the descriptors that a plan names, then becomes that program.

Usage: `python -I -S launch.py PLAN PROGRAM [ARGUMENT…]`, where a PLAN such as `3=12,4=13,0=-` says: 3 is what
12 is now, 4 what 13 is, and 0 is closed. What `subprocess` cannot say by itself (a closed descriptor 0,
frames on 3 and 4) is said here.
"""

import fcntl
import os
import sys

ABOVE_ALL_TARGETS = 64


def main(plan: str, program: list[str]) -> None:
    """Arranges the descriptors and executes the program; does not return."""
    pairs = [entry.split("=") for entry in plan.split(",")]
    moved = [
        (int(target), None if source == "-" else fcntl.fcntl(int(source), fcntl.F_DUPFD, ABOVE_ALL_TARGETS))
        for target, source in pairs
    ]
    for source in {source for _, source in pairs if source != "-" and int(source) > 2}:
        os.close(int(source))
    for target, copy in moved:
        if copy is None:
            os.close(target)
        else:
            os.dup2(copy, target, inheritable=True)
            os.close(copy)
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
