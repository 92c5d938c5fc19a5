"""Transmit, on the way out: each frame gets its sideband back, each frame that does not leave its completion."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.config import Config
from hw.corundum.layouts import Taps, tap_beat, transmitted, tx_side
from hw.stream import Queue
from model.contract import TxStatus

DEPTH = 8
"""Tags that wait while the MAC's completions go first."""


class TxReturn(wiring.Component):
    """Frames from the device back to the tap, and completions to Corundum's transmit engine.

    The engine keeps a descriptor for each frame until a completion with its tag comes back. The MAC gives that of the
    frames it has sent; this gives that of the others, with timestamp 0: what the device dropped or only digested, and
    what was dropped in front of it. Each tag comes back once.

    Contract: a beat a cycle. The device's completions tell which frame is leaving: one is offered before the first beat
    of any later frame, and none but a frame's own with its last beat.

    Members
    -------
    i : In(stream.Signature(layouts.beat(config)))                      frames from the device
    completions : In(stream.Signature(tx_layouts.tx_completion()))      from the device, one for each frame
    sides : In(stream.Signature(tx_side(taps)))                         of each frame given to it
    dropped : In(stream.Signature(taps.tag_bits))                       tags of frames not given to it
    mac : In(stream.Signature(transmitted(taps)))                       completions from the MAC
    o : Out(stream.Signature(tap_beat(config, tx_side(taps))))          frames to the tap
    cpl : Out(stream.Signature(transmitted(taps)))                      completions to the engine
    failed : Out(1)                          the device has dropped a frame
    failure : Out(tx_layouts.tx_completion())       its completion, valid with `failed`
    """

    def __init__(self, config: Config, taps: Taps):
        self._taps = taps
        side = tx_side(taps)
        super().__init__({
            "i": In(stream.Signature(layouts.beat(config))),
            "completions": In(stream.Signature(tx_layouts.tx_completion())),
            "sides": In(stream.Signature(side)),
            "dropped": In(stream.Signature(taps.tag_bits)),
            "mac": In(stream.Signature(transmitted(taps))),
            "o": Out(stream.Signature(tap_beat(config, side))),
            "cpl": Out(stream.Signature(transmitted(taps))),
            "failed": Out(1),
            "failure": Out(tx_layouts.tx_completion()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.own = own = Queue(self._taps.tag_bits, depth=DEPTH)
        status = self.completions.p.status
        sent = (status == TxStatus.PASSED) | (status == TxStatus.ENCRYPTED)
        kept = Signal()  # the oldest frame inside does not leave
        clear = Signal()  # the frame at `i` is the oldest inside, and its beat may go
        gone = Signal()
        m.d.comb += [
            kept.eq(self.completions.valid & ~sent & self.sides.valid),
            clear.eq(self.sides.valid & ~kept & (~self.i.p.last | self.completions.valid)),
            *(getattr(self.o.p, name).eq(getattr(self.i.p, name)) for name in ("data", "keep", "last")),
            self.o.p.side.eq(self.sides.p),
            self.o.valid.eq(self.i.valid & clear),
            self.i.ready.eq(self.o.ready & clear),
            gone.eq(self.o.valid & self.o.ready & self.i.p.last),
            own.i.valid.eq(kept | self.dropped.valid),
            own.i.p.eq(Mux(kept, self.sides.p.user[1:], self.dropped.p)),
            self.dropped.ready.eq(own.i.ready & ~kept),
            self.completions.ready.eq(gone | (kept & own.i.ready)),
            self.sides.ready.eq(self.completions.ready),
            self.failed.eq(kept & own.i.ready & (status != TxStatus.REPLAYED)),
            self.failure.eq(self.completions.p),
        ]

        room = self.cpl.ready | ~self.cpl.valid
        m.d.comb += [self.mac.ready.eq(room), own.o.ready.eq(room & ~self.mac.valid)]
        with m.If(room):
            m.d.sync += self.cpl.valid.eq(self.mac.valid | own.o.valid)
            with m.If(self.mac.valid):
                m.d.sync += self.cpl.p.eq(self.mac.p)
            with m.Else():
                m.d.sync += [self.cpl.p.ts.eq(0), self.cpl.p.tag.eq(own.o.p)]
        return m
