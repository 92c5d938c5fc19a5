"""Powers of H: made when a key is installed, kept by index, read by the multipliers of GHASH."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw import layouts
from hw.config import Config
from hw.gf128 import power, square, to_polynomial
from hw.layouts import EXPONENT_BITS, GHASH_STRIDE
from hw.stream import FlagQueue

DIGIT_BITS = 2
"""An exponent is read as digits of this many bits; each nonzero digit costs Placing one product."""
DIGITS = -(-EXPONENT_BITS // DIGIT_BITS)


def row_of(number: int, digit):
    """Row of the table for digit >= 1, the `number`th from the lowest one; of a value as well."""
    return number * ((1 << DIGIT_BITS) - 1) + digit - 1


ROWS = {
    digit << number * DIGIT_BITS: row_of(number, digit)
    for number in range(DIGITS)
    for digit in range(1, 1 << DIGIT_BITS)
    if digit << number * DIGIT_BITS < 1 << EXPONENT_BITS
}
"""The row of each exponent that is a single digit."""
ROW_BITS = ceil_log2(len(ROWS))


def _chains() -> list[list[int]]:
    """Exponents in the order they are made: each chain an odd one and its doubles, as far as they are stored.

    A chain with e in it gives the odd exponent e + 1 by a product with H, so chains stand in the order in which their
    first powers become known.
    """
    chains, starts = [], [1]
    for odd in starts:
        last = max(e for e in ROWS if e % odd == 0 and (e // odd).bit_count() == 1)
        chains.append([odd << k for k in range((last // odd).bit_length())])
        starts += [e + 1 for e in chains[-1] if e % 2 == 0 and e + 1 < 1 << DIGIT_BITS]
    return chains


CHAINS = _chains()
STEPS = [e for chain in CHAINS for e in chain]


def factors():
    """powers -> placing: two polynomials to be multiplied."""
    return data.StructLayout({"a": 128, "b": 128})


class Powers(wiring.Component):
    """Stores H^1..H^(L-1), H^(L*1..L*4) and H^(digit) of every index and reads one of each kind a cycle.

    Contract: reads answer in the next cycle. A subkey operation takes at most `latency` cycles and those that
    its `products` factors have to wait, then `done` pulses; no read of its index may be made meanwhile. A zero
    subkey makes all powers zero. Polynomial form but for the operation. The multiplier that `factors` go to is not in
    here: it would be idle otherwise.

    Members
    -------
    subkeys : In(stream.Signature(layouts.subkey_operation))
    done : Out(1)
    factors : Out(stream.Signature(factors()))
    product : In(stream.Signature(128, always_ready=True))    in order
    lane_index : In          lanes : Out(128) array (L - 1)    H^(L-1) first, H^1 last
    loop_index, loop_left : In          loop : Out(128)    H^(L * loop_left), loop_left in 1..4
    digit_index, digit_row : In         digit : Out(128)   H^e for digit_row == ROWS[e]
    second_index, second_row : In       second : Out(128)  the same, with two placings
    """

    latency = len(STEPS) + 2
    products = len(CHAINS) - 1

    def __init__(self, config: Config):
        self._config = config
        members = {
            "subkeys": In(stream.Signature(layouts.subkey_operation(config))),
            "done": Out(1),
            "factors": Out(stream.Signature(factors())),
            "product": In(stream.Signature(128, always_ready=True)),
            "loop_index": In(config.index_bits),
            "loop_left": In(range(GHASH_STRIDE + 1)),
            "loop": Out(128),
            "digit_index": In(config.index_bits),
            "digit_row": In(ROW_BITS),
            "digit": Out(128),
        }
        if config.placings == 2:
            members |= {"second_index": In(config.index_bits), "second_row": In(ROW_BITS), "second": Out(128)}
        if config.lanes > 1:
            members |= {"lane_index": In(config.index_bits), "lanes": Out(128).array(config.lanes - 1)}
        super().__init__(members)

    @staticmethod
    def model(h: int, lanes: int) -> tuple[list[int], list[int], dict[int, int]]:
        """Lane and loop powers of the polynomial H, and those of digits by row."""
        return (
            [power(h, k) for k in range(lanes - 1, 0, -1)],
            [power(h, lanes * k) for k in range(1, GHASH_STRIDE + 1)],
            {row: power(h, e) for e, row in ROWS.items()},
        )

    def elaborate(self, platform):
        m = Module()
        lanes, depth = self._config.lanes, self._config.connections

        # in step k `value` is H^STEPS[k]: squared from step to step, at a chain's end the next odd power
        busy, step = Signal(), Signal(range(len(STEPS)))
        index = Signal(self._config.index_bits)
        value, h = Signal(128), Signal(128)
        starts = {chain[0] for chain in CHAINS}
        ask, ends = Signal(), Signal()
        m.submodules.odd = odd = FlagQueue(128, depth=len(CHAINS))
        used = Signal()  # the queue's first was taken a cycle ago; a chain is longer than that
        asking = [k for k, e in enumerate(STEPS) if e + 1 in starts]
        ending = [STEPS.index(chain[-1]) for chain in CHAINS]
        last = step == len(STEPS) - 1
        advance = Signal()
        if self._config.late:
            ask, ends, last = self._ahead(m, step, busy, advance, (asking, ending, [len(STEPS) - 1]))
        else:
            with m.Switch(step):
                with m.Case(*asking):
                    m.d.comb += ask.eq(busy)
                with m.Case(*ending):
                    m.d.comb += ends.eq(1)
        m.d.comb += [
            self.factors.valid.eq(ask),
            self.factors.p.a.eq(h),
            self.factors.p.b.eq(value),
            odd.i.valid.eq(self.product.valid),
            odd.i.p.eq(self.product.p),
            advance.eq(busy & (~ask | self.factors.ready) & (~ends | last | odd.o.valid)),
            odd.o.ready.eq(used),
            self.subkeys.ready.eq(~busy),
        ]
        m.d.sync += [self.done.eq(advance & last), used.eq(advance & ends & ~last)]
        with m.If(advance):
            m.d.sync += [
                step.eq(step + 1),
                value.eq(Mux(ends, odd.o.p, square(value))),
                busy.eq(~last),
            ]
        with m.Elif(~busy & self.subkeys.valid):
            subkey = to_polynomial(self.subkeys.p.subkey)
            m.d.sync += [
                busy.eq(1),
                step.eq(0),
                index.eq(self.subkeys.p.index),
                value.eq(subkey),
                h.eq(subkey),
            ]

        def written(write, row_bits, rows):
            """Write the powers of `rows` (row by exponent) as they come by."""
            row = Signal(row_bits)
            with m.Switch(step):
                for exponent, number in rows.items():
                    with m.Case(STEPS.index(exponent)):
                        m.d.comb += [write.en.eq(busy), row.eq(number)]
            m.d.comb += [write.addr.eq(Cat(row, index)), write.data.eq(value)]

        m.submodules.digits = digits = Memory(shape=128, depth=depth << ROW_BITS, init=[])
        written(digits.write_port(), ROW_BITS, ROWS)
        read = digits.read_port()
        m.d.comb += [read.addr.eq(Cat(self.digit_row, self.digit_index)), self.digit.eq(read.data)]
        if self._config.placings == 2:
            read = digits.read_port()
            m.d.comb += [read.addr.eq(Cat(self.second_row, self.second_index)), self.second.eq(read.data)]

        m.submodules.loops = loops = Memory(shape=128, depth=depth * GHASH_STRIDE, init=[])
        written(loops.write_port(), 2, {lanes * (k + 1): k for k in range(GHASH_STRIDE)})
        read = loops.read_port()
        m.d.comb += [read.addr.eq(Cat((self.loop_left - 1)[:2], self.loop_index)), self.loop.eq(read.data)]

        for lane in range(lanes - 1):
            m.submodules[f"lane{lane}"] = memory = Memory(shape=128, depth=depth, init=[])
            written(memory.write_port(), 0, {lanes - 1 - lane: 0})
            read = memory.read_port()
            m.d.comb += [read.addr.eq(self.lane_index), self.lanes[lane].eq(read.data)]
        return m

    @staticmethod
    def _ahead(m, step, busy, advance, groups):
        """For each group of steps: it is in one of them, from a register."""
        flags, coming = [Signal(name=f"flag{k}") for k in range(len(groups))], Signal.like(step)
        m.d.comb += coming.eq(Mux(busy, step + 1, 0))
        for flag, group in zip(flags, groups, strict=True):
            with m.If(advance | ~busy):
                m.d.sync += flag.eq(Cat(coming == k for k in group).any())
        return busy & flags[0], flags[1], flags[2]
