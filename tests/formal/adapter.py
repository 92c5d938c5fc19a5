"""The rooms of the Corundum adapter: streams."""

from types import SimpleNamespace
from typing import Any

from hw.corundum import rx, tx_header, tx_return
from hw.corundum.layouts import Taps
from tests.formal.prover import Bench, Fault
from tests.formal.streams import WIDE, streams

streams(
    "corundum.rx", lambda: rx.CorundumRx(WIDE, Taps()),
    Fault("hw.corundum.rx", "waits.eq(self.o.valid & ~self.o.ready)", "waits.eq(0)"),
    Fault("hw.corundum.rx", "self.host.ready.eq(sideband.o.valid & self.o.ready & ~tail)",
          "self.host.ready.eq(sideband.o.valid & ~tail)"),
    parts="counted",
)  # fmt: skip
streams(
    "corundum.tx_header", lambda: tx_header.TxHeader(WIDE, Taps()),
    Fault("hw.corundum.tx_header", "waits.eq(self.i.valid & ~self.i.ready)", "waits.eq(0)"),
    Fault("hw.corundum.tx_header", "Mux(passing, self.o.ready & sideband.ready, ", "Mux(passing, sideband.ready, "),
    parts="counted",
)  # fmt: skip


def completed_in_order(bench: Bench, dut: Any, inside: SimpleNamespace) -> None:
    """The device's: while a frame's beat is offered, a completion that comes is its own."""
    bench.assume(~bench.past(dut.o.valid & ~dut.o.ready) | ~dut.completions.valid | inside.sent)


streams(
    "corundum.tx_return", lambda: tx_return.TxReturn(WIDE, Taps()),
    Fault("hw.corundum.tx_return", "room = self.cpl.ready | ~self.cpl.valid", "room = self.cpl.ready | self.mac.valid"),
    Fault("hw.corundum.tx_return", "self.sides.ready.eq(self.completions.ready)",
          "self.sides.ready.eq(self.completions.valid)"),
    more=completed_in_order,
    parts="counted",
)  # fmt: skip
