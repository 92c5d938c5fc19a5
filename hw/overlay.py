"""What goes over a frame on its way out, kept until the frame may go."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.dealign import Dealign, overlay_beat
from hw.deep_queue import DeepQueue
from hw.merge import Merge, sparse_beat
from hw.stream import Queue
from model.contract import MAX_FRAME


class Overlay(wiring.Component):
    """Pairs a frame's beats with aligned items that came before or come beside them.

    Contract: holds what a whole frame of MAX_FRAME bytes needs, so its source never waits for a decision that
    waits for it. Items for beats a frame does not have (it was cut short) are thrown away behind its end.

    Members
    -------
    i : In(stream.Signature(layouts.aligned_beat))    aligned items, and an end for each frame
    known : Out(1)           what goes over the frame's next beat is known
    data, mask : Out         it, in the frame's grid; zero outside `mask`
    number : Out             that beat's number; frames longer than the buffer stay at the last one, which has nothing
    go : In(1)               the beat passes; only while `known`
    last : In(1)             it is the frame's last one
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.aligned_beat(config))),
            "known": Out(1),
            "data": Out(8 * config.width),
            "mask": Out(config.width),
            "number": Out(config.pointer_bits),
            "go": In(1),
            "last": In(1),
        })  # fmt: skip

    @staticmethod
    def model(items: list[tuple[int, bytes, int]], size: int) -> tuple[bytes, list[bool]]:
        """What goes over a frame of `size` bytes, and where: from (frame position of byte 0, data, mask)."""
        over, covered = bytearray(size), [False] * size
        for position, part, mask in items:
            for k, byte in enumerate(part):
                if mask >> k & 1 and 0 <= position + k < size:
                    over[position + k], covered[position + k] = byte, True
        return bytes(over), covered

    def elaborate(self, platform):
        m = Module()
        config = self.config
        if config.late:
            self._late(m)
            return m

        m.submodules.dealign = dealign = Dealign(config)
        depth = MAX_FRAME // config.width + 64
        m.submodules.queue = queue = Queue(overlay_beat(config), depth=depth, buffered=True)
        wiring.connect(m, dealign.o, queue.i)
        wiring.connect(m, wiring.flipped(self.i), dealign.i)

        head = queue.o.p
        past_end = Signal()  # the frame is out, items for bytes it never had are not
        hit = Signal()
        m.d.comb += [
            hit.eq(queue.o.valid & (head.beat == self.number)),
            self.known.eq(queue.o.valid & ~past_end),
            self.data.eq(Mux(hit, head.data, 0)),
            self.mask.eq(Mux(hit, head.mask, 0)),
            queue.o.ready.eq(past_end | (self.go & Mux(head.end, self.last, hit))),
        ]
        with m.If(self.go):
            m.d.sync += past_end.eq(self.last & ~head.end)
            self._count(m)
        with m.Elif(past_end & queue.o.valid & head.end):
            m.d.sync += past_end.eq(0)
        return m

    def _count(self, m):
        with m.If(self.last):
            m.d.sync += self.number.eq(0)
        with m.Elif(~self.number.all()):
            m.d.sync += self.number.eq(self.number + 1)

    def _late(self, m):
        """Items have the distance to the one before, not a beat's number: nothing is compared when a beat passes."""
        config = self.config
        depth = 1 << (MAX_FRAME // config.width + 64 - 1).bit_length()
        m.submodules.merge = merge = Merge(config)
        m.submodules.queue = queue = DeepQueue(sparse_beat(config), depth=depth, slack=8)
        wiring.connect(m, wiring.flipped(self.i), merge.i)
        m.d.comb += [merge.room.eq(queue.room), queue.i_valid.eq(merge.o_valid), queue.i.eq(merge.o)]

        # Two registers for what goes over: one follows the queue while the other is shown, so no `ready` enables them.
        over = data.StructLayout({"data": 8 * config.width, "mask": config.width})
        shown, pair = Signal(), [Signal(over, name=f"over{k}") for k in range(2)]
        for k, one in enumerate(pair):
            with m.If(shown != k):
                m.d.sync += [one.data.eq(queue.o.p.data), one.mask.eq(queue.o.p.mask)]
        head = over(Mux(shown, pair[1], pair[0]))
        end = Signal()
        stale = Signal()  # what is shown is for bytes that the frame before never had
        past_end, still_past = Signal(), Signal()  # the frame is out, items for bytes it never had are not
        hit, spent = Signal(), Signal()  # what is shown is for the next beat; was for one before
        skip = Signal(config.pointer_bits)  # beats in front of its own
        leave, there = Signal(), Signal()
        m.d.comb += [
            leave.eq(Mux(end, self.last, hit)),
            queue.o.ready.eq(~self.known | (self.go & leave)),
            there.eq(queue.o.valid | ~queue.o.ready),
            still_past.eq(Mux(self.go, self.last & ~end, past_end & ~(stale & end))),
            self.data.eq(head.data & hit.replicate(8 * config.width)),
            self.mask.eq(head.mask & hit.replicate(config.width)),
        ]
        m.d.sync += [past_end.eq(still_past), self.known.eq(there & ~still_past), stale.eq(there & still_past)]
        with m.If(queue.o.ready):
            m.d.sync += [
                shown.eq(~shown),
                end.eq(queue.o.p.end),
                hit.eq(queue.o.p.near),
                spent.eq(0),
                skip.eq(queue.o.p.skip),
            ]
        with m.Elif(self.go):
            m.d.sync += [hit.eq((skip == 1) & ~hit & ~spent), spent.eq(spent | hit), skip.eq(skip - 1)]
        with m.If(self.go):
            self._count(m)
