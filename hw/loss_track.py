"""The tracker that goes on under loss: which bytes of a frame belong to which record, and what becomes of the frame."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.buffer import PairPort
from hw.config import Config
from hw.intake import Intake
from hw.loss_chains import link_states, prepend_states
from hw.loss_commands import opened_entry, operation_states
from hw.loss_contradiction import contradiction_states
from hw.loss_desk import Desk
from hw.loss_fast import fast_states, goes_on, left_behind
from hw.loss_scan import Scan
from hw.loss_state import chains_layout, entry_layout, lead
from hw.loss_walk import adopt_states, front_states, frontier_states, gap_states
from hw.operations import Operations
from hw.sequence import after, from_on
from model.contract import Checksum, RxPolicy, Status


class LossTrack(wiring.Component):
    """Sequence check and record delineation under the policies `kernel` and `full` (docs/contract.md, section 5).

    Contract: for each frame of `i`, in order, the frame's fragments and then one item with `end` on `o`. A frame that
    simply goes on is treated as by `hw.track`: its fragments leave as soon as the header in front of them is in the
    buffer, the end waits for the frame's checksum, and only then does the connection's state change. That is four
    cycles, two if the frame before was of the same connection, and two for each record header in it (`Walk`; W=64: one
    if it is near). Any other frame waits for its checksum first, and takes some ten cycles more for each record, hole
    and gap that is kept, and one for each beat in which headers are searched. Behind an end with `proof` nothing is
    done before `proofs` has answered.

    Members
    -------
    i : In(stream.Signature(layouts.track_request))
    checksum : In(stream.Signature(2))               contract.Checksum, one for each frame
    o : Out(stream.Signature(layouts.work))
    proofs : In(stream.Signature(1))                 one for each end with `proof`: its records are authentic
    operations : In(stream.Signature(layouts.tracker_operation))    between frames, before the next one
    answers : Out(stream.Signature(layouts.tracker_answer()))
    buffer : Out(PairPort)                           header bytes
    written, ended : In                              see docs/architecture.md, packet buffer
    frame, overload : Out(layouts.track_request), In(1)             with `config.passes_raw`; see `hw.overload`
    """

    def __init__(self, config: Config):
        if config.rx_policy is RxPolicy.PUBLISHED:
            raise ValueError("rx_policy published: hw.track.Track is its tracker")
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.track_request(config))),
            "checksum": In(stream.Signature(2)),
            "o": Out(stream.Signature(layouts.work(config))),
            "proofs": In(stream.Signature(1)),
            "operations": In(stream.Signature(layouts.tracker_operation(config))),
            "answers": Out(stream.Signature(layouts.tracker_answer())),
            "buffer": Out(PairPort(config)),
            "written": In(config.pointer_bits),
            "ended": In(layouts.PACKET_BITS),
            **({"frame": Out(layouts.track_request(config)), "overload": In(1)} if config.passes_raw else {}),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.entries = entries = memory.Memory(shape=entry_layout, depth=config.connections, init=[])
        m.submodules.chains = chains = memory.Memory(shape=chains_layout, depth=config.connections, init=[])
        read, read_chains = entries.read_port(), chains.read_port()
        write, write_chains = entries.write_port(), chains.write_port()
        operations = Operations(m, self, clear_passes=True)
        intake = Intake(m, config, self, operations)
        frame = intake.frame
        operating = operations.running
        index = Signal(config.index_bits)
        store = Signal()
        s = Desk(m, config, self, frame, index, frame.payload_length)
        entry = s.entry
        left = left_behind(s)
        follows = goes_on(s, intake) & ~operations.waiting
        if config.passes_raw:
            m.d.comb += self.frame.eq(frame)
        m.d.comb += [
            index.eq(Mux(operating, self.operations.p.index, frame.handle)),
            read.addr.eq(intake.index),
            read_chains.addr.eq(read.addr),
            write.addr.eq(index),
            write.data.eq(left),
            write.en.eq(store),
            operations.writes.eq(store),
            write_chains.addr.eq(index),
            write_chains.data.eq(s.chains),
            write_chains.en.eq(store),
            self.o.p.payload_length.eq(frame.payload_length),
            self.o.p.descriptor.checksum.eq(
                Mux(self.o.p.end, self.checksum.p, 0)
            ),  # fragments may leave before it is known
            self.o.p.descriptor.matched.eq(frame.matched),
            self.o.p.descriptor.handle.eq(Mux(frame.matched, frame.handle, 0)),
        ]
        scan = Scan(s)
        ended = Signal(layouts.PACKET_BITS)
        m.d.comb += ended.eq(self.ended - frame.packet)
        good = self.checksum.p == Checksum.GOOD

        with m.FSM():

            def begin():
                """The next frame, whose state the memories answer, is the one at hand."""
                m.d.comb += [s.slot.eq(read.data.last), s.slot_index.eq(intake.index)]
                m.d.sync += [
                    entry.eq(read.data),
                    s.chains.eq(read_chains.data),
                    *self._take(s, intake),
                    *(
                        flag.eq(0)
                        for flag in (
                            s.slow, s.stopped, s.partial, s.headers, s.portions, s.live_portion, s.raw_portion,
                            s.fresh, s.request, s.proof, s.mark,
                        )
                    ),
                ]  # fmt: skip
                m.next = "compare"

            with m.State("idle"):
                m.d.sync += s.fast.eq(0)
                intake.idle(begin)
            fast_states(s)

            # --- every other frame: the checksum is known first
            with m.State("slow"):
                m.d.sync += [s.slow.eq(1), s.range_start.eq(s.seq), s.range_end.eq(s.end)]
                with m.If(self.checksum.valid & (ended != 0) & ~ended[-1]):
                    m.next = "finish"
                    with m.If(good & ~from_on(s.seq, entry.floor)):
                        m.next = "contradict"
                    with m.Elif(good):
                        m.next = "fresh"
            with m.State("fresh"):
                with m.If(s.check()):
                    m.d.sync += s.fresh.eq(s.holes.untouched)
                    m.next = "contradict"
                    with m.If(s.holes.untouched):
                        m.next = "front"
            contradiction_states(s, agreed="link", against="pass")
            front_states(s, then="link")
            link_states(s, then="fill")
            gap_states(s, then="frontier", conflict="pass")
            frontier_states(s, then="pass")
            adopt_states(s, operating=operating, then="advance", operated="operated")
            beyond = (s.status == Status.WAIT) | (s.status == Status.OUT_OF_SYNC)
            scans = s.stopped & beyond & s.fresh & s.top & (s.full | entry.blind)
            with m.State("pass"):
                m.d.sync += [s.range_start.eq(s.seq), s.range_end.eq(s.end)]
                m.next = "pass cut"
                with m.If(~scans & after(s.end, entry.seen)):
                    # Bytes behind `seen` that are not searched are in no chain's sight.
                    m.d.sync += entry.tail_count.eq(0)
                    with m.If(entry.tracking & after(s.end, s.last_chain.head.place + lead(s.last_chain.head.mask))):
                        s.drop(s.last_number)
            with m.State("pass cut"):
                m.d.comb += s.holes.cut.eq(1)
                with m.If(s.holes.done):
                    m.d.sync += entry.holes.eq(s.holes.left)
                    with m.If(after(s.end, entry.seen)):
                        m.d.sync += entry.seen.eq(s.end)
                    m.next = "passed"
            with m.State("passed"):
                m.next = "finish"
                with m.If(s.stopped):
                    with m.If(scans):
                        m.next = "scan"
                    if s.full:
                        with m.If((s.status == Status.WAIT) & s.fresh & ~s.top):
                            m.next = "prepend"
                with m.Elif(s.partial | (~s.headers & ~s.live_portion) | (s.raw_portion & (not s.full))):
                    m.d.sync += s.status.eq(Status.GAP)
                with m.Else():
                    m.d.sync += s.status.eq(Status.DECRYPTED)
                    with m.If(after(s.end, entry.marked)):
                        m.d.sync += entry.marked.eq(s.end)
            if s.full:
                prepend_states(s, then="finish")
            scan.states(follows=s.follows, then="finish", proved="finished")

            with m.State("finish"):
                names = s.request  # a place
                if config.passes_raw:
                    names |= good & (s.status == Status.OVERLOAD)
                m.d.comb += [
                    self.o.p.end.eq(1),
                    self.o.p.descriptor.status.eq(Mux(good, s.status, Status.BAD_CHECKSUM)),
                    self.o.p.descriptor.request.eq(s.request),
                    self.o.p.descriptor.request_seq.eq(Mux(names, s.request_seq, 0)),
                    self.o.p.keep_sum.eq(good & ~s.slow & (s.status == Status.DECRYPTED) & s.walk.open_sum),
                    self.o.p.proof.eq(s.proof),
                    self.o.p.mark.eq(s.mark & s.proof),
                    self.o.p.repeated.eq(good & s.slow & ~s.fresh),
                    self.o.valid.eq(self.checksum.valid),
                ]
                with m.If(self.checksum.valid & self.o.ready):
                    with m.If(s.proof):
                        m.next = "proof"
                    with m.Else():
                        m.d.comb += [self.checksum.ready.eq(1), store.eq(good)]
                        m.next = "idle"
                        with m.If(good & follows):
                            # Its state stands in the registers: nothing to read, nothing to compare.
                            m.d.sync += [
                                entry.eq(left),
                                *self._take(s, intake),
                                s.walk.cursor.eq(intake.next.payload_offset),
                                *s.walk.foresee(intake.next.payload_offset, s.at.remaining),
                            ]
                            m.next = "walk"
                        with m.Elif(intake.same()):
                            m.d.sync += intake.again()
                        with m.Elif(intake.take):
                            begin()
                    with m.If(good & s.fast & (s.at.remaining != 0)):
                        s.put(
                            s.emit_slot,
                            place=s.end - (s.walk.ext_first + s.header_size - 16),
                            header=s.at.header,
                            number=s.at.number,
                            missing=s.at.remaining,
                        )
            with m.State("proof"):
                m.d.comb += self.proofs.ready.eq(1)
                with m.If(self.proofs.valid):
                    m.next = "prove"
                    with m.If(~self.proofs.p):
                        s.change(s.last_number, lambda chain: chain.provable.eq(0))
                        m.next = "finished"
            with m.State("finished"):
                m.d.comb += [self.checksum.ready.eq(1), store.eq(1)]
                m.d.sync += intake.again()
                m.next = "idle"

            with m.State("operation"):
                m.d.sync += [entry.eq(read.data), s.chains.eq(read_chains.data)]
                m.next = "operate"
            operation_states(s, self.operations.p, self.answers.p)
            with m.State("operated"):
                m.d.comb += [store.eq(1), self.operations.ready.eq(1)]
                m.next = "answer"
            with m.State("answer"):
                m.d.comb += self.answers.valid.eq(1)
                with m.If(self.answers.ready):
                    m.next = "idle"
        s.removals()
        with m.If(operations.opens):
            opened = opened_entry(m, self.operations.p, operations.init)
            m.d.comb += [
                write.addr.eq(self.operations.p.index),
                write.data.eq(opened),
                write.en.eq(1),
                write_chains.addr.eq(self.operations.p.index),
                write_chains.data.eq(0),
                write_chains.en.eq(1),
            ]
        return m

    def _take(self, s, intake):
        """Statements: the next frame is the one at hand."""
        frame = intake.next
        return [
            intake.accept(),
            s.end.eq(frame.seq + frame.payload_length),
            s.walk.limit.eq(frame.payload_offset + frame.payload_length),
            *s.walk.begin(),
        ]
