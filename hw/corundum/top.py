"""The top: both directions behind the interface tap of Corundum's application block."""

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.axi.lite import BLOCK_BITS, AxiLite, AxiLitePort
from hw.axi.registers import Registers
from hw.axi.stream import AxiStream, from_axi, to_axi
from hw.config import Config
from hw.corundum.layouts import TIMESTAMP_BITS, Taps
from hw.corundum.registers import AdapterRegisters
from hw.corundum.rx import CorundumRx
from hw.corundum.tx_header import TxHeader
from hw.corundum.tx_return import TxReturn
from hw.device import RxDevice
from hw.tx_device import TxDevice
from model.registers import BLOCK_BYTES, Answer, Direction

BLOCKS = 4
"""Receive, transmit, adapter, none."""


class CompletionPort(wiring.Signature):
    """Corundum's transmit completions, by its names."""

    def __init__(self, taps: Taps):
        super().__init__({
            "ts": Out(TIMESTAMP_BITS),
            "tag": Out(taps.tag_bits),
            "valid": Out(1),
            "ready": In(1),
        })  # fmt: skip


class CorundumTop(wiring.Component):
    """A device of both directions with the ports of `mqnic_app_block` that it needs (docs/corundum.md).

    Parameters
    ----------
    config : Config
    taps : Taps

    Members
    -------
    s_axil_app_ctrl : Out(AxiLitePort)               the registers (docs/registers.md), 16 KiB
    s_axis_if_tx, s_axis_if_tx_cpl, s_axis_if_rx     from Corundum; of the same name with m_, back to it
    """

    def __init__(self, config: Config, taps: Taps | None = None):
        self.config = config
        self.taps = taps or Taps()
        width, t = config.width, self.taps
        tx = AxiStream(width, id_bits=t.tx_id, dest_bits=t.tx_dest, user_bits=t.tx_user)
        rx = AxiStream(width, id_bits=t.rx_id, dest_bits=t.rx_dest, user_bits=t.rx_user)
        super().__init__({
            "s_axil_app_ctrl": Out(AxiLitePort(BLOCK_BITS + 2)),
            "s_axis_if_tx": In(tx),
            "m_axis_if_tx": Out(tx),
            "s_axis_if_tx_cpl": In(CompletionPort(t)),
            "m_axis_if_tx_cpl": Out(CompletionPort(t)),
            "s_axis_if_rx": In(rx),
            "m_axis_if_rx": Out(rx),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config, taps = self.config, self.taps
        m.submodules.axil = axil = AxiLite(BLOCKS)
        connect(m, axil.axi, flipped(self.s_axil_app_ctrl))
        devices = {}
        for number, (direction, make) in enumerate(((Direction.RECEIVE, RxDevice), (Direction.TRANSMIT, TxDevice))):
            name = direction.name.lower()
            m.submodules[f"{name}_registers"] = registers = Registers(config, direction, distance=BLOCK_BYTES)
            m.submodules[name] = devices[direction] = device = make(config)
            connect(m, getattr(axil, f"block_{number}"), registers.bus)
            connect(m, registers.commands, device.commands)
            connect(m, device.responses, registers.responses)
        m.submodules.adapter_registers = registers = AdapterRegisters()
        connect(m, axil.block_2, registers.bus)
        nothing = axil.block_3
        m.d.comb += [signal.eq(1) for signal in (nothing.write_done, nothing.read_done)]
        m.d.comb += [signal.eq(Answer.DECERR) for signal in (nothing.write_answer, nothing.read_answer)]

        device = devices[Direction.RECEIVE]
        m.submodules.adapter_rx = rx = CorundumRx(config, taps)
        from_tap(m, self.s_axis_if_rx, rx.tap)
        connect(m, rx.rx, device.rx)
        connect(m, device.host, rx.host)
        to_tap(m, rx.o, self.m_axis_if_rx)

        device = devices[Direction.TRANSMIT]
        m.submodules.adapter_tx_header = header = TxHeader(config, taps)
        m.submodules.adapter_tx_return = back = TxReturn(config, taps)
        from_tap(m, self.s_axis_if_tx, header.i)
        connect(m, header.o, device.tx)
        connect(m, header.sides, back.sides)
        connect(m, header.dropped, back.dropped)
        connect(m, device.wire, back.i)
        connect(m, device.completions, back.completions)
        to_tap(m, back.o, self.m_axis_if_tx)
        mac, engine = self.s_axis_if_tx_cpl, self.m_axis_if_tx_cpl
        m.d.comb += [
            *(getattr(back.mac.p, name).eq(getattr(mac, name)) for name in ("ts", "tag")),
            back.mac.valid.eq(mac.valid),
            mac.ready.eq(back.mac.ready),
            *(getattr(engine, name).eq(getattr(back.cpl.p, name)) for name in ("ts", "tag")),
            engine.valid.eq(back.cpl.valid),
            back.cpl.ready.eq(engine.ready),
            rx.headers.eq(registers.rx_headers),
            header.mode.eq(registers.tx_headers),
            registers.malformed.eq(header.dropped.valid & header.dropped.ready),
            registers.failed.eq(back.failed),
            registers.failure.eq(back.failure),
        ]
        return m


_SIDE = {"id": "tid", "dest": "tdest", "user": "tuser"}


def from_tap(m: Module, axi, stream) -> None:
    """Beats of a tap to a stream of `tap_beat`."""
    from_axi(m, axi, stream)
    m.d.comb += [Value.cast(stream.p.side[name]).eq(getattr(axi, port)) for name, port in _SIDE.items()]


def to_tap(m: Module, stream, axi) -> None:
    """The other way round."""
    to_axi(m, stream, axi)
    m.d.comb += [getattr(axi, port).eq(stream.p.side[name]) for name, port in _SIDE.items()]
