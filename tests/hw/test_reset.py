"""`rst` in the middle of traffic: what was installed before does not work any more, and no key is left."""

import random
import sys

import pytest
from amaranth.hdl import Module, ResetInserter, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from hw.config import Config
from hw.device import RxDevice
from hw.tx_device import TxDevice
from model.commands import Add, Command, Delete, Query, Read, Tuple4
from model.contract import READ_FREE, Result, Status, TxKind, TxStatus
from model.tx_device import GoldenTxDevice
from sim.engine import make_engine, make_tx_engine
from sim.engine.base import RxPass
from sim.engine.bench import Batch, Options, Want, from_words
from sim.engine.encode import encode_commands
from sim.engine.tx import TxPass
from sim.schedule import TxFrame
from sim.traffic import TLS12, TLS13, Stream
from tests.model.tx_rig import TxRig

CONFIG = Config(width=16, connections=8)


class Resettable(wiring.Component):
    """A device with its reset as a port."""

    device: type

    def __init__(self, config: Config):
        self._config = config
        super().__init__({**self.device.interface(config).members, "reset": In(1)})

    def elaborate(self, platform):
        m = Module()
        device = self.device(self._config)
        m.submodules.device = ResetInserter(self.reset)(device)
        for name in device.signature.members:
            wiring.connect(m, getattr(device, name), wiring.flipped(getattr(self, name)))
        return m


class Receiver(Resettable):
    device = RxDevice


class Transmitter(Resettable):
    device = TxDevice


def reset(engine, feeds, wants, *, cycles: int = 20_000, backpressure: float = 0.0) -> None:
    """Reset in the middle of what `feeds` has, when all of `wants` is there, or after so many cycles without output."""
    engine.bench.run(Batch(feeds, wants, Options(watchdog=cycles, backpressure=backpressure)))
    for value in (1, 0):
        engine.bench.run(Batch({}, {}, settings={"reset": value}))


@pytest.fixture(scope="module", params=["pysim", pytest.param("compiled", marks=pytest.mark.slow)])
def receiver(request):
    with make_engine(request.param, CONFIG, device=Receiver) as engine:
        yield engine


@pytest.fixture(scope="module", params=["pysim", pytest.param("compiled", marks=pytest.mark.slow)])
def transmitter(request):
    with make_tx_engine(request.param, CONFIG, device=Transmitter) as engine:
        yield engine


def test_receive(receiver):
    stream = Stream(TLS13, seed=1, key_size=32)
    wire = stream.record(bytes(300))
    begun, *rest = stream.frames(wire, mss=200)
    other = Stream(TLS12, seed=2)
    first = receiver.run([stream.add(), other.add(), begun])
    assert first.deliveries[0].descriptor.status is Status.DECRYPTED
    old = [response.handle for response in first.responses]
    # what is under way is lost; so is the second of two frames that is only half taken
    traffic = RxPass([*rest, begun, begun], CONFIG, ordered=False)
    reset(receiver, {"rx": traffic.feeds["rx"]}, {"host": Want(1, 99)}, cycles=60, backpressure=0.9)

    # the frame comes while memories are swept, the commands wait until they are
    batch = [*rest, Read(READ_FREE), *(Query(h) for h in old), *(Delete(h) for h in old), *rest]
    second = receiver.run(batch, ordered=False)
    for delivery in second.deliveries:
        assert (delivery.frame, delivery.descriptor.status) == (rest[0], Status.BYPASS)
        assert not delivery.descriptor.matched
    free, *answers = second.responses
    assert free.value == CONFIG.connections
    assert {response.result for response in answers} == {Result.STALE_HANDLE}

    streams = [
        stream,
        *(Stream(TLS13, seed=9, tuple4=Tuple4(bytes([10, 0, 0, n]), 7, b"\x0a\1\1\1", 443)) for n in range(7)),
    ]
    third = receiver.run([s.add() for s in streams])
    assert {response.result for response in third.responses} == {Result.OK}
    handles = [response.handle for response in third.responses]
    assert len(set(handles)) == CONFIG.connections and not set(handles) & set(old)
    got = receiver.run(stream.frames(wire, mss=200)).deliveries
    assert {d.descriptor.status for d in got} == {Status.DECRYPTED}


def test_transmit(transmitter):
    stream = Stream(TLS12, seed=3)
    for _ in range(4):
        stream.record(bytes(range(100)))
    others = [Stream(TLS13, seed=n).add() for n in range(3)]  # swept before the stream
    golden = GoldenTxDevice(connections=4)
    for add in others:
        golden.command(add)
    rig = TxRig(stream, golden)
    size = rig.starts[1]
    events = [TxFrame(rig.frame(size * k, size * k + size), rig.request(TxKind.STREAM)) for k in range(4)]
    first = transmitter.run([*others, stream.add(), events[0]])
    assert first.sent[0][0].status is TxStatus.ENCRYPTED
    old = rig.handle
    assert first.responses[-1].handle == old
    traffic = TxPass(events[1:], CONFIG, ordered=False)
    wants = {"completions": Want(1, 99), "wire": Want(0, 99)}
    reset(transmitter, {"tx": traffic.feeds["tx"]}, wants, cycles=150)

    # the first request meets a tracker that is not swept yet
    untaken = [TxFrame(event.frame, event.request) for event in events[2:]]
    replayed = TxFrame(rig.frame(0, size), rig.request(TxKind.RETRANSMIT, 0))
    second = transmitter.run([*untaken, replayed, Query(old), Delete(old), *untaken, replayed], ordered=False)
    assert {sent.status for pieces in second.sent for sent in pieces} == {TxStatus.DROPPED_HANDLE}
    assert {response.result for response in second.responses} == {Result.STALE_HANDLE}
    again = transmitter.run([*others, stream.add(), events[0]])
    assert {response.handle for response in again.responses} == {old + (1 << 16) - k for k in range(4)}
    assert again.sent[0][0].status is TxStatus.DROPPED_HANDLE


@pytest.mark.slow
def test_reset_upon_reset(receiver):
    """Also one in the middle of the sweep, or of ADD, leaves nothing, and no handle comes twice."""
    rng = random.Random(5)
    stream = Stream(TLS13, seed=4)
    add = {"commands": RxPass([stream.add()], CONFIG, ordered=False).feeds["commands"]}
    answer = {"responses": Want(1, 1)}
    seen: set[int] = set()
    reset(receiver, {}, {})
    for _ in range(3):
        (response,) = receiver.run([stream.add()]).responses
        assert response.result is Result.OK and response.handle not in seen
        seen.add(response.handle)
        reset(receiver, {}, {})
        reset(receiver, {}, answer, cycles=rng.randrange(200))
        reset(receiver, add, answer, cycles=rng.randrange(240, 290))
        assert {r.result for r in receiver.run([Query(h) for h in seen]).responses} == {Result.STALE_HANDLE}


@pytest.mark.parametrize("component", [Receiver, pytest.param(Transmitter, marks=pytest.mark.slow)])
def test_no_key_is_left(component, monkeypatch):
    """Row by row: keys, powers of H, what the trackers know, and that handles are allocated."""
    kept: list[tuple[str, memory.Memory]] = []
    make = memory.Memory.__init__

    def recorded(self, *args, **options):
        make(self, *args, **options)
        kept.append((sys._getframe(1).f_globals["__name__"], self))

    monkeypatch.setattr(memory.Memory, "__init__", recorded)
    dut = component(CONFIG)
    rng = random.Random(6)

    def filled(ctx, module: str) -> list[bool]:
        rows = [ram.data[k] for name, ram in kept if name == module for k in range(ram.depth)]
        assert rows
        if module == "hw.handles":
            rows = [row.allocated for row in rows if hasattr(row, "allocated")]
        return [ctx.get(Value.cast(row)) != 0 for row in rows]

    async def command(ctx, command: Command):
        (payload,) = from_words(encode_commands([command], CONFIG))
        ctx.set(Value.cast(dut.commands.payload), payload)
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.responses.ready, 1)
        await ctx.tick().until(dut.commands.ready)
        ctx.set(dut.commands.valid, 0)

    async def testbench(ctx):
        for n in range(CONFIG.connections):
            tuple4 = Tuple4(rng.randbytes(16), n + 1, rng.randbytes(16), 443)
            await command(ctx, Add(tuple4, 0x0304, rng.randbytes(32), rng.randbytes(4), rng.randbytes(8), 5, 6))
        tracker = "hw.loss_track" if component is Receiver else "hw.tx_track"
        for module in ("hw.keystream", "hw.powers", "hw.handles", tracker):
            assert sum(filled(ctx, module)) >= CONFIG.connections, module
        ctx.set(dut.reset, 1)
        await ctx.tick()
        ctx.set(dut.reset, 0)
        await command(ctx, Query(0))
        for module in ("hw.keystream", "hw.powers", "hw.handles", tracker):
            assert not any(filled(ctx, module)), module

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()
