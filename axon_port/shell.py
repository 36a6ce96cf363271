"""`axon-port pack` and `axon-port unpack`: frames for a shell (PROTOCOL.md, SHELL-*)."""

from __future__ import annotations

import sys
from typing import BinaryIO, Final

from axon_port.statuses import EX_DATAERR
from axon_port.wire import codec
from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize, encode_frame

MAX_FRAME_BYTES: Final = 512 * 1024 * 1024
"""The longest frame `unpack` takes: eight times a worker's default, and less than any four characters of text say, but
for tabs and empty lines."""

_READ_BYTES: Final = 65_536


def pack(lines: BinaryIO, frames: BinaryIO) -> int:
    """A frame for each line of JSON; an empty line makes none. Exit status 65 at the first line that is no JSON."""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        try:
            codec.decode(text)
        except ValueError as error:
            print(f"axon-port pack: line {number} is no JSON: {error}", file=sys.stderr)
            return EX_DATAERR
        frames.write(encode_frame(text))
        frames.flush()
    return 0


def unpack(frames: BinaryIO, lines: BinaryIO) -> int:
    """A line of JSON for each frame. Exit status 65 where the input is no sequence of frames."""
    decoder = FrameDecoder(MAX_FRAME_BYTES)
    read = getattr(frames, "read1", frames.read)
    while data := read(_READ_BYTES):
        for frame in decoder.receive(data):
            if isinstance(frame, Oversize | FramingLost):
                print("axon-port unpack: the input is no sequence of frames", file=sys.stderr)
                return EX_DATAERR
            lines.write(bytes(frame).replace(b"\n", b" ") + b"\n")
        lines.flush()
    if decoder.inside_frame:
        print("axon-port unpack: the input ended inside a frame", file=sys.stderr)
        return EX_DATAERR
    return 0
