"""Counters of frames by status, and of bytes decrypted."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from model.contract import COUNTERS, Status

COUNTER_BITS = 48
"""At 100 Gb/s a byte counter of 48 bits wraps after six hours."""


class Counters(wiring.Component):
    """One counter for each name of contract.COUNTERS, counting frames as they leave.

    Members
    -------
    left : In(1)                         a frame leaves
    counted : In(layouts.release_order)  its order, valid with `left`
    number : In(16)                      the counter to read
    value : Out(64)                      its value in the same cycle; 0 for a number without a counter
    """

    def __init__(self, config: Config):
        super().__init__({
            "left": In(1),
            "counted": In(layouts.release_order(config)),
            "number": In(16),
            "value": Out(64),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        counters = {name: Signal(COUNTER_BITS, name=name) for name in COUNTERS}
        left = Signal()
        status = Signal(Status)
        length = Signal(layouts.OFFSET_BITS)
        m.d.sync += [
            left.eq(self.left),
            status.eq(self.counted.descriptor.status),
            length.eq(self.counted.payload_length),
        ]
        for code in Status:
            counter = counters[code.name.lower()]
            m.d.sync += counter.eq(counter + (left & (status == code)))
        m.d.sync += counters["decrypted_bytes"].eq(
            counters["decrypted_bytes"] + Mux(left & (status == Status.DECRYPTED), length, 0)
        )
        values = Array(counters[name] for name in COUNTERS)
        m.d.comb += self.value.eq(Mux(self.number < len(COUNTERS), values[self.number], 0))
        return m
