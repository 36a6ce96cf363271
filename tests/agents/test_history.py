"""Messages in and out: what one worker returned, another one takes."""

import json
from typing import Any

import pytest
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturn,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.run import PendingMessage  # pyright: ignore[reportPrivateImportUsage]

from axon_port.agents.attachments import attachments
from axon_port.agents.history import check_closed, dump_history, parse_history, plain, resumable
from axon_port.wire import codec
from axon_port.wire.errors import MAX_REPORTED_FAULTS, WireError

CONVERSATION: list[ModelMessage] = [
    ModelRequest(
        [SystemPromptPart("be kind"), UserPromptPart(["look", BinaryContent(b"\x00\xff", media_type="image/png")])]
    ),
    ModelResponse([ThinkingPart("hm"), ToolCallPart("look", {"n": 2**70}, tool_call_id="c1")], model_name="m"),
    ModelRequest([ToolReturnPart("look", {"x": [1, None, 0.5]}, tool_call_id="c1")]),
    ModelResponse([TextPart("done \N{GRINNING FACE}")], model_name="m"),
]


def test_messages_survive_the_way_out_and_in_byte_for_byte() -> None:
    """clause: RUN-HISTORY"""
    sent = dump_history(CONVERSATION)
    taken = parse_history(json.loads(sent.text))
    assert dump_history(taken).text == sent.text
    assert [type(message) for message in taken] == [type(message) for message in CONVERSATION]


def test_messages_survive_a_frame() -> None:
    frame = codec.encode({"type": "result", "messages": dump_history(CONVERSATION)})
    value: Any = codec.decode(frame)
    assert dump_history(parse_history(value["messages"])).text == dump_history(CONVERSATION).text


def test_an_empty_history_is_a_history() -> None:
    assert parse_history([]) == []
    assert dump_history([]).text == b"[]"


FORCED: list[tuple[Any, Any]] = [("allow-local", True), (True, True), (False, False)]


@pytest.mark.parametrize(("asked", "taken"), FORCED)
def test_no_address_in_a_history_opens_our_own_network(asked: Any, taken: Any) -> None:
    """clause: SEC-HISTORY"""
    url = ImageUrl("http://127.0.0.1/a.png", media_type="image/png", force_download=asked)
    messages: list[ModelMessage] = [
        ModelRequest([UserPromptPart(["look", url])]),
        ModelResponse([ToolCallPart("look", {}, tool_call_id="c1")]),
        ModelRequest([ToolReturnPart("look", {"found": [{"deep": url}]}, tool_call_id="c1")]),
    ]
    parsed = parse_history(json.loads(dump_history(messages).text))
    found = [one for _, one in attachments(parsed)]
    assert [type(one) for one in found] == [ImageUrl, ImageUrl]
    assert [one.force_download for one in found if isinstance(one, ImageUrl)] == [taken, taken]


def test_data_that_only_looks_like_an_address_is_left_alone() -> None:
    """clause: RUN-HISTORY, SEC-HISTORY"""
    data = {"kind": "image-url", "url": "http://127.0.0.1/a.png", "force_download": "allow-local"}
    messages = [ModelRequest([ToolReturnPart("look", {"row": data, "text": "allow-local"}, tool_call_id="c1")])]
    sent = dump_history(messages)
    assert dump_history(parse_history(json.loads(sent.text))).text == sent.text


def test_text_that_is_no_unicode_is_replaced() -> None:
    sent = dump_history([ModelResponse([TextPart("a\ud800b")])])
    assert json.loads(sent.text)[0]["parts"][0]["content"] == "a\ufffdb"
    parse_history(json.loads(sent.text))


NOT_MESSAGES: list[list[Any]] = [
    [1],
    ["text"],
    [{}],
    [None],
    [{"kind": "nothing"}],
    [{"kind": "request"}],
    [{"kind": "request", "parts": [{}]}],
    [[]],
]


@pytest.mark.parametrize("messages", NOT_MESSAGES)
def test_a_history_that_is_none_says_where(messages: list[Any]) -> None:
    """clause: RUN-HISTORY"""
    with pytest.raises(WireError) as caught:
        parse_history(messages)
    error = caught.value
    assert error.error_type == "InvalidHistory"
    assert error.message == (
        "`message_history` is no list of messages: give back the `messages` of earlier results as they were"
    )
    assert error.details
    assert all(set(fault) == {"loc", "msg", "type"} and fault["loc"][0] == 0 for fault in error.details)


def test_a_history_that_is_none_is_not_repeated() -> None:
    with pytest.raises(WireError) as caught:
        parse_history([{"kind": "request", "parts": [{"part_kind": "user-prompt", "content": {"sk-secret": 1}}]}] * 500)
    assert "secret" not in f"{caught.value} {caught.value.details}"
    assert len(caught.value.details) <= MAX_REPORTED_FAULTS


@pytest.mark.parametrize("state", ["incomplete", "interrupted", "suspended"])
def test_a_half_answer_is_nothing_to_go_on_from(state: Any) -> None:
    """clause: RUN-RESUME"""
    half = ModelResponse([TextPart("hal")], state=state)
    assert resumable([*CONVERSATION, half]) == CONVERSATION
    assert resumable([*CONVERSATION[:1], half, half]) == CONVERSATION[:1]
    assert resumable([half]) == []


def test_whole_answers_and_requests_stay() -> None:
    for count in range(len(CONVERSATION) + 1):
        assert resumable(CONVERSATION[:count])[:count] == CONVERSATION[:count]


def test_a_call_that_is_open_gets_a_return_that_says_so() -> None:
    """clause: RUN-RESUME"""
    (*asked, returned) = resumable(CONVERSATION[:2])
    assert asked == CONVERSATION[:2]
    (part,) = returned.parts
    assert isinstance(part, ToolReturnPart)
    assert (part.tool_call_id, part.outcome) == ("c1", "interrupted")
    assert resumable([*asked, returned]) == [*asked, returned]


def test_a_call_that_was_answered_keeps_its_answer() -> None:
    """Of a run that was left behind, whose calls are not in its messages yet. clause: RUN-RESUME"""
    told = ToolReturn({"x": 1}, content=["a picture of it"])
    (*_, returned) = resumable(CONVERSATION[:2], answered={"c1": told, "of another step": 1})
    part, shown = returned.parts
    assert isinstance(part, ToolReturnPart)
    assert (part.tool_call_id, part.outcome, part.content) == ("c1", "success", {"x": 1})
    assert isinstance(shown, UserPromptPart)
    assert shown.content == ["a picture of it"]


@pytest.mark.parametrize(
    "result",
    [
        {"kind": "binary", "data": "aGk=", "media_type": "image/png", "note": "kept"},
        {"rows": [{"kind": "image-url", "url": "https://example.org/a.png", "force_download": True}]},
        {"kind": "uploaded-file", "file_id": "x", "provider_name": "openai"},
        [{"kind": "of tree"}],
    ],
)
def test_a_parents_result_that_looks_like_a_picture_comes_back_as_what_it_is(result: Any) -> None:
    """clause: RUN-HISTORY, SEC-HISTORY"""
    returned = plain(result)
    sent: list[ModelMessage] = [
        *CONVERSATION[:2],
        ModelRequest([ToolReturnPart("look", returned.return_value, tool_call_id="c1", metadata=returned.metadata)]),
    ]
    parsed = parse_history(json.loads(dump_history(sent).text))
    part = parsed[-1].parts[0]
    assert isinstance(part, ToolReturnPart)
    assert part.content == result
    assert type(part.content) is type(result)
    assert dump_history(parsed).text == dump_history(sent).text
    assert list(attachments(parsed[-1].parts)) == []


def test_a_history_with_nothing_in_it_is_nothing_to_go_on_from() -> None:
    """clause: RUN-NOTHING"""
    with pytest.raises(WireError, match="nothing in the history") as caught:
        check_closed([ModelRequest([])], prompted=False)
    assert caught.value.error_type == "InvalidHistory"
    check_closed([ModelRequest([])], prompted=True)


def test_any_other_result_is_given_as_it_is() -> None:
    assert plain({"a": [1, {"b": None}]}) == {"a": [1, {"b": None}]}


def test_what_was_enqueued_and_not_delivered_comes_last() -> None:
    """clause: RUN-ENQUEUE, RUN-RESUME"""
    pending = PendingMessage.from_content("and be brief")
    assert pending is not None
    (*_, returned, added) = resumable(CONVERSATION[:2], pending=[pending])
    assert isinstance(returned.parts[0], ToolReturnPart)
    assert isinstance(added.parts[0], UserPromptPart)
    assert added.parts[0].content == "and be brief"
    assert resumable([], pending=[pending]) == []


def test_a_half_answer_in_the_middle_is_the_parents_business() -> None:
    half = ModelResponse([TextPart("hal")], state="incomplete")
    messages = [CONVERSATION[0], half, CONVERSATION[2]]
    assert resumable(messages) == messages
