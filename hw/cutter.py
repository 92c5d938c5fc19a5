"""The cutter: frames in, segments out."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.byteorder import keep_count
from hw.config import Config
from hw.layouts import beat
from hw.rotate import byte_mask, bytes_below, clipped
from hw.segment_headers import SegmentHeaders, header_patches, patched, patches_of, segment_header
from hw.segment_parse import segment_plan
from hw.stream import Queue
from hw.tx_layouts import tx_beat, tx_request
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

    Contract: a beat a cycle out, two cycles behind what it is made from, also from segment to segment and from frame to
    frame that is not cut. Before the first segment of a frame are max(6, headers // W + 3) cycles without output.
    `i.ready` depends on what `i` offers; a frame's request and plan are taken with its last beat.

    A frame that ends before its IP packet has the segments that begin in it, at least one; the last of them is cut
    as the frame is. What lies behind the IP packet is swallowed.

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
        width = self._config.width
        c = SimpleNamespace(
            move=Signal(),  # the stages behind take a step
            go=Signal(),  # there is one
            step=Signal(_step(self._config)),
            begin=Signal(),  # it is the first beat of an outgoing frame
            cut=Signal(),  # the frame is cut
            segment=Signal(segment_header()),
            row=Signal(range(MAX_HEADERS // width + 2)),  # of the beat in a segment, as far as headers reach
            store=memory.Memory(shape=8 * width, depth=MAX_HEADERS // width + 1, init=[]),
        )
        m.submodules.store = c.store
        self._source(m, c)
        self._outgoing(m, c)
        self._control(m, c)
        self._requests(m, c)
        self._stages(m, c)
        return m

    def _source(self, m, c):
        """The held beat; lane 0 of the next outgoing one is `shift` bytes behind its first (or before: negative)."""
        width, head = self._config.width, self.i.p
        c.hold = Signal()
        c.held_last = Signal()
        c.held_count = Signal(range(width + 1))
        c.head_count = Signal(range(width + 1))
        c.shift = Signal(signed(self._config.rotate_bits + 1))
        c.from_head = Signal(signed(self._config.rotate_bits + 2))  # lanes below come from `i`
        held = Signal(8 * width)
        m.d.comb += c.head_count.eq(keep_count(head.keep))
        with m.If(c.hold):
            m.d.sync += [held.eq(head.data), c.held_last.eq(head.last), c.held_count.eq(c.head_count)]
        below = byte_mask(bytes_below(m, clipped(c.from_head, width), width))
        m.d.comb += c.step.data.eq((head.data & below) | (held & ~below))

    def _outgoing(self, m, c):
        """One outgoing beat of a segment."""
        width, bits = self._config.width, self._config.rotate_bits
        head, plan = self.i.p, self.plans.p
        c.header_left = Signal(range(MAX_HEADERS + width))
        c.left = Signal(16)  # payload bytes of the segment
        c.bare = Signal()  # the frame ends with its headers or before
        c.headers = Signal(range(width + 1))
        c.wanted = Signal(range(width + 1))  # payload bytes
        c.over = Signal()  # the frame's last byte is in this beat
        c.segment_end = Signal()
        c.frame_end = Signal()
        c.advance = Signal()  # what is at `i` becomes the held beat
        c.next_shift = Signal(signed(bits + 3))
        c.supplied = Signal()
        c.count = Signal(range(width + 1))
        room = Signal(range(width + 1))
        payload_end = Signal(signed(bits + 3))
        beyond = Signal()  # payload of the beat at `i` is wanted
        available = Signal(range(2 * width + 1))
        m.d.comb += [
            c.headers.eq(Mux(c.header_left > width, width, c.header_left)),
            room.eq(width - c.headers),
            c.wanted.eq(Mux(c.left > room, room, c.left)),
            payload_end.eq(c.shift + c.headers + c.wanted),
            c.next_shift.eq(payload_end - plan.payload_offset[:bits]),
            beyond.eq((c.wanted != 0) & ~c.held_last & (payload_end > width)),
            available.eq(Mux(c.held_last, c.held_count, width + c.head_count)),
            c.over.eq((c.wanted != 0) & (available <= payload_end) & (c.held_last | (beyond & head.last))),
            c.count.eq(Mux(c.over, available - c.shift, c.headers + c.wanted)),
            c.segment_end.eq(c.over | ((c.wanted == c.left) & (c.header_left <= width))),
            c.frame_end.eq(c.segment_end & (c.over | c.bare | c.segment.last)),
            c.supplied.eq(self.i.valid | ~(c.advance | beyond)),
        ]
        # A segment that ends in the held beat leaves it to the next; else the next beat begins behind it.
        with m.If((c.wanted != 0) & ~c.held_last):
            with m.If(c.segment_end & ~c.frame_end):
                m.d.comb += c.advance.eq(c.next_shift >= width)
            with m.Else():
                m.d.comb += c.advance.eq(c.frame_end | (c.shift >= 0))

    def _control(self, m, c):
        width, bits = self._config.width, self._config.rotate_bits
        head, request, plan, step = self.i.p, self.requests.p, self.plans.p, c.step
        m.submodules.headers = headers = SegmentHeaders(self._config)
        sized = Signal()
        finish = Signal()  # of a frame
        first = Signal(init=1)  # beat of a frame not cut
        active = Signal()  # a segment is being sent
        loaded = Signal.like(c.header_left)
        size = Signal.like(loaded)
        write = c.store.write_port()
        m.d.comb += [
            headers.plan.eq(plan),
            headers.size.eq(request.segment_size),
            sized.eq(request.segment_size != 0),
            c.cut.eq(sized & plan.parsed & (plan.payload_length > request.segment_size)),
            self.requests.ready.eq(finish),
            self.plans.ready.eq(finish & sized),
            write.addr.eq(c.row),
            write.data.eq(head.data),
            size.eq(c.row * width + c.head_count),
            c.begin.eq(c.row == 0),
            c.from_head.eq(c.shift),
            step.rotate.eq(c.shift[:bits]),
            step.headers.eq(c.headers),
            step.count.eq(c.count),
            step.last.eq(c.segment_end),
            step.row.eq(c.row),
            *(getattr(step.patches, name).eq(value) for name, value in patches_of(plan, c.segment).items()),
        ]
        with m.FSM():
            with m.State("START"):
                with m.If(self.requests.valid & (~sized | (self.plans.valid & ~c.cut))):
                    m.d.comb += [
                        self.i.ready.eq(c.move),
                        c.go.eq(c.move & self.i.valid),
                        c.begin.eq(first),
                        c.from_head.eq(width),
                        step.rotate.eq(0),
                        step.headers.eq(0),
                        step.count.eq(c.head_count),
                        step.last.eq(head.last),
                        finish.eq(c.go & head.last),
                    ]
                    with m.If(c.go):
                        m.d.sync += first.eq(head.last)
                with m.Elif(self.requests.valid & self.plans.valid):
                    m.d.comb += headers.start.eq(1)
                    m.d.sync += c.row.eq(0)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [self.i.ready.eq(1), c.hold.eq(self.i.valid), write.en.eq(self.i.valid)]
                m.d.sync += [loaded.eq(size), c.bare.eq(head.last & (size <= plan.payload_offset)), c.shift.eq(0)]
                with m.If(self.i.valid):
                    m.d.sync += c.row.eq(c.row + 1)
                    with m.If(head.last | (c.row == plan.payload_offset[bits:])):
                        m.next = "CUT"
            with m.State("CUT"):
                m.d.comb += [
                    c.go.eq(active & c.move & c.supplied),
                    self.i.ready.eq(active & c.move & c.advance),
                    c.hold.eq(c.go & c.advance),
                    headers.o.ready.eq(~active | (c.go & c.segment_end & ~c.frame_end)),
                ]
                with m.If(c.go):
                    m.d.sync += [
                        active.eq(~c.segment_end),
                        c.row.eq(c.row + ~c.row.all()),
                        c.header_left.eq(c.header_left - c.headers),
                        c.left.eq(c.left - c.wanted),
                    ]
                    with m.If(c.wanted != 0):
                        position = Mux(c.segment_end, c.next_shift, c.shift + width)
                        m.d.sync += c.shift.eq(position - Mux(c.advance, width, 0))
                with m.If(headers.o.valid & headers.o.ready):
                    m.d.sync += [
                        active.eq(1),
                        c.segment.eq(headers.o.p),
                        c.row.eq(0),
                        c.header_left.eq(Mux(c.bare, loaded, plan.payload_offset)),
                        c.left.eq(Mux(c.bare, 0, headers.o.p.length)),
                    ]
                with m.If(c.go & c.frame_end):
                    m.d.comb += [headers.stop.eq(1), finish.eq(c.held_last | head.last)]
                    with m.If(finish):
                        m.next = "START"
                    with m.Else():
                        m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.comb += [self.i.ready.eq(1), finish.eq(self.i.valid & head.last)]
                with m.If(finish):
                    m.next = "START"

    def _requests(self, m, c):
        """The request of each outgoing frame, beside its beats."""
        m.submodules.sent = sent = Queue(tx_request(), depth=4)  # at most 2 are inside: one a stage
        request, out = self.requests.p, sent.i.p
        m.d.comb += [
            out.eq(request),
            sent.i.valid.eq(c.go & c.begin),
            sent.o.ready.eq(self.o.valid & self.o.ready & self.o.p.last),
            self.o.p.request.eq(sent.o.p),
            out.segment_size.eq(Mux(c.cut & (request.kind == TxKind.PASS), request.segment_size, 0)),
        ]
        with m.If(c.cut):
            m.d.comb += out.adopt.eq(request.adopt & c.segment.last)
            with m.If((request.kind == TxKind.PREFIX) & ~c.segment.first):
                m.d.comb += out.kind.eq(TxKind.RETRANSMIT)

    def _stages(self, m, c):
        """Stage 1: the beat and the headers out of the store; stage 2: payload turned, headers patched."""
        width = self._config.width
        read = c.store.read_port()
        valid_1 = Signal()
        step_1 = Signal.like(c.step)
        m.d.comb += [
            read.addr.eq(c.step.row),
            read.en.eq(c.move),
            c.move.eq(~self.o.valid | self.o.ready),
        ]
        payload = Signal(8 * width)
        headers = Signal(8 * width)
        m.d.comb += [
            payload.eq(Cat(step_1.data, step_1.data) >> Cat(Const(0, 3), step_1.rotate)),
            headers.eq(patched(m, read.data, step_1.row, step_1.patches)),
        ]
        in_headers = byte_mask(bytes_below(m, clipped(step_1.headers, width), width))
        keep = bytes_below(m, clipped(step_1.count, width), width)
        with m.If(c.move):
            m.d.sync += [
                valid_1.eq(c.go),
                step_1.eq(c.step),
                self.o.valid.eq(valid_1),
                self.o.p.data.eq(((payload & ~in_headers) | (headers & in_headers)) & byte_mask(keep)),
                self.o.p.keep.eq(keep),
                self.o.p.last.eq(step_1.last),
            ]
