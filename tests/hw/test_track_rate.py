"""Cycles the trackers take: a frame that goes on, a frame of another connection, a record header."""

import pytest
from amaranth.sim import Simulator

from hw import layouts
from hw.config import Config
from hw.loss_track import LossTrack
from hw.track import Track
from hw.tx_track import TxTrack
from model.contract import Checksum, RxPolicy, Status, TxKind, TxStatus
from sim.traffic import TLS13, Stream
from tests.hw.test_track import buffer_of

OFFSET = 66
POLICY = {Track: RxPolicy.PUBLISHED, LossTrack: RxPolicy.FULL, TxTrack: RxPolicy.FULL}


def ends_of(tracker, streams: int, record: int, segment: int, count: int) -> list[int]:
    """Cycle of each frame's end: in-order frames of the streams in turn, all of them in the buffer."""
    config = Config(width=64, connections=8, rx_policy=POLICY[tracker])
    transmit = tracker is TxTrack
    operations, queues = [], []
    for index in range(streams):
        stream = Stream(TLS13, seed=index, start_seq=1000)
        while len(stream.wire) < count // streams * segment:
            stream.bulk([record])
        queues.append(stream.segments(stream.wire, mss=segment)[: count // streams])
        operations.append({"kind": layouts.TrackerOperation.INIT, "index": index, "tls13": 1, "seq": stream.start_seq})
    frames = [(index, *one) for turn in zip(*queues, strict=True) for index, one in enumerate(turn)]
    beats = -(-(OFFSET + segment) // config.width)
    requests = [
        {
            "base": number * beats % (1 << config.pointer_bits), "packet": number % 64, "seq": seq,
            "payload_offset": OFFSET, "payload_length": len(payload),
            **({"parsed": 1, "candidate": 1} if transmit else {"matched": 1, "handle": index}),
        }
        for number, (index, seq, payload) in enumerate(frames)
    ]  # fmt: skip
    feeds = {
        "i": requests,
        "checksum": [{"whole": 1} if transmit else Checksum.GOOD] * len(frames),
    }
    if transmit:
        feeds["requests"] = [{"kind": TxKind.STREAM, "handle": index} for index, _, _ in frames]
    dut = tracker(config)
    cycle = 0
    ends: list[int] = []

    def feed(name):
        async def run(ctx):
            stream = getattr(dut, name)
            await ctx.tick().until(go)
            for payload in feeds[name]:
                ctx.set(stream.payload, payload)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)

        return run

    go = dut.o.ready

    async def bench(ctx):
        nonlocal cycle
        ctx.set(dut.answers.ready, 1)
        for operation in operations:
            ctx.set(dut.operations.payload, operation)
            ctx.set(dut.operations.valid, 1)
            await ctx.tick().until(dut.operations.ready)
            ctx.set(dut.operations.valid, 0)
            await ctx.tick().until(dut.answers.valid)
        ctx.set(go, 1)
        while len(ends) < len(frames):
            _, _, valid, item = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            cycle += 1
            if valid and item.end:
                if transmit:
                    assert item.tx.status == TxStatus.ENCRYPTED
                else:
                    assert item.descriptor.status == Status.DECRYPTED
                ends.append(cycle)
            assert cycle < 100 * len(frames)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for name in feeds:
        sim.add_testbench(feed(name), background=True)
    sim.add_testbench(buffer_of(dut, [payload for _, _, payload in frames], requests, config.width), background=True)
    sim.add_testbench(bench)
    sim.run()
    return ends


@pytest.mark.default_cases(6)
@pytest.mark.parametrize("tracker", [Track, LossTrack, TxTrack])
@pytest.mark.parametrize(
    "streams,record,segment,cycles,transmit",
    [
        (1, 16384, 64, 2.0, 2.0),
        (3, 16384, 64, 4.0, 4.0),
        (1, 42, 1280, 3 + 20, 2 + 2 * 20),
        (1, 11, 1320, 3 + 40, 2 + 2 * 40),
        (2, 11, 1320, 4 + 40, 4 + 2 * 40),
    ],
    ids=["goes on", "in turn", "records of 64 bytes", "of 33 bytes", "of 33 bytes, in turn"],
)
def test_cycles_a_frame(tracker, streams, record, segment, cycles, transmit):
    """Frames of tiny records begin with a header: it is not taken beside a fragment."""
    ends = ends_of(tracker, streams, record, segment, 15 * streams)
    each = (ends[-1] - ends[5]) / (len(ends) - 6)
    assert each == pytest.approx(transmit if tracker is TxTrack else cycles, abs=0.2)
