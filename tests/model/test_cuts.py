"""Small and exhaustive: every cut and every flipped byte of a 64-byte record."""

import itertools

import pytest

from model.contract import Status
from sim.traffic import TLS12, TLS13, Stream
from tests.model.rig import Rig

SIZE = 64
KINDS = [(version, key_size) for version in (TLS12, TLS13) for key_size in (16, 32)]


def record_stream(version: int, key_size: int = 16) -> Stream:
    """A record of 64 bytes on the wire, and a small one behind it."""
    stream = Stream(version, seed=version + key_size, key_size=key_size, record_number=2**32 - 1)
    overhead = 29 if version == TLS12 else 22
    stream.bulk([SIZE - overhead, 3])
    assert len(stream.records[0].wire) == SIZE
    return stream


@pytest.mark.parametrize("version, key_size", KINDS)
def test_every_cut_into_two_and_three_segments(version: int, key_size: int):
    stream = record_stream(version, key_size)
    wire = stream.wire
    cuts = [(a,) for a in range(1, SIZE + 1)] + list(itertools.combinations(range(1, SIZE + 1), 2))
    for cut in cuts:
        rig = Rig(stream)
        assert set(rig.all(stream.frames(wire, cuts=cut))) == {Status.DECRYPTED}, cut
        rig.expect_everything()
        assert {r.handling for r in rig.hw.records} == {"offloaded"}


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_every_byte_flipped_in_every_cut_into_two(version: int, mask: int):
    """selftest tls_err.bad_auth, for every byte of the record and not only the tag's last."""
    stream = record_stream(version)
    nonce_end = 13 if version == TLS12 else 5
    for position in range(SIZE):
        wire = bytearray(stream.wire)
        wire[position] ^= mask
        for cut in range(1, SIZE):
            rig = Rig(stream)
            statuses = rig.all(stream.frames(bytes(wire), cuts=[cut]))
            rig.check()
            if position in (1, 2):
                assert rig.sw.error == "EINVAL"
                assert Status.BAD_HEADER in statuses
            elif position == 3:
                # A record longer than what follows, or longer than a record may be.
                assert rig.sw.error == (None if mask == 1 else "EMSGSIZE")
            elif position == 4:
                assert rig.sw.application.size == 0
            else:
                assert rig.sw.error == "EBADMSG"
                assert statuses == [Status.DECRYPTED, Status.AUTH_FAILED]
                assert rig.hw.records[0].handling == "mixed"
                if position >= nonce_end:
                    assert rig.hw.statistics["TlsDecryptError"] == 1


@pytest.mark.parametrize("version, key_size", KINDS)
def test_one_byte_segments(version: int, key_size: int):
    stream = record_stream(version, key_size)
    rig = Rig(stream)
    assert set(rig.all(stream.frames(stream.wire, mss=1))) == {Status.DECRYPTED}
    rig.expect_everything()


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_every_lost_range_comes_late(version: int):
    """One range of two records is late: whatever the device did, the stack reads everything."""
    stream = record_stream(version)
    end = len(stream.wire)
    for a, b in itertools.combinations(range(0, end + 1, 3), 2):
        rig = Rig(stream)
        for start, stop in ((0, a), (b, end), (a, b)):
            if stop > start:
                rig.segment(start, stop)
        rig.expect_everything()
