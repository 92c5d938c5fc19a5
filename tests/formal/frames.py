"""What becomes of frames: raw ones leave as they came, and a frame with a handle leaves encrypted or not at all."""

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Mux, Value

from hw import dealign, encrypt, finish, overlay, release, seal, verdict
from hw.rotate import byte_mask
from model.contract import Status
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Induction, streams_of
from tests.formal.streams import FULL, LATE


def put(bench: Bench, dut: Any) -> SimpleNamespace:
    """The room, its input streams by the rules."""
    inside = bench.add(dut)
    bench.obeys(*streams_of(dut)[0])
    return inside


def moved(stream: Any) -> Value:
    return stream.valid & stream.ready


def equal(one: Any, other: Any) -> Value:
    return Value.cast(one) == Value.cast(other)


# --- receive
@proved(
    "release", "unless its status is DECRYPTED, a frame leaves bit for bit as it came; once, in order", Induction(1),
    Fault("hw.release", "gate = order.descriptor.status == Status", "gate = order.descriptor.status != 1 + Status"),
    Fault("hw.release", "Mux(gate, overlay.data, 0)", "overlay.data"),
    Fault("hw.release", "self.i.ready.eq(go)", "self.i.ready.eq(go | ~orders.o.valid)"),
    Fault("hw.release", "out_ready.eq(self.o.ready | ~self.o.valid)", "out_ready.eq(self.o.ready | self.o.valid)"),
    Fault("hw.release", "orders.o.ready.eq(go & self.i.p.last)", "orders.o.ready.eq(go)"),
    fast=True,
)  # fmt: skip
def raw_frames(bench: Bench) -> None:
    dut = release.Release(FULL)
    inside = put(bench, dut)
    orders, out = inside.orders.o, dut.o.p
    taken = moved(dut.i)
    came = bench.past(taken)
    same = Cat(out.keep, out.last, out.descriptor) == bench.past(Cat(dut.i.p.keep, dut.i.p.last, orders.p.descriptor))
    raw = out.descriptor.status != Status.DECRYPTED
    bench.check(~came | (dut.o.valid & same & (~raw | (out.data == bench.past(dut.i.p.data)))))
    waits = dut.o.valid & ~dut.o.ready
    bench.check(~(taken & waits))  # nothing is lost
    bench.check(~dut.o.valid | came | bench.past(waits))  # nothing is added
    bench.check(~taken | orders.valid)
    bench.check(moved(orders) == (taken & dut.i.p.last))


@proved(
    "release, late", "unless its status is DECRYPTED, what goes into the queue behind is what came, bit for bit",
    Induction(1),
    Fault("hw.release", "orders.i.p.gate.eq(self.orders.p.descriptor.status", "orders.i.p.gate.eq(0"),
    Fault("hw.release", "(over & covers.replicate(len(over)))", "over"),
    Fault("hw.release", "covers.eq(gate)", "covers.eq(overlay.known)"),
    fast=True,
)  # fmt: skip
def raw_frames_late(bench: Bench) -> None:
    dut = release.Release(LATE)
    parts = put(bench, dut)._late
    given, orders, beats, pushed = dut.orders.p, parts.orders, parts.beats.o, parts.out.i
    decrypted = orders.o.p.order.descriptor.status == Status.DECRYPTED
    bench.check(orders.i.p.gate == (given.descriptor.status == Status.DECRYPTED))
    bench.assume(orders.o.p.gate == decrypted)  # stream.Slice
    came = bench.past(moved(beats))
    same = equal(Cat(pushed.p.keep, pushed.p.last), bench.past(Cat(beats.p.keep, beats.p.last)))
    told = equal(pushed.p.descriptor, bench.past(orders.o.p.order.descriptor))
    raw = pushed.p.descriptor.status != Status.DECRYPTED
    bench.check(pushed.valid == came)
    bench.check(~came | (same & told & (~raw | equal(pushed.p.data, bench.past(beats.p.data)))))
    bench.check(~moved(beats) | orders.o.valid)
    bench.check(moved(orders.o) == (moved(beats) & beats.p.last))


@proved(
    "dealign", "what goes over a beat is zero outside its mask", Induction(1),
    Fault("hw.dealign", "low.eq(Cat(rotated & ~byte_mask(below), mask", "low.eq(Cat(rotated, mask"),
)  # fmt: skip
def dealign_masks(bench: Bench) -> None:
    dut = dealign.Dealign(FULL)
    inside = put(bench, dut)
    bench.assume(_masked(dut.i.p))
    bench.check(~dut.o.valid | _masked(dut.o.p))
    size = 8 * FULL.width
    for half in (inside.low, inside.high, inside.first, inside.second):
        bench.check((half[:size] & ~byte_mask(half[size:])) == 0)


@proved(
    "overlay", "what goes over a beat is zero outside its mask", Induction(1),
    Fault("hw.overlay", "self.mask.eq(Mux(hit, head.mask, 0))", "self.mask.eq(Mux(hit, head.mask[1:], 0))"),
    Fault("hw.overlay", "self.data.eq(Mux(hit, head.data, 0))", "self.data.eq(head.data)"),
)  # fmt: skip
def overlay_masks(bench: Bench) -> None:
    dut = overlay.Overlay(FULL)
    inside = put(bench, dut)
    bench.assume(_masked(inside.queue.o.p))  # dealign, through a queue
    bench.check((dut.data & ~byte_mask(dut.mask)) == 0)


def _masked(beat: Any) -> Value:
    return (beat.data & ~byte_mask(beat.mask)) == 0


@proved(
    "verdict", "DECRYPTED only if the tracker says so, no record that ended in the frame failed, and it is not closed",
    Induction(1),
    Fault("hw.verdict", "fails.eq(failed_now & judged)", "fails.eq(failed & judged)"),
    Fault("hw.verdict", "(judge & (total != 0))", "(judge & (total[1:] != 0))"),
    Fault("hw.verdict", "Mux(closed, Status.CLOSED, ", "Mux(0, Status.CLOSED, "),
    Fault("hw.verdict", "(proven & item.mark)", "item.mark"),
    Fault("hw.verdict", "hashed.p ^ Mux(item.has_j0", "hashed.p ^ Mux(item.continues"),
)  # fmt: skip
def judged(bench: Bench) -> None:
    """A fragment that completes a record adds to what was kept of it; the sum not zero: the record fails."""
    dut = verdict.Verdict(FULL)
    inside = put(bench, dut)
    item = dut.i.p
    kept = Mux(item.continues, inside.read.data, 0)
    total = kept ^ dut.hash.p ^ Mux(item.has_j0, dut.j0.p, 0) ^ item.tag
    failed = bench.ever_until(moved(dut.i) & ~item.end & item.completes & (total != 0), moved(dut.i) & item.end)
    bench.check(failed == inside.failed_now)
    decrypted = dut.o.valid & (dut.o.p.descriptor.status == Status.DECRYPTED)
    bench.check(~(decrypted & failed & inside.judged))
    bench.check(~(decrypted & inside.closed))
    asked = (item.descriptor.status == Status.DECRYPTED) | (item.proof & item.mark & ~failed)
    bench.check(~decrypted | asked)
    bench.check(~dut.proofs.valid | (dut.proofs.p == ~failed))


# --- transmit
@proved(
    "encrypt", "what is hashed is plaintext XOR the keystream that is handed on; beat by beat, once", Induction(1),
    Fault("hw.encrypt", "plain.blocks ^ key.data)", "plain.blocks | key.data)", 4),
    Fault("hw.encrypt", "self.keystream.ready.eq(go)", "self.keystream.ready.eq(go & ~plain.end)", 4),
    Fault("hw.encrypt", "hashed.i.ready & aligned.i.ready &", "hashed.i.ready &", 4),
    fast=True,
)  # fmt: skip
def one_keystream(bench: Bench) -> None:
    dut = encrypt.Encrypt(FULL)
    inside = put(bench, dut)
    plain, key = dut.i.p, dut.keystream.p
    taken = moved(dut.i)
    hashed, aligned = inside.hashed.i, inside.aligned.i
    bench.check(moved(dut.keystream) == taken)
    bench.check((aligned.valid == taken) & (~taken | (aligned.ready & (Value.cast(aligned.p) == Value.cast(key)))))
    bench.check(hashed.valid == (taken & ~plain.end))
    bench.check(~hashed.valid | (hashed.ready & (hashed.p.blocks == (plain.blocks ^ key.data))))


@proved(
    "seal", "an order says what the tracker said: status, handle, sent or not, sealed or not", Induction(1),
    Fault("hw.seal", '("status", "handle", "send", "seal",', '("status", "handle", "seal",', 4),
    Fault("hw.seal", "orders.i.p.eq(item.tx)", "orders.i.p.eq(item.tx.as_value() | 1)", 4),
)  # fmt: skip
def orders_as_given(bench: Bench) -> None:
    dut = seal._SealOutput(FULL)
    inside = bench.add(dut)
    given, orders = dut.item.tx, inside.orders
    bench.check(orders.i.valid == (dut.valid & dut.item.end))
    bench.check(~orders.i.valid | (Value.cast(orders.i.p) == Value.cast(given)))
    for name in ("status", "handle", "send", "seal", "offset"):
        bench.check(dut.orders.p[name] == orders.o.p[name])


@proved(
    "finish", "only what its order sends; unsealed as it came; sealed, plaintext only where no keystream is",
    Induction(1),
    Fault("hw.finish", "self.o.valid.eq(go & order.send)", "self.o.valid.eq(go)", 4),
    Fault("hw.finish", "(self.i.p.data ^ cipher.data)", "self.i.p.data", 4),
    Fault("hw.finish", "                    order.seal,\n", "                    order.seal & cipher.mask.any(),\n", 4),
    Fault("hw.finish", "byte_mask(tags.mask | checksum_mask))\n", "byte_mask(tags.mask))\n", 4),
    Fault("hw.finish", "& orders.o.valid\n", "\n", 4),
    Fault("hw.finish", "completions.i.valid.eq(go & last)", "completions.i.valid.eq(go & last & order.send)", 4),
)  # fmt: skip
def nothing_in_the_clear(bench: Bench) -> None:
    dut = finish.Finish(FULL)
    inside = put(bench, dut)
    width, orders, out = FULL.width, inside.orders.o, dut.o.p
    order, cipher, tags = orders.p, inside.cipher, inside.tags
    bench.assume((tags.data & ~byte_mask(tags.mask)) == 0)  # overlay
    bench.assume(~order.offset[0])  # headers are of whole words
    taken = moved(dut.i)
    sent = taken & order.send
    came = bench.past(sent)
    sealed = bench.past(order.seal)
    bench.check(~came | (dut.o.valid & (Cat(out.keep, out.last) == bench.past(Cat(dut.i.p.keep, dut.i.p.last)))))
    bench.check(~came | sealed | (out.data == bench.past(dut.i.p.data)))
    here = order.offset >> FULL.rotate_bits == cipher.number
    checksum = Cat(here & (order.offset[1 : FULL.rotate_bits] == k // 2) for k in range(width))
    free = bench.past(~(tags.mask | checksum))
    expected = bench.past(dut.i.p.data ^ cipher.data)
    bench.check(~came | ~sealed | ((out.data & byte_mask(free)) == (expected & byte_mask(free))))
    tag = bench.past(tags.mask & ~checksum)
    bench.check(~came | ~sealed | ((out.data & byte_mask(tag)) == (bench.past(tags.data) & byte_mask(tag))))
    summed = bench.past(checksum & ~tags.mask)
    field = bench.past(Cat(order.checksum[8:], order.checksum[:8])).replicate(width // 2)
    bench.check(~came | ~sealed | ((out.data & byte_mask(summed)) == (field & byte_mask(summed))))
    waits = dut.o.valid & ~dut.o.ready
    bench.check(~(sent & waits))
    bench.check(~dut.o.valid | came | bench.past(waits))
    bench.check(~taken | orders.valid)
    bench.check(moved(orders) == (taken & dut.i.p.last))
    done = inside.completions.i
    bench.check((done.valid == moved(orders)) & (~done.valid | done.ready))
    bench.check(~done.valid | (Cat(done.p.status, done.p.handle) == Cat(order.status, order.handle)))
