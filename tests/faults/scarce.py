"""Becomes a program that has little of something: `python scarce.py LIMITS PROGRAM [ARGUMENT…]`.

LIMITS is an object of resource limits by name, `{"NOFILE": 16}`. `NPROC` counts all processes and threads of one user,
and does not hold for root: with it the program runs as a user of its own, who may still read what root may.
"""

import ctypes
import json
import os
import resource
import sys

SOMEBODY = 10_000 + os.getpid() % 50_000
"""Nobody else is, so that nothing that an earlier worker left counts."""
PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 47, 2
CAP_DAC_OVERRIDE = 1
VERSION_3 = 0x20080522


def main(limits: dict[str, int], program: list[str]) -> None:
    """Sets the limits and executes the program; does not return."""
    if "NPROC" in limits:
        become_somebody()
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    os.execv(program[0], program)


def become_somebody() -> None:
    """Another user than root, with one of root's capabilities."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    mask = 1 << CAP_DAC_OVERRIDE
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    steps = (
        lambda: libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0),
        lambda: os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY) or 0,
        lambda: libc.capset(header, data),
        lambda: libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0),
    )
    for step in steps:
        if step() != 0:
            raise OSError(ctypes.get_errno(), "nobody else can be become")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
