"""The chunks of one stream: credit, joining, splitting, counting."""

import pytest

from axon_port.worker.chunks import Chunk, ChunkQueue
from axon_port.worker.redaction import Redactor

LONG = 1000


class Whole:
    """A growing value, as the queue sees one."""

    def __init__(self, *, known: bool = True) -> None:
        self.now: object = None
        self.known = known

    def value(self) -> tuple[bool, object]:
        return self.known, self.now


def taken(queue: ChunkQueue) -> list[Chunk]:
    return list(queue.ready())


def data(queue: ChunkQueue) -> list[object]:
    return [chunk.data for chunk in queue.ready()]


def test_without_credit_in_the_command_chunks_go_out_as_they_come() -> None:
    """clause: STREAM-OPEN"""
    queue = ChunkQueue(None, LONG)
    for number, piece in enumerate(("Hel", "lo", "!")):
        queue.add("text", 1, piece)
        assert taken(queue) == [Chunk(number, 1, "text", piece)]
    assert not queue


def test_deltas_that_wait_are_joined_into_one_chunk() -> None:
    """clause: STREAM-JOIN"""
    queue = ChunkQueue(0, LONG)
    for piece in ("Hel", "lo", " ", "world"):
        queue.add("text", 1, piece)
        assert taken(queue) == []
    queue.grant(1)
    assert taken(queue) == [Chunk(0, 1, "text", "Hello world")]


@pytest.mark.parametrize("kind", ["text", "thinking"])
def test_deltas_of_two_steps_are_never_joined(kind: str) -> None:
    """clause: STREAM-JOIN"""
    queue = ChunkQueue(None, LONG)
    queue.add(kind, 1, "a")
    queue.add(kind, 2, "b")
    assert [(chunk.step, chunk.data) for chunk in queue.ready()] == [(1, "a"), (2, "b")]


def test_deltas_of_two_kinds_stay_in_their_order() -> None:
    queue = ChunkQueue(0, LONG)
    for kind, piece in (("thinking", "a"), ("thinking", "b"), ("text", "c"), ("thinking", "d")):
        queue.add(kind, 1, piece)
    queue.unlimit()
    assert [(chunk.kind, chunk.data) for chunk in queue.ready()] == [
        ("thinking", "ab"),
        ("text", "c"),
        ("thinking", "d"),
    ]


def test_tool_calls_are_never_joined() -> None:
    queue = ChunkQueue(0, LONG)
    queue.add("tool_call", 1, {"call_id": "1"})
    queue.add("tool_call", 1, {"call_id": "2"})
    queue.grant(5)
    assert data(queue) == [{"call_id": "1"}, {"call_id": "2"}]


def test_each_chunk_costs_one_credit() -> None:
    """clause: STREAM-CREDIT"""
    queue = ChunkQueue(2, LONG)
    for step in range(1, 6):
        queue.add("text", step, str(step))
    assert data(queue) == ["1", "2"]
    assert queue.credit == 0
    assert data(queue) == []
    queue.grant(1)
    assert data(queue) == ["3"]
    queue.grant(10)
    assert data(queue) == ["4", "5"]
    assert queue.credit == 8


def test_credit_is_kept_for_chunks_that_come_later() -> None:
    queue = ChunkQueue(0, LONG)
    queue.grant(2)
    queue.grant(1)
    for step in range(1, 6):
        queue.add("text", step, str(step))
    assert data(queue) == ["1", "2", "3"]


def test_a_grant_of_nothing_changes_nothing() -> None:
    queue = ChunkQueue(0, LONG)
    queue.add("text", 1, "a")
    queue.grant(0)
    assert taken(queue) == []
    assert queue


def test_a_grant_to_a_stream_without_flow_control_does_not_limit_it() -> None:
    queue = ChunkQueue(None, LONG)
    queue.grant(1)
    assert queue.credit is None


def test_what_waited_leaves_when_nobody_can_give_credit_any_more() -> None:
    """clause: LIFE-EOF"""
    queue = ChunkQueue(0, LONG)
    queue.add("text", 1, "a")
    queue.add("text", 2, "b")
    queue.unlimit()
    assert data(queue) == ["a", "b"]


def test_seq_counts_without_a_gap_over_all_kinds() -> None:
    """clause: STREAM-SEQ"""
    queue = ChunkQueue(3, LONG)
    seqs: list[int] = []
    for step, kind in enumerate(("text", "thinking", "tool_call", "tool_return", "output"), start=1):
        queue.add(kind, step, "x")
        seqs += [chunk.seq for chunk in queue.ready()]
    queue.grant(9)
    assert seqs + [chunk.seq for chunk in queue.ready()] == [0, 1, 2, 3, 4]


def test_a_text_too_long_for_a_frame_is_split_and_each_piece_costs_credit() -> None:
    """clause: STREAM-SPLIT"""
    queue = ChunkQueue(2, 4)
    queue.add("text", 1, "0123456789")
    assert data(queue) == ["0123", "4567"]
    queue.grant(1)
    assert data(queue) == ["89"]
    assert not queue


def test_what_comes_after_a_split_joins_its_rest() -> None:
    queue = ChunkQueue(1, 4)
    queue.add("text", 1, "012345")
    assert data(queue) == ["0123"]
    queue.add("text", 1, "67")
    queue.unlimit()
    assert data(queue) == ["4567"]


@pytest.mark.parametrize("most", [0, -100])
def test_a_frame_without_room_still_carries_a_character(most: int) -> None:
    queue = ChunkQueue(None, most)
    queue.add("text", 1, "abc")
    assert data(queue) == ["a", "b", "c"]


def test_of_growing_outputs_the_latest_stands_for_those_before_it() -> None:
    """clause: STREAM-OUTPUT, STREAM-JOIN"""
    queue = ChunkQueue(0, LONG)
    for value in ({"a": 1}, {"a": 12}, {"a": 123}):
        queue.add("output", 1, value)
    queue.grant(5)
    assert data(queue) == [{"a": 123}]


def test_a_growing_value_is_looked_at_when_it_leaves() -> None:
    queue, whole = ChunkQueue(0, LONG), Whole()
    queue.add("output", 1, whole)
    whole.now = {"city": "Par"}
    queue.grant(1)
    assert data(queue) == [{"city": "Par"}]


def test_a_growing_value_that_is_none_yet_costs_no_credit_and_no_seq() -> None:
    queue = ChunkQueue(1, LONG)
    queue.add("output", 1, Whole(known=False))
    assert taken(queue) == []
    assert (queue.credit, bool(queue)) == (1, False)
    queue.add("text", 1, "x")
    assert taken(queue) == [Chunk(0, 1, "text", "x")]


def test_a_loop_that_stops_taking_loses_nothing() -> None:
    queue = ChunkQueue(None, LONG)
    for step in (1, 2, 3):
        queue.add("text", step, str(step))
    assert next(queue.ready()).data == "1"
    assert [(chunk.seq, chunk.data) for chunk in queue.ready()] == [(1, "2"), (2, "3")]


def test_a_delta_of_nothing_is_no_reason_for_another_chunk() -> None:
    queue = ChunkQueue(0, LONG)
    for piece in ("a", "", "b"):
        queue.add("text", 1, piece)
    queue.grant(1)
    assert data(queue) == ["ab"]


# ---------------------------------------------------------------- an answer that is given up


def after_an_earlier_step(*, credit: int) -> ChunkQueue:
    """A queue in which an earlier step waits, and half of an answer."""
    queue = ChunkQueue(credit, LONG)
    queue.begin_answer()
    queue.add("text", 1, "I look.")
    queue.add("tool_call", 1, {"call_id": "1"})
    queue.add("tool_return", 1, {"call_id": "1"})
    queue.begin_answer()
    queue.add("thinking", 2, "hm")
    queue.add("text", 2, "ha")
    queue.add("text", 2, "lf")
    return queue


def test_an_answer_that_waits_is_not_sent() -> None:
    """clause: MODEL-RETRY"""
    queue = after_an_earlier_step(credit=3)
    assert len(taken(queue)) == 3
    assert not queue.answer_sent, "those were of an earlier step"
    queue.grant(1)
    assert data(queue) == ["hm"]
    assert queue.answer_sent
    queue.begin_answer()
    assert not queue.answer_sent


@pytest.mark.parametrize("credit", range(4))
def test_an_answer_that_is_given_up_leaves_nothing_and_what_came_before_it_stays(credit: int) -> None:
    """clause: MODEL-RETRY, STREAM-SEQ"""
    queue = after_an_earlier_step(credit=credit)
    chunks = taken(queue)
    queue.take_back()
    queue.take_back()
    queue.begin_answer()
    queue.add("text", 2, "whole")
    queue.unlimit()
    assert chunks + taken(queue) == [
        Chunk(0, 1, "text", "I look."),
        Chunk(1, 1, "tool_call", {"call_id": "1"}),
        Chunk(2, 1, "tool_return", {"call_id": "1"}),
        Chunk(3, 2, "text", "whole"),
    ]


def test_an_answer_of_which_something_was_sent_is_not_taken_back() -> None:
    """clause: MODEL-RETRY"""
    queue = after_an_earlier_step(credit=4)
    assert data(queue)[-1] == "hm"
    queue.take_back()
    queue.unlimit()
    assert data(queue) == ["half"]


def test_a_part_of_a_text_that_was_split_is_sent_too() -> None:
    """clause: MODEL-RETRY, STREAM-SPLIT"""
    queue = ChunkQueue(1, 4)
    queue.begin_answer()
    queue.add("text", 1, "012345")
    assert data(queue) == ["0123"]
    queue.take_back()
    queue.unlimit()
    assert data(queue) == ["45"]


@pytest.mark.parametrize("kind", ["text", "thinking", "output"])
def test_two_answers_of_one_step_are_never_joined(kind: str) -> None:
    """clause: STREAM-JOIN"""
    queue = ChunkQueue(0, LONG)
    for piece in ("a", "b"):
        queue.begin_answer()
        queue.add(kind, 1, piece)
    queue.take_back()
    queue.add(kind, 1, "c")
    queue.unlimit()
    assert data(queue) == ["a", "c"]


def test_what_a_tool_of_an_earlier_step_gives_meanwhile_is_not_taken_back() -> None:
    """An agent written in Python may ask the run's model from inside a tool."""
    queue = ChunkQueue(0, LONG)
    queue.begin_answer()
    queue.add("text", 1, "half")
    queue.add("tool_return", 1, {"call_id": "1"})
    queue.take_back()
    queue.grant(1)
    assert taken(queue) == [Chunk(0, 1, "tool_return", {"call_id": "1"})]
    assert not queue.answer_sent


def test_a_growing_value_that_is_given_up_is_not_told() -> None:
    """clause: MODEL-RETRY, STREAM-OUTPUT"""
    queue, half, whole = ChunkQueue(0, LONG), Whole(), Whole()
    half.now, whole.now = {"city": "Par"}, {"city": "Oslo"}
    for value in (half, whole):
        queue.take_back()
        queue.begin_answer()
        queue.add("output", 1, value)
    queue.unlimit()
    assert taken(queue) == [Chunk(0, 1, "output", {"city": "Oslo"})]


# ---------------------------------------------------------------- keys in two halves

KEY = "sk-secret-0123456789"


def with_key(credit: int | None = None, most: int = LONG) -> ChunkQueue:
    """The queue of a worker that has one key."""
    return ChunkQueue(credit, most, Redactor({"SHOP_TOKEN": KEY}))


@pytest.mark.parametrize("kind", ["text", "thinking"])
@pytest.mark.parametrize("at", range(1, len(KEY)))
def test_the_halves_of_a_key_in_two_deltas_are_told_as_none(kind: str, at: int) -> None:
    """clause: SEC-KEYS
    fault: H63
    """
    queue = with_key()
    said: list[object] = []
    for piece in (f"it is {KEY[:at]}", f"{KEY[at:]}, is it not?"):
        queue.add(kind, 1, piece)
        said += data(queue)
    assert said == ["it is ", "[redacted], is it not?"]
    assert not queue


@pytest.mark.parametrize("credit", [None, 0])
def test_the_halves_of_a_key_on_both_sides_of_another_kind_are_told_as_none(credit: int | None) -> None:
    """clause: SEC-KEYS"""
    queue, said = with_key(credit), list[Chunk]()
    for kind, delta in (
        ("text", f"a {KEY[:5]}"),
        ("thinking", f"b {KEY[:3]}"),
        ("text", KEY[5:7]),
        ("thinking", KEY[3:]),
        ("text", f"{KEY[7:]} c"),
    ):
        queue.add(kind, 1, delta)
        said += queue.ready()
    queue.grant(100)
    queue.close_text()
    said += queue.ready()
    joined = {kind: "".join(chunk.data for chunk in said if chunk.kind == kind) for kind in ("text", "thinking")}
    assert joined == {"text": "a [redacted] c", "thinking": "b [redacted]"}
    assert not queue


def test_what_begins_like_a_key_before_another_kind_leaves_at_the_end_of_the_answer() -> None:
    """clause: SEC-KEYS, STREAM-TEXT"""
    queue = with_key()
    queue.begin_answer()
    queue.add("text", 1, f"a {KEY[:5]}")
    queue.add("thinking", 1, "b")
    assert data(queue) == ["a ", "b"]
    queue.begin_answer()
    assert data(queue) == [KEY[:5]]


def test_a_key_that_comes_letter_by_letter_is_told_as_none() -> None:
    """clause: SEC-KEYS"""
    queue = with_key()
    said: list[object] = []
    for letter in f"<{KEY}>":
        queue.add("text", 1, letter)
        said += data(queue)
    assert said == ["<", "[redacted]", ">"]


def test_a_key_on_the_edge_of_two_long_chunks_is_told_as_none() -> None:
    """clause: SEC-KEYS, STREAM-SPLIT"""
    queue = with_key(most=7)
    queue.add("text", 1, f"abc {KEY} def")
    assert "".join(map(str, data(queue))) == "abc [redacted] def"


def test_what_only_begins_like_a_key_waits_for_no_more_than_what_follows() -> None:
    """clause: SEC-KEYS"""
    queue = with_key()
    queue.add("text", 1, "tasks")
    assert data(queue) == ["task"]
    queue.add("text", 1, "k are done")
    assert data(queue) == ["sk are done"]


@pytest.mark.parametrize("follows", ["another kind", "another step", "a tool", "the end"])
def test_what_begins_like_a_key_is_not_kept_when_nothing_can_follow(follows: str) -> None:
    """clause: SEC-KEYS, STREAM-TEXT"""
    queue = with_key()
    queue.add("text", 1, "tasks")
    said = data(queue)
    if follows == "another kind":
        queue.add("tool_call", 1, {})
    elif follows == "another step":
        queue.add("text", 2, "done")
    else:
        queue.close_text()
    said += data(queue)
    assert said[:2] == ["task", "s"]
    assert not queue


def test_a_growing_value_that_ends_like_a_key_waits_until_it_has_grown() -> None:
    """clause: SEC-KEYS, STREAM-OUTPUT"""
    queue, whole = with_key(), Whole()
    said: list[object] = []
    for now in ({"a": "x"}, {"a": "x", "b": ["y", KEY[:5]]}, {"a": "x", "b": ["y", KEY]}):
        whole.now = now
        queue.add("output", 1, whole)
        said += data(queue)
    assert said == [{"a": "x"}, {"a": "x", "b": ["y", KEY]}], "a whole key is the redaction's matter"
    whole.now = {"a": "tasks"}
    queue.add("output", 1, whole)
    assert data(queue) == []
    whole.known = False
    queue.close_text()
    assert data(queue) == [{"a": "tasks"}]
    assert not queue


def test_a_growing_value_that_ends_like_a_key_waits_behind_another_kind_too() -> None:
    """clause: SEC-KEYS, STREAM-OUTPUT"""
    queue, whole = with_key(), Whole()
    whole.now = {"a": KEY[:5]}
    queue.add("output", 1, whole)
    assert data(queue) == []
    queue.add("thinking", 1, "hm")
    assert data(queue) == ["hm"]
    grown = Whole()
    grown.now = {"a": f"{KEY}!"}
    queue.add("output", 1, grown)
    assert data(queue) == [{"a": f"{KEY}!"}], "a whole key is the redaction's matter"
    queue.add("output", 1, whole)
    queue.add("thinking", 1, "hm")
    queue.add("output", 1, grown)
    assert data(queue) == ["hm", {"a": f"{KEY}!"}], "the later one stands for the one before"
    queue.add("output", 1, whole)
    queue.add("thinking", 1, "hm")
    assert data(queue) == ["hm"]
    queue.close_text()
    assert data(queue) == [{"a": KEY[:5]}]
    assert not queue


def test_what_begins_like_a_key_is_dropped_with_the_answer_that_is_given_up() -> None:
    """clause: SEC-KEYS, MODEL-RETRY"""
    queue = with_key()
    queue.begin_answer()
    queue.add("text", 1, KEY[:5])
    assert data(queue) == []
    assert not queue.answer_sent
    queue.take_back()
    queue.begin_answer()
    queue.add("text", 1, f"{KEY[5:]}, not a key")
    assert taken(queue) == [Chunk(0, 1, "text", f"{KEY[5:]}, not a key")]


def test_what_begins_like_a_key_is_not_kept_for_another_answer() -> None:
    """clause: SEC-KEYS"""
    queue = with_key()
    queue.begin_answer()
    queue.add("text", 1, "tasks")
    assert data(queue) == ["task"]
    queue.begin_answer()
    assert data(queue) == ["s"]
    assert not queue.answer_sent


class Counted(Redactor):
    """How many characters were looked through for keys."""

    characters = 0

    def text(self, text: str) -> str:
        self.characters += len(text)
        return super().text(text)


def test_a_text_is_redacted_once_however_many_chunks_it_leaves_in() -> None:
    keys = Counted({"SHOP_TOKEN": KEY})
    queue = ChunkQueue(0, 7, keys)
    deltas = ["task ", "by ", "task: ", KEY[:9], KEY[9:], " "] * 200
    text = "".join(deltas)
    queue.add("text", 1, text)
    said: list[object] = []
    for delta in deltas:
        queue.add("text", 1, delta)
        queue.grant(1)
        said += data(queue)
    queue.close_text()
    queue.unlimit()
    said += data(queue)
    assert "".join(map(str, said)) == (text + text).replace(KEY, "[redacted]")
    assert max(len(str(one)) for one in said) == 7
    assert keys.characters < 2 * len(text + text)
