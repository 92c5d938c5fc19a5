"""hw.lookup: frames and operations against a dictionary, and placement against the golden model's table."""

import random
from dataclasses import dataclass

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.lib import data
from amaranth.sim import Simulator

from hw.config import Config
from hw.layouts import track_request
from hw.lookup import Lookup
from model.commands import Tuple4
from model.contract import DEFAULT_HASH_KEY, STASH, WAYS, Result
from model.table import FlowTable
from tests.hw.testbench import run_streams

SBOXES = ["rom", "bram"]  # "bram": `Config.late`


@dataclass(frozen=True)
class Flow:
    remote: bytes
    local: bytes
    ports: tuple[int, int]

    def fields(self):
        def address(value):
            return int.from_bytes(value.rjust(16, b"\0"), "little")

        return {
            "ipv6": int(len(self.remote) == 16),
            "remote_address": address(self.remote),
            "local_address": address(self.local),
            "remote_port": self.ports[0],
            "local_port": self.ports[1],
        }

    def tuple4(self):
        return Tuple4(self.remote, self.ports[0], self.local, self.ports[1])


def random_flow(rng):
    size = rng.choice((4, 16))
    return Flow(rng.randbytes(size), rng.randbytes(size), (rng.getrandbits(16), rng.getrandbits(16)))


def near(flow, rng):
    """The same flow but for one bit."""
    which = rng.randrange(3)
    if which == 2:
        ports = [p ^ (1 << rng.randrange(16)) if k == 0 else p for k, p in enumerate(flow.ports)]
        return Flow(flow.remote, flow.local, (ports[0], ports[1]) if rng.random() < 0.5 else (flow.ports[0], ports[0]))
    address = [flow.remote, flow.local][which]
    flipped = int.from_bytes(address, "big") ^ 1 << rng.randrange(8 * len(address))
    address = flipped.to_bytes(len(address), "big")
    return Flow(address, flow.local, flow.ports) if which == 0 else Flow(flow.remote, address, flow.ports)


class Bench:
    """Collects steps (frames and operations) and what must come of them, then runs them one behind the other."""

    def __init__(self, config, hash_key=DEFAULT_HASH_KEY):
        self.config = config
        self.hash_key = hash_key
        self.steps = []
        self.requests = []
        self.answers = []
        self.count = 0

    def frame(self, flow, handle, candidate=1):
        self.count += 1
        fields = {
            "base": self.count % (1 << self.config.pointer_bits),
            "packet": self.count % 64,
            "seq": self.count * 0x1234567 % (1 << 32),
            "payload_offset": 54,
            "payload_length": self.count % 9000,
        }
        self.steps.append(("frame", fields | flow.fields() | {"parsed": candidate, "candidate": candidate}))
        found = candidate and handle is not None
        self.requests.append(fields | {"matched": int(found), "handle": handle if found else 0})

    def insert(self, flow, handle, result):
        self.steps.append(("table", {"insert": 1, "key": flow.fields(), "handle": handle}))
        self.answers.append(result)

    def remove(self, handle, result):
        self.steps.append(("table", {"insert": 0, "handle": handle}))
        self.answers.append(result)

    def run(self, *, ordered=True, **options):
        """`ordered`: an operation is only given when the frames in front of it are taken, and the reverse."""
        dut = Lookup(self.config)
        progress = {"frame": 0, "table": 0}
        streams = {"frame": dut.i, "table": dut.table}
        before = {"frame": [], "table": []}  # how many of the other kind come first
        count = {"frame": 0, "table": 0}
        items = {"frame": [], "table": []}
        for kind, item in self.steps:
            before[kind].append(count["table" if kind == "frame" else "frame"])
            items[kind].append(item)
            count[kind] += 1

        def source(kind, other, rng):
            async def run(ctx):
                stream = streams[kind]
                if kind == "frame":
                    ctx.set(dut.hash_key, self.hash_key)
                for item, wait in zip(items[kind], before[kind], strict=True):
                    while (ordered and progress[other] < wait) or rng.random() < options.get("idle", 0):
                        await ctx.tick()
                    ctx.set(stream.p, item)
                    ctx.set(stream.valid, 1)
                    await ctx.tick().until(stream.ready)
                    ctx.set(stream.valid, 0)
                    progress[kind] += 1

            return run

        seed = options.get("seed", 0)
        got = run_streams(
            dut,
            [],
            [(dut.o, len(self.requests)), (dut.answer, len(self.answers))],
            processes=[
                source("frame", "table", random.Random(f"{seed}/f")),
                source("table", "frame", random.Random(f"{seed}/t")),
            ],
            extra_cycles=20,
            cycles=100_000,
            **{k: v for k, v in options.items() if k in ("backpressure", "seed")},
        )
        layout = data.Layout.cast(track_request(self.config))
        for number, (bits, expected) in enumerate(zip(got[0], self.requests, strict=True)):
            value = layout.from_bits(bits)
            have = {name: getattr(value, name) for name in expected}
            assert have == expected, f"frame {number}"
        assert [Result(a) for a in got[1]] == self.answers


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", SBOXES)
@pytest.mark.parametrize("count", [400, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("width,connections,seed", [(16, 8, 1), (32, 64, 2), (64, 256, 3)])
def test_random(width, connections, seed, count, sbox):
    """Adds, deletes, re-adds and frames of flows in the table, of flows not there and of ones a bit beside."""
    rng = random.Random(seed)
    bench = Bench(Config(width=width, connections=connections, sbox=sbox))
    table = FlowTable(connections, bench.hash_key)
    installed = {}
    pool = [random_flow(rng) for _ in range(2 * connections)]
    for _ in range(count):
        what = rng.random()
        if what < 0.25 and len(installed) < connections:
            flow = rng.choice(pool)
            result, handle = table.add(flow.tuple4(), flow)
            if result == Result.OK:
                installed[flow] = handle
            bench.insert(flow, handle, result)
        elif what < 0.35 and installed:
            flow = rng.choice(list(installed))
            assert table.delete(installed[flow])
            bench.remove(installed.pop(flow), Result.OK)
        else:
            flow = rng.choice(list(installed)) if installed and rng.random() < 0.7 else rng.choice(pool)
            if rng.random() < 0.2:
                flow = near(flow, rng)
            bench.frame(flow, installed.get(flow), candidate=rng.random() < 0.7)
    bench.run(idle=0.1, backpressure=0.1, seed=seed)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", SBOXES)
@pytest.mark.parametrize("ipv6", [False, True])
def test_collisions(ipv6, sbox):
    """Hash key 0: all flows have one bucket and one fingerprint, so 16 places, all told apart by the key."""
    rng = random.Random(4)
    bench = Bench(Config(connections=32, sbox=sbox), hash_key=0)
    size = 16 if ipv6 else 4
    first = Flow(rng.randbytes(size), rng.randbytes(size), (1, 2))
    flows = [first]
    while len(flows) < 2 * WAYS + STASH + 1:
        flow = near(first, rng)
        if flow not in flows:
            flows.append(flow)
    *flows, excess = flows
    handles = {f: (200 + k) % 256 << 16 | 31 - k for k, f in enumerate(flows)}
    for flow, handle in handles.items():
        bench.frame(flow, None)
        bench.insert(flow, handle, Result.OK)
        bench.frame(flow, handle)
    bench.insert(excess, 3, Result.NO_SPACE)
    for flow in rng.sample(flows, len(flows)):
        bench.insert(flow, 4, Result.EXISTS)
        bench.frame(flow, handles[flow])
        bench.frame(excess, None)
    for flow in rng.sample(flows, len(flows)):
        bench.remove(handles[flow], Result.OK)
        bench.frame(flow, None)
        bench.remove(handles[flow], Result.STALE_HANDLE)
        bench.insert(excess, handles[flow], Result.OK)
        bench.frame(excess, handles[flow])
        bench.remove(handles[flow], Result.OK)
        bench.insert(flow, handles[flow], Result.OK)
    for flow in flows:
        bench.frame(flow, handles[flow])
    bench.run()


@pytest.mark.parametrize("sbox", SBOXES)
def test_stale_handles(sbox):
    bench = Bench(Config(connections=8, sbox=sbox))
    flow = random_flow(random.Random(5))
    bench.remove(3, Result.STALE_HANDLE)
    bench.insert(flow, 7 << 16 | 3, Result.OK)
    for handle in (8 << 16 | 3, 7 << 16 | 2, 7 << 16 | 3 + 8, 7 << 16 | 0x8003):
        bench.remove(handle, Result.STALE_HANDLE)
    bench.frame(flow, 7 << 16 | 3)
    bench.remove(7 << 16 | 3, Result.OK)
    bench.frame(flow, None)
    bench.run()


@pytest.mark.parametrize("sbox", SBOXES)
def test_operations_do_not_starve(sbox):
    """With frames waiting all the time, an operation is answered within a few lookups."""
    config = Config(connections=8, sbox=sbox)
    dut = Lookup(config)
    rng = random.Random(6)
    flow = random_flow(rng)
    waits = []

    async def operate(ctx):
        ctx.set(dut.hash_key, DEFAULT_HASH_KEY)
        for k in range(20):
            await ctx.tick().repeat(rng.randrange(1, 50))
            ctx.set(dut.table.p, {"insert": k % 2 == 0, "key": flow.fields(), "handle": 5})
            ctx.set(dut.table.valid, 1)
            ctx.set(dut.answer.ready, 1)
            cycles = 0
            for end in (dut.table.ready, dut.answer.valid):
                done = False
                while not done:
                    _, _, done, answer = await ctx.tick().sample(end, dut.answer.p)
                    cycles += 1
                ctx.set(dut.table.valid, 0)
            assert answer == Result.OK
            waits.append(cycles)

    frames = [{"candidate": 1, "parsed": 1} | random_flow(rng).fields() for _ in range(300)]
    run_streams(dut, [(dut.i, frames)], [(dut.o, 300)], processes=[operate])
    assert len(waits) == 20 and max(waits) < 45


@pytest.mark.default_cases(6)
@pytest.mark.parametrize(
    "width,size,candidate,known,interval,sbox",
    [
        (16, 4, 1, 1, 3, "rom"), (16, 16, 1, 1, 10, "rom"), (16, 4, 0, 1, 1, "rom"), (16, 4, 1, 0, 3, "rom"),
        (64, 4, 1, 1, 3, "rom"), (64, 16, 1, 1, 3, "rom"), (64, 4, 0, 1, 1, "rom"), (64, 4, 1, 0, 2, "rom"),
        (64, 16, 1, 0, 3, "rom"), (16, 4, 1, 1, 9, "bram"), (16, 16, 1, 1, 12, "bram"), (16, 4, 0, 1, 3, "bram"),
        (16, 4, 1, 0, 6, "bram"),
    ],
)  # fmt: skip
def test_rate(width, size, candidate, known, interval, sbox):
    """Cycles a frame: all of them hits, or none of them candidates, or none of them known."""
    config = Config(width=width, connections=8, sbox=sbox)
    dut = Lookup(config)
    rng = random.Random(7)
    flow = Flow(rng.randbytes(size), rng.randbytes(size), (1, 2))
    times = []

    async def insert(ctx):
        ctx.set(dut.hash_key, DEFAULT_HASH_KEY)
        ctx.set(dut.table.p, {"insert": 1, "key": flow.fields(), "handle": 5})
        ctx.set(dut.table.valid, 1)
        ctx.set(dut.answer.ready, 1)
        await ctx.tick().until(dut.table.ready)
        ctx.set(dut.table.valid, 0)

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, valid, matched = await ctx.tick().sample(dut.o.valid, dut.o.p.matched)
            cycle += 1
            if valid:
                assert matched == (candidate and known)
                times.append(cycle)

    sent = flow if known else Flow(flow.local, flow.remote, (1, 2))
    frames = [{"candidate": candidate, "parsed": 1} | sent.fields() for _ in range(50)]
    run_streams(dut, [(dut.i, frames)], [(dut.o, 50)], processes=[insert, watch])
    assert times[-1] - times[9] == 40 * interval


@pytest.mark.parametrize("sbox", SBOXES)
def test_what_is_hidden_is_found_when_it_is_shown(sbox):
    rng = random.Random(8)
    dut = Lookup(Config(connections=8, sbox=sbox))
    flow, other = random_flow(rng), random_flow(rng)
    found = []

    async def bench(ctx):
        async def insert(flow, handle, hidden):
            ctx.set(dut.table.p, {"insert": 1, "hidden": hidden, "key": flow.fields(), "handle": handle})
            ctx.set(dut.table.valid, 1)
            await ctx.tick().until(dut.table.ready)
            ctx.set(dut.table.valid, 0)
            (result,) = await ctx.tick().sample(dut.answer.p).until(dut.answer.valid)
            return Result(result)

        async def find(flow):
            ctx.set(dut.i.p, {"parsed": 1, "candidate": 1} | flow.fields())
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            (request,) = await ctx.tick().sample(dut.o.p).until(dut.o.valid)
            found.append((request.matched, request.handle))

        ctx.set(dut.hash_key, 0)  # both flows in one bucket, with one fingerprint
        ctx.set(dut.answer.ready, 1)
        ctx.set(dut.o.ready, 1)
        assert await insert(flow, 5, hidden=1) is Result.OK
        assert await insert(flow, 6, hidden=1) is Result.EXISTS
        assert await insert(other, 6, hidden=0) is Result.OK
        await find(flow)
        await find(other)
        ctx.set(dut.show_index, 5)
        ctx.set(dut.show, 1)
        await ctx.tick()
        ctx.set(dut.show, 0)
        await find(flow)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert found == [(0, 0), (1, 6), (1, 5)]


@pytest.mark.parametrize("sbox", SBOXES)
def test_reset_empties_the_table(sbox):
    """Memories outlive a reset; what they hold must not."""
    config = Config(connections=8, sbox=sbox)
    reset = Signal()
    inner = Lookup(config)
    dut = ResetInserter({"sync": reset})(inner)
    flows = [random_flow(random.Random(k)) for k in range(6)]
    matched = []

    async def bench(ctx):
        async def give(stream, payload, answer):
            ctx.set(stream.p, payload)
            ctx.set(stream.valid, 1)
            ctx.set(answer.ready, 1)
            await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)
            (value,) = await ctx.tick().sample(answer.p).until(answer.valid)
            return value

        ctx.set(inner.hash_key, 0)
        for clear in (0, 1, 0):
            if clear:
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
            for flow in flows:
                request = await give(inner.i, {"parsed": 1, "candidate": 1} | flow.fields(), inner.o)
                matched.append(request.matched)
            for k, flow in enumerate(flows):
                await give(inner.table, {"insert": 1, "key": flow.fields(), "handle": k}, inner.answer)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert matched == [0] * 6 + [0] * 6 + [1] * 6
