"""The transmit tracker: what leaves is encrypted, and a connection's positions change with what leaves whole."""

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Mux, Value

from hw import tx_track
from hw.layouts import TrackerOperation
from model.contract import TxKind, TxStatus
from tests.formal.frames import equal, moved, put
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Induction
from tests.formal.streams import FULL, streams
from tests.formal.trackers import ONE_EACH, Hand, operations_apart, row

streams(
    "tx_track", lambda: tx_track.TxTrack(FULL),
    Fault("hw.tx_track", "whole = at_end & self.checksum.p.whole", "whole = self.checksum.p.whole"),
    more=operations_apart, parts="row",
)  # fmt: skip


def transmit_hand(bench: Bench, dut: Any, inside: SimpleNamespace) -> Hand:
    operations_apart(bench, dut, inside)
    hand = Hand(bench, dut, dut.i, dut.requests)
    bench.check(moved(dut.i) == moved(dut.requests))
    hand.takes_turns(bench)
    # what makes it inductive
    bench.check(hand.there == ~inside.states.are("idle", "operation", "answer"))
    frame, request = hand.mine
    bench.check(~hand.there | (equal(frame, inside.frame) & equal(request, inside.request)))
    return hand


@proved(
    "tx_track", f"{ONE_EACH}; sent only encrypted, unless without a handle or without payload", Induction(2),
    Fault("hw.tx_track", "order.seal.eq(status == TxStatus.ENCRYPTED),", "order.seal.eq(walk.left == 0),"),
    Fault("hw.tx_track", "Mux(request.kind == TxKind.PASS, 0, request", "Mux(request.adopt, 0, request"),
    Fault("hw.tx_track", "(next_frame.parsed & (next_frame.payload_length == 0))", "~next_frame.candidate"),
    Fault("hw.tx_track", "                        order.send.eq(0),\n", ""),
    parts="row",
)  # fmt: skip
def transmit_order(bench: Bench) -> None:
    dut = tx_track.TxTrack(FULL)
    inside = put(bench, dut)
    hand = transmit_hand(bench, dut, inside)
    (frame, request), out, order = hand.mine, dut.o.p, dut.o.p.tx
    none = request.kind == TxKind.PASS
    bench.check(~dut.o.valid | (hand.there & (out.base == frame.base) & (out.packet == frame.packet)))
    bench.check(~dut.o.valid | (out.index == request.handle[: len(out.index)]))
    bench.check(moved(dut.checksum) == hand.end)
    bench.check(~hand.end | (order.payload_length == frame.payload_length))
    bench.check(~hand.end | (order.handle == Mux(none, 0, request.handle)))
    bare = frame.parsed & (frame.payload_length == 0)
    bench.check(~(hand.end & order.send) | none | bare | (order.seal & dut.checksum.p.whole))
    bench.check(~hand.end | none | (order.seal == (order.status == TxStatus.ENCRYPTED)))
    # what makes it inductive
    inside_walk = ~inside.states.are("idle", "finish", "operation", "answer")
    passed = inside.status == TxStatus.PASSED
    bench.check(~(hand.there & passed) | ((none | bare) & inside.states.are("finish")))
    bench.check(~inside_walk | ~none)
    for k, status in enumerate((TxStatus.ENCRYPTED, TxStatus.REPLAYED)):
        bench.check(~(hand.there & (inside.status == status)) | (~none & ((request.kind == TxKind.REPLAY) == k)))


@proved(
    "tx_track",
    "a connection's positions are what its last frame encrypted or replayed whole left, or an operation on it",
    Induction(2),
    Fault("hw.tx_track", "committed = ok & whole", "committed = whole", 10),
    Fault("hw.tx_track", "m.d.sync += there.eq(0)", "pass", 10),
    Fault("hw.tx_track", "m.If(committed & ~on_replay & follows", "m.If(~on_replay & follows", 12),
    parts="row",
)  # fmt: skip
def transmit_state(bench: Bench) -> None:
    dut = tx_track.TxTrack(FULL)
    inside = put(bench, dut)
    hand = transmit_hand(bench, dut, inside)
    entries, states, operation = inside.entries, inside.states, dut.operations.p
    kept, entry = entries.kept, inside.entry
    mine = operation.index == bench.connection
    opens = dut.operations.valid & (operation.kind == TrackerOperation.INIT) & mine
    bench.assume(~opens | ~kept.live)  # control: a CLEAR comes first
    work = hand.there & row(bench, hand.mine[1].handle)
    status = dut.o.p.tx.status
    counts = (status == TxStatus.ENCRYPTED) | (status == TxStatus.REPLAYED)
    ends = work & hand.end & counts
    bench.check(~entries.writes | ends | (moved(dut.operations) & mine))
    bench.check(~ends | entries.writes)
    bench.check(~(moved(dut.operations) & mine & (operation.kind == TrackerOperation.QUERY)) | ~entries.writes)
    # its state, read ahead, is what is kept; and what makes that inductive
    good = Value.cast(inside.status).matches(TxStatus.ENCRYPTED, TxStatus.REPLAYED)
    bench.check(~hand.there | states.are("finish") | good)
    none = hand.mine[1].kind == TxKind.PASS
    bench.check(~hand.there | ~none | (inside.status == TxStatus.PASSED))
    own = (TxStatus.PASSED, TxStatus.DROPPED_MALFORMED, TxStatus.DROPPED_HANDLE)  # told without a state
    told = Value.cast(inside.status).matches(*own)
    bench.check(~(work & states.are("select")) | equal(entry, kept) | ~entry.live)
    bench.check(~work | states.are("select") | told | (equal(entry, kept) & entry.live))
    waits = dut.i.valid & dut.requests.valid & row(bench, dut.requests.p.handle)
    bench.check(~(inside.there & waits) | equal(inside.read.data, kept))
    bench.check(~(states.are("operation") & mine) | (dut.operations.valid & equal(inside.read.data, kept)))
