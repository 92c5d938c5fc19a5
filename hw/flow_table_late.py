"""Flow table of `Config.late`: what comes from block RAM, and every decision, has a register of its own."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data

from hw.flow_table import FINGERPRINT_BITS, PLACES, FlowTable, Kind, bucket_bits, flow_entry, slot, table_item
from model.contract import INDEX_BITS, STASH, WAYS, Result, buckets


class LateFlowTable(FlowTable):
    """A FlowTable, in more cycles.

    Contract: PASS takes three cycles, FIND six if no slot's fingerprint is equal, nine if one is, and six for each
    further one. `hash` is valid in the second cycle behind the item's transfer. Everything else as FlowTable.

    Members
    -------
    i, hash, o, answer, show, show_index : those of FlowTable
    """

    def elaborate(self, platform):
        m = Module()
        config = self._config
        count = buckets(config.connections)

        tables, writers, entry, entry_writer, shown, shown_writer = self._memories(m, count)
        stash = Signal(data.ArrayLayout(slot(config), STASH))

        first = Signal(table_item(config))  # the item whose fingerprints are read
        item = Signal(table_item(config))  # the item whose key is compared
        over, ready = Signal(), Signal()  # from `first` to `item`: in this cycle; possible
        follows = Signal()  # the cycle behind `over`, in which `first` still stands: what is wide comes over
        operating = Signal()  # an INSERT or REMOVE is inside
        fingerprint = Signal(FINGERPRINT_BITS)
        bucket = [Signal(bucket_bits(config), name=f"bucket{k}") for k in range(2)]

        # What the memories said, a cycle later; which slots have the fingerprint, in one more.
        ways = [Signal(data.ArrayLayout(slot(config), WAYS), name=f"ways{k}", reset_less=True) for k in range(2)]
        kept, kept_shown = Signal(flow_entry(config), reset_less=True), Signal()
        slots = [table[way] for table in ways for way in range(WAYS)] + [stash[k] for k in range(STASH)]
        fits = [Signal(PLACES, name=f"fits{k}") for k in range(2)]  # halves of the fingerprint
        half = FINGERPRINT_BITS // 2
        m.d.sync += [
            [register.eq(table.data) for register, table in zip(ways, tables, strict=True)],
            kept.eq(entry.data),
            kept_shown.eq(shown.data),
            fits[0].eq(Cat(s.valid & ~(s.fingerprint ^ fingerprint)[:half].any() for s in slots)),
            fits[1].eq(Cat(~(s.fingerprint ^ fingerprint)[half:].any() for s in slots)),
        ]

        # Slots with the fingerprint that are not compared yet and what they hold; the lowest; whether there is one.
        matches, lowest, some = Signal(PLACES), Signal(PLACES), Signal()
        indices = [Signal(config.index_bits, name=f"index{k}") for k in range(PLACES)]
        picked = Signal(config.index_bits)
        free, lowest_free = Signal(PLACES), Signal(PLACES)
        free_place, room = Signal(range(PLACES)), Signal()
        m.d.sync += [
            lowest.eq(_lowest(matches)),
            some.eq(matches.any()),
            lowest_free.eq(_lowest(free)),
            room.eq(lowest_free.any()),
            free_place.eq(
                Cat(Cat(lowest_free[k] for k in range(PLACES) if k >> bit & 1).any() for bit in range(len(free_place)))
            ),
        ]

        # The one slot and the one key that are written: by INSERT, or cleared by REMOVE; a cycle behind the decision.
        write, clearing, store = Signal(), Signal(), Signal()
        live, differing = Signal(), Signal(4)
        write_place = Signal(range(PLACES))
        write_buckets = [Signal.like(b, name=f"write_bucket{k}") for k, b in enumerate(bucket)]
        write_slot = Signal(slot(config))
        m.d.sync += [write.eq(0), clearing.eq(0)]
        for k, writer in enumerate(writers):
            m.d.comb += [writer.addr.eq(write_buckets[k]), writer.data.eq(Cat(write_slot for _ in range(WAYS)))]
            for way in range(WAYS):
                m.d.comb += writer.en[way].eq(clearing | (write & (write_place == k * WAYS + way)))
        for k in range(STASH):
            with m.If(write & (write_place == 2 * WAYS + k)):
                m.d.sync += stash[k].eq(write_slot)
        m.d.comb += [
            entry_writer.addr.eq(item.handle[: config.index_bits]),
            entry_writer.en.eq(write),
            entry_writer.data.valid.eq(write_slot.valid),
            entry_writer.data.key.eq(item.key),
            entry_writer.data.generation.eq(item.handle[INDEX_BITS:]),
            entry_writer.data.place.eq(write_place),
            entry_writer.data.bucket.eq(Mux(write_place < WAYS, *write_buckets)),
        ]

        # Whether it is shown waits for a cycle in which nothing else is.
        shown_index, visible = Signal(config.index_bits), Signal()
        m.d.comb += [
            shown_writer.addr.eq(Mux(self.show, self.show_index, shown_index)),
            shown_writer.data.eq(self.show | visible),
            shown_writer.en.eq(self.show | store),
        ]
        with m.If(~self.show):
            m.d.sync += store.eq(0)

        equal = Signal()
        result = Signal(Result)
        sweep = Signal(bucket_bits(config))
        m.d.comb += [
            self.o.p.eq(item.request),
            self.o.p.matched.eq(equal),
            self.o.p.handle.eq(Mux(equal, self._handle(picked, kept.generation), 0)),
            self.answer.p.eq(result),
            entry.addr.eq(picked),
            shown.addr.eq(picked),
            [table.en.eq(0) for table in tables],
            [table.addr.eq(self.hash[16 * k :]) for k, table in enumerate(tables)],
        ]

        with m.FSM(init="clear", name="read"):
            with m.State("clear"):
                m.d.sync += [clearing.eq(1), [w.eq(sweep) for w in write_buckets], sweep.eq(sweep + 1)]
                with m.If(sweep == count - 1):
                    m.next = "idle"
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(~operating)
                m.d.sync += first.eq(self.i.p)
                with m.If(self.i.valid & ~operating):
                    m.next = "sort"
            with m.State("sort"):
                m.next = "read"
                with m.If((first.kind == Kind.PASS) | (first.kind == Kind.REMOVE)):
                    m.next = "over"
            with m.State("read"):
                m.d.comb += [table.en.eq(1) for table in tables]
                m.d.sync += [bucket[k].eq(self.hash[16 * k :]) for k in range(2)]
                m.d.sync += fingerprint.eq(self.hash[32:])
                m.next = "keep"
            with m.State("keep"):
                m.next = "match"
            with m.State("match"):
                m.next = "over"
            with m.State("over"):
                m.d.comb += over.eq(ready)
                with m.If(ready):
                    m.d.sync += operating.eq((first.kind == Kind.INSERT) | (first.kind == Kind.REMOVE))
                    m.next = "idle"

        with m.If(ready):  # what has not come over may be taken as well: one register enables all
            m.d.sync += [
                equal.eq(0),
                matches.eq(Mux((first.kind == Kind.FIND) | (first.kind == Kind.INSERT), fits[0] & fits[1], 0)),
                free.eq(~Cat(s.valid for s in slots)),
                [register.eq(s.index) for register, s in zip(indices, slots, strict=True)],
            ]

        m.d.sync += follows.eq(over)
        with m.If(follows):
            m.d.sync += item.eq(first)

        with m.FSM(name="compare"):
            with m.State("idle"):
                m.d.comb += ready.eq(1)
                with m.If(over):
                    m.next = "weigh"
                    with m.If(first.kind == Kind.REMOVE):
                        m.next = "fetch"
            with m.State("weigh"):
                m.next = "decide"
            with m.State("decide"):
                with m.If(~equal & some):
                    m.next = "pick"
                with m.Elif(item.kind == Kind.INSERT):
                    m.next = "place"
                with m.Else():
                    m.d.comb += self.o.valid.eq(1)
                    with m.If(self.o.ready):
                        m.next = "idle"
            with m.State("place"):
                m.d.sync += [
                    result.eq(Mux(equal, Result.EXISTS, Mux(room, Result.OK, Result.NO_SPACE))),
                    write.eq(~equal & room),
                    write_place.eq(free_place),
                    [w.eq(b) for w, b in zip(write_buckets, bucket, strict=True)],
                    write_slot.valid.eq(1),
                    write_slot.fingerprint.eq(fingerprint),
                    write_slot.index.eq(item.handle),
                    shown_index.eq(item.handle),
                    visible.eq(~item.hidden),
                ]
                with m.If(~equal & room):
                    m.d.sync += store.eq(1)
                m.next = "answer"
            with m.State("pick"):
                m.d.sync += [
                    picked.eq(reduce(or_, (indices[k] & lowest[k].replicate(len(picked)) for k in range(PLACES)))),
                    matches.eq(matches & ~lowest),
                ]
                m.next = "read"
            with m.State("read"):
                m.next = "keep"
            with m.State("keep"):
                m.next = "compare"
            difference = kept.key.as_value() ^ item.key.as_value()
            parts = [difference[k : k + 8].any() for k in range(0, len(difference), 8)]
            differs = Signal(len(parts) + 1)
            with m.State("compare"):
                m.d.sync += differs.eq(Cat(parts, ~(kept_shown | (item.kind == Kind.INSERT))))
                m.next = "compare parts"
            with m.State("compare parts"):
                m.d.sync += equal.eq(~differs.any())
                m.next = "decide"

            with m.State("fetch"):
                m.d.sync += picked.eq(first.handle)
                m.next = "read fetched"
            with m.State("read fetched"):
                m.next = "keep fetched"
            with m.State("keep fetched"):
                m.next = "check"
            with m.State("check"):
                handle = self._handle(item.handle[: config.index_bits], kept.generation)
                size = -(-len(handle) // len(differing))
                wrong = handle ^ item.handle
                m.d.sync += differing.eq(Cat(wrong[k : k + size].any() for k in range(0, len(handle), size)))
                m.next = "check parts"
            with m.State("check parts"):
                m.d.sync += live.eq(kept.valid & ~differing.any())
                m.next = "remove"
            with m.State("remove"):
                m.d.sync += [
                    result.eq(Mux(live, Result.OK, Result.STALE_HANDLE)),
                    write.eq(live),
                    write_place.eq(kept.place),
                    [w.eq(kept.bucket) for w in write_buckets],
                    write_slot.eq(0),
                ]
                m.next = "answer"

            with m.State("answer"):
                m.d.comb += self.answer.valid.eq(1)
                with m.If(self.answer.ready):
                    m.d.sync += operating.eq(0)
                    m.next = "idle"
        return m


def _lowest(bits):
    """The lowest bit that is set, by groups of four."""
    groups = [bits[k : k + 4] for k in range(0, len(bits), 4)]
    below = Cat(group.any() for group in groups)
    return Cat(
        (bit & ~group[:k].any()) & ~below[:number].any()
        for number, group in enumerate(groups)
        for k, bit in enumerate(group)
    )
