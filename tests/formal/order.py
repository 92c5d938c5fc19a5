"""Frames, and what goes with them, leave each room in order and once each."""

from typing import Any

from amaranth.hdl import Cat, Signal, Value

from hw import buffer, plan, seal, stream, verdict
from hw.layouts import work
from tests.formal.frames import moved, put
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Ic3, Induction, Small
from tests.formal.streams import FULL


def in_order(bench: Bench, enters: Any, payload: Any, leaves: Any, result: Any, *, most: int) -> None:
    """What enters leaves in order, once, unchanged; at most `most` are inside.

    One payload, any one, is followed: how many are in front of it, and when it is the next one, that it leaves.
    """
    m = bench.m
    inside = Signal(range(most + 1), name=bench.name("inside"))
    ahead = Signal(range(most + 1), name=bench.name("ahead"))
    followed = Signal(name=bench.name("followed"))
    mine = Signal(len(Value.cast(payload)), name=bench.name("mine"))
    follow = bench.free(1, "follow") & ~followed & enters
    m.d.sync += inside.eq(inside + enters - leaves)
    with m.If(follow):
        m.d.sync += [followed.eq(1), mine.eq(payload), ahead.eq(inside - leaves)]
    with m.If(followed & leaves):
        m.d.sync += ahead.eq(ahead - 1)
        with m.If(ahead == 0):
            m.d.sync += followed.eq(0)
    bench.check(~leaves | (inside != 0))
    bench.check(~enters | leaves | (inside != most))
    bench.check(~(followed & leaves & (ahead == 0)) | (Value.cast(result) == mine))


@proved(
    "stream.Queue", "what enters leaves in order, once, unchanged", Ic3(),
    Fault("hw.stream", "f.w_en.eq(self.i.valid)", "f.w_en.eq(self.i.valid & ~self.o.ready)"),
    Fault("hw.stream", "f.r_en.eq(self.o.ready)", "f.r_en.eq(self.o.ready & self.i.valid)"),
    Fault("hw.stream", "self.i.ready.eq(f.w_rdy)", "self.i.ready.eq(1)"),
    parts="real",
)  # fmt: skip
def queue_order(bench: Bench) -> None:
    for depth, buffered in ((4, False), (3, False), (4, True)):
        dut = stream.Queue(2, depth=depth, buffered=buffered)
        bench.add(dut, f"queue{depth}{buffered}")
        in_order(bench, moved(dut.i), dut.i.p, moved(dut.o), dut.o.p, most=depth + 1)


@proved(
    "stream.Slice", "what enters leaves in order, once, unchanged", Ic3(),
    Fault("hw.stream", "Mux(read, places[1], places[0])", "Mux(write, places[1], places[0])"),
    Fault("hw.stream", "(push & self.o.valid)", "push"),
    Fault("hw.stream", "follows[k].eq(~full_next & (write_next == k))", "follows[k].eq(write_next == k)"),
    parts="real",
)  # fmt: skip
def slice_order(bench: Bench) -> None:
    dut = stream.Slice(2)
    bench.add(dut, "slice")
    in_order(bench, moved(dut.i), dut.i.p, moved(dut.o), dut.o.p, most=2)


class Narrow(Small):
    """Beats of a byte, a buffer of four."""

    @property
    def buffer_beats(self) -> int:
        return 4


@proved(
    "buffer", "beats leave in order, once, unchanged (beats of a byte, four places)", Ic3(),
    Fault("hw.buffer", "self.i.ready.eq(self.written ^ taken != depth)", "self.i.ready.eq(1)", 16),
    Fault("hw.buffer", "(fetched != self.written)", "((fetched != self.written) | self.i.valid)", 16),
    Fault("hw.buffer", "r.addr.eq(fetched[:-1])", "r.addr.eq(taken[:-1])", 16),
    parts="real",
)  # fmt: skip
def buffer_order(bench: Bench) -> None:
    dut = buffer.PacketBuffer(Narrow(width=1, connections=2))
    put(bench, dut)
    in_order(bench, moved(dut.i), dut.i.p, moved(dut.o), dut.o.p, most=5)


@proved(
    "plan", "an item out for each item in, in order, what it is made from unchanged", Ic3(),
    Fault("hw.plan", "self.i.ready.eq(ready1 | ~valid1)", "self.i.ready.eq(1)"),
    Fault("hw.plan", "self.o.valid.eq(valid1)", "self.o.valid.eq(valid1 & self.i.valid)"),
)  # fmt: skip
def plan_order(bench: Bench) -> None:
    dut = plan.Plan(FULL, work(FULL))
    put(bench, dut)
    followed = [Cat(p.end, p.packet, p.index, p.store) for p in (dut.i.p, dut.o.p.work)]
    in_order(bench, moved(dut.i), followed[0], moved(dut.o), followed[1], most=2)


@proved(
    "verdict", "an order for each end, in order; a proof for each end that asks for one, before it", Induction(1),
    Fault("hw.verdict", "done.eq(self.o.valid & self.o.ready)", "done.eq(self.o.ready & known)", 6),
    Fault("hw.verdict", "self.proofs.valid.eq(item.proof & ~told)", "self.proofs.valid.eq(item.proof)", 6),
)  # fmt: skip
def verdict_order(bench: Bench) -> None:
    dut = verdict.Verdict(FULL)
    inside = put(bench, dut)
    item = dut.i.p
    end = moved(dut.i) & item.end
    bench.check(moved(dut.o) == end)
    bench.check(~end | (dut.o.p.payload_length == item.payload_length))
    bench.check(~end | (dut.o.p.descriptor.handle == item.descriptor.handle))
    told = bench.ever_until(moved(dut.proofs), end)
    bench.check(~(moved(dut.proofs) & told))
    bench.check(~end | (item.proof == told))
    bench.check((told == inside.told) & (~told | (dut.i.valid & item.end & item.proof)))
    bench.check(~moved(dut.proofs) | (item.end & item.proof & dut.i.valid))


@proved(
    "seal", "an order for each end, in order", Induction(1),
    Fault("hw.seal", 'm.next = "adopt"', "m.d.sync += waiting.eq(0)", 8),
    Fault("hw.seal", "with m.If(self.delta.valid & out.ready):", "with m.If(self.delta.valid | out.ready):", 8),
)  # fmt: skip
def seal_order(bench: Bench) -> None:
    dut = seal.Seal(FULL)
    inside = put(bench, dut)
    order = inside.out.valid & dut.i.p.end
    given = bench.ever_until(order, moved(dut.i))
    bench.check(~(order & given))
    bench.check(~(moved(dut.i) & dut.i.p.end) | given | order)
    bench.check(~inside.out.valid | (inside.out.ready & dut.i.valid))
    bench.check(moved(dut.delta) == order)
    # what makes it inductive
    bench.check(given == ~inside.states.are("run"))
    bench.check(~given | (dut.i.valid & dut.i.p.end))
