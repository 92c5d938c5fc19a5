"""The way out: ciphertext XOR keystream, gated by the verdict."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.overlay import Overlay
from hw.stream import Queue
from model.contract import Status


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
    left : Out(1)                                            a frame's last beat is passed on in this cycle
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
        m.submodules.order_queue = orders = Queue(layouts.release_order(config), depth=4)
        wiring.connect(m, wiring.flipped(self.keystream), overlay.i)
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
