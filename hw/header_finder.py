"""A search through a frame's payload for what looks like a header of application data."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.buffer import PairPort
from hw.config import Config
from hw.priority import lowest
from model.contract import HEADER_SIZE, MAX_LENGTH, MIN_LENGTH

_PATTERN = Const(int.from_bytes(b"\x17\x03\x03", "little"), 24)


def looks_like_header(text, tls13):
    """Five bytes, the first in bits 7:0: application data, and a length within the limits."""
    length = Cat(text[32:40], text[24:32])
    low, high = [(length >= MIN_LENGTH[v]) & (length <= MAX_LENGTH[v]) for v in (0x0303, 0x0304)]
    return (text[:24] == _PATTERN) & Mux(tls13, high, low)


class HeaderFinder(wiring.Component):
    """The first place in the frame at which a header could begin, a beat a cycle.

    Contract: `go` is held with its operands until `done`, one cycle in which the answer stands, or with
    `config.passes_raw` until nobody wants to know any more. All bytes of [first, limit) must be in the buffer.

    Members
    -------
    base : In(config.pointer_bits)      beat counter of the frame's first beat
    first, limit : In(OFFSET_BITS)      bytes of the frame; a header lies in [first, limit) with five bytes
    tls13 : In(1)
    go : In(1)
    done, found : Out(1)
    at : Out(OFFSET_BITS)               byte of the frame
    length : Out(16)                    the length field there
    buffer : Out(PairPort)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "base": In(config.pointer_bits),
            "first": In(layouts.OFFSET_BITS),
            "limit": In(layouts.OFFSET_BITS),
            "tls13": In(1),
            "go": In(1),
            "done": Out(1),
            "found": Out(1),
            "at": Out(layouts.OFFSET_BITS),
            "length": Out(16),
            "buffer": Out(PairPort(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width, shift = config.width, config.rotate_bits
        # stage 0: a beat is read; 1: its bytes are compared; 2: the first place that fits
        beat0 = Signal(layouts.OFFSET_BITS)
        beat1, beat2 = Signal.like(beat0), Signal.like(beat0)
        valid1, valid2 = Signal(), Signal()
        last_beat = Signal.like(beat0)
        fits1 = Signal(width)
        fits2 = Signal(width)
        texts2 = Signal(8 * (2 * width))
        place2 = lowest(m, fits2)
        start = Signal(layouts.OFFSET_BITS)
        stop = Signal(layouts.OFFSET_BITS)  # a header must begin before
        for n in range(width):
            place = Signal(layouts.OFFSET_BITS, name=f"place{n}")
            m.d.comb += [
                place.eq((beat1 << shift) + n),
                fits1[n].eq(
                    (place >= start)
                    & (place < stop)
                    & looks_like_header(self.buffer.data[8 * n :][: 8 * HEADER_SIZE], self.tls13)
                ),
            ]
        length2 = texts2.word_select(place2 + 3, 8), texts2.word_select(place2 + 4, 8)
        m.d.comb += self.buffer.address.eq(self.base + beat0)
        m.d.sync += [
            beat1.eq(beat0),
            beat2.eq(beat1),
            valid2.eq(valid1),
            fits2.eq(fits1),
            texts2.eq(self.buffer.data),
            valid1.eq(0),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [
                    beat0.eq(self.first >> shift),
                    start.eq(self.first),
                    stop.eq(Mux(self.limit < HEADER_SIZE, 0, self.limit - (HEADER_SIZE - 1))),
                    last_beat.eq(self.limit >> shift),
                    valid2.eq(0),
                ]
                with m.If(self.go):
                    m.next = "search"
            with m.State("search"):
                m.d.sync += [beat0.eq(beat0 + 1), valid1.eq(1)]
                with m.If(valid2 & fits2.any()):
                    m.d.sync += [
                        self.found.eq(1),
                        self.at.eq((beat2 << shift) + place2),
                        self.length.eq(Cat(length2[1], length2[0])),
                    ]
                    m.next = "done"
                with m.Elif(valid2 & (beat2 >= last_beat)):
                    m.d.sync += self.found.eq(0)
                    m.next = "done"
                if config.passes_raw:
                    with m.If(~self.go):
                        m.next = "idle"
            with m.State("done"):
                m.d.comb += self.done.eq(1)
                m.next = "idle"
        return m
