"""The tops: one or both directions behind AXI4-Stream and AXI4-Lite ports."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw import layouts, tx_layouts
from hw.axi.lite import BLOCK_BITS, AxiLite, AxiLitePort
from hw.axi.registers import Registers
from hw.axi.stream import AxiStream, from_axi, to_axi, words_to_axi
from hw.config import Config
from hw.device import RxDevice
from hw.tx_device import TxDevice
from model.registers import BLOCK_BYTES, Direction

TOPS = {
    "rx": (Direction.RECEIVE,),
    "tx": (Direction.TRANSMIT,),
    "duplex": (Direction.RECEIVE, Direction.TRANSMIT),
}


def tuser_layouts(config: Config, top: str) -> dict[str, data.StructLayout]:
    """Layout of TUSER by port."""
    ports: dict[str, data.StructLayout] = {}
    if Direction.RECEIVE in TOPS[top]:
        ports["m_axis_rx"] = layouts.descriptor()
    if Direction.TRANSMIT in TOPS[top]:
        ports["s_axis_tx"] = tx_layouts.tx_request()
    return ports


class Top(wiring.Component):
    """A device with the ports of a NIC: what `ktls-nic generate` writes.

    Contract: that of RxDevice and TxDevice. The directions share the AXI4-Lite slave and nothing else.

    Parameters
    ----------
    config : Config
    top : str
        Of TOPS. What a direction does not have, it has no ports for.

    Members
    -------
    s_axis_rx : In(AxiStream)      frames from the wire
    m_axis_rx : Out(AxiStream)     frames to the host; TUSER is layouts.descriptor
    s_axis_tx : In(AxiStream)      frames from the host; TUSER is tx_layouts.tx_request
    m_axis_tx : Out(AxiStream)     frames to the wire
    m_axis_txcpl : Out(AxiStream)  tx_layouts.tx_completion of each frame sent or dropped, in order; 4 bytes
    s_axil : Out(AxiLitePort)      the registers (docs/registers.md)
    """

    def __init__(self, config: Config, top: str):
        self.config = config
        self.directions = TOPS[top]
        tuser = {name: layout.size for name, layout in tuser_layouts(config, top).items()}
        width = config.width
        members = {}
        if Direction.RECEIVE in self.directions:
            members |= {
                "s_axis_rx": In(AxiStream(width)),
                "m_axis_rx": Out(AxiStream(width, user_bits=tuser["m_axis_rx"])),
            }
        if Direction.TRANSMIT in self.directions:
            members |= {
                "s_axis_tx": In(AxiStream(width, user_bits=tuser["s_axis_tx"])),
                "m_axis_tx": Out(AxiStream(width)),
                "m_axis_txcpl": Out(AxiStream(4, frames=False)),
            }
        members["s_axil"] = Out(AxiLitePort(BLOCK_BITS + len(self.directions) - 1))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.axil = axil = AxiLite(len(self.directions))
        connect(m, axil.axi, flipped(self.s_axil))
        for number, direction in enumerate(self.directions):
            name = direction.name.lower()
            last = number == len(self.directions) - 1
            registers = Registers(config, direction, distance=0 if last else BLOCK_BYTES)
            device = RxDevice(config) if direction is Direction.RECEIVE else TxDevice(config)
            m.submodules[f"{name}_registers"] = registers
            m.submodules[name] = device
            connect(m, getattr(axil, f"block_{number}"), registers.bus)
            connect(m, registers.commands, device.commands)
            connect(m, device.responses, registers.responses)
            if direction is Direction.RECEIVE:
                from_axi(m, self.s_axis_rx, device.rx)
                to_axi(m, device.host, self.m_axis_rx, user="descriptor")
            else:
                from_axi(m, self.s_axis_tx, device.tx, user="request")
                to_axi(m, device.wire, self.m_axis_tx)
                words_to_axi(m, device.completions, self.m_axis_txcpl)
        return m
