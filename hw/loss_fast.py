"""The loss tracker's fast path: a frame that begins where everything ends, with nothing pending there."""

from amaranth.hdl import Const, Mux, Signal

from hw import layouts
from hw.intake import Intake
from hw.loss_desk import Desk
from hw.loss_state import entry_layout, head_layout, lead
from hw.sequence import after, from_on
from model.contract import REACH, Status


def fast_states(s: Desk):
    """States "compare", "decide" and on: a frame that begins where everything ends, with nothing pending there.

    The record in progress keeps its slot; one that ends in the frame leaves it to the next.
    """
    m = s.m
    entry, at, head = s.entry, s.at, s.entry.head
    raw = s.config.passes_raw
    simple = Signal()
    in_record = Signal()
    in_header = Signal()
    missing = Signal(layouts.EXT_BITS)
    no_window = Signal()
    from_floor = Signal(32)
    to_record_end = Signal(32)
    seen_bytes = Signal(range(len(head.mask) + 1))
    here = Signal(32)
    m.d.comb += [
        from_floor.eq(s.end - entry.floor),
        to_record_end.eq(head.place - s.seq),
        seen_bytes.eq(lead(head.mask)),
        here.eq(s.seq + s.walk.cursor - s.frame.payload_offset),
    ]

    with m.State("compare"):
        m.d.comb += s.slot.eq(entry.last)
        m.d.sync += [
            s.fast.eq(0),
            missing.eq(s.slot_data.missing),
            s.follows.eq(s.seq == entry.seen),
            s.top.eq(from_on(s.seq, entry.seen)),
            simple.eq(~entry.blind & (entry.chain_count == 0)),
            in_record.eq(
                entry.has_last
                & ~entry.raw.bit_select(entry.last, 1)
                & (to_record_end != 0)
                & (to_record_end == s.slot_data.missing)
            ),
            in_header.eq((s.seq == (head.place + seen_bytes)[:32]) & s.room),
            s.emit_counted.eq(1),
            no_window.eq((from_floor == 0) | (from_floor >= REACH)),
            *([s.lost.eq(entry.blind)] if raw else []),
        ]
        m.next = "decide"

    with m.State("decide"):
        s.walk.look(s.frame.payload_offset)
        m.d.sync += [s.walk.cursor.eq(s.frame.payload_offset), s.status.eq(Status.DECRYPTED)]
        m.next = "slow"
        with m.If(entry.conflict):
            m.d.sync += s.status.eq(Status.CONFLICT)
            m.next = "finish"
        with m.Elif(no_window):
            m.d.sync += s.status.eq(Status.RETRANSMISSION)
            m.next = "finish"
        if raw:
            with m.Elif(s.follows & s.lost & s.tracker.overload):
                m.d.sync += [*s.overlook(), entry.seen.eq(s.end)]
                m.next = "finish"
        with m.Elif(s.follows & simple & in_record):
            m.d.sync += [
                at.number.eq(entry.number - 1),
                at.remaining.eq(missing),
                at.header_count.eq(s.header_size),
                at.header.eq(s.slot_data.header),
                s.emit_slot.eq(entry.last),
                s.fast.eq(1),
                *s.walk.foresee(s.frame.payload_offset, missing),
            ]
            m.next = "walk"
        with m.Elif(s.follows & simple & in_header):
            m.d.sync += [
                at.number.eq(entry.number),
                at.remaining.eq(0),
                at.header_count.eq(seen_bytes),
                at.header.eq(head.data),
                s.emit_slot.eq(s.free),
                s.fast.eq(1),
            ]
            m.next = "walk"

    def done():
        m.next = "finish"

    def bad():
        m.d.sync += s.status.eq(Status.BAD_HEADER)
        m.next = "bad header"

    def give_up():
        m.d.sync += [s.status.eq(Status.OVERLOAD), s.request_seq.eq(here)]
        m.next = "bad header"

    s.walk.states(done=done, bad=bad, late=(s.tracker.overload & s.walk.costs, give_up) if raw else None)

    with m.State("bad header"):
        m.d.sync += [
            s.fast.eq(0),
            entry.blind.eq(1),
            entry.seen.eq(s.end),
            entry.tail_count.eq(0),
            entry.raw.bit_select(s.emit_slot, 1).eq(0),
            entry.live.bit_select(s.emit_slot, 1).eq(0),
            entry.has_last.eq(0),
            entry.last.eq(s.emit_slot),
            entry.number.eq(at.number),
            head.place.eq(here - at.header_count),
            head.mask.eq((Const(1, len(head.mask) + 1) << at.header_count) - 1),
            head.data.eq(at.header),
        ]
        m.next = "finish"


def left_behind(s: Desk):
    """The state behind the frame: on the fast path what the walk has come to."""
    m = s.m
    left, at, head = Signal(entry_layout), s.at, Signal(head_layout)
    inside = at.remaining != 0
    m.d.comb += [
        head.place.eq(s.end + Mux(inside, at.remaining, -at.header_count)),
        head.mask.eq(Mux(inside, 0, (Const(1, len(head.mask) + 1) << at.header_count) - 1)),
        head.data.eq(Mux(inside, 0, at.header)),
        left.eq(s.entry),
    ]
    with m.If(s.fast):
        m.d.comb += [
            left.seen.eq(s.end),
            left.tail_count.eq(0),
            left.raw.bit_select(s.emit_slot, 1).eq(0),
            left.live.bit_select(s.emit_slot, 1).eq(inside),
            left.has_last.eq(inside),
            left.last.eq(s.emit_slot),
            left.number.eq(at.number + inside),
            left.head.eq(head),
        ]
        with m.If(after(s.end, s.entry.marked)):
            m.d.comb += left.marked.eq(s.end)
    return left


def goes_on(s: Desk, intake: Intake):
    """At the end of a frame that took the fast path: so will the next one, which begins where this one ends."""
    m = s.m
    follows = Signal()
    from_floor = Signal(32)
    near = Signal()
    m.d.comb += from_floor.eq(s.end - s.entry.floor)
    m.d.sync += [
        follows.eq(
            s.tracker.i.valid & ~s.tracker.i.ready & intake.next.matched & intake.same() & (intake.next.seq == s.end)
        ),
        near.eq(from_floor < REACH - (1 << layouts.OFFSET_BITS)),
    ]
    return s.fast & follows & near
