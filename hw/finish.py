"""The way to the wire: keystream, tags and checksum into the frame, or the frame untouched, or nothing."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.config import Config
from hw.overlay import Overlay
from hw.rotate import byte_mask
from hw.stream import Queue


class Finish(wiring.Component):
    """Sends, untouched or sealed, or swallows frames as their orders say.

    Nothing of a frame leaves before its order is there. Plaintext of a connection leaves by no way: its frames are
    sealed or not sent, and what is sealed has keystream over every body byte.

    Contract: a beat a cycle once a frame's order and its overlays are there; one completion for each frame, offered
    before the first beat of any later frame is, and not before the frame's own last beat.

    Members
    -------
    i : In(stream.Signature(layouts.beat))                        frames from the packet buffer
    orders : In(stream.Signature(tx_layouts.finish_order))           one for each frame
    keystream : In(stream.Signature(layouts.aligned_beat))
    patches : In(stream.Signature(layouts.aligned_beat))          tags
    o : Out(stream.Signature(layouts.beat))
    completions : Out(stream.Signature(tx_layouts.tx_completion()))
    left : Out(1)                            a frame's last beat is passed on or swallowed in this cycle
    counted : Out(tx_layouts.finish_order)      its order, valid with `left`
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.beat(config))),
            "orders": In(stream.Signature(tx_layouts.finish_order(config))),
            "keystream": In(stream.Signature(layouts.aligned_beat(config))),
            "patches": In(stream.Signature(layouts.aligned_beat(config))),
            "o": Out(stream.Signature(layouts.beat(config))),
            "completions": Out(stream.Signature(tx_layouts.tx_completion())),
            "left": Out(1),
            "counted": Out(tx_layouts.finish_order(config)),
        })  # fmt: skip

    @staticmethod
    def model(frame: bytes, order: dict, keystream: bytes, tags: dict[int, int]) -> bytes | None:
        """What leaves of a frame: `keystream` as long as it, `tags` the bytes to put in by position."""
        if not order["send"]:
            return None
        if not order["seal"]:
            return frame
        out = bytearray(a ^ b for a, b in zip(frame, keystream, strict=True))
        offset = order["offset"]
        for place, byte in (tags | dict(enumerate(order["checksum"].to_bytes(2, "big"), offset))).items():
            if place < len(out):
                out[place] = byte
        return bytes(out)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = config.width
        m.submodules.cipher = cipher = Overlay(config)
        m.submodules.tags = tags = Overlay(config)
        m.submodules.order_queue = orders = Queue(tx_layouts.finish_order(config), depth=4)
        m.submodules.completion_queue = completions = Queue(tx_layouts.tx_completion(), depth=4)
        wiring.connect(m, wiring.flipped(self.keystream), cipher.i)
        wiring.connect(m, wiring.flipped(self.patches), tags.i)
        wiring.connect(m, wiring.flipped(self.orders), orders.i)
        wiring.connect(m, completions.o, wiring.flipped(self.completions))

        order = orders.o.p
        last = self.i.p.last
        go = Signal()
        out_ready = Signal()
        m.d.comb += [
            out_ready.eq(self.o.ready | ~self.o.valid),
            go.eq(
                self.i.valid
                & orders.o.valid
                & cipher.known
                & tags.known
                & (out_ready | ~order.send)
                & completions.i.ready
            ),
            self.i.ready.eq(go),
            orders.o.ready.eq(go & last),
            completions.i.valid.eq(go & last),
            completions.i.p.status.eq(order.status),
            completions.i.p.handle.eq(order.handle),
            self.left.eq(go & last),
            self.counted.eq(order),
            *(signal.eq(go) for signal in (cipher.go, tags.go)),
            *(signal.eq(last) for signal in (cipher.last, tags.last)),
        ]

        # The checksum field is at an even place, so it never straddles beats.
        checksum_mask = Signal(width)
        sealed = Signal(8 * width)
        here = cipher.number == (order.offset >> config.rotate_bits)
        checksum = Cat(order.checksum[8:], order.checksum[:8])
        m.d.comb += [
            checksum_mask.eq(Mux(here, Const(3, width) << order.offset[: config.rotate_bits], 0)),
            sealed.eq(
                Mux(
                    order.seal,
                    ((self.i.p.data ^ cipher.data) & ~byte_mask(tags.mask | checksum_mask))
                    | tags.data
                    | (checksum.replicate(width // 2) & byte_mask(checksum_mask)),
                    self.i.p.data,
                )
            ),
        ]
        with m.If(out_ready):
            m.d.sync += self.o.valid.eq(go & order.send)
        with m.If(go & order.send):
            m.d.sync += [
                self.o.p.data.eq(sealed),
                self.o.p.keep.eq(self.i.p.keep),
                self.o.p.last.eq(last),
            ]
        return m
