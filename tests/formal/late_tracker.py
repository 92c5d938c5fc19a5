"""The receive tracker of `Config.late`: what trackers.py shows of the others."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value

from hw import track
from hw.layouts import TrackerOperation
from model.contract import Checksum, RxPolicy, Status
from tests.formal.frames import equal, moved, put
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Induction, Small
from tests.formal.streams import streams
from tests.formal.trackers import HANDLED, ONE_EACH, Hand, an_end_each, passes_by, row, unopened

LATE = Small(connections=2, rx_policy=RxPolicy.PUBLISHED, sbox="bram", overload="raw")

LATE_OPERATED = (
    "read of operation", "operation read", "operation differences", "operation conditions", "operation cases",
    "operate", "resync", "resync number", "resync record", "operated",
)  # fmt: skip


def in_any(machine: Any, names: Iterable[str]) -> Value:
    return Cat(machine[name] for name in names).any()


def one_state(bench: Bench, machine: Any) -> None:
    """A one-hot machine is in one of its states."""
    here = Cat(machine[state] for state in sorted(machine.states))
    bench.check(here.any() & ((here & (here - 1)) == 0))


def late_states(bench: Bench, dut: Any, inside: SimpleNamespace) -> SimpleNamespace:
    parts = inside.elaborate
    one_state(bench, parts.steps)
    one_state(bench, parts.orders)
    bench.check(~in_any(parts.steps, LATE_OPERATED) | parts.orders["waits"])
    return parts


streams(
    "late_track", lambda: track.Track(LATE),
    Fault("hw.late_track", 'go("end", "ended", when=leaves & ~on)', 'go("end", "ended", when=~on)', 30),
    more=late_states, parts="row", method=Induction(4),
)  # fmt: skip


def late_hand(bench: Bench, dut: Any, inside: SimpleNamespace) -> tuple[Hand, SimpleNamespace, Any]:
    """-> the frame at hand, the machine, and the checksum that was taken for it, if `have_sum`."""
    parts = late_states(bench, dut, inside)
    hand = Hand(bench, dut, dut.i)
    steps, mine = parts.steps, hand.mine[0]
    between = in_any(steps, ("idle", "ended", "accept", *LATE_OPERATED))
    bench.check(hand.there == ~between)
    bench.check(hand.taken == steps["accept"])
    told = Signal(Checksum, name=bench.name("told"))
    with bench.m.If(moved(dut.checksum)):
        bench.m.d.sync += told.eq(dut.checksum.p)
    bench.check(parts.have_sum == bench.ever_until(moved(dut.checksum), hand.end))
    bench.check(~steps["end"] | parts.have_sum)
    bench.check(~parts.have_sum | equal(told, parts.checksum))
    frame = parts.frame
    for name in ("base", "packet", "matched", "seq", "payload_offset", "payload_length"):
        bench.check(~hand.there | (mine[name] == frame[name]))
    bench.check(~hand.there | (frame.handle == Mux(mine.matched, mine.handle, 0)))
    passed_by = in_any(steps, ("fin", "fin settles", "judge", "end")) & (parts.status == Status.BYPASS)
    bench.check(~hand.there | mine.matched | passed_by)
    return hand, parts, told


@proved(
    "late_track", ONE_EACH, Induction(4),
    Fault("hw.late_track", "Mux(following.matched, following.handle, 0)", "following.handle", 20),
    parts="row",
)  # fmt: skip
def late_order(bench: Bench) -> None:
    dut = track.Track(LATE)
    inside = put(bench, dut)
    hand, _, told = late_hand(bench, dut, inside)
    an_end_each(bench, dut, hand, told)


@proved(
    "late_track", f"{HANDLED}", Induction(4),
    Fault("hw.late_track", 'go("end", "write", when=leaves & good)', 'go("end", "write", when=leaves)', 24),
    Fault("hw.late_track", "& ~(same & ~steps", "& ~(reading & ~steps", 26),
    parts="row",
)  # fmt: skip
def late_state(bench: Bench) -> None:
    dut = track.Track(LATE)
    inside = put(bench, dut)
    hand, parts, told = late_hand(bench, dut, inside)
    steps, orders, entries = parts.steps, parts.orders, parts.entries
    operation = dut.operations.p
    work = hand.there & row(bench, hand.mine[0].handle) & hand.mine[0].matched
    unopened(bench, dut, work)
    ended = bench.past(work & hand.end & (told == Checksum.GOOD))
    operated = moved(dut.operations) & (operation.index == bench.connection)
    bench.check(~entries.writes | ended | operated)
    bench.check(~ended | entries.writes)
    bench.check(~(operated & (operation.kind == TrackerOperation.QUERY)) | ~entries.writes)
    entry = Signal.like(parts.entry)
    bench.m.d.comb += [entry.eq(parts.entry), entry.at.eq(parts.at)]
    bench.check(~(bench.past(hand.taken) & work) | equal(entry, entries.kept))
    bench.check(~in_any(orders, ("known", "waits", "passes")) | equal(parts.operation, operation))
    bench.check(~in_any(steps, LATE_OPERATED[2:]) | (parts.index == operation.index))
    changing = in_any(steps, ("resync", "resync number", "resync record"))
    bench.check(~changing | (operation.kind == TrackerOperation.RESYNC))
    bench.check(~in_any(orders, ("known", "waits", "passes")) | dut.operations.valid)
    passing = passes_by(operation)
    bench.check(~orders["known"] | (inside.late_operations.passes == passing))
    bench.check(~orders["passes"] | passing)
    bench.check(~orders["waits"] | ~passing)
    bench.check(~steps["end"] | (parts.good == ((told == Checksum.GOOD) & hand.mine[0].matched)))
    # read ahead
    waits = dut.i.valid & dut.i.p.matched & row(bench, dut.i.p.handle)
    bench.check(~(parts.there & waits) | equal(parts.answered, entries.kept))
    bench.check(~(parts.read_once & waits) | equal(parts.read.data, entries.kept))
