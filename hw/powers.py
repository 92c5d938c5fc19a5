"""Powers of H: made when a key is installed, kept by index, read by the multipliers of GHASH."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw import layouts
from hw.config import Config
from hw.gf128 import fold, power, square, to_polynomial
from hw.layouts import EXPONENT_BITS, GHASH_STRIDE

DIGIT = 4
"""Bits of the one product H * H^2 a cycle."""


class Powers(wiring.Component):
    """Stores H^1..H^(L-1), H^(L*1..L*4) and H^(2^0..2^10) of every index and reads one of each kind a cycle.

    Contract: reads answer in the next cycle. A subkey operation takes `latency` cycles, then `done` pulses; no read
    of its index may be made meanwhile. A zero subkey makes all powers zero. Polynomial form but for the operation.

    Members
    -------
    subkeys : In(stream.Signature(layouts.subkey_operation))
    done : Out(1)
    lane_index : In          lanes : Out(128) array (L - 1)    H^(L-1) first, H^1 last
    loop_index, loop_left : In          loop : Out(128)    H^(L * loop_left), loop_left in 1..4
    square_index, square_number : In    square : Out(128)    H^(2^square_number)
    """

    latency = 2 + 128 // DIGIT + 5

    def __init__(self, config: Config):
        self._config = config
        members = {
            "subkeys": In(stream.Signature(layouts.subkey_operation(config))),
            "done": Out(1),
            "loop_index": In(config.index_bits),
            "loop_left": In(range(GHASH_STRIDE + 1)),
            "loop": Out(128),
            "square_index": In(config.index_bits),
            "square_number": In(range(EXPONENT_BITS)),
            "square": Out(128),
        }
        if config.lanes > 1:
            members |= {"lane_index": In(config.index_bits), "lanes": Out(128).array(config.lanes - 1)}
        super().__init__(members)

    @staticmethod
    def model(h: int, lanes: int) -> tuple[list[int], list[int], list[int]]:
        """Lane, loop and square powers of the polynomial H."""
        return (
            [power(h, k) for k in range(lanes - 1, 0, -1)],
            [power(h, lanes * k) for k in range(1, GHASH_STRIDE + 1)],
            [power(h, 1 << k) for k in range(EXPONENT_BITS)],
        )

    def elaborate(self, platform):
        m = Module()
        lanes, depth = self._config.lanes, self._config.connections

        # what is made: `power` runs through the squares, later from H^3 to its squares
        busy, step = Signal(), Signal(range(self.latency + 1))
        index = Signal(self._config.index_bits)
        value = Signal(128)
        cube_step = 2 + 128 // DIGIT  # H^3 is complete
        h, digits, cube = Signal(128), Signal(128), Signal(128)
        wide = Signal(128 + DIGIT)  # cube * x^DIGIT + H * digit, by Horner's rule from the highest coefficient
        partial = cube
        for k in range(DIGIT):
            partial = partial ^ Mux(digits[k], h << k + 1, 0)
        m.d.comb += wide.eq(partial)

        m.d.comb += self.subkeys.ready.eq(~busy)
        m.d.sync += self.done.eq(0)
        with m.If(busy):
            m.d.sync += [
                step.eq(step + 1),
                value.eq(Mux(step == cube_step, cube, square(value))),
                digits.eq(digits >> DIGIT),
                cube.eq(fold(wide, DIGIT)),
            ]
            with m.If(step == 1):
                m.d.sync += [digits.eq(value), cube.eq(0)]
        with m.Elif(self.subkeys.valid):
            subkey = to_polynomial(self.subkeys.p.subkey)
            m.d.sync += [
                busy.eq(1),
                step.eq(0),
                index.eq(self.subkeys.p.index),
                value.eq(subkey),
                h.eq(subkey),
            ]

        # where it is stored: (address, step in which `value` holds the power)
        shift = exact_log2(lanes)
        last = cube_step + 1 + shift
        assert last < self.latency
        with m.If(busy & (step == last)):
            m.d.sync += [busy.eq(0), self.done.eq(1)]

        m.submodules.squares = squares = Memory(shape=128, depth=16 * depth, init=[])
        write, read = squares.write_port(), squares.read_port()
        m.d.comb += [
            write.en.eq(busy & (step < EXPONENT_BITS)),
            write.addr.eq(Cat(step[:4], index)),
            write.data.eq(value),
            read.addr.eq(Cat(self.square_number, self.square_index)),
            self.square.eq(read.data),
        ]

        m.submodules.loops = loops = Memory(shape=128, depth=GHASH_STRIDE * depth, init=[])
        write, read = loops.write_port(), loops.read_port()
        with m.Switch(step):
            for multiple, when in (1, shift), (2, shift + 1), (4, shift + 2), (3, last):
                with m.Case(when):
                    m.d.comb += [write.en.eq(busy), write.addr.eq(Cat(Const(multiple - 1, 2), index))]
        m.d.comb += [
            write.data.eq(value),
            read.addr.eq(Cat((self.loop_left - 1)[:2], self.loop_index)),
            self.loop.eq(read.data),
        ]

        for lane in range(lanes - 1):
            exponent = lanes - 1 - lane
            memory = Memory(shape=128, depth=depth, init=[])
            m.submodules[f"lane{lane}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(busy & (step == {1: 0, 2: 1, 3: cube_step + 1}[exponent])),
                write.addr.eq(index),
                write.data.eq(value),
                read.addr.eq(self.lane_index),
                self.lanes[lane].eq(read.data),
            ]
        return m
