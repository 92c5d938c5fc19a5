"""From the frame's grid to the record's: aligned beats for keystream and GHASH."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.align_read import late_read, read
from hw.beats import Beats, fragment_layout
from hw.buffer import PairPort
from hw.config import Config
from hw.plan import Plan, plan_layout
from hw.rotate import byte_mask, rotate_right_bytes, shift_right_bytes
from hw.stream import FlagQueue, Queue
from model.contract import TAG_SIZE, TLS_VERSION_BYTES

QUEUE_DEPTH = 16
ITEMS_DEPTH = 16
"""Times lanes: an item waits for its fragment's placed hash while the hashes behind it are made, of more fragments
the wider the beat is."""
PLAIN_DEPTH = 48
"""Plaintext waits for its keystream: the latency of the AES pipeline and a few beats."""
STAGES = 3
"""Beats between the decision to read and the queues."""
LATE_STAGES = 7
"""The same with `config.late`, and those decided on in the two cycles after the queues were looked at."""


def big_endian(value):
    """An integer as a byte string, most significant byte in bits 7:0."""
    size = len(value) // 8
    return Cat(value.word_select(size - 1 - k, 8) for k in range(size))


class Align(wiring.Component):
    """Cuts fragments into aligned beats, reading the frame's bytes from the packet buffer.

    Contract: a beat a cycle, no gap between fragments or frames as long as the bytes are in the buffer. The three
    outputs may stall independently. Each aligned beat goes to `keystream` and `hashed`; each fragment, and each
    frame's end, to `items`; each frame's end also to `keystream` and, on transmit, to `hashed`.

    Parameters
    ----------
    config : Config
    transmit : bool
        Bytes where a tag goes are told apart, not collected.

    Members
    -------
    i : In(stream.Signature(layouts.work))                       transmit: tx_layouts.tx_work
    keystream : Out(stream.Signature(layouts.keystream_request))
    hashed : Out(stream.Signature(layouts.hash_beat))            transmit: tx_layouts.plain_beat
    items : Out(stream.Signature(layouts.verdict_item))          transmit: tx_layouts.seal_item
    buffer : Out(PairPort)
    written, ended : In          see docs/architecture.md, packet buffer
    """

    def __init__(self, config: Config, *, transmit: bool = False):
        self.config = config
        self.transmit = transmit
        self.work = tx_layouts.tx_work(config) if transmit else layouts.work(config)
        self._hashed = tx_layouts.plain_beat(config) if transmit else layouts.hash_beat(config)
        self._items = tx_layouts.seal_item(config) if transmit else layouts.verdict_item(config)
        super().__init__({
            "i": In(stream.Signature(self.work)),
            "keystream": Out(stream.Signature(layouts.keystream_request(config))),
            "hashed": Out(stream.Signature(self._hashed)),
            "items": Out(stream.Signature(self._items)),
            "buffer": Out(PairPort(config)),
            "written": In(config.pointer_bits),
            "ended": In(layouts.PACKET_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width, lanes = config.width, config.lanes
        hashed_depth = PLAIN_DEPTH if self.transmit else QUEUE_DEPTH
        items_depth = ITEMS_DEPTH * lanes
        kind = FlagQueue if config.late else Queue
        if config.late:
            m.submodules.beats = front = Beats(config, self.work)
        else:
            m.submodules.plan = front = Plan(config, self.work)
        m.submodules.keystream_queue = keystream = kind(layouts.keystream_request(config), depth=QUEUE_DEPTH)
        m.submodules.hashed_queue = hashed = kind(self._hashed, depth=hashed_depth)
        m.submodules.items_queue = items = kind(self._items, depth=items_depth)
        wiring.connect(m, wiring.flipped(self.i), front.i)
        wiring.connect(m, keystream.o, wiring.flipped(self.keystream))
        wiring.connect(m, hashed.o, wiring.flipped(self.hashed))
        wiring.connect(m, items.o, wiring.flipped(self.items))

        inside = LATE_STAGES if config.late else STAGES
        room = (
            (keystream.level < QUEUE_DEPTH - inside)
            & (hashed.level < hashed_depth - inside)
            & (items.level < items_depth - inside)
        )
        one = (late_read if config.late else read)(m, self, front, room)

        # stage 2: the bytes in the record's grid, and which of them are body and tag
        valid2 = Signal()
        plan2 = Signal((fragment_layout if config.late else plan_layout)(config, self.work))
        last2, first2 = Signal(), Signal()
        data2 = Signal(8 * width)
        body2 = Signal(width)
        tag2 = Signal(width)
        request2 = Signal(layouts.keystream_request(config))
        left2 = Signal.like(one.left)
        work1 = one.plan.work
        lanes_j0 = Signal(lanes)
        nonce = Mux(work1.tls13, big_endian(work1.record_number), work1.explicit_nonce)
        m.d.comb += lanes_j0.eq(Mux(one.plan.has_aad & one.first, Const(1, lanes) << one.plan.aad_lane, 0))
        m.d.sync += [
            valid2.eq(one.valid),
            plan2.eq(one.plan),
            last2.eq(one.last),
            first2.eq(one.first),
            left2.eq(one.left),
            data2.eq(shift_right_bytes(one.bytes, one.rotate, width)),
            body2.eq(one.body),
            tag2.eq(one.tag),
            request2.end.eq(work1.end),
            request2.index.eq(work1.index),
            request2.nonce.eq(nonce),
            request2.counter.eq(one.counter),
            request2.j0_lanes.eq(Mux(work1.end, 0, lanes_j0)),
            request2.mask.eq(Mux(work1.end, 0, one.body)),
            request2.rotate.eq(one.rotate),
            request2.beat.eq(one.beat),
        ]

        # behind stage 2: AAD and length block into their lanes; the tag's bytes gathered over the fragment
        work = plan2.work
        record_length = Signal(16)
        body_bits = Signal(64)
        aad_bits = Signal(64)
        aad = Signal(128)
        length_block = Signal(128)
        version = Const(TLS_VERSION_BYTES, 16)
        m.d.comb += [
            record_length.eq(work.body_length + TAG_SIZE),
            body_bits.eq(work.body_length << 3),
            aad_bits.eq(Mux(work.tls13, 8 * 5, 8 * 13)),
            length_block.eq(Cat(big_endian(aad_bits), big_endian(body_bits))),
            aad.eq(
                Mux(
                    work.tls13,
                    Cat(work.content_type, version, big_endian(record_length)),
                    Cat(
                        big_endian(work.record_number),
                        work.content_type,
                        version,
                        big_endian(Cat(work.body_length, Const(0, 16 - layouts.EXT_BITS))),
                    ),
                )
            ),
        ]
        body_bytes = Signal(8 * width)
        m.d.comb += body_bytes.eq(data2 & byte_mask(body2))
        blocks = []
        for lane in range(lanes):
            block = body_bytes[128 * lane : 128 * (lane + 1)]
            block = Mux(request2.j0_lanes[lane], aad, block)
            if lane == lanes - 1:
                block = Mux(plan2.has_length & last2, length_block, block)
            blocks.append(block)
        tag_bytes = Signal(8 * width)
        item_valid, item_work, item_has_aad = valid2 & last2, work, plan2.has_aad
        if config.late:
            item_valid, item_work, item_has_aad = Signal(), Signal(self.work), Signal()
            m.d.sync += [item_valid.eq(valid2 & last2), item_work.eq(work), item_has_aad.eq(plan2.has_aad)]
        m.d.comb += [
            tag_bytes.eq(data2 & byte_mask(tag2)),
            keystream.i.valid.eq(valid2),
            keystream.i.p.eq(request2),
            hashed.i.valid.eq(valid2 & (self.transmit | ~work.end)),
            hashed.i.p.index.eq(work.index),
            hashed.i.p.blocks.eq(Cat(blocks)),
            hashed.i.p.first.eq(first2),
            hashed.i.p.last.eq(last2),
            hashed.i.p.left.eq(left2),
            hashed.i.p.exponent.eq(plan2.exponent),
            items.i.valid.eq(item_valid),
            items.i.p.end.eq(item_work.end),
            items.i.p.index.eq(item_work.index),
            items.i.p.has_j0.eq(item_has_aad),
            items.i.p.continues.eq(item_work.continues),
            items.i.p.keep_sum.eq(item_work.keep_sum),
        ]
        if self.transmit:
            m.d.comb += [
                hashed.i.p.end.eq(work.end),
                hashed.i.p.tag.eq(tag_bytes),
                hashed.i.p.odd.eq(request2.rotate[0]),
            ]
            self._seal(m, items.i.p, item_work)
        else:
            self._verdict(m, items.i.p, item_work, valid2, first2, tag_bytes)
        return m

    def _verdict(self, m, item, work, valid, first, tag_bytes):
        """The fragment's bytes of the received tag, gathered over its beats."""
        here = Signal(128)
        before = Signal(128)
        gathered = Signal(128)
        m.d.comb += [
            here.eq(reduce(or_, (tag_bytes[128 * lane :][:128] for lane in range(self.config.lanes)))),
            gathered.eq(here | Mux(first, 0, before)),
            item.tag.eq(rotate_right_bytes(before if self.config.late else gathered, work.body_length[:4])),
            item.completes.eq(work.completes),
            item.slot.eq(work.slot),
            item.counted.eq(work.counted),
            item.store.eq(work.store),
            item.proof.eq(work.proof),
            item.mark.eq(work.mark),
            item.repeated.eq(work.repeated),
            item.descriptor.eq(work.descriptor),
            item.payload_length.eq(work.payload_length),
        ]
        with m.If(valid):
            m.d.sync += before.eq(gathered)

    def _seal(self, m, item, work):
        """Which bytes of the tag the fragment holds, and where they go."""
        tag_start = work.body_length + 16
        end = work.ext_first + work.count
        m.d.comb += [
            item.replay.eq(work.replay),
            item.completes.eq(work.completes),
            item.blind.eq(work.blind),
            item.in_progress.eq(work.in_progress),
            item.record_number.eq(work.record_number),
            item.tag_first.eq(Mux(work.ext_first > tag_start, work.ext_first - tag_start, 0)),
            item.tag_end.eq(Mux(end > tag_start, end - tag_start, 0)),
            item.tag_position.eq(work.position + tag_start - work.ext_first),
            item.adopt.eq(work.adopt),
            item.tx.eq(work.tx),
        ]
