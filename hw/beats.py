"""From a fragment to its aligned beats for an ECP5: what Plan and the aligner's choice do, in more cycles."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.plan import POSITION_BITS
from hw.rotate import clipped_to_power


def fragment_layout(config: Config, work: data.StructLayout):
    """What all beats of a fragment share, in the names of `plan_layout`."""
    return data.StructLayout({
        "work": work,
        "has_aad": 1,
        "aad_lane": range(max(config.lanes, 2)),
        "has_length": 1,
        "exponent": layouts.EXPONENT_BITS,
    })  # fmt: skip


def beat_layout(config: Config):
    """One aligned beat."""
    bound = range(config.width + 1)  # of its bytes, from 0
    return data.StructLayout({
        "first": 1,
        "last": 1,
        "rotate": config.rotate_bits,
        "beat": config.pointer_bits,
        "counter": 16,
        "left": range(layouts.GHASH_STRIDE + 1),
        "body_low": bound, "body_high": bound, "tag_low": bound, "tag_high": bound,
    })  # fmt: skip


class Beats(wiring.Component):
    """Aligned beats of one fragment after another, each as soon as it may be read; one beat for the end of a frame.

    Contract: a beat a cycle, also from one fragment to the next if each has `interval` beats or more; `i.p` stays in
    front until it is taken, in its fourth cycle at the earliest, and its first beat comes six cycles later or more.

    Members
    -------
    i : In(stream.Signature(work))
    written, ended : In     of the packet buffer
    room : In(1)            there may be a beat in the next cycle
    step : Out(1)           a beat is read
    address : Out           with `step`
    beat : Out(beat_layout)           in the cycle behind `step`
    fragment : Out(fragment_layout)   in the second cycle behind it
    """

    interval = 5

    def __init__(self, config: Config, work: data.StructLayout):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(work)),
            "written": In(config.pointer_bits),
            "ended": In(layouts.PACKET_BITS),
            "room": In(1),
            "step": Out(1),
            "address": Out(config.pointer_bits),
            "beat": Out(beat_layout(config)),
            "fragment": Out(fragment_layout(config, work)),
        })  # fmt: skip
        self._fragment = fragment_layout(config, work)

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lanes, width, pointer_bits = config.lanes, config.width, config.pointer_bits
        lane_bits = (lanes - 1).bit_length()
        w = self.i.p

        # What waits at `i` stays as it is: its numbers follow in two cycles, and without enables.
        n, first = Signal(layouts.EXPONENT_BITS), Signal(layouts.EXPONENT_BITS)
        tag_start, ext_end = Signal(layouts.EXT_BITS + 1), Signal(layouts.EXT_BITS + 1)
        beyond, header = Signal(layouts.OFFSET_BITS + 1), Signal()
        m.d.sync += [
            n.eq((w.body_length + 15) >> 4),
            header.eq(w.ext_first == 16),
            first.eq(Mux(w.ext_first == 16, 0, w.ext_first >> 4)),
            tag_start.eq(w.body_length + 16),
            ext_end.eq(w.ext_first + w.count),
            beyond.eq(w.position + w.count),
        ]
        length_block, after = Signal(layouts.EXPONENT_BITS), Signal(layouts.EXPONENT_BITS + 1)
        last_block, last_beat = Signal(layouts.EXPONENT_BITS), Signal(pointer_bits)
        reaches_tag, before_tag = Signal(), Signal()
        m.d.sync += [
            reaches_tag.eq(ext_end > tag_start),
            before_tag.eq(~(w.ext_first > tag_start)),
            length_block.eq(n + 1),
            after.eq(n + 2),
            last_block.eq((ext_end - 1) >> 4),
            last_beat.eq((beyond - 1) >> config.rotate_bits),
        ]
        age, load, full, done = Signal(2), Signal(), Signal(), Signal()
        take, counts, counted = Signal(), Signal(), Signal()
        m.d.comb += [
            take.eq(self.i.valid & (counted | w.end) & (~full | load)),
            self.i.ready.eq(take),
        ]
        m.d.sync += age.eq(Mux(take, 0, Cat(self.i.valid, age[0])))

        # Then numbers of its first beat, in three cycles, also while the end of a frame is in its way. Padding in front
        # of the first block fills a beat.
        bound = signed(POSITION_BITS)
        remaining = Signal(layouts.EXPONENT_BITS)
        lane0, body_low = Signal(signed(layouts.EXPONENT_BITS + 1)), Signal(config.rotate_bits + 2)
        ends = {name: Signal(layouts.EXT_BITS, name=f"{name}_at") for name in ("body_high", "tag_low", "tag_high")}
        last_beat1 = Signal(pointer_bits)
        blocks = Mux(reaches_tag, length_block, last_block) - first
        padding = ~blocks[:lane_bits] if lanes > 1 else 0
        position, base, statics = Signal.like(w.position), Signal(pointer_bits), Signal(self._fragment)
        with m.If(counts):
            m.d.sync += [
                statics.has_aad.eq(first == 0),
                statics.aad_lane.eq(padding),
                statics.has_length.eq(reaches_tag & before_tag),
                statics.exponent.eq(Mux(reaches_tag, 1, after - last_block)),
                remaining.eq(blocks[: layouts.EXPONENT_BITS] >> lane_bits),
                lane0.eq(first - padding if lanes > 1 else first),
                body_low.eq(Cat(w.ext_first[:4], padding + header if lanes > 1 else header)),
                ends["body_high"].eq(Mux(reaches_tag, tag_start, ext_end)),
                ends["tag_low"].eq(Mux(before_tag, tag_start, w.ext_first)),
                ends["tag_high"].eq(ext_end),
                last_beat1.eq(last_beat),
                position.eq(w.position),
                base.eq(w.base),
            ]
        # Of two registers one follows `i` while the other is shown: `take` enables neither.
        shown, pair = Signal(), [Signal(self._fragment.members["work"], name=f"work{k}") for k in range(2)]
        for k, one in enumerate(pair):
            with m.If(shown != k):
                m.d.sync += one.eq(w)
        work = Signal(self._fragment.members["work"])
        is_end, packet = Signal(), Signal.like(w.packet)
        m.d.comb += work.eq(Mux(shown, pair[1], pair[0]))
        with m.If(take):
            m.d.sync += [shown.eq(~shown), is_end.eq(w.end), packet.eq(w.packet)]
        start, base_last = Signal(bound), Signal(pointer_bits)
        bounds = {name: Signal(bound, name=f"{name}_first") for name in ends}
        counter, only = Signal(16), Signal()
        address, past = Signal(pointer_bits), Signal(signed(pointer_bits))
        needed, grows = Signal(pointer_bits), Signal()
        m.d.sync += [
            start.eq(position - body_low),
            base_last.eq(base + last_beat1),
            counter.eq(lane0 + 1),
            only.eq(remaining == 0),
            *(bounds[name].eq(Cat(at[:4], (at >> 4) - lane0)) for name, at in ends.items()),
            address.eq(base + (start >> config.rotate_bits)),
            past.eq(last_beat1 - (start >> config.rotate_bits)),
            needed.eq(Mux(past > 0, address + 1, base_last)),
            grows.eq(past > 1),
        ]

        # The beat in front, and what tells whether it may be read in the next cycle; what is seen of the buffer is a
        # cycle old.
        valid, leaves, loaded = Signal(), Signal(), Signal(2)
        here = {name: Signal(bound, name=f"{name}_here") for name in ends}
        low_here, first_here, last_here = Signal(config.rotate_bits + 2), Signal(), Signal()
        rotate_here, beat_here, counter_here = Signal(config.rotate_bits), Signal(pointer_bits), Signal(16)
        remaining_here, past_here = Signal(layouts.EXPONENT_BITS), Signal(signed(pointer_bits))
        needed_here, grows_here, packet_here = Signal(pointer_bits), Signal(), Signal.like(w.packet)
        written, written_before = Signal(pointer_bits), Signal(pointer_bits)
        ready_first, ended_here = Signal(), Signal()
        step, may_go, before = self.step, Signal(), Signal()
        numbered = Signal()  # the numbers are there and not yet loaded

        def is_below(a, b):
            """A counter is behind another."""
            return (a - b)[len(b) - 1]

        ended_next = is_below(packet, self.ended)
        m.d.sync += [written.eq(self.written), written_before.eq(self.written - 1)]
        m.d.comb += [
            leaves.eq(step & last_here),
            load.eq(done & (leaves | ~valid)),
            before.eq(step & grows_here),
            may_go.eq(self.room & valid & ~leaves),
        ]
        m.d.sync += [
            loaded.eq(Cat(load, loaded[0])),
            valid.eq(load | (valid & ~leaves)),
            ended_here.eq(Mux(load, ended_next | is_end, ended_here | is_below(packet_here, self.ended))),
            step.eq(
                (self.room & load & ready_first)
                | (may_go & ended_here)
                | (may_go & before & is_below(needed_here, written_before))
                | (may_go & ~before & is_below(needed_here, written))
            ),
        ]
        stage = Signal(3)  # of three in which the first beat's numbers are made
        of_fragment, held_next, counting = load & ~is_end, full & ~load, Signal()
        m.d.comb += [
            counts.eq(self.i.valid & ~w.end & age[1] & ~counted & ~counting),
        ]
        m.d.sync += [
            full.eq(take | (full & ~load)),
            counted.eq((counted | counts) & ~take),
            counting.eq(counts | (counting & ~of_fragment)),
            stage.eq(Cat(counts, stage[:2])),
            numbered.eq(stage[2] | (numbered & ~of_fragment)),
            done.eq(held_next & (is_end | numbered | stage[2])),
            ready_first.eq(held_next & (is_end | (numbered & (ended_next | is_below(needed, written))))),
        ]
        with m.If(load):
            m.d.sync += [
                packet_here.eq(packet),
                first_here.eq(1),
                last_here.eq(only | is_end),
                rotate_here.eq(start),
                beat_here.eq(start >> config.rotate_bits),
                self.address.eq(address),
                counter_here.eq(counter),
                remaining_here.eq(remaining),
                past_here.eq(past),
                needed_here.eq(needed),
                grows_here.eq(grows),
                low_here.eq(body_low),
                *(here[name].eq(bounds[name]) for name in here),
            ]
        with m.Elif(step):
            m.d.sync += [
                first_here.eq(0),
                last_here.eq(remaining_here == 1),
                beat_here.eq(beat_here + 1),
                self.address.eq(self.address + 1),
                counter_here.eq(counter_here + lanes),
                remaining_here.eq(remaining_here - 1),
                past_here.eq(past_here - 1),
                needed_here.eq(needed_here + grows_here),
                grows_here.eq(past_here > 2),
                low_here.eq(Mux(low_here < width, 0, low_here - width)),
                *(value.eq(value - width) for value in here.values()),
            ]

        beat = self.beat
        m.d.sync += [
            beat.first.eq(first_here),
            beat.last.eq(last_here),
            beat.rotate.eq(rotate_here),
            beat.beat.eq(beat_here),
            beat.counter.eq(counter_here),
            beat.left.eq(Mux(remaining_here > layouts.GHASH_STRIDE, layouts.GHASH_STRIDE, remaining_here)),
            beat.body_low.eq(Mux(low_here > width, width, low_here)),
            *(getattr(beat, name).eq(clipped_to_power(value, width)) for name, value in here.items()),
        ]
        # What is wide follows a cycle later, while its sources are as they were.
        work_before, fragment_here = Signal.like(work), Signal(self._fragment)
        m.d.sync += work_before.eq(work)
        with m.If(loaded[0]):
            m.d.sync += [fragment_here.eq(statics), fragment_here.work.eq(work_before)]
        with m.If(loaded[1]):  # the next fragment is loaded in this cycle at the earliest
            m.d.sync += self.fragment.eq(fragment_here)
        return m
