"""hw.overload against a model of it, and the published tracker told by it."""

import random
from collections import deque

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from hw import layouts
from hw.config import Config
from hw.overload import FRAMES, MANY, SINCE, WAITED, Overload
from hw.track import Track
from model.contract import Checksum, RxPolicy, Status
from model.tracker import Connection
from sim.traffic import TLS13, Stream
from tests.hw.test_track import buffer_of
from tests.hw.testbench import run_streams


class Watch:
    """`Overload`, told of each cycle; `inside` has the beats left of each frame that came in whole."""

    def __init__(self, quarter: int):
        self.quarter = quarter
        self.inside: deque[int] = deque()
        self.partial = 0
        self.waited = self.since = 0
        self.overload = False

    def cycle(self, *, comes: bool, ends: bool, offered: bool, free: bool) -> tuple[bool, bool]:
        """A beat comes in or not, and may leave or not; whether one left, and the last of its frame."""
        backlog = len(self.inside) >= MANY or (
            len(self.inside) >= FRAMES and sum(self.inside) + self.partial >= self.quarter
        )
        self.overload = self.since > 0 and backlog
        left = last = False
        if offered and free:
            left, self.waited = True, 0
            self.since = max(self.since - 1, 0)
            self.inside[0] -= 1
            last = not self.inside[0]
            if last:
                self.inside.popleft()
        elif free and self.inside:
            if self.waited == WAITED and backlog:
                self.since = SINCE
            self.waited = min(self.waited + 1, WAITED)
        self.partial += comes
        if comes and ends:
            self.inside.append(self.partial)
            self.partial = 0
        return left, last


@pytest.mark.parametrize(
    "frame,crypto,host,expected",
    [
        (24, 0.5, 1.0, True),  # the crypto at half the bus's pace
        (24, 1.0, 0.5, False),  # the host
        (3, 0.3, 1.0, True),
        (150, 1.0, 1.0, False),
        (150, 0.4, 1.0, True),
    ],
)
def test_overload(frame, crypto, host, expected):
    """Frames of so many beats come whenever there is room; a frame's order comes as fast as the crypto is."""
    config = Config(width=64, connections=8, overload="raw")
    dut = Overload(config)
    watch = Watch(config.buffer_beats // 4)
    rng = random.Random(frame)
    seen = []

    async def run(ctx):
        written = ended = at = 0
        ordered = 0.0  # beats of whole frames that may leave
        for cycle in range(4000):
            room = len(watch.inside) < layouts.MAX_PACKETS and sum(watch.inside) + watch.partial < config.buffer_beats
            comes = room and (at > 0 or rng.random() < 0.9)
            ends = comes and at == frame - 1
            if watch.inside:
                ordered = min(ordered + crypto, 200)
            offered = bool(watch.inside)
            goes = offered and ordered >= (frame if watch.inside[0] == frame else 1)
            free = rng.random() < host
            ctx.set(dut.written, written % (1 << config.pointer_bits))
            ctx.set(dut.ended, ended % (1 << layouts.PACKET_BITS))
            ctx.set(dut.offered, offered)
            ctx.set(dut.free, free)
            ctx.set(dut.taken, goes and free)
            ctx.set(dut.last, goes and watch.inside[0] == 1)
            left, _ = watch.cycle(comes=comes, ends=ends, offered=goes, free=free)
            ordered -= left
            written, ended, at = written + comes, ended + ends, (at + comes) % frame
            await ctx.tick()
            assert ctx.get(dut.overload) == watch.overload, f"cycle {cycle}"
            seen.append(watch.overload)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    assert any(seen) is expected


def test_no_overload_by_a_late_start():
    """Short frames wait for the first order as long as the pipeline is; nor by a frame that waits alone."""
    watch = Watch(128)
    for cycle in range(400):
        watch.cycle(comes=True, ends=cycle % 3 == 2, offered=cycle > 52 and bool(watch.inside), free=True)
        assert not watch.overload, cycle


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("share", [1.0, 0.06])
def test_published_tracker(width, share):
    """`share` of cycles in which the crypto is behind; nothing of an overloaded frame leaves but its end."""
    config = Config(width=width, connections=8, rx_policy=RxPolicy.PUBLISHED, overload="raw")
    rng = random.Random(f"{width}/{share}")
    stream = Stream(TLS13, seed=width, start_seq=2**32 - 3000)
    wire = stream.bulk([16384] * 5)
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
            ctx.set(dut.overload, rng.random() < share)
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

    run_streams(
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
    got = [status for status, _ in frames]
    assert (share < 1.0) is (Status.DECRYPTED in got)
    assert Status.OVERLOAD in got
