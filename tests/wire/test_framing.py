"""Frames: every row of the contract's first table that is about lengths."""

import tracemalloc

import pytest

from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize, encode_frame

from .feeds import byte_by_byte, fed, fed_every_way

MAX = 1024


def header(length: int) -> bytes:
    return length.to_bytes(4, "big")


@pytest.mark.parametrize(
    "payloads",
    [
        [],
        [b"{}"],
        [b"x"],
        [b"first", b"second", b"third"],
        [b"a" * MAX],
        [b"\x00" * 8],
        [bytes(range(256)), b"y"],
        [b"GET "],
        [b"z" * 500] * 20,
    ],
    ids=repr,
)
def test_what_was_framed_comes_out_in_order(payloads: list[bytes]) -> None:
    """clause: FRAME-LENGTH, FRAME-SPLIT"""
    assert fed_every_way(b"".join(map(encode_frame, payloads)), MAX) == payloads


def test_a_thousand_frames_in_one_read_are_a_thousand_payloads() -> None:
    """clause: FRAME-SPLIT"""
    payloads = [str(number).encode() for number in range(1000)]
    assert fed_every_way(b"".join(map(encode_frame, payloads)), MAX) == payloads


@pytest.mark.parametrize("before", [b"", encode_frame(b"one")])
def test_a_frame_of_zero_length_is_ignored(before: bytes) -> None:
    """clause: FRAME-EMPTY"""
    events = fed_every_way(before + header(0) * 3 + encode_frame(b"two"), MAX)
    assert events == ([b"one"] if before else []) + [b"two"]


@pytest.mark.parametrize("length", [MAX + 1, MAX * 2, MAX * 8])
def test_a_frame_too_long_is_reported_and_skipped_and_the_next_one_works(length: int) -> None:
    """clause: FRAME-OVERSIZE"""
    events = fed_every_way(header(length) + b"\x01" * length + encode_frame(b"next"), MAX)
    assert events == [Oversize(length), b"next"]


def test_a_frame_that_there_is_no_memory_for_is_skipped_and_the_next_one_works() -> None:
    """clause: FRAME-MEMORY"""

    class Poor(FrameDecoder):
        """Has no memory for the third piece of a frame."""

        pieces = 0

        def _extend_partial(self, data: bytes, position: int) -> int:
            self.pieces += 1
            if self.pieces == 3:
                raise MemoryError
            return super()._extend_partial(data, position)

    decoder = Poor(MAX)
    stream = encode_frame(b"x" * 100) + encode_frame(b"next")
    events = [event for start in range(0, len(stream), 20) for event in decoder.receive(stream[start : start + 20])]
    assert events == [Oversize(100, allowed=True), b"next"]


def test_a_frame_of_the_greatest_length_is_accepted() -> None:
    assert fed_every_way(encode_frame(b"x" * MAX), MAX) == [b"x" * MAX]


def test_a_frame_too_long_is_reported_as_soon_as_its_length_is_there() -> None:
    """clause: FRAME-OVERSIZE"""
    decoder = FrameDecoder(MAX)
    pieces = [list(decoder.receive(piece)) for piece in byte_by_byte(header(MAX + 1))]
    assert pieces == [[], [], [], [Oversize(MAX + 1)]]
    assert decoder.inside_frame


def test_frames_too_long_one_after_the_other_are_each_reported() -> None:
    data = (header(MAX + 1) + b"." * (MAX + 1)) * 3 + encode_frame(b"end")
    assert fed_every_way(data, MAX) == [Oversize(MAX + 1)] * 3 + [b"end"]


def test_bytes_that_are_skipped_are_not_read_as_frames() -> None:
    inner = encode_frame(b"inner") * 200
    assert fed_every_way(header(len(inner)) + inner + encode_frame(b"outer"), MAX) == [Oversize(len(inner)), b"outer"]


@pytest.mark.parametrize("length", [MAX * 8 + 1, 2**31, 2**32 - 1])
def test_a_length_beyond_the_bound_means_that_the_framing_is_lost(length: int) -> None:
    """clause: FRAME-LOST"""
    (event,) = fed_every_way(header(length) + encode_frame(b"never"), MAX)
    assert isinstance(event, FramingLost)
    assert (event.length, event.is_text) == (length, False)


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\n", b'{"type": "ping"}\n', b"\t\t\t\t", b"\n\r\v\f", b" ~ ~", b"    "]
)
def test_plain_text_where_a_length_belongs_means_that_the_framing_is_lost(text: bytes) -> None:
    """clause: FRAME-LOST"""
    (event,) = fed_every_way(text, MAX)
    assert isinstance(event, FramingLost)
    assert event.is_text
    assert event.header == text[:4]


def test_text_is_a_sign_of_lost_framing_below_the_bound_as_well() -> None:
    most = int.from_bytes(b"    ", "big")
    (event,) = fed_every_way(b"    ", most // 2)
    assert isinstance(event, FramingLost)


def test_a_length_within_the_limit_is_a_length_even_when_its_bytes_are_text() -> None:
    length = int.from_bytes(b"\t\t\t\t", "big")
    events, decoder = fed([b"\t\t\t\t"], length)
    assert events == []
    assert decoder.inside_frame


@pytest.mark.parametrize("byte", [0x00, 0x08, 0x0E, 0x1F, 0x7F, 0x80, 0xFF])
def test_one_byte_that_is_no_text_makes_a_length_of_it(byte: int) -> None:
    length = int.from_bytes(bytes([0x20, 0x20, 0x20, byte]), "big")
    assert fed([header(length)], length - 1)[0] == [Oversize(length)]


def test_what_came_before_the_framing_was_lost_is_still_heard() -> None:
    events = fed_every_way(encode_frame(b"one") + b"text and text", MAX)
    assert events[0] == b"one"
    assert isinstance(events[1], FramingLost)
    assert len(events) == 2


def test_nothing_is_heard_after_the_framing_was_lost() -> None:
    decoder = FrameDecoder(MAX)
    assert len(list(decoder.receive(b"text"))) == 1
    for _ in range(3):
        assert list(decoder.receive(encode_frame(b"late"))) == []
    assert not decoder.inside_frame


@pytest.mark.parametrize("cut", range(1, 12))
def test_an_input_that_ends_inside_a_frame_is_torn(cut: int) -> None:
    """clause: FRAME-TRUNCATED"""
    frame = encode_frame(b"12345678")
    assert fed([frame[:cut]], MAX)[1].inside_frame
    assert fed(byte_by_byte(frame[:cut]), MAX)[1].inside_frame


@pytest.mark.parametrize("data", [b"", header(0), encode_frame(b"x"), encode_frame(b"x") * 3])
def test_an_input_that_ends_between_frames_is_not_torn(data: bytes) -> None:
    """clause: FRAME-TRUNCATED"""
    assert not fed([data], MAX)[1].inside_frame
    assert not fed(byte_by_byte(data), MAX)[1].inside_frame


def test_an_input_that_ends_inside_what_is_skipped_is_torn() -> None:
    """clause: FRAME-TRUNCATED"""
    assert fed([header(MAX + 1) + b"." * MAX], MAX)[1].inside_frame
    assert not fed([header(MAX + 1) + b"." * (MAX + 1)], MAX)[1].inside_frame


def test_no_bytes_change_nothing() -> None:
    decoder = FrameDecoder(MAX)
    assert list(decoder.receive(b"")) == []
    list(decoder.receive(encode_frame(b"abc")[:5]))
    assert list(decoder.receive(b"")) == []
    assert [bytes(event) for event in decoder.receive(b"bc") if isinstance(event, bytes | bytearray)] == [b"abc"]


@pytest.mark.parametrize("length", [2**20, 2**26])
def test_a_length_alone_allocates_nothing(length: int) -> None:
    """clause: FRAME-LENGTH"""
    decoder = FrameDecoder(length)
    tracemalloc.start()
    try:
        assert list(decoder.receive(header(length) + b"12")) == []
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 65_536


def test_skipping_a_frame_holds_none_of_it() -> None:
    """clause: FRAME-OVERSIZE"""
    decoder = FrameDecoder(2**20)
    piece = bytes(65_536)
    assert list(decoder.receive(header(2**22))) == [Oversize(2**22)]
    tracemalloc.start()
    try:
        for _ in range(2**22 // len(piece)):
            assert list(decoder.receive(piece)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 65_536
    assert not decoder.inside_frame


@pytest.mark.parametrize("payload", [b"", b"x", b"y" * 300, bytes(65_536)])
def test_an_encoded_frame_is_its_length_and_its_payload(payload: bytes) -> None:
    assert encode_frame(payload) == len(payload).to_bytes(4, "big") + payload
