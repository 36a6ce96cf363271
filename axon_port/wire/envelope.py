"""The first look at a command: a type that is known, an id that can be used (PROTOCOL.md, ENV-*).

It runs on the reader's thread before pydantic is imported, so it knows names only; the fields are checked by
commands.py.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, cast

from axon_port.wire import codec
from axon_port.wire.codec import NumberLost, Payload, glance
from axon_port.wire.errors import WireError, invalid_command
from axon_port.wire.words import Id

EXCHANGES: Final = frozenset(
    {
        "create_agent",
        "delete_agent",
        "list_agents",
        "run",
        "stream",
        "cancel",
        "enqueue",
        "ping",
        "stats",
        "set_log_level",
        "shutdown",
    }
)
"""Commands that get one terminal frame with their own id."""

ANSWERS: Final = frozenset({"tool_result", "approval", "credit"})
"""Commands that act on a run and carry its id; a mistake in one is an error with `id: null`."""

MAX_ID_LENGTH: Final = 256

MAX_ID_BYTES: Final = 6 * MAX_ID_LENGTH + 2
"""Of an id as JSON, where each character is one that has to be escaped. `id_bytes` of this much refuses none."""

_PING: Final = b'"ping"'
_PING_BYTES: Final = 4096
"""More than any ping takes."""


class Envelope(NamedTuple):
    """A command's type and id, and all its fields."""

    type: str
    id: Id
    fields: dict[str, Any]


class Refused(Exception):
    """A frame that is no command. `id` is the one to answer with: null where none could be read.

    `about` says which run, and which call, an answer was meant for: its error has no id of its own.
    """

    def __init__(self, error: WireError, frame_id: Id | None, about: dict[str, Any] | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.id = frame_id
        self.about = about or {}


def ping_id(payload: Payload, id_bytes: int = MAX_ID_BYTES) -> Id | None:
    """The id of a ping that has nothing else, or None for any other frame, which is to be read with more care."""
    if len(payload) > _PING_BYTES or _PING not in payload:
        return None
    fields = glance(payload)
    if fields is None or len(fields) != 2 or fields.get("type") != "ping":
        return None
    return readable_id(fields, id_bytes)


def open_envelope(value: object, id_bytes: int = MAX_ID_BYTES) -> Envelope:
    """The type and the id of a decoded frame. Raises `Refused`.

    An id that takes more than `id_bytes` as JSON is none: no frame could carry it back.
    """
    if not isinstance(value, dict):
        raise Refused(WireError("InvalidCommand", "a command is a JSON object with `type` and `id`"), None)
    fields = cast("dict[str, Any]", value)
    frame_id = readable_id(fields, id_bytes)
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise Refused(invalid_command(["type"], "a command needs a `type`, a string", "missing"), frame_id)
    if kind not in EXCHANGES and kind not in ANSWERS:
        shown = kind[:MAX_ID_LENGTH]
        message = f"there is no command of type {shown!r}: `axon-port schema` lists them"
        error = WireError("UnknownCommand", message, details={"type": shown})
        raise Refused(error, frame_id)
    if frame_id is None:
        message = "a command needs an `id`: a string of 1 to 256 characters or a 64-bit signed integer"
        bound = "" if id_bytes >= MAX_ID_BYTES else f", of at most {id_bytes} bytes as JSON (--max-frame-bytes)"
        about = about_answer(fields, None) if kind in ANSWERS else {}
        raise Refused(invalid_command(["id"], message + bound, "id"), None, about)
    return Envelope(kind, frame_id, fields)


def number_lost(error: NumberLost, id_bytes: int = MAX_ID_BYTES) -> Refused:
    """What becomes of a command with a number that cannot be kept."""
    refusal = WireError("InvalidCommand", str(error))
    frame_id = readable_id(error.value, id_bytes)
    value = error.value
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        kind = fields.get("type")
        if isinstance(kind, str) and kind in ANSWERS:
            return Refused(refusal, None, about_answer(fields, frame_id))
    return Refused(refusal, frame_id)


def about_answer(fields: dict[str, Any], run_id: Id | None) -> dict[str, Any]:
    """`run_id` and, if there is one, `call_id`, for an error about an answer to a run."""
    about: dict[str, Any] = {} if run_id is None else {"run_id": run_id}
    call_id = fields.get("call_id")
    if isinstance(call_id, str):
        about["call_id"] = call_id[:MAX_ID_LENGTH]
    return about


def readable_id(value: Any, id_bytes: int = MAX_ID_BYTES) -> Id | None:
    """The id of a decoded frame, or None where there is none that could be sent back."""
    if not isinstance(value, dict):
        return None
    fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    found = fields.get("id")
    if isinstance(found, str):
        fits = 1 <= len(found) <= MAX_ID_LENGTH and (id_bytes >= MAX_ID_BYTES or len(codec.encode(found)) <= id_bytes)
        return found if fits else None
    if isinstance(found, int) and not isinstance(found, bool):
        return found if -(2**63) <= found < 2**63 else None
    return None
