"""Both directions in one component: a receive and a transmit device side by side, sharing nothing but the clock."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from hw.config import Config
from hw.device import RxDevice
from hw.tx_device import TxDevice


class Duplex(wiring.Component):
    """Full duplex at full rate: neither direction ever waits for the other.

    Members
    -------
    receive : the members of RxDevice
    transmit : the members of TxDevice
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "receive": Out(RxDevice.interface(config)),
            "transmit": Out(TxDevice.interface(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.receive = receive = RxDevice(self.config)
        m.submodules.transmit = transmit = TxDevice(self.config)
        connect(m, receive, flipped(self.receive))
        connect(m, transmit, flipped(self.transmit))
        return m
