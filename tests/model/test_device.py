"""Commands, lookup and counters of the golden device."""

from dataclasses import replace

import pytest

from model.commands import Add, Delete, Device, Query, Read, Response, Resync, Seed
from model.contract import (
    CIPHERS,
    COUNTERS,
    IDENTIFICATION,
    READ_COUNTERS,
    READ_FREE,
    Checksum,
    Result,
    RxPolicy,
    Status,
)
from model.device import GoldenDevice
from sim.traffic import TLS12, TLS13, Stream


def installed(stream: Stream, device: Device) -> int:
    response = device.command(stream.add())
    assert response.result is Result.OK
    return response.handle


def other(seed: int) -> Stream:
    stream = Stream(seed=seed)
    stream.bulk([50, 60])
    return stream


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0x0302},
        {"version": 0x0305},
        {"version": 0},
        {"key": bytes(24)},
        {"key": b""},
    ],
)
def test_unsupported(change: dict[str, int | bytes]):
    """selftest tls_basic.bad_cipher."""
    device = GoldenDevice(connections=1)
    add = other(1).add()
    assert device.command(replace(add, **change)).result is Result.UNSUPPORTED  # type: ignore[arg-type]
    device.command(add)
    assert device.command(replace(add, **change)).result is Result.UNSUPPORTED  # type: ignore[arg-type]


def test_capability_words():
    device = GoldenDevice(connections=12, width=64)
    words = [device.command(Read(address)).value for address in range(7)]
    assert words == [IDENTIFICATION, 1, 64, 12, CIPHERS, 12, list(RxPolicy).index(RxPolicy.FULL)]
    installed(other(1), device)
    assert device.command(Read(READ_FREE)).value == 11
    assert device.command(Read(READ_COUNTERS + len(COUNTERS))) == Response(Result.OK)
    assert device.command(Read(1 << 20)).value == 0


def test_seed_only_into_an_empty_table():
    device = GoldenDevice(connections=20)
    handle = installed(other(1), device)
    assert device.command(Seed(0)).result is Result.BAD_COMMAND
    device.command(Delete(handle))
    assert device.command(Seed(0)).result is Result.OK
    results = [device.command(other(i).add()).result for i in range(17)]
    assert results == [Result.OK] * 16 + [Result.NO_SPACE]


def test_unknown_command():
    assert GoldenDevice().command("halt").result is Result.BAD_COMMAND  # type: ignore[arg-type]


def test_stale_handles_of_every_command():
    """Number 40: the generation tells a deleted connection from the next one under its index."""
    device = GoldenDevice(connections=1)
    old = installed(other(1), device)
    device.command(Delete(old))
    commands = [Delete(old), Resync(old, 1, 2), Query(old)]
    assert [device.command(c).result for c in commands] == [Result.STALE_HANDLE] * 3
    new = installed(other(2), device)
    assert new == 1 << 16
    assert [device.command(c).result for c in commands] == [Result.STALE_HANDLE] * 3
    assert device.command(Query(new)).result is Result.OK
    assert device.command(Query(1)).result is Result.STALE_HANDLE


def test_deleted_connection_is_bypassed():
    """Numbers 39 and 40: packets before ADD and behind DEL are none of the device's business."""
    stream = other(1)
    device = GoldenDevice(connections=1)
    frames = stream.frames(stream.wire, mss=40)
    before = device.receive(frames[0])
    handle = installed(stream, device)
    during = device.receive(frames[0])
    device.command(Delete(handle))
    behind = device.receive(frames[1])
    assert [d.descriptor.status for d in (before, during, behind)] == [
        Status.BYPASS,
        Status.DECRYPTED,
        Status.BYPASS,
    ]
    assert (before.frame, behind.frame) == (frames[0], frames[1])
    assert not behind.descriptor.matched and behind.descriptor.handle == 0


def test_same_tuple_with_a_new_key():
    """Number 41; selftest rekey: old-key packets that come late fail, the new key's go on."""
    old, device = other(1), GoldenDevice(connections=2)
    handle = installed(old, device)
    frames = old.frames(old.wire, mss=40)
    assert device.receive(frames[0]).descriptor.status is Status.DECRYPTED
    device.command(Delete(handle))
    new = Stream(seed=2, tuple4=old.tuple4, start_seq=old.next_seq)
    new.bulk([50, 60])
    installed(new, device)
    for frame in frames[1:]:
        assert device.receive(frame).frame == frame  # GAP: before the new start
    for frame in new.frames(new.wire, mss=40):
        assert device.receive(frame).descriptor.status is Status.DECRYPTED


def test_shutdown_and_reuse_of_the_tuple():
    """selftest shutdown_reuse: an open record does not show in the next connection."""
    first, device = other(1), GoldenDevice(connections=1)
    handle = installed(first, device)
    device.receive(first.frame(1000, first.wire[:30]))
    device.command(Delete(handle))
    second = Stream(seed=7, tuple4=first.tuple4, start_seq=1030)
    second.bulk([10])
    handle = installed(second, device)
    state = device.command(Query(handle)).state
    assert state and (state.remaining, state.header_count, state.expected_seq) == (0, 0, 1030)
    assert device.receive(second.frame(1030, second.wire)).descriptor.status is Status.DECRYPTED


def test_connections_are_told_apart():
    """Interleaved, same ports and addresses but for one field; selftest tls_v6ops for IPv6."""
    base = Stream(seed=1)
    tuple4 = base.tuple4
    swapped = replace(
        tuple4,
        remote_address=tuple4.local_address,
        local_address=tuple4.remote_address,
        remote_port=tuple4.local_port,
        local_port=tuple4.remote_port,
    )
    variants = [
        tuple4,
        swapped,
        replace(tuple4, remote_port=tuple4.remote_port ^ 1),
        replace(tuple4, local_port=tuple4.local_port ^ 1),
        replace(tuple4, remote_address=bytes([9]) + tuple4.remote_address[1:]),
        replace(tuple4, local_address=bytes([9]) + tuple4.local_address[1:]),
        replace(
            tuple4, remote_address=bytes(12) + tuple4.remote_address, local_address=bytes(12) + tuple4.local_address
        ),
    ]
    streams = [Stream((TLS12, TLS13)[i % 2], seed=i, tuple4=t) for i, t in enumerate(variants)]
    device = GoldenDevice(hash_key=0)
    handles = [installed(s, device) for s in streams]
    frames = [s.frames(s.bulk([200, 3, 90]), mss=25) for s in streams]
    for turn in zip(*frames, strict=False):
        for handle, frame in zip(handles, turn, strict=True):
            descriptor = device.receive(frame).descriptor
            assert (descriptor.status, descriptor.handle) == (Status.DECRYPTED, handle)


def test_vlan_is_not_part_of_the_key():
    """Number 20."""
    stream, device = other(1), GoldenDevice()
    installed(stream, device)
    for i, (seq, payload) in enumerate(stream.segments(stream.wire, mss=30)):
        vlans = [(0x88A8, i), (0x8100, i + 1)][: i % 3]
        delivery = device.receive(stream.frame(seq, payload, vlans=vlans, trailer=bytes(i)))
        assert delivery.descriptor.status is Status.DECRYPTED


def test_bytes_behind_the_packet_stay():
    stream, device = other(1), GoldenDevice()
    installed(stream, device)
    frame = stream.frame(1000, stream.wire[:20], trailer=b"padding")
    out = device.receive(frame).frame
    assert out != frame and len(out) == len(frame) and out.endswith(b"padding")


def test_checksum_of_what_is_not_handled():
    stream, device = other(1), GoldenDevice()
    frame = stream.frame(1000, b"abc")
    bad = stream.frame(1000, b"abc", bad_tcp=True)
    assert [device.receive(f).descriptor.checksum for f in (frame, bad, b"\0" * 60)] == [
        Checksum.GOOD,
        Checksum.BAD,
        Checksum.NONE,
    ]
    fragment = stream.frame(1000, b"abc", fragment=0x2000)
    assert device.receive(fragment).descriptor.checksum is Checksum.NONE


def test_counters():
    """Number 62, receive: one packet of each published status, and the bytes of the decrypted ones only."""
    stream = Stream(seed=1)
    stream.bulk([78] * 6)
    device, wire = GoldenDevice(policy=RxPolicy.PUBLISHED), stream.wire
    handle = installed(stream, device)
    bad = bytearray(wire)
    bad[120] ^= 1
    bad[501] ^= 1
    plan = [
        (b"\0" * 20, Status.BYPASS),
        (stream.frame(1000, wire[:40]), Status.DECRYPTED),
        (stream.frame(1040, wire[40:60], bad_tcp=True), Status.BAD_CHECKSUM),
        (stream.frame(1000, wire[:40]), Status.RETRANSMISSION),
        (stream.frame(1050, wire[50:60]), Status.GAP),
        (stream.frame(1110, wire[110:120]), Status.WAIT),
        (stream.frame(1100, bytes(bad[100:200])), Status.AUTH_FAILED),
        (stream.frame(1200, wire[200:450]), Status.DECRYPTED),
        (stream.frame(1450, bytes(bad[450:600])), Status.BAD_HEADER),
        (stream.frame(1600, b"x"), Status.OUT_OF_SYNC),
    ]
    for frame, status in plan:
        assert device.receive(frame).descriptor.status is status
    expected = dict.fromkeys((s.name.lower() for s in Status), 1) | {"decrypted": 2, "decrypted_bytes": 290}
    expected |= {"conflict": 0, "closed": 0, "overload": 0}  # not under the published rules, or not asked for
    assert device.counters == expected
    words = [device.command(Read(READ_COUNTERS + i)).value for i in range(len(COUNTERS))]
    assert words == [expected[name] for name in COUNTERS]
    assert device.command(Query(handle)).result is Result.OK


def test_no_key_in_any_repr():
    stream = other(1)
    add = stream.add()
    assert isinstance(add, Add)
    assert stream.key.hex() not in repr(add) and repr(stream.key) not in repr(add)
