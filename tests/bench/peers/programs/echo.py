"""A blocking echo of frames: `raw`, as they are, or `json`, parsed and written again."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import orjson

from tests.bench import scenes


def answered(command: dict[str, Any]) -> dict[str, Any]:
    """A ping comes back as it is; a text is taken, or given."""
    if "prompt" in command:
        return {"type": "result", "id": command["id"], "result": scenes.ANSWER}
    if "answer" in command:
        return {"type": "result", "id": command["id"], "result": scenes.text(command["answer"])}
    return command


def main(mode: str, source: BinaryIO, sink: BinaryIO) -> None:
    while header := source.read(4):
        payload = source.read(int.from_bytes(header, "big"))
        if mode == "json":
            payload = orjson.dumps(answered(orjson.loads(payload)))
            header = len(payload).to_bytes(4, "big")
        sink.write(header + payload)
        sink.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
