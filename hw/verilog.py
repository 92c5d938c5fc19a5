"""Verilog of the device."""

from amaranth.back import verilog

from hw.config import Config
from hw.device import RxDevice


def generate(config: Config, *, top: str = "ktls_nic_rx") -> str:
    """Self-contained Verilog of the receive device, ports by Amaranth's names (`rx__payload`, `rx__valid`, ...).

    The text is the same for the same configuration and tool versions.
    """
    return verilog.convert(RxDevice(config), name=top, emit_src=False, strip_internal_attrs=True)
