"""The AXI4-Lite slave and its registers against model.register_block, with random waits on every channel."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator

from hw import layouts
from hw.axi.lite import AxiLite, AxiLitePort
from hw.axi.registers import Registers, check_table
from hw.config import PRESETS
from model.contract import Opcode, Result
from model.register_block import RegisterBlock
from model.registers import (
    ANSWER,
    BLOCK_BYTES,
    COMMAND,
    DOORBELL,
    IDENTITY,
    POP,
    READ_WINDOW,
    READ_WINDOW_WORDS,
    STATUS,
    Access,
    Answer,
    Direction,
)
from tests.hw.axi import AxiLiteMaster, CommandedDevice

CONFIG = PRESETS["tiny"]
DIRECTIONS = (Direction.RECEIVE, Direction.TRANSMIT)


def members(layout, prefix=""):
    for name, field in layout:
        if isinstance(field.shape, int):
            yield prefix + name, field.width
        else:
            yield from members(field.shape, f"{prefix}{name}.")


WIDTHS = dict(members(layouts.command(CONFIG)))
RESPONSE = dict(members(layouts.response()))


class Slave(wiring.Component):
    """Two blocks behind one AXI4-Lite port."""

    def __init__(self):
        streams = {}
        for d in DIRECTIONS:
            streams[f"commands_{d}"] = Out(stream.Signature(layouts.command(CONFIG)))
            streams[f"responses_{d}"] = In(stream.Signature(layouts.response()))
        super().__init__({"axi": Out(AxiLitePort(13)), **streams})

    def elaborate(self, platform):
        m = Module()
        m.submodules.lite = lite = AxiLite(2)
        connect(m, lite.axi, flipped(self.axi))
        for k, d in enumerate(DIRECTIONS):
            m.submodules[f"registers_{d}"] = r = Registers(CONFIG, d, distance=(1 - k) * BLOCK_BYTES)
            connect(m, getattr(lite, f"block_{k}"), r.bus)
            connect(m, r.commands, flipped(getattr(self, f"commands_{d}")))
            connect(m, flipped(getattr(self, f"responses_{d}")), r.responses)
        return m


def read_value(direction, address):
    """The word of the READ space the test's device has; one of them fails."""
    if address == 7:
        return Result.BAD_COMMAND, 0
    return Result.OK, (direction << 60) | (address + 1) * 0x0123_4567_89AB


class Rig:
    """The slave with a master, a device and a model for each direction; everything the master does is compared."""

    def __init__(self, seed, wait=0.5):
        self.slave = Slave()
        self.rng = random.Random(seed)
        self.master = AxiLiteMaster(self.slave.axi, seed, wait)
        self.devices, self.models = {}, {}
        for k, d in enumerate(DIRECTIONS):
            self.devices[d] = CommandedDevice(
                getattr(self.slave, f"commands_{d}"),
                getattr(self.slave, f"responses_{d}"),
                layouts.command(CONFIG),
                lambda address, d=d: self.payload(zip(("result", "value"), read_value(d, address), strict=True)),
                f"{seed} {d}",
            )
            self.models[d] = RegisterBlock(
                d, WIDTHS, lambda address, d=d: read_value(d, address), distance=(1 - k) * BLOCK_BYTES
            )

    @staticmethod
    def payload(fields):
        value = 0
        for name, number in fields:
            layout, offset = layouts.response(), 0
            for part in name.split("."):
                field = layout[part]
                offset, layout = offset + field.offset, field.shape
            value |= int(number) << offset
        return value

    def run(self, scenario):
        sim = Simulator(self.slave)
        sim.add_clock(1e-8)
        for device in self.devices.values():
            sim.add_testbench(device.run, background=True)
        sim.add_testbench(scenario)
        sim.run()

    async def write(self, ctx, d, offset, data, strobe=0xF):
        got = await self.master.write(ctx, DIRECTIONS.index(d) * BLOCK_BYTES + offset, data, strobe)
        assert got == self.models[d].write(offset, data, strobe), f"write of {offset:#x}, strobe {strobe:#x}"
        return got

    async def read(self, ctx, d, offset):
        got = await self.master.read(ctx, DIRECTIONS.index(d) * BLOCK_BYTES + offset)
        assert got == self.models[d].read(offset), f"read of {offset:#x}"
        return got

    async def answer(self, ctx, d):
        """The device answers the command it has, with anything."""
        fields = {name: self.rng.getrandbits(width) for name, width in RESPONSE.items()}
        opcode, window = self.models[d].pending
        device = self.devices[d]
        before = len(device.seen)
        device.answers.append(self.payload(fields.items()))
        for _ in range(200):
            await ctx.tick()
            if len(device.seen) > before:
                break
        assert len(device.seen) == before + 1, "the device has got no command"
        layout = layouts.command(CONFIG)
        got = {name: device.seen[-1] >> layout[name].offset & ((1 << width) - 1) for name, width in WIDTHS.items()}
        assert got == {"opcode": opcode, **window}
        self.models[d].answer(fields)


PLACES = [r.offset + 4 * k for r in (*IDENTITY, STATUS, DOORBELL, POP, *COMMAND, *ANSWER) for k in range(r.words)]
SECRETS = [r.offset + 4 * k for r in COMMAND if r.secret for k in range(r.words)]


@pytest.mark.parametrize(
    ("seed", "count"), [(0, 250), *(pytest.param(s, 1500, marks=pytest.mark.slow) for s in (1, 2))]
)
def test_registers_are_the_models(seed, count):
    rig = Rig(seed)
    rng = random.Random(f"operations {seed}")

    async def scenario(ctx):
        done = set()
        for _ in range(count):
            d = rng.choice(DIRECTIONS)
            kind = rng.choice(("window", "read", "doorbell", "answer", "pop", "READ", "anywhere", "response"))
            window = rng.choice([r for r in COMMAND for _ in range(r.words)])
            place = window.offset + 4 * rng.randrange(window.words)
            match kind:
                case "window":
                    await rig.write(ctx, d, place, rng.getrandbits(32), rng.choice((0xF, rng.getrandbits(4))))
                case "read":
                    await rig.read(ctx, d, rng.choice(PLACES) + rng.randrange(4))
                case "response":
                    await rig.read(ctx, d, rng.choice([r.offset for r in ANSWER]))
                case "READ":
                    word = READ_WINDOW + 8 * rng.randrange(READ_WINDOW_WORDS)
                    await rig.read(ctx, d, word)
                    await rig.read(ctx, d, word + 4)
                case "doorbell":
                    opcode = rng.choice([code for code in range(256) if code != Opcode.READ])
                    await rig.write(ctx, d, DOORBELL.offset, opcode, rng.choice((0xF, 0xF, rng.getrandbits(4))))
                case "pop":
                    await rig.write(ctx, d, POP.offset, rng.getrandbits(32), rng.choice((0xF, rng.getrandbits(4))))
                case "answer" if rig.models[d].pending:
                    await rig.answer(ctx, d)
                case "anywhere":
                    await rig.write(ctx, d, rng.randrange(BLOCK_BYTES), rng.getrandbits(32))
                    await rig.read(ctx, d, rng.randrange(BLOCK_BYTES))
                case _:
                    continue
            done.add(kind)
        assert len(done) == 8 and all(device.seen for device in rig.devices.values())

    rig.run(scenario)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_words_of_a_block(every):
    """What no register stands at answers DECERR, what is read only SLVERR, and nothing hangs."""
    edges = {place + k for place in (*PLACES, READ_WINDOW, READ_WINDOW + 8 * READ_WINDOW_WORDS - 4) for k in (-4, 0, 4)}
    places = set(range(0, BLOCK_BYTES, 4)) if every else {*edges, READ_WINDOW + 56, BLOCK_BYTES - 4} - {-4}
    rig = Rig(0, wait=0)
    answers = {}

    async def scenario(ctx):
        for offset in sorted(places):
            _, read = await rig.read(ctx, Direction.TRANSMIT, offset)
            write = await rig.write(ctx, Direction.TRANSMIT, offset, 0, 0)
            answers[offset] = (read, write)

    rig.run(scenario)
    nowhere = {offset for offset, pair in answers.items() if pair == (Answer.DECERR, Answer.DECERR)}
    window = places & set(range(READ_WINDOW, READ_WINDOW + 8 * READ_WINDOW_WORDS, 4))
    assert nowhere == set(answers) - set(PLACES) - window
    failing = READ_WINDOW + 8 * 7
    assert all(answers[o] == (Answer.SLVERR if o == failing else Answer.OKAY, Answer.SLVERR) for o in window)


def test_keys_cannot_be_read_and_do_not_stay():
    rig = Rig(3)
    d = Direction.RECEIVE

    async def scenario(ctx):
        for step in range(4):
            for place in SECRETS if step == 0 else ():
                assert await rig.write(ctx, d, place, 0xFFFF_FFFF) is Answer.OKAY
            if step == 1:
                await rig.write(ctx, d, DOORBELL.offset, Opcode.ADD)
            if step == 2:
                await rig.answer(ctx, d)
            if step == 3:  # a second command shows what the window has kept
                await rig.write(ctx, d, POP.offset, 1)
                await rig.write(ctx, d, DOORBELL.offset, Opcode.ADD)
                await rig.answer(ctx, d)
            # every register, not only those of the keys: nothing shows a bit of them
            for base in (d, Direction.TRANSMIT):
                for offset in PLACES if base == d and step % 2 == 0 else SECRETS:
                    data, _ = await rig.read(ctx, base, offset)
                    assert data != 0xFFFF_FFFF, f"{offset:#x} in step {step}"
        layout = layouts.command(CONFIG)
        first, second = rig.devices[d].seen
        for register in (r for r in COMMAND if r.secret):
            field = layout[register.member]
            ones = (1 << field.width) - 1
            assert first >> field.offset & ones == ones and second >> field.offset & ones == 0, register.name

    rig.run(scenario)


def test_a_read_of_the_device_and_a_write_at_once():
    """READ of a counter and the doorbell in any order of cycles: the command is given once, nothing hangs."""
    d = Direction.RECEIVE
    for gap in range(-2, 4):
        rig = Rig(gap, wait=0)
        results = {}

        async def reader(ctx, rig=rig, gap=gap, results=results):
            await ctx.tick().repeat(8 + gap)
            results["read"] = await rig.master.read(ctx, READ_WINDOW + 8 * 17)

        async def writer(ctx, rig=rig, results=results):
            await ctx.tick().repeat(8)
            results["write"] = await AxiLiteMaster(rig.slave.axi, 0, 0).write(ctx, DOORBELL.offset, Opcode.QUERY)
            rig.devices[d].answers.append(rig.payload([("value", 5)]))
            for _ in range(60):
                await ctx.tick()
            results["status"] = await AxiLiteMaster(rig.slave.axi, 0, 0).read(ctx, STATUS.offset)

        sim = Simulator(rig.slave)
        sim.add_clock(1e-8)
        sim.add_testbench(rig.devices[d].run, background=True)
        sim.add_testbench(reader)
        sim.add_testbench(writer)
        sim.run()
        assert results["write"] is Answer.OKAY and len(rig.devices[d].seen) == 1, gap
        assert results["status"] == (2, Answer.OKAY), gap
        word = read_value(d, 17)[1] & 0xFFFF_FFFF
        assert results["read"] in ((word, Answer.OKAY), (0, Answer.SLVERR)), gap
        assert len(rig.devices[d].reads) == (results["read"][1] is Answer.OKAY), gap


@pytest.mark.parametrize("wait", [0, 0.5])
def test_transfers_back_to_back(wait):
    """A master that does not wait for answers: channels run by themselves, answers come in order, none is lost."""
    rig = Rig(1)
    axi = rig.slave.axi
    rng = random.Random(f"back to back {wait}")
    model = rig.models[Direction.RECEIVE]
    places = [r.offset for r in COMMAND if r.access is Access.BOTH] + [0x00C, 0x080]
    writes = [(rng.choice(places), rng.getrandbits(32), rng.choice((15, rng.getrandbits(4)))) for _ in range(60)]
    written = [(model.write(*write),) for write in writes]
    reads = [rng.choice(places) for _ in range(60)]
    expected = [model.read(place) for place in reads]
    got = {"b": [], "r": []}

    def source(channel, items):
        async def run(ctx):
            if channel == "ar":  # the values read are those behind all writes
                while len(got["b"]) < len(writes):
                    await ctx.tick()
            for item in items:
                while rng.random() < wait:
                    await ctx.tick()
                for name, value in item.items():
                    ctx.set(getattr(axi, name), value)
                ctx.set(getattr(axi, f"{channel}valid"), 1)
                await ctx.tick().until(getattr(axi, f"{channel}ready"))
                ctx.set(getattr(axi, f"{channel}valid"), 0)

        return run

    def sink(channel, *names):
        async def run(ctx):
            while True:
                ready = rng.random() >= wait
                ctx.set(getattr(axi, f"{channel}ready"), ready)
                _, _, valid, *values = await ctx.tick().sample(
                    getattr(axi, f"{channel}valid"), *(getattr(axi, n) for n in names)
                )
                if valid and ready:
                    got[channel].append(tuple(values))

        return run

    async def scenario(ctx):
        for _ in range(2000):
            await ctx.tick()
            if len(got["r"]) >= len(reads):
                break
        await ctx.tick().repeat(20)  # for an answer too many
        assert got["b"] == written
        assert got["r"] == expected

    sim = Simulator(rig.slave)
    sim.add_clock(1e-8)
    for channel, items in (
        ("aw", [{"awaddr": address} for address, _, _ in writes]),
        ("w", [{"wdata": data, "wstrb": strobe} for _, data, strobe in writes]),
        ("ar", [{"araddr": address} for address in reads]),
    ):
        sim.add_testbench(source(channel, items), background=True)
    sim.add_testbench(sink("b", "bresp"), background=True)
    sim.add_testbench(sink("r", "rdata", "rresp"), background=True)
    sim.add_testbench(scenario)
    sim.run()


def test_a_field_without_a_register_is_refused():
    with pytest.raises(ValueError, match="do not agree on: opcode"):
        check_table(COMMAND, layouts.command(CONFIG))
    with pytest.raises(ValueError, match="do not agree on: result"):
        check_table(ANSWER[1:], layouts.response())
