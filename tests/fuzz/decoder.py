"""Fuzz the way in of bytes: `python -m tests.fuzz.decoder --seconds N`.

The invariant: whatever the bytes are and however they are cut,

1. the frame decoder raises nothing, and gives the same events for every cut;
2. no payload is longer than the limit, and after lost framing nothing comes;
3. a payload is JSON or one of two documented errors, whose text repeats nothing of it;
4. what was read can be written again, and reads the same;
5. a JSON value is an envelope or `Refused`, with an id that can be sent back or none.
"""

from __future__ import annotations

import sys
from typing import Final

from axon_port.wire import codec
from axon_port.wire.codec import NotJson, NumberLost
from axon_port.wire.envelope import Refused, number_lost, open_envelope, readable_id
from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize

from .engine import main

MAX: Final = 512

Event = bytes | Oversize | FramingLost


def target(data: bytes) -> None:
    """One input: the first byte says how the rest is cut."""
    size = (data[0] if data else 0) % 17 + 1
    stream = data[1:]
    whole = heard([stream])
    assert heard([stream[start : start + size] for start in range(0, len(stream), size)]) == whole
    assert not any(isinstance(event, FramingLost) for event in whole[:-1])
    for event in whole:
        if isinstance(event, bytes):
            assert 0 < len(event) <= MAX
            read(event)
    read(stream)


def heard(pieces: list[bytes]) -> list[Event]:
    decoder = FrameDecoder(MAX)
    return [
        bytes(event) if isinstance(event, bytearray) else event for piece in pieces for event in decoder.receive(piece)
    ]


def read(payload: bytes) -> None:
    """One payload, as the worker takes it."""
    try:
        value = codec.decode(payload)
    except NotJson as error:
        short = len(str(error)) < 200
        assert short
        return
    except NumberLost as error:
        lost = number_lost(error)
        answerable = lost.id == (None if lost.about else readable_id(error.value))
        assert answerable
        return
    written = codec.encode(value)
    assert repr(codec.decode(written)) == repr(value)
    try:
        envelope = open_envelope(value)
    except Refused as refused:
        answered, kind = refused.id, refused.error.error_type
        assert answered is None or answered == readable_id(value)
        assert kind in ("InvalidCommand", "UnknownCommand")
        return
    assert envelope.id == readable_id(value)


if __name__ == "__main__":
    sys.exit(main("decoder", target))
