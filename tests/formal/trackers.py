"""The receive trackers: an end for each frame, in order, and a connection's state that only a handled frame changes."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Mux, Signal, Value

from hw import loss_track, track
from hw.layouts import TrackerOperation
from model.contract import Checksum, RxPolicy, Status
from tests.formal.frames import equal, moved, put
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Induction, Small, States
from tests.formal.streams import streams

# Overload raw has one case more; with its inputs low it is what the others are.
PUBLISHED = Small(connections=2, rx_policy=RxPolicy.PUBLISHED, overload="raw")
PUBLISHED_WIDE = Small(width=64, connections=2, rx_policy=RxPolicy.PUBLISHED)
KERNEL = Small(connections=2, rx_policy=RxPolicy.KERNEL)
FULL = Small(connections=2, overload="raw")

OPERATED = ("operation", "operate", "operated", "answer", "resync chain")
ACKNOWLEDGED = tuple(f"acknowledge{name}" for name in ("", " slot", " gaps", " next gap", " gap"))
ADOPTED = ("adopt", "adopt number")
"""States of a frame, or of an operation."""
LINKED = tuple(f"links{name}" for name in ("", " step", " untouched", " full"))
"""States of a frame in front of its end, or behind it."""
PROVED = ("proof", "prove", "prove chain", "finished")
"""Behind the end."""
WALKED = ("walk", "header", "check", "bad header")
"""Of a frame that takes the fast path."""
UNKNOWN = ("compare", "decide", "slow", *WALKED)
"""In which the checksum may not be known."""


def among(states: States, names: Iterable[str]) -> Value:
    """It is in one of those that it has."""
    return states.are(*(name for name in names if name in states.names))


class Hand:
    """A tracker's frame at hand: from its transfer until its end is out.

    Members
    -------
    there : Signal              a frame is
    mine : list[Signal]         its item of each of `queues`
    of : list[Signal]           that of the frame an end is about: the one at hand, or else one that passes by
    taken, end : Value          transfers of a frame and of an end
    """

    def __init__(self, bench: Bench, dut: Any, *queues: Any):
        """`queues` : streams with an item for each frame, taken at once."""
        self.there = Signal(name=bench.name("at_hand"))
        self.end = moved(dut.o) & dut.o.p.end
        self.taken = moved(queues[0])
        bench.m.d.sync += self.there.eq(Mux(self.taken, ~(self.end & ~self.there), self.there & ~self.end))
        self.mine, self.of = [], []
        for queue in queues:
            mine, of = (Signal(queue.p.shape(), name=bench.name(name)) for name in ("mine", "of"))
            with bench.m.If(self.taken):
                bench.m.d.sync += mine.eq(queue.p)
            bench.m.d.comb += of.eq(Mux(self.there, mine, queue.p))
            self.mine.append(mine)
            self.of.append(of)

    def takes_turns(self, bench: Bench) -> None:
        bench.check(~self.taken | ~self.there | self.end)
        bench.check(~self.end | self.there | self.taken)


def operations_apart(bench: Bench, dut: Any, inside: SimpleNamespace) -> None:
    """An operation is at the machine, or has passed it by, or neither."""
    operations, states = inside.operations, inside.states
    own = among(states, (*OPERATED, *ACKNOWLEDGED))
    bench.check(~own | operations.running)
    bench.check(~operations.running | own | among(states, ADOPTED))
    bench.check(~(operations.running & operations.opened))
    bench.check(~operations.running | states.are("answer") | dut.operations.valid)


def row(bench: Bench, handle: Any) -> Value:
    return handle[: len(bench.connection)] == bench.connection


# --- streams ----------------------------------------------------------------------------------------------
WITHDRAWN = Fault("hw.intake", "self.operations.waiting & ~offered", "self.operations.waiting")
for name, make in {
    "track": lambda: track.Track(PUBLISHED),
    "track, W = 64": lambda: track.Track(PUBLISHED_WIDE),
    "loss_track, kernel": lambda: loss_track.LossTrack(KERNEL),
    "loss_track, full": lambda: loss_track.LossTrack(FULL),
}.items():
    streams(name, make, WITHDRAWN, more=operations_apart, parts="row")


# --- receive ----------------------------------------------------------------------------------------------
def an_end_each(bench: Bench, dut: Any, hand: Hand, checksum: Any) -> None:
    """Fragments of the frame at hand, and then its end, before the next one is taken."""
    hand.takes_turns(bench)
    frame, out = hand.of[0], dut.o.p
    fragment, end = dut.o.valid & ~out.end, dut.o.valid & out.end
    bench.check(~fragment | (hand.there & frame.matched))
    bench.check(~fragment | ((out.base == frame.base) & (out.packet == frame.packet)))
    bench.check(~(dut.o.valid & frame.matched) | (out.index == frame.handle[: len(out.index)]))
    of = out.descriptor
    bench.check(~end | ((of.matched == frame.matched) & (of.handle == Mux(frame.matched, frame.handle, 0))))
    bench.check(~end | (out.payload_length == frame.payload_length))
    bench.check(~end | equal(of.checksum, checksum))
    bad = checksum != Checksum.GOOD
    bench.check(~end | (of.status == Status.BYPASS) | frame.matched)
    bench.check(~(end & frame.matched & bad) | ((of.status == Status.BAD_CHECKSUM) & ~out.keep_sum & ~of.request))


def at_work(bench: Bench, dut: Any, inside: SimpleNamespace, hand: Hand) -> Value:
    """What makes it inductive; where the frame is that is at hand, or whose proof is waited for (returned)."""
    operations_apart(bench, dut, inside)
    states, mine = inside.states, hand.mine[0]
    owed = bench.ever_until(hand.end & ~moved(dut.checksum), moved(dut.checksum))
    bench.check((hand.there | owed) == ~(states.are("idle") | inside.operations.running))
    bench.check(~(hand.there & owed))
    bench.check(~(hand.there | owed) | (mine.matched & equal(mine, inside.frame)))
    bench.check(~owed | dut.checksum.valid)
    if "proof" in states.names:
        write = inside.scan.links.write
        bench.check(owed == (states.are(*PROVED) | (states.are(*LINKED) & write)))
        bench.check(~write | states.are(*LINKED, "prove chain"))
        known = dut.checksum.valid & (dut.checksum.p == Checksum.GOOD)
        unknown = among(states, UNKNOWN)
        bench.check(~(hand.there | owed) | unknown | states.are("finish") | known)
        bench.check(~(hand.there & inside.s.fast) | states.are("compare", *WALKED, "finish"))
        bench.check(~states.are(*WALKED) | inside.s.fast)
        bench.check(~inside.operations.running | ~inside.s.fast)
        bench.check(~(hand.there | owed) | unknown | states.are("finish") | inside.s.slow)
        bench.check(~(hand.there & inside.s.request) | (known & ~inside.s.fast & ~unknown))
        bench.check(~(hand.there & inside.s.proof) | (states.are("finish") & known & inside.s.slow))
    else:
        bench.check(~owed)
    return owed


def a_sum_each(bench: Bench, dut: Any, hand: Hand, owed: Value) -> None:
    """A checksum is taken for each frame: with its end, or when its proof has come."""
    bench.check(~moved(dut.checksum) | hand.end | owed)
    bench.check(~hand.taken | ~owed)


ONE_EACH = "an end for each frame, in order, with what is said of it; in front only fragments of its own"
for name, make in {
    "track": lambda: track.Track(PUBLISHED),
    "loss_track, kernel": lambda: loss_track.LossTrack(KERNEL),
    "loss_track, full": lambda: loss_track.LossTrack(FULL),
}.items():
    module = "hw.track" if name == "track" else "hw.loss_track"

    @proved(
        name, ONE_EACH, Induction(2),
        Fault(module, "self.o.p.descriptor.handle.eq(Mux(frame.matched, frame.handle, 0))",
              "self.o.p.descriptor.handle.eq(Mux(frame.matched, self.i.p.handle, 0))"),
        Fault("hw.intake", "tracker.i.ready.eq(tracker.o.ready & tracker.checksum.valid)", "tracker.i.ready.eq(1)"),
        parts="row",
    )  # fmt: skip
    def receive_order(bench: Bench, make: Any = make) -> None:
        dut = make()
        inside = put(bench, dut)
        hand = Hand(bench, dut, dut.i)
        an_end_each(bench, dut, hand, dut.checksum.p)
        a_sum_each(bench, dut, hand, at_work(bench, dut, inside, hand))


# --- receive: what a connection keeps ---------------------------------------------------------------------
def passes_by(operation: Any) -> Value:
    return (operation.kind == TrackerOperation.INIT) | (operation.kind == TrackerOperation.CLEAR)


def unopened(bench: Bench, dut: Any, work: Value) -> None:
    """While the connection is opened or closed, no frame of it is inside (control); `work`: one is at hand."""
    operation = dut.operations
    about = operation.valid & passes_by(operation.p) & (operation.p.index == bench.connection)
    bench.assume(~(about & dut.i.valid & dut.i.p.matched & row(bench, dut.i.p.handle)))
    bench.assume(~(about & work))


def only_what_is_handled(
    bench: Bench, dut: Any, inside: SimpleNamespace, memories: list[tuple[Any, Any, Any]]
) -> tuple[Value, Value]:
    """`memories` : each with its reader and the register that its row is taken to.

    Returns that a frame of the connection is at hand, and that it changes its state in this cycle.
    """
    hand = Hand(bench, dut, dut.i)
    owed = at_work(bench, dut, inside, hand)
    work = (hand.there | owed) & row(bench, hand.mine[0].handle)
    unopened(bench, dut, work)
    operation = dut.operations.p
    good = dut.checksum.p == Checksum.GOOD
    ends = work & moved(dut.checksum) & good
    silent = operation.kind == TrackerOperation.QUERY
    operated = moved(dut.operations) & (operation.index == bench.connection)
    waits = dut.i.valid & dut.i.p.matched & row(bench, dut.i.p.handle)
    for kept, reader, register in memories:
        bench.check(~kept.writes | ends | operated)
        bench.check(~ends | kept.writes)
        bench.check(~(operated & silent) | ~kept.writes | bench.same(kept.writing, kept.kept))
        bench.check(~(bench.past(hand.taken) & work) | bench.same(register, kept.kept))
        # read ahead
        bench.check(~(inside.intake._there & waits) | bench.same(reader.data, kept.kept))
        mine = inside.states.are("operation") & (operation.index == bench.connection)
        bench.check(~mine | (dut.operations.valid & bench.same(reader.data, kept.kept)))
    return work, ends


HANDLED = "a connection's state is what its last frame with a good checksum left, or an operation on it"


@proved(
    "track", f"{HANDLED}; WAIT and RETRANSMISSION leave all but `seen`", Induction(2),
    Fault("hw.track", "operations.writes.eq(good)", "operations.writes.eq(1)", 10),
    Fault("hw.track", "m.Elif(intake.same())", "m.Elif(intake.same() & 0)", 10),
    Fault("hw.track", "m.d.sync += status.eq(Status.WAIT)", "m.d.sync += [status.eq(Status.WAIT), entry.at.eq(0)]", 10),
    Fault("hw.intake", "& ~tracker.i.ready & ~operating &", "& ~tracker.i.ready &", 6),
    parts="row",
)  # fmt: skip
def track_state(bench: Bench) -> None:
    dut = track.Track(PUBLISHED)
    inside = put(bench, dut)
    entries, entry, status, states = inside.entries, inside.entry, inside.status, inside.states
    work, ends = only_what_is_handled(bench, dut, inside, [(entries, inside.read, entry)])
    unmoved = (status == Status.RETRANSMISSION) | (status == Status.WAIT)
    left, kept = Signal.like(entry), Signal.like(entry)
    bench.m.d.comb += [left.eq(entries.writing), left.seen.eq(0), kept.eq(entries.kept), kept.seen.eq(0)]
    bench.check(~(ends & unmoved) | bench.same(left, kept))
    # what makes it inductive
    undecided = states.are("compare", "decide")
    there = ~states.are("idle", "operation", "answer")
    bench.check(~(work & (undecided | (states.are("finish") & unmoved))) | bench.same(entry, entries.kept))
    bench.check(~(there & inside.taken) | states.are("finish"))
    bench.check(~there | undecided | ~unmoved | (states.are("finish") & ~inside.taken))


for name, config in {"loss_track, kernel": KERNEL, "loss_track, full": FULL}.items():

    @proved(
        name, f"{HANDLED}; records, gaps and holes only behind a good checksum", Induction(2),
        Fault("hw.loss_track", "store.eq(good)]", "store.eq(1)]", 10),
        Fault("hw.loss_fast", "m.d.comb += s.slot.eq(entry.last)", "m.d.comb += s.slot_write.en.eq(1)", 8),
        Fault("hw.intake", "& ~tracker.i.ready & ~operating &", "& ~tracker.i.ready &", 6),
        Fault("hw.intake", "Mux(operating, tracker.operations.p.index, self.next.handle)", "self.next.handle", 6),
        parts="row",
    )  # fmt: skip
    def loss_state(bench: Bench, config: Any = config) -> None:
        dut = loss_track.LossTrack(config)
        inside = put(bench, dut)
        s, states = inside.s, inside.states
        pairs = [(inside.entries, inside.read, s.entry), (inside.chains, inside.read_chains, s.chains)]
        work, ends = only_what_is_handled(bench, dut, inside, pairs)
        known = dut.checksum.valid & (dut.checksum.p == Checksum.GOOD)
        for writes in (s.slot_write.en, s.gap_write.en, s.holes.cut):
            bench.check(~writes | known | inside.operations.running)
        operation = dut.operations.p
        query = operation.kind == TrackerOperation.QUERY
        bench.check(~inside.operations.running | ~query | states.are("operation", "operate", "operated", "answer"))
        outside = (s.status == Status.CONFLICT) | (s.status == Status.RETRANSMISSION)
        untouched = among(states, ("compare", "decide")) | (states.are("finish") & ~s.slow & ~s.fast & outside)
        for kept, _, register in pairs:
            bench.check(~(work & untouched) | bench.same(register, kept.kept))
            bench.check(~(ends & untouched) | bench.same(kept.writing, kept.kept))
            asked = states.are("operate") | (states.are("operated") & query)
            bench.check(~(asked & (operation.index == bench.connection)) | bench.same(register, kept.kept))
