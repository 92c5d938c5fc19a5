"""Transmit, on the way in: the header in front of a frame becomes its request, or the frame goes no further."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.byteorder import big_endian
from hw.config import Config
from hw.corundum.layouts import Taps, tap_beat, tx_header, tx_side
from hw.corundum.sideband import Sideband
from hw.segment import DEPTH as SEGMENT_DEPTH
from model.contract import TxKind
from model.metadata import METADATA_ETHERTYPE, METADATA_VERSION, TX_METADATA_BYTES, TxHeaders

REQUEST = ("kind", "handle", "adopt", "record_seq", "record_number", "header")
DEPTH = layouts.MAX_PACKETS + SEGMENT_DEPTH + 1


class State(enum.Enum, shape=2):
    """What the next beat is."""

    START = 0  # a frame's first one
    HEADER = 1  # of the rest of a header
    BODY = 2  # of a frame that passes
    DROP = 3  # of one that does not


class TxHeader(wiring.Component):
    """Takes headers off frames and checks them.

    Contract: a beat a cycle; the beats of a header show nowhere. A frame that has to have a header and has none that is
    right in every bit, or that has the mark of one and must have none (docs/corundum.md), is swallowed whole. `mode`
    counts as it is in a frame's first beat.

    Members
    -------
    mode : In(TxHeaders)
    i : In(stream.Signature(tap_beat(config, tx_side(taps))))    from the tap
    o : Out(stream.Signature(tx_layouts.tx_beat(config)))        to the device
    sides : Out(stream.Signature(tx_side(taps)))                 of each frame given to the device, in order
    dropped : Out(stream.Signature(taps.tag_bits))               tag of each frame that was not
    """

    def __init__(self, config: Config, taps: Taps):
        self._config = config
        self._taps = taps
        side = tx_side(taps)
        super().__init__({
            "mode": In(2),
            "i": In(stream.Signature(tap_beat(config, side))),
            "o": Out(stream.Signature(tx_layouts.tx_beat(config))),
            "sides": Out(stream.Signature(side)),
            "dropped": Out(stream.Signature(taps.tag_bits)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        width = self._config.width
        beats = TX_METADATA_BYTES // width
        m.submodules.sideband = sideband = Sideband(self._config, tx_side(self._taps), depth=DEPTH)
        wiring.connect(m, sideband.o, wiring.flipped(self.sides))

        i = self.i.p
        earlier = Signal(8 * (TX_METADATA_BYTES - width))  # the header's beats before this one
        header = data.View(tx_header(), Cat(earlier, i.data))
        request = Signal(tx_layouts.tx_request())  # of the frame whose beats pass; zero, PASS, before its first one
        number = Signal(range(beats))  # of the header's beat
        marked = i.keep[13] & (i.data[96:112] == _ethertype())
        # a beat that is offered stays as it was offered
        mode, kept_mode, waits = Signal(2), Signal(2), Signal()
        m.d.comb += mode.eq(Mux(waits, kept_mode, self.mode))
        m.d.sync += [kept_mode.eq(mode), waits.eq(self.i.valid & ~self.i.ready)]
        headed = mode[1] | marked
        state = Signal(State)
        start = state == State.START
        passing = Signal()
        m.d.comb += [
            passing.eq((start & ~headed) | (state == State.BODY)),
            *(getattr(self.o.p, name).eq(getattr(i, name)) for name in ("data", "keep", "last")),
            self.o.p.request.eq(request),
            self.o.valid.eq(self.i.valid & passing & sideband.ready),
            self.dropped.p.eq(i.side.user[1:]),
            self.dropped.valid.eq(self.i.valid & ~passing & i.last),
            self.i.ready.eq(Mux(passing, self.o.ready & sideband.ready, self.dropped.ready | ~i.last)),
            sideband.go.eq(self.o.valid & self.o.ready),
            sideband.last.eq(i.last),
            sideband.side.eq(i.side),
        ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(i.last):
                m.d.sync += [state.eq(State.START), number.eq(0), request.eq(0)]
            with m.Elif(passing):
                m.d.sync += state.eq(State.BODY)
            with m.Elif(start & (mode == TxHeaders.OFF)):
                m.d.sync += state.eq(State.DROP)
            with m.Elif(state != State.DROP):
                m.d.sync += [
                    state.eq(State.HEADER),
                    number.eq(number + 1),
                    earlier.eq(Cat(earlier, i.data)[8 * width :]),
                ]
                with m.If(number == beats - 1):
                    m.d.sync += state.eq(State.DROP)
                    with m.If(_good(header)):
                        m.d.sync += [
                            state.eq(State.BODY),
                            *(getattr(request, name).eq(getattr(header, name)) for name in REQUEST),
                        ]
        return m


def _ethertype():
    return big_endian(Const(METADATA_ETHERTYPE, 16), 0, 2)


def _good(header):
    """A header is right in every bit."""
    zero = [header[name] == 0 for name in ("no_flags", "no_handle", "nothing", "rest")]
    unused = [header[name] == 0 for name in REQUEST if name != "kind"]
    return Cat(
        header.version == METADATA_VERSION,
        header.size == TX_METADATA_BYTES,
        header.ethertype == _ethertype(),
        header.kind <= max(TxKind),
        # what asks for nothing has nothing to say: a header whose kind was forgotten is not one
        (header.kind != TxKind.PASS) | Cat(unused).all(),
        *zero,
    ).all()
