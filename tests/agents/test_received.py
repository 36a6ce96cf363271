"""What a model answered, as any later request can send it."""

import pytest
from pydantic_ai.messages import (
    BinaryContent,
    FilePart,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)

from axon_port.agents.received import readable

LONE = "a\ud800b"
MENDED = "a\ufffdb"


@pytest.mark.parametrize(
    ("part", "mended"),
    [
        (TextPart(LONE), TextPart(MENDED)),
        (ThinkingPart(LONE), ThinkingPart(MENDED)),
        (ToolCallPart(LONE, {}, LONE), ToolCallPart(MENDED, {}, MENDED)),
        (ToolCallPart("look", f'{{"a": "{LONE}"}}', "1"), ToolCallPart("look", f'{{"a": "{MENDED}"}}', "1")),
        (ToolCallPart("look", {"a": [LONE]}, "1"), ToolCallPart("look", {"a": [MENDED]}, "1")),
    ],
    ids=lambda part: ascii(part)[:60],
)
def test_lone_surrogates_become_readable_text(part: ModelResponsePart, mended: ModelResponsePart) -> None:
    """clause: JSON-OUT-TEXT
    fault: G59
    """
    response = ModelResponse(parts=[TextPart("fine"), part])
    assert readable(response).parts == [TextPart("fine"), mended]


def test_what_is_readable_is_the_same_answer() -> None:
    picture = FilePart(BinaryContent(b"\xff", media_type="image/png"))
    response = ModelResponse(parts=[TextPart("für"), picture, ToolCallPart("look", {"a": "für"}, "1")])
    assert readable(response) is response
