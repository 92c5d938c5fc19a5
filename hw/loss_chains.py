"""The loss tracker's chains of headers beyond the frontier: how they grow late, and what lies in front of them."""

from amaranth.hdl import Cat, Mux, Signal

from hw import layouts
from hw.loss_desk import Desk
from hw.loss_state import head_layout, merged
from hw.priority import lowest
from model.contract import CHAINS, EXPLICIT_NONCE_SIZE, GAPS, HEADER_SIZE, MAX_LENGTH, MAX_RECORD


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
