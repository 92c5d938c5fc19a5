"""The transmit tracker: what becomes of a frame with a request, and where it stands in its records."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.buffer import PairPort
from hw.config import Config
from hw.operations import Operations
from hw.record_header import HEADER_BYTES, RecordHeader
from hw.walk import Walk, position_layout
from model.contract import GENERATION_BITS, INDEX_BITS, TAG_RING, TAG_SIZE, Result, TxKind, TxStatus

place_layout = data.StructLayout({
    "expected": 32,  # sequence number of the next byte
    "blind": 1,  # the sum of the record in progress is not known
    "at": position_layout,
})  # fmt: skip

tx_entry_layout = data.StructLayout({
    "live": 1,
    "generation": GENERATION_BITS,
    "tls13": 1,
    "known": range(TAG_RING + 1),  # tags kept, of the records right before that of `stream`
    "stream": place_layout,
    "replay": place_layout,
})  # fmt: skip


class TxTrack(wiring.Component):
    """Positions of every connection, and the status of every frame (docs/contract-tx.md, sections 2 to 4).

    Contract: for each frame, in order, its fragments and then one item with `end` on `o`. Only the end changes the
    connection's state, and only if the frame is whole and not dropped. A frame without a handle takes a cycle; others
    four, or two if the stream goes on from the frame before, and two for each record header. A frame and its request
    are taken when its state is there, which is before its end is out.

    Members
    -------
    i : In(stream.Signature(layouts.headers))
    requests : In(stream.Signature(tx_layouts.tx_request()))       one for each frame
    checksum : In(stream.Signature(tx_layouts.tx_checksum()))      one for each frame
    o : Out(stream.Signature(tx_layouts.tx_work))
    operations : In(stream.Signature(layouts.tracker_operation))    between frames, before the next one
    answers : Out(stream.Signature(layouts.tracker_answer()))
    buffer : Out(PairPort)                                      header bytes
    written, ended : In                                         see docs/architecture.md, packet buffer
    sweeping : In(1)                                            no handle is live, whatever is kept of it
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.headers(config))),
            "requests": In(stream.Signature(tx_layouts.tx_request())),
            "checksum": In(stream.Signature(tx_layouts.tx_checksum())),
            "o": Out(stream.Signature(tx_layouts.tx_work(config))),
            "operations": In(stream.Signature(layouts.tracker_operation(config))),
            "answers": Out(stream.Signature(layouts.tracker_answer())),
            "buffer": Out(PairPort(config)),
            "written": In(config.pointer_bits),
            "ended": In(layouts.PACKET_BITS),
            "sweeping": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.entries = entries = memory.Memory(shape=tx_entry_layout, depth=config.connections, init=[])
        read = entries.read_port()
        write = entries.write_port()

        frame, request = Signal.like(self.i.p), Signal.like(self.requests.p)  # at hand
        next_frame, next_request = self.i.p, self.requests.p  # behind it, if both are valid
        end = Signal(32)
        index = request.handle[: config.index_bits]
        operations = Operations(m, self, clear_passes=False)
        operation = self.operations.p
        waiting, there = Signal(), Signal()  # of the next frame's state: it is what the memory answers
        m.d.comb += [
            read.addr.eq(Mux(operations.waiting, operation.index, next_request.handle)),
            waiting.eq(self.i.valid & self.requests.valid),
        ]
        m.d.sync += there.eq(waiting & ~self.i.ready & ~operations.waiting & ~operations.opens)

        entry = Signal(tx_entry_layout)
        place = Signal(place_layout)  # walks ahead of the position it was taken from
        known = Signal.like(entry.known)
        status = Signal(TxStatus)
        walk = Walk(m, config, self, frame, place.at, entry.tls13, index)
        given = RecordHeader(m, request.header, entry.tls13)
        left = Signal(place_layout)  # `place` behind the frame
        m.d.comb += [left.eq(place), left.expected.eq(end)]
        follows = Signal()  # the next frame goes on in the stream where this one ends
        m.d.sync += follows.eq(
            waiting
            & ~self.i.ready
            & next_frame.candidate
            & (next_request.kind == TxKind.STREAM)
            & (next_request.handle == request.handle)
            & (next_frame.seq == end)
        )
        on_replay = request.kind != TxKind.STREAM
        unusable = self.sweeping | (request.handle[config.index_bits : INDEX_BITS] != 0)

        # Tag bytes of a record whose sum is not known: is its tag kept?
        stream_at = entry.stream.at
        behind = (stream_at.number - place.at.number)[:64]
        in_ring = (behind != 0) & (behind <= entry.known)
        in_progress = (
            (behind == 0) & ~entry.stream.blind & (stream_at.remaining != 0) & (stream_at.remaining < TAG_SIZE)
        )
        tag_known = Signal()
        tag_wanted = Signal()
        unknown = Signal()
        m.d.comb += [
            tag_known.eq(on_replay & (in_ring | in_progress)),
            tag_wanted.eq(place.at.remaining < walk.count + TAG_SIZE),
            unknown.eq((place.at.remaining != 0) & place.blind & tag_wanted & ~tag_known),
        ]

        adopted = request.adopt & ((request.kind == TxKind.RETRANSMIT) | (request.kind == TxKind.PREFIX))
        ok = Signal()  # the frame is not dropped for anything the request or its records say
        at_end = Signal()  # the item offered is the frame's end: fragments may leave before the checksum is known
        whole = at_end & self.checksum.p.whole
        order = self.o.p.tx
        m.d.comb += [
            ok.eq((status == TxStatus.ENCRYPTED) | (status == TxStatus.REPLAYED)),
            self.o.p.replay.eq(on_replay),
            self.o.p.blind.eq(place.blind),
            self.o.p.in_progress.eq(in_progress),
            self.o.p.adopt.eq(adopted & ok & whole),
            self.o.p.keep_sum.eq(ok & whole & walk.open_sum & ~place.blind),
            self.o.p.end.eq(at_end),
            order.status.eq(status),
            order.handle.eq(Mux(request.kind == TxKind.PASS, 0, request.handle)),
            order.sum.eq(Mux(at_end, self.checksum.p.sum, 0)),
            order.offset.eq(Mux(at_end, self.checksum.p.offset, 0)),
            order.payload_length.eq(frame.payload_length),
        ]

        offset = Signal(32)  # of the frame's first byte in the record that PREFIX names
        given_size = Signal(layouts.EXT_BITS)
        header_part = Signal(8 * HEADER_BYTES)
        m.d.comb += offset.eq(frame.seq - request.record_seq)
        with m.Switch(offset):
            for n in range(HEADER_BYTES):
                with m.Case(n):
                    m.d.comb += header_part.eq(request.header & ((1 << 8 * n) - 1))

        def drop(code):
            m.d.sync += status.eq(code)
            m.next = "finish"

        def take():
            """Statements: the next frame is the one at hand."""
            m.d.comb += [self.i.ready.eq(1), self.requests.ready.eq(1)]
            return [
                frame.eq(next_frame),
                request.eq(next_request),
                end.eq(next_frame.seq + next_frame.payload_length),
                walk.cursor.eq(next_frame.payload_offset),
                walk.limit.eq(next_frame.payload_offset + next_frame.payload_length),
                *walk.begin(),
            ]

        def begin(known_state):
            """The next frame, if there is one, and its state if it needs that: the memory's answer holds."""
            with m.If(waiting & ~operations.waiting):
                passes = (next_request.kind == TxKind.PASS) | (next_frame.parsed & (next_frame.payload_length == 0))
                with m.If(passes | ~next_frame.candidate):
                    m.d.sync += [*take(), place.eq(0), status.eq(TxStatus.DROPPED_MALFORMED)]
                    with m.If(passes):
                        m.d.sync += status.eq(TxStatus.PASSED)
                    m.next = "finish"
                with m.Elif(there & known_state):
                    m.d.sync += [
                        *take(),
                        entry.eq(read.data),
                        known.eq(read.data.known),
                        place.eq(0),
                        status.eq(
                            Mux(next_request.kind == TxKind.REPLAY, TxStatus.REPLAYED, TxStatus.ENCRYPTED)
                        ),
                    ]  # fmt: skip
                    m.next = "select"

        fresh = Signal(place_layout)  # where INIT begins, and RESYNC
        m.d.comb += [fresh.expected.eq(operation.seq), fresh.at.number.eq(operation.record_number)]

        with m.FSM():
            with m.State("idle"):
                begin(1)
                with m.If(operations.waiting):
                    operations.begin()
                    m.next = "operation"

            with m.State("select"):
                m.d.sync += given_size.eq(given.body_length + TAG_SIZE)
                m.d.sync += place.eq(Mux(on_replay, entry.replay, entry.stream))
                m.next = "compare"
                with m.If(~entry.live | (entry.generation != request.handle[INDEX_BITS:]) | unusable):
                    drop(TxStatus.DROPPED_HANDLE)
                with m.Elif(request.kind == TxKind.PREFIX):
                    m.next = "place"
                with m.Elif((request.kind == TxKind.REPLAY) & (offset == 0)):
                    m.d.sync += [place.eq(0), place.at.number.eq(request.record_number)]
                    m.next = "walk"

            with m.State("compare"):
                m.next = "walk"
                with m.If(frame.seq != place.expected):
                    drop(TxStatus.DROPPED_SEQUENCE)

            with m.State("place"):
                within = offset - given.size  # of body and tag
                m.next = "walk"
                m.d.sync += [place.eq(0), place.at.number.eq(request.record_number)]
                with m.If(~given.good):
                    drop(TxStatus.DROPPED_HEADER)
                with m.Elif(offset < given.size):
                    m.d.sync += [place.at.header.eq(header_part), place.at.header_count.eq(offset)]
                with m.Elif(offset >= given_size + given.size):
                    drop(TxStatus.DROPPED_SEQUENCE)
                with m.Else():
                    m.d.sync += [
                        place.at.header.eq(Mux(entry.tls13, request.header[:40], request.header)),
                        place.at.header_count.eq(given.size),
                        place.at.remaining.eq(given_size - within),
                        place.blind.eq(offset != given.size),
                    ]

            def done():
                m.next = "finish"

            def bad():
                drop(TxStatus.DROPPED_HEADER)

            def tag_unknown():
                drop(TxStatus.DROPPED_TAG)

            def record_ended():
                more = Mux(known == TAG_RING, TAG_RING, known + 1)
                m.d.sync += [place.blind.eq(0), known.eq(Mux(place.blind, 0, more))]

            walk.states(done=done, bad=bad, ended=record_ended, refuse=(unknown, tag_unknown), check_parts=True)

            with m.State("finish"):
                committed = ok & whole
                m.d.comb += [
                    at_end.eq(1),
                    self.o.valid.eq(self.checksum.valid),
                    write.addr.eq(index),
                    write.data.eq(entry),
                    order.send.eq((status == TxStatus.PASSED) | (status == TxStatus.ENCRYPTED)),
                    order.seal.eq(status == TxStatus.ENCRYPTED),
                ]
                with m.If(request.kind == TxKind.PASS):
                    m.d.comb += order.seal.eq(whole & (request.segment_size != 0))
                with m.Elif(~whole):
                    m.d.comb += [
                        order.status.eq(TxStatus.DROPPED_MALFORMED),
                        order.send.eq(0),
                        order.seal.eq(0),
                    ]
                with m.If(on_replay):
                    m.d.comb += write.data.replay.eq(left)
                    with m.If(adopted):
                        m.d.comb += [write.data.stream.eq(left), write.data.known.eq(0)]
                with m.Else():
                    m.d.comb += [write.data.stream.eq(left), write.data.known.eq(known)]
                with m.If(self.checksum.valid & self.o.ready):
                    m.d.comb += [self.checksum.ready.eq(1), operations.writes.eq(committed)]
                    m.next = "idle"
                    with m.If(committed & ~on_replay & follows & ~operations.waiting):
                        # Its state stands in the registers: nothing to read, nothing to compare.
                        m.d.sync += [
                            *take(),
                            entry.stream.eq(left),
                            entry.known.eq(known),
                            *walk.foresee(next_frame.payload_offset, place.at.remaining),
                        ]
                        m.next = "walk"
                    with m.Else():
                        # What is written now is not in the memory's answer.
                        same = next_request.handle[: config.index_bits] == index
                        begin(~same)
                        with m.If(same):
                            m.d.sync += there.eq(0)

            with m.State("operation"):
                self._operate(m, operation, read.data, write, fresh, operations)
                m.d.comb += self.operations.ready.eq(1)
                m.next = "answer"

            with m.State("answer"):
                m.d.comb += self.answers.valid.eq(1)
                with m.If(self.answers.ready):
                    m.next = "idle"

        m.d.comb += write.en.eq(operations.writes)
        with m.If(operations.opens):
            m.d.comb += [
                write.addr.eq(operation.index),
                write.data.eq(0),
                write.en.eq(1),
                write.data.live.eq(1),
                write.data.generation.eq(operation.generation),
                write.data.tls13.eq(operation.tls13),
                write.data.stream.eq(fresh),
                write.data.replay.eq(fresh),
            ]
        return m

    def _operate(self, m, operation, entry, write, fresh, operations):
        """CLEAR, RESYNC or QUERY of an entry; the answer is there in the next cycle."""
        m.d.comb += write.addr.eq(operation.index)
        state = self.answers.p.state
        position = entry.stream
        m.d.sync += [
            self.answers.p.result.eq(Result.OK),
            state.expected_seq.eq(position.expected),
            state.seen_seq.eq(entry.replay.expected),
            state.record_number.eq(position.at.number),
            state.remaining.eq(position.at.remaining),
            state.header_count.eq(Mux(position.at.remaining != 0, 0, position.at.header_count)),
            state.out_of_sync.eq(0),
            state.skipping.eq(position.blind),
        ]
        with m.Switch(operation.kind):
            with m.Case(layouts.TrackerOperation.CLEAR):
                m.d.comb += [write.data.eq(0), operations.writes.eq(1)]
            with m.Case(layouts.TrackerOperation.RESYNC):
                m.d.comb += [
                    write.data.eq(entry),
                    write.data.stream.eq(fresh),
                    write.data.known.eq(0),
                    operations.writes.eq(1),
                ]
