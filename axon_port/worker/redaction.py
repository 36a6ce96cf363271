"""Keys that must never leave the process, and the texts they are taken out of (PROTOCOL.md, SEC-KEYS)."""

from __future__ import annotations

import json
import os
import re
import threading
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from axon_port.wire import codec
from axon_port.wire.events import CUT, CUT_END
from axon_port.wire.words import REDACTED

SHORTEST: Final = 8
"""Characters. A shorter "key" is found in ordinary words, and redacting it would eat the text around it."""

SHORTEST_BEGINNING: Final = 4
"""Characters of a key at the end of a text that was cut there."""

RULE: Final = "---"
"""What a line begins with that stands around keys of a kind, and in anybody's text."""

FEW: Final = 8
"""Keys that are looked for one by one. More are looked up by their beginnings, or each would make every text dearer."""

_NAMES: Final = re.compile(r"(API_?KEY|TOKEN|SECRET|ACCESS_KEY|PASSWORD|CREDENTIALS?)(_|$)|_KEY$", re.IGNORECASE)
"""Environment variables whose values are kept out of texts, as providers name theirs."""


_MARK: Final = f"{re.escape(CUT)}[0-9]+{re.escape(CUT_END)}"

_CUT: Final = re.compile(f"(?=(?:{CUT[0]}[^{CUT[0]}]{{0,32}})?{_MARK})")
"""Where a limit has cut a text. The mark can have been cut itself, by the next limit."""

_CUT_END: Final = CUT_END.encode()

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


class _Keys:
    """Keys, and where they stand in a text. For use from any thread, but for `add`.

    What a text costs hardly depends on how many there are: in a thousand places it may begin like one of them, and
    there one look into a table tells.
    """

    def __init__(self) -> None:
        self._few: tuple[str, ...] = ()
        self._few_in_bytes: tuple[bytes, ...] = ()
        self._by_beginning: dict[str, tuple[tuple[int, set[str]], ...]] = {}
        self._letters = [set[str]() for _ in range(SHORTEST)]
        self._beginning: re.Pattern[str] | None = None

    def add(self, key: str) -> bool:
        """Whether it was not known yet. From one thread at a time."""
        beginning = key[:SHORTEST]
        if not self._enter(beginning, key):
            return False
        known = all(letter in letters for letter, letters in zip(beginning, self._letters, strict=True))
        for letter, letters in zip(beginning, self._letters, strict=True):
            letters.add(letter)
        if len(self._few) < FEW:
            self._few = (*self._few, key)
            self._few_in_bytes = (*self._few_in_bytes, key.encode("latin-1", "replace"))
        elif self._beginning is None or not known:
            self._beginning = self._like_a_beginning()
        return True

    def _enter(self, beginning: str, key: str) -> bool:
        """In sets of one length each: a service's keys all begin alike, and there may be thousands."""
        known = self._by_beginning.get(beginning, ())
        for length, keys in known:
            if length == len(key):
                if key in keys:
                    return False
                keys.add(key)
                return True
        # A new tuple: another thread may be looking through this one.
        self._by_beginning[beginning] = (*known, (len(key), {key}))
        return True

    def _like_a_beginning(self) -> re.Pattern[str]:
        first, *others = (f"[{re.escape(''.join(sorted(letters)))}]" for letters in self._letters)
        # The next match may begin inside this one, so all but one letter is only looked at.
        return re.compile(f"{first}(?={''.join(others)})")

    def are_in(self, payload: bytes) -> bool:
        """Whether `payload` holds one of them, a character for each byte."""
        pattern = self._beginning
        if pattern is None:
            # Without a copy of what may be megabytes.
            for key in self._few_in_bytes:  # noqa: SIM110  it is done for each chunk
                if key in payload:
                    return True
            return False
        return any(self._looked_up(payload.decode("latin-1"), pattern))

    def within(self, text: str) -> Iterable[str]:
        """The keys that `text` holds."""
        pattern = self._beginning
        if pattern is None:
            return [key for key in self._few if key in text]
        return self._looked_up(text, pattern)

    def _looked_up(self, text: str, pattern: re.Pattern[str]) -> Iterator[str]:
        for match in pattern.finditer(text):
            start = match.start()
            for length, keys in self._by_beginning.get(text[start : start + SHORTEST], ()):
                if (key := text[start : start + length]) in keys:
                    yield key

    def taken_out(self, text: str) -> str:
        if found := set(self.within(text)):
            # The longest first, so that what is left of a key around a shorter one does not stay.
            for key in sorted(found, key=lambda key: (len(key), key), reverse=True):
                text = text.replace(key, REDACTED)
        return text


class Redactor:
    """Every key that was given to this worker, by a frame or by its environment. For use from any thread.

    None is ever forgotten: what was said with it may be told at any time.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._lock = threading.Lock()
        self._learnt: set[str] = set()
        self._in_texts = _Keys()
        self._in_payloads = _Keys()
        self._sorted: list[str] = []
        self._first_letters: frozenset[str] = frozenset()
        self._longest = 0
        for name, value in environment.items():
            for key in keys_of(name, value):
                self.learn(key)

    def learn(self, secret: str) -> None:
        """Keep `secret` out of every text from now on, also as it stands without the white space around it."""
        if secret in self._learnt:
            return
        forms = _forms(secret)
        with self._lock:
            ordered = self._sorted.copy()
            for form in forms:
                self._in_payloads.add(_in_payload(form))
                if self._in_texts.add(form):
                    insort(ordered, form)
                    self._longest = max(self._longest, len(form))
            # A new list: another thread may be looking through this one.
            self._sorted = ordered
            self._first_letters |= {form[0] for form in forms}
            self._learnt.add(secret)

    def payload(self, payload: bytes) -> bytes:
        """An encoded frame with its texts redacted. Costs a search where there is nothing to do."""
        if not self._longest:
            return payload
        if _CUT_END in payload or self._in_payloads.are_in(payload):
            return self._redacted(payload)
        return payload

    def _redacted(self, payload: bytes) -> bytes:
        try:
            frame = codec.decode(payload)
        except ValueError:
            # Nested deeper than the parser goes: no time for words and names, the key must not leave.
            return self._in_payloads.taken_out(payload.decode("latin-1")).encode("latin-1")
        if not isinstance(frame, dict):
            return codec.encode(self.value(frame))
        fields = cast("dict[str, Any]", frame)
        data = _data_of(fields)
        return codec.encode(
            {key: self.value(item) if key == data else self._field(key, item) for key, item in fields.items()}
        )

    def text(self, text: str) -> str:
        if not self._longest:
            return text
        text = self._in_texts.taken_out(text)
        return self._without_cut_keys(text) if CUT_END in text else text

    def begun(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a key."""
        if not self._longest:
            return 0
        keys = self._sorted
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start] in self._first_letters:
                end = text[start:]
                # What begins with `end` comes right behind it.
                place = bisect_right(keys, end)
                if place < len(keys) and keys[place].startswith(end):
                    return len(end)
        return 0

    def _without_cut_keys(self, text: str) -> str:
        """A text that was cut to a length can end with the beginning of a key, wherever it was put since."""
        *cut, rest = _CUT.split(text)
        return "".join([*map(self._without_begun_key, cut), rest])

    def _without_begun_key(self, text: str) -> str:
        begun = self.begun(text)
        return text[:-begun] + REDACTED if begun >= SHORTEST_BEGINNING else text

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


def _forms(secret: str) -> set[str]:
    """A key as texts hold it, also inside JSON or a `repr`, and its lines: printed, each is a text of its own."""
    whole = (secret, codec.clean_text(secret))
    return {
        form
        for one in whole
        for text in (one, one.strip(), *_lines(one))
        for form in (text, json.dumps(text)[1:-1], repr(text)[1:-1])
        if len(form) >= SHORTEST
    }


def _lines(secret: str) -> list[str]:
    """The lines of a key; not a rule such as `-----BEGIN KEY-----`, which tells nothing of it."""
    lines = [line.strip() for line in secret.split("\n")]
    return [line for line in lines if len(line) >= SHORTEST and not line.startswith(RULE)]


def _in_payload(form: str) -> str:
    """As the JSON of a frame holds it, a character for each byte."""
    return json.dumps(codec.clean_text(form), ensure_ascii=False)[1:-1].encode().decode("latin-1")


def _data_of(frame: dict[str, Any]) -> str:
    """The field of a frame that is somebody's data throughout."""
    if frame.get("kind") in {"text", "thinking", "output"}:
        return "data"
    if frame.get("error_type") == "ToolError":
        return "details"
    return "result" if "run_id" in frame else ""
