"""The search for a record header in a frame, a beat a cycle: states of the tracker's machine."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal

from hw import layouts
from hw.config import Config
from model.contract import HEADER_SIZE, MAX_LENGTH, MIN_LENGTH

TAIL = HEADER_SIZE - 1
"""Bytes kept of a frame: a header may begin in them and end in the next frame."""
_PATTERN = Const(int.from_bytes(b"\x17\x03\x03", "little"), 24)


def looks_like_header(text, tls13):
    """Five bytes, the first in bits 7:0: application data, version, and a length within the limits."""
    length = Cat(text[32:40], text[24:32])
    low, high = [(length >= MIN_LENGTH[v]) & (length <= MAX_LENGTH[v]) for v in (0x0303, 0x0304)]
    return (text[:24] == _PATTERN) & Mux(tls13, high, low)


class Search:
    """States "search" and "pick". All of the frame must be in the buffer.

    Parameters
    ----------
    m : Module
    config : Config
    tracker : the component: `buffer`
    frame : `base` of the frame
    limit : Signal      of the payload's bytes
    tls13 : Value
    """

    def __init__(self, m: Module, config: Config, tracker, frame, limit, tls13):
        self.m = m
        self.config = config
        self.tracker = tracker
        self.frame = frame
        self.limit = limit
        self.tls13 = tls13
        self._beat = Signal(layouts.OFFSET_BITS)  # asked for in this cycle
        self._there = Signal()  # the one before is on the port
        self._first = Signal(layouts.OFFSET_BITS)
        self._stop = Signal(layouts.OFFSET_BITS)  # a header begins before
        self._fits = Signal(config.width)
        self._at = Signal(layouts.OFFSET_BITS)

    def start(self, first):
        """Statements that begin a search at this byte of the frame."""
        return [
            self._beat.eq(first >> self.config.rotate_bits),
            self._there.eq(0),
            self._first.eq(first),
            self._stop.eq(Mux(self.limit < HEADER_SIZE, 0, self.limit - (HEADER_SIZE - 1))),
        ]

    def states(self, *, found: Callable[[Signal], None], missed: Callable[[], None]) -> None:
        """Add the states. `found` is called with the first place that fits, `missed` if there is none."""
        m, shift = self.m, self.config.rotate_bits
        before = Signal(layouts.OFFSET_BITS)  # place of the beat on the port
        fits = Signal(self.config.width)
        m.d.comb += before.eq((self._beat - 1) << shift)
        for n in range(self.config.width):
            text = self.tracker.buffer.data[8 * n :][: 8 * HEADER_SIZE]
            place = Signal(layouts.OFFSET_BITS, name=f"search_place{n}")
            m.d.comb += [
                place.eq(before + n),
                fits[n].eq((place >= self._first) & (place < self._stop) & looks_like_header(text, self.tls13)),
            ]
        with m.State("search"):
            m.d.comb += self.tracker.buffer.address.eq(self.frame.base + self._beat)
            m.d.sync += [self._beat.eq(self._beat + 1), self._there.eq(1)]
            with m.If(self._there & fits.any()):
                m.d.sync += [self._fits.eq(fits), self._at.eq(before)]
                m.next = "pick"
            with m.Elif(self._there & (before + self.config.width >= self._stop)):
                missed()

        with m.State("pick"):
            place = Signal(layouts.OFFSET_BITS)
            for n in reversed(range(self.config.width)):
                with m.If(self._fits[n]):
                    m.d.comb += place.eq(self._at + n)
            found(place)
