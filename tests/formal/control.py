"""Control: its streams, and what it promises the rooms of a connection that is opened or closed."""

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value

from hw import control
from hw.layouts import MAX_PACKETS, PACKET_BITS, TrackerOperation
from tests.formal.frames import moved
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Induction, States, streams_of
from tests.formal.streams import FULL
from tests.formal.trackers import among

BESIDE_AN_END = (
    "idle", "add", "keys", "insert", "inserted", "discard", "forget", "open", "opened", "hand over", "respond",
)  # fmt: skip
"""States of the commands' machine while an ADD before is ended."""


def put(bench: Bench, *, transmit: bool) -> tuple[Any, SimpleNamespace, States, States]:
    """Control, and its two machines: that of the commands, and that of an ADD's end."""
    dut = control.Control(FULL, transmit=transmit)
    inside = bench.add(dut)
    bench.obeys(*streams_of(dut)[0])
    main, end = inside.machines["fsm"], inside.machines["end"]
    # keystream: one H for each key that asks for it, and no other key before that is taken
    owed = bench.ever_until(moved(dut.keys) & dut.keys.p.derive, moved(dut.subkey))
    bench.assume(~dut.subkey.valid | owed)
    bench.assume(~(owed & dut.keys.ready))
    # what makes it inductive
    ending, sweeping = inside.end.ending, inside.erasing.sweeping
    bench.check(ending == ~end.are("idle"))
    erasing = among(main, ("erase", "erased", "erase key", "erase powers", "powers erased"))
    added = among(main, ("insert", "inserted", "discard", "open", "opened", "hand over"))
    bench.check(main.are("idle") | dut.commands.valid | sweeping)
    bench.check(~main.are("sweep", "clear handle") | sweeping)
    bench.check(~(erasing | main.are("sweep", "clear handle", "drain")) | inside.erase)
    bench.check(~(added | main.are("add", "keys")) | among(main, ("discard",)) | ~inside.erase)
    bench.check(~among(main, ("discard", "forget")) | inside.erase)
    bench.check(among(main, BESIDE_AN_END) | ~ending)
    bench.check(~sweeping | ((erasing | among(main, ("idle", "sweep", "clear handle"))) & ~ending))
    bench.check(owed == (added | end.are("powers")))
    bench.check(~(added & end.are("powers")))
    return dut, inside, main, end


def streams(room: str, *, transmit: bool) -> None:
    @proved(
        room, "valid and payload hold until the transfer; of CLEAR: kind and index", Induction(2),
        Fault("hw.control", "keys.p.key.eq(command.key)", "keys.p.key.eq(Mux(self.keys.ready, command.key, 0))"),
    )  # fmt: skip
    def build(bench: Bench) -> None:
        dut, *_ = put(bench, transmit=transmit)
        for output in streams_of(dut)[1]:
            if output is not dut.tracker:
                bench.check(bench.held(output))
        stalled = bench.past(dut.tracker.valid & ~dut.tracker.ready)
        operation = dut.tracker.p
        looked_at = Cat(operation.kind, operation.index)
        others = Mux(operation.kind == TrackerOperation.CLEAR, 0, Value.cast(operation))
        same = (looked_at == bench.past(looked_at)) & (others == bench.past(others))
        bench.check(~stalled | (dut.tracker.valid & same))


streams("control", transmit=False)
streams("control, transmit", transmit=True)


@proved(
    "control", "the tracker clears a connection when every frame that lookup passed before its removal has left",
    Induction(2),
    Fault("hw.control", "passed.eq(passed + self.entered)", "passed.eq(passed + (self.entered & ~self.left))"),
    Fault("hw.control", "with m.If(drained):", "with m.If(drained | self.left):", 30),
)  # fmt: skip
def drained(bench: Bench) -> None:
    dut, inside, main, _ = put(bench, transmit=False)
    inflight, before = (Signal(PACKET_BITS, name=bench.name(name)) for name in ("inflight", "before"))
    now = Signal(PACKET_BITS, name=bench.name("now"))
    bench.m.d.comb += now.eq(inflight + dut.entered - dut.left)
    bench.m.d.sync += inflight.eq(now)
    bench.assume((inflight != 0) | dut.entered | ~dut.left)
    bench.assume((inflight + dut.entered) <= MAX_PACKETS)  # ingress
    removed = main.are("removed") & moved(dut.table_answers)
    bench.m.d.sync += before.eq(Mux(removed, now, before - (dut.left & (before != 0))))
    clears = dut.tracker.valid & (dut.tracker.p.kind == TrackerOperation.CLEAR)
    bench.check(~clears | inside.erasing.sweeping | (before == 0))
    # what makes it inductive
    bench.check(inflight == (inside.passed - inside.gone)[:PACKET_BITS])
    bench.check(inflight <= MAX_PACKETS)
    bench.check(before <= inflight)
    bench.check(~main.are("drain") | (Mux(inside.drained, 0, inside.until - inside.gone)[:PACKET_BITS] == before))


@proved(
    "control", "a connection is shown to lookup when its key is taken, its state open, and its powers are made",
    Induction(2),
    Fault("hw.control", 'send(self.tracker, "opened")', 'machine.to("opened")', 30),
    Fault("hw.add_end", "with m.If(control.powers_done):", "with m.If(1):", 30),
)  # fmt: skip
def shown_last(bench: Bench) -> None:
    dut, inside, main, end = put(bench, transmit=False)
    mine = bench.connection
    # handles: what is given out is given out once
    added = inside.end.added[: len(mine)]
    bench.assume(~inside.end.ending | main.are("idle", "respond") | (inside.index != added))

    keys, tracker, powers = dut.keys, dut.tracker, dut.powers
    about = [moved(stream) & (stream.p.index == mine) for stream in (keys, tracker, powers)]
    init, clear = (tracker.p.kind == kind for kind in (TrackerOperation.INIT, TrackerOperation.CLEAR))
    key = bench.ever_until(about[0] & keys.p.derive, about[0] & ~keys.p.derive)
    state = bench.ever_until(about[1] & init, about[1] & clear)
    made = bench.ever_until(about[2] & inside.end.ending, about[2] & ~inside.end.ending)
    shown = dut.show & (dut.show_index == mine)
    bench.check(~shown | (key & state & made & dut.powers_done))
    # what makes it inductive
    adding = inside.index == mine
    bench.check(~(among(main, ("insert", "inserted", "open", "opened", "hand over")) & adding) | key)
    bench.check(~(main.are("opened", "hand over") & adding) | state)
    bench.check(~(inside.end.ending & (added == mine)) | (key & state))
    bench.check(~(end.are("powers done") & (added == mine)) | made)
