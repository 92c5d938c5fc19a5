"""The tracker: which bytes of a frame belong to which record, and what becomes of the frame."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.buffer import PairPort
from hw.config import Config
from hw.intake import Intake
from hw.late_track import LateTrack
from hw.operations import Operations
from hw.search import search_states
from hw.sequence import after
from hw.track_commands import Weighed, operate
from hw.track_layouts import entry_layout
from hw.walk import Walk, position_layout
from model.contract import MAX_RECORD, Checksum, Status


class Track(wiring.Component):
    """Sequence check and record delineation, one frame at a time (docs/contract.md, section 3).

    Contract: for each frame of `i`, in order, the frame's fragments and then one item with `end` on `o`. Fragments
    leave as soon as the header in front of them is in the buffer; the end waits for the frame's checksum, and only
    then does the connection's state change. Four cycles a frame, two if it goes on where the frame before ended, and
    two for each record header in it (`Walk`; W=64: one if it is near); out of sync a cycle for each beat searched.
    `config.late`: the same by another machine, `LateTrack`, which has its own cycles.

    Members
    -------
    i : In(stream.Signature(layouts.track_request))
    checksum : In(stream.Signature(2))               contract.Checksum, one for each frame
    o : Out(stream.Signature(layouts.work))
    operations : In(stream.Signature(layouts.tracker_operation))    between frames, before the next one
    answers : Out(stream.Signature(layouts.tracker_answer()))
    buffer : Out(PairPort)                           header bytes
    written, ended : In                              see docs/architecture.md, packet buffer
    frame, overload : Out(layouts.track_request), In(1)             with `config.passes_raw`; see `hw.overload`
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.track_request(config))),
            "checksum": In(stream.Signature(2)),
            "o": Out(stream.Signature(layouts.work(config))),
            "operations": In(stream.Signature(layouts.tracker_operation(config))),
            "answers": Out(stream.Signature(layouts.tracker_answer())),
            "buffer": Out(PairPort(config)),
            "written": In(config.pointer_bits),
            "ended": In(layouts.PACKET_BITS),
            **({"frame": Out(layouts.track_request(config)), "overload": In(1)} if config.passes_raw else {}),
        })  # fmt: skip

    def elaborate(self, platform):
        if self.config.late:
            return LateTrack(self.config, self)
        m = Module()
        config = self.config
        m.submodules.entries = entries = memory.Memory(shape=entry_layout, depth=config.connections, init=[])
        read = entries.read_port()
        write = entries.write_port()

        operations = Operations(m, self, clear_passes=True)
        intake = Intake(m, config, self, operations)
        frame = intake.frame
        index = frame.handle[: config.index_bits]
        operation = self.operations.p
        m.d.comb += read.addr.eq(intake.index)

        entry = Signal(entry_layout)  # as it will be written unless the take is committed
        at = Signal(position_layout)  # walks ahead of `entry.at`
        end_seq = Signal(32)
        record_end = Signal(32)  # H of the contract: where the record in progress ends
        status = Signal(Status)
        walk = Walk(m, config, self, frame, at, entry.tls13, index, near=config.near_headers)

        m.d.comb += [
            self.o.p.payload_length.eq(frame.payload_length),
            self.o.p.descriptor.checksum.eq(Mux(self.o.p.end, self.checksum.p, 0)),
            self.o.p.descriptor.matched.eq(frame.matched),
            self.o.p.descriptor.handle.eq(Mux(frame.matched, frame.handle, 0)),
        ]
        walked = (status == Status.DECRYPTED) | (status == Status.GAP)
        taken = Signal()  # the walk went over the frame: what it found is the connection's state
        left = Signal(entry_layout)  # the state behind the frame
        m.d.comb += [
            write.addr.eq(index), write.data.eq(left), left.eq(entry), write.en.eq(operations.writes),
        ]  # fmt: skip
        with m.If(after(end_seq, entry.seen)):
            m.d.comb += left.seen.eq(end_seq)
        with m.If(taken):
            m.d.comb += [left.expected.eq(end_seq), left.skipping.eq(0), left.at.eq(at)]
        follows = Signal()  # the next frame begins where this one ends
        m.d.sync += follows.eq(
            self.i.valid & ~self.i.ready & intake.next.matched & intake.same() & (intake.next.seq == end_seq)
        )
        goes_on = taken & follows & ~operations.waiting

        # Rule 5 and its relatives, as differences of sequence numbers registered one cycle ahead.
        in_order = Signal()
        gap = Signal()
        reaches_past = Signal()  # end past expected
        in_body = Signal()
        at_or_before_record_end = Signal()
        starts_at_record_end = Signal()
        reaches_past_record_end = Signal()
        too_far = Signal()
        skip = Signal(layouts.OFFSET_BITS)  # bytes before expected, or before the record's end
        skip_record = Signal(layouts.OFFSET_BITS)
        # Out of sync: what of the frame is new, and where in it headers are looked for.
        quiet = Signal()
        news = Signal()
        leaps = Signal()  # it begins past what has been seen
        leap = Signal(32)
        leap_inside = Signal()  # and in the body of the chain's record in progress
        skip_seen = Signal(layouts.OFFSET_BITS)
        first = Signal(layouts.OFFSET_BITS)
        header_here = Signal()  # the header walked begins in this frame, at `header_at`
        header_at = Signal(layouts.OFFSET_BITS)
        request = Signal()
        given_up_at = Signal(32)
        tracked = Signal()  # there was a chain in front of the frame

        def take(*, offset, partial):
            """Start walking `offset` bytes into the payload."""
            return [
                walk.cursor.eq(frame.payload_offset + offset),
                status.eq(Mux(partial, Status.GAP, Status.DECRYPTED)),
            ]

        def next_frame():
            """The next frame is the one at hand."""
            following = intake.next
            return [
                intake.accept(),
                end_seq.eq(following.seq + following.payload_length),
                walk.limit.eq(following.payload_offset + following.payload_length),
                taken.eq(0),
                *walk.begin(),
            ]

        def begin():
            m.d.sync += [
                *next_frame(),
                entry.eq(read.data),
                at.eq(read.data.at),
                record_end.eq(read.data.expected + read.data.at.remaining),
                quiet.eq(0),
                request.eq(0),
                header_here.eq(0),
                *([tracked.eq(read.data.tracking)] if config.passes_raw else []),
            ]
            m.next = "compare"

        def track(*, place, header, count):
            """A chain begins at this byte of the frame, or of the one before (count != 0)."""
            return [
                entry.tracking.eq(1),
                entry.guess.eq(frame.seq + place - frame.payload_offset),
                at.eq(0),
                at.header.eq(header),
                at.header_count.eq(count),
            ]

        def overlook():
            """Out of sync nobody looks at the frame."""
            m.d.sync += [
                status.eq(Status.OVERLOAD),
                given_up_at.eq(frame.seq),
                request.eq(0),
                entry.tracking.eq(0),
                entry.tail_valid.eq(0),
            ]
            with m.If(tracked):
                m.d.sync += entry.at.eq(0)
            m.next = "finish"

        def give_up():
            """The rest of the frame is not looked at; in order, as if it had been lost."""
            with m.If(quiet):
                overlook()
            with m.Else():
                here = frame.seq + walk.cursor - frame.payload_offset
                m.d.sync += [
                    status.eq(Status.OVERLOAD),
                    given_up_at.eq(here),
                    entry.expected.eq(here),
                    entry.skipping.eq(0),
                    entry.at.eq(at),
                ]
                m.next = "finish"

        fresh = Signal(entry_layout)  # what INIT writes, and RESYNC, but for `skipping`
        m.d.comb += [
            fresh.tls13.eq(operation.tls13),
            fresh.expected.eq(operation.seq),
            fresh.seen.eq(operation.seq),
            fresh.at.number.eq(operation.record_number),
        ]

        weighed = Weighed(m, operation, read.data)
        with m.FSM() as fsm:
            with m.State("idle"):
                intake.idle(begin)

            with m.State("compare"):
                m.d.sync += [
                    in_order.eq(frame.seq == entry.expected),
                    gap.eq(after(frame.seq, entry.expected)),
                    reaches_past.eq(after(end_seq, entry.expected)),
                    in_body.eq(at.remaining != 0),
                    at_or_before_record_end.eq(~after(frame.seq, record_end)),
                    starts_at_record_end.eq(frame.seq == record_end),
                    reaches_past_record_end.eq(after(end_seq, record_end)),
                    too_far.eq((end_seq - entry.expected)[:32] > MAX_RECORD),
                    skip.eq(entry.expected - frame.seq),
                    skip_record.eq(record_end - frame.seq),
                    news.eq(after(end_seq, entry.seen)),
                    leaps.eq(after(frame.seq, entry.seen)),
                    leap.eq(frame.seq - entry.seen),
                    leap_inside.eq((frame.seq - entry.seen)[:32] < at.remaining),
                    skip_seen.eq(entry.seen - frame.seq),
                ]
                m.next = "decide"

            with m.State("decide"):
                walk.look(frame.payload_offset)
                m.next = "finish"
                with m.If(entry.out_of_sync):
                    start = frame.payload_offset + Mux(leaps, 0, skip_seen)
                    m.d.sync += [status.eq(Status.OUT_OF_SYNC), walk.cursor.eq(start), first.eq(start)]
                    with m.If(news):
                        m.d.sync += quiet.eq(1)
                        m.next = "walk"
                        with m.If(leaps):
                            m.d.sync += entry.tail_valid.eq(0)
                        with m.If(~entry.tracking):
                            m.next = "buffered"
                        with m.Elif(leaps & leap_inside):
                            m.d.sync += at.remaining.eq(at.remaining - leap)
                        with m.Elif(leaps):
                            m.d.sync += [entry.tracking.eq(0), at.eq(0)]
                            m.next = "buffered"
                        if config.passes_raw:
                            with m.If(self.overload):
                                overlook()
                with m.Elif(in_order):
                    m.d.sync += [
                        *take(offset=0, partial=0),
                        *walk.foresee(frame.payload_offset, at.remaining),
                    ]
                    m.next = "walk"
                with m.Elif(~gap):
                    with m.If(~entry.skipping):
                        m.d.sync += status.eq(Status.RETRANSMISSION)
                    with m.Else():
                        m.d.sync += take(offset=skip, partial=1)
                        with m.If(reaches_past):
                            m.next = "walk"
                with m.Elif(in_body & at_or_before_record_end):
                    given_up = position_layout.const({})
                    m.d.sync += [
                        entry.expected.eq(record_end),
                        entry.skipping.eq(1),
                        entry.at.eq(given_up),
                        entry.at.number.eq(at.number + 1),
                        at.eq(given_up),
                        at.number.eq(at.number + 1),
                    ]
                    m.d.sync += take(offset=skip_record, partial=~starts_at_record_end)
                    with m.If(reaches_past_record_end):
                        m.next = "walk"
                with m.Elif(too_far):
                    m.d.sync += [status.eq(Status.OUT_OF_SYNC), entry.out_of_sync.eq(1)]
                with m.Else():
                    m.d.sync += status.eq(Status.WAIT)

            def done():
                m.d.sync += taken.eq(~quiet)
                m.next = "finish"
                with m.If(quiet):
                    m.d.sync += entry.tail_valid.eq(0)
                    m.next = "scanned"

            def bad():
                m.d.sync += [status.eq(Status.BAD_HEADER), entry.out_of_sync.eq(1)]
                m.next = "finish"
                with m.If(quiet):
                    again = Mux(header_here, header_at + 1, first)
                    m.d.sync += [status.eq(Status.OUT_OF_SYNC), entry.tracking.eq(0), at.eq(0), request.eq(0)]
                    m.d.sync += [walk.cursor.eq(again), entry.tail_valid.eq(0)]
                    m.next = "buffered"

            def opened():
                with m.If(quiet & (at.number == 0)):
                    m.d.sync += request.eq(1)

            late = None
            if config.passes_raw:
                m.d.comb += self.frame.eq(frame)
                costly = self.overload & (quiet | (walk.costs & (status == Status.DECRYPTED)))
                late = costly, give_up
            walk.states(done=done, bad=bad, opened=opened, late=late, quiet=quiet)
            search_states(m, config, self, frame, walk, entry, first, track=track, then="scanned", late=late)

            with m.State("scanned"):
                m.d.sync += entry.at.eq(at)
                m.next = "finish"

            with m.State("finish"):
                good = self.checksum.p == Checksum.GOOD
                named = Mux(good & (status == Status.OVERLOAD), given_up_at, 0) if config.passes_raw else 0
                m.d.comb += [
                    self.o.p.end.eq(1),
                    self.o.p.descriptor.status.eq(Mux(good, status, Status.BAD_CHECKSUM)),
                    self.o.p.keep_sum.eq(good & walked & walk.open_sum),
                    self.o.p.descriptor.request.eq(good & request),
                    self.o.p.descriptor.request_seq.eq(Mux(good & request, entry.guess, named)),
                    self.o.valid.eq(self.checksum.valid),
                ]
                with m.If(self.checksum.valid & self.o.ready):
                    m.d.comb += [self.checksum.ready.eq(1), operations.writes.eq(good)]
                    m.next = "idle"
                    with m.If(good & goes_on):
                        # Its state stands in the registers: nothing to read, nothing to compare.
                        m.d.sync += [
                            *next_frame(),
                            entry.eq(left),
                            status.eq(Status.DECRYPTED),
                            walk.cursor.eq(intake.next.payload_offset),
                            *walk.foresee(intake.next.payload_offset, at.remaining),
                        ]
                        m.next = "walk"
                    with m.Elif(intake.same()):
                        m.d.sync += intake.again()
                    with m.Elif(intake.take):
                        begin()

            with m.State("operation"):
                operate(m, self.answers.p, operation, read.data, weighed, write, fresh, operations)
                m.d.comb += self.operations.ready.eq(1)
                m.next = "answer"

            with m.State("answer"):
                m.d.comb += self.answers.valid.eq(1)
                with m.If(self.answers.ready):
                    m.next = "idle"

        with m.If(walk.takes(fsm)):
            m.d.sync += [header_here.eq(1), header_at.eq(walk.taken_at)]
        with m.If(operations.opens):
            m.d.comb += [
                write.addr.eq(operation.index),
                write.data.eq(Mux(operations.init, fresh, 0)),
                write.data.skipping.eq(operations.init),
                write.en.eq(1),
            ]
        return m
