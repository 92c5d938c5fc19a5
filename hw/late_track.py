"""The published tracker with registers in every step's way: what `hw.track` does, for `Config.late`."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import memory

from hw import layouts
from hw.config import Config
from hw.late_cases import cases, known
from hw.late_operations import late_operations
from hw.late_search import LateSearch
from hw.late_walk import LateWalk
from hw.one_hot import OneHot
from hw.track_layouts import entry_layout
from hw.walk import CHEAP
from model.contract import Checksum, Result, Status


class LateTrack(Elaboratable):
    """The machine of a `Track`, whose ports it drives.

    Contract: that of Track, but for its cycles: 10 a frame that goes on where the frame before ended, about 17 another,
    7 more for each record header. What a state does it does by itself, behind registers: conditions are registers when
    the state comes in which they are looked at. In front of a frame's end the connection's state changes in `entry` and
    `walk.at`, which are written if the checksum is good and read again if they are not.
    """

    def __init__(self, config: Config, tracker):
        self.config = config
        self.tracker = tracker

    def elaborate(self, platform):
        m = Module()
        config, tracker = self.config, self.tracker
        m.submodules.entries = entries = memory.Memory(shape=entry_layout, depth=config.connections, init=[])
        read, write = entries.read_port(), entries.write_port()
        answered = Signal(entry_layout)
        m.d.sync += answered.eq(read.data)

        steps = OneHot(m, "idle")
        go = steps.go
        entry = Signal(entry_layout)  # but for `at`, which is the walk's
        frame = Signal(layouts.track_request(config))
        following = tracker.i.p
        index = frame.handle[: config.index_bits]
        status = Signal(Status)
        taken = Signal()  # the walk went over the frame: what it found is the connection's state
        quiet, searching = Signal(), Signal()
        first = Signal(layouts.OFFSET_BITS)
        request = Signal()
        late = Signal()
        walk = LateWalk(
            m, config, tracker, steps, frame, entry.tls13,
            searching=searching, quiet=quiet, answered=answered, late=late if config.passes_raw else None,
        )  # fmt: skip
        at = walk.at
        search = LateSearch(m, config, frame, entry, walk, steps, first, searching)

        operation = Signal.like(tracker.operations.p)  # it stands before it is looked at, and comes from afar
        m.d.sync += operation.eq(tracker.operations.p)
        ends = Signal()  # the machine writes in the next cycle
        orders, init, resync = late_operations(m, tracker, steps, ends)

        # --- the next frame: its state is read while the machine is busy
        waiting = orders["waits"]
        reading = Signal()  # the frame's own state, once more
        asked, read_once, there = Signal(), Signal(), Signal()
        stands, same = Signal(), Signal()  # the next frame was there in the cycle before; and of this connection
        m.d.sync += [
            stands.eq(tracker.i.valid & ~steps["accept"]),
            same.eq(following.handle[: config.index_bits] == index),
        ]
        m.d.comb += [
            read.addr.eq(Mux(reading, index, Mux(waiting, operation.index, following.handle))),
            asked.eq(
                stands
                & ~(steps["accept"] | waiting | reading | orders["known"] | orders["passes"])
                & ~(same & ~steps["idle"])
            ),
            tracker.i.ready.eq(steps["accept"]),
        ]
        m.d.sync += [read_once.eq(asked), there.eq(asked & read_once)]
        comes = tracker.i.valid & (~following.matched | there) & ~waiting
        for state in ("idle", "ended"):
            go(state, "accept", "frame", "load", "load position", when=comes)
        go("idle", "read of operation", when=waiting)
        go("idle", "idle", when=~waiting & ~comes)
        go("ended", "idle", when=~comes)
        with m.If(steps["frame"]):
            operated = steps["operation read"]
            m.d.sync += [
                frame.eq(following),
                frame.handle.eq(Mux(operated, operation.index, Mux(following.matched, following.handle, 0))),
                frame.seq.eq(Mux(operated, operation.seq, following.seq)),
                frame.payload_length.eq(Mux(operated, 0, following.payload_length)),
            ]
        goes_on = steps["goes on"]
        with m.If(steps["accept"]):
            m.d.sync += [taken.eq(0), quiet.eq(0), request.eq(0)]

        # --- where the frame stands
        end_seq, record_end = Signal(32), Signal(32)  # H of the contract: where the record in progress ends
        follows, next_low, next_high = Signal(), Signal(), Signal()  # the next frame begins where this one ends
        m.d.sync += [
            end_seq.eq(frame.seq + frame.payload_length),
            record_end.eq(entry.expected + at.remaining),
            next_low.eq(following.seq[:16] == end_seq[:16]),
            next_high.eq(following.seq[16:] == end_seq[16:]),
            follows.eq(stands & ~steps["accept"] & following.matched & same & next_low & next_high),
        ]
        case = cases(m, frame, entry, at, walk.inside, end_seq, record_end)
        offset = Signal(layouts.OFFSET_BITS)  # of the walk's begin in the payload
        m.d.sync += offset.eq(0)
        with m.If(steps["act"]):
            backwards = Mux(case.gives_up, case.seq_record, Mux(case.is_lost, case.seq_seen, case.seq_expected))
            m.d.sync += offset.eq(Mux(case.straight | (case.is_lost & case.leaps), 0, -backwards))

        begins = case.begins
        searched = case.is_lost & case.news
        loses_tail = searched & case.leaps
        loses_chain = loses_tail & case.searches
        inside_chain = loses_tail & ~case.searches
        overlooked = Signal()
        if config.passes_raw:
            m.d.comb += overlooked.eq(searched & tracker.overload)
            begins &= ~overlooked
            loses_tail |= overlooked
            loses_chain |= overlooked
            inside_chain &= ~overlooked
        direct = Signal()  # nothing of the position changes in front of the walk
        to_search = Signal()
        gave_up = Signal()
        go("accept", "start", when=goes_on)
        go("accept", "differences", when=~goes_on & following.matched)
        go("accept", "fin", when=~goes_on & ~following.matched)
        go("differences", "differ")
        go("differ", "conditions")
        go("conditions", "cases")
        go("cases", "act")
        go("act", "start", when=begins)
        go("act", "fin", when=~begins)
        go("act", "give up record", "clear header", "to record end", when=case.gives_up)
        go("act", "leap", when=inside_chain)
        go("act", "clear", "clear header", when=loses_chain & entry.tracking)
        go("start", "place", when=direct)
        go("start", "settle", when=~direct)
        go("settled", "buffered", when=to_search)
        go("settled", "place", when=~to_search)
        with m.If(steps["accept"]):
            m.d.sync += [
                status.eq(Mux(goes_on, Status.DECRYPTED, Status.BYPASS)),
                direct.eq(goes_on),
                to_search.eq(0),
                gave_up.eq(0),
            ]
        with m.If(steps["act"]):
            m.d.sync += [
                direct.eq(case.straight),
                to_search.eq(case.is_lost & case.searches),
                gave_up.eq(case.gives_up),
                quiet.eq(searched),
                status.eq(Status.WAIT),
            ]
            with m.If(case.straight):
                m.d.sync += status.eq(Status.DECRYPTED)
            with m.If(case.old):
                m.d.sync += status.eq(Mux(entry.skipping, Status.GAP, Status.RETRANSMISSION))
            with m.If(case.gives_up):
                m.d.sync += status.eq(Mux(case.starts_at_record_end, Status.DECRYPTED, Status.GAP))
            with m.If(case.is_far | case.is_lost):
                m.d.sync += status.eq(Status.OUT_OF_SYNC)
            if config.passes_raw:
                with m.If(overlooked):
                    m.d.sync += [status.eq(Status.OVERLOAD), quiet.eq(0)]
        with m.If(steps["buffered"]):
            m.d.sync += to_search.eq(0)
        with m.If(steps["start"]):
            start = frame.payload_offset + offset
            m.d.sync += [walk.cursor.eq(start), first.eq(start)]
        leapt = Signal(layouts.EXT_BITS)
        m.d.sync += leapt.eq(at.remaining - case.seq_seen)
        with m.If(steps["leap"]):
            m.d.sync += at.remaining.eq(leapt)

        # --- a header outside the limits: what is known of the connection is what it was
        header_here = Signal()  # the header walked case.begins in this frame, at `header_at`
        header_at = Signal(layouts.OFFSET_BITS)
        with m.If(steps["begun"]):
            m.d.sync += header_at.eq(walk.cursor)
        with m.If(steps["start"] | steps["begun"]):
            m.d.sync += header_here.eq(steps["begun"])
        go("bad", "buffered", when=quiet)
        go("bad", "reload", when=~quiet)
        go("reload", "reloaded")
        go("reloaded", "restore", "load position")
        go("restore", "restored")
        go("restored", "give up record", "clear header", when=gave_up)
        go("restored", "fin")
        again = Signal(layouts.OFFSET_BITS)
        m.d.sync += again.eq(Mux(header_here, header_at + 1, first))
        with m.If(steps["bad"]):
            m.d.sync += [reading.eq(~quiet), walk.cursor.eq(again)]
            with m.If(~quiet):
                m.d.sync += status.eq(Status.BAD_HEADER)
        with m.If(steps["restore"]):
            m.d.sync += reading.eq(0)

        # --- a frame that is given up, at a header or whole
        given_up_at, here = Signal(32), Signal(32)
        if config.passes_raw:
            handed = Signal(range(CHEAP + 1))
            costs = handed == CHEAP
            m.d.comb += tracker.frame.eq(frame)
            m.d.sync += [
                late.eq(tracker.overload & costs & (status == Status.DECRYPTED)),
                here.eq(frame.seq + walk.cursor - frame.payload_offset),
            ]
            with m.If(steps["accept"]):
                m.d.sync += handed.eq(0)
            with m.Elif(steps["advance"] & ~costs):
                m.d.sync += handed.eq(handed + 1)
            with m.If(steps["act"]):
                m.d.sync += given_up_at.eq(frame.seq)
            with m.If(steps["given up"]):
                m.d.sync += [status.eq(Status.OVERLOAD), given_up_at.eq(here)]
            go("given up", "fin")

        # --- the end
        with m.If(steps["done"]):
            m.d.sync += taken.eq(~quiet)
        go("done", "judge")
        go("fin", "fin settles")
        go("fin settles", "judge")
        have_sum, checksum = Signal(), Signal(Checksum)
        m.d.comb += tracker.checksum.ready.eq(~have_sum)
        with m.If(~have_sum):
            m.d.sync += [have_sum.eq(tracker.checksum.valid), checksum.eq(tracker.checksum.p)]
        go("judge", "end", when=have_sum)
        go("judge", "judge", when=~have_sum)
        is_good = checksum == Checksum.GOOD
        end = Signal(layouts.descriptor(), name="judged")
        keep_sum, good = Signal(), Signal()
        with m.If(steps["judge"]):
            given_up = is_good & (status == Status.OVERLOAD)
            asks = Mux(is_good & request, entry.guess, 0)
            m.d.sync += [
                end.status.eq(Mux(is_good | ~frame.matched, status, Status.BAD_CHECKSUM)),
                end.checksum.eq(checksum),
                end.request.eq(is_good & request),
                end.request_seq.eq(Mux(given_up, given_up_at, asks) if config.passes_raw else asks),
                good.eq(is_good & frame.matched),
                keep_sum.eq(is_good & ((status == Status.DECRYPTED) | (status == Status.GAP)) & walk.open_sum),
            ]
        with m.If(steps["accept"]):
            m.d.sync += [end.eq(0), keep_sum.eq(0)]
        on = good & taken & follows & ~waiting
        leaves = tracker.o.ready
        go("end", "end", when=~leaves)
        go("end", "accept", "frame", "goes on", when=leaves & on)
        go("end", "ended", when=leaves & ~on)
        go("end", "write", when=leaves & good)
        with m.If(steps["end"] & leaves):
            m.d.sync += have_sum.eq(0)
        o = tracker.o.p
        m.d.comb += [
            tracker.o.valid.eq(steps["end"] | (steps["fragment"] & ~quiet)),
            o.end.eq(steps["end"]),
            o.index.eq(index),
            o.payload_length.eq(frame.payload_length),
            o.descriptor.eq(end),
            o.descriptor.matched.eq(frame.matched),
            o.descriptor.handle.eq(frame.handle),
            o.keep_sum.eq(keep_sum),
        ]

        # --- RESYNC and QUERY
        is_guess = known(m, "guess_low", frame.seq[:16] == entry.guess[:16]) & known(
            m, "guess_high", frame.seq[16:] == entry.guess[16:]
        )
        confirmed = known(m, "confirmed", entry.out_of_sync & entry.tracking & is_guess)
        accepted = known(
            m,
            "accepted",
            (entry.out_of_sync & entry.tracking & is_guess)
            | ((entry.out_of_sync | case.has_missed) & ~case.seq_seen[31]),
        )
        chained = Signal()  # the state is that behind the chain of headers
        changes = resync & accepted
        go("read of operation", "operation read", "frame", "load", "load position")
        go("operation read", "operation differences")
        go("operation differences", "operation conditions")
        go("operation conditions", "operation cases")
        go("operation cases", "operate")
        go("operate", "resync", when=changes)
        go("operate", "operated", when=~changes)
        go("operate", "to seen", "renumber", when=changes & confirmed)
        go("operate", "to end", "clear", "clear header", when=changes & ~confirmed)
        go("resync", "resync number")
        go("resync number", "renumber", when=~chained)
        go("resync number", "resync record")
        go("resync number", "give up record", "clear header", "to record end", when=chained & walk.inside)
        go("resync record", "operated", "write")
        go("operated", "idle")
        state = tracker.answers.p.state
        with m.If(steps["operate"]):
            m.d.sync += [
                chained.eq(confirmed),
                tracker.answers.p.result.eq(Mux(resync & ~accepted, Result.IGNORED, Result.OK)),
                state.expected_seq.eq(entry.expected),
                state.seen_seq.eq(entry.seen),
                state.record_number.eq(at.number),
                state.remaining.eq(at.remaining),
                state.header_count.eq(Mux(walk.inside, 0, at.header_count)),
                state.out_of_sync.eq(entry.out_of_sync),
                state.skipping.eq(entry.skipping),
            ]
        with m.If(orders["passes"]):
            m.d.sync += tracker.answers.p.result.eq(Result.OK)
        renumbered = Signal(64)
        m.d.sync += renumbered.eq(at.number + operation.record_number)
        with m.If(steps["renumber"]):
            m.d.sync += at.number.eq(renumbered)

        # --- the connection's state
        commits = Signal()
        m.d.comb += commits.eq(steps["done"] & ~quiet)
        with m.If(steps["load"]):
            m.d.sync += entry.expected.eq(answered.expected)
        with m.Elif(steps["to record end"]):
            m.d.sync += entry.expected.eq(record_end)
        with m.Elif(steps["to seen"]):
            m.d.sync += entry.expected.eq(entry.seen)
        with m.Elif(commits | steps["to end"]):
            m.d.sync += entry.expected.eq(end_seq)
        if config.passes_raw:
            with m.Elif(steps["given up"]):
                m.d.sync += entry.expected.eq(here)
        with m.If(steps["load"]):
            m.d.sync += entry.seen.eq(answered.seen)
        with m.Elif((steps["done"] | steps["fin"]) & case.news):
            m.d.sync += entry.seen.eq(end_seq)
        with m.If(steps["load"]):
            m.d.sync += [entry[member].eq(answered[member]) for member in ("tls13", "guess", "tail")]
        with m.If(steps["found"]):
            m.d.sync += entry.guess.eq(frame.seq + search.place)
        with m.If(steps["keep"]):
            m.d.sync += entry.tail.eq(walk.ahead)

        def flag(name, *, ones, zeros):
            with m.If(steps["load"]):
                m.d.sync += entry[name].eq(answered[name])
            with m.If(ones):
                m.d.sync += entry[name].eq(1)
            with m.If(zeros):
                m.d.sync += entry[name].eq(0)

        act, bad = steps["act"], steps["bad"]
        flag("out_of_sync", ones=(act & case.is_far) | (bad & ~quiet), zeros=steps["resync"])
        flag(
            "skipping",
            ones=steps["to record end"] | steps["resync"],
            zeros=commits | steps["given up"] if config.passes_raw else commits,
        )
        flag("tracking", ones=steps["found"], zeros=(act & loses_chain) | (bad & quiet) | steps["resync"])
        over = steps["done"] | bad | steps["none"]
        flag(
            "tail_valid",
            ones=steps["keep"],
            zeros=(act & loses_tail) | (over & quiet) | steps["resync"],
        )
        with m.If(walk.opened):
            m.d.sync += request.eq(1)
        with m.If(bad):
            m.d.sync += request.eq(0)

        # --- its memory
        passing = orders["passes"]
        current, fresh = Signal(entry_layout), Signal(entry_layout)
        m.d.comb += [
            ends.eq(steps["end"] & tracker.o.ready),
            current.eq(entry),
            current.at.eq(at),
            write.en.eq(steps["write"] | passing),
            write.addr.eq(Mux(passing, operation.index, index)),
            write.data.eq(Mux(passing, fresh, current)),
        ]
        with m.If(init):
            m.d.comb += [
                fresh.tls13.eq(operation.tls13),
                fresh.expected.eq(operation.seq),
                fresh.seen.eq(operation.seq),
                fresh.at.number.eq(operation.record_number),
                fresh.skipping.eq(1),
            ]
        orders.close()
        steps.close()
        return m
