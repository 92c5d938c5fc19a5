"""The tracker: which bytes of a frame belong to which record, and what becomes of the frame."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.buffer import PairPort
from hw.config import Config
from hw.rotate import shift_right_bytes
from model.contract import (
    EXPLICIT_NONCE_SIZE,
    HEADER_SIZE,
    MAX_LENGTH,
    MAX_RECORD,
    MIN_LENGTH,
    TAG_SIZE,
    TLS_VERSION_BYTES,
    Checksum,
    Result,
    Status,
)

HEADER_BYTES = HEADER_SIZE + EXPLICIT_NONCE_SIZE

position_layout = data.StructLayout({
    "number": 64,  # record in progress, or the next one
    "remaining": layouts.EXT_BITS,  # bytes of its body and tag still to come
    "header_count": 4,
    "header": 8 * HEADER_BYTES,  # byte 0 in bits 7:0, zero behind header_count
})  # fmt: skip

entry_layout = data.StructLayout({
    "tls13": 1,
    "expected": 32,
    "seen": 32,
    "out_of_sync": 1,
    "skipping": 1,
    "at": position_layout,
})  # fmt: skip


def after(later, earlier):
    """Sequence number `later` lies past `earlier` (RFC 9293, section 3.4: modulo 2^32)."""
    difference = (later - earlier)[:32]
    return (difference != 0) & ~difference[31]


class Track(wiring.Component):
    """Sequence check and record delineation, one frame at a time (docs/contract.md, section 3).

    Contract: for each frame of `i`, in order, the frame's fragments and then one item with `end` on `o`. Fragments leave
    as soon as the header in front of them is in the buffer; the end waits for the frame's checksum, and only
    then does the connection's state change. About six cycles a frame, and four for each record header in it.

    Members
    -------
    i : In(stream.Signature(layouts.track_request))
    checksum : In(stream.Signature(2))               contract.Checksum, one for each frame
    o : Out(stream.Signature(layouts.work))
    operations : In(stream.Signature(layouts.tracker_operation))    between frames, before the next one
    answers : Out(stream.Signature(layouts.tracker_answer()))
    buffer : Out(PairPort)                           header bytes
    written, ended : In                              see docs/architecture.md, packet buffer
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
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.entries = entries = memory.Memory(shape=entry_layout, depth=config.connections, init=[])
        read = entries.read_port()
        write = entries.write_port()

        frame = self.i.p
        index = frame.handle[: config.index_bits]
        operation = self.operations.p
        m.d.comb += read.addr.eq(Mux(self.operations.valid, operation.index, index))

        entry = Signal(entry_layout)  # as it will be written unless the take is committed
        at = Signal(position_layout)  # walks ahead of `entry.at`
        end_seq = Signal(32)
        record_end = Signal(32)  # H of the contract: where the record in progress ends
        status = Signal(Status)
        cursor = Signal(layouts.OFFSET_BITS)
        limit = Signal(layouts.OFFSET_BITS)

        header = data.View(data.StructLayout({
            "content_type": 8, "version": 16, "length": 16, "explicit_nonce": 64,
        }), at.header)  # fmt: skip
        length = Cat(header.length[8:], header.length[:8])
        header_size = Mux(entry.tls13, HEADER_SIZE, HEADER_BYTES)
        body_length = Signal(layouts.EXT_BITS)
        m.d.comb += body_length.eq(length - Mux(entry.tls13, TAG_SIZE, TAG_SIZE + EXPLICIT_NONCE_SIZE))
        ext_first = Signal(layouts.EXT_BITS)
        m.d.comb += ext_first.eq(body_length + 32 - at.remaining)

        left = Signal(layouts.OFFSET_BITS)  # bytes of the frame's payload not walked yet
        m.d.comb += left.eq(limit - cursor)

        m.d.comb += [
            self.o.p.base.eq(frame.base),
            self.o.p.packet.eq(frame.packet),
            self.o.p.index.eq(index),
            self.o.p.tls13.eq(entry.tls13),
            self.o.p.record_number.eq(at.number),
            self.o.p.explicit_nonce.eq(Mux(entry.tls13, 0, header.explicit_nonce)),
            self.o.p.content_type.eq(header.content_type),
            self.o.p.body_length.eq(body_length),
            self.o.p.ext_first.eq(ext_first),
            self.o.p.position.eq(cursor),
            self.o.p.continues.eq(ext_first != 16),
            self.o.p.payload_length.eq(frame.payload_length),
            self.o.p.descriptor.checksum.eq(self.checksum.p),
            self.o.p.descriptor.matched.eq(frame.matched),
            self.o.p.descriptor.handle.eq(Mux(frame.matched, frame.handle, 0)),
        ]

        # Header bytes: the beat that holds the last one wanted must be in the buffer.
        rotate_bits = config.rotate_bits
        wanted = Signal(range(HEADER_BYTES + 1))
        needed = Signal(4)
        m.d.comb += [
            needed.eq(header_size - at.header_count),
            wanted.eq(Mux(needed < left, needed, left)),
        ]
        last_beat = Signal(config.pointer_bits)
        ahead = Signal(config.pointer_bits)
        ended_for = Signal(layouts.PACKET_BITS)
        available = Signal()
        m.d.comb += [
            last_beat.eq(frame.base + ((cursor + wanted - 1) >> rotate_bits)),
            ahead.eq(self.written - last_beat),
            ended_for.eq(self.ended - frame.packet),
            available.eq(((ahead != 0) & ~ahead[-1]) | ((ended_for != 0) & ~ended_for[-1])),
            self.buffer.address.eq(frame.base + (cursor >> rotate_bits)),
        ]
        fetched = shift_right_bytes(self.buffer.data, cursor[:rotate_bits], HEADER_BYTES)
        fetched_mask = Signal(8 * HEADER_BYTES)
        with m.Switch(wanted):
            for n in range(HEADER_BYTES + 1):
                with m.Case(n):
                    m.d.comb += fetched_mask.eq((1 << 8 * n) - 1)

        m.d.comb += [write.addr.eq(index), write.data.eq(entry)]

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

        def take(*, offset, partial):
            """Start walking `offset` bytes into the payload."""
            return [
                cursor.eq(frame.payload_offset + offset),
                status.eq(Mux(partial, Status.GAP, Status.DECRYPTED)),
            ]

        with m.FSM():
            with m.State("idle"):
                with m.If(self.operations.valid):
                    m.next = "operation"
                with m.Elif(self.i.valid & frame.matched):
                    m.next = "fetched"
                with m.Elif(self.i.valid):
                    m.d.comb += [
                        self.o.p.end.eq(1),
                        self.o.p.descriptor.status.eq(Status.BYPASS),
                        self.o.valid.eq(self.checksum.valid),
                        self.i.ready.eq(self.o.ready & self.checksum.valid),
                        self.checksum.ready.eq(self.o.ready),
                    ]

            with m.State("fetched"):
                m.d.sync += [
                    entry.eq(read.data),
                    at.eq(read.data.at),
                    end_seq.eq(frame.seq + frame.payload_length),
                    record_end.eq(read.data.expected + read.data.at.remaining),
                    limit.eq(frame.payload_offset + frame.payload_length),
                ]
                m.next = "compare"

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
                ]
                with m.If(after(end_seq, entry.seen)):
                    m.d.sync += entry.seen.eq(end_seq)
                m.next = "decide"

            with m.State("decide"):
                m.next = "finish"
                with m.If(entry.out_of_sync):
                    m.d.sync += status.eq(Status.OUT_OF_SYNC)
                with m.Elif(in_order):
                    m.d.sync += take(offset=0, partial=0)
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

            with m.State("walk"):
                with m.If(left == 0):
                    m.next = "commit"
                with m.Elif(at.remaining != 0):
                    completes = Signal()
                    count = Signal(layouts.OFFSET_BITS)
                    m.d.comb += [
                        completes.eq(at.remaining <= left),
                        count.eq(Mux(completes, at.remaining, left)),
                        self.o.p.count.eq(count),
                        self.o.p.completes.eq(completes),
                        self.o.valid.eq(1),
                    ]
                    with m.If(self.o.ready):
                        m.d.sync += [cursor.eq(cursor + count), at.remaining.eq(at.remaining - count)]
                        with m.If(completes):
                            m.d.sync += [at.number.eq(at.number + 1), at.header_count.eq(0), at.header.eq(0)]
                        with m.If(count == left):
                            m.next = "commit"
                with m.Elif(available):
                    m.next = "header"

            with m.State("header"):
                m.d.sync += [
                    at.header.eq(at.header | ((fetched & fetched_mask) << (at.header_count << 3))),
                    at.header_count.eq(at.header_count + wanted),
                    cursor.eq(cursor + wanted),
                ]
                with m.If(wanted == needed):
                    m.next = "check"
                with m.Else():
                    m.next = "commit"

            with m.State("check"):
                limits = [(length >= MIN_LENGTH[v]) & (length <= MAX_LENGTH[v]) for v in (0x0303, 0x0304)]
                version_bytes = Const(int.from_bytes(TLS_VERSION_BYTES.to_bytes(2), "little"), 16)
                with m.If((header.version == version_bytes) & Mux(entry.tls13, limits[1], limits[0])):
                    m.d.sync += at.remaining.eq(body_length + TAG_SIZE)
                    m.next = "walk"
                with m.Else():
                    m.d.sync += [status.eq(Status.BAD_HEADER), entry.out_of_sync.eq(1)]
                    m.next = "finish"

            with m.State("commit"):
                # What the walk found becomes the connection's state, if the checksum lets it.
                m.d.sync += [entry.expected.eq(end_seq), entry.skipping.eq(0), entry.at.eq(at)]
                m.next = "finish"

            with m.State("finish"):
                good = self.checksum.p == Checksum.GOOD
                walked = (status == Status.DECRYPTED) | (status == Status.GAP)
                m.d.comb += [
                    self.o.p.end.eq(1),
                    self.o.p.descriptor.status.eq(Mux(good, status, Status.BAD_CHECKSUM)),
                    self.o.p.keep_sum.eq(good & walked & (at.remaining != 0) & (ext_first != 16)),
                    self.o.valid.eq(self.checksum.valid),
                ]
                with m.If(self.checksum.valid & self.o.ready):
                    m.d.comb += [self.checksum.ready.eq(1), self.i.ready.eq(1), write.en.eq(good)]
                    m.next = "idle"

            with m.State("operation"):
                self._operate(m, operation, read.data, write)
                m.d.comb += self.operations.ready.eq(1)
                m.next = "answer"

            with m.State("answer"):
                m.d.comb += self.answers.valid.eq(1)
                with m.If(self.answers.ready):
                    m.next = "idle"

        return m

    def _operate(self, m, operation, entry, write):
        """One command on an entry: init, clear, resync or query; the answer is there in the next cycle."""
        fresh = Signal(entry_layout)
        m.d.comb += [
            fresh.tls13.eq(operation.tls13),
            fresh.expected.eq(operation.seq),
            fresh.seen.eq(operation.seq),
            fresh.skipping.eq(1),
            fresh.at.number.eq(operation.record_number),
        ]
        behind = entry.out_of_sync | after(entry.seen, entry.expected)
        accepted = behind & ~(operation.seq - entry.seen)[31]
        state = self.answers.p.state
        m.d.comb += write.addr.eq(operation.index)
        m.d.sync += [
            self.answers.p.result.eq(Result.OK),
            state.expected_seq.eq(entry.expected),
            state.seen_seq.eq(entry.seen),
            state.record_number.eq(entry.at.number),
            state.remaining.eq(entry.at.remaining),
            state.header_count.eq(Mux(entry.at.remaining != 0, 0, entry.at.header_count)),
            state.out_of_sync.eq(entry.out_of_sync),
            state.skipping.eq(entry.skipping),
        ]
        with m.Switch(operation.kind):
            with m.Case(layouts.TrackerOperation.INIT):
                m.d.comb += [write.data.eq(fresh), write.en.eq(1)]
            with m.Case(layouts.TrackerOperation.CLEAR):
                m.d.comb += [write.data.eq(0), write.en.eq(1)]
            with m.Case(layouts.TrackerOperation.RESYNC):
                m.d.comb += [
                    write.data.eq(fresh),
                    write.data.tls13.eq(entry.tls13),
                    write.data.seen.eq(entry.seen),
                    write.en.eq(accepted),
                ]
                m.d.sync += self.answers.p.result.eq(Mux(accepted, Result.OK, Result.IGNORED))
