"""The cutter: frames in, segments out."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.byteorder import keep_count
from hw.config import Config
from hw.layouts import beat, tx_beat, tx_request
from hw.rotate import byte_mask, bytes_below, rotate_right_bytes
from hw.segment_headers import SegmentHeaders, header_patches, patched, patches_of, segment_header
from hw.segment_parse import segment_plan
from hw.stream import Queue
from model.contract import HEADER_WINDOW, TxKind

MAX_HEADERS = HEADER_WINDOW + 40
"""Headers end here at the latest: the first 20 bytes of the TCP header are in the window, 40 of options may follow."""


def _step(config: Config):
    """What the control says of one outgoing beat: headers in the low lanes, payload behind them."""
    return data.StructLayout({
        "data": 8 * config.width,  # source byte k in lane k mod W
        "rotate": config.rotate_bits,  # lane 0 of the outgoing beat is lane `rotate` here
        "headers": range(config.width + 1),  # bytes of headers
        "count": range(config.width + 1),  # bytes in all
        "last": 1,
        "row": range(MAX_HEADERS // config.width + 2),
        "patches": header_patches(),
    })  # fmt: skip


class Cutter(wiring.Component):
    """Cuts the frames whose request and plan say so; hands on the others.

    A frame to cut gives its headers to a store; from there on one beat of payload is held, and the next one waits at
    `i`: every outgoing beat takes its payload from these two.

    Contract: a beat a cycle out, two cycles behind the beat taken; frames not cut: a beat a cycle in. A frame to
    cut costs 1 + headers // W + 1 cycles without output before its first segment (at least 5); none between segments,
    but for segments of fewer than 5 beats whose ...

    Members
    -------
    i : In(stream.Signature(beat(config)))
    requests : In(stream.Signature(tx_request()))           one per frame
    plans : In(stream.Signature(segment_plan(config)))      one per frame with a segment size
    o : Out(stream.Signature(tx_beat(config)))
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(beat(config))),
            "requests": In(stream.Signature(tx_request())),
            "plans": In(stream.Signature(segment_plan(config))),
            "o": Out(stream.Signature(tx_beat(config))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        move = Signal()  # the stages behind take a step
        go = Signal()  # there is one
        step = Signal(_step(self._config))
        begin = Signal()  # it is the first beat of an outgoing frame
        store = memory.Memory(shape=8 * self._config.width, depth=MAX_HEADERS // self._config.width + 1, init=[])
        m.submodules.store = store
        segment = Signal(segment_header())
        is_cut = Signal()
        self._control(m, move, go, step, begin, store, segment, is_cut)
        self._requests(m, go & begin, is_cut, segment)
        self._stages(m, move, go, step, store)
        return m

    def _control(self, m, move, go, step, begin, store, segment, is_cut):
        width, bits = self._config.width, self._config.rotate_bits
        head, request, plan = self.i.p, self.requests.p, self.plans.p
        m.submodules.headers = segments = SegmentHeaders(self._config)
        m.d.comb += [segments.plan.eq(plan), segments.size.eq(request.segment_size)]

        # The held beat, and where the next outgoing beat's lane 0 stands, counted from the held beat's first byte.
        held = Signal(8 * width)
        held_last = Signal()
        held_count = Signal(range(width + 1))
        head_count = Signal(range(width + 1))
        shift = Signal(signed(bits + 1))
        m.d.comb += head_count.eq(keep_count(head.keep))
        hold = Signal()
        with m.If(hold):
            m.d.sync += [held.eq(head.data), held_last.eq(head.last), held_count.eq(head_count)]

        row = Signal(range(MAX_HEADERS // width + 2))
        header_left = Signal(range(MAX_HEADERS + width))
        left = Signal(16)  # payload bytes of the segment
        loaded = Signal.like(header_left)  # bytes of the frame, if it ends with its headers or before
        bare = Signal()  # it does
        active = Signal()  # a segment is being sent
        in_headers = plan.payload_offset[:bits]  # bytes of headers in the beat where they end

        # One outgoing beat of a segment.
        headers = Signal(range(width + 1))
        wanted = Signal(range(width + 1))  # payload bytes
        payload_end = Signal(signed(bits + 3))
        next_shift = Signal(signed(bits + 3))
        available = Signal(range(2 * width + 1))
        over = Signal()  # the frame's last byte is in this beat
        segment_end = Signal()
        frame_end = Signal()
        advance = Signal()  # this beat or the next needs what is at `i`
        m.d.comb += [
            headers.eq(Mux(header_left > width, width, header_left)),
            wanted.eq(Mux(left > width - headers, width - headers, left)),
            payload_end.eq(shift + headers + wanted),
            next_shift.eq(payload_end - in_headers),
            available.eq(Mux(held_last, held_count, width + head_count)),
            over.eq((wanted != 0) & (available <= payload_end) & (held_last | (head.last & (payload_end > width)))),
            segment_end.eq(over | ((wanted == left) & (header_left <= width))),
            frame_end.eq(segment_end & (over | bare | segment.last)),
        ]
        with m.If(held_last | (wanted == 0)):
            m.d.comb += advance.eq(0)
        with m.Elif(segment_end & ~frame_end):
            m.d.comb += advance.eq(next_shift >= width)
        with m.Else():
            m.d.comb += advance.eq(frame_end | (shift >= 0))

        m.d.comb += [
            begin.eq(row == 0),
            step.rotate.eq(shift[:bits]),
            step.headers.eq(headers),
            step.count.eq(Mux(over, available - shift, headers + wanted)),
            step.last.eq(segment_end),
            step.row.eq(row),
            *(getattr(step.patches, name).eq(value) for name, value in patches_of(plan, segment).items()),
        ]
        newer = Signal(signed(bits + 2))  # lanes below come from `i`, the others are held
        m.d.comb += newer.eq(shift)
        from_head = byte_mask(bytes_below(m, newer, width))
        m.d.comb += step.data.eq((head.data & from_head) | (held & ~from_head))

        sized = Signal()
        cut = Signal()
        finish = Signal()  # of a frame
        first = Signal(init=1)  # of a frame not cut
        write = store.write_port()
        m.d.comb += [
            sized.eq(request.segment_size != 0),
            cut.eq(sized & plan.parsed & (plan.payload_length > request.segment_size)),
            self.requests.ready.eq(finish),
            self.plans.ready.eq(finish & sized),
            write.addr.eq(row),
            write.data.eq(head.data),
        ]
        size = Signal.like(loaded)
        m.d.comb += size.eq(row * width + head_count)
        take = Signal()  # the next segment begins with the next beat

        with m.FSM():
            with m.State("START"):
                with m.If(self.requests.valid & (~sized | (self.plans.valid & ~cut))):
                    m.d.comb += [
                        self.i.ready.eq(move),
                        go.eq(move & self.i.valid),
                        begin.eq(first),
                        newer.eq(width),
                        step.rotate.eq(0),
                        step.headers.eq(0),
                        step.count.eq(head_count),
                        step.last.eq(head.last),
                        finish.eq(go & head.last),
                    ]
                    with m.If(go):
                        m.d.sync += first.eq(head.last)
                with m.Elif(self.requests.valid & self.plans.valid):
                    m.d.comb += segments.start.eq(1)
                    m.d.sync += row.eq(0)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [self.i.ready.eq(1), hold.eq(self.i.valid), write.en.eq(self.i.valid)]
                m.d.sync += [loaded.eq(size), bare.eq(head.last & (size <= plan.payload_offset)), shift.eq(0)]
                with m.If(self.i.valid):
                    m.d.sync += row.eq(row + 1)
                    with m.If(head.last | (row == plan.payload_offset[bits:])):
                        m.next = "CUT"
            with m.State("CUT"):
                supplied = self.i.valid | ~(advance | ((wanted != 0) & ~held_last & (payload_end > width)))
                m.d.comb += [
                    go.eq(active & move & supplied),
                    self.i.ready.eq(active & move & advance),
                    hold.eq(go & advance),
                    segments.o.ready.eq(~active | (go & segment_end & ~frame_end)),
                    take.eq(segments.o.valid & segments.o.ready),
                ]
                with m.If(go):
                    m.d.sync += [
                        active.eq(~segment_end),
                        row.eq(row + ~row.all()),
                        header_left.eq(header_left - headers),
                        left.eq(left - wanted),
                    ]
                    with m.If(wanted != 0):
                        m.d.sync += shift.eq(Mux(segment_end, next_shift, shift + width) - Mux(advance, width, 0))
                with m.If(take):
                    m.d.sync += [
                        active.eq(1),
                        row.eq(0),
                        header_left.eq(Mux(bare, loaded, plan.payload_offset)),
                        left.eq(Mux(bare, 0, segments.o.p.length)),
                        segment.eq(segments.o.p),
                    ]
                with m.If(go & frame_end):
                    m.d.comb += [segments.stop.eq(1), finish.eq(held_last | head.last)]
                    with m.If(finish):
                        m.next = "START"
                    with m.Else():
                        m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.comb += [self.i.ready.eq(1), finish.eq(self.i.valid & head.last)]
                with m.If(finish):
                    m.next = "START"
        m.d.comb += is_cut.eq(cut)

    def _requests(self, m, push, is_cut, segment):
        """The request of each outgoing frame, beside its beats."""
        m.submodules.sent = sent = Queue(tx_request(), depth=4)  # at most 2 are inside: one a stage
        request, out = self.requests.p, sent.i.p
        m.d.comb += [
            out.eq(request),
            sent.i.valid.eq(push),
            sent.o.ready.eq(self.o.valid & self.o.ready & self.o.p.last),
            self.o.p.request.eq(sent.o.p),
            out.segment_size.eq(Mux(is_cut & (request.kind == TxKind.PASS), request.segment_size, 0)),
        ]
        with m.If(is_cut):
            m.d.comb += out.adopt.eq(request.adopt & segment.last)
            with m.If((request.kind == TxKind.PREFIX) & ~segment.first):
                m.d.comb += out.kind.eq(TxKind.RETRANSMIT)

    def _stages(self, m, move, go, step, store):
        """Stage 1: the beat and the headers out of the store; stage 2: payload turned, headers patched."""
        width = self._config.width
        read = store.read_port()
        valid_1 = Signal()
        step_1 = Signal.like(step)
        m.d.comb += [
            read.addr.eq(step.row),
            read.en.eq(move),
            move.eq(~self.o.valid | self.o.ready),
        ]
        payload = Signal(8 * width)
        headers = Signal(8 * width)
        m.d.comb += [
            payload.eq(rotate_right_bytes(step_1.data, step_1.rotate)),
            headers.eq(patched(m, read.data, step_1.row, step_1.patches)),
        ]
        in_headers = byte_mask(bytes_below(m, step_1.headers, width))
        keep = bytes_below(m, step_1.count, width)
        with m.If(move):
            m.d.sync += [
                valid_1.eq(go),
                step_1.eq(step),
                self.o.valid.eq(valid_1),
                self.o.p.data.eq(((payload & ~in_headers) | (headers & in_headers)) & byte_mask(keep)),
                self.o.p.keep.eq(keep),
                self.o.p.last.eq(step_1.last),
            ]
