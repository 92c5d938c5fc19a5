"""What goes over a frame on its way out, kept until the frame may go."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.dealign import Dealign, overlay_beat
from hw.stream import Queue, Slice
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
        m.submodules.dealign = dealign = Dealign(config)
        depth = MAX_FRAME // config.width + 64
        m.submodules.queue = queue = Queue(overlay_beat(config), depth=depth, buffered=True)
        wiring.connect(m, dealign.o, queue.i)
        source, sink = wiring.flipped(self.i), queue.o
        if config.late:
            m.submodules.early = early = Slice(layouts.aligned_beat(config))
            m.submodules.head = ahead = Slice(overlay_beat(config))
            wiring.connect(m, source, early.i)
            wiring.connect(m, queue.o, ahead.i)
            source, sink = early.o, ahead.o
        wiring.connect(m, source, dealign.i)

        head = sink.p
        past_end = Signal()  # the frame is out, items for bytes it never had are not
        hit = Signal()
        m.d.comb += [
            hit.eq(sink.valid & (head.beat == self.number)),
            self.known.eq(sink.valid & ~past_end),
            self.data.eq(Mux(hit, head.data, 0)),
            self.mask.eq(Mux(hit, head.mask, 0)),
            sink.ready.eq(past_end | (self.go & Mux(head.end, self.last, hit))),
        ]
        with m.If(self.go):
            m.d.sync += past_end.eq(self.last & ~head.end)
            with m.If(self.last):
                m.d.sync += self.number.eq(0)
            with m.Elif(~self.number.all()):
                m.d.sync += self.number.eq(self.number + 1)
        with m.Elif(past_end & sink.valid & head.end):
            m.d.sync += past_end.eq(0)
        return m
