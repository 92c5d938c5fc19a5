"""The device behind Corundum's taps: recorded sessions through them, and anything else at once in both directions."""

import random

import pytest

from driver.bus import BusCommands, BusError, find_blocks
from driver.corundum import take_rx_header, tx_header
from hw.config import Config
from model.commands import Read
from model.contract import READ_COUNTERS, TX_COUNTERS, Checksum, Status, TxKind, TxStatus
from model.corundum import without_tx_header
from model.metadata import TxHeaders
from model.registers import BLOCK_BYTES, Direction
from model.tx_commands import TxRequest
from model.tx_device import GoldenTxDevice
from sim.connections import follow
from sim.engine.toolchain import can_compile
from sim.replay import Settings
from sim.run import run
from sim.tx_run import run_tx
from tests.hw.test_corundum import mangled
from tests.sim.corundum_tap import Corundum, TapEngine
from tests.sim.sessions import session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # both directions are one model to build
WIDTHS = [16, 64]


@pytest.fixture(scope="module")
def nic():
    nics = {}

    def get(width):
        if not can_compile():
            pytest.skip("no C++ compiler")
        if width not in nics:
            nics[width] = Corundum(Config(width=width, connections=64))
        nics[width].reset()
        return nics[width]

    yield get
    for one in nics.values():
        one.engine.close()


@pytest.mark.parametrize("wait", [0.0, 0.3])
@pytest.mark.parametrize("name", ["tls12-aes256-small", "tls13-aes128-loss", "tls12-aes128-tx-loss"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_session_through_the_taps(nic, width, name, wait):
    nic = nic(width)
    settings = Settings("corundum", nic.config, backpressure=wait, idle=wait, seed=3)
    followed = follow(*session(name), None)
    adapter = nic.headers(rx=True, tx=TxHeaders.ALWAYS if wait else TxHeaders.MARKED)
    outcome = run(followed, settings, lambda: TapEngine(nic, Direction.RECEIVE))
    assert not outcome.mismatches and outcome.compared == outcome.packets > 10
    assert outcome.counters["rx_tls_decrypted_packets"] > 0
    sent = run_tx(followed, settings, make_engine=lambda: TapEngine(nic, Direction.TRANSMIT))
    assert not sent.mismatches and sent.compared == sent.packets > 10
    assert sent.counters["tx_tls_encrypted_packets"] > 0
    nic.finish()
    assert adapter.malformed == 0 and adapter.last_drop is None


def ordinary(rng, n):
    """A frame that is not for the device."""
    return rng.randbytes(12) + b"\x08\x06" + rng.randbytes(n)


@pytest.mark.parametrize("wait", [0.0, 0.4])
@pytest.mark.parametrize("mode", TxHeaders)
@pytest.mark.parametrize("width", WIDTHS)
def test_anything_in_both_directions(nic, width, mode, wait):
    """Frames without a connection, with good, bad and no headers; short ones mostly, so that many are inside."""
    nic = nic(width)
    rng = random.Random(f"{width} {mode} {wait}")
    adapter = nic.headers(rx=bool(mode), tx=mode)
    nic.waits = {"idle": wait, "backpressure": wait, "seed": 17}
    golden, malformed, last_drop = GoldenTxDevice(64, width), 0, None
    for _ in range(30):
        received = [ordinary(rng, rng.choice([0, 1, 2, width, rng.randrange(300)])) for _ in range(32)]
        to_send, expected = [], []
        for _ in range(32):
            kind = rng.choice([TxKind.PASS, *TxKind])
            request = TxRequest(kind, rng.getrandbits(24) if kind else 0)
            frame = mangled(rng, tx_header(request) + ordinary(rng, rng.choice([0, 1, 2, width, rng.randrange(300)])))
            frame = rng.randbytes(rng.randrange(1, 15)) if rng.random() < 0.2 else frame
            passed = without_tx_header(frame, mode)
            one = golden.transmit(*passed)[0] if passed else None
            malformed += passed is None
            if one and one.status > TxStatus.REPLAYED:
                last_drop = one.status, one.handle
            to_send.append(frame)
            expected.append(one.frame if one else None)
        host, wire = nic.exchange(received, to_send, [None if f is None else len(f) for f in expected])
        assert wire == expected
        if nic.rx_headers:
            deliveries = [take_rx_header(data) for data in host]
            assert {(d.descriptor.status, d.descriptor.checksum) for d in deliveries} == {
                (Status.BYPASS, Checksum.NONE)
            }
            host = [d.frame for d in deliveries]
        assert host == received
    nic.finish()
    assert adapter.malformed == malformed and adapter.last_drop == last_drop
    commands = BusCommands(nic, find_blocks(nic)[Direction.TRANSMIT])
    counters = {name: commands.command(Read(READ_COUNTERS + k)).value for k, name in enumerate(TX_COUNTERS)}
    assert counters == golden.counters
    assert malformed > 20


def test_registers_that_are_not_there(nic):
    nic = nic(16)
    for address in (3 * BLOCK_BYTES, 2 * BLOCK_BYTES + 0x40):
        with pytest.raises(BusError, match="DECERR"):
            nic.read32(address)
