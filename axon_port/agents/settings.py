"""A parent's model settings, looked at before a provider's client trips over them (PROTOCOL.md, MODEL-SETTINGS)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.settings import ModelSettings

from axon_port.wire.errors import invalid_command, invalid_fields

_KNOWN = TypeAdapter[ModelSettings](ModelSettings)

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A name of RFC 9110, section 5.6.2."""

_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
"""What every HTTP client sends as it is."""


def check_model_settings(settings: Mapping[str, Any]) -> None:
    """Raises `WireError` `InvalidCommand` where a setting that pydantic-ai knows cannot be used."""
    if "max_retries" in settings:
        message = "the providers' clients make no retries of their own: use `retry`"
        raise invalid_command(["model_settings", "max_retries"], message, "extra_forbidden")
    try:
        _KNOWN.validate_python(settings)
    except ValidationError as error:
        raise invalid_fields(error, prefix=["model_settings"]) from None
    if not isinstance(settings.get("extra_body", {}), dict):
        raise _unusable("extra_body", "what is added to the body of a request is an object")
    timeout = settings.get("timeout", 1.0)
    if isinstance(timeout, int | float) and timeout <= 0:
        raise _unusable("timeout", "a number of seconds above 0 is wanted")
    for name, value in cast("dict[str, str]", settings.get("extra_headers", {})).items():
        if not (_HEADER.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise _unusable("extra_headers", "a header's name is a token, and its value visible ASCII and spaces")


def _unusable(name: str, message: str) -> Exception:
    return invalid_command(["model_settings", name], message, "value_error")
