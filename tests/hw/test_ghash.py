"""The GHASH room against plain Python: random fragments, connections, exponents, waits; rates; erasure."""

import random

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.gf128 import Multiplier, multiply, to_polynomial
from hw.ghash import Ghash
from hw.placing import SLOTS, Placing
from hw.placing_late import LatePlacing, placing_of
from hw.placing_pair import PlacingPair
from hw.powers import CHAINS, DIGIT_BITS, DIGITS, ROW_BITS, ROWS, STEPS, Powers
from tests.hw.gcm_vectors import hash_beats
from tests.hw.testbench import run_streams

CONNECTIONS = 8
INDICES = (0, 5, 7)


class GatedGhash(wiring.Component):
    """The room; beats enter when the first `operations` subkey operations are done."""

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
        self.count = count = Signal(8)
        m.d.sync += count.eq(count + room.done)
        wiring.connect(m, room.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.subkeys), room.subkeys)
        open_ = count >= self._operations
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

    def __init__(self, width: int, fragments, *, seed: int = 0, sbox: str = "rom"):
        rng = random.Random(seed)
        config = Config(width=width, connections=CONNECTIONS, sbox=sbox)
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


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 32, 64])
def test_random_fragments(width, sbox):
    rng = random.Random(width)
    lanes = width // 16
    lengths = [rng.choice([1, 2, 3, rng.randrange(1, 40 * lanes)]) for _ in range(40)]
    scenario = Scenario(width, [(blocks_of(rng, n), exponent_of(rng)) for n in lengths], seed=width, sbox=sbox)
    scenario.run(idle=0.2, backpressure=0.3, seed=width)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 32, 64])
def test_every_length_back_to_back(width, sbox):
    """Up to 11 beats (every use of the partial sums), then down again."""
    rng = random.Random(width)
    lengths = [*range(1, 11 * width // 16 + 1)]
    scenario = Scenario(width, [(blocks_of(rng, n), 1) for n in lengths + lengths[::-1]], sbox=sbox)
    scenario.run()


def test_every_power_of_two_and_their_sums():
    rng = random.Random(1)
    exponents = [1 << k for k in range(11)] + [(2 << k) - 1 for k in range(11)]
    Scenario(16, [(blocks_of(rng, 2), exponent) for exponent in exponents]).run()


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 64])
def test_latency_and_no_bubble(width, sbox):
    rng = random.Random(2)
    scenario = Scenario(width, [(blocks_of(rng, 12 * width // 16), 1) for _ in range(10)], sbox=sbox)
    scenario.run()
    assert scenario.taken == list(range(scenario.taken[0], scenario.taken[0] + 120))
    delay = scenario.dut.room.delay
    late = {given - taken - delay for given, taken in zip(scenario.given, scenario.taken[11::12], strict=True)}
    assert min(late) >= 0 and max(late) <= (3 if sbox == "bram" else 0)


def rate(count, beats, exponents, width=16):
    """Cycles a fragment, from the first beat taken to the last one."""
    rng = random.Random(3)
    scenario = Scenario(width, [(blocks_of(rng, beats * width // 16), rng.choice(exponents)) for _ in range(count)])
    scenario.run()
    return (scenario.taken[-1] - scenario.taken[0] + 1) / count


def test_rate_of_fragments_at_random_places():
    assert rate(80, 6, range(1, 1 << layouts.EXPONENT_BITS)) < 6.2


def test_rate_of_the_longest_powers():
    """Every digit costs a product: DIGITS - 1 for the power, one for the hash."""
    assert rate(80, DIGITS + 1, [2047]) < DIGITS + 1.2


def test_rate_of_short_fragments_on_two_multipliers():
    """W = 64: segments of 64 bytes are fragments of two beats, one every three cycles, anywhere in a record."""
    assert rate(120, 2, range(1, 1026), width=64) < 2.7
    assert rate(120, 3, range(768, 1025), width=64) < 3.1


def test_rate_of_whole_records():
    """The last block has the exponent 1: one multiplication places it."""
    assert rate(150, 1, [1]) < 1.5


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 64])
def test_stalled_output_loses_nothing(width, sbox):
    rng = random.Random(4)
    scenario = Scenario(
        width, [(blocks_of(rng, width // 8), exponent_of(rng)) for _ in range(24 * width // 16)], sbox=sbox
    )
    scenario.run(backpressure=0.97, cycles=50_000)
    assert max(b - a for a, b in zip(scenario.taken, scenario.taken[1:], strict=False)) > SLOTS


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 64])
def test_install_under_load(width, sbox):
    """Keys for one index while fragments of others fill the multiplier; then fragments under the last key."""
    rng = random.Random(6)
    busy, fresh = INDICES[:2], INDICES[2]
    keys = {index: rng.getrandbits(128) for index in INDICES}
    operations = [(index, keys[index]) for index in busy]
    operations += [(fresh, rng.getrandbits(128)) for _ in range(5)] + [(fresh, keys[fresh])]
    config = Config(width=width, connections=CONNECTIONS, sbox=sbox)
    dut = GatedGhash(config, len(busy))
    count = 80 * config.placings
    fragments = [(rng.choice(busy), rng.choice([1, 2047, 2047, exponent_of(rng)])) for _ in range(count)]
    fragments += [(fresh, exponent_of(rng)) for _ in range(12)]
    beats, answers = [], []
    for index, exponent in fragments:
        blocks = blocks_of(rng, 1)
        beats += hash_beats(blocks, exponent, index, config.lanes)
        answers.append(Ghash.model(keys[index], blocks, exponent))
    started, ended = [], []

    async def watch(ctx):
        cycle = 0
        while True:
            signals = dut.subkeys.valid & dut.subkeys.ready, dut.room.done, dut.i.valid & dut.i.ready, dut.i.p.index
            _, _, start, done, taken, index = await ctx.tick().sample(*signals)
            if done:
                ended.append(cycle)
            if start:
                started.append(cycle)
            assert not (taken and index == fresh) or len(ended) == len(operations), "traffic too short for the test"
            cycle += 1

    subkeys = [{"index": index, "subkey": key} for index, key in operations]
    streams = [(dut.subkeys, subkeys), (dut.i, beats)]
    (got,) = run_streams(dut, streams, [(dut.o, len(answers))], processes=[watch])
    assert got == answers
    took = [b - a for a, b in zip(started, ended, strict=True)]
    assert max(took) <= dut.room.install_latency
    assert max(took) > max(took[: len(busy)]), "nothing had to wait: no test"


class PlacingAlone(wiring.Component):
    """Placing, or a pair, with the powers of two H; a hash waits until its fragment has been announced."""

    def __init__(self, hs, kind, sbox="rom"):
        self.config = Config(connections=8, sbox=sbox)
        self.hs = hs
        self.placing = kind(self.config)
        names = ("begin", "hashes", "o", "factors")
        super().__init__({name: self.placing.signature.members[name] for name in names})

    def elaborate(self, platform):
        m = Module()
        m.submodules.placing = placing = self.placing
        for name in "begin", "factors":
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(placing, name))
        wiring.connect(m, placing.o, wiring.flipped(self.o))
        awaited = Signal(8)
        m.d.sync += awaited.eq(
            awaited + (self.begin.valid & self.begin.ready) - (self.hashes.valid & self.hashes.ready)
        )
        m.d.comb += [
            placing.hashes.p.eq(self.hashes.p),
            placing.hashes.valid.eq(self.hashes.valid & (awaited != 0)),
            self.hashes.ready.eq(placing.hashes.ready & (awaited != 0)),
        ]
        rows = [0] * (len(self.hs) << ROW_BITS)
        for k, h in enumerate(self.hs):
            for row, value in Powers.model(h, 1)[2].items():
                rows[k << ROW_BITS | row] = value
        m.submodules.rows = memory = Memory(shape=128, depth=len(rows), init=rows)
        read = memory.read_port()
        m.d.comb += [read.addr.eq(Cat(placing.digit_row, placing.digit_index)), placing.digit.eq(read.data)]
        if isinstance(placing, PlacingPair):
            read = memory.read_port()
            m.d.comb += [read.addr.eq(Cat(placing.second_row, placing.second_index)), placing.second.eq(read.data)]
        return m


KINDS = pytest.mark.parametrize(
    "kind, sbox", [(Placing, "rom"), (PlacingPair, "rom"), (PlacingPair, "bram"), (LatePlacing, "bram")]
)


@pytest.mark.default_cases(2)
@KINDS
@pytest.mark.parametrize("waits", [{}, {"idle": 0.3, "backpressure": 0.4, "seed": 5}], ids=["full rate", "waits"])
def test_every_exponent(kind, sbox, waits):
    """All that records have, of two keys in turn, each in order and right; and what the digits can still say."""
    rng = random.Random(7)
    hs = [rng.getrandbits(128) for _ in range(2)]
    begin, hashes, answers = [], [], []
    powers = list(hs)
    for exponent in range(1, 1101):
        index, value = exponent % 2, rng.getrandbits(128)
        begin.append({"index": index, "exponent": exponent})
        hashes.append(value)
        answers.append(multiply(value, powers[index]))
        powers = [multiply(p, h) for p, h in zip(powers, hs, strict=True)]
    for exponent in 1536, 2047:
        begin.append({"index": 0, "exponent": exponent})
        hashes.append(1 << 127)
        answers.append(Placing.model(hs[0], exponent, 1 << 127))
    dut = PlacingAlone(hs, kind, sbox)
    (got,) = run_streams(dut, [(dut.begin, begin), (dut.hashes, hashes)], [(dut.o, len(answers))], **waits)
    assert got == answers


@KINDS
def test_how_long_a_power_takes(kind, sbox):
    """One at a time, of every number of digits, low and high ones."""
    dut = PlacingAlone([3 << 100], kind, sbox)
    exponents = [sum(1 << k * DIGIT_BITS for k in range(n)) for n in range(1, DIGITS + 1)]
    exponents += [1 << (DIGITS - 1) * DIGIT_BITS | 1, 2047]
    waits = []

    async def check(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.hashes.valid, 1)
        for exponent in exponents:
            ctx.set(dut.begin.p, {"index": 0, "exponent": exponent})
            ctx.set(dut.begin.valid, 1)
            await ctx.tick().until(dut.begin.ready)
            ctx.set(dut.begin.valid, 0)
            cycles = 1
            while not ctx.get(dut.o.valid):
                await ctx.tick()
                cycles += 1
            waits.append(cycles)
            await ctx.tick()

    run_streams(dut, [], [], processes=[check], extra_cycles=1000)
    digits = [*range(1, DIGITS + 1), 2, DIGITS]
    # the hash comes a cycle behind `begin`, so it waits for every power but that of a single digit
    room = placing_of(dut.config)
    expected = [max(room.power_delay(n) - 1, 1) + room.delay for n in digits]
    late = [wait - at_once for wait, at_once in zip(waits, expected, strict=True)]
    assert min(late) >= 0 and max(late) <= 6 * dut.config.late


def test_digits_and_chains():
    """Every single digit has a row of its own, and is made once; a chain's start is known before its turn."""
    assert sorted(ROWS.values()) == list(range(len(ROWS)))
    assert len(set(STEPS)) == len(STEPS) and set(ROWS) <= set(STEPS)
    for chain in CHAINS[1:]:
        assert STEPS.index(chain[0] - 1) < STEPS.index(chain[0])


class PowersAlone(wiring.Component):
    """Powers and a multiplier that makes them wait."""

    def __init__(self, config):
        self.powers = Powers(config)
        super().__init__({"subkeys": In(stream.Signature(layouts.subkey_operation(config))), "wait": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.powers = powers = self.powers
        m.submodules.multiplier = multiplier = Multiplier(1)
        wiring.connect(m, wiring.flipped(self.subkeys), powers.subkeys)
        m.d.comb += [
            powers.factors.ready.eq(~self.wait),
            multiplier.a[0].eq(powers.factors.p.a),
            multiplier.b[0].eq(powers.factors.p.b),
            multiplier.i_tag.eq(powers.factors.valid & ~self.wait),
            powers.product.valid.eq(multiplier.o_tag),
            powers.product.p.eq(multiplier.o),
        ]
        return m


def test_powers():
    """Every memory of every index after two rounds of keys, the last index erased; and how long one takes."""
    config = Config(width=64, connections=CONNECTIONS)
    dut = PowersAlone(config)
    powers = dut.powers
    rng = random.Random(5)
    subkeys = [rng.getrandbits(128) for _ in range(2 * CONNECTIONS - 1)] + [0]
    checked = []

    async def check(ctx):
        cycles = 0
        for number, _ in enumerate(subkeys):
            _, _, ready = await ctx.tick().sample(dut.subkeys.ready)
            assert ready
            start = cycles = cycles + 1
            waited = 0
            while not ctx.get(powers.done):
                wait = number % 4 > 1 and rng.random() < 0.8
                ctx.set(dut.wait, wait)
                waited += wait and ctx.get(powers.factors.valid)
                await ctx.tick()
                cycles += 1
            assert cycles - start <= Powers.latency + waited
            assert Powers.latency < 50
        for index, subkey in enumerate(subkeys[CONNECTIONS:]):
            lanes, loops, digits = Powers.model(to_polynomial(subkey), config.lanes)
            for port in powers.lane_index, powers.loop_index, powers.digit_index, powers.second_index:
                ctx.set(port, index)
            for row, value in digits.items():
                left = row % layouts.GHASH_STRIDE + 1
                ctx.set(powers.digit_row, row)
                ctx.set(powers.second_row, len(digits) - 1 - row)
                ctx.set(powers.loop_left, left)
                await ctx.tick()
                assert ctx.get(powers.digit) == value
                assert ctx.get(powers.second) == digits[len(digits) - 1 - row]
                assert ctx.get(powers.loop) == loops[left - 1]
                assert [ctx.get(lane) for lane in powers.lanes] == lanes
        checked.append(True)

    operations = [{"index": k % CONNECTIONS, "subkey": value} for k, value in enumerate(subkeys)]
    run_streams(dut, [(dut.subkeys, operations)], [], processes=[check], extra_cycles=1000)
    assert checked
