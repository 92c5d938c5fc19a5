"""Checksums: is a received frame as its sender made it, and what is the sum of a segment to send?"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.byteorder import keep_count
from hw.config import Config
from hw.layouts import beat, checksum_plan
from hw.pair_queue import PairQueue
from hw.stream import Queue, Slice
from hw.sum_tree import SumTree
from hw.tx_layouts import tx_checksum
from model.contract import MAX_FRAME, Checksum

RESULT_DEPTH = 32
FIELD_PLACE = 16
"""Of the checksum in the TCP header."""


def _registers(m: Module, stage: str, values: dict) -> dict:
    """Each value one cycle later, as a signal named after its stage."""
    out = {}
    for name, value in values.items():
        out[name] = Signal(len(value), name=f"{name}_{stage}")
        m.d.sync += out[name].eq(value)
    return out


def _bytes_from(amount, size: int):
    """Mask of the bytes k >= amount of `size`; `amount` is at most `size`."""
    return (Const((1 << size) - 1, size) << amount)[:size]


def _masked(m: Module, name: str, data, mask):
    """The bytes of `data` in `mask`, the others zero."""
    chosen = Signal(len(mask), name=name)
    m.d.comb += chosen.eq(mask)
    return data & Cat(bit.replicate(8) for bit in chosen)


class ChecksumUnit(wiring.Component):
    """One `contract.Checksum` a frame; on transmit one `tx_checksum`.

    Contract: takes a beat a cycle, and works off up to two a cycle once it has the plan, so that it catches up on
    the time the plan took (`config.late`: one, and its result comes as much later). The result is at `o` `delay` cycles
    after the beat with the last byte of the IP packet, or the frame's last, was taken, if the unit is not behind; for a
    frame that is not parsed (NONE) when its plan is there. `i.ready` falls when 32 beats wait for a plan, or because 32
    results are not taken (`config.late`: 31).

    The ones' complement sum over header and segment including the checksum field must be 0xFFFF. On transmit the
    field counts as zero and nobody looks at the IPv4 header; `sum` is a big-endian integer, 1 to 0xFFFF, and means
    something only with `whole`.
    Sources: RFC 1071; RFC 791, RFC 9293, pseudo header of RFC 8200 section 8.1.

    Members
    -------
    i : In(stream.Signature(beat(config)))
    plan : In(stream.Signature(checksum_plan(config)))
    o : Out(stream.Signature(2)), on transmit Out(stream.Signature(tx_checksum()))
    """

    def __init__(self, config: Config, transmit: bool = False):
        self._config = config
        self._transmit = transmit
        self._bytes = 2 * config.width  # of a step
        self.delay = 6 + SumTree.depth(config.width) + transmit + config.late
        super().__init__({
            "i": In(stream.Signature(beat(config))),
            "plan": In(stream.Signature(checksum_plan(config))),
            "o": Out(stream.Signature(self.result_shape(transmit))),
        })  # fmt: skip

    @staticmethod
    def result_shape(transmit: bool):
        return tx_checksum() if transmit else 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.beats = beats = PairQueue(self._config)
        m.submodules.results = results = Queue(self.result_shape(self._transmit), depth=RESULT_DEPTH)
        wiring.connect(m, wiring.flipped(self.i), beats.i)
        wiring.connect(m, results.o, wiring.flipped(self.o))

        late, plan, some = self._config.late, self.plan, beats.level != 0
        if late:
            m.submodules.plans = plans = Slice(checksum_plan(self._config))
            wiring.connect(m, wiring.flipped(self.plan), plans.i)
            plan, some = plans.o, beats.some

        # A frame begins only when there is room for its result: the pipeline behind never waits.
        owed = Signal(range(RESULT_DEPTH + 1))
        room, given = owed != RESULT_DEPTH, self.o.valid & self.o.ready
        if late:  # from registers: a place less
            room, given = Signal(name="room", init=1), Signal(name="given")
            m.d.sync += [room.eq(owed < RESULT_DEPTH - 1), given.eq(self.o.valid & self.o.ready)]
        first = Signal(init=1)
        go = Signal()
        two = Signal()
        begin = Signal()
        m.d.comb += [
            go.eq(some & (~first | (plan.valid & room))),
            two.eq(0 if late else (beats.level > 1) & ~beats.low.last),
            beats.take.eq(Mux(go, Mux(two, 2, 1), 0)),
            begin.eq(go & first),
            plan.ready.eq(some & first & room),
        ]
        m.d.sync += owed.eq(owed + begin - given)
        last = Signal()
        m.d.comb += last.eq(beats.low.last | (two & beats.high.last))
        with m.If(go):
            m.d.sync += first.eq(last)

        step = self._steps(m, beats, plan.p, go, two, first, last)
        self._sums(m, step, results.i)
        return m

    def _steps(self, m, beats, plan, go, two, first, last):
        """Stage 1: a step is one or two beats of a frame, with the plan's offsets relative to its first byte."""
        width = self._config.width
        data = Signal(8 * self._bytes, name="data_1")
        m.d.sync += data.eq(Cat(beats.low.data, Mux(two, beats.high.data, 0)))
        flags = {
            "first": go & first,
            "none": go & first & ~plan.parsed,
            "last": go & last,
            "two": two,
            "go": go,
        }
        step = {"data": data}
        for name, value in flags.items():
            step[name] = Signal(name=f"{name}_1")
            m.d.sync += step[name].eq(value)
        step["keep"] = Signal(width, name="keep_1")
        step["pseudo"] = Signal.like(plan.pseudo, name="pseudo_1")
        m.d.sync += [
            step["keep"].eq(Mux(beats.low.last, beats.low.keep, beats.high.keep)),
            step["pseudo"].eq(plan.pseudo),
        ]
        # Offsets as they will be at the next step; behind zero they stay there. Without a plan: nothing to sum.
        starts = {
            "l3": Mux(plan.ipv6, plan.l4_offset, plan.l3_offset),  # IPv6: no header to sum
            "l4": plan.l4_offset,
            "end": Mux(plan.parsed, plan.end_offset, 0),
        }
        if self._transmit:
            del starts["l3"]
            starts |= {"field": plan.l4_offset + FIELD_PLACE, "behind_field": plan.l4_offset + FIELD_PLACE + 2}
        for name, start in starts.items():
            ahead = Signal(len(start), name=f"{name}_ahead")
            here = Signal(len(start), name=f"{name}_here")
            rest = Signal(len(ahead) + 1, name=f"{name}_rest")
            clipped = Signal(range(self._bytes + 1), name=f"{name}_1")
            m.d.comb += here.eq(Mux(first, start, ahead))
            m.d.comb += rest.eq(here - Mux(two, 2 * width, width))
            m.d.sync += clipped.eq(Mux(here >= self._bytes, self._bytes, here))
            with m.If(go):
                m.d.sync += ahead.eq(Mux(rest[-1], 0, rest))
            step[name] = clipped
            if name == "end":
                step["beyond"] = Signal(name="beyond_1")
                m.d.sync += step["beyond"].eq(here > self._bytes)
        if self._transmit:
            step["offset"] = Signal(len(starts["field"]), name="offset_1")
            m.d.sync += step["offset"].eq(starts["field"])
        return step

    def _sums(self, m, step, output):
        """Stage 2: the bytes to sum; then the adder trees, the sums over the frame and the result.

        Words are summed as they lie, byte 0 lowest: ones' complement sums do not care (RFC 1071, section 2).
        """
        width, size = self._config.width, self._bytes
        present = Signal(range(size + 1))  # bytes of the frame up to the end of this step, if it is the last one
        count = keep_count(step["keep"]) + Mux(step["two"], width, 0)
        if self._config.late:
            m.d.sync += present.eq(count)
            step = _registers(m, "late", step)
        behind_l4 = _bytes_from(step["l4"], size)
        in_segment = behind_l4 & ~_bytes_from(step["end"], size)
        if self._transmit:
            in_segment &= ~_bytes_from(step["field"], size) | _bytes_from(step["behind_field"], size)
        segment_tree = m.submodules.segment_tree = SumTree(width)
        m.d.sync += segment_tree.words.eq(_masked(m, "in_segment", step["data"], in_segment))

        # What goes with a step to the end of the adder trees.
        if not self._config.late:
            m.d.comb += present.eq(count)
        reached = ~step["beyond"] & (step["end"] <= Mux(step["two"], size, width))
        swapped_pseudo = Cat(step["pseudo"][8:16], step["pseudo"][:8] + step["pseudo"][16:])
        passing = {
            "go": step["go"],
            "first": step["first"],
            "none": step["none"],
            "done": step["go"] & (step["end"] != 0) & (reached | step["last"]),
            "short": step["last"] & (step["beyond"] | (step["end"] > present)),
            "pseudo": swapped_pseudo,
        }
        if self._transmit:
            passing["offset"] = step["offset"]
        for stage in range(2, 3 + segment_tree.delay):
            passing = _registers(m, f"passing_{stage}", passing)

        go, first = passing["go"], passing["first"]
        segment_sum = Signal(range((MAX_FRAME + 40) // 2 * 0xFFFF))
        segment_fold = Signal(17)
        with m.If(go):
            m.d.sync += segment_sum.eq(Mux(first, passing["pseudo"], segment_sum) + segment_tree.sum)
        m.d.sync += segment_fold.eq(segment_sum[:16] + segment_sum[16:])
        flags = {name: passing[name] for name in ("none", "done", "short")}
        flags = _registers(m, "fold", _registers(m, "sum", flags))
        if self._transmit:
            self._sum_result(m, passing, flags, segment_fold, output)
        else:
            self._verdict(m, step, behind_l4, passing, flags, segment_fold, output)

    def _verdict(self, m, step, behind_l4, passing, flags, segment_fold, output):
        """The IPv4 header's sum beside the segment's; are both right?"""
        header_tree = m.submodules.header_tree = SumTree(self._config.width)
        header_sum = Signal(22)
        header_fold = Signal(17)
        in_header = _bytes_from(step["l3"], self._bytes) & ~behind_l4
        m.d.sync += header_tree.words.eq(_masked(m, "in_header", step["data"], in_header))
        with m.If(passing["go"]):
            m.d.sync += header_sum.eq(Mux(passing["first"], 0, header_sum) + header_tree.sum)
        m.d.sync += header_fold.eq(header_sum[:16] + header_sum[16:])
        # One fold leaves less than 0x1FFFE, so a sum that is right is 0xFFFF now. IPv6: the header's is zero.
        right = (segment_fold == 0xFFFF) & ((header_fold == 0xFFFF) | (header_fold == 0)) & ~flags["short"]
        m.d.comb += [
            output.valid.eq(flags["none"] | flags["done"]),
            output.p.eq(Mux(flags["none"], Checksum.NONE, Mux(right, Checksum.GOOD, Checksum.BAD))),
        ]

    def _sum_result(self, m, passing, flags, segment_fold, output):
        """Transmit: the sum, folded once more."""
        offset = Signal.like(passing["offset"], name="offset_sum")
        with m.If(passing["go"] & passing["first"]):
            m.d.sync += offset.eq(passing["offset"])
        offset = _registers(m, "result", _registers(m, "fold", {"offset": offset}))["offset"]
        flags = _registers(m, "result", flags)
        total = Signal(16)
        m.d.sync += total.eq(segment_fold[:16] + segment_fold[16])
        m.d.comb += [
            output.valid.eq(flags["none"] | flags["done"]),
            output.p.whole.eq(~flags["none"] & ~flags["short"]),
            output.p.sum.eq(Cat(total[8:], total[:8])),
            output.p.offset.eq(offset),
        ]

    @staticmethod
    def model(frame: bytes, plan: dict | None) -> Checksum:
        """The result for a frame and what `Parse.model` says about it."""
        if plan is None:
            return Checksum.NONE

        def right(data, start):
            total = start + sum(data[::2]) * 256 + sum(data[1::2])
            while total > 0xFFFF:
                total = (total & 0xFFFF) + (total >> 16)
            return total == 0xFFFF

        l3, l4, end = plan["l3_offset"], plan["l4_offset"], plan["end_offset"]
        good = end <= len(frame) and right(frame[l4:end], plan["pseudo"])
        if not plan["ipv6"]:
            good = good and right(frame[l3:l4], 0)
        return Checksum.GOOD if good else Checksum.BAD

    @staticmethod
    def tx_model(frame: bytes, plan: dict | None) -> dict | None:
        """Fields of `tx_checksum` with `whole`; None without."""
        if plan is None or plan["end_offset"] > len(frame):
            return None
        l4, end = plan["l4_offset"], plan["end_offset"]
        field = l4 + FIELD_PLACE
        data = frame[l4:field] + bytes(2) + frame[field + 2 : end]
        total = plan["pseudo"] + sum(data[::2]) * 256 + sum(data[1::2])
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        return {"whole": 1, "sum": total, "offset": field}
