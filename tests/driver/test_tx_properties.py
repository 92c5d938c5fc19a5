"""Whatever TCP does and however the driver is asked: the wire is software's, and plaintext never leaves."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driver.sock import Sock
from driver.transmit import TransmitSide, Way
from driver.tx_context import TxResync
from model.contract import TxKind, TxStatus
from model.frame import parse
from model.record import RecordCipher
from model.tx_commands import TxRequest
from model.tx_device import GoldenTxDevice
from sim.traffic import ACK, RST, SYN
from tests.driver.tx_host import FILLER, TxHost

RUN = 8
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def hosts(draw: st.DrawFn, seed: int | None = None, side: TransmitSide | None = None) -> TxHost:
    return TxHost(
        draw(st.sampled_from(TxResync)),
        draw(st.sampled_from([0x0303, 0x0304])),
        draw(st.sampled_from([16, 32])),
        draw(st.integers(0, 2**16)) if seed is None else seed,
        draw(st.sampled_from([0, 1000, 2**31 - 500, 2**32 - 1, 2**32 - 3000])),
        draw(st.sampled_from([64, 536, 1448])),
        record_number=draw(st.sampled_from([0, 1, 2**32 - 2])),
        ipv6=draw(st.booleans()),
        side=side,
    )


sizes = st.lists(st.one_of(st.integers(1, 40), st.integers(1, 700), st.just(4000)), min_size=1, max_size=8)


def step(data: st.DataObject, host: TxHost) -> None:
    """Something TCP may do; what leaves is checked by the host."""
    written, sent = host.written, host.sent
    acked = (host.sender.tcp.snd_una - host.offload_seq) % 2**32
    match data.draw(st.sampled_from("wssrrrrloma")):
        case "w":
            host.write(*data.draw(sizes))
        case "s" if sent < written:
            host.pump(data.draw(st.integers(1, written - sent)))
        case "r" if acked < sent:
            a = data.draw(st.integers(acked, sent - 1))
            host.again(a, data.draw(st.integers(a + 1, min(sent, a + 3000))))
        case "l" if sent < written:  # lost on the way down
            host.lose(sent + data.draw(st.integers(1, written - sent)))
        case "o" if acked < sent < written:  # old and new bytes in one packet
            b = sent + data.draw(st.integers(1, min(written - sent, 1000)))
            a = data.draw(st.integers(max(acked, b - 4000), sent - 1))
            host.sender.tcp.transmit(b - sent)
            host.sends(a, b)
        case "m" if sent < written:  # one large frame
            host.sender.tcp.transmit()
            segment_size = data.draw(st.sampled_from([100, 536, 1448]))
            end = min(written, sent + 60000)
            out = host.give(sent, end, segment_size).frames
            starts = range(sent, end, segment_size)
            assert len(out) == len(starts)
            for frame, a in zip(out, starts, strict=True):
                size = min(segment_size, end - a)
                assert frame[-size:] == host.software.tcp.data(host.seq(a), size)
        case "a" if acked < sent:
            host.ack(data.draw(st.integers(acked, sent)))
        case _:
            pass


@many
@given(st.data())
def test_the_wire_is_what_software_would_have_sent(data: st.DataObject):
    wire_is_softwares(data)


@pytest.mark.slow
@settings(many, max_examples=4000)
@given(st.data())
def test_the_wire_is_what_software_would_have_sent_in_thousands_of_cases(data: st.DataObject):
    wire_is_softwares(data)


def wire_is_softwares(data: st.DataObject) -> None:
    """Losses, retransmissions of any range, large frames: nothing is dropped, and the device is where it is thought."""
    host = data.draw(hosts())
    host.write(*data.draw(sizes))
    for _ in range(data.draw(st.integers(1, 30))):
        step(data, host)
    host.agrees()
    assert host.side.counters.drop_device == 0
    if host.sender.tls_offload_tx_resync_pending():
        host.pump()
    host.write(100, 100)
    ways = host.pump()
    if host.side._contexts[host.sk].resync is not TxResync.NEXT_RECORD:
        # no retransmission costs the next new packet anything, and a loss only the first one
        assert Way.DROPPED not in ways and ways.count(Way.STREAM) >= len(ways) - 1


@many
@given(st.data())
def test_prefix_moves_no_more_than_rebuild(data: st.DataObject):
    seed = data.draw(st.integers(0, 999))
    moved = {}
    for resync in (TxResync.REBUILD, TxResync.PREFIX):
        host = TxHost(resync, seed=seed)
        rng = random.Random(seed)
        host.write(*(rng.randrange(1, 5000) for _ in range(12)))
        host.pump()
        total = 0
        for _ in range(10):
            a = rng.randrange(host.sent)
            total += sum(t.replayed_bytes for t in host.again(a, min(a + 1448, host.sent)))
        moved[resync] = total
    # a descriptor is more than the first few bytes of a record
    assert moved[TxResync.PREFIX] <= moved[TxResync.REBUILD] + 10 * 32


class Secrets:
    """Every run of 8 plaintext bytes that some sockets have written."""

    def __init__(self) -> None:
        self.runs: set[bytes] = set()

    def learn(self, host: TxHost) -> None:
        """The records that were pushed: their plaintext, and what stands where tags go."""
        context = host.sender.context
        for record in context.records_list if context else ():
            plain = record.data[5 if host.info.version == 0x0304 else 13 :]
            self.runs |= {plain[i : i + RUN] for i in range(len(plain) - RUN + 1)}

    def leaked(self, payload: bytes) -> bool:
        return any(payload[i : i + RUN] in self.runs for i in range(len(payload) - RUN + 1))


@many
@given(st.data())
def test_nothing_leaks(data: st.DataObject):
    nothing_leaks(data)


@pytest.mark.slow
@settings(many, max_examples=4000)
@given(st.data())
def test_nothing_leaks_in_thousands_of_cases(data: st.DataObject):
    nothing_leaks(data)


def nothing_leaks(data: st.DataObject) -> None:
    """Packets for the wrong device, of sockets that are gone, cut short, with wrong flags or sequence numbers, of
    records acknowledged or not there; contexts deleted, sockets in each other's place."""
    side, other = TransmitSide(GoldenTxDevice(connections=4)), TransmitSide(GoldenTxDevice(connections=4))
    all_hosts = [data.draw(hosts(seed=n, side=side)) for n in range(2)]
    secrets = Secrets()
    for host in all_hosts:
        host.write(*data.draw(sizes))
        secrets.learn(host)
    assert any(FILLER[:RUN] in run for run in secrets.runs)
    kept = {id(h): h.sender.tcp.data(h.seq(0), h.written) for h in all_hosts}
    for _ in range(data.draw(st.integers(1, 25))):
        host = data.draw(st.sampled_from(all_hosts))
        plain = kept[id(host)]
        match data.draw(st.sampled_from("pppppppapdrx")):
            case "a":
                host.sender.tcp.transmit()
                host.ack(data.draw(st.integers(0, host.sent)))
                continue
            case "d":
                side.tls_dev_del(host.sk)
                continue
            case "r":
                side.tls_dev_resync(
                    host.sk, host.seq(data.draw(st.integers(0, len(plain)))), data.draw(st.integers(0, 9))
                )
                continue
            case "x":
                host.sender.destruct()
                continue
            case _:
                pass
        a = data.draw(st.integers(0, len(plain) - 1))
        b = min(len(plain), a + data.draw(st.one_of(st.integers(1, 40), st.integers(1, 3000))))
        # Headers and explicit nonces do leave as they are: bytes at a wrong place nearby may be taken for some.
        place = data.draw(st.sampled_from([a, a, a, a, a, a, -30, len(plain) + 5]))
        flags = data.draw(st.sampled_from([ACK] * 10 + [SYN, RST | ACK]))
        frame = host.frame(host.seq(place), plain[a:b], flags=flags, bad_tcp=True)
        if data.draw(st.integers(0, 9)) == 0:
            frame = frame[: data.draw(st.integers(54, len(frame)))]
        netdev = data.draw(st.sampled_from([side, side, side, side, other]))
        segment_size = data.draw(st.sampled_from([0, 0, 7, 536]))
        try:
            sent = netdev.xmit(frame, host.sk, segment_size).frames
        except ValueError:
            continue  # no socket sends what is no TCP packet
        for one in sent:
            packet = parse(one, limit=None)
            assert packet is not None or one is frame
            payload = 0 if packet is None else len(one) - packet.payload
            if place >= 0 or place + payload > 0:  # else they are bytes from before offload
                assert packet is not None and not secrets.leaked(one[packet.payload :])


@many
@given(st.data())
def test_one_counter_block_never_serves_two_plaintexts(data: st.DataObject):
    one_counter_block_one_plaintext(data)


@pytest.mark.slow
@settings(many, max_examples=4000)
@given(st.data())
def test_one_counter_block_never_serves_two_plaintexts_in_thousands_of_cases(data: st.DataObject):
    one_counter_block_one_plaintext(data)


def one_counter_block_one_plaintext(data: st.DataObject) -> None:
    """(key, counter block) pairs, over everything a driver makes the device do."""
    issued = CounterBlocks()
    with issued.watching():
        host = data.draw(hosts())
        host.write(*data.draw(sizes))
        for _ in range(data.draw(st.integers(1, 25))):
            step(data, host)


class CounterBlocks:
    """Every byte of keystream the golden device has used, and the plaintext it was used on."""

    def __init__(self) -> None:
        self.bytes: dict[tuple[object, bytes, int], int] = {}

    def watching(self):
        from unittest.mock import patch

        original = RecordCipher.xor

        def logged(cipher: RecordCipher, nonce: bytes, start: int, body: bytes) -> bytes:
            for at, value in enumerate(body, start):
                assert self.bytes.setdefault((cipher, nonce, at), value) == value, (nonce.hex(), at)
            return original(cipher, nonce, start, body)

        return patch.object(RecordCipher, "xor", logged)


def test_the_watcher_notices():
    host = TxHost()
    host.write(100)
    device = host.spy.device
    issued = CounterBlocks()
    handle = host.side._contexts[host.sk].handle
    frame = host.frame(host.seq(0), host.sender.tcp.data(host.seq(0), 122))
    other = frame[:-30] + bytes(30)
    request = TxRequest(TxKind.PREFIX, handle, record_seq=host.seq(0), header=b"\x17\3\3\0\x75")
    try:
        with issued.watching():
            for given_frame in (frame, other):
                (sent,) = device.transmit(given_frame, request)
                assert sent.status is TxStatus.ENCRYPTED
    except AssertionError:
        return
    raise AssertionError("not noticed")


def test_a_socket_without_offload_is_left_alone():
    host = TxHost()
    sk = Sock((b"\1" * 4, 1), (b"\2" * 4, 2))
    frame = host.frame(7, b"whatever this is")
    assert host.side.xmit(frame, sk).frames == [frame]
