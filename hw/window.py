"""Header window: the first bytes of every frame, side by side, for the parser."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.byteorder import big_endian
from hw.config import Config
from hw.layouts import PACKET_BITS, beat
from model.contract import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    HEADER_WINDOW,
    MAX_VLAN_TAGS,
    PROTOCOL_TCP,
    VLAN_ETHERTYPES,
)

ETHERTYPE_PLACE = 12
TCP_SIZE = 20
LOOK = 32
"""Bytes that show how many more are needed: ethertypes, IHL and next header with two VLAN tags."""


def vlan_tags(window):
    """One flag for each possible VLAN tag: there are at least so many."""
    flags = []
    for k in range(MAX_VLAN_TAGS):
        ethertype = big_endian(window, ETHERTYPE_PLACE + 4 * k, 2)
        tagged = (ethertype == VLAN_ETHERTYPES[0]) | (ethertype == VLAN_ETHERTYPES[1])
        flags.append(tagged & flags[-1] if flags else tagged)
    return flags


def behind_tags(window, flags, first: int, size: int):
    """Bytes from `first` on, counted as if there were no VLAN tags."""
    value = window[8 * first : 8 * (first + size)]
    for k, flag in enumerate(flags, 1):
        value = Mux(flag, window[8 * (first + 4 * k) : 8 * (first + 4 * k + size)], value)
    return value


class HeaderWindow(wiring.Component):
    """Collects the first 128 bytes of a frame; swallows the rest.

    Contract: takes a beat a cycle; `i.ready` falls only before a frame's first beat, while `go` is low. `fire` is
    up for one cycle for each frame, and the other outputs are valid in that cycle: the one after the window is
    full, the frame has ended, or the TCP header of a packet without extension headers is in. Bytes behind
    `beats` are left from earlier frames.

    Members
    -------
    i : In(stream.Signature(beat(config)))
    go : In(1)                      the next frame may begin
    begin : Out(1)                  a first beat is being taken
    fire : Out(1)
    window : Out(8 * HEADER_WINDOW)
    beats : Out                     beats in the window
    keep : Out(config.width)        of the last of them
    base : Out(config.pointer_bits) beat counter of the first beat, as in the packet buffer
    packet : Out(PACKET_BITS)       ordinal of the frame
    """

    def __init__(self, config: Config):
        self._config = config
        self._slots = HEADER_WINDOW // config.width
        super().__init__({
            "i": In(stream.Signature(beat(config))),
            "go": In(1),
            "begin": Out(1),
            "fire": Out(1),
            "window": Out(8 * HEADER_WINDOW),
            "beats": Out(range(self._slots + 1)),
            "keep": Out(config.width),
            "base": Out(config.pointer_bits),
            "packet": Out(PACKET_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config, width = self._config, self._config.width
        inside = Signal()  # between first and last beat of a frame
        open_ = Signal()  # the window is being filled
        ended = Signal()
        take = Signal()
        collect = Signal()
        slot = Signal.like(self.beats)
        position = Signal(config.pointer_bits)
        ordinal = Signal(PACKET_BITS)
        need = Signal(range(HEADER_WINDOW + 1))
        need_known = Signal()
        size = Signal(range(HEADER_WINDOW + 1))

        m.d.comb += [
            self.i.ready.eq(inside | self.go),
            take.eq(self.i.valid & self.i.ready),
            self.begin.eq(take & ~inside),
            size.eq(self.beats * width),
            self.fire.eq(open_ & (ended | (self.beats == self._slots) | (need_known & (size >= need)))),
            collect.eq(self.begin | (take & open_ & ~self.fire)),
            slot.eq(Mux(self.begin, 0, self.beats)),
        ]
        with m.If(take):
            m.d.sync += [inside.eq(~self.i.p.last), position.eq(position + 1)]
        with m.If(self.begin):
            m.d.sync += [self.base.eq(position), self.packet.eq(ordinal), ordinal.eq(ordinal + 1)]
        with m.If(collect):
            m.d.sync += [open_.eq(1), self.beats.eq(slot + 1)]
            m.d.sync += [ended.eq(self.i.p.last), self.keep.eq(self.i.p.keep)]
        with m.Elif(self.fire):
            m.d.sync += open_.eq(0)
        for k in range(self._slots):
            with m.If(collect & (slot == k)):
                m.d.sync += self.window[8 * width * k : 8 * width * (k + 1)].eq(self.i.p.data)

        m.d.sync += need_known.eq(open_ & ~self.fire & (size >= LOOK))
        m.d.sync += need.eq(self._need())
        return m

    def _need(self):
        """Bytes up to the end of the TCP header's first 20, or the whole window where that is not simple."""
        flags = vlan_tags(self.window)
        start = ETHERTYPE_PLACE + 2
        ethertype = big_endian(behind_tags(self.window, flags, ETHERTYPE_PLACE, 2), 0, 2)
        ihl = behind_tags(self.window, flags, start, 1)[:4]
        next_header = behind_tags(self.window, flags, start + 6, 1)
        tags = sum(flags)
        simple6 = (ethertype == ETHERTYPE_IPV6) & (next_header == PROTOCOL_TCP)
        words = Mux(ethertype == ETHERTYPE_IPV4, ihl + tags, 10 + tags)
        simple = (ethertype == ETHERTYPE_IPV4) | simple6
        return Mux(simple, start + TCP_SIZE + 4 * words, HEADER_WINDOW)
