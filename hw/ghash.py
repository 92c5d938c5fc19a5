"""GHASH room: the hash of each fragment, placed in its record."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.fragment_hash import FragmentHash
from hw.fragment_hash_late import LateFragmentHash
from hw.gf128 import multiply, power, to_block, to_polynomial
from hw.placing_late import placing_of
from hw.placing_pair import PlacingPair
from hw.powers import Powers


class Ghash(wiring.Component):
    """The placed hash of each fragment, in order.

    Contract: a beat a cycle, fragments of any indices back to back; `i.ready` falls only between fragments, when
    too many of them wait (for their placing power, or at `o`). The hash comes `delay` cycles after the fragment's
    last beat when its power is ready by then. `o` may be stalled for any time. A subkey operation takes at
    most `install_latency` cycles until `done`; no beat of its index may be inside meanwhile.

    Members
    -------
    i : In(stream.Signature(layouts.hash_beat))
    o : Out(stream.Signature(128))    byte 0 in bits 7:0
    subkeys : In(stream.Signature(layouts.subkey_operation))    zero: erase
    done : Out(1)    pulse: the powers of a subkey operation are stored
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(layouts.hash_beat(config))),
            "o": Out(stream.Signature(128)),
            "subkeys": In(stream.Signature(layouts.subkey_operation(config))),
            "done": Out(1),
        })  # fmt: skip
        self.delay = FragmentHash.delay_of(config) + placing_of(config).delay
        self.install_latency = Powers.latency + Powers.products * placing_of(config).factors_wait

    @staticmethod
    def model(subkey: int, blocks: list[int], exponent: int) -> int:
        """Subkey and blocks with byte 0 in bits 7:0, the result as well."""
        h = to_polynomial(subkey)
        return to_block(multiply(FragmentHash.model(h, blocks), power(h, exponent)))

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.powers = powers = Powers(config)
        m.submodules.fragment = fragment = (LateFragmentHash if config.late else FragmentHash)(config)
        m.submodules.placing = placing = (PlacingPair if config.placings == 2 else placing_of(config))(config)
        wiring.connect(m, wiring.flipped(self.subkeys), powers.subkeys)
        wiring.connect(m, powers.factors, placing.factors)
        wiring.connect(m, placing.product, powers.product)
        m.d.comb += self.done.eq(powers.done)

        inside = Signal()  # a fragment has begun and not ended
        accept = Signal()
        m.d.comb += [
            self.i.ready.eq(inside | placing.begin.ready),
            accept.eq(self.i.valid & self.i.ready),
            placing.begin.valid.eq(self.i.valid & ~inside),
            placing.begin.p.index.eq(self.i.p.index),
            placing.begin.p.exponent.eq(self.i.p.exponent),
            fragment.beat.eq(self.i.p),
            fragment.i_valid.eq(accept),
            placing.hashes.valid.eq(fragment.o_valid),
            placing.hashes.p.eq(fragment.o),
            self.o.valid.eq(placing.o.valid),
            self.o.p.eq(to_block(placing.o.p)),
            placing.o.ready.eq(self.o.ready),
            powers.loop_index.eq(fragment.loop_index),
            powers.loop_left.eq(fragment.loop_left),
            fragment.loop.eq(powers.loop),
            powers.digit_index.eq(placing.digit_index),
            powers.digit_row.eq(placing.digit_row),
            placing.digit.eq(powers.digit),
        ]
        if config.placings == 2:
            m.d.comb += [
                powers.second_index.eq(placing.second_index),
                powers.second_row.eq(placing.second_row),
                placing.second.eq(powers.second),
            ]
        with m.If(accept):
            m.d.sync += inside.eq(~self.i.p.last)
        for lane in range(config.lanes - 1):
            m.d.comb += fragment.lanes[lane].eq(powers.lanes[lane])
        if config.lanes > 1:
            m.d.comb += powers.lane_index.eq(fragment.lane_index)
        return m
