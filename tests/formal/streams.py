"""The rules of streams, room by room: valid, once up, holds with its payload until the transfer.

Each room may rely on its inputs keeping the rules, and on nothing else but what is assumed here by name.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat

from hw import (
    aes_stored,
    align,
    buffer,
    checksum,
    dealign,
    encrypt,
    finish,
    flow_table,
    flow_table_late,
    ghash,
    key_expansion,
    key_loader,
    keystream,
    layouts,
    lookup,
    parse,
    parse_stream,
    placing,
    placing_late,
    placing_pair,
    plan,
    powers,
    release,
    segment_headers,
    stream,
    verdict,
)
from hw.axi import lite, registers
from model.contract import RxPolicy, Status
from model.registers import Direction
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Ic3, Induction, Method, Small, replaced, streams_of
from tests.formal.stubs import any_room

CLAIM = "valid and payload hold until the transfer"
FULL = Small(connections=2)
WIDE = Small(width=64, connections=2)
PUBLISHED = Small(connections=2, rx_policy=RxPolicy.PUBLISHED)
LATE = Small(connections=2, rx_policy=RxPolicy.PUBLISHED, sbox="bram")


def streams(
    room: str,
    make: Callable[[], Any],
    *faults: Fault,
    method: Method = Induction(2),  # noqa: B008
    more: Callable[[Bench, Any, SimpleNamespace], None] = lambda *_: None,
    parts: str = "any",
    fast: bool = False,
) -> None:
    @proved(room, CLAIM, method, *faults, parts=parts, fast=fast)
    def build(bench: Bench) -> None:
        dut = make()
        inside = bench.add(dut)
        inputs, outputs = streams_of(dut)
        bench.obeys(*inputs)
        for output in outputs:
            bench.check(bench.held(output))
        more(bench, dut, inside)


def leak(module: str, queue: str, port: str, unless: str = "i") -> Fault:
    """A queue at the output is withdrawn when nothing comes in."""
    plain = f"wiring.connect(m, {queue}.o, wiring.flipped(self.{port}))"
    signals = f"self.{port}.p.eq({queue}.o.p), self.{port}.valid.eq({queue}.o.valid & self.{unless}.valid)"
    return Fault(module, plain, f"m.d.comb += [{signals}, {queue}.o.ready.eq(self.{port}.ready)]")


# --- both directions
@proved(
    "stream.Queue", f"{CLAIM}; ready until one", Ic3(),
    Fault("hw.stream", "self.o.valid.eq(f.r_rdy)", "self.o.valid.eq(f.r_rdy & ~self.i.valid)"),
    parts="real", fast=True,
)  # fmt: skip
def queue(bench: Bench) -> None:
    for depth, buffered in ((4, False), (3, False), (4, True)):
        dut = stream.Queue(3, depth=depth, buffered=buffered)
        bench.add(dut, f"queue{depth}{buffered}")
        bench.obeys(dut.i)
        bench.check(bench.held(dut.o))
        bench.check(~bench.past(dut.i.ready & ~dut.i.valid) | dut.i.ready)


streams(
    "dealign", lambda: dealign.Dealign(FULL),
    Fault("hw.dealign", "self.i.ready.eq(ready | ~valid)", "self.i.ready.eq(1)"),
)  # fmt: skip
streams(
    "plan",
    lambda: plan.Plan(FULL, layouts.work(FULL)),
    Fault("hw.plan", "ready1.eq(self.o.ready | ~self.o.valid)", "ready1.eq(1)"),
)
streams("align", lambda: align.Align(FULL), leak("hw.align", "items", "items"))
streams("align, transmit", lambda: align.Align(FULL, transmit=True), leak("hw.align", "keystream", "keystream"))
streams(
    "buffer", lambda: buffer.PacketBuffer(FULL),
    Fault("hw.buffer", "(~self.o.valid | self.o.ready) & (fetched", "(fetched"),
)  # fmt: skip
PARSED = Fault(
    "hw.parse",
    "wiring.connect(m, queue.o, wiring.flipped(output))",
    "m.d.comb += [output.p.eq(queue.o.p), output.valid.eq(queue.o.valid & self.i.valid)]",
)
streams("parse", lambda: parse.Parse(FULL), PARSED)
streams(
    "parse_stream", lambda: parse_stream.StreamParse(FULL),
    Fault("hw.parse_stream", "self.o.valid.eq(Cat(queue", "self.o.valid.eq(self.i.valid & Cat(queue"),
)  # fmt: skip
streams("checksum", lambda: checksum.ChecksumUnit(FULL), leak("hw.checksum", "results", "o"))
streams(
    "checksum, transmit", lambda: checksum.ChecksumUnit(FULL, True), leak("hw.checksum", "results", "o"),
)  # fmt: skip
streams("keystream", lambda: keystream.Keystream(FULL), leak("hw.keystream", "queue", "o"), method=Ic3())
streams("placing", lambda: placing.Placing(FULL), leak("hw.placing", "queue", "o", "begin"))
streams(
    "placing_pair", lambda: placing_pair.PlacingPair(FULL),
    Fault("hw.placing_pair", "with m.If(port.valid & port.ready):", "with m.If(port.valid):"),
)  # fmt: skip
for suffix, config in {"": FULL, ", late": LATE}.items():
    streams(
        f"powers{suffix}", lambda config=config: powers.Powers(config),
        Fault("hw.powers", "advance.eq(busy & (~ask | self.factors.ready)", "advance.eq(busy"),
    )  # fmt: skip
    streams(
        f"ghash{suffix}", lambda config=config: ghash.Ghash(config),
        Fault("hw.ghash", "self.o.valid.eq(placing.o.valid)", "self.o.valid.eq(placing.o.valid & self.i.valid)"),
    )  # fmt: skip


streams(
    "axi.registers", lambda: registers.Registers(FULL, Direction.RECEIVE),
    Fault("hw.axi.registers", "chosen[number].eq(~busy)", "chosen[number].eq(1)"),
    Fault("hw.axi.registers", "~reading & ~bus.write):", "~reading):"),
)  # fmt: skip


@proved(
    "axi.lite", "answers hold until they are taken (AXI4-Lite)", Induction(1),
    Fault("hw.axi.lite", "Cat(have_read, ~axi.rvalid, ", "Cat(have_read, "),
    Fault("hw.axi.lite", "with m.If(axi.bready):", "with m.If(axi.bready | axi.rready):"),
    fast=True,
)  # fmt: skip
def axi_lite(bench: Bench) -> None:
    dut = lite.AxiLite(2)
    bench.add(dut)
    axi = dut.axi
    write = bench.past(axi.bvalid & ~axi.bready)
    bench.check(~write | (axi.bvalid & (axi.bresp == bench.past(axi.bresp))))
    read = bench.past(axi.rvalid & ~axi.rready)
    answer = Cat(axi.rresp, axi.rdata)
    bench.check(~read | (axi.rvalid & (answer == bench.past(answer))))


# --- receive
streams(
    "release", lambda: release.Release(FULL),
    Fault("hw.release", "self.o.ready | ~self.o.valid", "1"),
    fast=True,
)  # fmt: skip
streams(
    "verdict, published", lambda: verdict.Verdict(PUBLISHED),
    Fault("hw.verdict", "failed.eq(failed_now)]", "failed.eq(0)]"),
)  # fmt: skip


def one_connection_a_frame(bench: Bench, dut: Any, inside: SimpleNamespace) -> None:
    """The tracker's: all items of a frame have one index. And no frame of a connection is inside while it is opened."""
    goes_on = bench.past(dut.i.valid & dut.i.ready & ~dut.i.p.end)
    bench.assume(~goes_on | (dut.i.p.index == bench.past(dut.i.p.index)))
    alone = dut.i.p.end & ~dut.i.p.descriptor.matched  # no connection: passed by, and nothing in front of its end
    bare = Cat(dut.i.p.proof, dut.i.p.mark, dut.i.p.repeated) == 0
    taken = dut.i.valid & dut.i.ready
    begun = bench.ever_until(taken & ~dut.i.p.end, taken & dut.i.p.end)
    bench.assume(~alone | (bare & ~begun & (dut.i.p.descriptor.status == Status.BYPASS)))
    bench.check(begun | ~inside.failed_now)
    opened = inside._closed
    bench.assume(~dut.opened | (dut.opened_index != dut.i.p.index))
    bench.assume(~opened.opening | (opened.opening_index != dut.i.p.index))


streams(
    "verdict", lambda: verdict.Verdict(FULL),
    Fault("hw.verdict", "m.d.sync += known.eq(i.valid & ~done)", "m.d.comb += known.eq(1)"),
    Fault("hw.verdict", "failed.eq(failed_now)]", "failed.eq(0)]"),
    more=one_connection_a_frame,
)  # fmt: skip
streams(
    "flow_table", lambda: flow_table.FlowTable(FULL),
    Fault("hw.flow_table", "self.o.p.eq(item.request)", "self.o.p.eq(self.i.p.request)"),
)  # fmt: skip
streams(
    "flow_table, W = 64", lambda: flow_table.FlowTable(WIDE),
    Fault("hw.flow_table", "self.o.p.eq(item.request)", "self.o.p.eq(self.i.p.request)"),
)  # fmt: skip
streams(
    "lookup", lambda: lookup.Lookup(FULL),
    Fault("hw.flow_table", "self.answer.valid.eq(1)", "self.answer.valid.eq(self.i.valid)"),
)  # fmt: skip


# --- transmit
@proved(
    "segment_headers", "valid and payload hold until the transfer, or a stop", Induction(1),
    Fault("hw.segment_headers", "step.eq(~self.o.valid | self.o.ready)", "step.eq(1)"),
    fast=True,
)  # fmt: skip
def segment_headers_held(bench: Bench) -> None:
    dut = segment_headers.SegmentHeaders(FULL)
    bench.add(dut)
    bench.check(bench.held(dut.o) | bench.past(dut.stop))


streams("encrypt", lambda: encrypt.Encrypt(FULL), leak("hw.encrypt", "deltas", "delta"))
streams(
    "finish", lambda: finish.Finish(FULL),
    Fault("hw.finish", "& (out_ready | ~order.send)", ""),
)  # fmt: skip


# --- Config.late
LATE_FOUND = Fault(
    "hw.flow_table_late", "m.d.comb += self.o.valid.eq(1)", "m.d.comb += self.o.valid.eq(self.i.valid)", 24
)
streams("lookup, late", lambda: lookup.Lookup(LATE), LATE_FOUND, method=Induction(4))
streams("flow_table_late", lambda: flow_table_late.LateFlowTable(LATE), LATE_FOUND, method=Induction(4))
streams("align, late", lambda: align.Align(LATE), leak("hw.align", "items", "items"))
streams("buffer, late", lambda: buffer.PacketBuffer(LATE), leak("hw.buffer", "queue", "o"))
streams("checksum, late", lambda: checksum.ChecksumUnit(LATE), leak("hw.checksum", "results", "o"))
streams("placing_late", lambda: placing_late.LatePlacing(LATE), leak("hw.placing_late", "queue", "o", "begin"))
streams("release, late", lambda: release.Release(LATE), leak("hw.release", "out", "o"))
streams(
    "verdict, late", lambda: verdict.Verdict(LATE),
    Fault("hw.verdict", "failed.eq(failed_now)]", "failed.eq(0)]"),
)  # fmt: skip


@proved("keystream, late", CLAIM, Induction(2), leak("hw.keystream", "queue", "o"))
def late_keystream(bench: Bench) -> None:
    """One H is asked for at a time: what makes it gives no other while it waits (`keys.ready` is low, key_loader)."""
    parts = (key_expansion.KeyExpansion, key_loader.KeyLoader, aes_stored.StoredAes)
    dut = keystream.Keystream(LATE)
    with replaced({id(part): any_room(bench, part) for part in parts}):
        inside = bench.add(dut)
    inputs, outputs = streams_of(dut)
    bench.obeys(*inputs)
    came = inside._with_stored_keys.came
    erases = inside._with_stored_keys.came_valid & came.reload & ~came.derive
    bench.assume(~(inside.derived | erases) | (inside.deriving & ~dut.subkey.valid))
    bench.assume(~(inside.derived & erases))
    bench.check(~dut.subkey.valid | inside.deriving)
    for output in outputs:
        bench.check(bench.held(output))
