"""hw.tx_track against the golden transmit device: every kind of request, right and wrong ones, frame by frame."""

import random

import pytest
from amaranth.lib import data

from hw import layouts, tx_layouts
from hw.config import Config
from hw.tx_track import TxTrack
from model.contract import TxKind, TxStatus
from model.frame import parse
from model.tx_commands import TxRequest
from sim.traffic import RST, TLS12, TLS13, Stream
from tests.hw.test_track import buffer_of
from tests.hw.testbench import run_streams
from tests.model.tx_rig import TxRig


def requests_of(rng: random.Random, rig: TxRig, count: int) -> list[tuple[bytes, TxRequest]]:
    """The stream in order, with retransmissions by every mechanism between, and requests that must be refused."""
    out: list[tuple[bytes, TxRequest]] = []
    sent, size = 0, len(rig.plain)

    def add(kind, start, end, **options):
        out.append((rig.frame(start, end), rig.request(kind, rig.record_of(start), **options)))

    while sent < size and len(out) < count:
        x = rng.random()
        if x < 0.5 or sent < 40:
            end = min(size, sent + rng.choice([1, 3, 16, 60, 300, 1448]))
            add(TxKind.STREAM, sent, end)
            sent = end
        else:
            start = rng.randrange(sent)
            end = min(sent, start + rng.choice([1, 5, 20, 200, 1448]))
            begin = rig.starts[rig.record_of(start)]
            if x < 0.65:
                if start > begin:
                    add(TxKind.REPLAY, begin, start)
                    add(TxKind.RETRANSMIT, start, end)
            elif x < 0.85:
                add(TxKind.PREFIX, start, end, adopt=rng.random() < 0.1 and end == sent)
            elif x < 0.9:
                add(rng.choice([TxKind.STREAM, TxKind.RETRANSMIT]), start, end)
            elif x < 0.92:
                add(TxKind.STREAM, sent, min(size, sent + 9), handle=rng.choice([rig.handle + (1 << 16), 0x7000]))
            elif x < 0.94:
                add(TxKind.PREFIX, start, end, header=b"\x17\x03\x04\x00\x40" + bytes(8))
            elif x < 0.96:
                add(TxKind.PREFIX, start, end, record_seq=rig.at(start - 20000))
            elif x < 0.98:
                frame = rig.frame(start, end)
                out.append((frame[: len(frame) - rng.choice([0, 1])], rig.request(TxKind.PASS)))
            else:
                add(TxKind.STREAM, sent, sent)  # no payload
                out.append((rig.frame(sent, min(size, sent + 5), flags=RST), rig.request(TxKind.STREAM)))
    return out


@pytest.mark.default_cases(4)
@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("sizes", [(0, 1, 13, 60), (300, 900), (9000,)])
def test_tx_track_is_the_golden_tracker(width, version, sizes):
    rng = random.Random(f"{width}/{version}/{sizes}")
    config = Config(width=width, connections=8)
    stream = Stream(version, seed=rng.randrange(1000), start_seq=2**32 - 3000)
    for _ in range(40 if max(sizes) < 100 else 8):
        stream.record(bytes(rng.choice(sizes)))
    rig = TxRig(stream)
    frames = requests_of(rng, rig, 160)
    frames = [(f[: len(f) - 1] if k % 11 == 7 else f, r) for k, (f, r) in enumerate(frames)]  # not whole
    assert {TxStatus.ENCRYPTED, TxStatus.DROPPED_MALFORMED} <= set(judge(config, rig, frames))


def test_tags_of_the_ring_and_older_ones():
    """The last 10 bytes of each of 12 records again: the device has kept the tags of 8."""
    stream = Stream(TLS13, seed=1)
    for _ in range(12):
        stream.record(bytes(40))
    rig = TxRig(stream)
    ends = [*rig.starts[1:], len(rig.plain)]
    records = list(zip(rig.starts, ends, strict=True))
    frames = [(rig.frame(start, end), rig.request(TxKind.STREAM)) for start, end in records]
    frames += [(rig.frame(end - 10, end), rig.request(TxKind.PREFIX, k)) for k, (_, end) in enumerate(records)]
    status = judge(Config(width=16, connections=8), rig, frames)
    assert status == [TxStatus.ENCRYPTED] * 12 + [TxStatus.DROPPED_TAG] * 4 + [TxStatus.ENCRYPTED] * 8


def judge(config, rig, frames) -> list[TxStatus]:
    """The tracker's work on the frames is the golden device's; the status of each."""
    width, stream = config.width, rig.stream
    version = stream.version
    want = [sent.status for frame, request in frames for sent in rig.device.transmit(frame, request)]

    headers, requests, checksums, payloads, base = [], [], [], [], 0
    for number, (frame, request) in enumerate(frames):
        packet = parse(frame)
        assert packet is not None
        headers.append(
            {
                "base": base % (1 << config.pointer_bits),
                "packet": number % 64,
                "parsed": 1,
                "candidate": int(packet.candidate),
                "seq": packet.seq,
                "payload_offset": packet.payload,
                "payload_length": packet.length,
            }
        )
        base += -(-len(frame) // width)
        requests.append(
            {
                "kind": request.kind,
                "handle": request.handle,
                "adopt": int(request.adopt),
                "record_seq": request.record_seq,
                "record_number": request.record_number,
                "header": int.from_bytes(request.header, "little"),
            }
        )
        checksums.append({"whole": int(packet.end <= len(frame)), "sum": number})
        payloads.append(frame[packet.payload : packet.end])

    dut = TxTrack(config)
    index = rig.handle & 0xFFFF
    init = {
        "kind": layouts.TrackerOperation.INIT,
        "index": index,
        "generation": rig.handle >> 16,
        "tls13": int(version == TLS13),
        "seq": stream.start_seq,
        "record_number": stream.record_number,
    }
    items: list[int] = []

    async def query_at_the_end(ctx):
        ends = 0
        while ends < len(frames):
            _, _, go, item = await ctx.tick().sample(dut.o.valid & dut.o.ready, dut.o.payload)
            if go:
                items.append(item.as_bits())
                ends += item.end
        ctx.set(dut.operations.payload, {"kind": layouts.TrackerOperation.QUERY, "index": index})
        ctx.set(dut.operations.valid, 1)

    answers, _ = run_streams(
        dut,
        [(dut.operations, [init]), (dut.i, headers), (dut.requests, requests), (dut.checksum, checksums)],
        [(dut.answers, 2), (dut.o, len(frames))],
        idle=0.2 if version == TLS13 else 0.0,
        backpressure=0.2,
        seed=width,
        processes=[buffer_of(dut, payloads, headers, width), query_at_the_end],
    )
    work = [data.Const(tx_layouts.tx_work(config), bits) for bits in items]
    ends = [w for w in work if w.end]
    assert [TxStatus(w.tx.status) for w in ends] == want
    for w, (_, request), number in zip(ends, frames, range(len(frames)), strict=True):
        status = TxStatus(w.tx.status)
        assert w.tx.send == (status in (TxStatus.PASSED, TxStatus.ENCRYPTED))
        assert w.tx.seal == (status is TxStatus.ENCRYPTED)
        assert w.tx.handle == (0 if request.kind is TxKind.PASS else request.handle)
        assert w.tx.sum == number
    state = data.Const(layouts.tracker_answer(), answers[1]).state
    expected = rig.state
    for field in ("expected_seq", "seen_seq", "record_number", "remaining", "header_count"):
        assert getattr(state, field) == getattr(expected, field), field
    assert bool(state.skipping) == expected.skipping
    return want
