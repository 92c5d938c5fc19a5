"""Flow table: two hash tables with buckets of four ways, a stash, and the full keys behind them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.layouts import HANDLE_BITS, flow_key, track_request
from model.contract import GENERATION_BITS, HASH_BITS, INDEX_BITS, STASH, WAYS, Result, buckets

FINGERPRINT_BITS = 16
PLACES = 2 * WAYS + STASH
"""Places of one hash: ways of table 0, ways of table 1, stash. The lowest one that fits is taken."""


class Kind(enum.Enum, shape=2):
    PASS = 0  # a frame that is not looked up
    FIND = 1
    INSERT = 2
    REMOVE = 3


def table_item(config: Config):
    return data.StructLayout({
        "kind": Kind,
        "key": flow_key(),
        "handle": HANDLE_BITS,  # INSERT, REMOVE
        "hidden": 1,  # INSERT: not found by FIND until it is shown
        "request": track_request(config),  # PASS, FIND: what leaves, but `matched` and `handle`
    })  # fmt: skip


def slot(config: Config):
    return data.StructLayout({
        "valid": 1,
        "fingerprint": FINGERPRINT_BITS,
        "index": config.index_bits,
    })  # fmt: skip


def bucket_bits(config: Config) -> int:
    return (buckets(config.connections) - 1).bit_length()


def flow_entry(config: Config):
    """Key store: one entry an index. `place` and `bucket` say where its slot is."""
    return data.StructLayout({
        "valid": 1,
        "key": flow_key(),
        "generation": GENERATION_BITS,
        "place": range(PLACES),
        "bucket": bucket_bits(config),
    })  # fmt: skip


class FlowTable(wiring.Component):
    """Finds, inserts and removes flows: fingerprints are read for one item while keys are compared for the one before.

    Contract: PASS takes a cycle, FIND three if one slot's fingerprint is equal or none (with `Config.hash_ahead` two if
    none), and two for each further one (with a probability of 2^-16 a slot). A
    key is compared in full. A hit leaves six cycles behind its transfer, or five. Behind an INSERT or REMOVE nothing is
    taken before it is answered: OK, EXISTS or NO_SPACE; OK or STALE_HANDLE. After reset the table is emptied first, a
    bucket a cycle.

    Members
    -------
    i : In(stream.Signature(table_item(config)))
    hash : In(HASH_BITS)    of the key; valid in the second cycle behind the item's transfer, the first one with
        `Config.hash_ahead`
    o : Out(stream.Signature(track_request(config)))    one for each PASS and FIND
    answer : Out(stream.Signature(4))                   contract.Result, one for each INSERT and REMOVE
    show : In(1)            pulse: what was inserted at `show_index` is found from now on
    show_index : In(config.index_bits)
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(table_item(config))),
            "hash": In(HASH_BITS),
            "o": Out(stream.Signature(track_request(config))),
            "answer": Out(stream.Signature(4)),
            "show": In(1),
            "show_index": In(config.index_bits),
        })  # fmt: skip

    def _memories(self, m, count):
        """Read and write ports of the two tables, of the key store, and of what is shown."""
        config = self._config
        tables, writers = [], []
        for k in range(2):
            layout = data.ArrayLayout(slot(config), WAYS)
            m.submodules[f"table{k}"] = ram = memory.Memory(shape=layout, depth=count, init=[])
            tables.append(ram.read_port())
            writers.append(ram.write_port(granularity=1))
        m.submodules.keys = ram = memory.Memory(shape=flow_entry(config), depth=config.connections, init=[])
        entry, entry_writer = ram.read_port(), ram.write_port()
        m.submodules.shown = ram = memory.Memory(shape=1, depth=config.connections, init=[])
        shown, shown_writer = ram.read_port(), ram.write_port()
        return tables, writers, entry, entry_writer, shown, shown_writer

    def elaborate(self, platform):
        m = Module()
        config = self._config
        count = buckets(config.connections)

        tables, writers, entry, entry_writer, shown, shown_writer = self._memories(m, count)
        stash = Signal(data.ArrayLayout(slot(config), STASH))

        first = Signal(table_item(config))  # the item whose fingerprints are read
        item = Signal(table_item(config))  # the item whose key is compared
        over = Signal()  # from `first` to `item` in this cycle
        ready = Signal()  # for that
        operating = Signal()  # an INSERT or REMOVE is inside
        fingerprint = Signal(FINGERPRINT_BITS)
        bucket = [Signal(bucket_bits(config), name=f"bucket{k}") for k in range(2)]
        matches = Signal(PLACES)  # slots with the fingerprint that are not compared yet
        free = Signal(PLACES)
        equal = Signal()
        picked = Signal(config.index_bits)
        result = Signal(Result)
        sweep = Signal(bucket_bits(config))

        slots = [table.data[way] for table in tables for way in range(WAYS)] + [stash[k] for k in range(STASH)]
        indices = [Signal(config.index_bits, name=f"index{k}") for k in range(PLACES)]  # what the slots hold
        index = Signal(config.index_bits)  # of the lowest match
        for k in reversed(range(PLACES)):
            with m.If(matches[k]):
                m.d.comb += index.eq(indices[k])

        free_place = Signal(range(PLACES))
        for k in reversed(range(PLACES)):
            with m.If(free[k]):
                m.d.comb += free_place.eq(k)

        # The one slot that is written: by INSERT, or cleared by REMOVE.
        write = Signal()
        write_place = Signal(range(PLACES))
        write_buckets = [Signal.like(b, name=f"write_bucket{k}") for k, b in enumerate(bucket)]
        write_slot = Signal(slot(config))
        for k, writer in enumerate(writers):
            m.d.comb += [writer.addr.eq(write_buckets[k]), writer.data.eq(Cat(write_slot for _ in range(WAYS)))]
            for way in range(WAYS):
                m.d.comb += writer.en[way].eq(write & (write_place == k * WAYS + way))
        for k in range(STASH):
            with m.If(write & (write_place == 2 * WAYS + k)):
                m.d.sync += stash[k].eq(write_slot)

        m.d.comb += [
            self.o.p.eq(item.request),
            self.o.p.matched.eq(equal),
            self.o.p.handle.eq(Mux(equal, self._handle(picked, entry.data.generation), 0)),
            self.answer.p.eq(result),
            entry.addr.eq(index),
            entry.en.eq(0),
            shown.addr.eq(index),
            shown.en.eq(entry.en),
            shown_writer.addr.eq(Mux(self.show, self.show_index, item.handle)),
            shown_writer.data.eq(self.show | ~item.hidden),
            shown_writer.en.eq(self.show | entry_writer.en),
            entry_writer.addr.eq(item.handle[: config.index_bits]),
            [table.en.eq(0) for table in tables],
            [table.addr.eq(self.hash[16 * k :]) for k, table in enumerate(tables)],
        ]

        def next_first():
            m.d.comb += self.i.ready.eq(~operating)
            m.next = "idle"
            with m.If(self.i.valid & ~operating):
                m.d.sync += first.eq(self.i.p)
                m.next = "read" if config.hash_ahead else "hash"
                with m.If((self.i.p.kind == Kind.PASS) | (self.i.p.kind == Kind.REMOVE)):
                    m.next = "pass"
                with m.If((self.i.p.kind == Kind.INSERT) | (self.i.p.kind == Kind.REMOVE)):
                    m.d.sync += operating.eq(1)

        with m.FSM(init="clear", name="read"):
            with m.State("clear"):
                m.d.comb += [w.eq(sweep) for w in write_buckets]
                m.d.comb += [writer.en.eq(-1) for writer in writers]
                m.d.sync += sweep.eq(sweep + 1)
                with m.If(sweep == count - 1):
                    m.next = "idle"

            with m.State("idle"):
                next_first()

            if not config.hash_ahead:
                with m.State("hash"):
                    m.next = "read"

            with m.State("read"):
                m.d.comb += [table.en.eq(1) for table in tables]
                m.d.sync += [bucket[k].eq(self.hash[16 * k :]) for k in range(2)]
                m.d.sync += fingerprint.eq(self.hash[32:])
                m.next = "match"

            with m.State("match"):
                m.d.comb += over.eq(ready)
                with m.If(ready):
                    m.d.sync += matches.eq(Cat(s.valid & (s.fingerprint == fingerprint) for s in slots))
                    next_first()

            with m.State("pass"):
                m.d.comb += over.eq(ready)
                with m.If(ready):
                    m.d.sync += matches.eq(0)
                    next_first()

        with m.If(over):
            m.d.sync += [
                item.eq(first),
                equal.eq(0),
                free.eq(~Cat(s.valid for s in slots)),
                [register.eq(s.index) for register, s in zip(indices, slots, strict=True)],
            ]

        some = Signal()  # matches are left
        m.d.comb += some.eq(matches.any())

        def next_item():
            m.d.comb += ready.eq(1)
            m.next = "idle"
            with m.If(over):
                m.next = "decide"
                with m.If(first.kind == Kind.REMOVE):
                    m.next = "fetch"

        with m.FSM(name="compare"):
            with m.State("idle"):
                next_item()

            with m.State("decide"):
                with m.If(~equal & some):
                    m.d.sync += [picked.eq(index), matches.eq(matches & (matches - 1))]
                    m.d.comb += entry.en.eq(1)
                    m.next = "compare"
                with m.Elif(item.kind == Kind.INSERT):
                    m.next = "answer"
                    with m.If(equal):
                        m.d.sync += result.eq(Result.EXISTS)
                    with m.Elif(free.any() & self.show):
                        m.next = "decide"  # its memory is being written
                    with m.Elif(free.any()):
                        m.d.comb += [
                            write.eq(1),
                            write_place.eq(free_place),
                            [w.eq(b) for w, b in zip(write_buckets, bucket, strict=True)],
                            write_slot.valid.eq(1),
                            write_slot.fingerprint.eq(fingerprint),
                            write_slot.index.eq(item.handle),
                            entry_writer.en.eq(1),
                            entry_writer.data.valid.eq(1),
                            entry_writer.data.key.eq(item.key),
                            entry_writer.data.generation.eq(item.handle[INDEX_BITS:]),
                            entry_writer.data.place.eq(free_place),
                            entry_writer.data.bucket.eq(Mux(free_place < WAYS, *bucket)),
                        ]
                        m.d.sync += result.eq(Result.OK)
                    with m.Else():
                        m.d.sync += result.eq(Result.NO_SPACE)
                with m.Else():
                    m.d.comb += self.o.valid.eq(1)
                    with m.If(self.o.ready):
                        next_item()

            found = shown.data | (item.kind == Kind.INSERT)
            with m.State("compare"):
                m.d.sync += equal.eq((entry.data.key.as_value() == item.key.as_value()) & found)
                m.next = "decide"

            with m.State("fetch"):
                m.d.comb += [entry.en.eq(1), entry.addr.eq(item.handle)]
                m.next = "remove"

            handle = self._handle(item.handle[: config.index_bits], entry.data.generation)
            live, now = Signal(), entry.data.valid & (handle == item.handle)
            m.d.comb += live.eq(now)

            with m.State("remove"):
                with m.If(live):
                    m.d.comb += [
                        write.eq(1),
                        write_place.eq(entry.data.place),
                        [w.eq(entry.data.bucket) for w in write_buckets],
                        entry_writer.en.eq(1),
                    ]
                    m.d.sync += result.eq(Result.OK)
                with m.Else():
                    m.d.sync += result.eq(Result.STALE_HANDLE)
                m.next = "answer"

            with m.State("answer"):
                m.d.comb += self.answer.valid.eq(1)
                with m.If(self.answer.ready):
                    m.d.sync += operating.eq(0)
                    m.next = "idle"
        return m

    def _handle(self, index, generation):
        return Cat(index, Const(0, INDEX_BITS - len(index)), generation)
