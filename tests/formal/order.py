"""Frames, and what goes with them, leave each room in order and once each."""

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value

from hw import (
    align,
    buffer,
    checksum,
    cutter,
    ingress,
    lookup,
    overlay,
    parse,
    plan,
    seal,
    stream,
    verdict,
    window,
    word_sum,
)
from hw.layouts import MAX_PACKETS, PACKET_BITS, work
from tests.formal.frames import equal, moved, put
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Ic3, Induction, Small, replaced
from tests.formal.streams import CLAIM, FULL, WIDE
from tests.formal.stubs import any_room


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
    "stream.Queue", "`level` is what is inside; offers unless it is 0, takes unless it is the depth", Ic3(),
    Fault("hw.stream", "self.level.eq(f.level)", "self.level.eq(f.level[:2])"),
    parts="real",
)  # fmt: skip
def queue_level(bench: Bench) -> None:
    for depth, buffered in ((4, False), (3, False)):
        dut = stream.Queue(2, depth=depth, buffered=buffered)
        bench.add(dut, f"queue{depth}{buffered}")
        inside = Signal(range(depth + 1), name=bench.name("inside"))
        bench.m.d.sync += inside.eq(inside + moved(dut.i) - moved(dut.o))
        bench.check((dut.level == inside) & (dut.i.ready == (inside != depth)) & (dut.o.valid == (inside != 0)))


@proved(
    "stream.FlagQueue", "what enters leaves in order, once, unchanged; it holds until the transfer", Ic3(),
    Fault("hw.stream", "self.o.valid.eq(self.level != 1), full.eq(0)", "self.o.valid.eq(1), full.eq(0)"),
    Fault("hw.stream", "full.eq(self.level == depth - 1)", "full.eq(self.level == depth)"),
    parts="real",
)  # fmt: skip
def flag_queue_order(bench: Bench) -> None:
    for depth in (4, 3):
        dut = stream.FlagQueue(2, depth=depth)
        bench.add(dut, f"queue{depth}")
        in_order(bench, moved(dut.i), dut.i.p, moved(dut.o), dut.o.p, most=depth)
        bench.check(bench.held(dut.o))


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
    Fault("hw.buffer", "r.addr.eq(fetched[:-1])", "r.addr.eq(self.written[:-1])", 16),
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


@proved(
    "ingress", "each branch takes each beat once; a frame is let in when fewer than 31 are inside", Induction(1),
    Fault("hw.ingress", "self.i.valid & admit & ~done", "self.i.valid & admit"),
    Fault("hw.ingress", "(done | (branch.valid & branch.ready)) & ~transfer", "done | (branch.valid & branch.ready)"),
    Fault("hw.ingress", "few.eq(inside != MAX_PACKETS)", "few.eq(1)", 40),
    fast=True,
)  # fmt: skip
def branches(bench: Bench) -> None:
    dut = ingress.Ingress(FULL)
    rooms = (buffer.PacketBuffer, parse.Parse, checksum.ChecksumUnit)
    with replaced({id(room): any_room(bench, room) for room in rooms}):
        inside = put(bench, dut)
    passes = moved(dut.i)
    first = Signal(init=1, name=bench.name("first"))
    with bench.m.If(passes):
        bench.m.d.sync += first.eq(dut.i.p.last)
    frames = Signal(range(MAX_PACKETS + 2), name=bench.name("frames"))
    enters = moved(inside.buffer.i) & first
    leaves = moved(dut.o) & dut.o.p.last
    bench.assume(~leaves | (frames != 0))  # buffer: nothing leaves that has not entered
    bench.m.d.sync += frames.eq(frames + enters - leaves)
    for branch, done in zip(inside.branches.values(), inside.taken, strict=True):
        taken = bench.ever_until(moved(branch), passes)
        bench.check(done == taken)
        bench.check(~branch.valid | (~taken & equal(branch.p, dut.i.p)))
        bench.check(~passes | taken | moved(branch))
    bench.check(~enters | (frames < MAX_PACKETS))
    # what makes it inductive
    bench.check((first == inside.first) & (frames == inside.inside))


def lookup_order(room: str, config: Any) -> None:
    @proved(
        room, "frames leave in order, once each, their places and lengths unchanged", Ic3(),
        Fault("hw.flow_table", "self.o.valid.eq(1)", "self.o.valid.eq(self.i.valid)"),
        Fault("hw.flow_table", "self.o.p.eq(item.request)", "self.o.p.eq(first.request)", 20),
        parts="real",
    )  # fmt: skip
    def build(bench: Bench) -> None:
        dut = lookup.Lookup(config)
        put(bench, dut)
        named = [Cat(p[name] for name in LOOKED_UP) for p in (dut.i.p, dut.o.p)]
        in_order(bench, moved(dut.i), named[0], moved(dut.o), named[1], most=3)


LOOKED_UP = ("base", "packet", "seq", "payload_offset", "payload_length")
lookup_order("lookup", FULL)
lookup_order("lookup, W = 64", WIDE)


def align_order(room: str, *, transmit: bool) -> None:
    @proved(
        room, "an item for each fragment and each end that was planned, in order; nothing is pushed into a full queue",
        Induction(3),
        Fault("hw.align", "items.i.valid.eq(item_valid)", "items.i.valid.eq(item_valid & first2)"),
        Fault("hw.align", "(items.level < items_depth - inside)", "(items.level < items_depth)", 24),
        parts="counted",
    )  # fmt: skip
    def build(bench: Bench) -> None:
        dut = align.Align(FULL, transmit=transmit)
        inside = put(bench, dut)
        given, items = inside.front.o, inside.items.i

        def before(value: Any) -> Value:
            return bench.past(bench.past(value))

        bench.check(items.valid == before(moved(given)))
        names = ("end", "index", *(("tx",) if transmit else ("slot", "descriptor", "payload_length")))
        was, is_ = (Cat(Value.cast(p[name]) for name in names) for p in (given.p.work, items.p))
        bench.check(~items.valid | (is_ == before(was)))
        inflight = inside.one.valid + inside.valid2
        for queue in (inside.keystream, inside.hashed, inside.items):
            bench.check(~queue.i.valid | queue.i.ready)
            bench.check(queue.level + inflight < queue._depth)


align_order("align", transmit=False)
align_order("align, transmit", transmit=True)


@proved(
    "window", "one window for each frame, numbered in order, before the next one is begun", Induction(1),
    Fault("hw.window", "m.d.sync += open_.eq(0)", "m.d.sync += open_.eq(self.i.p.last)"),
    Fault("hw.window", "ordinal.eq(ordinal + 1)", "ordinal.eq(ordinal + self.i.p.last)"),
    fast=True,
)  # fmt: skip
def one_window_each(bench: Bench) -> None:
    dut = window.HeaderWindow(FULL)
    inside = put(bench, dut)
    first = Signal(init=1, name=bench.name("first"))  # the next beat is the first one of a frame
    with bench.m.If(moved(dut.i)):
        bench.m.d.sync += first.eq(dut.i.p.last)
    numbers = window_rules(bench, dut)
    bench.check(dut.begin == (moved(dut.i) & first))
    bench.check(~dut.begin | dut.go)
    bench.check(Cat(*numbers.kept).all())
    # what makes it inductive
    bench.check((first == ~inside.inside) & (numbers.open == inside.open_))
    bench.check(~(numbers.open & first) | inside.ended)
    bench.check(inside.ordinal == numbers.begun)
    bench.check(~numbers.open | (dut.packet == (numbers.begun - 1)[:PACKET_BITS]))


def window_rules(bench: Bench, dut: Any) -> SimpleNamespace:
    """`kept` : what a HeaderWindow keeps to. `open`: a frame is begun, its window not given; `begun`: frames."""
    m = bench.m
    rules = SimpleNamespace(
        open=Signal(name=bench.name("open")),
        begun=Signal(PACKET_BITS, name=bench.name("begun")),
    )
    m.d.sync += [rules.open.eq(dut.begin | (rules.open & ~dut.fire)), rules.begun.eq(rules.begun + dut.begin)]
    rules.kept = [
        ~dut.fire | rules.open,
        ~dut.begin | ~rules.open | dut.fire,
        ~dut.fire | (dut.packet == (rules.begun - 1)[:PACKET_BITS]),
    ]
    return rules


@proved(
    "parse", "an item on each output for each window, seven cycles behind it, in order; there is room for it",
    Induction(8),
    Fault("hw.parse", "window.begin - (output.valid & output.ready)", "window.begin - output.ready"),
    Fault("hw.parse", "to_plans.valid.eq(s.valid)", "to_plans.valid.eq(s.valid & parsed)"),
    parts="counted",
)  # fmt: skip
def parse_order(bench: Bench) -> None:
    dut = parse.Parse(FULL)
    with replaced({id(window.HeaderWindow): any_room(bench, window.HeaderWindow)}):
        inside = put(bench, dut)
    given = inside.window
    rules = window_rules(bench, given)
    bench.assume(Cat(*rules.kept, ~given.begin | given.go).all())
    stages = [Cat(given.fire, given.packet)]
    for _ in range(7):
        stages.append(bench.past(stages[-1]))
    fired, packet = stages[-1][0], stages[-1][1:]
    inflight = sum(stage[0] for stage in stages[1:]) + rules.open
    for queue, owed in zip(inside.queues, inside.owed, strict=True):
        bench.check(queue.i.valid == fired)
        bench.check(~queue.i.valid | queue.i.ready)
        bench.check((owed == queue.level + inflight) & (owed <= parse.QUEUE_DEPTH))
    bench.check(~fired | (inside.queues[0].i.p.packet == packet))


SUM_DELAY = word_sum.WordSum.delay_of(seal.TAG_SIZE // 2)


@proved(
    "seal, output", f"{CLAIM}; an order has its sum", Induction(SUM_DELAY + 2),
    Fault("hw.seal", "sums.i.valid.eq(word_sum.o_valid)", "sums.i.valid.eq(word_sum.o_valid & self.patches.ready)", 16),
    Fault("hw.seal", "orders.o.ready.eq(self.orders.valid & ", "orders.o.ready.eq("),
    parts="counted",
)  # fmt: skip
def seal_output(bench: Bench) -> None:
    dut = seal._SealOutput(FULL)
    inside = bench.add(dut)
    bench.assume(~dut.valid | dut.ready)
    for output in (dut.patches, dut.orders):
        bench.check(bench.held(output))
    orders, sums, patches = inside.orders, inside.sums, inside.patches
    ends = [moved(orders.i)]
    for _ in range(1 + SUM_DELAY):
        ends.append(bench.past(ends[-1]))
    bench.check(sums.i.valid == ends[-1])
    bench.check((orders.level == sums.level + sum(ends[1:])) & (orders.level <= seal.ORDER_DEPTH))
    bench.check(~sums.i.valid | sums.i.ready)
    bench.check(~patches.i.valid | patches.i.ready)
    bench.check(patches.level + inside.valid1 <= seal.PATCH_DEPTH)


@proved(
    "cutter", f"{CLAIM}; a request for each frame that leaves", Induction(2),
    Fault("hw.cutter", "sent.i.valid.eq(c.go & c.begin)", "sent.i.valid.eq(c.go & c.begin & self.i.p.last)"),
    Fault("hw.cutter", "c.move.eq(~self.o.valid | self.o.ready)", "c.move.eq(1)"),
    parts="counted",
)  # fmt: skip
def cutter_requests(bench: Bench) -> None:
    dut = cutter.Cutter(FULL)
    inside = put(bench, dut)
    bench.check(bench.held(dut.o))
    c, sent = inside.c, inside._requests.sent
    goes = c.go & c.move
    begun = Signal(name=bench.name("begun"))
    with bench.m.If(goes):
        bench.m.d.sync += begun.eq(~c.step.last)
    bench.check(~goes | (c.begin == ~begun))
    bench.check(~c.go | c.move)
    # what makes it inductive
    states, first, active = inside.states, inside._control.first, inside._control.active
    bench.check(~active | states.are("CUT"))
    bench.check(begun == Mux(active, c.row != 0, ~first))
    bench.check(first | states.are("START"))
    whole = ~inside._control.sized | (dut.plans.valid & ~c.cut)
    bench.check(first | (dut.requests.valid & whole))
    stages = inside._stages
    bench.check(~(stages.valid_1 & ~stages.step_1.last) | begun)
    bench.check(~(dut.o.valid & ~dut.o.p.last) | stages.valid_1 | begun)
    bench.check(sent.level == begun + (stages.valid_1 & stages.step_1.last) + (dut.o.valid & dut.o.p.last))


@proved(
    "overlay", "what goes over a frame's beat has its number, and stands between the end before and the frame's own",
    Induction(1),
    Fault("hw.overlay", "past_end.eq(self.last & ~head.end)", "past_end.eq(0)"),
    Fault("hw.overlay", "hit.eq(queue.o.valid & (head.beat == self.number))", "hit.eq(queue.o.valid & ~head.end)"),
    fast=True,
)  # fmt: skip
def overlay_order(bench: Bench) -> None:
    dut = overlay.Overlay(FULL)
    inside = put(bench, dut)
    bench.assume(~dut.go | dut.known)
    item = inside.queue.o
    frames, ends = (Signal(8, name=bench.name(name)) for name in ("frames", "ends"))
    beats = Signal(dut.number.shape(), name=bench.name("beats"))
    bench.m.d.sync += [frames.eq(frames + (dut.go & dut.last)), ends.eq(ends + (moved(item) & item.p.end))]
    with bench.m.If(dut.go):
        bench.m.d.sync += beats.eq(Mux(dut.last, 0, beats + ~beats.all()))
    bench.check(~dut.known | (item.valid & (frames == ends)))
    over = dut.known & dut.mask.any()
    bench.check(~over | ((item.p.beat == beats) & (dut.mask == item.p.mask) & (dut.data == item.p.data)))
    # what makes it inductive
    bench.check((dut.number == beats) & (frames == (ends + inside.past_end)[:8]))
