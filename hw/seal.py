"""Tags: the sum of every record sent, put in its place, and kept for retransmissions."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.encrypt import folded, word_sum
from hw.rotate import byte_mask
from model.contract import TAG_RING


class Seal(wiring.Component):
    """Adds up each record's contributions; the sum is the tag once a fragment reaches the tag's first byte.

    Sums are kept by connection and position, tags of complete records of `stream` in a ring by connection
    (docs/contract-tx.md, section 4). Inside a tag the kept sum is the tag. A frame that turns out to be dropped
    leaves both as they were.

    Contract: a patch for each fragment with tag bytes and an end for each frame on `patches`; an order for each
    frame; in order. A fragment a cycle, two where something has to be fetched, and at a frame's end one more for
    each tag that is kept.

    Members
    -------
    i : In(stream.Signature(layouts.seal_item))
    hash : In(stream.Signature(128))     placed hash, one for each fragment
    j0 : In(stream.Signature(128))       E(J0), one for each fragment with `has_j0`
    delta : In(stream.Signature(16))     one for each frame
    patches : Out(stream.Signature(layouts.aligned_beat))
    orders : Out(stream.Signature(layouts.finish_order))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.seal_item(config))),
            "hash": In(stream.Signature(128)),
            "j0": In(stream.Signature(128)),
            "delta": In(stream.Signature(16)),
            "patches": Out(stream.Signature(layouts.aligned_beat(config))),
            "orders": Out(stream.Signature(layouts.finish_order(config))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        slot_bits = (TAG_RING - 1).bit_length()
        m.submodules.sums = sums = memory.Memory(shape=128, depth=2 * config.connections, init=[])
        m.submodules.ring = ring = memory.Memory(shape=128, depth=TAG_RING * config.connections, init=[])
        m.submodules.pending = pending = memory.Memory(shape=128, depth=TAG_RING, init=[])
        sum_read, sum_write = sums.read_port(), sums.write_port()
        ring_read, ring_write = ring.read_port(), ring.write_port()
        pending_read, pending_write = pending.read_port(), pending.write_port()

        item = self.i.p
        order = self.orders.p
        slot = item.record_number[:slot_bits]
        has_tag = item.tag_end != item.tag_first
        fetched = Signal()  # what the head item needs from memory is on the read ports
        total = Signal(128)  # of the last fragment
        index = Signal(config.index_bits)
        replay = Signal()
        waiting = Signal(TAG_RING)  # slots of `pending` this frame has filled

        new_total = Signal(128)
        tag = Signal(128)
        mask = Signal(16)
        tag_bytes = Signal(128)  # those of the fragment
        tag_sum = Signal(16)  # of the frame's tag bytes
        words = Signal(16)
        m.d.comb += [
            sum_read.addr.eq(Cat(item.index, item.replay & ~item.blind)),
            ring_read.addr.eq(Cat(slot, item.index)),
            new_total.eq(Mux(item.continues, sum_read.data, 0) ^ self.hash.p ^ Mux(item.has_j0, self.j0.p, 0)),
            tag.eq(Mux(~item.blind, new_total, Mux(item.in_progress, sum_read.data, ring_read.data))),
            mask.eq(((1 << item.tag_end) - 1) & ~((1 << item.tag_first) - 1)),
            tag_bytes.eq(tag & byte_mask(mask)),
            words.eq(folded(word_sum(tag_bytes))),
            pending_write.addr.eq(slot),
            pending_write.data.eq(new_total),
            self.patches.p.end.eq(item.end),
            self.patches.p.rotate.eq(item.tag_position),
            self.patches.p.beat.eq(item.tag_position.as_signed() >> config.rotate_bits),
            self.patches.p.data.eq(tag_bytes),
            self.patches.p.mask.eq(Mux(item.end, 0, mask)),
            order.status.eq(item.tx.status),
            order.handle.eq(item.tx.handle),
            order.send.eq(item.tx.send),
            order.seal.eq(item.tx.seal),
            order.offset.eq(item.tx.offset),
            order.payload_length.eq(item.tx.payload_length),
            order.checksum.eq(~folded(item.tx.sum + self.delta.p + tag_sum)),
            sum_write.data.eq(total),
            ring_write.data.eq(pending_read.data),
        ]

        patched = Signal()  # the end has gone to `patches`, or the order has gone
        ordered = Signal()
        next_slot = Signal(slot_bits)
        with m.Switch(waiting):
            for k in range(TAG_RING):
                with m.Case("-" * (TAG_RING - 1 - k) + "1" + "0" * k):
                    m.d.comb += next_slot.eq(k)
        m.d.comb += pending_read.addr.eq(next_slot)

        with m.FSM():
            with m.State("run"):
                m.d.sync += fetched.eq(0)
                with m.If(self.i.valid & item.end):
                    m.d.comb += [
                        self.patches.valid.eq(self.delta.valid & ~patched),
                        self.orders.valid.eq(self.delta.valid & ~ordered),
                    ]
                    m.d.sync += [
                        patched.eq(patched | (self.patches.valid & self.patches.ready)),
                        ordered.eq(ordered | (self.orders.valid & self.orders.ready)),
                    ]
                    with m.If(self.delta.valid & (patched | self.patches.ready) & (ordered | self.orders.ready)):
                        m.d.comb += [
                            self.delta.ready.eq(1),
                            sum_write.addr.eq(Cat(index, replay)),
                            sum_write.en.eq(item.keep_sum),
                        ]
                        m.d.sync += [patched.eq(0), ordered.eq(0), tag_sum.eq(0)]
                        with m.If(item.adopt & item.keep_sum):
                            m.next = "adopt"
                        with m.Elif(item.tx.seal & (waiting != 0)):
                            m.next = "fetch"
                        with m.Else():
                            m.d.comb += self.i.ready.eq(1)
                            m.d.sync += waiting.eq(0)
                with m.Elif(self.i.valid):
                    m.d.sync += fetched.eq(1)
                    needs_memory = item.continues | item.blind
                    with m.If(self.hash.valid & (self.j0.valid | ~item.has_j0) & (fetched | ~needs_memory)):
                        m.d.comb += self.patches.valid.eq(has_tag)
                        with m.If(self.patches.ready | ~has_tag):
                            keeps = item.completes & ~item.blind & ~item.replay
                            m.d.comb += [
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
                            with m.If(has_tag):
                                m.d.sync += tag_sum.eq(
                                    folded(tag_sum + Mux(item.tag_position[0], Cat(words[8:], words[:8]), words))
                                )
                            with m.If(keeps):
                                m.d.sync += waiting.bit_select(slot, 1).eq(1)

            with m.State("adopt"):
                # `stream` goes on from here.
                m.d.comb += [sum_write.addr.eq(Cat(index, 0)), sum_write.en.eq(1), self.i.ready.eq(1)]
                m.d.sync += waiting.eq(0)
                m.next = "run"

            with m.State("fetch"):
                m.next = "keep"

            with m.State("keep"):
                m.d.comb += [ring_write.addr.eq(Cat(next_slot, index)), ring_write.en.eq(1)]
                left = waiting & (waiting - 1)[:TAG_RING]
                m.d.sync += waiting.eq(left)
                m.next = "fetch"
                with m.If(left == 0):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "run"
        return m
