"""The end of every frame is known, however its bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.upstream.frames import Frames, Unmasked, close_frame
from tests.edge.streams.wire import BINARY, CLOSE, TEXT, code_of, frame

SIZES = st.sampled_from([0, 1, 5, 125, 126, 127, 300, 65535, 65536])
SENT = st.lists(st.tuples(SIZES, st.booleans()), min_size=1, max_size=6)


@given(SENT, st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_boundaries_are_seen_at_whatever_place_the_bytes_are_cut(sent: list[tuple[int, bool]], cuts: list[int]) -> None:
    frames, ends, data = Frames(must_mask=False), {0}, b""
    for size, masked in sent:
        data += frame(BINARY, bytes(size), mask=b"abcd" if masked else b"")
        ends.add(len(data))
    position = turn = 0
    while position < len(data):
        # Short pieces where heads are, long ones in between.
        size = cuts[turn % len(cuts)] if turn < 40 else 50_000
        frames.follow(data[position : position + size])
        position, turn = min(position + size, len(data)), turn + 1
        assert (frames.rest == 0 and not frames.in_head) == (position in ends)


def test_close_is_seen_when_its_head_comes_in_two_pieces() -> None:
    frames, close = Frames(must_mask=True), frame(CLOSE, (1000).to_bytes(2))
    frames.follow(frame(TEXT, b"x") + close[:1])
    assert not frames.has_closed
    frames.follow(close[1:])
    assert frames.has_closed


@pytest.mark.parametrize("cut", range(9))
def test_what_is_good_before_an_unmasked_frame_is_counted_in_the_last_piece(cut: int) -> None:
    frames, good, bad = Frames(must_mask=True), frame(TEXT, b"x"), frame(TEXT, b"y", mask=b"")
    data = good + bad
    frames.follow(data[:cut])
    with pytest.raises(Unmasked) as refused:
        frames.follow(data[cut:])
    assert refused.value.offset == max(0, len(good) - cut)


@pytest.mark.parametrize("masked", [False, True])
def test_close_frame_says_its_code(masked: bool) -> None:
    assert code_of(close_frame(1013, masked=masked)) == 1013
    frames = Frames(must_mask=masked)
    frames.follow(close_frame(1013, masked=masked))
    assert frames.has_closed
