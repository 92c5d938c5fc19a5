"""The adapter's block of registers."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import tx_layouts
from hw.axi.lite import RegisterBus
from model.contract import CONTRACT_VERSION, IDENTIFICATION
from model.metadata import METADATA_VERSION, RX_METADATA_BYTES, TX_METADATA_BYTES
from model.registers import (
    ADAPTER,
    ADAPTER_CONTROL,
    ADAPTER_HEADERS,
    ADAPTER_LAST_DROP,
    ADAPTER_MALFORMED,
    ADAPTER_NUMBER,
    IDENTITY,
    REGISTER_MAP_VERSION,
    Answer,
)


class AdapterRegisters(wiring.Component):
    """A block of registers (docs/registers.md, "Adapter block"). After reset no frame has a header in either direction.

    Contract: everything is answered in the same cycle.

    Members
    -------
    bus : In(RegisterBus)
    rx_headers : Out(1)
    tx_headers : Out(2)      model.metadata.TxHeaders
    malformed : In(1)        a frame was dropped for its header
    failed : In(1)           the device has dropped a frame
    failure : In(tx_layouts.tx_completion())    its completion
    """

    def __init__(self):
        super().__init__({
            "bus": In(RegisterBus()),
            "rx_headers": Out(1),
            "tx_headers": Out(2),
            "malformed": In(1),
            "failed": In(1),
            "failure": In(tx_layouts.tx_completion()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        malformed = Signal(32)
        last_drop = Signal(tx_layouts.tx_completion())
        any_drop = Signal()
        with m.If(self.malformed):
            m.d.sync += malformed.eq(malformed + 1)
        with m.If(self.failed):
            m.d.sync += [last_drop.eq(self.failure), any_drop.eq(1)]

        values = {
            "IDENTIFICATION": IDENTIFICATION,
            "VERSION": REGISTER_MAP_VERSION,
            "CONTRACT": CONTRACT_VERSION,
            "DIRECTION": ADAPTER_NUMBER,
            "NEXT": 0,
            ADAPTER_CONTROL.name: Cat(self.rx_headers, Const(0, 3), self.tx_headers),
            ADAPTER_HEADERS.name: METADATA_VERSION | RX_METADATA_BYTES << 8 | TX_METADATA_BYTES << 16,
            ADAPTER_MALFORMED.name: malformed,
            ADAPTER_LAST_DROP.name: Cat(last_drop.as_value(), Const(0, 31 - len(last_drop.as_value())), any_drop),
        }
        m.d.comb += [bus.write_done.eq(1), bus.read_done.eq(1)]
        with m.Switch(bus.read_address[2:]):
            for register in (*IDENTITY, *ADAPTER):
                with m.Case(register.offset // 4):
                    m.d.comb += bus.read_data.eq(values[register.name])
            with m.Default():
                m.d.comb += bus.read_answer.eq(Answer.DECERR)
        with m.Switch(bus.write_address[2:]):
            with m.Case(ADAPTER_CONTROL.offset // 4):
                with m.If(bus.write & bus.write_strobe[0]):
                    m.d.sync += [self.rx_headers.eq(bus.write_data[0]), self.tx_headers.eq(bus.write_data[4:6])]
            with m.Case(*(r.offset // 4 for r in (*IDENTITY, *ADAPTER) if r is not ADAPTER_CONTROL)):
                m.d.comb += bus.write_answer.eq(Answer.SLVERR)
            with m.Default():
                m.d.comb += bus.write_answer.eq(Answer.DECERR)
        return m
