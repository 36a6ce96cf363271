"""Prompts of every kind, as pydantic-ai takes them (PROTOCOL.md, RUN-PROMPT)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from pydantic_ai.messages import AudioUrl, BinaryContent, DocumentUrl, ImageUrl, UserContent, VideoUrl

from axon_port.wire.commands import BinaryPart, TextPart, UrlPart
from axon_port.wire.errors import invalid_command

_URLS = {"image_url": ImageUrl, "audio_url": AudioUrl, "video_url": VideoUrl, "document_url": DocumentUrl}


def user_content(prompt: str | Sequence[TextPart | UrlPart | BinaryPart]) -> str | list[UserContent]:
    """Raises `WireError` `InvalidCommand` for data that is no base64."""
    return prompt if isinstance(prompt, str) else parts_content(prompt, field="prompt")


def parts_content(parts: Sequence[TextPart | UrlPart | BinaryPart], *, field: str) -> list[UserContent]:
    """The parts of a command's field. Raises `WireError` `InvalidCommand` for data that is no base64."""
    return [_content(part, [field, place, "data"]) for place, part in enumerate(parts)]


def _content(part: TextPart | UrlPart | BinaryPart, loc: list[str | int]) -> UserContent:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, UrlPart):
        return _URLS[part.type](url=part.url, media_type=part.media_type)
    try:
        data = base64.b64decode(part.data, validate=True)
    except binascii.Error:
        raise invalid_command(loc, "the data is not base64") from None
    return BinaryContent(data=data, media_type=part.media_type)
