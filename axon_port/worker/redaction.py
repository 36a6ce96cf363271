"""Keys that must never leave the process, and the texts they are taken out of (PROTOCOL.md, SEC-KEYS)."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping
from typing import Any, Final, cast

from axon_port.wire import codec
from axon_port.wire.events import CUT, CUT_END

SHORTEST: Final = 8
"""Characters. A shorter "key" is found in ordinary words, and redacting it would eat the text around it."""

SHORTEST_BEGINNING: Final = 4
"""Characters of a key at the end of a text that was cut there."""

REPLACEMENT: Final = "[redacted]"

_NAMES: Final = re.compile(r"(API_?KEY|TOKEN|SECRET|ACCESS_KEY|PASSWORD|CREDENTIALS?)(_|$)", re.IGNORECASE)
"""Environment variables whose values are kept out of texts, as providers name theirs."""


_CUT: Final = CUT_END.encode()

_WORDS: Final = frozenset(
    {
        "type", "id", "tools", "kind", "part_kind", "status", "state", "outcome", "level", "logger", "reason",
        "finish_reason", "error_type", "name", "tool_name", "tool_kind", "call_id", "tool_call_id", "agent_id",
        "run_id", "conversation_id", "model", "model_name", "provider_name", "timestamp", "media_type",
    }
)  # fmt: skip
"""Keys whose values are protocol words, ids and names, in frames and in pydantic-ai's messages: they stay."""


_DATA: Final = frozenset({"args", "content", "fields", "body", "metadata"})
"""Keys below which everything is somebody's data: there a `name` is a text like any other."""


def secret_names(environment: Mapping[str, str]) -> list[str]:
    """The variables whose values are keys, or hold some."""
    return [name for name, value in environment.items() if keys_of(name, value)]


def keys_of(name: str, value: str) -> list[str]:
    """The keys that a variable holds."""
    return ([value] if _NAMES.search(name) else []) + _otlp_keys(name, value)


def _otlp_keys(name: str, value: str) -> list[str]:
    if not name.startswith("OTEL_EXPORTER_OTLP_"):
        return []
    # Where no collector is named, nobody waits for this.
    from axon_port.worker.otlp_keys import otlp_keys

    return otlp_keys(name, value)


def keep_keys_from_children(environment: Mapping[str, str] = os.environ) -> None:
    """Leave the keys where this process finds them, in `os.environ`, and take them out of what a child inherits.

    A child is started with the C library's environment unless it is given another one. Call it before somebody's
    code is imported, whose threads may read that environment.
    """
    import subprocess  # as late as this: it takes longer to import than to answer the first ping

    # Python would read `os.environ` for a child that it starts in this way.
    subprocess._USE_POSIX_SPAWN = False  # pyright: ignore[reportPrivateUsage]  as its documentation says
    for name in secret_names(environment):
        os.unsetenv(name)


class Redactor:
    """Every key that was given to this worker, by a frame or by its environment. For use from any thread."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()
        self._encoded: tuple[bytes, ...] = ()
        for name, value in environment.items():
            for key in keys_of(name, value):
                self.learn(key)

    def learn(self, secret: str) -> None:
        """Keep `secret` out of every text from now on, also as it stands without the white space around it."""
        forms = {form for text in (secret, secret.strip()) for form in (text, json.dumps(text)[1:-1], repr(text)[1:-1])}
        with self._lock:
            known = forms.union(self._secrets)
            # The longest first, so that what is left of a key around a shorter one does not stay.
            self._secrets = tuple(sorted((form for form in known if len(form) >= SHORTEST), key=len, reverse=True))
            # As the JSON of a frame holds them: without the quotes around them.
            self._encoded = tuple(json.dumps(form, ensure_ascii=False)[1:-1].encode() for form in self._secrets)

    def payload(self, payload: bytes) -> bytes:
        """An encoded frame with its texts redacted. Costs a search where there is nothing to do."""
        if _CUT in payload:
            return self._redacted(payload)
        for secret in self._encoded:
            if secret in payload:
                return self._redacted(payload)
        return payload

    def _redacted(self, payload: bytes) -> bytes:
        try:
            frame = cast("dict[str, Any]", codec.decode(payload))
        except ValueError:
            # Nested deeper than the parser goes: no time for words and names, the key must not leave.
            for secret in self._encoded:
                payload = payload.replace(secret, REPLACEMENT.encode())
            return payload
        data = _data_of(frame)
        redacted = {key: self.value(item) if key == data else self._field(key, item) for key, item in frame.items()}
        return codec.encode(redacted)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REPLACEMENT)
        return self._without_cut_key(text) if text.endswith(CUT_END) else text

    def begun(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a key."""
        longest = 0
        for secret in self._secrets:
            start = text.find(secret[0], max(0, len(text) - len(secret) + 1))
            while start >= 0 and not secret.startswith(text[start:]):
                start = text.find(secret[0], start + 1)
            if start >= 0:
                longest = max(longest, len(text) - start)
        return longest

    def _without_cut_key(self, text: str) -> str:
        """A text that was cut to a length can end with the beginning of a key."""
        kept, mark, rest = text.rpartition(CUT)
        for secret in self._secrets:
            for length in range(min(len(secret), len(kept)), SHORTEST_BEGINNING - 1, -1):
                if kept.endswith(secret[:length]):
                    return kept[:-length] + REPLACEMENT + mark + rest
        return text

    def value(self, value: Any) -> Any:
        """Somebody's data with every string in it redacted; keys of objects are names and stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in cast("dict[str, Any]", value).items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in cast("list[Any]", value)]
        return value

    def _field(self, key: str, value: Any) -> Any:
        """A field of a frame or of a message: its words, ids and names stay."""
        if key in _DATA:
            return self.value(value)
        if isinstance(value, str):
            return value if key in _WORDS else self.text(value)
        if isinstance(value, dict):
            return {name: self._field(name, item) for name, item in cast("dict[str, Any]", value).items()}
        if isinstance(value, list):
            return [self._field(key, item) for item in cast("list[Any]", value)]
        return value


def _data_of(frame: dict[str, Any]) -> str:
    """The field of a frame that is somebody's data throughout."""
    if frame.get("kind") in {"text", "thinking", "output"}:
        return "data"
    if frame.get("error_type") == "ToolError":
        return "details"
    return "result" if "run_id" in frame else ""
