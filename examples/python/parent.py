"""A parent in plain Python: two runs at once, and a tool that the parent answers."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

from axon_port.wire import codec
from axon_port.wire.framing import FrameDecoder, encode_frame

MAX_FRAME_BYTES = 64 * 1024 * 1024
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
SCRIPT = [{"tool_calls": [{"name": "weather", "args": {"city": "Riga"}}]}, {"text": "Take a coat."}]


async def frames(output: asyncio.StreamReader) -> AsyncIterator[Any]:
    """What the worker says, until it has gone."""
    decoder = FrameDecoder(MAX_FRAME_BYTES)
    while data := await output.read(65536):
        for payload in decoder.receive(data):
            match payload:
                case bytes() | bytearray():
                    yield codec.decode(payload)
                case _:
                    raise RuntimeError("this is no worker: its output is not made of frames")


async def main() -> None:
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", "axon_port", stdin=PIPE, stdout=PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    into = worker.stdin

    def send(**command: Any) -> None:
        into.write(encode_frame(codec.encode(command)))

    # Nothing has to be waited for: commands take effect in the order in which they are sent.
    send(type="create_agent", id="new", agent_id="guide", model={"script": SCRIPT}, tools=[WEATHER])
    send(type="run", id="today", agent_id="guide", prompt="What shall I wear today?")
    send(type="run", id="tomorrow", agent_id="guide", prompt="And tomorrow?")
    waiting = {"today", "tomorrow"}
    async for frame in frames(worker.stdout):
        match frame:
            case {"type": "tool_call", "id": run, "call_id": call, "args": {"city": city}}:
                print(f"{run}: the weather in {city}?")
                send(type="tool_result", id=run, call_id=call, result={"degrees": 8})
            case {"type": "result", "id": run, "result": answer} if run in waiting:
                print(f"{run}: {answer}")
                waiting.discard(run)
                if not waiting:
                    into.close()  # the end of the input: the worker finishes and goes
            case {"type": "error", "message": message}:
                raise RuntimeError(message)
            case _:  # ready, the agent's result, logs, goodbye
                pass
    print(f"exit status {await worker.wait()}")


if __name__ == "__main__":
    asyncio.run(main())
