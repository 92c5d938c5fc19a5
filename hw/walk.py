"""The walk over a frame's payload: headers collected and checked, body and tag handed on as fragments."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from hw import layouts
from hw.buffer import readable
from hw.config import Config
from hw.record_header import HEADER_BYTES, RecordHeader
from hw.rotate import shift_right_bytes
from model.contract import EXPLICIT_NONCE_SIZE, HEADER_SIZE, TAG_SIZE

position_layout = data.StructLayout({
    "number": 64,  # record in progress, or the next one
    "remaining": layouts.EXT_BITS,  # bytes of its body and tag still to come
    "header_count": 4,
    "header": 8 * HEADER_BYTES,  # byte 0 in bits 7:0, zero behind header_count
})  # fmt: skip


CHEAP = 2
"""A frame with fewer fragments costs no more than one that is not looked at."""


class Walk:
    """States "walk", "header" and "check" of a tracker's machine, and the fields of its fragments.

    The tracker sets `cursor` and `limit`, goes through `begin`, and then to "walk". The walk leaves by `done`, called
    where the payload is used up, or by `bad`, called at a header outside the limits; both are to choose the next state.

    A record costs two cycles, one for its header and one for its fragment, in which the next header is read already;
    and the header is checked in the fragment's cycle. A header that the frame's start cuts costs two more; the first
    one behind a fragment whose end was not foreseen (`foresee`), one more. With `near`, a header costs none that lies
    in the two beats read for the one before, or while a fragment waited: it is taken beside the fragment. Behind `look`
    the first one is there in the first cycle of "walk", and the next one behind a header that the frame's start cuts is
    foreseen.

    Parameters
    ----------
    m : Module
    config : Config
    tracker : the component: `o` (work), `buffer`, `written`, `ended`
    frame : `base` and `packet` of the frame
    at : Signal(position_layout)    walks ahead of what the connection keeps
    tls13, index : Value
    near : bool

    Members
    -------
    takes(fsm) -> Value    a header is taken that begins in the frame, at byte `taken_at` of it
    costs : Signal         the frame has had two fragments and more; with `config.passes_raw`
    """

    def __init__(self, m: Module, config: Config, tracker, frame, at, tls13, index, *, near: bool = False):
        self.m = m
        self._near = near
        self.tracker = tracker
        self.at = at
        self._tls13 = tls13
        self.cursor = cursor = Signal(layouts.OFFSET_BITS)
        self.limit = limit = Signal(layouts.OFFSET_BITS)
        self.record_end = Signal(layouts.OFFSET_BITS)  # byte of the frame where the record at hand ends, modulo
        self.foreseen = Signal()  # `record_end` is right
        self.unchecked = Signal()  # the header at hand is whole, but nobody has looked at its limits
        self.left = left = Signal(layouts.OFFSET_BITS)  # bytes of the frame's payload not walked yet
        self.header = header = RecordHeader(m, at.header, tls13)
        self.ext_first = ext_first = Signal(layouts.EXT_BITS)
        self.completes = completes = Signal()
        self.count = count = Signal(layouts.OFFSET_BITS)
        self.used_up = used_up = Signal()  # the payload is
        self.good = good = Signal()
        m.d.comb += [
            left.eq(limit - cursor),
            ext_first.eq(header.body_length + 32 - at.remaining),
            completes.eq(at.remaining <= left),
            count.eq(Mux(at.remaining <= left, at.remaining, left)),
            used_up.eq(left == 0),
            good.eq(header.good),
        ]
        o = tracker.o.p
        m.d.comb += [
            o.base.eq(frame.base),
            o.packet.eq(frame.packet),
            o.index.eq(index),
            o.tls13.eq(tls13),
            o.record_number.eq(at.number),
            o.explicit_nonce.eq(Mux(tls13, 0, header.explicit_nonce)),
            o.content_type.eq(header.content_type),
            o.body_length.eq(header.body_length),
            o.ext_first.eq(ext_first),
            o.position.eq(cursor),
            o.count.eq(count),
            o.completes.eq(completes),
            o.continues.eq(ext_first != 16),
        ]

        # Header bytes: the beat that holds the last one of a whole header must be in the buffer, or the frame's end.
        self.wanted = wanted = Signal(range(HEADER_BYTES + 1))
        self.needed = needed = Signal(4)
        self.available = available = Signal()
        self.header_at = header_at = Signal(layouts.OFFSET_BITS)

        def last_beat(at, name):
            beat = Signal(config.pointer_bits, name=name)
            m.d.comb += beat.eq(frame.base + ((at + header.size - 1) >> config.rotate_bits))
            return beat

        def there(beat):
            return readable(tracker.written, tracker.ended, beat, frame.packet)

        m.d.comb += wanted.eq(Mux(needed < left, needed, left))
        m.d.comb += available.eq(there(last_beat(header_at, "last_beat")))
        m.d.comb += [
            needed.eq(header.size - at.header_count),
            header_at.eq(cursor),
            tracker.buffer.address.eq(frame.base + (header_at >> config.rotate_bits)),
        ]
        self._rotate = cursor[: config.rotate_bits]
        if near:
            self._rotate = Signal(config.rotate_bits + 1, name="rotate")
            m.d.comb += self._rotate.eq(cursor[: config.rotate_bits])
        self.ahead = fetched = shift_right_bytes(tracker.buffer.data, self._rotate, HEADER_BYTES)
        self._late = config.late
        if config.late:
            self.ahead = fetched = Signal(8 * HEADER_BYTES, name="ahead")
            m.d.sync += fetched.eq(shift_right_bytes(tracker.buffer.data, cursor[: config.rotate_bits], HEADER_BYTES))
        self.fetched = Signal(8 * HEADER_BYTES)
        with m.Switch(wanted):
            for n in range(HEADER_BYTES + 1):
                with m.Case(n):
                    m.d.comb += self.fetched.eq(fetched & ((1 << 8 * n) - 1))

        self.taken_at = cursor
        self._counts = config.passes_raw
        if self._counts:
            self._handed, self.costs = Signal(range(CHEAP + 1)), Signal()
            m.d.comb += self.costs.eq(self._handed == CHEAP)
        if near:
            self._takes = Signal(name="takes")
            self.taken_at = Signal(layouts.OFFSET_BITS)
            m.d.comb += self.taken_at.eq(cursor)
            # The buffer's answer: two beats from `seen` on, if they were there and it was the walk that read them.
            self._reads = Signal(name="walk_reads")
            self._from_seen = from_seen = Signal(layouts.OFFSET_BITS)  # from there to the record's end
            self._next_near = Signal()  # the next header can be taken beside the fragment
            self._here = Signal()  # the one at the cursor, or what there is of it
            seen = Signal(layouts.OFFSET_BITS - config.rotate_bits, name="beat_seen")
            both = Signal(name="both_seen")
            first = header_at >> config.rotate_bits
            m.d.sync += [seen.eq(first), both.eq(self._reads & there((frame.base + first + 1)[: config.pointer_bits]))]
            m.d.comb += [
                from_seen.eq(self.record_end - (seen << config.rotate_bits)),
                self._here.eq(both & (seen == cursor >> config.rotate_bits)),
                self._next_near.eq(
                    self.foreseen
                    & both
                    & (from_seen + header.size <= 2 * config.width)
                    & (at.remaining + header.size <= left)
                ),
            ]

    @property
    def open_sum(self):
        """Behind the walk: a record goes on of which this or an earlier frame held a part."""
        begun = self.at.remaining != (self.header.body_length + TAG_SIZE)[: layouts.EXT_BITS]
        return (self.at.remaining != 0) & begun

    def begin(self):
        """Statements for each new frame."""
        return [self.foreseen.eq(0), self.unchecked.eq(0), *([self._handed.eq(0)] if self._counts else [])]

    def takes(self, fsm):
        return self._takes if self._near else fsm.ongoing("header") & (self.at.header_count == 0)

    def look(self, start):
        """In the state in front of "walk": read where the payload begins to be walked."""
        if self._near:
            self.m.d.comb += [self._reads.eq(1), self.header_at.eq(start)]

    def foresee(self, start, remaining):
        """Statements, behind `begin`: the record at hand ends `remaining` bytes behind byte `start` of the frame."""
        return [self.foreseen.eq(1), self.record_end.eq(start + remaining)]

    def states(
        self,
        *,
        done: Callable[[], None],
        bad: Callable[[], None],
        ended: Callable[[], None] = lambda: None,
        refuse: tuple[Value, Callable[[], None]] | None = None,
        check_parts: bool = False,
        opened: Callable[[], None] = lambda: None,
        late: tuple[Value, Callable[[], None]] | None = None,
        quiet: Value = Const(0, 1),  # noqa: B008
    ) -> None:
        """Add the states.

        `ended` is called where a record ends, for what the tracker keeps of it. `refuse` is a condition under which
        the next fragment must not leave, and what is next then. `check_parts`: a header that the frame's end cuts is
        checked as far as it goes. `opened` is called at a header within the limits. `late` is a condition under which
        no header is begun, and what is next then: the cursor is where one would begin. `quiet`: no fragment leaves.
        """
        m, at, tls13 = self.m, self.at, self._tls13
        refused, refusal = refuse or (Const(0, 1), done)
        too_late, leave = late or (Const(0, 1), done)
        read = "read" if self._late else "header"

        length = Cat(self.ahead[32:40], self.ahead[24:32])

        def next_header():
            with m.If(at.remaining != 0):
                m.d.comb += self.header_at.eq(self.record_end)

        def begun(start):
            """Statements: a whole header is taken. Its length is, before it is in its register; whether that may be
            believed is seen there."""
            return [
                at.remaining.eq(length - Mux(tls13, 0, EXPLICIT_NONCE_SIZE)),
                self.unchecked.eq(1),
                *self.foresee(start, length + HEADER_SIZE),
            ]

        def take_header():
            """In a state: the header at the cursor, or what the frame has of it, whose bytes the buffer answers."""
            whole = self.wanted == self.needed
            if self._near:
                m.d.comb += self._takes.eq(at.header_count == 0)
            m.d.sync += [
                at.header.eq(at.header | (self.fetched << (at.header_count << 3))),
                at.header_count.eq(at.header_count + self.wanted),
                self.cursor.eq(self.cursor + self.wanted),
            ]
            with m.If(~whole):
                if check_parts:
                    m.next = "part"
                else:
                    done()
            with m.Elif(at.header_count == 0):
                m.d.sync += begun(self.cursor)
                m.next = "walk"
            with m.Else():
                m.next = "check"

        def header_or_leave():
            if late is None:
                take_header()
                return
            with m.If(too_late & (at.header_count == 0)):
                leave()
            with m.Else():
                take_header()

        with m.State("walk"):
            next_header()
            if self._near:
                m.d.comb += self._reads.eq(1)
                with m.If(at.remaining != 0):
                    m.d.comb += self._rotate.eq(self._from_seen)
            with m.If(self.unchecked):
                m.d.sync += self.unchecked.eq(0)
                with m.If(self.good):
                    opened()
            with m.If(self.unchecked & ~self.good):
                m.d.sync += at.remaining.eq(0)
                bad()
            with m.Elif(self.used_up):
                done()
            with m.Elif(refused):
                refusal()
            with m.Elif(at.remaining != 0):
                m.d.comb += self.tracker.o.valid.eq(~quiet)
                with m.If(self.tracker.o.ready | quiet):
                    m.d.sync += [
                        self.cursor.eq(self.cursor + self.count),
                        at.remaining.eq(at.remaining - self.count),
                        *([self._handed.eq(Mux(self.costs, CHEAP, self._handed + 1))] if self._counts else []),
                    ]
                    with m.If(self.completes):
                        m.d.sync += [at.number.eq(at.number + 1), at.header_count.eq(0), at.header.eq(0)]
                        ended()
                    with m.If(self.count == self.left):
                        done()
                    if self._near:
                        with m.Elif(self._next_near if late is None else self._next_near & ~too_late):
                            size = self.header.size
                            m.d.comb += [self._takes.eq(1), self.taken_at.eq(self.record_end)]
                            m.d.sync += [
                                at.header.eq(Mux(tls13, self.ahead[: 8 * HEADER_SIZE], self.ahead)),
                                at.header_count.eq(size),
                                self.cursor.eq(self.record_end + size),
                                *begun(self.record_end),
                            ]
                    with m.Elif(self.foreseen & self.available):
                        m.next = read
            if self._near:
                with m.Elif(self._here):
                    header_or_leave()
            with m.Elif(self.available):
                m.next = read

        if self._late:
            with m.State("read"):
                m.next = "header"

        with m.State("header"):
            if self._near:
                m.d.comb += self._reads.eq(1)
            header_or_leave()

        if check_parts:
            with m.State("part"):
                with m.If(self.header.plausible(at.header_count)):
                    done()
                with m.Else():
                    bad()

        with m.State("check"):
            if self._near:
                m.d.comb += self._reads.eq(1)
                m.d.sync += self.foresee(self.cursor, self.header.body_length + TAG_SIZE)
            else:
                m.d.sync += self.foreseen.eq(0)
            with m.If(self.good):
                m.d.sync += at.remaining.eq(self.header.body_length + TAG_SIZE)
                opened()
                m.next = "walk"
            with m.Else():
                bad()
