"""From the record's grid back to the frame's, in stages that all move or all stand: the Dealign of `Config.late`."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.rotate import byte_mask, rotate_left_bytes


def sparse_beat(config: Config):
    """What goes over one frame beat, `skip` beats behind the one that the item before was for (or the frame's start).

    Beats with nothing to go over them are left out; the last item of a frame has `end`, and may hold nothing.
    """
    return data.StructLayout({
        "end": 1,
        "near": 1,  # `skip` is 0
        "skip": config.pointer_bits,
        "data": 8 * config.width,
        "mask": config.width,  # bytes that `data` holds; the others are zero
    })  # fmt: skip


class Merge(wiring.Component):
    """Merges aligned beats into frame beats.

    Contract: items of a frame come as to Dealign. An item a cycle but for one behind a gap of two frame beats or more,
    and for an end: two. `i.ready` is a register; at most 6 items leave once `room` has fallen.

    Members
    -------
    i : In(stream.Signature(layouts.aligned_beat))    aligned beats, `data` zero outside `mask`
    room : In(1)
    o_valid : Out(1)
    o : Out(sparse_beat)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.aligned_beat(config))),
            "room": In(1),
            "o_valid": Out(1),
            "o": Out(sparse_beat(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width, bits = config.width, config.rotate_bits
        half = bits // 2
        move = Signal()  # stages a to c take what is in front of them
        m.d.comb += self.i.ready.eq(move)

        a, a_valid = Signal(layouts.aligned_beat(config)), Signal()
        with m.If(move):
            m.d.sync += [a.eq(self.i.p), a_valid.eq(self.i.valid)]

        # stage b: half of the rotation; where the item stands against the beat under construction when it gets there
        b_data, b_mask = Signal(8 * width), Signal(width)
        b_rotate = Signal(bits - half)
        b_wraps = Signal(width)  # bytes that wrap around: they belong to the next beat
        b_at, b_behind = Signal(config.pointer_bits), Signal(config.pointer_bits)
        b_item, b_end = Signal(), Signal()
        b_fresh, b_same, b_under, b_next = Signal(), Signal(), Signal(), Signal()
        fresh = Signal(init=1)  # the frame has no item yet
        item = a_valid & ~a.end
        under = (a.beat - b_at)[: config.pointer_bits][-1]  # by no more than one
        with m.If(move):
            m.d.sync += [
                b_data.eq(rotate_left_bytes(a.data, a.rotate[:half])),
                b_mask.eq(rotate_left_bytes(a.mask, a.rotate[:half], unit=1)),
                b_rotate.eq(a.rotate[half:]),
                b_wraps.eq((Const(1, width) << a.rotate) - 1),
                b_item.eq(item),
                b_end.eq(a_valid & a.end),
                b_fresh.eq(fresh),
                b_same.eq(~(a.beat ^ b_at).any()),
                b_next.eq(~(a.beat ^ b_behind).any()),
                b_under.eq(~fresh & under),
            ]
        with m.If(move & a_valid):
            m.d.sync += fresh.eq(a.end)
        with m.If(move & item & (fresh | ~under)):
            m.d.sync += [b_at.eq(a.beat), b_behind.eq(a.beat + 1)]

        # stage c: rotated, and split at the frame's beat boundary. A half is its data with its mask behind. What falls
        # into the beat below the item's own one, which is the one under construction, takes the place of the rest.
        rotated, mask = Signal(8 * width), Signal(width)
        own = Signal(width)
        c_low, c_high = Signal(9 * width), Signal(9 * width)
        c_at = Signal(config.pointer_bits)
        rest = Cat(Const(0, half), b_rotate)
        m.d.comb += [
            rotated.eq(rotate_left_bytes(b_data, rest)),
            mask.eq(rotate_left_bytes(b_mask, rest, unit=1)),
            own.eq(b_wraps ^ (~b_under).replicate(width)),
        ]
        with m.If(move):
            m.d.sync += [
                c_low.eq(Cat(rotated & byte_mask(own), mask & own)),
                c_high.eq(Mux(b_under, 0, Cat(rotated & byte_mask(b_wraps), mask & b_wraps))),
                c_at.eq(b_at),
            ]

        # stage d: two frame beats under construction. What happens to them is decided a cycle ahead.
        keep, shift, take, emit, last = (
            Signal(init=name == "keep", name=name) for name in ("keep", "shift", "take", "emit", "last")
        )
        far_goes_on, end_goes_on = Signal(), Signal()  # their second cycle is next
        joins = b_same | b_under
        far = b_item & ~b_fresh & ~joins & ~b_next
        ousts = b_end | (b_item & ~b_fresh & ~joins)
        m.d.sync += [
            keep.eq(~(far_goes_on | end_goes_on | (move & (b_end | (b_item & (b_fresh | ~joins)))))),
            shift.eq(move & ousts),
            take.eq(far_goes_on | (move & b_item & (b_fresh | joins | b_next))),
            emit.eq(far_goes_on | end_goes_on | (move & ousts)),
            last.eq(end_goes_on),
            far_goes_on.eq(move & far),
            end_goes_on.eq(move & b_end),
            move.eq(self.room & ~(move & (far | b_end))),
        ]
        first, second = Signal(9 * width), Signal(9 * width)
        at, behind = Signal(config.pointer_bits), Signal(config.pointer_bits)
        m.d.comb += behind.eq(at + 1)
        m.d.sync += [
            first.eq(Mux(keep, first, 0) | Mux(shift, second, 0) | Mux(take, c_low, 0)),
            second.eq(Mux(keep, second, 0) | Mux(take, c_high, 0)),
            at.eq(Mux(take, c_at, Mux(shift, behind, at))),
        ]

        # Beat -1, from an aligned beat that starts before the frame, holds nothing.
        present = first[8 * width :].any() & ~at[-1]
        due = Signal(config.pointer_bits)  # the beat behind the last one that was passed on
        # `first` of an end's second cycle has nothing: what its first cycle passed on is the last item.
        ended = Signal()
        m.d.comb += self.o.end.eq(ended | (last & ~present))
        m.d.sync += [
            self.o_valid.eq(emit & (present | (last & ~self.o_valid))),
            ended.eq(last),
            self.o.near.eq(~(at ^ due).any()),
            self.o.skip.eq(at - due),
            self.o.data.eq(first[: 8 * width]),
            self.o.mask.eq(first[8 * width :]),
        ]
        with m.If(last):
            m.d.sync += due.eq(0)
        with m.Elif(emit & present):
            m.d.sync += due.eq(behind)
        return m
