"""The write queue: cuts, fences, retransmission, acknowledgement."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tcp_tx import Segment, TcpSender

START = 2**32 - 5


def sizes(segments: list[Segment]) -> list[int]:
    return [len(segment.payload) for segment in segments]


def test_cut_at_the_mss():
    tcp = TcpSender(START, mss=4)
    tcp.write(b"abc", memoryview(b"defg"), b"", b"hij")
    assert tcp.transmit() == [
        Segment(START, b"abcd", False, False),
        Segment(START + 4, b"efgh", False, False),
        Segment(3, b"ij", True, False),
    ]
    assert (tcp.snd_nxt, tcp.write_seq, tcp.snd_una) == (5, 5, START)
    assert tcp.transmit() == []


def test_more_holds_a_short_segment_back():
    tcp = TcpSender(0, mss=4)
    tcp.write(b"abcdef")
    assert sizes(tcp.transmit(more=True)) == [4]
    assert sizes(tcp.transmit(more=True)) == []
    tcp.write(b"gh")
    assert sizes(tcp.transmit(more=True)) == [4]


def test_limit():
    tcp = TcpSender(0, mss=4)
    tcp.write(b"abcdefghij")
    assert sizes(tcp.transmit(limit=6)) == [4, 2]
    assert sizes(tcp.transmit()) == [4]


def test_fence_holds_for_retransmissions_too():
    tcp = TcpSender(START, mss=10)
    tcp.fence()  # nothing queued: nothing to mark
    tcp.write(b"abc")
    tcp.fence()
    tcp.fence()
    tcp.write(b"defg")
    assert sizes(tcp.transmit()) == [3, 4]
    assert sizes(tcp.retransmit()) == [3, 4]
    tcp.mss = 2
    assert sizes(tcp.retransmit()) == [2, 1, 2, 2]


def test_retransmit_a_range():
    tcp = TcpSender(START, mss=4)
    tcp.write(b"abcdefghij")
    tcp.transmit()
    (segment,) = tcp.retransmit(START + 3, 1)
    assert segment == Segment(START + 3, b"def", False, False)
    tcp.ack(START + 4)
    with pytest.raises(ValueError, match="in flight"):
        tcp.retransmit(START + 3, 1)
    with pytest.raises(ValueError, match="in flight"):
        tcp.retransmit(START + 4, 6)
    assert tcp.data(START + 4, 6) == b"efghij"


def test_ack():
    seen: list[int] = []
    tcp = TcpSender(START)
    tcp.acked.append(seen.append)
    tcp.write(b"abc", b"def")
    tcp.transmit()
    for seq in (START, START + 2, START + 1, 40, 1, 1):
        tcp.ack(seq)
    assert seen == [START + 2, 1]
    assert tcp.snd_una == tcp.snd_nxt == 1
    assert tcp.retransmit() == []
    tcp.write(b"ghi")
    assert [s.payload for s in tcp.transmit()] == [b"ghi"]


def test_fin():
    tcp = TcpSender(0, mss=4)
    tcp.write(b"abcdef")
    tcp.shutdown()
    with pytest.raises(ValueError, match="FIN"):
        tcp.write(b"g")
    assert [(s.payload, s.fin, s.push) for s in tcp.transmit()] == [(b"abcd", False, False), (b"ef", True, True)]
    assert tcp.transmit() == []
    assert [s.fin for s in tcp.retransmit()] == [False, True]
    tcp.ack(7)
    assert tcp.snd_una == 6

    tcp = TcpSender(0)
    tcp.write(b"abc")
    assert not tcp.transmit()[0].fin
    tcp.shutdown()
    assert tcp.transmit() == [Segment(3, b"", False, True)]


def test_data_is_referred_to():
    page = bytearray(b"abcdef")
    tcp = TcpSender(0)
    tcp.write(memoryview(page))
    assert tcp.transmit()[0].payload == b"abcdef"
    page[0] = ord("X")
    assert tcp.retransmit()[0].payload == b"Xbcdef"


@settings(deadline=None)
@given(st.data())
def test_stream_is_what_was_written(data: st.DataObject):
    start = data.draw(st.sampled_from([0, 2**31 - 10, 2**32 - 1, 2**32 - 30]))
    tcp = TcpSender(start, data.draw(st.integers(1, 20)))
    written = received = b""
    fences: list[int] = []
    for _ in range(data.draw(st.integers(1, 20))):
        match data.draw(st.sampled_from("wwftra")):
            case "w":
                piece = bytes([len(written) % 251]) * data.draw(st.integers(0, 30))
                tcp.write(piece)
                written += piece
            case "f":
                tcp.fence()
                fences.append(len(written))
            case "t":
                for segment in tcp.transmit(data.draw(st.one_of(st.none(), st.integers(0, 30)))):
                    assert segment.seq == (start + len(received)) % 2**32
                    end = len(received) + len(segment.payload)
                    assert not any(len(received) < fence < end for fence in fences)
                    received += segment.payload
            case "r":
                at = (tcp.snd_una - start) % 2**32
                again = b"".join(segment.payload for segment in tcp.retransmit())
                assert again == written[at : len(received)]
            case _:
                tcp.ack((start + data.draw(st.integers(0, len(received)))) % 2**32)
    assert written.startswith(received)
