"""Keystream from the record's grid back to the frame's."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.rotate import byte_mask, rotate_left_bytes


def frame_keystream(config: Config):
    """dealign -> release: keystream of one frame beat, zero where nothing is to be XORed.

    Beats without keystream are left out; the last item of a frame has `end`, and may stand for no beat (`beat` all
    ones).
    """
    return data.StructLayout({"end": 1, "beat": config.pointer_bits, "data": 8 * config.width})


class Dealign(wiring.Component):
    """Merges aligned keystream beats into frame beats.

    Contract: items of a frame come with `beat` never falling by more than one and never behind bytes already
    passed on; a beat a cycle but for a fragment behind a gap of two frame beats or more, and one or two cycles
    at a frame's end.

    Members
    -------
    i : In(stream.Signature(layouts.keystream_beat))
    o : Out(stream.Signature(frame_keystream))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.keystream_beat(config))),
            "o": Out(stream.Signature(frame_keystream(config))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = config.width

        # stage 1: rotate, and split at the frame's beat boundary
        valid = Signal()
        ready = Signal()
        end = Signal()
        beat = Signal(config.pointer_bits)
        low, high = Signal(8 * width), Signal(8 * width)
        rotated = Signal(8 * width)
        below = Signal(width)  # bytes that wrapped around: they belong to the next beat
        m.d.comb += [
            self.i.ready.eq(ready | ~valid),
            rotated.eq(rotate_left_bytes(self.i.p.data, self.i.p.rotate)),
            below.eq((Const(1, width) << self.i.p.rotate) - 1),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                valid.eq(self.i.valid),
                end.eq(self.i.p.end),
                beat.eq(self.i.p.beat),
                low.eq(rotated & ~byte_mask(below)),
                high.eq(rotated & byte_mask(below)),
            ]

        # stage 2: two frame beats under construction
        empty = Signal(init=1)
        at = Signal(config.pointer_bits)  # the beat that `first` is of
        first, second = Signal(8 * width), Signal(8 * width)
        nothing = Const(-1, config.pointer_bits)
        ahead = Signal(config.pointer_bits)
        m.d.comb += ahead.eq(beat - at)

        def emit(*, last):
            # Beat -1, from an aligned beat that starts before the frame, holds no keystream.
            present = (first != 0) & ~at[-1]
            m.d.comb += [
                self.o.p.end.eq(last),
                self.o.p.beat.eq(Mux(present & ~empty, at, nothing)),
                self.o.p.data.eq(Mux(present & ~empty, first, 0)),
                self.o.valid.eq(last | present),
            ]
            return self.o.ready | ~self.o.valid

        with m.If(valid & end):
            with m.If(~empty & (second != 0)):
                with m.If(emit(last=0)):
                    m.d.sync += [first.eq(second), second.eq(0), at.eq(at + 1)]
            with m.Else():
                with m.If(emit(last=1)):
                    m.d.comb += ready.eq(1)
                    m.d.sync += empty.eq(1)
        with m.Elif(valid & empty):
            m.d.comb += ready.eq(1)
            m.d.sync += [empty.eq(0), at.eq(beat), first.eq(low), second.eq(high)]
        with m.Elif(valid & (ahead == 0)):
            m.d.comb += ready.eq(1)
            m.d.sync += [first.eq(first | low), second.eq(second | high)]
        with m.Elif(valid & ahead[-1]):
            m.d.comb += ready.eq(1)
            m.d.sync += first.eq(first | high)
        with m.Elif(valid):
            with m.If(emit(last=0)):
                m.d.sync += [first.eq(second), second.eq(0), at.eq(at + 1)]
                with m.If(ahead == 1):
                    m.d.comb += ready.eq(1)
                    m.d.sync += [first.eq(second | low), second.eq(high)]
                with m.Elif(second == 0):
                    m.d.sync += at.eq(beat)
        return m
