"""The driver's transmit operations over the golden device, below the kernel's stack."""

import errno
import itertools

import pytest

from driver.netdev import RX_FEATURE, TX_FEATURE, Direction, NetDevice
from driver.probe import ProbeError
from driver.sock import Sock
from driver.transmit import TransmitSide, Way
from driver.tx_context import TxResync
from model.commands import Response
from model.contract import READ_IDENTIFICATION, Result, TxKind
from model.device import GoldenDevice
from model.tx_device import GoldenTxDevice
from sim.chacha import ChachaCryptoInfo
from sim.traffic import ACK, FIN, TLS12, TLS13
from tests.driver.tx_host import MECHANISMS, ON_DEVICE, TxHost

VERSIONS = (TLS12, TLS13)


# --- in order --------------------------------------------------------------------------------------
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("key_size", [16, 32])
@pytest.mark.parametrize("ipv6", [False, True])
def test_in_order_the_device_encrypts(version, key_size, ipv6):
    host = TxHost(version=version, key_size=key_size, ipv6=ipv6, before=b"handshake")
    host.write(3000, 1, 16384, 40)
    assert host.pump()[1:] == [Way.STREAM] * len(host.spy.kinds()[1:])
    counters = host.side.counters
    assert counters.encrypted_bytes == host.written and counters.ooo == 0
    host.agrees()


def test_counters_have_the_kernels_names():
    names = set(TransmitSide(GoldenTxDevice()).counters.ethtool())
    assert {
        "tx_tls_encrypted_packets",
        "tx_tls_encrypted_bytes",
        "tx_tls_ctx",
        "tx_tls_ooo",
        "tx_tls_skip_no_sync_data",
        "tx_tls_drop_no_sync_data",
        "tx_tls_drop_bypass_req",
    } <= names


def test_pure_acknowledgements_and_fin_pass():
    host = TxHost()
    host.write(100)
    host.pump()
    host.spy.kinds()
    for flags in (ACK, FIN | ACK):
        frame = host.frame(host.seq(host.sent), b"", flags=flags)
        transmitted = host.side.xmit(frame, host.sk)
        assert transmitted.way is Way.PLAIN and transmitted.frames == [frame]
    # a zero-window probe lies one byte back
    probe = host.frame(host.seq(host.sent - 1), b"")
    assert host.side.xmit(probe, host.sk).frames == [probe]
    assert host.spy.kinds() == [TxKind.PASS] * 3
    host.write(50)
    assert host.pump() == [Way.STREAM]


def test_other_sockets_and_other_packets_pass():
    host = TxHost()
    frame = host.frame(5, b"not of a TLS socket")
    for sk in (None, Sock((b"\1" * 4, 1), (b"\2" * 4, 2))):
        assert host.side.xmit(frame, sk).frames == [frame]
    assert host.side.xmit(bytes(60), None).frames == [bytes(60)]


# --- out of order ----------------------------------------------------------------------------------
@pytest.mark.parametrize("resync", MECHANISMS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_retransmission_of_some_small_records(resync, version):
    """Whole, first, middle, last, header, tag alone, over several records; none costs the next packet anything."""
    host = TxHost(resync, version, record_number=2**32 - 2)
    host.write(20, 1, 5, 33)
    host.pump()
    end = host.sent
    for count, (a, b) in enumerate(itertools.combinations(range(0, end + 1, 3 if version == TLS12 else 2), 2)):
        host.sends(a, b, Way.SOFTWARE if resync is TxResync.NEXT_RECORD else None)
        if count % 40 == 0:
            host.agrees()
            host.write(1)
            host.spy.kinds()
            assert host.pump() == [Way.STREAM] and host.spy.kinds() == [TxKind.STREAM]
    assert host.side.counters.ooo == count + 1


@pytest.mark.parametrize("resync", ON_DEVICE)
def test_retransmissions_that_continue_cost_nothing_more(resync):
    host = TxHost(resync)
    host.write(16000)
    host.pump()
    moved = [t.replayed_bytes for t in host.again(3000, 7000)]
    assert moved == [32 if resync is TxResync.PREFIX else 3000, 0, 0, 0]
    host.spy.kinds()
    host.write(10)
    assert host.pump() == [Way.STREAM] and host.spy.kinds() == [TxKind.STREAM]
    assert [t.replayed_bytes for t in host.again(7000, 8000)] == [0]


def test_rebuild_replays_the_preceding_bytes_in_frames_the_device_takes():
    host = TxHost(TxResync.REBUILD)
    host.write(16384)
    host.pump()
    host.spy.kinds()
    assert host.sends(15000, 16000).replayed_bytes == 15000
    replay, more, again = host.spy.requests
    assert (replay.kind, more.kind, again.kind) == (TxKind.REPLAY, TxKind.REPLAY, TxKind.RETRANSMIT)
    assert replay == more and (replay.record_seq, replay.record_number) == (host.offload_seq, 0)
    counters = host.side.counters
    assert (counters.dump_packets, counters.dump_bytes, counters.prefix_packets) == (2, 15000, 0)


def test_rebuild_at_a_records_first_byte_is_a_descriptor():
    host = TxHost(TxResync.REBUILD)
    host.write(500, 500)
    host.pump()
    assert host.sends(522, 900, Way.REBUILT).replayed_bytes == 32


def test_prefix_takes_the_tag_from_the_ring_as_long_as_it_is_there():
    host = TxHost()
    size = 300 + 22
    host.write(*[300] * 12)
    host.pump()
    for back in range(12):
        record = 11 - back
        start = record * size
        # from the middle on, to the end: the tag must come from somewhere
        transmitted = host.sends(start + 100, start + size)
        in_ring = back < 8
        assert transmitted.way is (Way.PREFIXED if in_ring else Way.REBUILT), back
        assert transmitted.replayed_bytes == (32 if in_ring else 100)
        # up to the tag nobody needs it
        assert host.sends(start + 101, start + size - 16).replayed_bytes == 32


def test_prefix_takes_the_tag_of_the_record_in_progress_once_some_of_it_was_sent():
    host = TxHost()
    size = 300 + 22
    host.write(300)
    host.sender.tcp.transmit(size - 10)
    host.sends(0, size - 10, Way.STREAM)
    assert host.sends(100, size - 12).way is Way.PREFIXED
    assert host.sends(50, size - 10).replayed_bytes == 32


def test_a_tag_that_is_not_there_yet_is_never_asked_for():
    """The first new byte of a tag comes with a retransmission: the stream goes on behind it."""
    host = TxHost()
    size = 300 + 22
    host.write(300, 300)
    host.sender.tcp.transmit(250)
    host.sends(0, 250, Way.STREAM)
    transmitted = host.sends(100, size - 5)
    assert transmitted.way is Way.REBUILT and transmitted.replayed_bytes == 100
    host.sender.tcp.transmit(size - 5 - 250)
    host.agrees()
    host.spy.kinds()
    assert set(host.pump()) == {Way.STREAM}


@pytest.mark.parametrize("resync", ON_DEVICE)
@pytest.mark.parametrize("jump", [1, 100, 321, 322, 323, 700, 5000])
def test_forward_jump_is_adopted(resync, jump):
    """Bytes were lost on the way down: the device goes on behind them, and they are a retransmission later."""
    host = TxHost(resync)
    host.write(*[300] * 30)
    host.sender.tcp.transmit(500)
    host.sends(0, 500, Way.STREAM)
    host.lose(500 + jump)
    at = 500 + jump
    host.sender.tcp.transmit(400)
    host.sends(at, at + 400)
    host.agrees()
    host.spy.kinds()
    assert set(host.pump()) == {Way.STREAM}
    assert set(host.spy.kinds()) == {TxKind.STREAM}
    host.sends(500, at)
    # tags from before the jump are gone, those behind it are there
    host.sends(at + 50, host.sent)
    host.agrees()


@pytest.mark.parametrize("resync", ON_DEVICE)
def test_a_record_that_was_adopted_from_its_middle_can_be_finished_in_order(resync):
    host = TxHost(resync)
    host.write(3000)
    host.lose(1500)
    host.sender.tcp.transmit(100)
    assert host.sends(1500, 1600).way is Way.REBUILT
    assert host.pump() == [Way.STREAM, Way.STREAM]


@pytest.mark.parametrize("resync", MECHANISMS)
def test_old_and_new_bytes_in_one_packet(resync):
    host = TxHost(resync)
    host.write(*[200] * 12)
    for a, b in ((0, 333), (100, 700), (600, 900), (200, 1300)):
        host.sender.tcp.transmit(b - host.sent)
        host.sends(a, b)
    if resync is not TxResync.NEXT_RECORD:
        assert set(host.pump()) == {Way.STREAM}
        host.agrees()


# --- next-record -----------------------------------------------------------------------------------
def test_next_record_resynchronises_where_the_stack_says():
    host = TxHost(TxResync.NEXT_RECORD)
    host.write(300, 300)
    host.sender.tcp.transmit(100)
    host.sends(0, 100, Way.STREAM)
    host.lose(200)
    assert not host.sender.tls_offload_tx_resync_pending()
    host.sender.tcp.transmit(200)
    host.sends(200, 400, Way.SOFTWARE)
    assert host.sender.tls_offload_tx_resync_pending()
    # until then software does everything, what is in order too
    assert set(host.pump()) == {Way.SOFTWARE}
    host.write(500)
    assert not host.sender.tls_offload_tx_resync_pending()
    assert host.side.counters.resync == 1
    assert host.pump() == [Way.STREAM]
    host.agrees()


def test_next_record_retransmissions_change_nothing():
    host = TxHost(TxResync.NEXT_RECORD)
    host.write(3000)
    host.pump()
    assert {t.way for t in host.again(0, 3000)} == {Way.SOFTWARE}
    assert not host.sender.tls_offload_tx_resync_pending()
    host.write(10)
    assert host.pump() == [Way.STREAM]
    assert host.side.counters.fallback_packets == 3 and host.side.counters.fallback_bytes == 3000


# --- what has no record ----------------------------------------------------------------------------
@pytest.mark.parametrize("resync", MECHANISMS)
def test_before_and_across_the_start_of_offload(resync):
    host = TxHost(resync, before=b"the handshake")
    host.write(100)
    host.pump()
    frame = host.frame(host.start_seq, b"the hand")
    transmitted = host.side.xmit(frame, host.sk)
    assert transmitted.way is Way.SKIPPED and transmitted.frames == [frame]
    whole = host.frame(host.start_seq, b"the handshake")
    assert host.side.xmit(whole, host.sk).frames == [whole]
    across = host.frame(host.seq(-2), b"ke" + host.sender.tcp.data(host.seq(0), 30))
    transmitted = host.side.xmit(across, host.sk)
    assert transmitted.way is Way.DROPPED and transmitted.frames == []
    counters = host.side.counters
    assert (counters.skip_no_sync_data, counters.drop_bypass_req, counters.drop_no_sync_data) == (3, 1, 0)


@pytest.mark.parametrize("resync", MECHANISMS)
def test_acknowledged_records_are_dropped(resync):
    host = TxHost(resync)
    host.write(300, 300)
    host.pump()
    stale = host.frame(host.seq(50), host.sender.tcp.data(host.seq(50), 100))
    into = host.frame(host.seq(300), host.sender.tcp.data(host.seq(300), 100))
    host.ack(322)
    for frame in (stale, into):
        assert host.side.xmit(frame, host.sk).frames == []
    assert host.side.counters.drop_no_sync_data == 2 and host.side.counters.ooo == 0
    host.sends(400, 600)
    host.ack(644)
    host.write(10)
    assert host.pump() == [Way.STREAM]


# --- reroutes, removal -----------------------------------------------------------------------------
def test_another_device_gets_ciphertext():
    host = TxHost()
    other = TransmitSide(GoldenTxDevice())
    host.write(500)
    payload = host.sender.tcp.data(host.seq(0), 522)
    transmitted = other.xmit(host.frame(host.seq(0), payload, bad_tcp=True), host.sk)
    assert transmitted.way is Way.SOFTWARE and transmitted.frames == [host.wire(0, 522)]
    assert other.counters.fallback_packets == 1 and other.counters.encrypted_packets == 0


def test_after_the_device_has_forgotten_the_socket_software_encrypts():
    host = TxHost()
    host.write(500)
    host.side.tls_dev_del(host.sk)
    assert host.pump() == [Way.SOFTWARE]
    assert host.side.tracker_state(host.sk) is None
    host.side.tls_dev_del(host.sk)
    assert host.side.counters.deleted == 1


def test_what_cannot_be_parsed_never_leaves():
    host = TxHost()
    host.write(500)
    frame = host.frame(host.seq(0), host.sender.tcp.data(host.seq(0), 522))
    fragment = host.frame(host.seq(0), host.sender.tcp.data(host.seq(0), 522), fragment=0x2000)
    for bad in (frame[:-1], frame[:100], fragment):
        assert host.side.xmit(bad, host.sk).frames == []
        host.refused += 1
    assert host.side.counters.drop_device == host.refused == 3
    assert host.pump() == [Way.STREAM]


# --- segmentation ----------------------------------------------------------------------------------
@pytest.mark.parametrize("resync", MECHANISMS)
@pytest.mark.parametrize("segment_size", [536, 1448, 8960])
def test_large_frames_leave_as_segments(resync, segment_size):
    host = TxHost(resync, mss=64000)
    host.write(*[16384] * 3, *[100] * 40)
    host.sender.tcp.transmit()

    def check(a, b):
        transmitted = host.give(a, b, segment_size)
        edges = [*range(a, b, segment_size), b]
        payloads = [
            frame[-(y - x) :] for frame, (x, y) in zip(transmitted.frames, itertools.pairwise(edges), strict=True)
        ]
        assert b"".join(payloads) == host.software.tcp.data(host.seq(a), b - a)
        return transmitted

    assert check(0, host.sent).way is Way.STREAM
    assert host.side.counters.encrypted_packets == -(-host.sent // segment_size)
    assert host.side.counters.encrypted_bytes == host.sent
    for a, b in ((0, 20000), (5000, 5001), (16380, 50000), (40000, host.sent)):
        check(a, b)
        host.agrees()
    assert host.side.counters.drop_device == 0
    host.write(5)
    assert host.pump() == [Way.STREAM]


# --- setting up ------------------------------------------------------------------------------------
def test_feature_flag_is_for_new_connections_only():
    old = TxHost(seed=1)
    old.side.features[TX_FEATURE] = False
    new = TxHost(seed=2, side=old.side)
    assert old.offloaded and not new.offloaded
    new.write(100)
    assert new.pump() == [Way.PLAIN]
    old.write(100)
    assert old.pump() == [Way.STREAM]


def test_mechanism_is_for_new_connections_only():
    old = TxHost(TxResync.PREFIX, seed=1)
    TxHost(TxResync.REBUILD, seed=2, side=old.side)
    old.write(3000)
    old.pump()
    assert old.sends(100, 200).way is Way.PREFIXED


def test_full_table_leaves_the_rest_in_software():
    first = TxHost(seed=0)
    hosts = [first, *(TxHost(seed=n, side=first.side) for n in range(1, 9))]
    assert [h.offloaded for h in hosts] == [True] * 8 + [False]
    assert first.side.devlink_resources() == {"tls_tx": {"size": 8, "occ": 8}}
    for host in hosts:
        host.write(1000)
        host.pump()
    hosts[3].sender.destruct()
    assert TxHost(seed=10, side=first.side).offloaded
    assert first.side.counters.ctx == 9


def test_what_the_device_does_not_do_is_eopnotsupp():
    side = TransmitSide(GoldenTxDevice())
    sk = Sock((b"\1" * 4, 1), (b"\2" * 4, 2))
    chacha = ChachaCryptoInfo(TLS13, bytes(32), b"", bytes(12))
    assert side.tls_dev_add(sk, chacha, 0) == -errno.EOPNOTSUPP
    info = TxHost().info
    assert side.tls_dev_add(sk, info, 0) == 0
    assert side.tls_dev_add(sk, info, 0) == -errno.EEXIST
    other = Sock((b"\3" * 4, 1), (b"\2" * 4, 2))
    assert side.tls_dev_resync(other, 0, 0) == -errno.EINVAL


def test_another_device_is_refused():
    class Other(GoldenTxDevice):
        def command(self, command):
            known = getattr(command, "address", None) != READ_IDENTIFICATION
            return super().command(command) if known else Response(Result.OK, value=9)

    with pytest.raises(ProbeError, match="another device"):
        TransmitSide(Other())


def test_one_network_device_with_both_directions():
    netdev = NetDevice(GoldenDevice(connections=8), transmitter=GoldenTxDevice(connections=16))
    assert set(netdev.features) == {RX_FEATURE, TX_FEATURE}
    host = TxHost(side=netdev.tx)
    other = Sock((b"\3" * 4, 1), (b"\2" * 4, 2))
    assert netdev.tls_dev_add(other, Direction.TX, host.info, 7) == 0
    assert netdev.tls_dev_resync(other, 9, 1, Direction.TX) == 0
    assert netdev.devlink_resources() == {"tls_rx": {"size": 8, "occ": 0}, "tls_tx": {"size": 16, "occ": 2}}
    netdev.tls_dev_del(other, Direction.TX)
    host.write(100)
    frame = host.frame(host.seq(0), host.sender.tcp.data(host.seq(0), 122), bad_tcp=True)
    assert netdev.xmit(frame, host.sk).frames == [host.wire(0, 122)]
    counters = netdev.ethtool()
    assert counters["tx_tls_ctx"] == 2 and counters["rx_tls_ctx"] == 0


def test_a_device_without_transmit_direction():
    netdev = NetDevice(GoldenDevice())
    sk = Sock((b"\1" * 4, 1), (b"\2" * 4, 2))
    assert netdev.tls_dev_resync(sk, 0, 0, Direction.TX) == -errno.EINVAL
    netdev.tls_dev_del(sk, Direction.TX)
    with pytest.raises(ValueError, match="no transmit direction"):
        netdev.xmit(bytes(60))
