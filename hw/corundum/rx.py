"""Receive: frames from the tap to the device and back, with the device's descriptor in front."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.byteorder import big_endian
from hw.config import Config
from hw.corundum.flow import Flow
from hw.corundum.layouts import Taps, rx_header, rx_side, tap_beat
from hw.corundum.sideband import Sideband
from model.metadata import METADATA_ETHERTYPE, METADATA_VERSION, RX_METADATA_BYTES

DEPTH = layouts.MAX_PACKETS + 1


class CorundumRx(wiring.Component):
    """The receive tap around the device.

    Contract: a beat a cycle in and, without headers, out; a header costs the beat that its 16 bytes need, none if the
    last beat has room for them. Frames keep their order and their sideband, but for TDEST: their `Flow` goes into it.

    Members
    -------
    headers : In(1)                                   put headers in front; a change counts from the next frame on
    tap : In(stream.Signature(tap_beat(config, rx_side(taps))))
    rx : Out(stream.Signature(layouts.beat(config)))             to the device
    host : In(stream.Signature(layouts.output_beat(config)))     from the device
    o : Out(stream.Signature(tap_beat(config, rx_side(taps))))   back to the tap
    """

    def __init__(self, config: Config, taps: Taps):
        self._config = config
        self._taps = taps
        side = rx_side(taps)
        super().__init__({
            "headers": In(1),
            "tap": In(stream.Signature(tap_beat(config, side))),
            "rx": Out(stream.Signature(layouts.beat(config))),
            "host": In(stream.Signature(layouts.output_beat(config))),
            "o": Out(stream.Signature(tap_beat(config, side))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.sideband = sideband = Sideband(self._config, rx_side(self._taps), depth=DEPTH)
        m.submodules.flow = flow = Flow(self._config)
        side = self.tap.p.side
        m.d.comb += [
            *(
                getattr(part, name).eq(getattr(self.tap.p, name))
                for part in (self.rx.p, flow)
                for name in ("data", "keep", "last")
            ),
            self.rx.valid.eq(self.tap.valid & sideband.ready),
            self.tap.ready.eq(self.rx.ready & sideband.ready),
            *(part.go.eq(self.tap.valid & self.tap.ready) for part in (sideband, flow)),
            sideband.last.eq(self.tap.p.last),
            *(getattr(sideband.side, name).eq(getattr(side, name)) for name in ("id", "user")),
            # the top bit would name a queue and not ask for one
            sideband.side.dest.eq(side.dest ^ flow.value[: len(side.dest) - 1]),
        ]

        # Everything moves up by the header's size; what a beat has no room for waits in `carry`.
        split = self._config.width - RX_METADATA_BYTES
        data, keep, last = self.host.p.data, self.host.p.keep, self.host.p.last
        header = Signal(rx_header())
        first = Signal(init=1)
        was_headed, headed = Signal(), Signal()
        waits = Signal()  # this beat was offered before, and stays as it was
        tail = Signal()  # the frame has been taken, its last bytes have not left
        carry = Signal(8 * RX_METADATA_BYTES)
        carry_keep = Signal(RX_METADATA_BYTES)
        more = Signal()  # of this last beat, bytes that another one has to take
        front = Mux(first, header.as_value(), carry)
        m.d.comb += [
            header.eq(_header(self.host.p.descriptor)),
            headed.eq(Mux(first & ~waits, self.headers, was_headed)),
            more.eq(headed & last & keep[split]),
            self.o.valid.eq(sideband.o.valid & (self.host.valid | tail)),
            self.host.ready.eq(sideband.o.valid & self.o.ready & ~tail),
            self.o.p.side.eq(sideband.o.p),
            sideband.o.ready.eq(self.o.valid & self.o.ready & self.o.p.last),
        ]
        with m.If(tail):
            m.d.comb += [self.o.p.data.eq(carry), self.o.p.keep.eq(carry_keep), self.o.p.last.eq(1)]
        with m.Elif(headed):
            m.d.comb += [
                self.o.p.data.eq(Cat(front, data[: 8 * split])),
                self.o.p.keep.eq(Cat(Const(-1, RX_METADATA_BYTES), keep[:split])),
                self.o.p.last.eq(last & ~more),
            ]
        with m.Else():
            m.d.comb += [self.o.p.data.eq(data), self.o.p.keep.eq(keep), self.o.p.last.eq(last)]
        m.d.sync += [waits.eq(self.o.valid & ~self.o.ready), was_headed.eq(headed)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += tail.eq(0)
            with m.If(~tail):
                m.d.sync += [
                    first.eq(last),
                    tail.eq(more),
                    carry.eq(data[8 * split :]),
                    carry_keep.eq(keep[split:]),
                ]
        return m


def _header(descriptor):
    ethertype = Const(METADATA_ETHERTYPE, 16)
    return Cat(
        Const(METADATA_VERSION, 8),
        descriptor.status,
        Const(0, 4),
        descriptor.checksum,
        descriptor.matched,
        descriptor.request,
        descriptor.proven,
        Const(0, 3),
        Const(RX_METADATA_BYTES, 8),
        descriptor.handle,
        Const(0, 32 - layouts.HANDLE_BITS),
        descriptor.request_seq,
        big_endian(ethertype, 0, 2),
        Const(0, 16),
    )
