"""The loss tracker's way over a frame that is not simply the next one: records, gaps, the frontier."""

from amaranth.hdl import Mux, Signal

from hw.loss_desk import Desk
from hw.loss_state import merged
from hw.sequence import after, from_on
from model.contract import MAX_RECORD, Status


def front_states(s: Desk, *, then: str):
    """From "front": the record that the frame's first byte lies in."""
    m, entry = s.m, s.entry
    with m.State("front"):
        m.d.sync += s.todo.eq(entry.live)
        m.next = "front next"
    s.each("front next", "front slot", then)
    with m.State("front slot"):
        m.d.sync += [*s.take(), s.record_slot.eq(s.next), s.used_up()]
        m.next = "front compare"
    with m.State("front compare"):
        m.d.comb += s.text.eq(s.record.header)
        m.next = "front next"
        with m.If(from_on(s.seq, s.record.place + s.header_size) & after(s.record_end, s.seq)):
            m.d.sync += s.aim(s.seq)
            m.next = "front count"
    with m.State("front count"):
        m.d.comb += s.text.eq(s.record.header)
        raw = Signal()
        refused = Signal()
        m.d.comb += raw.eq(entry.raw.bit_select(s.record_slot, 1))
        if not s.full:
            in_order = s.seq == (s.record_end - s.record.missing)[:32]
            m.d.comb += refused.eq(~s.top & (raw | ~in_order))
            with m.If(s.top & ~in_order):
                m.d.comb += raw.eq(1)
                m.d.sync += entry.raw.bit_select(s.record_slot, 1).eq(1)
            with m.If(refused):
                m.d.sync += s.stop(Status.RETRANSMISSION)
        counted = ~raw & ~refused
        count_states(s, counted=counted, raw=raw)
        m.next = "front emit"
        with m.If(refused):
            m.next = then
    s.emit("front emit", then)


def count_states(s: Desk, *, counted, raw):
    """In a state: the walk's fragment is a portion of the record at hand, which is live and has a slot."""
    m, entry = s.m, s.entry
    completes = counted & (s.record.missing == s.walk.count)
    with m.If(counted):
        s.put_counted()
    with m.If(completes):
        m.d.sync += entry.live.bit_select(s.record_slot, 1).eq(0)
        with m.If(entry.last == s.record_slot):
            m.d.sync += entry.has_last.eq(0)
    m.d.sync += [
        s.portions.eq(1),
        s.live_portion.eq(s.live_portion | ~raw),
        s.raw_portion.eq(s.raw_portion | raw),
        s.emit_slot.eq(s.record_slot),
        s.emit_counted.eq(counted),
        s.emit_completes.eq(completes),
        s.emit_continues.eq(s.record.missing != s.size),
    ]


def gap_states(s: Desk, *, then: str, conflict: str):
    """From "fill": late headers that chains were taken up behind."""
    m, entry = s.m, s.entry
    mask, data = merged(s.gap.head, s.window, s.cover)
    with m.State("fill"):
        m.d.sync += s.todo.eq(entry.gaps)
        m.next = "fill next"
    s.each("fill next", "fill gap", then)
    with m.State("fill gap"):
        m.d.sync += [s.gap.eq(s.gap_data), s.probe.eq(s.gap_data.head.place)]
        m.next = "fill fetch"
        with m.If(s.gap_data.head.mask == s.header_mask):
            m.d.sync += s.used_up()
            m.next = "fill next"
    s.wait("fill fetch", "fill capture")
    with m.State("fill capture"):
        m.d.sync += [s.gap.head.mask.eq(mask), s.gap.head.data.eq(data)]
        m.next = "fill check"
    with m.State("fill check"):
        head = s.gap.head
        m.d.comb += s.text.eq(head.data)
        s.put_gap(s.next, head, s.gap.number, s.gap.target)
        m.d.sync += s.used_up()
        m.next = "fill next"
        body = head.place + s.header_size
        with m.If(head.mask == s.header_mask):
            with m.If(~s.header.good | ((body + s.size)[:32] != s.gap.target)):
                m.d.sync += [*s.stop(Status.CONFLICT), entry.conflict.eq(1)]
                m.next = conflict
            with m.Elif((body - s.seq)[:32] < s.length):
                # All of it in this frame: nothing of it has to pass raw, so it must be judged. But behind a raw
                # record, whose number may have been guessed before its place was known, the frame stays raw.
                whole = ~s.stopped & ~s.raw_portion & ((body + s.size - s.seq)[:32] <= s.length)
                m.d.sync += [
                    s.portions.eq(1),
                    s.live_portion.eq(s.live_portion | whole),
                    s.raw_portion.eq(s.raw_portion | ~whole),
                    s.record.header.eq(head.data),
                    s.record.number.eq(s.gap.number),
                    s.record_end.eq(s.gap.target),
                    s.emit_counted.eq(whole),
                    s.emit_completes.eq(whole),
                    s.emit_continues.eq(0),
                ]
                with m.If(~s.stopped):
                    m.next = "fill aim"
    with m.State("fill aim"):
        m.d.sync += s.aim(s.gap.head.place + s.header_size)
        m.next = "fill emit"
    s.emit("fill emit", "fill next")


def frontier_states(s: Desk, *, then: str):
    """From "frontier": headers from the frontier on, and the records behind them."""
    m, entry = s.m, s.entry
    head = entry.head
    past = Signal(32)
    reaches = Signal()
    body = Signal(32)
    raw = Signal()
    mask, data = merged(head, s.window, s.cover)
    m.d.comb += [past.eq(s.seq - head.place), reaches.eq(after(s.end, head.place))]

    with m.State("frontier"):
        m.next = then
        with m.If(~entry.blind & (past[31] | (past < s.header_size)) & reaches):
            m.d.sync += s.partial.eq(past[31] & ~s.portions & ~s.stopped)
            m.next = "advance"
        with m.Elif(s.fresh & reaches):
            m.d.sync += s.stop(Mux(entry.blind, Status.OUT_OF_SYNC, Status.WAIT))
            if not s.full:
                with m.If(~entry.blind & ((s.end - head.place)[:32] > MAX_RECORD)):
                    m.d.sync += [entry.blind.eq(1), s.status.eq(Status.OUT_OF_SYNC)]
        with m.Elif(s.fresh & ~s.portions):
            m.d.sync += s.stop(Status.GAP)

    with m.State("advance"):
        m.d.sync += s.probe.eq(head.place)
        m.next = then
        with m.If(reaches):
            m.next = "advance fetch"
    s.wait("advance fetch", "advance capture")
    with m.State("advance capture"):
        m.d.sync += [head.mask.eq(mask), head.data.eq(data), s.headers.eq(1)]
        m.next = "advance check"
    with m.State("advance check"):
        m.d.comb += s.text.eq(head.data)
        m.d.sync += [
            s.record.place.eq(head.place),
            s.record.header.eq(head.data),
            s.record.number.eq(entry.number),
            s.record.missing.eq(s.size),
            s.record_slot.eq(s.free),
            s.record_end.eq(head.place + s.header_size + s.size),
            body.eq(head.place + s.header_size),
            s.range_start.eq(s.end),
        ]
        m.next = then
        with m.If(head.mask != s.header_mask):
            with m.If(after(s.end, head.place + s.header_size) & ~s.stopped):
                m.d.sync += s.stop(Status.WAIT)
        with m.Elif(~s.header.good):
            m.d.sync += [*s.stop(Status.BAD_HEADER), entry.blind.eq(1)]
        with m.Elif(~s.room):
            m.d.sync += [*s.stop(Status.OUT_OF_SYNC), entry.blind.eq(1)]
        with m.Else():
            m.next = "advance range"
    with m.State("advance range"):
        m.d.sync += [
            s.range_end.eq(s.record_end),
            raw.eq(s.stopped | (s.partial & s.full)),
            *s.aim(body),
        ]
        with m.If(after(body, s.end)):
            m.d.sync += s.range_start.eq(body)
        m.next = "advance passed"
    with m.State("advance passed"):
        m.next = "advance open"
        with m.If(after(s.range_end, s.range_start)):
            m.next = "advance passed"
            with m.If(s.check()):
                m.d.sync += raw.eq(raw | ~s.holes.untouched)
                m.next = "advance open"
    with m.State("advance open"):
        m.d.comb += s.text.eq(s.record.header)
        s.put(
            s.record_slot,
            place=s.record.place,
            header=s.record.header,
            number=s.record.number,
            missing=s.record.missing,
        )
        m.d.sync += [
            entry.live.bit_select(s.record_slot, 1).eq(1),
            entry.raw.bit_select(s.record_slot, 1).eq(raw),
            entry.has_last.eq(1),
            entry.last.eq(s.record_slot),
            entry.number.eq(entry.number + 1),
            head.eq(0),
            head.place.eq(s.record_end),
        ]
        m.next = "settle"
        with m.If((body - s.seq)[:32] < s.length):
            m.next = "advance count"
    with m.State("advance count"):
        m.d.comb += s.text.eq(s.record.header)
        count_states(s, counted=~raw & ~s.stopped, raw=raw)
        m.next = "advance emit"
        with m.If(s.stopped):
            m.next = "settle"
    s.emit("advance emit", "settle")

    # The frontier has a new place: can its header still be seen, or has a chain been found there?
    with m.State("settle"):
        m.d.sync += [s.range_start.eq(head.place), s.range_end.eq(head.place + s.header_size)]
        m.next = "settle untouched"
        if s.full:
            with m.If(entry.chain_count != 0):
                chain = s.chains[0]
                with m.If(after(head.place, chain.start)):
                    s.drop(0)
                    m.next = "settle"
                with m.Elif((chain.count != 0) & (chain.start == head.place)):
                    m.next = "adopt"
    with m.State("settle untouched"):
        with m.If(s.check()):
            m.next = "advance"
            with m.If(~s.holes.untouched):
                m.d.sync += entry.blind.eq(1)
                m.next = then


def adopt_states(s: Desk, *, operating, then: str, operated: str):
    """From "adopt": the frontier is where the first chain has come to. `operating`: the host has said so."""
    m, entry = s.m, s.entry
    chain = s.chains[0]
    with m.State("adopt"):
        m.d.comb += s.slot.eq(chain.last)
        m.next = "adopt number"
    with m.State("adopt number"):
        number = entry.number + chain.count
        with m.If(chain.has_last):
            s.put(
                chain.last,
                place=s.slot_data.place,
                header=s.slot_data.header,
                number=number - 1,
                missing=s.slot_data.missing,
            )
        m.d.sync += [
            entry.live.eq(entry.live | chain.owned),
            entry.raw.eq(entry.raw | chain.owned),
            entry.has_last.eq(chain.has_last),
            entry.last.eq(chain.last),
            entry.head.eq(chain.head),
            entry.number.eq(number),
            entry.blind.eq(0),
        ]
        s.drop(0)
        m.next = then
        with m.If(operating):
            m.next = operated
