"""From the frame's grid to the record's: aligned beats for keystream and GHASH."""

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.beats import Beats, fragment_layout
from hw.buffer import PairPort, readable
from hw.config import Config
from hw.plan import POSITION_BITS, Plan, plan_layout
from hw.rotate import byte_mask, bytes_below, clipped, rotate_right_bytes, shift_right_bytes, thermometer
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
BOUNDS = ("body_low", "body_high", "tag_low", "tag_high")


@dataclass(frozen=True)
class _One:
    """A beat whose bytes have come from the buffer."""

    valid: Any
    plan: Any
    last: Any
    first: Any
    rotate: Any
    beat: Any
    counter: Any
    left: Any
    body: Any
    tag: Any
    bytes: Any


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
        self._work = tx_layouts.tx_work(config) if transmit else layouts.work(config)
        self._hashed = tx_layouts.plain_beat(config) if transmit else layouts.hash_beat(config)
        self._items = tx_layouts.seal_item(config) if transmit else layouts.verdict_item(config)
        super().__init__({
            "i": In(stream.Signature(self._work)),
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
            m.submodules.beats = front = Beats(config, self._work)
        else:
            m.submodules.plan = front = Plan(config, self._work)
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
        one = (self._late_front if config.late else self._front)(m, front, room)

        # stage 2: the bytes in the record's grid, and which of them are body and tag
        valid2 = Signal()
        plan2 = Signal((fragment_layout if config.late else plan_layout)(config, self._work))
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
            item_valid, item_work, item_has_aad = Signal(), Signal(self._work), Signal()
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

    def _front(self, m, plan, has_room):
        """Stages 0 and 1: a beat is chosen, and the buffer answers."""
        config = self.config
        width = config.width

        # stage 0: which beat is next
        p = plan.o.p
        number = Signal(layouts.EXPONENT_BITS)  # beat of the fragment
        offset = Signal(signed(POSITION_BITS))  # of its byte 0 from that of the fragment's first beat
        start = Signal(signed(POSITION_BITS))
        beat = Signal(config.pointer_bits)  # frame beat of its byte 0
        past = Signal(config.pointer_bits)
        remaining = Signal(layouts.EXPONENT_BITS)
        step = Signal()  # the chosen beat is read
        advance = Signal()  # the next one is chosen
        bound = signed(POSITION_BITS)
        choice = data.StructLayout({
            "plan": plan_layout(config, self._work),
            "last": 1,
            "first": 1,
            "needed": config.pointer_bits,
            "address": config.pointer_bits,
            "rotate": config.rotate_bits,
            "beat": config.pointer_bits,
            "counter": 16,
            "left": range(layouts.GHASH_STRIDE + 1),
            "body_low": bound, "body_high": bound, "tag_low": bound, "tag_high": bound,
        })  # fmt: skip
        next_choice, chosen, chosen_valid = Signal(choice), Signal(choice), Signal()
        n = next_choice
        m.d.comb += [
            start.eq(p.start + offset),
            beat.eq(start >> config.rotate_bits),
            past.eq(p.last_beat - beat),
            remaining.eq(p.beats - 1 - number),
            n.plan.eq(p),
            n.last.eq(p.work.end | (number == p.beats - 1)),
            n.first.eq(number == 0),
            n.needed.eq(Mux((past == 0) | past[-1], p.work.base + p.last_beat, p.work.base + beat + 1)),
            n.address.eq(p.work.base + beat),
            n.rotate.eq(start),
            n.beat.eq(beat),
            n.counter.eq(p.counter + (offset >> 4)),
            n.left.eq(Mux(remaining > layouts.GHASH_STRIDE, layouts.GHASH_STRIDE, remaining)),
            *(getattr(n, name).eq(getattr(p, name) - offset) for name in BOUNDS),
            plan.o.ready.eq(advance & n.last),
        ]
        with m.If(advance):
            m.d.sync += [
                number.eq(Mux(n.last, 0, number + 1)),
                offset.eq(Mux(n.last, 0, offset + width)),
            ]
        m.d.comb += [advance.eq(step), chosen.eq(next_choice), chosen_valid.eq(plan.o.valid)]

        # then: is it in the buffer, and is there room behind?
        available = Signal()
        room = Signal()
        chosen_work = chosen.plan.work
        m.d.comb += room.eq(has_room)
        m.d.comb += [
            available.eq(readable(self.written, self.ended, chosen.needed, chosen_work.packet)),
            step.eq(chosen_valid & room & (chosen_work.end | available)),
            self.buffer.address.eq(chosen.address),
        ]

        # stage 1: the buffer answers
        valid1 = Signal()
        plan1 = Signal(plan_layout(config, self._work))
        last1, first1 = Signal(), Signal()
        rotate1 = Signal(config.rotate_bits)
        beat1 = Signal(config.pointer_bits)
        counter1 = Signal(16)
        left1 = Signal(range(layouts.GHASH_STRIDE + 1))
        bounds1 = {name: Signal(range(width + 1)) for name in BOUNDS}
        m.d.sync += [
            valid1.eq(step),
            plan1.eq(chosen.plan),
            last1.eq(chosen.last),
            first1.eq(chosen.first),
            rotate1.eq(chosen.rotate),
            beat1.eq(chosen.beat),
            counter1.eq(chosen.counter),
            left1.eq(chosen.left),
            *(signal.eq(clipped(getattr(chosen, name), width)) for name, signal in bounds1.items()),
        ]
        below = {name: bytes_below(m, signal, width) for name, signal in bounds1.items()}
        body1 = below["body_high"] & ~below["body_low"]
        tag1 = below["tag_high"] & ~below["tag_low"]
        return _One(valid1, plan1, last1, first1, rotate1, beat1, counter1, left1, body1, tag1, self.buffer.data)

    def _late_front(self, m, beats, has_room):
        """The same with Beats, and a register behind the buffer."""
        config = self.config
        width = config.width
        m.d.sync += beats.room.eq(has_room)
        m.d.comb += [
            beats.written.eq(self.written),
            beats.ended.eq(self.ended),
            self.buffer.address.eq(beats.address),
        ]
        answered, beat = Signal(), beats.beat
        valid1 = Signal()
        last1, first1 = Signal(), Signal()
        rotate1, beat1 = Signal.like(beat.rotate), Signal.like(beat.beat)
        counter1, left1 = Signal.like(beat.counter), Signal.like(beat.left)
        body1, tag1 = Signal(width), Signal(width)
        bytes1 = Signal(16 * width, reset_less=True)
        below = {name: thermometer(getattr(beat, name))[:width] for name in BOUNDS}
        m.d.sync += [
            answered.eq(beats.step),
            valid1.eq(answered),
            last1.eq(beat.last),
            first1.eq(beat.first),
            rotate1.eq(beat.rotate),
            beat1.eq(beat.beat),
            counter1.eq(beat.counter),
            left1.eq(beat.left),
            body1.eq(below["body_high"] & ~below["body_low"]),
            tag1.eq(below["tag_high"] & ~below["tag_low"]),
            bytes1.eq(self.buffer.data),
        ]
        return _One(valid1, beats.fragment, last1, first1, rotate1, beat1, counter1, left1, body1, tag1, bytes1)

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
