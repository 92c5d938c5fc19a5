"""A number for the flow of a frame, to choose a queue by."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from model.contract import ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_TCP

_PROTOCOL_UDP = 17
_V4_ADDRESSES, _V4_PORTS = range(26, 34), range(34, 38)
_V6_ADDRESSES, _V6_PORTS = range(22, 54), range(54, 58)


class Flow(wiring.Component):
    """XOR of the bytes of a frame's addresses, and of its ports if it has any: both directions of a flow the same.

    Where they stand is what Corundum's own hash takes for granted: no VLAN tag, no options, no extension headers. IPv4
    with options and all that is neither IPv4 nor IPv6 is 0; TCP and UDP have ports, but for fragments.

    Contract: `value` is that of the frame as far as it has come, the beat offered included.

    Members
    -------
    go : In(1)          a beat goes by in this cycle
    data : In           of it, valid with or without `go`; so `keep` and `last`
    keep : In
    last : In(1)
    value : Out(8)      does not depend on `go`
    """

    def __init__(self, config: Config):
        self._width = config.width
        super().__init__({
            "go": In(1),
            "data": In(8 * config.width),
            "keep": In(config.width),
            "last": In(1),
            "value": Out(8),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        width = self._width
        beats = -(-_V6_PORTS.stop // width)
        number = Signal(range(beats + 1))  # of the beat; stays at `beats`
        with m.If(self.go):
            with m.If(self.last):
                m.d.sync += number.eq(0)
            with m.Elif(number != beats):
                m.d.sync += number.eq(number + 1)

        def byte(k):
            """Byte k if it is in this beat, else zero."""
            here = (number == k // width) & self.keep[k % width]
            return self.data.word_select(k % width, 8) & here.replicate(8)

        def so_far(name, value, shape=8):
            """OR or XOR, as each byte comes once, of `value` over this beat and those before."""
            kept = Signal(shape, name=f"{name}_kept")
            now = Signal(shape, name=name)
            m.d.comb += now.eq(kept ^ value)
            with m.If(self.go):
                m.d.sync += kept.eq(Mux(self.last, 0, now))
            return now

        def folded(name, places):
            return so_far(name, reduce(xor, map(byte, places)))

        def seen(name, *conditions):
            """All of (place, mask, value): the byte under the mask has the value."""
            return Cat(
                so_far(
                    f"{name}_{k}",
                    (number == k // width) & self.keep[k % width] & ((self.data.word_select(k % width, 8) & mask) == v),
                    1,
                )
                for k, mask, v in conditions
            ).all()

        def ethertype(name, value):
            return seen(name, (12, 0xFF, value >> 8), (13, 0xFF, value & 0xFF))

        def has_ports(name, place):
            return seen(f"{name}_tcp", (place, 0xFF, PROTOCOL_TCP)) | seen(f"{name}_udp", (place, 0xFF, _PROTOCOL_UDP))

        v4 = ethertype("v4", ETHERTYPE_IPV4) & seen("v4_plain", (14, 0xFF, 0x45))
        v4_ports = has_ports("v4", 23) & seen("v4_whole", (20, 0x3F, 0), (21, 0xFF, 0))
        v6 = ethertype("v6", ETHERTYPE_IPV6)
        v6_ports = has_ports("v6", 20)
        nothing = Const(0, 8)
        m.d.comb += self.value.eq(
            Mux(v4, folded("v4_addresses", _V4_ADDRESSES) ^ Mux(v4_ports, folded("v4_ports", _V4_PORTS), nothing), 0)
            ^ Mux(v6, folded("v6_addresses", _V6_ADDRESSES) ^ Mux(v6_ports, folded("v6_ports", _V6_PORTS), nothing), 0)
        )
        return m
