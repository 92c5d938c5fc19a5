"""The receive queue, judged by a dictionary of bytes."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from model.tcp import Piece, TcpReceiver


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-20, 60), st.integers(0, 25), st.booleans()), max_size=30),
    st.sampled_from([0, 1000, 2**32 - 1, 2**32 - 30, 2**31]),
)
def test_first_copy_of_each_byte_wins(segments: list[tuple[int, int, bool]], start: int):
    tcp = TcpReceiver(start)
    rng = random.Random(len(segments))
    judge: dict[int, tuple[int, bool]] = {}
    for offset, size, marked in segments:
        payload = rng.randbytes(size)
        tcp.segment((start + offset) % 2**32, payload, marked)
        for i, byte in enumerate(payload, offset):
            if i >= 0:
                judge.setdefault(i, (byte, marked))
        expected = []
        while len(expected) in judge:
            expected.append(judge[len(expected)])
        assert tcp.queued == len(expected)
        assert tcp.next_seq == (start + len(expected)) % 2**32
        assert tcp.peek(tcp.queued) == bytes(b for b, _ in expected) if expected else True
    total = tcp.queued
    pieces = tcp.take(total // 2) + tcp.take(total - total // 2)
    assert [(b, p.decrypted) for p in pieces for b in p.data] == [judge[i] for i in range(total)]
    assert tcp.read_seq == tcp.next_seq


def test_marked_and_unmarked_are_never_coalesced():
    """Number 63."""
    tcp = TcpReceiver(5)
    for i, marked in enumerate([True, True, False, True]):
        tcp.segment(5 + 2 * i, b"ab", marked)
    assert tcp.take(7) == [Piece(b"ab", True), Piece(b"ab", True), Piece(b"ab", False), Piece(b"a", True)]
    assert tcp.take(1) == [Piece(b"b", True)]


def test_take_and_more():
    tcp = TcpReceiver(2**32 - 2)
    tcp.segment(2**32 - 2, b"abcd")
    assert tcp.peek(3) == b"abc"
    assert tcp.take(3) == [Piece(b"abc", False)]
    assert tcp.read_seq == 1
    tcp.segment(1, b"dXef")  # "d" is here already
    assert b"".join(p.data for p in tcp.take(4)) == b"dXef"
    assert tcp.queued == 0


def test_fin():
    tcp = TcpReceiver(0)
    tcp.segment(3, b"def", fin=True)
    assert not tcp.eof
    tcp.segment(6, b"behind the end")
    tcp.segment(0, b"abcdefgh")
    assert tcp.eof
    assert b"".join(p.data for p in tcp.take(tcp.queued)) == b"abcdef"


def test_fin_alone():
    tcp = TcpReceiver(7)
    tcp.segment(7, b"a")
    tcp.segment(8, b"", fin=True)
    assert tcp.eof
