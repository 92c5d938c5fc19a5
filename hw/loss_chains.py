"""The loss tracker beyond the frontier: chains of headers, how they are found, grow, and prove themselves."""

from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import data

from hw import layouts
from hw.header_finder import looks_like_header
from hw.loss_desk import Desk
from hw.loss_state import head_layout, lead, merged
from hw.priority import lowest
from hw.sequence import after, from_on
from model.contract import CHAINS, EXPLICIT_NONCE_SIZE, GAPS, HEADER_SIZE, MAX_LENGTH, MAX_RECORD, OPEN_RECORDS

_TAIL = HEADER_SIZE - 1


def joined(s: Desk, chain, end):
    """Statements: the chain's header is whole and has a slot; the next one is expected at `end`."""
    return [
        chain.owned.eq(chain.owned | (1 << s.free)),
        chain.has_last.eq(1),
        chain.last.eq(s.free),
        chain.count.eq(chain.count + 1),
        chain.head.eq(0),
        chain.head.place.eq(end),
    ]


def link_states(s: Desk, *, then: str):
    """From "link": headers that chains wait for come late; a chain that leads to the next one takes it in."""
    m, entry = s.m, s.entry
    left = Signal(range(CHAINS + 1))
    number, chain = s.chain_number, s.chain
    following_number = number + 1
    following = s.following
    mask, text = merged(chain.head, s.window, s.cover)
    with m.State("link"):
        m.d.sync += left.eq(entry.chain_count - entry.tracking)
        m.next = "link next"
    with m.State("link next"):
        m.d.sync += [number.eq(left - 1), left.eq(left - 1)]
        m.next = "link chain"
        with m.If(left == 0):
            m.next = then
    with m.State("link chain"):
        m.d.sync += s.probe.eq(chain.head.place)
        m.next = "link fetch"
    s.wait("link fetch", "link capture")
    with m.State("link capture"):
        s.change(number, lambda chain: [chain.head.mask.eq(mask), chain.head.data.eq(text)])
        m.next = "link check"
    with m.State("link check"):
        m.d.comb += s.text.eq(chain.head.data)
        end = chain.head.place + s.header_size + s.size
        m.next = "link next"
        with m.If(chain.head.mask == s.header_mask):
            with m.If(~s.header.good | ~s.room):
                s.drop(number)
            with m.Else():
                s.put(s.free, place=chain.head.place, header=chain.head.data, number=0, missing=s.size)
                s.change(number, lambda chain: joined(s, chain, end))
                m.d.sync += [
                    entry.raw.bit_select(s.free, 1).eq(1),
                    s.range_start.eq(end),
                    s.range_end.eq(end + s.header_size),
                ]
                m.next = "link follow"
    with m.State("link follow"):
        m.next = "link untouched"
        with m.If(
            (following_number < entry.chain_count) & (following.count != 0) & (following.start == chain.head.place)
        ):
            s.change(
                number,
                lambda chain: [
                    chain.owned.eq(chain.owned | following.owned),
                    chain.count.eq(chain.count + following.count),
                    chain.head.eq(following.head),
                    chain.has_last.eq(following.has_last),
                    chain.last.eq(following.last),
                ],
            )
            s.drop(following_number, restarts=False)
            m.next = "link check"
    with m.State("link untouched"):
        with m.If(s.check()):
            m.next = "link chain"
            with m.If(~s.holes.untouched):
                s.drop(number)
                m.next = "link next"


def prepend_states(s: Desk, *, then: str):
    """From "prepend": the first thing in a late frame that looks like the header in front of a chain."""
    m, entry, chains = s.m, s.entry, s.chains
    first = Signal(layouts.OFFSET_BITS)
    limit = Signal(layouts.OFFSET_BITS)  # the whole header must lie in the frame
    place = Signal(32)
    end = Signal(32)
    fits = Signal(CHAINS)
    number = lowest(m, fits)
    for k in range(CHAINS):
        m.d.comb += fits[k].eq((k < entry.chain_count) & (chains[k].count != 0) & (chains[k].start == end))

    with m.State("prepend"):
        m.d.sync += [
            first.eq(s.frame.payload_offset),
            limit.eq(s.walk.limit - Mux(entry.tls13, 0, EXPLICIT_NONCE_SIZE)),
        ]
        m.next = then
        with m.If(entry.chain_count != 0):
            m.next = "prepend find"
    with m.State("prepend find"):
        m.d.comb += [s.finder.go.eq(1), s.finder.first.eq(first), s.finder.limit.eq(limit)]
        m.d.sync += [
            place.eq(s.seq + s.finder.at - s.frame.payload_offset),
            s.probe.eq(s.seq + s.finder.at - s.frame.payload_offset),
            end.eq(s.seq + s.finder.at - s.frame.payload_offset + HEADER_SIZE + s.finder.length),
            first.eq(Mux(s.finder.done, s.finder.at + 1, first)),
        ]
        with m.If(s.finder.done):
            m.next = then
            with m.If(s.finder.found):
                m.next = "prepend chain"
    with m.State("prepend chain"):
        m.next = "prepend find"
        with m.If(fits != 0):
            m.next = then
            with m.If(s.room):
                m.next = "prepend window"
    with m.State("prepend window"):
        bytes_seen = s.window & Cat(bit.replicate(8) for bit in s.cover)
        s.put(s.free, place=place, header=bytes_seen, number=0, missing=0)
        m.d.sync += entry.raw.bit_select(s.free, 1).eq(1)
        s.change(
            number,
            lambda chain: [
                chain.owned.eq(chain.owned | (1 << s.free)),
                chain.start.eq(place),
                chain.count.eq(chain.count + 1),
            ],
        )
        m.next = then


class Links:
    """What lies in front of the chains: the records that were passed over, and the last chain's first number.

    Members
    -------
    good : Signal       there is one record each, or full records
    base : Signal       number of the last chain's first record
    count : Signal      records passed over
    write : Signal      they become gaps; the next state is then the second of `states`
    """

    def __init__(self, s: Desk):
        self.s = s
        self.good = Signal()
        self.base = Signal(64)
        self.count = Signal(range(GAPS + 1))
        self.write = Signal()
        self.chain_number = Signal(range(CHAINS + 1))
        self.chain = s.pick(self.chain_number)

    def states(self, *, then: str, written: str):
        """From "links"."""
        s, m, entry = self.s, self.s.m, self.s.entry
        chain_number = self.chain_number
        head = Signal(head_layout)
        number = Signal(64)
        forced = Signal()  # the record before was one of full size
        chain = self.chain
        largest = Signal(16)
        target = Signal(32)
        distance = Signal(32)
        m.d.comb += [
            largest.eq(HEADER_SIZE + Mux(entry.tls13, MAX_LENGTH[0x0304], MAX_LENGTH[0x0303])),
            target.eq(head.place + largest),
            distance.eq(chain.start - head.place),
        ]

        def passed_over(end):
            m.d.sync += [self.count.eq(self.count + 1), number.eq(number + 1)]
            with m.If(self.write):
                s.put_gap(s.free_gap, head, number, end)
                m.d.sync += entry.gaps.bit_select(s.free_gap, 1).eq(1)

        def leave():
            m.next = then
            with m.If(self.write):
                m.next = written

        with m.State("links"):
            m.d.sync += [
                chain_number.eq(0),
                head.eq(entry.head),
                number.eq(entry.number),
                forced.eq(0),
                self.count.eq(0),
                self.good.eq(0),
            ]
            m.next = "links step"
        with m.State("links step"):
            m.d.sync += [s.range_start.eq(target), s.range_end.eq(target + s.header_size)]
            with m.If(chain_number == entry.chain_count):
                m.d.sync += self.good.eq(1)
                leave()
            with m.Elif(self.count == GAPS):
                leave()
            with m.Elif(~distance[31] & (distance > MAX_RECORD)):
                m.next = "links untouched"
            with m.Elif(distance[31] | (distance == 0) | (forced & (distance != largest))):
                leave()
            with m.Else():
                passed_over(chain.start)
                m.d.sync += [
                    self.base.eq(number + 1),
                    head.eq(chain.head),
                    number.eq(number + 1 + chain.count),
                    chain_number.eq(chain_number + 1),
                    forced.eq(0),
                ]
        with m.State("links untouched"):
            with m.If(s.check()):
                with m.If(s.holes.untouched):
                    m.next = "links full"
                with m.Else():
                    leave()
        with m.State("links full"):
            passed_over(target)
            m.d.sync += [head.eq(0), head.place.eq(target), forced.eq(1)]
            m.next = "links step"


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
            s.put(
                s.record_slot,
                place=s.record.place,
                header=s.record.header,
                number=s.record.number,
                missing=s.record.missing - s.walk.count,
            )
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
