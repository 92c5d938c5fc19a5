"""The GHASH room against plain Python: random fragments, connections, exponents, waits; rates; erasure."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.gf128 import to_polynomial
from hw.ghash import Ghash
from hw.placing import SLOTS
from hw.powers import Powers
from tests.hw.gcm_vectors import hash_beats
from tests.hw.testbench import run_streams

CONNECTIONS = 8
INDICES = (0, 5, 7)


class GatedGhash(wiring.Component):
    """The room; beats enter when `operations` subkey operations are done."""

    def __init__(self, config, operations):
        self._config = config
        self._operations = operations
        super().__init__({
            "i": In(stream.Signature(layouts.hash_beat(config))),
            "o": Out(stream.Signature(128)),
            "subkeys": In(stream.Signature(layouts.subkey_operation(config))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.room = self.room = room = Ghash(self._config)
        count = Signal(range(self._operations + 1))
        m.d.sync += count.eq(count + room.done)
        wiring.connect(m, room.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.subkeys), room.subkeys)
        open_ = count == self._operations
        m.d.comb += [
            room.i.p.eq(self.i.p),
            room.i.valid.eq(self.i.valid & open_),
            self.i.ready.eq(room.i.ready & open_),
        ]
        return m


def exponent_of(rng) -> int:
    return rng.choice([1, 1, 2, 1024, 2047, rng.randrange(1, 1 << layouts.EXPONENT_BITS)])


class Scenario:
    """Subkeys for three indices (one of them zero) and a list of (blocks, exponent) fragments."""

    def __init__(self, width: int, fragments, *, seed: int = 0):
        rng = random.Random(seed)
        config = Config(width=width, connections=CONNECTIONS)
        subkeys = {index: rng.getrandbits(128) if index != INDICES[-1] else 0 for index in INDICES}
        self.operations = [{"index": index, "subkey": value} for index, value in subkeys.items()]
        self.dut = GatedGhash(config, len(self.operations))
        self.beats, self.answers = [], []
        for blocks, exponent in fragments:
            index = rng.choice(INDICES)
            self.beats += hash_beats(blocks, exponent, index, config.lanes)
            self.answers.append(Ghash.model(subkeys[index], blocks, exponent))
        self.taken: list[int] = []
        self.given: list[int] = []

    async def _watch(self, ctx):
        dut, cycle = self.dut, 0
        while True:
            _, _, *v = await ctx.tick().sample(dut.i.valid, dut.i.ready, dut.o.valid, dut.o.ready)
            if v[0] and v[1]:
                self.taken.append(cycle)
            if v[2] and v[3]:
                self.given.append(cycle)
            cycle += 1

    def run(self, **options):
        (got,) = run_streams(
            self.dut, [(self.dut.subkeys, self.operations), (self.dut.i, self.beats)],
            [(self.dut.o, len(self.answers))], processes=[self._watch], extra_cycles=20, **options,
        )  # fmt: skip
        assert got == self.answers


def blocks_of(rng, count):
    return [rng.getrandbits(128) for _ in range(count)]


@pytest.mark.parametrize("width", [16, 32, 64])
def test_random_fragments(width):
    rng = random.Random(width)
    lanes = width // 16
    lengths = [rng.choice([1, 2, 3, rng.randrange(1, 40 * lanes)]) for _ in range(40)]
    scenario = Scenario(width, [(blocks_of(rng, n), exponent_of(rng)) for n in lengths], seed=width)
    scenario.run(idle=0.2, backpressure=0.3, seed=width)


@pytest.mark.parametrize("width", [16, 32, 64])
def test_every_length_back_to_back(width):
    """Up to 11 beats (every use of the partial sums), then down again."""
    rng = random.Random(width)
    lengths = [*range(1, 11 * width // 16 + 1)]
    scenario = Scenario(width, [(blocks_of(rng, n), 1) for n in lengths + lengths[::-1]])
    scenario.run()


def test_every_power_of_two_and_their_sums():
    rng = random.Random(1)
    exponents = [1 << k for k in range(11)] + [(2 << k) - 1 for k in range(11)]
    Scenario(16, [(blocks_of(rng, 2), exponent) for exponent in exponents]).run()


@pytest.mark.parametrize("width", [16, 64])
def test_latency_and_no_bubble(width):
    rng = random.Random(2)
    scenario = Scenario(width, [(blocks_of(rng, 12 * width // 16), 1) for _ in range(10)])
    scenario.run()
    assert scenario.taken == list(range(scenario.taken[0], scenario.taken[0] + 120))
    delay = scenario.dut.room.delay
    assert scenario.given == [cycle + delay for cycle in scenario.taken[11::12]]


def rate(count, beats, exponents):
    """Cycles a fragment, from the first beat taken to the last one, at W = 16."""
    rng = random.Random(3)
    scenario = Scenario(16, [(blocks_of(rng, beats), rng.choice(exponents)) for _ in range(count)])
    scenario.run()
    return (scenario.taken[-1] - scenario.taken[0] + 1) / count


def test_rate_of_fragments_at_random_places():
    assert rate(80, 8, range(1, 1 << layouts.EXPONENT_BITS)) < 8.2


def test_rate_of_whole_records():
    """The last block has the exponent 1: one multiplication places it."""
    assert rate(150, 1, [1]) < 1.5


def test_stalled_output_loses_nothing():
    rng = random.Random(4)
    scenario = Scenario(16, [(blocks_of(rng, 2), exponent_of(rng)) for _ in range(24)])
    scenario.run(backpressure=0.97, cycles=50_000)
    assert max(b - a for a, b in zip(scenario.taken, scenario.taken[1:], strict=False)) > SLOTS


def test_powers():
    """Every memory of every index after two rounds of keys, the last index erased; and how long one takes."""
    config = Config(width=64, connections=CONNECTIONS)
    dut = Powers(config)
    rng = random.Random(5)
    subkeys = [rng.getrandbits(128) for _ in range(2 * CONNECTIONS - 1)] + [0]

    async def check(ctx):
        cycles = 0
        for _ in subkeys:
            _, _, ready = await ctx.tick().sample(dut.subkeys.ready)
            assert ready
            start = cycles = cycles + 1
            while not ctx.get(dut.done):
                await ctx.tick()
                cycles += 1
            assert cycles - start < Powers.latency < 50
        for index, subkey in enumerate(subkeys[CONNECTIONS:]):
            lanes, loops, squares = Powers.model(to_polynomial(subkey), config.lanes)
            for port in dut.lane_index, dut.loop_index, dut.square_index:
                ctx.set(port, index)
            for number, square in enumerate(squares):
                left = number % layouts.GHASH_STRIDE + 1
                ctx.set(dut.square_number, number)
                ctx.set(dut.loop_left, left)
                await ctx.tick()
                assert ctx.get(dut.square) == square
                assert ctx.get(dut.loop) == loops[left - 1]
                assert [ctx.get(value) for value in dut.lanes] == lanes
        checked.append(True)

    checked = []
    operations = [{"index": k % CONNECTIONS, "subkey": value} for k, value in enumerate(subkeys)]
    run_streams(dut, [(dut.subkeys, operations)], [], processes=[check], extra_cycles=1000)
    assert checked
