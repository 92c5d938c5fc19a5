"""hw.overload against a model of it, and the published tracker told by it."""

import random
from collections import deque
from dataclasses import replace

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from hw import layouts
from hw.config import Config
from hw.layouts import MAX_PACKETS, PACKET_BITS
from hw.overload import OLD, SINCE, STEP, WAITED, Overload
from hw.track import Track
from model.contract import Checksum, RxPolicy, Status
from model.tracker import Connection
from sim.traffic import TLS13, Stream
from tests.hw.test_track import buffer_of
from tests.hw.testbench import run_streams


class Watch:
    """`Overload`, told of each cycle; `inside` has of each frame that came in whole the beats left and the cycle."""

    def __init__(self):
        self.now = 0
        self.inside: deque[list[int]] = deque()
        self.partial = 0
        self.waited = self.since = 0
        self.behind = self.overload = False

    def cycle(self, *, comes: bool, ends: bool, offered: bool, free: bool) -> bool:
        """A beat comes in or not, and may leave or not; whether one left."""
        # the register that is oldest had this cycle's, OLD updates ago
        looked = (self.now - 1) // STEP * STEP - STEP * OLD
        old = bool(self.inside) and self.inside[0][1] < looked
        self.behind, self.overload = old, old and self.since > 0
        left = offered and free
        if left:
            self.waited, self.since = 0, max(self.since - 1, 0)
            self.inside[0][0] -= 1
            if not self.inside[0][0]:
                self.inside.popleft()
        elif free and old:
            if self.waited == WAITED:
                self.since = SINCE
            self.waited = min(self.waited + 1, WAITED)
        self.partial += comes
        if comes and ends:
            self.inside.append([self.partial, self.now])
            self.partial = 0
        self.now += 1
        return left


@pytest.mark.parametrize(
    "sizes,phases",
    [
        ((24,), [(0.5, 1.0, True), (4.0, 0.5, False)]),  # first the crypto at half the bus's pace, then the host
        ((24,), [(1.0, 0.5, False)]),
        ((3,), [(0.3, 1.0, True)]),
        ((142,), [(1.0, 1.0, False), (0.4, 1.0, True)]),
        ((142, 2, 3, 2, 24), [(1.2, 0.95, False), (0.6, 0.95, True)]),
    ],
)
def test_overload(sizes, phases):
    """Phases of 3000 cycles: the crypto's beats a cycle, share of cycles the host is ready in, overload at its end.

    Frames come in bursts, when there is room; one may go 50 cycles behind its end at the earliest, and when the crypto
    is through with it.
    """
    dut = Overload(Config(width=64, connections=8, overload="raw"))
    watch = Watch()
    rng = random.Random(f"{sizes}")
    seen = []

    async def run(ctx):
        written = gone = ended = at = frame = 0
        may_go: deque[int] = deque()  # of each frame inside, the cycle
        through = 0.0
        size = sizes[0]
        for cycle in range(3000 * len(phases)):
            crypto, host, expected = phases[cycle // 3000]
            room = len(watch.inside) < MAX_PACKETS - 1 and written - gone < 512
            comes = room and (at > 0 or cycle % 2000 < 1500 or expected)
            ends = comes and at == size - 1
            offered = bool(watch.inside)
            goes = offered and cycle >= may_go[0]
            free = rng.random() < host
            ctx.set(dut.ended, ended % (1 << PACKET_BITS))
            ctx.set(dut.offered, offered)
            ctx.set(dut.free, free)
            ctx.set(dut.taken, goes and free)
            ctx.set(dut.last, goes and watch.inside[0][0] == 1)
            before = len(watch.inside)
            left = watch.cycle(comes=comes, ends=ends, offered=goes, free=free)
            if len(watch.inside) - ends < before:
                may_go.popleft()
            gone += left
            written, ended, at = written + comes, ended + ends, at + comes
            if ends:
                through = max(through, cycle - size) + size / crypto
                may_go.append(max(int(through), cycle) + 50)
                frame, at = frame + 1, 0
                size = sizes[frame % len(sizes)]
            await ctx.tick()
            assert ctx.get(dut.behind) == watch.behind, f"cycle {cycle}"
            assert ctx.get(dut.overload) == watch.overload, f"cycle {cycle}"
            seen.append(watch.overload)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    ends = [any(seen[3000 * n + 1500 : 3000 * n + 3000]) for n in range(len(phases))]
    assert ends == [expected for _, _, expected in phases]


SHAPES = [Config(width=w, connections=8, sbox=s) for w, s in ((16, "rom"), (64, "rom"), (16, "bram"))]


@pytest.mark.parametrize("shape", SHAPES, ids=["16", "64", "late"])
@pytest.mark.parametrize("share", [1.0, 0.15])
def test_published_tracker(shape, share):
    """`share` of cycles in which the crypto is behind; nothing of an overloaded frame leaves but its end."""
    config, width = replace(shape, rx_policy=RxPolicy.PUBLISHED, overload="raw"), shape.width
    rng = random.Random(f"{width}/{share}/4")
    stream = Stream(TLS13, seed=width, start_seq=2**32 - 3000)
    wire = stream.bulk([16384] * 3 + [3000] * 3)
    cuts = sorted(rng.sample(range(1, len(wire)), len(wire) // 400))
    segments = stream.segments(wire, cuts)
    requests, base = [], 0
    for number, (seq, payload) in enumerate(segments):
        requests.append({
            "base": base % (1 << config.pointer_bits), "packet": number % 64, "matched": 1, "handle": 3, "seq": seq,
            "payload_offset": 54, "payload_length": len(payload),
        })  # fmt: skip
        base += -(-(54 + len(payload)) // width)
    dut = Track(config)

    async def load(ctx):
        while True:
            overload = rng.random() < share
            ctx.set(dut.overload, overload)
            ctx.set(dut.behind, overload or rng.random() < 0.1)
            await ctx.tick()

    init = {"kind": layouts.TrackerOperation.INIT, "index": 3, "tls13": 1, "seq": stream.start_seq}
    items: list[int] = []
    heavy: list[int] = []  # frames that ended with the crypto behind all the while

    async def watch(ctx):
        behind, ends = True, 0
        while ends < len(requests):
            _, _, valid, ready, item, over = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload, dut.overload
            )
            behind &= bool(over)
            if valid and ready:
                items.append(item.as_bits())
                if item.end:
                    heavy.append(behind)
                    behind, ends = bool(over), ends + 1  # the next frame may be decided already
        ctx.set(dut.operations.payload, {"kind": layouts.TrackerOperation.QUERY, "index": 3})
        ctx.set(dut.operations.valid, 1)

    answers, _ = run_streams(
        dut,
        [(dut.operations, [init]), (dut.i, requests), (dut.checksum, [Checksum.GOOD] * len(requests))],
        [(dut.answers, 2), (dut.o, len(requests))],
        idle=0.2,
        backpressure=0.2,
        seed=width,
        processes=[buffer_of(dut, [payload for _, payload in segments], requests, width), load, watch],
    )
    golden = Connection(stream.add())
    work = [data.Const(layouts.work(config), bits) for bits in items]
    frames, fragments = [], 0
    for item in work:
        fragments += not item.end
        if item.end:
            frames.append((Status(item.descriptor.status), fragments))
            fragments = 0
    for n, ((seq, payload), (status, count)) in enumerate(zip(segments, frames, strict=True)):
        overloaded = status is Status.OVERLOAD
        assert golden.take_in(seq, payload, overloaded or bool(heavy[n])).status is status, n
        assert not (overloaded and count), n
    state, expected = data.Const(layouts.tracker_answer(), answers[1]).state, golden.state()
    assert {name: getattr(state, name) for name in expected.__slots__} == {
        name: int(getattr(expected, name)) for name in expected.__slots__
    }
    got = [status for status, _ in frames]
    assert (share < 1.0) is (Status.DECRYPTED in got)
    assert Status.OVERLOAD in got
