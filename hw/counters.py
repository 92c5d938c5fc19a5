"""Counters of frames by status, and of the bytes of one of them."""

from enum import IntEnum

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import layouts

COUNTER_BITS = 48
"""At 100 Gb/s a byte counter of 48 bits wraps after six hours."""


class Counters(wiring.Component):
    """One counter for each status, in the order of their codes, and one of the payload bytes of `bytes_of`.

    Parameters
    ----------
    statuses : type[IntEnum]
        contract.Status or contract.TxStatus.
    bytes_of : IntEnum
        The status whose payload bytes are counted.

    Members
    -------
    left : In(1)               a frame leaves the device, or is dropped
    status, length : In        of it, valid with `left`
    number : In(16)            the counter to read
    value : Out(64)            its value in the same cycle; 0 for a number without a counter
    """

    def __init__(self, statuses: type[IntEnum], bytes_of: IntEnum):
        self._statuses = statuses
        self._bytes_of = bytes_of
        super().__init__({
            "left": In(1),
            "status": In(4),
            "length": In(layouts.OFFSET_BITS),
            "number": In(16),
            "value": Out(64),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        left = Signal()
        status = Signal(4)
        length = Signal(layouts.OFFSET_BITS)
        m.d.sync += [left.eq(self.left), status.eq(self.status), length.eq(self.length)]
        counters = []
        for code in self._statuses:
            counter = Signal(COUNTER_BITS, name=code.name.lower())
            m.d.sync += counter.eq(counter + (left & (status == code)))
            counters.append(counter)
        octets = Signal(COUNTER_BITS)
        m.d.sync += octets.eq(octets + Mux(left & (status == self._bytes_of), length, 0))
        values = Array([*counters, octets])
        m.d.comb += self.value.eq(Mux(self.number < len(values), values[self.number], 0))
        return m
