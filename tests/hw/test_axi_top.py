"""The tops with stand-ins for the devices: what is on which port."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped
from amaranth.sim import Simulator

import hw.axi.top
from hw import layouts, tx_layouts
from hw.axi.top import Top
from hw.config import PRESETS
from hw.stream import Queue
from hw.tx_device import TxDevice
from model.contract import Opcode
from model.registers import BLOCK_BYTES, DOORBELL, READ_WINDOW, STATUS, Answer
from tests.hw.axi import AxiLiteMaster
from tests.sim.standin import StandIn

CONFIG = PRESETS["tiny"]


class TxStandIn(wiring.Component):
    """Ports of TxDevice: frames go through a queue, completions have the kind and handle of the request."""

    def __init__(self, config):
        self.config = config
        super().__init__(TxDevice.interface(config))

    def elaborate(self, platform):
        m = Module()
        m.submodules.commands = commands = StandIn(self.config)
        connect(m, flipped(self.commands), commands.commands)
        connect(m, commands.responses, flipped(self.responses))
        m.submodules.beats = beats = Queue(layouts.beat(self.config), depth=4)
        m.submodules.done = done = Queue(tx_layouts.tx_completion(), depth=32)
        connect(m, beats.o, flipped(self.wire))
        connect(m, done.o, flipped(self.completions))
        m.d.comb += [
            beats.i.valid.eq(self.tx.valid),
            self.tx.ready.eq(beats.i.ready),
            *(beats.i.p[name].eq(self.tx.p[name]) for name in ("data", "keep", "last")),
            done.i.valid.eq(self.tx.valid & self.tx.ready & self.tx.p.last),
            done.i.p.status.eq(self.tx.p.request.kind),
            done.i.p.handle.eq(self.tx.p.request.handle),
        ]
        return m


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(hw.axi.top, "RxDevice", StandIn)
    monkeypatch.setattr(hw.axi.top, "TxDevice", TxStandIn)


def beats_of(frame, width):
    for at in range(0, len(frame), width):
        part = frame[at : at + width]
        yield int.from_bytes(part, "little"), (1 << len(part)) - 1, at + width >= len(frame)


def send(axi, frames, rng):
    """A source of (frame, tuser or None)."""

    async def run(ctx):
        for frame, user in frames:
            for value, keep, last in beats_of(frame, len(axi.tkeep)):
                while rng.random() < 0.4:
                    await ctx.tick()
                for name, number in (("tdata", value), ("tkeep", keep), ("tlast", last), ("tvalid", 1)):
                    ctx.set(getattr(axi, name), number)
                if user is not None:
                    ctx.set(axi.tuser, user)
                await ctx.tick().until(axi.tready)
                ctx.set(axi.tvalid, 0)

    return run


def collect(axi, names, into, rng):
    async def run(ctx):
        while True:
            ready = rng.random() >= 0.4
            ctx.set(axi.tready, ready)
            _, _, valid, *got = await ctx.tick().sample(axi.tvalid, *(getattr(axi, n) for n in names))
            if valid and ready:
                into.append(tuple(got))

    return run


def test_both_directions_and_their_blocks():
    rng = random.Random(1)
    frames = [rng.randbytes(rng.randrange(1, 60)) for _ in range(25)]
    requests = [rng.getrandbits(tx_layouts.tx_request().size) for _ in frames]
    top = Top(CONFIG, "duplex")
    received, sent, completed = [], [], []
    master = AxiLiteMaster(top.s_axil, 1)

    async def scenario(ctx):
        for base, direction, distance in ((0, 1, BLOCK_BYTES), (BLOCK_BYTES, 2, 0)):
            assert await master.read(ctx, base + 0x00C) == (direction, Answer.OKAY)
            assert await master.read(ctx, base + 0x010) == (distance, Answer.OKAY)
            assert await master.read(ctx, base + READ_WINDOW + 8 * 7) == (21, Answer.OKAY)  # three times the address
            assert await master.write(ctx, base + DOORBELL.offset, Opcode.QUERY) is Answer.OKAY
            await ctx.tick().repeat(20)
            assert await master.read(ctx, base + STATUS.offset) == (2, Answer.OKAY)
        for _ in range(1500):
            await ctx.tick()
            if len(completed) == len(frames) and sum(last for *_, last in received) == len(frames):
                break

    sim = Simulator(top)
    sim.add_clock(1e-8)
    for process in (
        send(top.s_axis_rx, [(frame, None) for frame in frames], rng),
        send(top.s_axis_tx, list(zip(frames, requests, strict=True)), rng),
        collect(top.m_axis_rx, ("tuser", "tdata", "tkeep", "tlast"), received, rng),
        collect(top.m_axis_tx, ("tdata", "tkeep", "tlast"), sent, rng),
        collect(top.m_axis_txcpl, ("tdata",), completed, rng),
    ):
        sim.add_testbench(process, background=True)
    sim.add_testbench(scenario)
    sim.run()

    width = CONFIG.width
    beats = [beat for frame in frames for beat in beats_of(frame, width)]
    assert sent == beats
    assert [got[1:] for got in received] == beats
    descriptor = layouts.descriptor()
    users = [
        2 << descriptor["checksum"].offset | (k & 1) << descriptor["matched"].offset | k << descriptor["handle"].offset
        for k, frame in enumerate(frames)
        for _ in beats_of(frame, width)
    ]
    assert [got[0] for got in received] == users
    kind, handle = tx_layouts.tx_request()["kind"], tx_layouts.tx_request()["handle"]
    assert completed == [((r >> kind.offset & 7) | (r >> handle.offset & 0xFFFFFF) << 4,) for r in requests]


@pytest.mark.parametrize("top", ["rx", "tx"])
def test_a_direction_alone_has_its_own_ports(top):
    component = Top(CONFIG, top)
    component._MustUse__used = True
    other = "tx" if top == "rx" else "rx"
    names = set(component.signature.members)
    assert {f"s_axis_{top}", f"m_axis_{top}", "s_axil"} <= names and not {n for n in names if f"_{other}" in n}
