"""The driver over registers: golden devices behind the plain-Python slave answer as they do when asked directly."""

import random

import pytest

from driver.bus import BusDevice, BusError, BusTxDevice, DeviceError, find_blocks
from driver.netdev import Direction as Side
from driver.netdev import NetDevice, Sock
from driver.probe import device_counters
from model.commands import Ack, Delete, Query, Read, Resync, Seed
from model.contract import READ_COUNTERS, Result, Status
from model.crypto_info import CryptoInfo
from model.device import GoldenDevice
from model.registers import BLOCK_BYTES, COMMAND, DOORBELL, POP, Direction
from model.tx_device import GoldenTxDevice
from sim.traffic import TLS12, TLS13, Stream
from tests.driver.model_bus import ModelBus


def both(delay=3, connections=8):
    devices = {
        Direction.RECEIVE: GoldenDevice(connections=connections),
        Direction.TRANSMIT: GoldenTxDevice(connections=connections),
    }
    return ModelBus(devices, delay), devices


def test_every_command_is_answered_as_by_the_device():
    bus, devices = both()
    there = BusDevice(bus, find_blocks(bus)[Direction.RECEIVE], devices[Direction.RECEIVE].receive)
    here = GoldenDevice(connections=8)
    rng = random.Random(1)
    handles = [0xABCDEF]
    results = set()
    for n in range(300):
        stream = Stream(
            rng.choice((TLS12, TLS13)),
            seed=rng.randrange(12),
            key_size=rng.choice((16, 32)),
            record_number=rng.getrandbits(64),
            ipv6=bool(rng.getrandbits(1)),
        )
        handle = rng.choice(handles)
        command = rng.choice(
            [
                stream.add(),
                stream.add(),
                Delete(handle),
                Query(handle),
                Ack(handle, rng.getrandbits(32)),
                Resync(handle, rng.getrandbits(32), rng.getrandbits(64)),
                Read(rng.choice((0, 1, 2, 3, 4, 5, 6, READ_COUNTERS, READ_COUNTERS + 1, 63, 64, 0xFFFF))),
                Seed(rng.getrandbits(360)),
            ]
        )
        response = there.command(command)
        assert response == here.command(command), f"{n}: {command}"
        results.add((type(command).__name__, response.result))
        if response.handle:
            handles.append(response.handle)
    assert {Result.OK, Result.EXISTS, Result.STALE_HANDLE, Result.NO_SPACE, Result.BAD_COMMAND} <= {
        r for _, r in results
    }
    assert {name for name, result in results if result is Result.OK} >= {"Add", "Delete", "Query", "Read"}


def test_the_driver_over_the_bus_as_over_the_device():
    bus, devices = both()
    blocks = find_blocks(bus)
    assert blocks == {Direction.RECEIVE: 0, Direction.TRANSMIT: BLOCK_BYTES}
    rx = BusDevice(bus, blocks[Direction.RECEIVE], devices[Direction.RECEIVE].receive)
    tx = BusTxDevice(bus, blocks[Direction.TRANSMIT], devices[Direction.TRANSMIT].transmit)
    netdev = NetDevice(rx, hash_key=5, transmitter=tx)
    stream = Stream(TLS13, seed=1, key_size=32, record_number=5)
    t = stream.tuple4
    sk = Sock((t.remote_address, t.remote_port), (t.local_address, t.local_port))
    info = CryptoInfo(stream.version, stream.key, stream.salt, stream.iv, stream.record_number.to_bytes(8, "big"))
    for side in (Side.RX, Side.TX):
        assert netdev.tls_dev_add(sk, side, info, stream.start_seq) == 0
    up = [netdev.receive(f) for f in stream.frames(stream.bulk([3000, 1, 0, 700]), mss=1000)]
    assert up and all(r.descriptor.status is Status.DECRYPTED for r in up)
    assert device_counters(rx)["decrypted"] == len(up)
    for side in (Side.RX, Side.TX):
        netdev.tls_dev_del(sk, side)
    assert netdev.devlink_resources()["tls_rx"]["occ"] == 0


def test_keys_are_written_and_never_read():
    bus, devices = both()
    device = BusDevice(bus, 0, devices[Direction.RECEIVE].receive)
    device.command(Stream(TLS13, seed=1).add())
    secret = {r.offset + 4 * k for r in COMMAND if r.secret for k in range(r.words) if r.member != "hash_key"}
    assert secret <= {address for kind, address in bus.log if kind == "w"}
    assert not secret & {address for kind, address in bus.log if kind == "r"}
    assert all(bus.read32(address) == 0 for address in secret)


def test_what_a_driver_before_left_is_cleared_away():
    bus, devices = both(delay=2)
    BusDevice(bus, 0, devices[Direction.RECEIVE].receive)
    bus.write32(DOORBELL.offset, 4)  # and then it was killed
    device = BusDevice(bus, 0, devices[Direction.RECEIVE].receive)
    assert device.command(Read(1000)).result is Result.OK


def test_a_device_that_does_not_answer():
    bus, devices = both(delay=100)
    device = BusDevice(bus, 0, devices[Direction.RECEIVE].receive, polls=50)
    with pytest.raises(DeviceError, match="no response after 50"):
        device.command(Query(0))


@pytest.mark.parametrize(
    ("place", "message"), [(0x0, "IDENTIFICATION"), (0x4, "VERSION"), (0x8, "CONTRACT"), (0xC, "4")]
)
def test_another_device_is_refused(place, message):
    bus, _ = both()
    plain = bus.read32
    bus.read32 = lambda address: 4 if address == place else plain(address)
    with pytest.raises(DeviceError, match=message):
        find_blocks(bus)


def test_refusals_of_the_slave_reach_the_caller():
    bus, _ = both()
    for address, answer in ((POP.offset, "SLVERR"), (0xFFC, "DECERR")):
        with pytest.raises(BusError, match=answer):
            bus.write32(address, 1)
