"""Placing: each fragment's hash times the power of H that puts it at its place in the record."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.credit import Credit
from hw.gf128 import Multiplier, multiply, power
from hw.layouts import EXPONENT_BITS
from hw.powers import DIGIT_BITS, DIGITS, ROW_BITS, factors, row_of
from hw.stream import Queue

SLOTS = 8
"""Fragments whose power is being made or whose hash is awaited."""


def lowest_digit(exponent):
    """Row of the lowest nonzero digit, and the exponent without it."""
    digits = [exponent[k : k + DIGIT_BITS] for k in range(0, EXPONENT_BITS, DIGIT_BITS)]
    row, rest = Const(0, ROW_BITS), [Const(0, DIGIT_BITS)]
    for number in reversed(range(DIGITS)):
        row = Mux(digits[number].any(), row_of(number, digits[number])[:ROW_BITS], row)
    for number in range(1, DIGITS):
        rest.append(Mux(exponent[: number * DIGIT_BITS].any(), digits[number], 0))
    return row, Cat(rest)


def job_layout(index_bits: int):
    """A power that is being made."""
    return data.StructLayout({
        "slot": range(SLOTS),
        "index": index_bits,
        "row": ROW_BITS,  # of the digit that comes next
        "rest": EXPONENT_BITS,  # digits behind it
    })  # fmt: skip


def product_layout(job):
    """What goes through the multiplier with a product."""
    return data.StructLayout({
        "place": 1,
        "extra": 1,
        "step": 1,
        "more": 1,  # `job` goes on
        "job": job,
    })  # fmt: skip


class Placing(wiring.Component):
    """hash * H^exponent for each fragment, in order, on one multiplier.

    Contract: the power is made while the fragment streams, from the powers of the exponent's digits: a product less
    than it has nonzero ones, each `step` cycles behind the one before, and then one for the hash. With nothing else
    to do the power is ready `power_delay` cycles after `begin`. Powers being made share the multiplier, one digit a
    cycle. A fragment is announced on `begin` before its hash comes; `begin.ready` falls when SLOTS of them wait, so
    `hashes` is never held up. `o` may be stalled for any time. `factors` wait at most `factors_wait` cycles, until one
    of the powers under way is made. Polynomial form.

    Members
    -------
    begin : In(stream.Signature({index, exponent >= 1}))
    hashes : In(stream.Signature(128))    one for each `begin`, in order
    o : Out(stream.Signature(128))
    factors : In(stream.Signature(factors()))
    product : Out(stream.Signature(128, always_ready=True))    one for each `factors`, in order
    digit_index, digit_row : Out          digit : In(128)       port of Powers, a cycle later
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "begin": In(stream.Signature(data.StructLayout({
                "index": config.index_bits,
                "exponent": EXPONENT_BITS,
            }))),
            "hashes": In(stream.Signature(128)),
            "o": Out(stream.Signature(128)),
            "factors": In(stream.Signature(factors())),
            "product": Out(stream.Signature(128, always_ready=True)),
            "digit_index": Out(config.index_bits),
            "digit_row": Out(ROW_BITS),
            "digit": In(128),
        })  # fmt: skip

    step = Multiplier.delay + 1
    """Cycles from one product to the one that takes it up."""
    factors_wait = step * (DIGITS - 2)
    delay = Multiplier.delay + 3
    """From `hashes` to `o`, when the power is ready and the multiplier free."""

    @classmethod
    def power_delay(cls, digits: int) -> int:
        return 1 if digits == 1 else 3 + cls.step * (digits - 1)

    @staticmethod
    def model(h: int, exponent: int, value: int) -> int:
        return multiply(value, power(h, exponent))

    def elaborate(self, platform):
        m = Module()
        index_bits = self._config.index_bits
        job = job_layout(index_bits)

        # slots are given out and freed in the order of fragments
        head, tail, finished = Signal(range(SLOTS)), Signal(range(SLOTS)), Signal(SLOTS)
        m.submodules.slots = slots = Credit(SLOTS)
        m.submodules.table = table = Memory(
            shape=data.StructLayout({"single": 1, "index": index_bits, "row": ROW_BITS}),
            depth=SLOTS, init=[],
        )  # fmt: skip
        m.submodules.powers = powers = Memory(shape=128, depth=SLOTS, init=[])
        table_write, own = table.write_port(), table.read_port(domain="comb")
        power_write, made = powers.write_port(), powers.read_port(domain="comb")

        m.submodules.fresh = fresh = Queue(job, depth=SLOTS)
        row, rest, accept, single = Signal(ROW_BITS), Signal(EXPONENT_BITS), Signal(), Signal()
        m.d.comb += [
            self.begin.ready.eq(slots.free),
            accept.eq(self.begin.valid & slots.free),
            slots.take.eq(accept),
            Cat(row, rest).eq(Cat(lowest_digit(self.begin.p.exponent))),
            single.eq(rest == 0),
            table_write.en.eq(accept),
            table_write.addr.eq(tail),
            table_write.data.single.eq(single),
            table_write.data.index.eq(self.begin.p.index),
            table_write.data.row.eq(row),
            fresh.i.valid.eq(accept & ~single),
            fresh.i.p.slot.eq(tail),
            fresh.i.p.index.eq(self.begin.p.index),
            fresh.i.p.row.eq(row),
            fresh.i.p.rest.eq(rest),
        ]
        with m.If(accept):
            m.d.sync += [tail.eq(tail + 1), finished.bit_select(tail, 1).eq(single)]

        tag = product_layout(job)
        m.submodules.multiplier = multiplier = Multiplier(tag)
        now = Const(1, 1)  # it takes operands in every cycle
        done = multiplier.o_tag

        # issue, in this order: a power half made, which nothing keeps but the multiplier; a product for Powers, rare;
        # a hash whose power is ready; a power whose first digit is loaded. A load takes a cycle no other read needs.
        m.submodules.hash_queue = hash_queue = Queue(128, depth=SLOTS)
        m.submodules.queue = queue = Queue(128, depth=SLOTS)
        m.submodules.credit = credit = Credit(SLOTS)
        wiring.connect(m, wiring.flipped(self.hashes), hash_queue.i)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        go_on, extra, place, start, load = (Signal(name=n) for n in ("go_on", "extra", "place", "start", "load"))
        place_digit = Signal()  # the power is that of a digit
        loaded, loading, current = Signal(), Signal(), Signal(job)
        first, kept = Signal(128), Signal(128)
        m.d.comb += [
            own.addr.eq(head),
            made.addr.eq(head),
            go_on.eq(done.step & done.more),
            extra.eq(self.factors.valid & ~go_on & now),
            place.eq(finished.bit_select(head, 1) & hash_queue.o.valid & credit.free & ~go_on & ~extra & now),
            start.eq(loaded & ~go_on & ~extra & ~place & now),
            place_digit.eq(place & own.data.single),
            load.eq(fresh.o.valid & ~loaded & ~go_on & ~place_digit),
            self.factors.ready.eq(~go_on & now),
            hash_queue.o.ready.eq(place),
            fresh.o.ready.eq(load),
            slots.give.eq(place),
            credit.take.eq(place),
            credit.give.eq(queue.o.valid & queue.o.ready),
            first.eq(Mux(loading, self.digit, kept)),
        ]
        m.d.sync += [loading.eq(load), kept.eq(first)]
        with m.If(place):
            m.d.sync += head.eq(head + 1)
        with m.If(load):
            m.d.sync += [
                loaded.eq(1),
                current.eq(fresh.o.p),
                Cat(current.row, current.rest).eq(Cat(lowest_digit(fresh.o.p.rest))),
            ]
        with m.Elif(start):
            m.d.sync += loaded.eq(0)
        with m.If(go_on):
            m.d.comb += [self.digit_index.eq(done.job.index), self.digit_row.eq(done.job.row)]
        with m.Elif(place_digit):
            m.d.comb += [self.digit_index.eq(own.data.index), self.digit_row.eq(own.data.row)]
        with m.Elif(start):
            m.d.comb += [self.digit_index.eq(current.index), self.digit_row.eq(current.row)]
        with m.Else():
            m.d.comb += [self.digit_index.eq(fresh.o.p.index), self.digit_row.eq(fresh.o.p.row)]

        # next cycle: the digit's power is there, multiply
        a, b, use_b, issued = Signal(128), Signal(128), Signal(), Signal(tag)
        ahead = Signal(job)
        m.d.comb += ahead.eq(Mux(go_on, done.job, current))
        m.d.sync += [
            a.eq(Mux(go_on, multiplier.o, Mux(extra, self.factors.p.a, Mux(place, hash_queue.o.p, first)))),
            b.eq(Mux(extra, self.factors.p.b, made.data)),
            use_b.eq(extra | (place & ~own.data.single)),
            issued.place.eq(place),
            issued.extra.eq(extra),
            issued.step.eq(go_on | start),
            issued.more.eq(ahead.rest != 0),
            issued.job.eq(ahead),
            Cat(issued.job.row, issued.job.rest).eq(Cat(lowest_digit(ahead.rest))),
        ]
        m.d.comb += [
            multiplier.a[0].eq(a),
            multiplier.b[0].eq(Mux(use_b, b, self.digit)),
            multiplier.i_tag.eq(issued),
        ]

        complete = Signal()
        m.d.comb += [
            complete.eq(done.step & ~done.more),
            power_write.en.eq(complete),
            power_write.addr.eq(done.job.slot),
            power_write.data.eq(multiplier.o),
            self.product.valid.eq(done.extra),
            self.product.p.eq(multiplier.o),
            queue.i.valid.eq(done.place),
            queue.i.p.eq(multiplier.o),
        ]
        with m.If(complete):
            m.d.sync += finished.bit_select(done.job.slot, 1).eq(1)
        return m
