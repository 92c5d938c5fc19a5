"""Counters of frames by status, and of the bytes of one of them."""

from collections.abc import Sequence
from enum import IntEnum

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import layouts

COUNTER_BITS = 48
"""At 100 Gb/s a byte counter of 48 bits wraps after six hours."""


class Counters(wiring.Component):
    """One counter for each status, one of the payload bytes of `bytes_of`, and what was added to the list since.

    Parameters
    ----------
    statuses : Sequence[IntEnum]
        Of contract.Status or contract.TxStatus.
    bytes_of : IntEnum
        The status whose payload bytes are counted.
    more : Sequence[IntEnum]
        Statuses whose counters stand behind that of the bytes.
    late : bool
        See Config.late.

    Members
    -------
    left : In(1)               a frame leaves the device, or is dropped
    status, length : In        of it, valid with `left`
    number : In(16)            the counter to read
    value : Out(64)            its value in the same cycle, with `late` three later; 0 for a number without a counter
    """

    def __init__(
        self, statuses: Sequence[IntEnum], bytes_of: IntEnum, more: Sequence[IntEnum] = (), *, late: bool = False
    ):
        self._statuses = statuses
        self._bytes_of = bytes_of
        self._more = more
        self._late = late
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

        def stage(value, name):
            """With `late` through a register."""
            if not self._late:
                return value
            register = Signal(len(value), name=name)
            m.d.sync += register.eq(value)
            return register

        def counter(code):
            counter = Signal(COUNTER_BITS, name=code.name.lower())
            m.d.sync += counter.eq(counter + stage(left & (status == code), f"is_{counter.name}"))
            return counter

        counters = [counter(code) for code in self._statuses]
        octets = Signal(COUNTER_BITS)
        m.d.sync += octets.eq(octets + stage(Mux(left & (status == self._bytes_of), length, 0), "octets_more"))
        values = Array([*counters, octets, *(counter(code) for code in self._more)])
        if self._late:
            # a few at a time: which of four, then which four
            number = stage(self.number, "number_asked")
            fours = Array(stage(Array(values[n : n + 4])[number[:2]], f"of_four_{n}") for n in range(0, len(values), 4))
            value = Mux(stage(number < len(values), "is_counter"), fours[stage(number[2:4], "four_asked")], 0)
            m.d.comb += self.value.eq(stage(value, "value_asked"))
        else:
            m.d.comb += self.value.eq(Mux(self.number < len(values), values[self.number], 0))
        return m
