"""The loss tracker beyond the frontier: chains of headers are found, followed, and prove themselves."""

from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import data

from hw import layouts
from hw.header_finder import looks_like_header
from hw.loss_chains import Links, joined
from hw.loss_desk import Desk
from hw.loss_state import head_layout, lead, merged
from hw.priority import lowest
from hw.sequence import after, from_on
from model.contract import CHAINS, GAPS, HEADER_SIZE, OPEN_RECORDS

_TAIL = HEADER_SIZE - 1


class Scan:
    """A frame beyond the frontier and beyond everything seen: look for headers, and count records on the quiet."""

    def __init__(self, s: Desk):
        self.s = s
        self.links = Links(s)
        self.complete = Signal(OPEN_RECORDS)  # slots of records that end in the frame

    def states(self, *, follows, then: str, proved: str):
        """From "scan". `follows`: the frame is the next one. "prove" follows on a proof that holds."""
        s, m, entry = self.s, self.s.m, self.s.entry
        chain = s.last_chain
        links = self.links
        position = Signal(layouts.OFFSET_BITS)  # bytes of the payload looked at
        spoiled = Signal()  # a chain that had bytes of this frame was dropped
        wrong = Signal()  # the first record to end has another number than follows now
        foreign = Signal()  # the first record of the frame has
        any_portion = Signal()
        at_zero = Signal()  # the first portion begins with the frame
        to_end = Signal()  # the last one ends with it, and its record too
        found = Signal(head_layout)
        ahead = Signal(32)
        mask, text = merged(chain.head, s.window, s.cover)
        end_of_head = Signal(32)

        m.d.comb += [
            ahead.eq(chain.head.place - s.seq - position),
            end_of_head.eq(chain.head.place + lead(chain.head.mask) - s.seq),
        ]

        def search():
            m.next = "scan tail"
            with m.If((position != 0) | (entry.tail_count == 0)):
                m.next = "scan find"

        too_late = Signal()
        if s.config.passes_raw:  # a search takes longer than its frame comes in
            m.d.comb += too_late.eq(s.lost & follows & s.tracker.overload)

        def leave():
            m.d.sync += s.overlook()
            m.next = then

        with m.State("scan"):
            m.d.sync += [
                position.eq(0),
                spoiled.eq(0),
                wrong.eq(0),
                foreign.eq(0),
                any_portion.eq(0),
                at_zero.eq(0),
                to_end.eq(0),
                self.complete.eq(0),
                links.write.eq(0),
            ]
            with m.If(~follows):
                m.d.sync += entry.tail_count.eq(0)
            m.next = "scan next"
            with m.If(entry.tracking):
                m.next = "links"
                with m.If(after(s.seq, chain.head.place + lead(chain.head.mask))):
                    if s.full:
                        m.d.sync += entry.tracking.eq(0)  # the chain waits for this header
                    else:
                        s.drop(s.last_number)
                    m.next = "scan next"
        links.states(then="scan next", written="prove chain")

        with m.State("scan next"):
            m.d.sync += s.probe.eq(s.seq)
            with m.If(position >= s.length):
                m.next = "scan end"
            if s.config.passes_raw:
                with m.Elif(too_late):
                    leave()
            with m.Elif(entry.tracking):
                m.d.sync += s.probe.eq(chain.head.place)
                m.next = "scan fetch"
                with m.If((ahead != 0) & ~ahead[31]):
                    m.next = "scan record"
            with m.Elif(entry.chain_count != CHAINS):
                search()
            with m.Elif(entry.blind):
                s.drop(0)
                search()
            with m.Else():
                m.next = "scan end"

        # --- a header is searched
        tail_text = data.View(data.ArrayLayout(8, 2 * _TAIL), Signal(8 * 2 * _TAIL, name="tail_text"))
        fits = Signal(_TAIL)
        first = lowest(m, fits)
        m.d.comb += tail_text.as_value().eq(Cat(entry.tail, s.window[: 8 * _TAIL]))
        for n in range(_TAIL):
            m.d.comb += fits[n].eq(
                (n + entry.tail_count >= _TAIL)
                & (s.length > n)
                & looks_like_header(tail_text.as_value()[8 * n :][: 8 * HEADER_SIZE], entry.tls13)
            )
        s.wait("scan tail", "scan tail match")
        with m.State("scan tail match"):
            m.d.sync += [
                found.place.eq(s.seq - _TAIL + first),
                found.data.eq(entry.tail >> (first << 3)),
                found.mask.eq((1 << _TAIL) - 1 >> first),
            ]
            m.next = "scan new"
            with m.If(fits == 0):
                m.next = "scan find"
        with m.State("scan find"):
            m.d.comb += [s.finder.go.eq(1), s.finder.first.eq(s.frame.payload_offset + position)]
            offset = (s.finder.at - s.frame.payload_offset)[: layouts.OFFSET_BITS]
            m.d.sync += [found.eq(0), found.place.eq(s.seq + offset)]
            with m.If(s.finder.done):
                m.next = "scan end"
                with m.If(s.finder.found):
                    m.d.sync += position.eq(offset)
                    m.next = "scan new"
            if s.config.passes_raw:
                with m.Elif(too_late):
                    leave()
        with m.State("scan new"):
            s.change(
                entry.chain_count,
                lambda chain: [
                    chain.eq(0),
                    chain.start.eq(found.place),
                    chain.head.eq(found),
                    chain.provable.eq(1),
                ],
            )
            m.d.sync += [
                entry.chain_count.eq(entry.chain_count + 1),
                entry.tracking.eq(1),
            ]
            m.next = "links"

        # --- along the chain: bytes of its last record
        with m.State("scan record"):
            m.d.comb += s.slot.eq(chain.last)
            m.next = "scan slot"
            with m.If(~chain.has_last | entry.blind | (not s.full)):  # nothing is counted
                left = s.length - position
                m.d.sync += position.eq(position + Mux(ahead < left, ahead, left))
                m.next = "scan next"
        with m.State("scan slot"):
            m.d.sync += [*s.take(), s.record_slot.eq(chain.last)]
            m.next = "scan aim"
        with m.State("scan aim"):
            m.d.sync += s.aim(s.seq + position)
            m.next = "scan count"
        with m.State("scan count"):
            m.d.comb += s.text.eq(s.record.header)
            completes = s.record.missing == s.walk.count
            other = s.record.number != (links.base + chain.count - 1)[:64]
            s.put_counted()
            m.d.sync += [
                s.emit_slot.eq(s.record_slot),
                s.emit_counted.eq(1),
                s.emit_completes.eq(completes),
                s.emit_continues.eq(s.record.missing != s.size),
                position.eq(position + s.walk.count),
                any_portion.eq(1),
                foreign.eq(Mux(any_portion, foreign, other)),
                at_zero.eq(at_zero | (~any_portion & (position == 0))),
                to_end.eq(completes & (s.walk.count == s.walk.left)),
            ]
            with m.If(completes):
                m.d.sync += self.complete.bit_select(s.record_slot, 1).eq(1)
                with m.If(self.complete == 0):
                    m.d.sync += wrong.eq(other)
            m.next = "scan emit"
        s.emit("scan emit", "scan next")

        # --- along the chain: its next header
        s.wait("scan fetch", "scan capture")
        with m.State("scan capture"):
            s.change(s.last_number, lambda chain: [chain.head.mask.eq(mask), chain.head.data.eq(text)])
            m.next = "scan header"
        with m.State("scan header"):
            m.d.comb += s.text.eq(chain.head.data)
            head_end = chain.head.place + s.header_size + s.size
            m.d.sync += position.eq(end_of_head)
            m.next = "scan next"
            with m.If(chain.head.mask != s.header_mask):
                m.next = "scan end"
            with m.Elif(~s.header.good | ~s.room):
                s.drop(s.last_number)
                m.d.sync += [
                    spoiled.eq(spoiled | any_portion),
                    any_portion.eq(0),
                    at_zero.eq(0),
                    to_end.eq(0),
                    self.complete.eq(0),
                    position.eq(Mux(from_on(chain.head.place, s.seq), chain.head.place + 1 - s.seq, 0)),
                ]
                with m.If(s.header.good):
                    m.next = "scan end"
            with m.Else():
                s.put(
                    s.free,
                    place=chain.head.place,
                    header=chain.head.data,
                    number=Mux(links.good, links.base + chain.count, 0),
                    missing=s.size,
                )
                s.change(s.last_number, lambda chain: joined(s, chain, head_end))
                m.d.sync += entry.raw.bit_select(s.free, 1).eq(0)
                with m.If(chain.count == 0):
                    m.d.sync += [s.request.eq(1), s.request_seq.eq(chain.start)]

        # --- what it came to
        tail_bytes = Signal(range(HEADER_SIZE + 1))
        with m.State("scan end"):
            m.d.sync += [
                s.probe.eq(Mux(s.length < _TAIL, s.seq, s.end - _TAIL)),
                tail_bytes.eq(Mux(s.length < _TAIL, s.length, _TAIL)),
            ]
            m.next = "scan keep tail"
            with m.If(entry.tracking):
                m.next = then
                if s.full:
                    m.d.sync += [
                        s.proof.eq(
                            (self.complete != 0)
                            & ~spoiled
                            & ~wrong
                            & ~entry.blind
                            & chain.provable
                            & links.good
                            & (sum(entry.gaps) + links.count <= GAPS)
                        ),
                        s.mark.eq(~to_end & at_zero & ~foreign),
                    ]
        s.wait("scan keep tail", "scan kept tail")
        with m.State("scan kept tail"):
            # The newest byte is the highest one.
            m.d.sync += entry.tail.eq(self._shifted(tail_bytes))
            count = entry.tail_count + tail_bytes
            m.d.sync += entry.tail_count.eq(Mux(count < _TAIL, count, _TAIL))
            m.next = then

        # --- the proof holds: what is in front of the chain becomes gaps, the chain the frontier
        with m.State("prove"):
            m.d.sync += links.write.eq(1)
            m.next = "links"
        with m.State("prove chain"):
            owned = s.used & ~entry.live
            last = 1 << chain.last
            keeps = s.mark & chain.has_last
            m.d.sync += [
                links.write.eq(0),
                entry.number.eq(links.base + chain.count),
                entry.head.eq(chain.head),
                entry.live.eq(entry.live | (owned & ~self.complete)),
                entry.raw.eq((entry.raw | owned) & ~Mux(keeps, last, 0)),
                entry.has_last.eq(chain.has_last & ((self.complete & last) == 0)),
                entry.last.eq(chain.last),
                s.chains.eq(0),
                entry.chain_count.eq(0),
                *s.restart(),
            ]
            with m.If(s.mark & after(s.end, entry.marked)):
                m.d.sync += entry.marked.eq(s.end)
            m.next = proved

    def _shifted(self, count):
        """The tail with `count` bytes of the window behind it."""
        s = self.s
        both = Cat(s.entry.tail, s.window[: 8 * _TAIL])
        result = s.entry.tail
        for n in range(1, _TAIL + 1):
            result = Mux(count == n, both[8 * n :][: 8 * _TAIL], result)
        return result
