"""From a fragment to its aligned beats: how many, where each starts, what its blocks are."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config

POSITION_BITS = layouts.EXT_BITS + 2
"""Extended and frame positions relative to one another, signed."""


def plan_layout(config: Config, work):
    """plan -> align: one fragment, or the end of a frame. `work` is the layout of what it was made from."""
    return data.StructLayout({
        "work": work,
        "beats": layouts.EXPONENT_BITS,  # aligned beats of the fragment
        "has_aad": 1,  # block 0 is in the first beat
        "aad_lane": range(max(config.lanes, 2)),
        "has_length": 1,  # the length block is in the last beat, in the last lane
        "exponent": layouts.EXPONENT_BITS,
        "counter": 16,  # GCM counter of lane 0 of the first beat
        "start": signed(POSITION_BITS),  # frame position of byte 0 of the first beat
        "last_beat": config.pointer_bits,  # frame beat of the fragment's last byte
        # bounds relative to byte 0 of the first aligned beat
        "body_low": signed(POSITION_BITS),
        "body_high": signed(POSITION_BITS),
        "tag_low": signed(POSITION_BITS),
        "tag_high": signed(POSITION_BITS),
    })  # fmt: skip


class Plan(wiring.Component):
    """Turns each fragment into a plan (docs/architecture.md, extended positions), one a cycle, two cycles later.

    Members
    -------
    i : In(stream.Signature(work))          layouts.work, or a layout with its fields
    o : Out(stream.Signature(plan_layout))
    """

    delay = 2

    def __init__(self, config: Config, work: data.StructLayout):
        self.config = config
        self.work = work
        super().__init__({
            "i": In(stream.Signature(work)),
            "o": Out(stream.Signature(plan_layout(config, work))),
        })  # fmt: skip

    @staticmethod
    def model(lanes: int, body_length: int, ext_first: int, count: int, position: int) -> dict[str, int]:
        """The same in plain Python: beats, blocks and the frame position of the first aligned byte."""
        end = ext_first + count
        n = -(-body_length // 16)
        first = 0 if ext_first == 16 else ext_first // 16
        reaches_tag = end > 16 + body_length
        last = n + 1 if reaches_tag else (end - 1) // 16
        beats = -(-(last - first + 1) // lanes)
        lane0 = last + 1 - lanes * beats
        return {
            "beats": beats,
            "first": first,
            "last": last,
            "has_length": int(reaches_tag and ext_first <= 16 + body_length),
            "lane0": lane0,
            "exponent": n + 2 - last,
            "start": position + 16 * lane0 - ext_first,
        }

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = config.lanes
        lane_bits = (lanes - 1).bit_length()

        # stage 1: blocks
        work1 = Signal(self.work)
        valid1 = Signal()
        ready1 = Signal()
        n = Signal(layouts.EXPONENT_BITS)
        first = Signal(layouts.EXPONENT_BITS)
        last = Signal(layouts.EXPONENT_BITS)
        has_length = Signal()
        tag_start = Signal(layouts.EXT_BITS)
        ext_end = Signal(layouts.EXT_BITS)
        w = self.i.p
        end_now = w.ext_first + w.count
        reaches_tag = end_now > w.body_length + 16
        m.d.comb += self.i.ready.eq(ready1 | ~valid1)
        with m.If(self.i.ready):
            m.d.sync += [
                valid1.eq(self.i.valid),
                work1.eq(w),
                n.eq((w.body_length + 15) >> 4),
                first.eq(Mux(w.ext_first == 16, 0, w.ext_first >> 4)),
                has_length.eq(reaches_tag & (w.ext_first <= w.body_length + 16)),
                last.eq(Mux(reaches_tag, ((w.body_length + 15) >> 4) + 1, (end_now - 1) >> 4)),
                tag_start.eq(w.body_length + 16),
                ext_end.eq(end_now),
            ]

        # stage 2: beats and bounds
        beats = Signal(layouts.EXPONENT_BITS)
        lane0 = Signal(signed(layouts.EXPONENT_BITS + 1))  # block in lane 0 of the first beat, may be negative
        ext0 = Signal(signed(POSITION_BITS))
        m.d.comb += [
            beats.eq((last - first + lanes)[lane_bits:]),
            lane0.eq(last + 1 - (beats << lane_bits)),
            ext0.eq(lane0 << 4),
            ready1.eq(self.o.ready | ~self.o.valid),
        ]
        with m.If(ready1):
            p = self.o.p
            m.d.sync += [
                self.o.valid.eq(valid1),
                p.work.eq(work1),
                p.beats.eq(beats),
                p.has_aad.eq(first == 0),
                p.aad_lane.eq(-lane0),
                p.has_length.eq(has_length),
                p.exponent.eq(n + 2 - last),
                p.counter.eq(lane0 + 1),
                p.start.eq(work1.position + ext0 - work1.ext_first),
                p.last_beat.eq((work1.position + work1.count - 1) >> config.rotate_bits),
                p.body_low.eq(work1.ext_first - ext0),
                p.body_high.eq(Mux(ext_end < tag_start, ext_end, tag_start) - ext0),
                p.tag_low.eq(Mux(work1.ext_first > tag_start, work1.ext_first, tag_start) - ext0),
                p.tag_high.eq(ext_end - ext0),
            ]
        return m
