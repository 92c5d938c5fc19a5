"""Placing: each fragment's hash times the power of H that puts it at its place in the record."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.credit import Credit
from hw.gf128 import ONE, Multiplier, multiply, power
from hw.layouts import EXPONENT_BITS
from hw.stream import Queue

SLOTS = 8
"""Fragments whose power is being made or whose hash is awaited."""
NUMBER_BITS = (EXPONENT_BITS - 1).bit_length()


def lowest(bits):
    """Number of the lowest bit set."""
    number = EXPONENT_BITS - 1
    for k in reversed(range(EXPONENT_BITS - 1)):
        number = Mux(bits[k], k, number)
    return number


class Placing(wiring.Component):
    """hash * H^exponent for each fragment, in order, on one multiplier.

    Contract: the power is made while the fragment streams, one multiplication for each bit set in the exponent
    and one for the hash; a power of two takes one in all. Powers being made share the multiplier in turn. A
    fragment is announced on `begin` before its hash comes; `begin.ready` falls when SLOTS of them wait, so `hashes`
    is never held up. `o` may be stalled for any time. Polynomial form.

    Members
    -------
    begin : In(stream.Signature({index, exponent >= 1}))
    hashes : In(stream.Signature(128))    one for each `begin`, in order
    o : Out(stream.Signature(128))
    square_index, square_number : Out    square : In(128)    port of Powers, a cycle later
    """

    delay = Multiplier.delay + 3  # from `hashes` to `o`, when the power is ready and the multiplier free

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "begin": In(stream.Signature(data.StructLayout({
                "index": config.index_bits,
                "exponent": EXPONENT_BITS,
            }))),
            "hashes": In(stream.Signature(128)),
            "o": Out(stream.Signature(128)),
            "square_index": Out(config.index_bits),
            "square_number": Out(NUMBER_BITS),
            "square": In(128),
        })  # fmt: skip

    @staticmethod
    def model(h: int, exponent: int, value: int) -> int:
        return multiply(value, power(h, exponent))

    def elaborate(self, platform):
        m = Module()
        index_bits = self._config.index_bits
        fields = {
            "slot": range(SLOTS),
            "index": index_bits,
            "number": NUMBER_BITS,  # of the square that comes next
            "rest": EXPONENT_BITS,  # bits of the exponent behind it
        }
        job = data.StructLayout(fields)

        # slots are given out and freed in the order of fragments
        head, tail, finished = Signal(range(SLOTS)), Signal(range(SLOTS)), Signal(SLOTS)
        m.submodules.slots = slots = Credit(SLOTS)
        m.submodules.table = table = Memory(
            shape=data.StructLayout({"single": 1, "index": index_bits, "number": NUMBER_BITS}),
            depth=SLOTS, init=[],
        )  # fmt: skip
        m.submodules.powers = powers = Memory(shape=128, depth=SLOTS, init=[])
        table_write, own = table.write_port(), table.read_port(domain="comb")
        power_write, made = powers.write_port(), powers.read_port(domain="comb")

        m.submodules.fresh = fresh = Queue(job, depth=SLOTS)
        exponent = self.begin.p.exponent
        rest, number, accept = Signal(EXPONENT_BITS), Signal(NUMBER_BITS), Signal()
        single = rest == 0
        m.d.comb += [
            self.begin.ready.eq(slots.free),
            accept.eq(self.begin.valid & slots.free),
            slots.take.eq(accept),
            rest.eq(exponent & (exponent - 1)),
            number.eq(lowest(exponent)),
            table_write.en.eq(accept),
            table_write.addr.eq(tail),
            table_write.data.single.eq(single),
            table_write.data.index.eq(self.begin.p.index),
            table_write.data.number.eq(number),
            fresh.i.valid.eq(accept & ~single),
            fresh.i.p.slot.eq(tail),
            fresh.i.p.index.eq(self.begin.p.index),
            fresh.i.p.number.eq(number),
            fresh.i.p.rest.eq(rest),
        ]
        with m.If(accept):
            m.d.sync += [tail.eq(tail + 1), finished.bit_select(tail, 1).eq(single)]

        # issue, in this order: a hash whose power is ready, a power half made, a new one
        m.submodules.hash_queue = hash_queue = Queue(128, depth=SLOTS)
        m.submodules.again = again = Queue(data.StructLayout(fields | {"power": 128}), depth=SLOTS)
        m.submodules.queue = queue = Queue(128, depth=SLOTS)
        m.submodules.credit = credit = Credit(SLOTS)
        wiring.connect(m, wiring.flipped(self.hashes), hash_queue.i)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        place, go_on, start = Signal(), Signal(), Signal()
        waiting = finished.bit_select(head, 1) & hash_queue.o.valid & credit.free
        m.d.comb += [
            own.addr.eq(head),
            made.addr.eq(head),
            place.eq(waiting),
            go_on.eq(again.o.valid & ~place),
            start.eq(fresh.o.valid & ~place & ~again.o.valid),
            hash_queue.o.ready.eq(place),
            again.o.ready.eq(go_on),
            fresh.o.ready.eq(start),
            slots.give.eq(place),
            credit.take.eq(place),
            credit.give.eq(queue.o.valid & queue.o.ready),
        ]
        with m.If(place):
            m.d.sync += head.eq(head + 1)
            m.d.comb += [self.square_index.eq(own.data.index), self.square_number.eq(own.data.number)]
        with m.Elif(again.o.valid):
            m.d.comb += [self.square_index.eq(again.o.p.index), self.square_number.eq(again.o.p.number)]
        with m.Else():
            m.d.comb += [self.square_index.eq(fresh.o.p.index), self.square_number.eq(fresh.o.p.number)]

        # next cycle: the square is there, multiply
        tag = data.StructLayout({
            "place": 1,
            "step": 1,
            "slot": range(SLOTS),
            "index": index_bits,
            "rest": EXPONENT_BITS,
        })  # fmt: skip
        m.submodules.multiplier = multiplier = Multiplier(tag)
        a, b, use_b, issued = Signal(128), Signal(128), Signal(), Signal(tag)
        m.d.sync += [
            a.eq(Mux(place, hash_queue.o.p, Mux(go_on, again.o.p.power, ONE))),
            b.eq(made.data),
            use_b.eq(place & ~own.data.single),
            issued.place.eq(place),
            issued.step.eq(go_on | start),
            issued.slot.eq(Mux(go_on, again.o.p.slot, fresh.o.p.slot)),
            issued.index.eq(Mux(go_on, again.o.p.index, fresh.o.p.index)),
            issued.rest.eq(Mux(go_on, again.o.p.rest, fresh.o.p.rest)),
        ]
        m.d.comb += [
            multiplier.a[0].eq(a),
            multiplier.b[0].eq(Mux(use_b, b, self.square)),
            multiplier.i_tag.eq(issued),
        ]

        done, complete = multiplier.o_tag, Signal()
        m.d.comb += [
            complete.eq(done.step & (done.rest == 0)),
            power_write.en.eq(complete),
            power_write.addr.eq(done.slot),
            power_write.data.eq(multiplier.o),
            again.i.valid.eq(done.step & ~complete),
            again.i.p.power.eq(multiplier.o),
            again.i.p.slot.eq(done.slot),
            again.i.p.index.eq(done.index),
            again.i.p.number.eq(lowest(done.rest)),
            again.i.p.rest.eq(done.rest & (done.rest - 1)),
            queue.i.valid.eq(done.place),
            queue.i.p.eq(multiplier.o),
        ]
        with m.If(complete):
            m.d.sync += finished.bit_select(done.slot, 1).eq(1)
        return m
