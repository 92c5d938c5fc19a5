"""The way out: ciphertext XOR keystream, gated by the verdict."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.credit import FlagCredit
from hw.overlay import Overlay
from hw.stream import FlagQueue, Queue, Slice
from model.contract import Status

OUT_DEPTH = 4
"""Beats on their way out with `config.late`: a place for each cycle from the decision to where it is free again."""


class Release(wiring.Component):
    """Sends frames to the host as they came, or decrypted if the verdict says so.

    A raw frame is raw by construction: the status DECRYPTED is the one gate through which keystream reaches the data.

    Contract: a beat a cycle once a frame's order and its keystream are there.

    Members
    -------
    i : In(stream.Signature(layouts.beat))                   frames from the packet buffer
    orders : In(stream.Signature(layouts.release_order))     one for each frame
    keystream : In(stream.Signature(layouts.aligned_beat))
    o : Out(stream.Signature(layouts.output_beat))
    left : Out(1)                                            a frame's last beat is passed on in this cycle, or was in
        the one before
    counted : Out(layouts.release_order)                     its order, valid with `left`
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.beat(config))),
            "orders": In(stream.Signature(layouts.release_order(config))),
            "keystream": In(stream.Signature(layouts.aligned_beat(config))),
            "o": Out(stream.Signature(layouts.output_beat(config))),
            "left": Out(1),
            "counted": Out(layouts.release_order(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.overlay = overlay = Overlay(config)
        wiring.connect(m, wiring.flipped(self.keystream), overlay.i)
        if config.late:
            self._late(m, overlay)
            return m

        m.submodules.order_queue = orders = Queue(layouts.release_order(config), depth=4)
        wiring.connect(m, wiring.flipped(self.orders), orders.i)
        order = orders.o.p
        go = Signal()
        out_ready = Signal()
        m.d.comb += [
            out_ready.eq(self.o.ready | ~self.o.valid),
            go.eq(self.i.valid & orders.o.valid & overlay.known & out_ready),
            overlay.go.eq(go),
            overlay.last.eq(self.i.p.last),
            self.i.ready.eq(go),
            orders.o.ready.eq(go & self.i.p.last),
            self.left.eq(go & self.i.p.last),
            self.counted.eq(order),
        ]
        with m.If(out_ready):
            m.d.sync += self.o.valid.eq(go)
        with m.If(go):
            gate = order.descriptor.status == Status.DECRYPTED
            m.d.sync += [
                self.o.p.data.eq(self.i.p.data ^ Mux(gate, overlay.data, 0)),
                self.o.p.keep.eq(self.i.p.keep),
                self.o.p.last.eq(self.i.p.last),
                self.o.p.descriptor.eq(order.descriptor),
            ]
        return m

    def _late(self, m, overlay):
        """Whether a beat goes is decided by four registers, and enables nothing that is wide.

        Data and what goes over them stand in registers for a cycle; the queue behind has a place for them.
        """
        config = self.config
        gated_order = data.StructLayout({"order": layouts.release_order(config), "gate": 1})
        m.submodules.order_slice = orders = Slice(gated_order)
        m.submodules.i_slice = beats = Slice(layouts.beat(config))
        m.submodules.out = out = FlagQueue(layouts.output_beat(config), depth=OUT_DEPTH)
        m.submodules.credit = credit = FlagCredit(OUT_DEPTH)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        owing = Signal(range(4))  # orders here, without those whose frame has come in
        may, comes = Signal(), Signal()
        go, went = Signal(), Signal()
        going = Signal(layouts.output_beat(config))
        over, covers = Signal(8 * config.width), Signal()
        beat, order, gate = beats.o.p, orders.o.p.order, orders.o.p.gate
        # No beat leaves the packet buffer before the frame's order: the aligner may want it.
        m.d.comb += [
            orders.i.valid.eq(self.orders.valid),
            orders.i.p.order.eq(self.orders.p),
            orders.i.p.gate.eq(self.orders.p.descriptor.status == Status.DECRYPTED),
            self.orders.ready.eq(orders.i.ready),
            may.eq(owing.any()),
            beats.i.valid.eq(self.i.valid & may),
            beats.i.p.eq(self.i.p),
            self.i.ready.eq(beats.i.ready & may),
            comes.eq(self.i.valid & self.i.ready & self.i.p.last),
        ]
        m.d.sync += owing.eq(owing + (self.orders.valid & self.orders.ready) - comes)
        m.d.comb += [
            go.eq(beats.o.valid & orders.o.valid & overlay.known & credit.free),
            overlay.go.eq(go),
            overlay.last.eq(beat.last),
            beats.o.ready.eq(go),
            orders.o.ready.eq(go & beat.last),
            credit.take.eq(go),
            credit.give.eq(out.o.valid & out.o.ready),
            out.i.valid.eq(went),
            out.i.p.eq(going),
            out.i.p.data.eq(going.data ^ (over & covers.replicate(len(over)))),
        ]
        m.d.sync += [
            went.eq(go),
            going.data.eq(beat.data),
            going.keep.eq(beat.keep),
            going.last.eq(beat.last),
            going.descriptor.eq(order.descriptor),
            over.eq(overlay.data),
            covers.eq(gate),
        ]
        m.d.sync += [self.left.eq(go & beat.last), self.counted.eq(order)]
