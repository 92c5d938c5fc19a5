"""Tags: the sum of every record sent, put in its place, and kept for retransmissions."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.config import Config
from hw.rotate import byte_mask
from hw.stream import Queue
from hw.word_sum import WordSum
from model.contract import TAG_RING, TAG_SIZE

PATCH_DEPTH = 8
ORDER_DEPTH = 16
"""More than the cycles an order waits for the frame's sum."""


class Seal(wiring.Component):
    """Adds up each record's contributions; the sum is the tag once a fragment reaches the tag's first byte.

    Sums are kept by connection and position, tags of complete records of `stream` in a ring by connection
    (docs/contract-tx.md, section 4). Inside a tag the kept sum is the tag. A frame that turns out to be dropped
    leaves both as they were.

    Contract: a patch for each fragment with tag bytes and an end for each frame on `patches`; an order for each
    frame, `delay` cycles behind its end at the earliest; in order. The outputs may stall independently. A fragment
    a cycle, two where something has to be fetched, and at a frame's end one more for each tag that is kept.

    Members
    -------
    i : In(stream.Signature(tx_layouts.seal_item))
    hash : In(stream.Signature(128))     placed hash, one for each fragment
    j0 : In(stream.Signature(128))       E(J0), one for each fragment with `has_j0`
    delta : In(stream.Signature(16))     one for each frame
    patches : Out(stream.Signature(layouts.aligned_beat))
    orders : Out(stream.Signature(tx_layouts.finish_order))
    """

    delay = WordSum.delay_of(TAG_SIZE // 2) + 2

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(tx_layouts.seal_item(config))),
            "hash": In(stream.Signature(128)),
            "j0": In(stream.Signature(128)),
            "delta": In(stream.Signature(16)),
            "patches": Out(stream.Signature(layouts.aligned_beat(config))),
            "orders": Out(stream.Signature(tx_layouts.finish_order(config))),
        })  # fmt: skip

    @staticmethod
    def model(kept: dict, fragments: list[dict], end: dict, delta: int) -> tuple[list[tuple[int, bytes]], int]:
        """Tag bytes (position in the frame, bytes) of a frame and its checksum.

        Fragments and end are seal items, fragments with `value`: placed hash XOR E(J0). `kept` holds the sums, by
        ("sum", index, replay), and the tags of complete records of `stream`, by ("tag", index, record_number).
        """
        patches, complete, total = [], {}, 0
        for item in fragments:
            index, number = item["index"], item["record_number"]
            before = kept.get(("sum", index, item["replay"]), 0)  # of a blind record: nothing, and nobody's
            total = item["value"] ^ (before if item["continues"] else 0)
            tag = total
            if item["blind"] and item["tag_end"]:
                tag = kept[("sum", index, 0) if item["in_progress"] else ("tag", index, number)]
            if item["tag_end"]:
                first = item["tag_first"]
                patches.append((item["tag_position"] + first, tag.to_bytes(16, "little")[first : item["tag_end"]]))
            if item["completes"] and not item["blind"] and not item["replay"]:
                complete[("tag", index, number)] = tag
        if end["tx"]["seal"]:
            kept |= complete
        if end["keep_sum"]:
            kept[("sum", fragments[-1]["index"], fragments[-1]["replay"])] = total
            if end["adopt"]:
                kept[("sum", fragments[-1]["index"], 0)] = total
        words = end["tx"]["sum"].to_bytes(2, "big") + delta.to_bytes(2, "big")
        return patches, WordSum.model([(words, False), *((tag, place & 1) for place, tag in patches)]) ^ 0xFFFF

    def elaborate(self, platform):
        m = Module()
        config = self.config
        slot_bits = (TAG_RING - 1).bit_length()
        m.submodules.sums = sums = memory.Memory(shape=128, depth=2 * config.connections, init=[])
        m.submodules.ring = ring = memory.Memory(shape=128, depth=TAG_RING * config.connections, init=[])
        sum_read, sum_write = sums.read_port(), sums.write_port()
        ring_read, ring_write = ring.read_port(), ring.write_port()
        # Tags of the frame in the works: into the ring if it leaves.
        m.submodules.pending = pending = memory.Memory(shape=128, depth=TAG_RING, init=[])
        pending_read, pending_write = pending.read_port(domain="comb"), pending.write_port()
        m.submodules.out = out = _SealOutput(config)
        wiring.connect(m, out.patches, wiring.flipped(self.patches))
        wiring.connect(m, out.orders, wiring.flipped(self.orders))

        item = self.i.p
        slot = item.record_number[:slot_bits]
        fetched = Signal()  # what the head item needs from memory is on the read ports
        total = Signal(128)  # of the last fragment
        index = Signal(config.index_bits)
        replay = Signal()
        waiting = Signal(TAG_RING)  # slots of `pending` this frame has filled
        next_slot = Signal(slot_bits)
        with m.Switch(waiting):
            for k in range(TAG_RING):
                with m.Case("-" * (TAG_RING - 1 - k) + "1" + "0" * k):
                    m.d.comb += next_slot.eq(k)

        new_total = Signal(128)
        keeps = item.completes & ~item.blind & ~item.replay
        m.d.comb += [
            sum_read.addr.eq(Cat(item.index, item.replay & ~item.blind)),
            ring_read.addr.eq(Cat(slot, item.index)),
            pending_read.addr.eq(next_slot),
            new_total.eq(Mux(item.continues, sum_read.data, 0) ^ self.hash.p ^ Mux(item.has_j0, self.j0.p, 0)),
            pending_write.addr.eq(slot),
            pending_write.data.eq(new_total),
            sum_write.data.eq(total),
            ring_write.addr.eq(Cat(next_slot, index)),
            ring_write.data.eq(pending_read.data),
            out.item.eq(item),
            out.tag.eq(Mux(~item.blind, new_total, Mux(item.in_progress, sum_read.data, ring_read.data))),
            out.delta.eq(self.delta.p),
        ]

        with m.FSM():
            with m.State("run"):
                m.d.sync += fetched.eq(0)
                with m.If(self.i.valid & item.end):
                    with m.If(self.delta.valid & out.ready):
                        m.d.comb += [
                            out.valid.eq(1),
                            self.delta.ready.eq(1),
                            sum_write.addr.eq(Cat(index, replay)),
                            sum_write.en.eq(item.keep_sum),
                        ]
                        with m.If(item.adopt & item.keep_sum):
                            m.next = "adopt"
                        with m.Elif(item.tx.seal & (waiting != 0)):
                            m.next = "keep"
                        with m.Else():
                            m.d.comb += self.i.ready.eq(1)
                            m.d.sync += waiting.eq(0)
                with m.Elif(self.i.valid):
                    m.d.sync += fetched.eq(1)
                    needs_memory = item.continues | item.blind
                    contributions = self.hash.valid & (self.j0.valid | ~item.has_j0)
                    with m.If(contributions & (fetched | ~needs_memory) & out.ready):
                        m.d.comb += [
                            out.valid.eq(1),
                            self.i.ready.eq(1),
                            self.hash.ready.eq(1),
                            self.j0.ready.eq(item.has_j0),
                            pending_write.en.eq(keeps),
                        ]
                        m.d.sync += [
                            fetched.eq(0),
                            total.eq(new_total),
                            index.eq(item.index),
                            replay.eq(item.replay),
                        ]
                        with m.If(keeps):
                            m.d.sync += waiting.bit_select(slot, 1).eq(1)

            with m.State("adopt"):
                # `stream` goes on from here; its frame was on `replay`, so no tag waits.
                m.d.comb += [sum_write.addr.eq(Cat(index, 0)), sum_write.en.eq(1), self.i.ready.eq(1)]
                m.next = "run"

            with m.State("keep"):
                m.d.comb += ring_write.en.eq(1)
                left = waiting & (waiting - 1)[:TAG_RING]
                m.d.sync += waiting.eq(left)
                with m.If(left == 0):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "run"
        return m


class _SealOutput(wiring.Component):
    """Makes patches of tags and orders of ends, and adds up the checksum of each frame.

    Members
    -------
    item : In(tx_layouts.seal_item), tag : In(128), delta : In(16)
    valid : In(1)     only while `ready`
    ready : Out(1)
    patches : Out(stream.Signature(layouts.aligned_beat))
    orders : Out(stream.Signature(tx_layouts.finish_order))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "item": In(tx_layouts.seal_item(config)),
            "tag": In(128),
            "delta": In(16),
            "valid": In(1),
            "ready": Out(1),
            "patches": Out(stream.Signature(layouts.aligned_beat(config))),
            "orders": Out(stream.Signature(tx_layouts.finish_order(config))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        patch = data.StructLayout({
            "end": 1, "position": layouts.OFFSET_BITS + 1, "tag": 8 * TAG_SIZE, "mask": TAG_SIZE,
        })  # fmt: skip
        m.submodules.patch_queue = patches = Queue(patch, depth=PATCH_DEPTH)
        m.submodules.order_queue = orders = Queue(tx_layouts.tx_order(), depth=ORDER_DEPTH)
        m.submodules.sum_queue = sums = Queue(16, depth=ORDER_DEPTH)  # one for each of `orders`, later
        m.submodules.sum = word_sum = WordSum(TAG_SIZE // 2)

        # stage 0: which tag bytes are the fragment's
        item = self.item
        m.d.comb += [
            # One patch is in stage 1.
            self.ready.eq((patches.level < PATCH_DEPTH - 1) & orders.i.ready),
            orders.i.valid.eq(self.valid & item.end),
            orders.i.p.eq(item.tx),
        ]
        valid1 = Signal()
        patch1 = Signal(patch)
        totals1 = Signal(32)
        m.d.sync += [
            valid1.eq(self.valid & (item.end | (item.tag_end != item.tag_first))),
            patch1.end.eq(item.end),
            patch1.position.eq(item.tag_position),
            patch1.tag.eq(self.tag),
            patch1.mask.eq(Mux(item.end, 0, ((1 << item.tag_end) - 1) & ~((1 << item.tag_first) - 1))),
            totals1.eq(Cat(item.tx.sum, self.delta)),
        ]

        # stage 1: to the patches, and to the sum; the end brings what else is in the checksum, as integers
        bytes1 = Signal(8 * TAG_SIZE)
        shown = patches.o.p
        m.d.comb += [
            bytes1.eq(patch1.tag & byte_mask(patch1.mask)),
            word_sum.valid.eq(valid1),
            word_sum.end.eq(patch1.end),
            word_sum.odd.eq(patch1.end | patch1.position[0]),
            word_sum.words.eq(Mux(patch1.end, totals1, bytes1)),
            sums.i.valid.eq(word_sum.o_valid),
            sums.i.p.eq(word_sum.o),
            patches.i.valid.eq(valid1),
            patches.i.p.eq(patch1),
            patches.i.p.tag.eq(bytes1),
            self.patches.valid.eq(patches.o.valid),
            patches.o.ready.eq(self.patches.ready),
            self.patches.p.end.eq(shown.end),
            self.patches.p.rotate.eq(shown.position),
            self.patches.p.beat.eq(shown.position.as_signed() >> config.rotate_bits),
            self.patches.p.data.eq(shown.tag),
            self.patches.p.mask.eq(shown.mask),
        ]

        order = self.orders.p
        m.d.comb += [
            self.orders.valid.eq(sums.o.valid),
            sums.o.ready.eq(self.orders.ready),
            orders.o.ready.eq(self.orders.valid & self.orders.ready),
            order.checksum.eq(~sums.o.p),
            *(getattr(order, name).eq(getattr(orders.o.p, name))
              for name in ("status", "handle", "send", "seal", "offset", "payload_length")),
        ]  # fmt: skip
        return m
