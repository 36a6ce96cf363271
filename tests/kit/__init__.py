"""The test kit: a synchronous parent for real workers, and the contract's invariants.

`Worker` starts and drives one worker process, `inbox` keeps what came of it; `frames` makes and reads frames
without the worker's code; `shapes` and `invariants` are the contract as checks; `processes` looks at processes
from outside; `messages` looks into message JSON; `patience` finds limits that a slow machine keeps too.
"""

from .frames import Decoder, Frame, encode, loads, pack
from .patience import in_time
from .worker import REPOSITORY, Worker, WorkerGone, failed, succeeded, texts

__all__ = [
    "REPOSITORY",
    "Decoder",
    "Frame",
    "Worker",
    "WorkerGone",
    "encode",
    "failed",
    "in_time",
    "loads",
    "pack",
    "succeeded",
    "texts",
]
