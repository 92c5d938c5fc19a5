"""The sum of every record in progress, and the one bit of every frame."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.stream import Hold
from model.contract import OPEN_RECORDS, RxPolicy, Status


class Verdict(wiring.Component):
    """Adds up each record's contributions and judges a frame by the records that end in it.

    A record is authentic when the XOR of its placed hashes, of E(J0) and of the tag received is zero (NIST SP 800-38D,
    section 7.2, as a sum); its bytes may come in any order. What earlier frames brought is kept by connection and slot;
    a frame that fails its checksum leaves it as it was. A connection is closed by its first frame that fails
    (policy `published`: never).

    Contract: one order for each frame, in order; a fragment a cycle, two where a sum has to be fetched, one more behind
    one that is stored. A frame of no connection takes one, any other without fragments two (`published`: one). The
    proof of a frame is given before its order.

    Members
    -------
    i : In(stream.Signature(layouts.verdict_item))
    hash : In(stream.Signature(128))      placed hash, one for each fragment
    j0 : In(stream.Signature(128))        E(J0), one for each fragment with `has_j0`
    o : Out(stream.Signature(layouts.release_order))
    proofs : Out(stream.Signature(1))     one for each frame with `proof`: every record that ends in it is authentic
    opened : In(1)                        `opened_index` is a new connection; no frame of it is inside yet
    opened_index : In(config.index_bits)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.verdict_item(config))),
            "hash": In(stream.Signature(128)),
            "j0": In(stream.Signature(128)),
            "o": Out(stream.Signature(layouts.release_order(config))),
            "proofs": Out(stream.Signature(1)),
            "opened": In(1),
            "opened_index": In(config.index_bits),
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
        published = config.rx_policy is RxPolicy.PUBLISHED
        depth = config.connections * (1 if published else OPEN_RECORDS)
        m.submodules.sums = sums = memory.Memory(shape=128, depth=depth, init=[])
        read = sums.read_port()
        write = sums.write_port()

        i, hashed, j0 = wiring.flipped(self.i), wiring.flipped(self.hash), wiring.flipped(self.j0)
        if config.late:
            m.submodules.i_hold = i_hold = Hold(layouts.verdict_item(config))
            m.submodules.hash_hold = hash_hold = Hold(128)
            m.submodules.j0_hold = j0_hold = Hold(128)
            for source, hold in ((i, i_hold), (hashed, hash_hold), (j0, j0_hold)):
                wiring.connect(m, source, hold.i)
            i, hashed, j0 = i_hold.o, hash_hold.o, j0_hold.o

        item = i.p
        fetched = Signal()  # the kept sum of the head item is on the read port
        total = Signal(128)
        address = Signal(range(depth))  # where `total` is kept
        store = Signal()  # `total` is kept now, not at the end of the frame
        counted = Signal(init=published)  # `total` is a sum, not what a raw record leaves
        judge = Signal()  # `total` is that of a record which has just ended
        failed = Signal()
        failed_now = Signal()
        base = item.descriptor.status
        if published:
            judged = (base == Status.DECRYPTED) | (base == Status.GAP)
        else:  # what ends in a frame that waits was counted on the quiet: a proof's business
            judged = (base != Status.BAD_CHECKSUM) & (base != Status.CONFLICT) & (base != Status.WAIT)
        fails = Signal()
        proven = Signal()
        closed = Signal()
        known = Signal()  # `closed` is that of the head item's connection
        told = Signal()  # the proof has been given
        done = Signal()
        m.d.comb += [
            failed_now.eq(failed if config.late else failed | (judge & (total != 0))),
            fails.eq(failed_now & judged),
            proven.eq(item.proof & ~failed_now),
        ]

        status = Signal(Status)
        m.d.comb += status.eq(base)
        says = fails  # a frame that is given up says so, also if it closes the connection
        if config.passes_raw:
            says &= base != Status.OVERLOAD
        with m.If(says | (base == Status.DECRYPTED) | (proven & item.mark)):
            m.d.comb += status.eq(Mux(closed, Status.CLOSED, Mux(says, Status.AUTH_FAILED, Status.DECRYPTED)))
        with m.If(closed & item.repeated):
            # The header of the record that failed is not kept: nobody can say whether the frame contradicts it.
            m.d.comb += status.eq(Status.CONFLICT)
        m.d.comb += [
            read.addr.eq(item.index if published else Cat(item.slot, item.index)),
            write.addr.eq(address),
            write.data.eq(total),
            write.en.eq(store | (done & item.keep_sum & counted)),
            self.o.p.payload_length.eq(item.payload_length),
            self.o.p.descriptor.eq(item.descriptor),
            self.o.p.descriptor.status.eq(status),
            self.o.p.descriptor.proven.eq(proven),
            self.proofs.p.eq(proven),
        ]
        m.d.sync += [judge.eq(0), store.eq(0), fetched.eq(0), failed.eq(failed_now)]

        ends = i.valid & item.end
        take = Signal() if config.late else None  # the fragment in this cycle
        if take is not None:
            ends &= self._add_late(m, take, item, hashed.p, j0.p, read, total, address, counted, judge, store, failed)
        with m.If(ends):
            m.d.comb += [
                self.proofs.valid.eq(item.proof & ~told),
                self.o.valid.eq((known | ~item.descriptor.matched) & (told | ~item.proof)),
                done.eq(self.o.valid & self.o.ready),
                i.ready.eq(done),
            ]
            with m.If(self.proofs.valid & self.proofs.ready):
                m.d.sync += told.eq(1)
            with m.If(done):
                m.d.sync += [failed.eq(0), told.eq(0)]
        with m.Elif(i.valid & ~item.end if config.late else i.valid):
            complete = hashed.valid & (j0.valid | ~item.has_j0)
            m.d.sync += fetched.eq(~store)  # what is being stored is not there yet
            with m.If(complete & (fetched | ~item.continues)):
                m.d.comb += [i.ready.eq(1), hashed.ready.eq(1), j0.ready.eq(item.has_j0)]
                m.d.sync += fetched.eq(0)
                if take is not None:
                    m.d.comb += take.eq(1)
                else:
                    m.d.sync += [
                        total.eq(Mux(item.continues, read.data, 0) ^ hashed.p ^ Mux(item.has_j0, j0.p, 0) ^ item.tag),
                        address.eq(read.addr),
                        counted.eq(item.counted | published),
                        judge.eq(item.completes),
                        store.eq(item.store & item.counted),
                    ]

        if published:
            m.d.comb += known.eq(1)
        else:
            self._closed(m, i, closed, known, done, fails)
        return m

    def _add_late(self, m, take, item, hashed, j0, read, total, address, counted, judge, store, failed):
        """A fragment's sum in a cycle, the record's in the next, whether that is zero in two more; no item comes right
        behind another. Returns whether `failed` has all of it.
        """
        published = self.config.rx_policy is RxPolicy.PUBLISHED
        taken, judged, settled = Signal(), Signal(), Signal(init=1)
        part, kept = Signal(128, reset_less=True), Signal(128, reset_less=True)
        continues = Signal()
        behind = Signal.like(address)
        counts, completes, stores = Signal(), Signal(), Signal()
        groups = [total[k : k + 16].any() for k in range(0, 128, 16)]
        differs = Signal(len(groups))
        m.d.sync += [
            taken.eq(take),
            part.eq(hashed ^ Mux(item.has_j0, j0, 0) ^ item.tag),
            kept.eq(read.data),
            continues.eq(item.continues),
            behind.eq(read.addr),
            counts.eq(item.counted | published),
            completes.eq(item.completes),
            stores.eq(item.store & item.counted),
            differs.eq(Cat(groups)),
            judged.eq(judge),
            settled.eq(~(take | taken | judge)),
        ]
        with m.If(taken):
            m.d.sync += [
                total.eq(part ^ Mux(continues, kept, 0)),
                address.eq(behind),
                counted.eq(counts),
                judge.eq(completes),
                store.eq(stores),
            ]
        with m.If(judged & differs.any()):
            m.d.sync += failed.eq(1)
        return settled

    def _closed(self, m, i, closed, known, done, fails):
        """Which connections are closed. A connection that is opened waits for a cycle in which none is closed."""
        m.submodules.closed = bits = memory.Memory(shape=1, depth=self.config.connections, init=[])
        read = bits.read_port()
        write = bits.write_port()
        opening = Signal()
        opening_index = Signal(self.config.index_bits)
        closing = Signal()
        m.d.comb += [
            closing.eq(done & fails),
            read.addr.eq(i.p.index),
            closed.eq(read.data),
            write.addr.eq(Mux(closing, i.p.index, opening_index)),
            write.data.eq(closing),
            write.en.eq(closing | opening),
        ]
        m.d.sync += known.eq(i.valid & ~done)
        with m.If(self.opened):
            m.d.sync += [opening.eq(1), opening_index.eq(self.opened_index)]
        with m.Elif(~closing):
            m.d.sync += opening.eq(0)
