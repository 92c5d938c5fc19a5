"""Placing for an ECP5: on a multiplier of 32 bits a cycle, and what it does next is decided in four cycles."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory

from hw.config import Config
from hw.credit import FlagCredit
from hw.gf128 import DigitMultiplier
from hw.layouts import EXPONENT_BITS
from hw.placing import SLOTS, Placing, job_layout, lowest_digit, product_layout
from hw.powers import DIGITS, ROW_BITS
from hw.stream import FlagQueue


def placing_of(config: Config) -> type[Placing]:
    return LatePlacing if config.late else Placing


class LatePlacing(Placing):
    """Placing with a DigitMultiplier: a digit of an exponent in four cycles.

    Contract: that of Placing with these `step`, `delay` and so on; the power and the placed hash each come up to three
    cycles later than said there, as turns fall.

    Members
    -------
    as of Placing
    """

    step = DigitMultiplier.delay + 1
    factors_wait = step * (DIGITS - 2) + 3 * DigitMultiplier.turns
    delay = DigitMultiplier.delay + 6

    @classmethod
    def power_delay(cls, digits: int) -> int:
        return 4 if digits == 1 else 8 + cls.step * (digits - 1)

    def elaborate(self, platform):
        m = Module()
        index_bits = self._config.index_bits
        job = job_layout(index_bits)
        tag = product_layout(job)
        m.submodules.multiplier = multiplier = DigitMultiplier(tag)
        turn = Signal(multiplier.turns, init=1)  # as the multiplier's, nearer
        m.d.sync += turn.eq(turn.rotate_left(1))

        # slots are given out and freed in the order of fragments
        head, tail, finished = Signal(range(SLOTS)), Signal(range(SLOTS)), Signal(SLOTS)
        m.submodules.slots = slots = FlagCredit(SLOTS)
        m.submodules.table = table = Memory(
            shape=data.StructLayout({"single": 1, "index": index_bits, "row": ROW_BITS}),
            depth=SLOTS, init=[],
        )  # fmt: skip
        m.submodules.powers = powers = Memory(shape=128, depth=SLOTS, init=[])
        table_write, own = table.write_port(), table.read_port(domain="comb")
        power_write, made = powers.write_port(), powers.read_port(domain="comb")
        m.submodules.fresh = fresh = FlagQueue(job, depth=SLOTS)

        # a fragment enters in two cycles
        accept, asked, entering = Signal(), Signal(), Signal()
        announced = Signal.like(self.begin.p)
        row, rest, single = Signal(ROW_BITS), Signal(EXPONENT_BITS), Signal()
        index = Signal(index_bits)
        m.d.comb += [
            self.begin.ready.eq(slots.free),
            accept.eq(self.begin.valid & slots.free),
            slots.take.eq(accept),
            single.eq(rest == 0),
            table_write.en.eq(entering),
            table_write.addr.eq(tail),
            table_write.data.single.eq(single),
            table_write.data.index.eq(index),
            table_write.data.row.eq(row),
            fresh.i.valid.eq(entering & ~single),
            fresh.i.p.slot.eq(tail),
            fresh.i.p.index.eq(index),
            fresh.i.p.row.eq(row),
            fresh.i.p.rest.eq(rest),
        ]
        m.d.sync += [
            asked.eq(accept),
            announced.eq(self.begin.p),
            entering.eq(asked),
            index.eq(announced.index),
            Cat(row, rest).eq(Cat(lowest_digit(announced.exponent))),
        ]
        with m.If(entering):
            m.d.sync += [tail.eq(tail + 1), finished.bit_select(tail, 1).eq(single)]

        # turn 0: what the next operands are, in this order: a power half made, which nothing keeps but the multiplier;
        # a product for Powers, rare; a hash whose power is ready; a power whose first digit is loaded
        m.submodules.hash_queue = hash_queue = FlagQueue(128, depth=SLOTS)
        m.submodules.queue = queue = FlagQueue(128, depth=SLOTS)
        m.submodules.credit = credit = FlagCredit(SLOTS)
        wiring.connect(m, wiring.flipped(self.hashes), hash_queue.i)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        go_on, extra, place, start = (Signal(name=n) for n in ("go_on", "extra", "place", "start"))
        powers_ask, head_finished, loaded = Signal(), Signal(), Signal()
        ready, power = Signal.like(own.data), Signal(128)  # of the slot at the head
        m.d.comb += [own.addr.eq(head), made.addr.eq(head)]
        m.d.sync += [
            powers_ask.eq(self.factors.valid),
            head_finished.eq(finished.bit_select(head, 1)),
            ready.eq(own.data),
            power.eq(made.data),
        ]
        goes_on = multiplier.next_tag.step & multiplier.next_tag.more
        places = head_finished & hash_queue.o.valid & credit.free
        with m.If(turn[0]):
            m.d.sync += [
                go_on.eq(goes_on),
                extra.eq(~goes_on & powers_ask),
                place.eq(~goes_on & ~powers_ask & places),
                start.eq(~goes_on & ~powers_ask & ~places & loaded),
            ]

        # turn 1: operands but what the multiplier has made and the digit; the digit's address
        done = multiplier.o_tag
        current, loading, load_rest = Signal(job), Signal(), Signal(EXPONENT_BITS)
        a, b, kept, ahead = Signal(128), Signal(128), Signal(128), Signal(job)
        use_b, not_digit, places_now = Signal(), Signal(), Signal()
        m.d.comb += [
            use_b.eq(extra | (place & ~ready.single)),
            places_now.eq(place & turn[1]),
            self.factors.ready.eq(extra & turn[1]),
            hash_queue.o.ready.eq(places_now),
            slots.give.eq(places_now),
            credit.take.eq(places_now),
            credit.give.eq(queue.o.valid & queue.o.ready),
        ]
        with m.If(turn[1]):
            m.d.sync += [
                a.eq(Mux(extra, self.factors.p.a, kept)),
                b.eq(Mux(use_b, Mux(extra, self.factors.p.b, power), 0)),
                not_digit.eq(use_b),
                ahead.eq(Mux(go_on, done.job, current)),
                Cat(self.digit_index, self.digit_row).eq(
                    Mux(
                        go_on,
                        Cat(done.job.index, done.job.row),
                        Mux(place, Cat(ready.index, ready.row), Cat(current.index, current.row)),
                    )
                ),
            ]
            with m.If(start):
                m.d.sync += loaded.eq(0)
        with m.If(places_now):
            m.d.sync += [a.eq(hash_queue.o.p), head.eq(head + 1), finished.bit_select(head, 1).eq(0)]

        # turn 2: that digit is read, and the next power's first one is asked for
        issued = Signal(tag)
        with m.If(turn[2]):
            m.d.sync += [
                Cat(self.digit_index, self.digit_row).eq(Cat(fresh.o.p.index, fresh.o.p.row)),
                loading.eq(fresh.o.valid & ~loaded),
            ]
            with m.If(~loaded):
                m.d.sync += [
                    loaded.eq(fresh.o.valid),
                    current.slot.eq(fresh.o.p.slot),
                    current.index.eq(fresh.o.p.index),
                    load_rest.eq(fresh.o.p.rest),
                ]
        m.d.comb += fresh.o.ready.eq(turn[2] & ~loaded)
        m.d.sync += [
            Cat(current.row, current.rest).eq(Cat(lowest_digit(load_rest))),
            issued.more.eq(ahead.rest != 0),
            issued.job.slot.eq(ahead.slot),
            issued.job.index.eq(ahead.index),
            Cat(issued.job.row, issued.job.rest).eq(Cat(lowest_digit(ahead.rest))),
        ]

        # turn 3: digit and product are there; in turn 0 the multiplier takes them, and the other digit comes
        digit = Signal(128)
        m.d.sync += digit.eq(Mux(not_digit, 0, self.digit))
        with m.If(turn[3] & go_on):
            m.d.sync += a.eq(multiplier.o)
        with m.If(turn[0] & loading):
            m.d.sync += kept.eq(self.digit)
        m.d.comb += [
            multiplier.a[0].eq(a),
            multiplier.b[0].eq(b | digit),
            multiplier.i_tag.eq(issued),
            multiplier.i_tag.place.eq(place),
            multiplier.i_tag.extra.eq(extra),
            multiplier.i_tag.step.eq(go_on | start),
        ]

        complete = Signal()
        m.d.comb += [
            complete.eq(done.step & ~done.more),
            power_write.en.eq(complete & turn[3]),
            power_write.addr.eq(done.job.slot),
            power_write.data.eq(multiplier.o),
            self.product.valid.eq(done.extra & turn[3]),
            self.product.p.eq(multiplier.o),
            queue.i.valid.eq(done.place & turn[3]),
            queue.i.p.eq(multiplier.o),
        ]
        with m.If(complete & turn[2]):  # the power is there when `finished` is looked at
            m.d.sync += finished.bit_select(done.job.slot, 1).eq(1)
        return m
