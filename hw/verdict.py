"""The sum of every record in progress, and the one bit of every frame."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from model.contract import Status


class Verdict(wiring.Component):
    """Adds up each record's contributions and judges a frame by the records that end in it.

    A record is authentic when the XOR of its placed hashes, of E(J0) and of the tag received is zero (NIST SP 800-38D,
    section 7.2, as a sum). What earlier frames brought is kept by connection; a frame that fails its checksum
    leaves it as it was.

    Contract: one order for each frame, in order; a fragment a cycle, two where a sum has to be fetched.

    Members
    -------
    i : In(stream.Signature(layouts.verdict_item))
    hash : In(stream.Signature(128))      placed hash, one for each fragment
    j0 : In(stream.Signature(128))        E(J0), one for each fragment with `has_j0`
    o : Out(stream.Signature(layouts.release_order))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.verdict_item(config))),
            "hash": In(stream.Signature(128)),
            "j0": In(stream.Signature(128)),
            "o": Out(stream.Signature(layouts.release_order(config))),
        })  # fmt: skip

    @staticmethod
    def model(contributions: list[int]) -> bool:
        """Whether a record with these contributions is authentic."""
        total = 0
        for value in contributions:
            total ^= value
        return total == 0

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.sums = sums = memory.Memory(shape=128, depth=config.connections, init=[])
        read = sums.read_port()
        write = sums.write_port()

        item = self.i.p
        fetched = Signal()  # the kept sum of the head item is on the read port
        total = Signal(128)
        index = Signal(config.index_bits)
        judge = Signal()  # `total` is that of a record which has just ended
        failed = Signal()
        failed_now = failed | (judge & (total != 0))
        can_fail = (item.descriptor.status == Status.DECRYPTED) | (item.descriptor.status == Status.GAP)

        m.d.comb += [
            read.addr.eq(item.index),
            write.addr.eq(index),
            write.data.eq(total),
            self.o.p.payload_length.eq(item.payload_length),
            self.o.p.descriptor.eq(item.descriptor),
        ]
        with m.If(failed_now & can_fail):
            m.d.comb += self.o.p.descriptor.status.eq(Status.AUTH_FAILED)
        m.d.sync += [judge.eq(0), fetched.eq(0), failed.eq(failed_now)]

        with m.If(self.i.valid & item.end):
            m.d.comb += self.o.valid.eq(1)
            with m.If(self.o.ready):
                m.d.comb += [self.i.ready.eq(1), write.en.eq(item.keep_sum)]
                m.d.sync += failed.eq(0)
        with m.Elif(self.i.valid):
            complete = self.hash.valid & (self.j0.valid | ~item.has_j0)
            m.d.sync += fetched.eq(1)
            with m.If(complete & (fetched | ~item.continues)):
                m.d.comb += [self.i.ready.eq(1), self.hash.ready.eq(1), self.j0.ready.eq(item.has_j0)]
                m.d.sync += [
                    total.eq(
                        Mux(item.continues, read.data, 0) ^ self.hash.p ^ Mux(item.has_j0, self.j0.p, 0) ^ item.tag
                    ),
                    index.eq(item.index),
                    judge.eq(item.completes),
                    fetched.eq(0),
                ]
        return m
