"""Checksums: is the frame's IPv4 header and TCP segment as its sender made it?"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.byteorder import keep_count
from hw.config import Config
from hw.layouts import beat, checksum_plan
from hw.stream import Queue
from model.contract import MAX_FRAME, Checksum

DELAY_DEPTH = 32
"""Beats waiting for their plan; the parser has a plan ready after at most 128 / W + 9 beats."""
RESULT_DEPTH = 32


class PairQueue(wiring.Component):
    """Queue of beats that gives one or two of them a cycle.

    Members
    -------
    i : In(stream.Signature(beat(config)))
    low, high : Out(beat(config))   the two oldest beats
    level : Out                     how many there are (of `low` and `high`: those it covers)
    take : In(2)                    so many are taken in this cycle, at most `level`
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(beat(config))),
            "low": Out(beat(config)),
            "high": Out(beat(config)),
            "level": Out(range(DELAY_DEPTH + 1)),
            "take": In(2),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        write = Signal(range(2 * DELAY_DEPTH))
        read = Signal(range(2 * DELAY_DEPTH))
        push = Signal()
        m.d.comb += [
            self.level.eq((write - read)[: len(read)]),
            self.i.ready.eq(self.level != DELAY_DEPTH),
            push.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += [write.eq(write + push), read.eq(read + self.take)]
        bank_data = []
        # The beat behind one in the odd bank is in the even bank one row further.
        for bank, row in enumerate(((read + 1)[1 : len(read) - 1], read[1:-1])):
            ram = memory.Memory(shape=beat(self._config), depth=DELAY_DEPTH // 2, init=[])
            m.submodules[f"bank{bank}"] = ram
            w, r = ram.write_port(), ram.read_port(domain="comb")
            m.d.comb += [
                w.addr.eq(write[1:-1]),
                w.data.eq(self.i.p),
                w.en.eq(push & (write[0] == bank)),
                r.addr.eq(row),
            ]
            bank_data.append(r.data.as_value())
        even, odd = bank_data
        m.d.comb += [
            self.low.eq(Mux(read[0], odd, even)),
            self.high.eq(Mux(read[0], even, odd)),
        ]
        return m


class SumTree(wiring.Component):
    """Sum of 16-bit words, four terms an adder, a register behind each.

    Members
    -------
    words : In(16 * count)
    sum : Out    `delay` cycles later
    """

    def __init__(self, count: int):
        self._count = count
        self.delay = 0
        while 4**self.delay < count:
            self.delay += 1
        super().__init__({"words": In(16 * count), "sum": Out(16 + (count - 1).bit_length())})

    def elaborate(self, platform):
        m = Module()
        terms = [self.words.word_select(k, 16) for k in range(self._count)]
        for level in range(self.delay):
            sums = []
            for k in range(0, len(terms), 4):
                value = sum(terms[k + 1 : k + 4], terms[k])
                sums.append(Signal(value.shape(), name=f"sum_{level}_{k // 4}"))
                m.d.sync += sums[-1].eq(value)
            terms = sums
        m.d.comb += self.sum.eq(terms[0])
        return m


def _bytes_from(amount, size: int):
    """Mask of the bytes k >= amount of `size`; `amount` is at most `size`."""
    return (Const((1 << size) - 1, size) << amount)[:size]


def _masked(m: Module, name: str, data, mask):
    """The bytes of `data` in `mask`, the others zero."""
    chosen = Signal(len(mask), name=name)
    m.d.comb += chosen.eq(mask)
    return data & Cat(bit.replicate(8) for bit in chosen)


class ChecksumUnit(wiring.Component):
    """One `contract.Checksum` a frame.

    Contract: takes a beat a cycle, and works off up to two a cycle once it has the plan, so that it catches up on
    the time the plan took. The result is at `o` `delay` cycles after the beat with the last byte of the IP
    packet, or the frame's last, was taken, if the unit is not behind; for a frame that is not parsed (NONE) when its
    plan is there. `i.ready` falls when 32 beats wait, for a plan or because 32 results are not taken.

    The ones' complement sum over header and segment including the checksum field must be 0xFFFF.
    Sources: RFC 1071; RFC 791, RFC 9293, pseudo header of RFC 8200 section 8.1.

    Members
    -------
    i : In(stream.Signature(beat(config)))
    plan : In(stream.Signature(checksum_plan(config)))
    o : Out(stream.Signature(2))
    """

    def __init__(self, config: Config):
        self._config = config
        self._bytes = 2 * config.width  # of a step
        self._trees = SumTree(config.width), SumTree(config.width)
        self.delay = 6 + self._trees[0].delay
        super().__init__({
            "i": In(stream.Signature(beat(config))),
            "plan": In(stream.Signature(checksum_plan(config))),
            "o": Out(stream.Signature(2)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.beats = beats = PairQueue(self._config)
        m.submodules.results = results = Queue(2, depth=RESULT_DEPTH)
        wiring.connect(m, wiring.flipped(self.i), beats.i)
        wiring.connect(m, results.o, wiring.flipped(self.o))

        # A frame begins only when there is room for its result: the pipeline behind never waits.
        owed = Signal(range(RESULT_DEPTH + 1))
        first = Signal(init=1)
        go = Signal()
        two = Signal()
        begin = Signal()
        m.d.comb += [
            go.eq((beats.level != 0) & (~first | (self.plan.valid & (owed != RESULT_DEPTH)))),
            two.eq((beats.level > 1) & ~beats.low.last),
            beats.take.eq(Mux(go, Mux(two, 2, 1), 0)),
            begin.eq(go & first),
            self.plan.ready.eq((beats.level != 0) & first & (owed != RESULT_DEPTH)),
        ]
        m.d.sync += owed.eq(owed + begin - (self.o.valid & self.o.ready))
        last = Signal()
        m.d.comb += last.eq(beats.low.last | (two & beats.high.last))
        with m.If(go):
            m.d.sync += first.eq(last)

        step = self._steps(m, beats, go, two, first, last)
        self._sums(m, step, results.i)
        return m

    def _steps(self, m, beats, go, two, first, last):
        """Stage 1: a step is one or two beats of a frame, with the plan's offsets relative to its first byte."""
        width = self._config.width
        data = Signal(8 * self._bytes, name="data_1")
        m.d.sync += data.eq(Cat(beats.low.data, Mux(two, beats.high.data, 0)))
        flags = {
            "first": go & first,
            "none": go & first & ~self.plan.p.parsed,
            "last": go & last,
            "two": two,
            "go": go,
        }
        step = {"data": data}
        for name, value in flags.items():
            step[name] = Signal(name=f"{name}_1")
            m.d.sync += step[name].eq(value)
        step["keep"] = Signal(width, name="keep_1")
        step["pseudo"] = Signal.like(self.plan.p.pseudo, name="pseudo_1")
        m.d.sync += [
            step["keep"].eq(Mux(beats.low.last, beats.low.keep, beats.high.keep)),
            step["pseudo"].eq(self.plan.p.pseudo),
        ]
        # Offsets as they will be at the next step; behind zero they stay there. Without a plan: nothing to sum.
        plan = self.plan.p
        starts = {
            "l3": Mux(plan.ipv6, plan.l4_offset, plan.l3_offset),  # IPv6: no header to sum
            "l4": plan.l4_offset,
            "end": Mux(plan.parsed, plan.end_offset, 0),
        }
        for name, start in starts.items():
            ahead = Signal.like(start, name=f"{name}_ahead")
            here = Signal.like(start, name=f"{name}_here")
            rest = Signal(len(ahead) + 1, name=f"{name}_rest")
            clipped = Signal(range(self._bytes + 1), name=f"{name}_1")
            m.d.comb += here.eq(Mux(first, start, ahead))
            m.d.comb += rest.eq(here - Mux(two, 2 * width, width))
            m.d.sync += clipped.eq(Mux(here >= self._bytes, self._bytes, here))
            with m.If(go):
                m.d.sync += ahead.eq(Mux(rest[-1], 0, rest))
            step[name] = clipped
        step["beyond"] = Signal(name="beyond_1")
        m.d.sync += step["beyond"].eq(here > self._bytes)
        return step

    def _sums(self, m, step, output):
        """Stage 2: the bytes to sum; then the adder trees, the sums over the frame and the verdict.

        Words are summed as they lie, byte 0 lowest: ones' complement sums do not care (RFC 1071, section 2).
        """
        width, size = self._config.width, self._bytes
        behind_l4 = _bytes_from(step["l4"], size)
        in_header = _bytes_from(step["l3"], size) & ~behind_l4
        in_segment = behind_l4 & ~_bytes_from(step["end"], size)
        header_tree, segment_tree = self._trees
        m.submodules.header_tree = header_tree
        m.submodules.segment_tree = segment_tree
        m.d.sync += [
            header_tree.words.eq(_masked(m, "in_header", step["data"], in_header)),
            segment_tree.words.eq(_masked(m, "in_segment", step["data"], in_segment)),
        ]
        # What goes with a step to the end of the adder trees.
        present = Signal(range(size + 1))  # bytes of the frame up to the end of this step, if it is the last one
        m.d.comb += present.eq(keep_count(step["keep"]) + Mux(step["two"], width, 0))
        reached = ~step["beyond"] & (step["end"] <= Mux(step["two"], size, width))
        swapped_pseudo = Cat(step["pseudo"][8:16], step["pseudo"][:8] + step["pseudo"][16:])
        passing = Cat(
            step["go"],
            step["first"],
            step["none"],
            step["go"] & (step["end"] != 0) & (reached | step["last"]),  # done
            step["last"] & (step["beyond"] | (step["end"] > present)),  # short
            swapped_pseudo,
        )
        for stage in range(2, 3 + header_tree.delay):
            passed = Signal(len(passing), name=f"passing_{stage}")
            m.d.sync += passed.eq(passing)
            passing = passed
        go, first, none, done, short = (passing[k] for k in range(5))
        pseudo = passing[5:]

        header_sum = Signal(22)
        segment_sum = Signal(range((MAX_FRAME + 40) // 2 * 0xFFFF))
        with m.If(go):
            m.d.sync += header_sum.eq(Mux(first, 0, header_sum) + header_tree.sum)
            m.d.sync += segment_sum.eq(Mux(first, pseudo, segment_sum) + segment_tree.sum)
        flags_sum = Signal(3)
        flags_fold = Signal(3)
        header_fold = Signal(17)
        segment_fold = Signal(17)
        m.d.sync += [
            flags_sum.eq(Cat(none, done, short)),
            flags_fold.eq(flags_sum),
            header_fold.eq(header_sum[:16] + header_sum[16:]),
            segment_fold.eq(segment_sum[:16] + segment_sum[16:]),
        ]
        # One fold leaves less than 0x1FFFE, so a sum that is right is 0xFFFF now. IPv6: the header's is zero.
        none, done, short = flags_fold[0], flags_fold[1], flags_fold[2]
        right = (segment_fold == 0xFFFF) & ((header_fold == 0xFFFF) | (header_fold == 0)) & ~short
        m.d.comb += [
            output.valid.eq(none | done),
            output.p.eq(Mux(none, Checksum.NONE, Mux(right, Checksum.GOOD, Checksum.BAD))),
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
