"""The way out: ciphertext XOR keystream, gated by the verdict."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.dealign import Dealign, frame_keystream
from hw.stream import Queue
from model.contract import MAX_FRAME, Status


class Release(wiring.Component):
    """Sends frames to the host as they came, or decrypted if the verdict says so.

    A raw frame is raw by construction: the status DECRYPTED is the one gate through which keystream reaches the data.

    Contract: a beat a cycle once a frame's order and its keystream are there; the keystream of a whole frame of
    MAX_FRAME bytes fits inside, so keystream never waits for the verdict that waits for it.

    Members
    -------
    i : In(stream.Signature(layouts.beat))                   frames from the packet buffer
    orders : In(stream.Signature(layouts.release_order))     one for each frame
    keystream : In(stream.Signature(layouts.keystream_beat))
    o : Out(stream.Signature(layouts.output_beat))
    left : Out(1)                                            a frame's last beat is passed on in this cycle
    counted : Out(layouts.release_order)                     its order, valid with `left`
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.beat(config))),
            "orders": In(stream.Signature(layouts.release_order(config))),
            "keystream": In(stream.Signature(layouts.keystream_beat(config))),
            "o": Out(stream.Signature(layouts.output_beat(config))),
            "left": Out(1),
            "counted": Out(layouts.release_order(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.dealign = dealign = Dealign(config)
        depth = MAX_FRAME // config.width + 64
        m.submodules.keystream_queue = queue = Queue(frame_keystream(config), depth=depth, buffered=True)
        m.submodules.order_queue = orders = Queue(layouts.release_order(config), depth=4)
        wiring.connect(m, wiring.flipped(self.keystream), dealign.i)
        wiring.connect(m, dealign.o, queue.i)
        wiring.connect(m, wiring.flipped(self.orders), orders.i)

        order = orders.o.p
        key = queue.o.p
        number = Signal(config.pointer_bits)  # beat of the frame
        hit = Signal()
        past_end = Signal()  # the frame is out, keystream of bytes it never had is not
        go = Signal()
        out_ready = Signal()
        m.d.comb += [
            hit.eq(key.beat == number),
            go.eq(self.i.valid & orders.o.valid & queue.o.valid & ~past_end & out_ready),
            out_ready.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(go),
            self.left.eq(go & self.i.p.last),
            self.counted.eq(order),
        ]
        with m.If(out_ready):
            m.d.sync += self.o.valid.eq(go)
        with m.If(go):
            gate = hit & (order.descriptor.status == Status.DECRYPTED)
            m.d.sync += [
                number.eq(Mux(self.i.p.last, 0, number + 1)),
                self.o.p.data.eq(self.i.p.data ^ Mux(gate, key.data, 0)),
                self.o.p.keep.eq(self.i.p.keep),
                self.o.p.last.eq(self.i.p.last),
                self.o.p.descriptor.eq(order.descriptor),
            ]
            m.d.comb += [
                orders.o.ready.eq(self.i.p.last),
                queue.o.ready.eq(Mux(key.end, self.i.p.last, hit)),
            ]
            m.d.sync += past_end.eq(self.i.p.last & ~key.end)
        with m.Elif(past_end):
            m.d.comb += queue.o.ready.eq(1)
            with m.If(queue.o.valid & key.end):
                m.d.sync += past_end.eq(0)
        return m
