"""AXI4-Stream ports, and the streams of the device on them."""

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class AxiStream(wiring.Signature):
    """Frames of `width` bytes a beat with TID, TDEST and TUSER, constant over the frame; byte 0 in bits 7:0.

    What has 0 bits is not there. `frames=False`: a stream of single words, without TKEEP and TLAST.
    """

    def __init__(self, width: int, *, id_bits: int = 0, dest_bits: int = 0, user_bits: int = 0, frames: bool = True):
        beside = {"tid": id_bits, "tdest": dest_bits, "tuser": user_bits}
        super().__init__({
            "tdata": Out(8 * width),
            **({"tkeep": Out(width), "tlast": Out(1)} if frames else {}),
            **{name: Out(bits) for name, bits in beside.items() if bits},
            "tvalid": Out(1),
            "tready": In(1),
        })  # fmt: skip


def from_axi(m: Module, axi, stream, *, user: str | None = None) -> None:
    """Beats of an AXI4-Stream slave port to a stream of beats; TUSER to its member `user`."""
    m.d.comb += [
        stream.p.data.eq(axi.tdata),
        stream.p.keep.eq(axi.tkeep),
        stream.p.last.eq(axi.tlast),
        stream.valid.eq(axi.tvalid),
        axi.tready.eq(stream.ready),
    ]
    if user is not None:
        m.d.comb += Value.cast(stream.p[user]).eq(axi.tuser)


def to_axi(m: Module, stream, axi, *, user: str | None = None) -> None:
    """The other way round, to a master port."""
    m.d.comb += [
        axi.tdata.eq(stream.p.data),
        axi.tkeep.eq(stream.p.keep),
        axi.tlast.eq(stream.p.last),
        axi.tvalid.eq(stream.valid),
        stream.ready.eq(axi.tready),
    ]
    if user is not None:
        m.d.comb += axi.tuser.eq(stream.p[user])


def words_to_axi(m: Module, stream, axi) -> None:
    """A stream of words to a master port without frames, in the low bits of TDATA."""
    word = Value.cast(stream.p)
    m.d.comb += [
        axi.tdata.eq(Cat(word, Const(0, len(axi.tdata) - len(word)))),
        axi.tvalid.eq(stream.valid),
        stream.ready.eq(axi.tready),
    ]
