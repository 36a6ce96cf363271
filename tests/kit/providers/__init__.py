"""Loopback servers that answer as the LLM services do, to drive the real clients without a network.

`Provider` is the way in: it listens on 127.0.0.1, takes a queue of answers and faults, and keeps what it was
sent. Knows HTTP and the four interfaces; knows nothing of the worker or of pydantic-ai, and needs nothing
beyond the standard library.
"""

from .answers import Answer, AnswerFields, Finish, ToolCall, ToolCallFields, Usage
from .exchange import Request
from .faults import GarbageKind, html_page
from .server import INTERFACES, Interface, Provider

__all__ = [
    "INTERFACES",
    "Answer",
    "AnswerFields",
    "Finish",
    "GarbageKind",
    "Interface",
    "Provider",
    "Request",
    "ToolCall",
    "ToolCallFields",
    "Usage",
    "html_page",
]
