"""The AXI4-Lite slave: one transfer at a time in each direction, handed to blocks of registers."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from model.registers import BLOCK_BYTES

BLOCK_BITS = ceil_log2(BLOCK_BYTES)


class RegisterBus(wiring.Signature):
    """From the slave to a block. A request stands until its `done`, which may come in the same cycle.

    Addresses are of bytes, their low two bits are to be ignored; answers are codes of model.registers.Answer.
    """

    def __init__(self):
        super().__init__({
            "write": Out(1),
            "write_address": Out(BLOCK_BITS),
            "write_data": Out(32),
            "write_strobe": Out(4),
            "write_done": In(1),
            "write_answer": In(2),
            "read": Out(1),
            "read_address": Out(BLOCK_BITS),
            "read_done": In(1),
            "read_data": In(32),
            "read_answer": In(2),
        })  # fmt: skip


class AxiLitePort(wiring.Signature):
    """AXI4-Lite as the slave's side has it, by the standard's names; `prot` is taken and ignored."""

    def __init__(self, address_bits: int):
        super().__init__({
            "awaddr": In(address_bits),
            "awprot": In(3),
            "awvalid": In(1),
            "awready": Out(1),
            "wdata": In(32),
            "wstrb": In(4),
            "wvalid": In(1),
            "wready": Out(1),
            "bresp": Out(2),
            "bvalid": Out(1),
            "bready": In(1),
            "araddr": In(address_bits),
            "arprot": In(3),
            "arvalid": In(1),
            "arready": Out(1),
            "rdata": Out(32),
            "rresp": Out(2),
            "rvalid": Out(1),
            "rready": In(1),
        })  # fmt: skip


class AxiLite(wiring.Component):
    """AXI4-Lite to blocks of registers of BLOCK_BYTES each.

    Contract: every transfer is answered, once its block has; one write and one read are inside at a time. An address
    and its data may come in either order. No output depends on an input within a cycle (AXI4, A3.2.1).

    Parameters
    ----------
    blocks : int
        A power of two.

    Members
    -------
    axi : Out(AxiLitePort)
    block_0, ... : Out(RegisterBus)
    """

    def __init__(self, blocks: int):
        self._blocks = blocks
        super().__init__({
            "axi": Out(AxiLitePort(BLOCK_BITS + ceil_log2(blocks))),
            **{f"block_{k}": Out(RegisterBus()) for k in range(blocks)},
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        axi = self.axi
        blocks = [getattr(self, f"block_{k}") for k in range(self._blocks)]

        have_address, have_data = Signal(), Signal()
        write_address, write_data, write_strobe = Signal.like(axi.awaddr), Signal(32), Signal(4)
        have_read = Signal()
        read_address = Signal.like(axi.araddr)
        m.d.comb += [
            axi.awready.eq(~have_address),
            axi.wready.eq(~have_data),
            axi.arready.eq(~have_read),
        ]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [have_address.eq(1), write_address.eq(axi.awaddr)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [have_data.eq(1), write_data.eq(axi.wdata), write_strobe.eq(axi.wstrb)]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [have_read.eq(1), read_address.eq(axi.araddr)]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)

        for number, block in enumerate(blocks):
            m.d.comb += [
                block.write_address.eq(write_address),
                block.write_data.eq(write_data),
                block.write_strobe.eq(write_strobe),
                block.write.eq(Cat(have_address, have_data, ~axi.bvalid, write_address[BLOCK_BITS:] == number).all()),
                block.read_address.eq(read_address),
                block.read.eq(Cat(have_read, ~axi.rvalid, read_address[BLOCK_BITS:] == number).all()),
            ]
            with m.If(block.write & block.write_done):
                m.d.sync += [
                    axi.bvalid.eq(1),
                    axi.bresp.eq(block.write_answer),
                    have_address.eq(0),
                    have_data.eq(0),
                ]
            with m.If(block.read & block.read_done):
                m.d.sync += [
                    axi.rvalid.eq(1),
                    axi.rresp.eq(block.read_answer),
                    axi.rdata.eq(block.read_data),
                    have_read.eq(0),
                ]
        return m
