"""The driver's headers against the golden adapter, and the adapter's registers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver.bus import DeviceError, find_adapter, find_blocks
from driver.corundum import Adapter, HeaderError, take_rx_header, tx_header
from model.commands import Delivery, Descriptor
from model.contract import CONTRACT_VERSION, IDENTIFICATION, Checksum, Status, TxKind
from model.corundum import with_rx_header, without_tx_header
from model.metadata import TxHeaders
from model.registers import (
    ADAPTER_CONTROL,
    ADAPTER_HEADERS,
    ADAPTER_LAST_DROP,
    ADAPTER_MALFORMED,
    REGISTER_MAP_VERSION,
    Direction,
)
from model.tx_commands import TxRequest

FRAMES = st.binary(min_size=1, max_size=80)
HANDLES = st.integers(0, 2**24 - 1)
SEQS = st.integers(0, 2**32 - 1)
DESCRIPTORS = st.builds(
    Descriptor,
    st.sampled_from([status for status in Status if status is not Status.OVERLOAD]),
    st.sampled_from(Checksum),
    st.booleans(),
    HANDLES,
    st.none() | SEQS,
    st.booleans(),
) | st.builds(Descriptor, st.just(Status.OVERLOAD), st.just(Checksum.GOOD), st.just(True), HANDLES, given_up_at=SEQS)
REQUESTS = st.builds(
    TxRequest,
    st.sampled_from([kind for kind in TxKind if kind]),
    HANDLES,
    st.just(0),
    st.booleans(),
    SEQS,
    st.integers(0, 2**64 - 1),
    st.binary(min_size=13, max_size=13),
)


@given(FRAMES, DESCRIPTORS)
def test_a_received_frame(frame, descriptor):
    assert take_rx_header(with_rx_header(frame, descriptor)) == Delivery(frame, descriptor)


@given(FRAMES, REQUESTS | st.just(TxRequest(header=bytes(13))), st.sampled_from([TxHeaders.MARKED, TxHeaders.ALWAYS]))
def test_a_frame_to_send(frame, request, mode):
    assert without_tx_header(tx_header(request) + frame, mode) == (frame, request)


def test_bytes_of_the_headers():
    """As docs/corundum.md has them."""
    descriptor = Descriptor(Status.DECRYPTED, Checksum.GOOD, True, 0x123456, 0x789ABCDE, True)
    assert with_rx_header(b"!", descriptor).hex() == "01011d1056341200debc9a7888b5000021"
    request = TxRequest(TxKind.PREFIX, 0x123456, 0, True, 0x789ABCDE, 0x1122334455667788, bytes(range(13)))
    expected = "0104014056341200debc9a7888b500008877665544332211000102030405060708090a0b0c"
    assert tx_header(request).hex() == expected.ljust(128, "0")
    assert tx_header(TxRequest(TxKind.STREAM, 7, header=b"")).hex() == "01010040070000000000000088b5".ljust(128, "0")


def test_what_is_no_header():
    good = with_rx_header(b"frame", Descriptor(Status.BYPASS, Checksum.NONE, False, 0))
    for bad in (
        good[:16],
        b"\2" + good[1:],
        good[:3] + b"\x20" + good[4:],
        good[:12] + b"\x08\x00" + good[14:],
        good[16:],
    ):
        with pytest.raises(HeaderError):
            take_rx_header(bad)
    with pytest.raises(HeaderError, match="segment size"):
        tx_header(TxRequest(TxKind.STREAM, 7, segment_size=1448))


class Words:
    """A bus of words that stay as they are written."""

    def __init__(self, words):
        self.words = words

    def read32(self, address):
        return self.words[address]

    def write32(self, address, value):
        self.words[address] = value


def blocks(*directions):
    words = {}
    for k, direction in enumerate(directions):
        identity = (IDENTIFICATION, REGISTER_MAP_VERSION, CONTRACT_VERSION, direction)
        last = k == len(directions) - 1
        words |= {0x1000 * k + 4 * n: value for n, value in enumerate((*identity, 0 if last else 0x1000))}
    return words


def test_the_adapter_among_the_blocks():
    bus = Words(blocks(1, 2, 3))
    assert find_blocks(bus) == {Direction.RECEIVE: 0, Direction.TRANSMIT: 0x1000}
    assert find_adapter(bus) == 0x2000
    assert find_adapter(Words(blocks(1, 2))) is None
    with pytest.raises(DeviceError, match="is 4"):
        find_blocks(Words(blocks(1, 4)))


def test_registers_of_the_adapter():
    bus = Words(dict.fromkeys(range(0x2000, 0x3000, 4), 0) | {0x2000 + ADAPTER_HEADERS.offset: 0x401001})
    adapter = Adapter(bus, 0x2000)
    adapter.headers(rx=True, tx=TxHeaders.ALWAYS)
    assert bus.words[0x2000 + ADAPTER_CONTROL.offset] == 0x21
    assert adapter.last_drop is None and adapter.malformed == 0
    bus.words[0x2000 + ADAPTER_LAST_DROP.offset] = 0x8ABCDEF4
    bus.words[0x2000 + ADAPTER_MALFORMED.offset] = 3
    assert adapter.last_drop == (4, 0xABCDEF) and adapter.malformed == 3
    bus.words[0x2000 + ADAPTER_HEADERS.offset] = 0x401002
    with pytest.raises(DeviceError, match="0x401002, not 0x401001"):
        Adapter(bus, 0x2000)
