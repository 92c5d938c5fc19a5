"""Ingress: every frame goes into the packet buffer, to the parser and to the checksum unit at once."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.buffer import PacketBuffer, PairPort
from hw.checksum import ChecksumUnit
from hw.config import Config
from hw.layouts import MAX_PACKETS, PACKET_BITS, beat, headers
from hw.parse import Parse
from hw.parse_stream import StreamParse


class Ingress(wiring.Component):
    """Buffer, parser and checksum unit behind one stream of frames.

    Contract: takes a beat a cycle. `i.ready` falls when the buffer is full, and before the first beat of a frame
    while 31 frames are inside (`config.late`: 30): a frame is inside from its first beat taken to its last beat's
    transfer at `o`.
    `headers` and `checksum` have room for the items of all frames inside, so neither can hold up the other;
    both come while the frame is still arriving, if it is long. `o` must give its beats away only when `headers`
    and `checksum` of the frame have been taken.

    Members
    -------
    i : In(stream.Signature(beat(config)))              from the wire
    headers : Out(stream.Signature(headers(config)))    one per frame
    checksum : Out(stream.Signature(2))                 contract.Checksum, one per frame; on transmit tx_checksum()
    o : Out(stream.Signature(beat(config)))             frames, out of the buffer
    written, ended, taken, track, align                 see `PacketBuffer`
    """

    def __init__(self, config: Config, transmit: bool = False):
        self._config = config
        self._transmit = transmit
        super().__init__({
            "i": In(stream.Signature(beat(config))),
            "headers": Out(stream.Signature(headers(config))),
            "checksum": Out(stream.Signature(ChecksumUnit.result_shape(transmit))),
            "o": Out(stream.Signature(beat(config))),
            "written": Out(config.pointer_bits),
            "ended": Out(PACKET_BITS),
            **({"taken": Out(config.pointer_bits)} if config.passes_raw else {}),
            "track": In(PairPort(config)),
            "align": In(PairPort(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = PacketBuffer(self._config)
        m.submodules.parse = parse = (StreamParse if self._config.late else Parse)(self._config)
        m.submodules.checksum = checksum = ChecksumUnit(self._config, self._transmit)
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        wiring.connect(m, parse.o, wiring.flipped(self.headers))
        wiring.connect(m, checksum.o, wiring.flipped(self.checksum))
        wiring.connect(m, parse.plan, checksum.plan)
        for name in ("track", "align"):
            port, inner = getattr(self, name), getattr(buffer, name)
            m.d.comb += [inner.address.eq(port.address), port.data.eq(inner.data)]
        m.d.comb += [self.written.eq(buffer.written), self.ended.eq(buffer.ended)]
        if self._config.passes_raw:
            m.d.comb += self.taken.eq(buffer.taken)

        first = Signal(init=1)
        inside = Signal(range(MAX_PACKETS + 1))
        transfer = Signal()
        leave = Signal()
        m.d.comb += [
            transfer.eq(self.i.valid & self.i.ready),
            leave.eq(self.o.valid & self.o.ready & self.o.p.last),
        ]
        left = leave
        if self._config.late:
            left = Signal(name="left")
            m.d.sync += left.eq(leave)
        # The buffer's taking counts: a beat that the other branches lack yet can already be at `o`.
        m.d.sync += inside.eq(inside + (buffer.i.valid & buffer.i.ready & first) - left)
        with m.If(transfer):
            m.d.sync += first.eq(self.i.p.last)

        # A branch that has taken the beat waits for the others; a branch's valid never depends on a ready.
        admit = Signal()
        few = Signal(init=1)  # late, from a register: a frame less
        if self._config.late:
            m.d.sync += few.eq(inside < MAX_PACKETS - 1)
        else:
            m.d.comb += few.eq(inside != MAX_PACKETS)
        branches = {"buffer": buffer.i, "parse": parse.i, "checksum": checksum.i}
        taken = []
        for name, branch in branches.items():
            done = Signal(name=f"{name}_done")
            m.d.comb += [
                branch.valid.eq(self.i.valid & admit & ~done),
                branch.p.eq(self.i.p),
            ]
            m.d.sync += done.eq((done | (branch.valid & branch.ready)) & ~transfer)
            taken.append(done)
            if name == "buffer":
                m.d.comb += admit.eq(~first | done | few)
        m.d.comb += self.i.ready.eq(
            admit & Cat(done | branch.ready for done, branch in zip(taken, branches.values(), strict=True)).all()
        )
        return m
