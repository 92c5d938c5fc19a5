"""hw.verdict: sums kept over frames and slots, failures, proofs, and frames that change nothing."""

import random
from dataclasses import dataclass, field

import pytest
from amaranth.lib import data

from hw import layouts
from hw.config import Config
from hw.verdict import Verdict
from model.contract import OPEN_RECORDS, RxPolicy, Status
from tests.hw.testbench import run_streams

CONNECTIONS = 8
SBOXES = ["rom", "bram"]  # "bram": `Config.late`
FAILING = (Status.DECRYPTED, Status.GAP)
"""Policy `published`; the others judge every frame but these:"""
UNJUDGED = (Status.BAD_CHECKSUM, Status.WAIT, Status.CONFLICT)


@pytest.mark.parametrize("sbox", SBOXES)
@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_verdicts(stalls, sbox):
    rng = random.Random(7)
    config = Config(width=16, connections=CONNECTIONS, sbox=sbox, rx_policy=RxPolicy.PUBLISHED)
    sums = [0] * CONNECTIONS  # kept by connection
    items, hashes, j0s, want = [], [], [], []
    for _ in range(150):
        index = rng.randrange(CONNECTIONS)
        status = rng.choice([Status.DECRYPTED, Status.DECRYPTED, Status.GAP, Status.BAD_CHECKSUM])
        total, failed = sums[index], False
        n = rng.randrange(4)
        for k in range(n):
            continues = k == 0 and rng.random() < 0.6
            completes = k < n - 1 or rng.random() < 0.5
            has_j0 = not continues
            value, j0, tag = (rng.getrandbits(128) for _ in range(3))
            total = (total if continues else 0) ^ value ^ tag ^ (j0 if has_j0 else 0)
            if completes and rng.random() < 0.8:
                value, total = value ^ total, 0  # an authentic record
            failed |= completes and total != 0
            items.append(
                {
                    "index": index,
                    "has_j0": int(has_j0),
                    "tag": tag,
                    "completes": int(completes),
                    "continues": int(continues),
                }
            )
            hashes.append(value)
            if has_j0:
                j0s.append(j0)
        keep = n > 0 and not items[-1]["completes"] and status != Status.BAD_CHECKSUM
        if keep:
            sums[index] = total
        items.append({"end": 1, "descriptor": {"status": status}, "keep_sum": int(keep)})
        want.append(Status.AUTH_FAILED if failed and status in FAILING else status)

    dut = Verdict(config)
    (out,) = run_streams(
        dut,
        [(dut.i, items), (dut.hash, hashes), (dut.j0, j0s)],
        [(dut.o, len(want))],
        idle=stalls,
        backpressure=stalls,
        seed=3,
    )
    got = [Status(data.Const(layouts.release_order(config), bits).descriptor.status) for bits in out]
    assert got == want
    assert {Status.AUTH_FAILED, Status.DECRYPTED, Status.GAP, Status.BAD_CHECKSUM} <= set(got)


@pytest.mark.parametrize("sbox", SBOXES)
def test_every_bit_of_a_sum_counts(sbox):
    config = Config(width=16, connections=CONNECTIONS, sbox=sbox, rx_policy=RxPolicy.PUBLISHED)
    dut = Verdict(config)
    record = {"completes": 1}
    end = {"end": 1, "descriptor": {"status": Status.DECRYPTED}}
    hashes = [0, *(1 << bit for bit in range(128)), 0]
    (out,) = run_streams(dut, [(dut.i, [record, end] * len(hashes)), (dut.hash, hashes)], [(dut.o, len(hashes))])
    got = [Status(data.Const(layouts.release_order(config), bits).descriptor.status) for bits in out]
    assert got == [Status.AUTH_FAILED if value else Status.DECRYPTED for value in hashes]


@dataclass
class Script:
    """Items of frames for the dut, and what must come of them, by a model that keeps sums by (index, slot)."""

    items: list[dict] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    j0s: list[int] = field(default_factory=list)
    want: list[tuple[Status, bool]] = field(default_factory=list)
    proofs: list[int] = field(default_factory=list)
    sums: dict[tuple[int, int], int] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)

    def frame(self, rng, index, status, fragments, *, keep=False, proof=False, mark=False, repeated=False):
        """`fragments`: (slot, continues, completes, store, counted, authentic)."""
        failed, total, slot = False, 0, 0
        for slot, continues, completes, store, counted, authentic in fragments:
            value, j0, tag = (rng.getrandbits(128) for _ in range(3))
            has_j0 = rng.random() < 0.4
            total = (self.sums[index, slot] if continues else 0) ^ value ^ tag ^ (j0 if has_j0 else 0)
            if authentic:
                value, total = value ^ total, 0
            failed |= completes and total != 0
            if store and counted:
                self.sums[index, slot] = total
            self.items.append(
                {
                    "index": index,
                    "slot": slot,
                    "has_j0": int(has_j0),
                    "tag": tag,
                    "completes": int(completes),
                    "continues": int(continues),
                    "store": int(store),
                    "counted": int(counted),
                }
            )
            self.hashes.append(value)
            if has_j0:
                self.j0s.append(j0)
        if keep:
            self.sums[index, slot] = total
        self.items.append(
            {
                "end": 1,
                "index": index,
                "descriptor": {"status": status, "matched": int(status is not Status.BYPASS)},
                "keep_sum": int(keep),
                "proof": int(proof),
                "mark": int(mark),
                "repeated": int(repeated),
            }
        )
        if proof:
            self.proofs.append(int(not failed))
            status = Status.DECRYPTED if mark and not failed else status
        elif failed and status is Status.OVERLOAD:
            self.closed.add(index)
        elif failed and status not in UNJUDGED:
            status = Status.AUTH_FAILED
        if index in self.closed and repeated:
            status = Status.CONFLICT
        if index in self.closed and status in (Status.DECRYPTED, Status.AUTH_FAILED):
            status = Status.CLOSED
        if status is Status.AUTH_FAILED:
            self.closed.add(index)
        self.want.append((status, proof and not failed))

    def run(self, *, stalls=0.0, seed=0, opened=(), sbox="rom"):
        """`opened`: {number of orders given: index} of connections that are new from there on."""
        config = Config(width=16, connections=CONNECTIONS, sbox=sbox, rx_policy=RxPolicy.FULL, overload="raw")
        dut = Verdict(config)
        layout = layouts.release_order(dut.config)
        proofs_before_orders = []

        async def order_of_outputs(ctx):
            proofs = 0
            while True:
                transfers = (s.valid & s.ready for s in (dut.o, dut.proofs))
                _, _, order, proof = await ctx.tick().sample(*transfers)
                proofs += proof
                if order:
                    proofs_before_orders.append(proofs)

        async def open_connections(ctx):
            given = 0
            waiting = dict(opened)
            while True:
                _, _, order = await ctx.tick().sample(dut.o.valid & dut.o.ready)
                given += order
                index = waiting.pop(given, None)
                ctx.set(dut.opened, index is not None)
                ctx.set(dut.opened_index, index or 0)

        out, proofs = run_streams(
            dut,
            [(dut.i, self.items), (dut.hash, self.hashes), (dut.j0, self.j0s)],
            [(dut.o, len(self.want)), (dut.proofs, len(self.proofs))],
            idle=stalls,
            backpressure=stalls,
            seed=seed,
            processes=[order_of_outputs, open_connections],
            extra_cycles=5,
        )
        orders = [data.Const(layout, bits) for bits in out]
        assert [(Status(o.descriptor.status), bool(o.descriptor.proven)) for o in orders] == self.want
        assert proofs == self.proofs
        ends = [item for item in self.items if item.get("end")]
        assert proofs_before_orders == [sum(e["proof"] for e in ends[: k + 1]) for k in range(len(ends))]


def random_script(rng, frames):
    """Frames of both kinds: fast ones keep one sum at their end, slow ones store sums as they go."""
    script = Script()
    opened = {}
    for _ in range(frames):
        index = rng.randrange(CONNECTIONS)
        known = [slot for i, slot in script.sums if i == index]
        kind = rng.choice(["fast", "slow", "slow", "proof", "raw"])
        status = rng.choice([Status.DECRYPTED, Status.DECRYPTED, *Status])
        if status in (Status.AUTH_FAILED, Status.CLOSED):
            status = Status.GAP  # of the verdict's own making
        if status is Status.BYPASS:
            script.frame(rng, 0, status, [])
            continue
        fragments = []
        n = rng.randrange(1, 5) if kind == "proof" else rng.randrange(4)
        slot = rng.choice(known) if known and rng.random() < 0.7 else rng.randrange(OPEN_RECORDS)
        for k in range(n):
            goes_on = rng.random() < 0.4 if kind != "fast" or k == n - 1 else False
            good = not goes_on and rng.random() < 0.85
            counted = kind != "raw" or rng.random() < 0.5
            if kind != "fast" and rng.random() < 0.5:
                slot = rng.choice(known) if known and rng.random() < 0.7 else rng.randrange(OPEN_RECORDS)
            continues = (index, slot) in script.sums and (kind != "fast" or k == 0) and rng.random() < 0.7
            stored = kind in ("slow", "proof", "raw") and goes_on
            if stored and counted:
                # a sum just stored may be fetched by the next fragment
                known.append(slot)
                script.sums.setdefault((index, slot), 0)
            elif stored:
                stored = rng.random() < 0.5  # not counted: must change nothing
            fragments.append((slot, continues, not goes_on and counted, stored, counted, good))
        keep = bool(kind == "fast" and fragments and not fragments[-1][2] and status is not Status.BAD_CHECKSUM)
        if kind == "proof":
            script.frame(rng, index, Status.WAIT, fragments, proof=True, mark=rng.random() < 0.5)
        else:
            script.frame(rng, index, status, fragments, keep=keep, repeated=rng.random() < 0.15)
        if index in script.closed and rng.random() < 0.3:
            # opened anew when this frame has left; the next one of it comes no sooner
            script.closed.discard(index)
            opened[len(script.want)] = index
            other = (index + 1) % CONNECTIONS
            for _ in range(2):
                script.frame(rng, other, Status.DECRYPTED, [(0, False, True, False, True, rng.random() < 0.5)])
    return script, opened


@pytest.mark.parametrize("sbox", SBOXES)
@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_sums_by_slot_proofs_and_closed_connections(stalls, sbox):
    script, opened = random_script(random.Random(5), 300)
    script.run(stalls=stalls, seed=4, opened=opened, sbox=sbox)
    seen = {status for status, _ in script.want}
    assert seen == set(Status)
    assert opened and {0, 1} == set(script.proofs)
    assert {(Status.DECRYPTED, True), (Status.WAIT, True), (Status.WAIT, False), (Status.CLOSED, True)} <= set(
        script.want
    )


@pytest.mark.parametrize("sbox", SBOXES)
@pytest.mark.parametrize("frame_between", [False, True])
@pytest.mark.parametrize("stored", ["store", "keep"])
def test_a_sum_is_fetched_as_soon_as_it_is_stored(frame_between, stored, sbox):
    """Stored by one fragment, fetched by the next one: of the same frame, or of one right behind."""
    rng = random.Random(1)
    script = Script()
    first = (3, False, False, stored == "store", True, False)
    last = (3, True, True, False, True, True)
    for _ in range(4):
        if stored == "keep":
            script.frame(rng, 2, Status.DECRYPTED, [first], keep=True)
            script.frame(rng, 2, Status.DECRYPTED, [last])
        elif frame_between:
            script.frame(rng, 2, Status.DECRYPTED, [first])
            script.frame(rng, 2, Status.DECRYPTED, [last])
        else:
            script.sums[2, 3] = 0
            script.frame(rng, 2, Status.DECRYPTED, [first, last])
    script.run(sbox=sbox)
    assert {s for s, _ in script.want} == {Status.DECRYPTED}


def test_a_published_connection_is_never_closed():
    config = Config(width=16, connections=CONNECTIONS, rx_policy=RxPolicy.PUBLISHED)
    dut = Verdict(config)
    fragment = {"index": 1, "completes": 1}
    end = {"end": 1, "index": 1, "descriptor": {"status": Status.DECRYPTED, "matched": 1}}
    (out,) = run_streams(
        dut, [(dut.i, [fragment, end, fragment, end, end]), (dut.hash, [5, 0]), (dut.j0, [])], [(dut.o, 3)]
    )
    got = [Status(data.Const(layouts.release_order(config), bits).descriptor.status) for bits in out]
    assert got == [Status.AUTH_FAILED, Status.DECRYPTED, Status.DECRYPTED]
