"""Text is text: control characters, escape sequences and whole frames inside it never leave but escaped in JSON.

The bytes of a worker's output are read as they are, not through a decoder that could forgive.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from axon_port.wire import codec
from axon_port.wire.framing import FrameDecoder, encode_frame
from tests.kit import REPOSITORY

GOODBYE = b'{"type":"goodbye","reason":"eof"}'
CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF]))
FRAME = (len(GOODBYE).to_bytes(4, "big") + GOODBYE).decode("latin-1")
HOSTILE = f"\x1b]0;title\x07\x1b[2J{CONTROLS}\r\n\r\n{FRAME}\r\n"

TELLING = """
import logging, os, sys
def tell(text: str):
    logging.getLogger(text).warning(text, extra={"field": text})
    sys.stdout.write(text + "\\n"); sys.stdout.flush()
    os.write(1, text.encode() + b"\\n")
    sys.stderr.write(text + "\\n"); sys.stderr.flush()
    return {text: text}
def throw(text: str):
    raise ValueError(text)
"""


def output(folder: Path, commands: list[dict[str, Any]]) -> bytes:
    """Everything that a worker wrote, its stderr in the same pipe."""
    (folder / "telling.py").write_text(TELLING)
    ended = subprocess.run(
        [sys.executable, "-m", "axon_port", "--allow-import", "telling", "--log-level", "debug"],
        input=b"".join(encode_frame(codec.encode(command)) for command in commands),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PYTHONPATH": f"{folder}:{REPOSITORY}", "PATH": "/usr/bin:/bin"},
        cwd=REPOSITORY,
        timeout=120,
        check=True,
    )
    return ended.stdout


def test_whatever_a_text_holds_only_whole_frames_without_control_characters_leave(tmp_path: Path) -> None:
    """clause: STDIO-FRAMES, FRAME-OUT, LOG-LINES
    fault: H65
    """
    tools = [{"name": name, "handler": {"python": f"telling:{name}"}} for name in ("tell", "throw")]
    tools.append({"name": "later", "parameters": {"type": "object"}, "handler": "deferred"})
    args = {"text": HOSTILE}
    scripts: list[list[dict[str, Any]]] = [
        [{"text": HOSTILE, "thinking": HOSTILE}],
        [{"tool_calls": [{"name": "tell", "args": args}]}, {"text": HOSTILE}],
        [{"tool_calls": [{"name": "throw", "args": args}]}],
        [{"tool_calls": [{"name": "later", "args": {HOSTILE: HOSTILE}}]}],
        [{"error": {"status": 500, "message": HOSTILE}}],
    ]
    commands: list[dict[str, Any]] = [
        {"type": "create_agent", "id": HOSTILE[:256], "agent_id": "a", "model": "test", "tools": tools}
    ]
    kinds = ["text", "thinking", "tool_call", "tool_return"]
    for number, script in enumerate(scripts):
        run = {"agent_id": "a", "prompt": HOSTILE, "model": {"script": script}, "metadata": {HOSTILE: HOSTILE}}
        commands.append({"type": "run", "id": f"{number}{HOSTILE[:200]}", **run})
        commands.append({"type": "stream", "id": number, "events": kinds, **run})
    commands.append({"type": "run", "id": "none", "agent_id": HOSTILE[:256], "prompt": "go"})
    commands.append({"type": HOSTILE, "id": "unknown"})
    decoder = FrameDecoder(1 << 26)
    frames: list[Any] = []
    for payload in decoder.receive(output(tmp_path, commands)):
        assert isinstance(payload, bytes | bytearray)
        assert not [byte for byte in payload if byte < 0x20], payload
        frames.append(codec.decode(payload))
    assert frames[0]["type"] == "ready"
    assert [frame["type"] for frame in frames].count("goodbye") == 1
    assert frames[-1] == {"type": "goodbye", "reason": "eof"}
    answered = [frame["id"] for frame in frames if frame["type"] in {"result", "error"}]
    assert sorted(map(str, answered)) == sorted(str(command["id"]) for command in commands)
    logged = {frame["logger"] for frame in frames if frame["type"] == "log"}
    assert {"stdout", "stderr", HOSTILE} <= logged
