"""The kernel's operations over the golden device."""

import errno

import pytest

from driver.netdev import RX_FEATURE, Direction, NetDevice, Sock
from driver.probe import ProbeError, device_counters
from model.commands import Ack, Response
from model.contract import ACK_INTERVAL, READ_IDENTIFICATION, READ_VERSION, Checksum, Result, RxPolicy, Status
from model.crypto_info import CryptoInfo
from model.device import GoldenDevice
from sim.chacha import ChachaCryptoInfo
from sim.traffic import TLS12, TLS13, Stream

RX, TX = Direction.RX, Direction.TX


def sock(stream: Stream) -> Sock:
    t = stream.tuple4
    return Sock((t.remote_address, t.remote_port), (t.local_address, t.local_port))


def info(stream: Stream) -> CryptoInfo:
    number = stream.record_number.to_bytes(8, "big")
    return CryptoInfo(stream.version, stream.key, stream.salt, stream.iv, number)


def add(netdev: NetDevice, stream: Stream, sk: Sock | None = None) -> tuple[Sock, int]:
    sk = sk or sock(stream)
    return sk, netdev.tls_dev_add(sk, RX, info(stream), stream.start_seq)


@pytest.fixture
def netdev() -> NetDevice:
    return NetDevice(GoldenDevice(connections=8))


def test_probe_reads_the_capabilities(netdev):
    capabilities = netdev.capabilities
    assert (capabilities.width, capabilities.connections) == (16, 8)
    assert capabilities.versions == {TLS12, TLS13} and capabilities.key_sizes == {16, 32}


@pytest.mark.parametrize(("address", "message"), [(READ_IDENTIFICATION, "another device"), (READ_VERSION, "version 9")])
def test_another_device_is_refused(address, message):
    class Other(GoldenDevice):
        def command(self, command):
            response = super().command(command)
            return Response(Result.OK, value=9) if getattr(command, "address", None) == address else response

    with pytest.raises(ProbeError, match=message):
        NetDevice(Other())


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("key_size", [16, 32])
def test_packets_of_an_added_connection_come_up_decrypted(netdev, version, key_size):
    stream = Stream(version, seed=1, key_size=key_size, record_number=5)
    sk, error = add(netdev, stream)
    assert error == 0
    wire = stream.bulk([3000, 1, 0, 700])
    up = [netdev.receive(f) for f in stream.frames(wire, mss=1000)]
    assert all(r.decrypted and r.descriptor.checksum is Checksum.GOOD for r in up)
    assert netdev.counters.decrypted_packets == len(up)
    assert netdev.counters.decrypted_bytes == len(wire)
    assert netdev.tracker_state(sk).record_number == 9


def test_counters_have_the_kernels_names(netdev):
    assert set(netdev.counters.ethtool()) == {
        "rx_tls_decrypted_packets",
        "rx_tls_decrypted_bytes",
        "rx_tls_ctx",
        "rx_tls_del",
        "rx_tls_resync_req_pkt",
        "rx_tls_resync_req_start",
        "rx_tls_resync_req_end",
        "rx_tls_resync_req_skip",
        "rx_tls_resync_res_ok",
        "rx_tls_resync_res_skip",
        "rx_tls_err",
    }


def test_feature_flag_is_for_new_connections_only(netdev):
    old, new = Stream(seed=1), Stream(seed=2)
    assert add(netdev, old)[1] == 0
    netdev.features[RX_FEATURE] = False
    assert add(netdev, new)[1] == -errno.EOPNOTSUPP
    (frame,) = old.frames(old.record(b"still offloaded"))
    assert netdev.receive(frame).decrypted
    netdev.features[RX_FEATURE] = True
    assert add(netdev, new)[1] == 0


def test_full_table_is_enospc_and_a_deletion_makes_room(netdev):
    streams = [Stream(seed=n) for n in range(9)]
    socks = []
    for stream in streams[:8]:
        sk, error = add(netdev, stream)
        assert error == 0
        socks.append(sk)
    assert netdev.devlink_resources() == {"tls_rx": {"size": 8, "occ": 8}}
    assert add(netdev, streams[8])[1] == -errno.ENOSPC
    # it stays in software: packets pass raw, nothing else is disturbed
    (frame,) = streams[8].frames(streams[8].record(b"software"))
    up = netdev.receive(frame)
    assert not up.decrypted and up.frame == frame and up.descriptor.status is Status.BYPASS
    netdev.tls_dev_del(socks[0], RX)
    assert netdev.devlink_resources()["tls_rx"]["occ"] == 7
    assert add(netdev, streams[8])[1] == 0
    assert (netdev.counters.ctx, netdev.counters.deleted) == (9, 1)


def test_what_the_device_does_not_do_is_eopnotsupp(netdev):
    stream = Stream(seed=1)
    chacha = ChachaCryptoInfo(TLS13, bytes(32), b"", bytes(12))
    assert netdev.tls_dev_add(sock(stream), RX, chacha, 0) == -errno.EOPNOTSUPP
    assert netdev.tls_dev_add(sock(stream), TX, info(stream), 0) == -errno.EOPNOTSUPP
    assert netdev.counters.ctx == 0


def test_the_same_connection_twice_is_eexist(netdev):
    stream = Stream(seed=1)
    add(netdev, stream)
    assert add(netdev, stream)[1] == -errno.EEXIST


def test_deleted_means_raw_and_deleting_twice_is_nothing(netdev):
    stream = Stream(seed=1)
    sk, _ = add(netdev, stream)
    netdev.tls_dev_del(sk, RX)
    netdev.tls_dev_del(sk, RX)
    (frame,) = stream.frames(stream.record(b"raw"))
    assert not netdev.receive(frame).decrypted
    assert netdev.counters.deleted == 1 and netdev.tracker_state(sk) is None


def test_resync_brings_a_lost_connection_back():
    netdev = NetDevice(GoldenDevice(connections=8, policy=RxPolicy.PUBLISHED))
    stream = Stream(seed=1)
    sk, _ = add(netdev, stream)
    lost = [stream.record(bytes(16000)), stream.record(bytes(16000))]
    assert netdev.tls_dev_resync(sk, stream.start_seq, 0, RX) == 0  # in sync: the device needs none
    assert netdev.counters.resync_res_skip == 1
    frames = stream.frames(b"".join(lost) + stream.record(b"x" * 100), mss=1000)
    assert netdev.receive(frames[-1]).descriptor.status is Status.OUT_OF_SYNC
    assert netdev.tls_dev_resync(sk, stream.next_seq + 4, stream.next_number, RX) == 0  # the last byte of five
    assert netdev.counters.resync_res_ok == 1
    at = stream.next_seq
    (frame,) = stream.frames(stream.record(b"again"), start_seq=at)
    assert netdev.receive(frame).decrypted
    netdev.tls_dev_del(sk, RX)
    assert netdev.tls_dev_resync(sk, 0, 0, RX) == -errno.EINVAL


def test_wrong_tags_and_headers_count_as_errors(netdev):
    stream = Stream(seed=1)
    add(netdev, stream)
    wire = bytearray(stream.record(b"x" * 100))
    wire[-1] ^= 1
    (frame,) = stream.frames(bytes(wire))
    up = netdev.receive(frame)
    assert up.descriptor.status is Status.AUTH_FAILED and up.frame == frame
    at = stream.next_seq
    (frame,) = stream.frames(b"\x17\x03\x02\x00\x40" + bytes(64), start_seq=at)
    assert netdev.receive(frame).descriptor.status is Status.BAD_HEADER
    assert netdev.counters.err == 2


def test_device_counters_by_name():
    device = GoldenDevice()
    netdev = NetDevice(device)
    netdev.receive(bytes(60))
    assert device_counters(device)["bypass"] == 1


def test_hash_key_is_set_before_the_first_connection():
    for key in (1, 2**367):
        netdev = NetDevice(GoldenDevice(), hash_key=key)
        assert add(netdev, Stream(seed=1))[1] == 0


@pytest.mark.parametrize("policy", list(RxPolicy))
def test_acknowledgements_reach_the_device_when_it_holds_something_and_from_time_to_time(policy):
    told = []

    class Listening(GoldenDevice):
        def command(self, command):
            if isinstance(command, Ack):
                told.append(command.seq)
            return super().command(command)

    netdev = NetDevice(Listening(policy=policy))
    stream = Stream(seed=1, start_seq=2**32 - 100)
    sk, _ = add(netdev, stream)
    wire = stream.bulk([78, 78])
    netdev.receive(stream.frame(2**32 - 100, wire[:100]))
    netdev.acknowledge(sk, 0)
    assert told == []  # decrypted, verified
    for ack in (ACK_INTERVAL - 101, ACK_INTERVAL - 100, ACK_INTERVAL + 7, 2 * ACK_INTERVAL):
        netdev.acknowledge(sk, ack)
    netdev.receive(stream.frame(50, wire[150:]))
    netdev.acknowledge(sk, 100)
    assert told == ([] if policy is RxPolicy.PUBLISHED else [ACK_INTERVAL - 100, 2 * ACK_INTERVAL, 100])
    netdev.tls_dev_del(sk, RX)
    netdev.acknowledge(sk, 2**31)


def test_a_conflict_aborts_the_socket_and_nothing_else_does():
    errors = []
    netdev = NetDevice(GoldenDevice(policy=RxPolicy.FULL))
    stream = Stream(seed=1)
    sk = sock(stream)
    sk.abort = errors.append
    add(netdev, stream, sk)
    wire = stream.bulk([78])
    netdev.receive(stream.frame(1000, wire[:50]))
    netdev.receive(stream.frame(1000, wire[:50]))
    assert errors == []
    netdev.receive(stream.frame(1000, wire[:4] + b"\x60" + wire[5:50]))
    assert errors == [errno.ECONNABORTED]
