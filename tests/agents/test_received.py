"""What a model answered, as any later request can send it."""

from typing import Any

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


@pytest.mark.parametrize(
    ("args", "mended"),
    [
        ('{"a": NaN, "b": [-Infinity, 1e999, 1E400]}', '{"a":null,"b":[null,null,null]}'),
        ({"a": [float("nan"), 1.5]}, {"a": [None, 1.5]}),
        ('{"a": "NaN, Infinity and 1e999"}', '{"a": "NaN, Infinity and 1e999"}'),
        ('{"a": 1e300, "b": 1e-999}', '{"a": 1e300, "b": 1e-999}'),
        ('{"a": NaN', '{"a": NaN'),
    ],
)
def test_what_is_no_number_in_arguments_is_null_as_the_parent_is_told(args: Any, mended: Any) -> None:
    """clause: JSON-OUT-NUMBERS"""
    response = ModelResponse(parts=[ToolCallPart("look", args, "1")])
    assert readable(response).parts == [ToolCallPart("look", mended, "1")]


def test_what_is_readable_is_the_same_answer() -> None:
    picture = FilePart(BinaryContent(b"\xff", media_type="image/png"))
    response = ModelResponse(parts=[TextPart("für"), picture, ToolCallPart("look", {"a": "für"}, "1")])
    assert readable(response) is response
