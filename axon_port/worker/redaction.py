"""Keys that must never leave the process, and the texts they are taken out of (PROTOCOL.md, SEC-KEYS)."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from typing import Any, Final, cast

SHORTEST: Final = 8
"""Characters. A shorter "key" is found in ordinary words, and redacting it would eat the text around it."""

REPLACEMENT: Final = "[redacted]"

_NAMES: Final = re.compile(r"(API_?KEY|TOKEN|SECRET|ACCESS_KEY|PASSWORD|CREDENTIALS?)(_|$)", re.IGNORECASE)
"""Environment variables whose values are kept out of texts, as providers name theirs."""


class Redactor:
    """Every key that was given to this worker, by a frame or by its environment. For use from any thread."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()
        for name, value in environment.items():
            if _NAMES.search(name):
                self.learn(value)

    def learn(self, secret: str) -> None:
        """Keep `secret` out of every text from now on, also as it stands without the white space around it."""
        forms = {secret, secret.strip()}
        with self._lock:
            known = forms.union(self._secrets)
            # The longest first, so that what is left of a key around a shorter one does not stay.
            self._secrets = tuple(sorted((form for form in known if len(form) >= SHORTEST), key=len, reverse=True))

    def text(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REPLACEMENT)
        return text

    def value(self, value: Any) -> Any:
        """A JSON value with each of its strings redacted; keys of objects are names and stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in cast("dict[str, Any]", value).items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in cast("list[Any]", value)]
        return value
