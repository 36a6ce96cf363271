"""A parent in Python: start a worker, create agents with functions as their tools, run and stream them.

    async with Worker.spawn() as worker:
        await worker.create_agent("guide", model="openai:gpt-5.2", tools=[weather])
        print((await worker.run("guide", "What shall I wear?")).output)

Knows the wire only: neither pydantic-ai nor the worker's rooms are imported. Runs on asyncio. `session` is the
protocol without I/O, for whoever wants to bring pipes of their own.
"""

from axon_port.client import errors
from axon_port.client.errors import AxonPortError, CommandError, ProtocolViolation, WorkerGone, WorkerNotStarted
from axon_port.client.launch import Launch, Restarts
from axon_port.client.results import Approved, Call, Chunk, DeferredCall, Denied, RunResult
from axon_port.client.runs import Run, Stream
from axon_port.client.tools import Failed, Retry, Shown, Tool, tool
from axon_port.client.worker import Worker

__all__ = (
    "Approved",
    "AxonPortError",
    "Call",
    "Chunk",
    "CommandError",
    "DeferredCall",
    "Denied",
    "Failed",
    "Launch",
    "ProtocolViolation",
    "Restarts",
    "Retry",
    "Run",
    "RunResult",
    "Shown",
    "Stream",
    "Tool",
    "Worker",
    "WorkerGone",
    "WorkerNotStarted",
    "errors",
    "tool",
)
