"""From the record's grid back to the frame's: keystream and tags as sparse overlays of frame beats."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.rotate import byte_mask, rotate_left_bytes


def overlay_beat(config: Config):
    """What goes over one frame beat.

    Beats with nothing to go over them are left out; the last item of a frame has `end`, and may stand for no beat
    (`beat` all ones).
    """
    return data.StructLayout({
        "end": 1,
        "beat": config.pointer_bits,
        "data": 8 * config.width,
        "mask": config.width,  # bytes that `data` holds; the others are zero
    })  # fmt: skip


class Dealign(wiring.Component):
    """Merges aligned beats into frame beats.

    Contract: items of a frame come with `beat` never falling by more than one and never behind bytes already
    passed on; an item a cycle but for one behind a gap of two frame beats or more, and for an end right behind another
    frame's.

    Members
    -------
    i : In(stream.Signature(layouts.aligned_beat))    aligned beats, `data` zero outside `mask`
    o : Out(stream.Signature(overlay_beat))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.aligned_beat(config))),
            "o": Out(stream.Signature(overlay_beat(config))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = config.width

        # stage 1: rotate, and split at the frame's beat boundary. A half is its data with its mask behind.
        valid = Signal()
        ready = Signal()
        end = Signal()
        beat = Signal(config.pointer_bits)
        low, high = Signal(9 * width), Signal(9 * width)
        rotated = Signal(8 * width)
        mask = Signal(width)
        below = Signal(width)  # bytes that wrapped around: they belong to the next beat
        m.d.comb += [
            self.i.ready.eq(ready | ~valid),
            rotated.eq(rotate_left_bytes(self.i.p.data, self.i.p.rotate)),
            mask.eq(rotate_left_bytes(self.i.p.mask, self.i.p.rotate, unit=1)),
            below.eq((Const(1, width) << self.i.p.rotate) - 1),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                valid.eq(self.i.valid),
                end.eq(self.i.p.end),
                beat.eq(self.i.p.beat),
                low.eq(Cat(rotated & ~byte_mask(below), mask & ~below)),
                high.eq(Cat(rotated & byte_mask(below), mask & below)),
            ]

        # stage 2: two frame beats under construction
        empty = Signal(init=1)
        at = Signal(config.pointer_bits)  # the beat that `first` is of
        first, second = Signal(9 * width), Signal(9 * width)
        nothing = Const(-1, config.pointer_bits)
        closing = Signal()  # `first` is the last item of a frame whose end has been taken
        # A record's length block may stand for a beat that the frame does not have. It moves nothing, or what is last
        # would leave without `end`, and an end that stands for no beat takes the way out a cycle. The AAD block behind
        # it does move, or the next record's body would lie beyond the neighbouring beat.
        bare, follows_bare = Signal(), Signal()
        before, behind = Signal.like(at), Signal.like(at)  # its neighbours: comparing is faster than subtracting

        def move(to):
            return [at.eq(to), before.eq(to - 1), behind.eq(to + 1)]

        def holds(half):
            return half[8 * width :] != 0

        def emit(*, last):
            # Beat -1, from an aligned beat that starts before the frame, holds nothing.
            present = holds(first) & ~at[-1] & ~empty
            m.d.comb += [
                self.o.p.end.eq(last),
                self.o.p.beat.eq(Mux(present, at, nothing)),
                self.o.p.data.eq(Mux(present, first[: 8 * width], 0)),
                self.o.p.mask.eq(Mux(present, first[8 * width :], 0)),
                self.o.valid.eq(last | present),
            ]
            return self.o.ready | ~self.o.valid

        def begin():
            m.d.comb += ready.eq(1)
            m.d.sync += [empty.eq(0), *move(beat), first.eq(low), second.eq(high)]

        m.d.comb += bare.eq(~holds(low) & ~holds(high))
        with m.If(valid & ready):
            m.d.sync += follows_bare.eq(bare & ~end)

        with m.If(closing):
            with m.If(emit(last=1)):
                m.d.sync += [closing.eq(0), empty.eq(1)]
                with m.If(valid & ~end):
                    begin()
        with m.Elif(valid & end):
            with m.If(~empty & holds(second)):
                with m.If(emit(last=0)):
                    m.d.comb += ready.eq(1)
                    m.d.sync += [first.eq(second), second.eq(0), *move(behind), closing.eq(1)]
            with m.Else():
                with m.If(emit(last=1)):
                    m.d.comb += ready.eq(1)
                    m.d.sync += empty.eq(1)
        with m.Elif(valid & empty):
            begin()
        with m.Elif(valid & bare & ~follows_bare & ~holds(second)):
            m.d.comb += ready.eq(1)
        with m.Elif(valid & (beat == at)):
            m.d.comb += ready.eq(1)
            m.d.sync += [first.eq(first | low), second.eq(second | high)]
        with m.Elif(valid & (beat == before)):
            m.d.comb += ready.eq(1)
            m.d.sync += first.eq(first | high)
        with m.Elif(valid):
            with m.If(emit(last=0)):
                m.d.sync += [first.eq(second), second.eq(0), *move(behind)]
                with m.If(beat == behind):
                    m.d.comb += ready.eq(1)
                    m.d.sync += [first.eq(second | low), second.eq(high)]
                with m.Elif(~holds(second)):
                    m.d.sync += move(beat)
        return m
