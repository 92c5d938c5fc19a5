"""The adapter to Corundum's application block, room by room and put together around stand-ins for the devices."""

import random

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

import hw.corundum.top
from driver.corundum import tx_header
from hw import layouts, tx_layouts
from hw.config import PRESETS, Config
from hw.corundum.flow import Flow
from hw.corundum.layouts import Taps, rx_side, tap_beat, transmitted, tx_side
from hw.corundum.rx import CorundumRx
from hw.corundum.sideband import Sideband
from hw.corundum.top import CorundumTop
from hw.corundum.tx_header import TxHeader
from hw.corundum.tx_return import TxReturn
from hw.stream import Queue
from hw.tx_device import TxDevice
from model.commands import Descriptor
from model.contract import Checksum, Opcode, Status, TxKind, TxStatus
from model.corundum import flow_of, with_rx_header, without_tx_header
from model.metadata import TX_METADATA_BYTES, TxHeaders
from model.registers import (
    ADAPTER_CONTROL,
    ADAPTER_HEADERS,
    ADAPTER_LAST_DROP,
    ADAPTER_MALFORMED,
    BLOCK_BYTES,
    DOORBELL,
    READ_WINDOW,
    STATUS,
    Answer,
)
from model.tx_commands import TxRequest
from sim.engine.encode import request_fields
from tests.hw.axi import AxiLiteMaster
from tests.hw.testbench import run_streams
from tests.sim.standin import StandIn

TAPS = Taps(tx_id=5, tx_dest=3, tx_user=9, rx_id=2, rx_dest=4, rx_user=20)
WAITS = [
    (0.0, 0.0),
    pytest.param((0.5, 0.0), marks=pytest.mark.slow),
    pytest.param((0.0, 0.5), marks=pytest.mark.slow),
    (0.4, 0.4),
]
WIDTHS = [16, pytest.param(32, marks=pytest.mark.slow), 64]


def pack(layout, fields):
    word = 0
    for name, value in fields.items():
        field = layout[name]
        value = pack(field.shape, value) if isinstance(value, dict) else int(value)
        assert value >> field.width == 0, name
        word |= value << field.offset
    return word


def unpack(layout, word):
    return {
        name: unpack(field.shape, part) if hasattr(field.shape, "members") else part
        for name, field in layout
        for part in [word >> field.offset & (1 << field.width) - 1]
    }


def to_beats(layout, width, frame, **beside):
    for at in range(0, len(frame), width):
        part = frame[at : at + width]
        keep, last = (1 << len(part)) - 1, at + width >= len(frame)
        word = pack(layout, {"data": int.from_bytes(part, "little"), "keep": keep, "last": last, **beside})
        yield layout.from_bits(word)


def to_frames(layout, words):
    """Frames and what goes with them, the same in all beats of a frame."""
    frames, frame, beside = [], b"", None
    for word in words:
        fields = unpack(layout, word)
        keep, last = fields.pop("keep"), fields.pop("last")
        size = keep.bit_length()
        assert keep and keep == (1 << size) - 1 and (last or keep + 1 == 1 << layout["keep"].width)
        frame += (fields.pop("data") & (1 << 8 * size) - 1).to_bytes(size, "little")
        assert beside in (None, fields)
        beside = fields
        if last:
            frames.append((frame, fields))
            frame, beside = b"", None
    assert not frame, "it ends within a frame"
    return frames


def random_side(rng, layout):
    return {name: rng.getrandbits(field.width) for name, field in layout}


def random_descriptor(rng):
    status, place = rng.choice(list(Status)), rng.getrandbits(32) | 1
    overload = status is Status.OVERLOAD
    return Descriptor(
        status,
        rng.choice(list(Checksum)),
        bool(rng.getrandbits(1)),
        rng.getrandbits(24),
        None if overload else rng.choice([None, place]),
        bool(rng.getrandbits(1)),
        place if overload else None,
    )


def steered(frame, side):
    """The sideband of a received frame as it goes back."""
    return side | {"dest": side["dest"] ^ flow_of(frame) & (1 << rx_side(TAPS)["dest"].width - 1) - 1}


def descriptor_fields(d):
    names = ("status", "checksum", "matched", "handle", "proven")
    place = d.request or d.given_up_at or 0
    return {n: getattr(d, n) for n in names} | {"request": d.request is not None, "request_seq": place}


# --- receive -----------------------------------------------------------------------------------------
def run_rx(config, frames, waits, *, headers):
    """`frames` holds (frame, side, descriptor); what reached the device, and the tap."""
    dut = CorundumRx(config, TAPS)
    tap, host = tap_beat(config, rx_side(TAPS)), layouts.output_beat(config)
    width = config.width
    into = [b for frame, side, _ in frames for b in to_beats(tap, width, frame, side=side)]
    back = [b for frame, _, d in frames for b in to_beats(host, width, frame, descriptor=descriptor_fields(d))]
    out = sum(-(-(len(frame) + 16 * headers) // width) for frame, _, _ in frames)

    async def control(ctx):
        ctx.set(dut.headers, headers)

    idle, backpressure = waits
    device, host_side = run_streams(
        dut,
        [(dut.tap, into), (dut.host, back)],
        [(dut.rx, len(into)), (dut.o, out)],
        idle=idle,
        backpressure=backpressure,
        processes=[control],
        extra_cycles=20,
    )
    return to_frames(layouts.beat(config), device), to_frames(tap, host_side)


def rx_frames(rng, lengths):
    return [(rng.randbytes(n), random_side(rng, rx_side(TAPS)), random_descriptor(rng)) for n in lengths]


@pytest.mark.parametrize("waits", WAITS)
@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_received_frames_of_every_length(width, headers, waits):
    rng = random.Random(f"{width} {headers} {waits}")
    lengths = [*range(1, width + 34), *(rng.randrange(1, 5 * width) for _ in range(10))]
    frames = rx_frames(rng, lengths)
    frames += [(frame, *beside) for frame, (_, *beside) in zip(flow_frames(rng), frames, strict=False)]
    device, host = run_rx(Config(width=width), frames, waits, headers=headers)
    assert device == [(frame, {}) for frame, _, _ in frames]
    assert host == [(with_rx_header(f, d) if headers else f, {"side": steered(f, side)}) for f, side, d in frames]


def test_headers_are_switched_between_frames():
    rng = random.Random(5)
    frames = rx_frames(rng, [rng.randrange(1, 200) for _ in range(60)])

    def toggling(dut):
        async def run(ctx):
            on = 0
            while True:
                ctx.set(dut.headers, on)
                await ctx.tick()
                on ^= rng.random() < 0.1

        return run

    host = run_rx_counted(frames, toggling)
    with_header = [with_rx_header(f, d) == got for (f, _, d), (got, _) in zip(frames, host, strict=True)]
    assert all(w or got == f for w, (f, _, _), (got, _) in zip(with_header, frames, host, strict=True))
    assert 5 < sum(with_header) < 55


def run_rx_counted(frames, toggling):
    """As run_rx, for a number of beats that nobody knows before: the least, and time for the rest."""
    config = Config(width=16)
    dut = CorundumRx(config, TAPS)
    tap, host = tap_beat(config, rx_side(TAPS)), layouts.output_beat(config)
    into = [b for frame, side, _ in frames for b in to_beats(tap, 16, frame, side=side)]
    back = [b for frame, _, d in frames for b in to_beats(host, 16, frame, descriptor=descriptor_fields(d))]
    least = sum(-(-len(frame) // 16) for frame, _, _ in frames)
    _, out = run_streams(
        dut,
        [(dut.tap, into), (dut.host, back)],
        [(dut.rx, len(into)), (dut.o, least)],
        backpressure=0.5,
        processes=[toggling(dut)],
        extra_cycles=300,
    )
    return to_frames(tap, out)


def test_the_sideband_is_that_of_the_last_beat_or_of_the_longest_frame():
    config = Config(width=64)
    dut = Sideband(config, 8, depth=4)
    rng = random.Random(3)
    lengths = [1, 2, 143, 144, 145, *[1] * 12, 400, 1, 144, 3]
    beats = [(rng.getrandbits(8), k == n - 1, k) for n in lengths for k in range(n)]
    expected = []
    for n in lengths:
        frame, beats_left = beats[:n], beats[n:]
        expected.append(frame[min(n, 144) - 1][0])
        beats = beats_left + frame
    got = []

    async def source(ctx):
        for side, last, _ in beats:
            ctx.set(dut.side, side)
            ctx.set(dut.last, last)
            while not ctx.get(dut.ready) or rng.random() < 0.1:
                await ctx.tick()
            ctx.set(dut.go, 1)
            await ctx.tick()
            ctx.set(dut.go, 0)
        await ctx.tick().repeat(200)

    async def sink(ctx):
        while True:
            take = rng.random() < 0.05
            ctx.set(dut.o.ready, take)
            _, _, valid, side = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and take:
                got.append(side)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(source)
    sim.add_testbench(sink, background=True)
    sim.run()
    assert got == expected


def flow_frames(rng):
    """IPv4 and IPv6 as Corundum's hash knows them, and what is nearly so."""
    v4 = bytearray(rng.randbytes(70))
    v4[12:15] = b"\x08\x00\x45"
    v4[20:22] = b"\x40\x00"
    v4[23] = 6
    v6 = bytearray(rng.randbytes(70))
    v6[12:14] = b"\x86\xdd"
    v6[20] = 17
    for frame, changes in (
        (v4, [{}, {23: 17}, {23: 1}, {20: 0x20}, {20: 0x1F}, {21: 1}, {14: 0x46}, {12: 9}, {13: 1}]),
        (v6, [{}, {20: 6}, {20: 58}, {12: 0}, {13: 0}]),
    ):
        for change in changes:
            changed = bytearray(frame)
            for place, value in change.items():
                changed[place] = value
            yield bytes(changed)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_flow_of_a_frame(width):
    rng = random.Random(width)
    dut = Flow(Config(width=width))
    whole = list(flow_frames(rng))
    frames = [*whole, *(whole[k][:n] for k in (0, 9) for n in range(1, 70)), *(f + rng.randbytes(99) for f in whole)]
    got = []

    async def source(ctx):
        for frame in frames:
            for at in range(0, len(frame), width):
                part = frame[at : at + width]
                ctx.set(dut.data, int.from_bytes(part + rng.randbytes(width - len(part)), "little"))
                ctx.set(dut.keep, (1 << len(part)) - 1)
                ctx.set(dut.last, at + width >= len(frame))
                while rng.random() < 0.3:
                    await ctx.tick()
                if at + width >= len(frame):
                    got.append(ctx.get(dut.value))
                ctx.set(dut.go, 1)
                await ctx.tick()
                ctx.set(dut.go, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(source)
    sim.run()
    assert got == [flow_of(f) for f in frames]


def test_both_directions_of_a_flow_are_one():
    packet = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=443, dport=50001)
    back = Ether() / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(sport=50001, dport=443)
    other = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=443, dport=50002)
    assert flow_of(bytes(packet)) == flow_of(bytes(back)) == 3 ^ 0x01 ^ 0xBB ^ 0xC3 ^ 0x51 != flow_of(bytes(other))
    packet = Ether() / IPv6(src="fd77::1", dst="fd77::2") / UDP(sport=53, dport=50001)
    assert flow_of(bytes(packet)) == 3 ^ 53 ^ 0xC3 ^ 0x51


# --- transmit, in ------------------------------------------------------------------------------------
def run_tx_header(config, frames, mode, waits=(0.0, 0.0)):
    """`frames` holds (frame, side); frames with requests for the device, their sides, and the tags of those dropped."""
    dut = TxHeader(config, TAPS)
    tap = tap_beat(config, tx_side(TAPS))
    into = [b for frame, side in frames for b in to_beats(tap, config.width, frame, side=side)]
    golden = [without_tx_header(frame, mode) for frame, _ in frames]
    beats = sum(-(-len(got[0]) // config.width) for got in golden if got)
    passed = sum(got is not None for got in golden)

    async def control(ctx):
        ctx.set(dut.mode, mode)

    idle, backpressure = waits
    device, sides, dropped = run_streams(
        dut,
        [(dut.i, into)],
        [(dut.o, beats), (dut.sides, passed), (dut.dropped, len(frames) - passed)],
        idle=idle,
        backpressure=backpressure,
        processes=[control],
        extra_cycles=20,
    )
    device = [(frame, beside["request"]) for frame, beside in to_frames(tx_layouts.tx_beat(config), device)]
    return device, [unpack(tx_side(TAPS), word) for word in sides], dropped


def check_tx_header(config, frames, mode, waits=(0.0, 0.0)):
    device, sides, dropped = run_tx_header(config, frames, mode, waits)
    golden = [(without_tx_header(frame, mode), side) for frame, side in frames]
    assert device == [(got[0], request_fields(got[1])) for got, _ in golden if got]
    assert sides == [side for got, side in golden if got]
    assert dropped == [side["user"] >> 1 for got, side in golden if not got]
    return device


def random_request(rng, kind=None):
    kind = rng.choice(list(TxKind)) if kind is None else kind
    if kind is TxKind.PASS:
        return TxRequest()
    number = rng.getrandbits(64)
    return TxRequest(
        kind, rng.getrandbits(24), 0, bool(rng.getrandbits(1)), rng.getrandbits(32), number, rng.randbytes(13)
    )


def mangled(rng, frame):
    """A frame with header, or what was one."""
    way = rng.randrange(8)
    if way == 0:
        return frame[: rng.randrange(1, 66)]
    if way == 1:
        bit = rng.randrange(8 * TX_METADATA_BYTES)
        return (int.from_bytes(frame, "little") ^ 1 << bit).to_bytes(len(frame), "little")
    if way == 2:
        return frame[64:]
    return frame


@pytest.mark.parametrize("waits", WAITS)
@pytest.mark.parametrize("mode", TxHeaders)
@pytest.mark.parametrize("width", WIDTHS)
def test_headers_of_frames_to_send(width, mode, waits):
    rng = random.Random(f"{width} {mode} {waits}")
    frames = []
    for n in [*range(1, width + 2), *(rng.randrange(1, 300) for _ in range(10))]:
        frame = tx_header(random_request(rng)) + rng.randbytes(n)
        frames.append((mangled(rng, frame), random_side(rng, tx_side(TAPS))))
    check_tx_header(Config(width=width), frames, mode, waits)


@pytest.mark.parametrize("mode", [TxHeaders.MARKED, TxHeaders.ALWAYS])
@pytest.mark.parametrize("width", WIDTHS)
def test_frames_that_end_within_their_header(width, mode):
    rng = random.Random(width)
    whole = tx_header(random_request(rng, TxKind.STREAM)) + rng.randbytes(3)
    frames = [(whole[:n], random_side(rng, tx_side(TAPS))) for n in range(1, len(whole) + 1)]
    device = check_tx_header(Config(width=width), frames, mode)
    unmarked = 13 if mode is TxHeaders.MARKED else 0
    assert [frame for frame, _ in device] == [whole[:n] for n in range(1, unmarked + 1)] + [
        whole[64:65],
        whole[64:66],
        whole[64:],
    ]


@pytest.mark.parametrize("mode", [TxHeaders.MARKED, TxHeaders.ALWAYS])
@pytest.mark.parametrize("kind", [TxKind.STREAM, pytest.param(TxKind.PASS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_bit_of_a_header_flipped(width, kind, mode):
    """No wrong bit makes a frame leave that is not to be encrypted, but for the mark of a frame with a mark."""
    rng = random.Random(width)
    request = TxRequest(kind, 0x123456 if kind else 0)
    whole = int.from_bytes(tx_header(request) + b"secret", "little")
    frames = [(whole ^ 1 << bit).to_bytes(70, "little") for bit in range(8 * TX_METADATA_BYTES)]
    device = check_tx_header(Config(width=width), [(f, random_side(rng, tx_side(TAPS))) for f in frames], mode)
    plain = [frame for frame, request in device if request["kind"] == TxKind.PASS]
    in_mark = frames[96:112] if mode is TxHeaders.MARKED else []
    assert plain == in_mark
    if kind is TxKind.PASS:  # of a header that asks for nothing, no bit can be flipped unseen but the kind's
        assert sorted(r["kind"] for _, r in device if r["kind"]) == [1, 2, 4]


@pytest.mark.parametrize("width", WIDTHS)
def test_what_only_looks_like_a_header(width):
    """Bytes behind the end of a frame, and a header that is not at the front."""
    config = Config(width=width)
    rng = random.Random(width)
    side = random_side(rng, tx_side(TAPS))
    tap = tap_beat(config, tx_side(TAPS))
    header = tx_header(TxRequest(TxKind.STREAM, 5))

    short = next(to_beats(tap, width, header[:13], side=side)).as_bits()
    short |= int.from_bytes(header[:16], "little") >> 104 << 104
    dut = TxHeader(config, TAPS)

    async def control(ctx):
        ctx.set(dut.mode, TxHeaders.MARKED)

    (passed,) = run_streams(dut, [(dut.i, [tap.from_bits(short)])], [(dut.o, 1)], processes=[control])
    assert unpack(tx_layouts.tx_beat(config), passed[0])["request"]["kind"] == TxKind.PASS

    bad = bytes([9]) + header[1:]
    assert check_tx_header(config, [(bad + header + rng.randbytes(99), side)] * 2, TxHeaders.MARKED) == []
    again = check_tx_header(config, [(header + header + rng.randbytes(99), side)], TxHeaders.MARKED)
    assert again[0][0].startswith(header)


def test_the_mode_counts_as_it_is_in_the_first_beat():
    rng = random.Random(7)
    config = Config(width=16)
    dut = TxHeader(config, TAPS)
    frame = tx_header(TxRequest(TxKind.STREAM, 9)) + rng.randbytes(100)
    into = list(to_beats(tap_beat(config, tx_side(TAPS)), 16, frame, side=random_side(rng, tx_side(TAPS))))
    got = []

    async def scenario(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.mode, TxHeaders.ALWAYS)
        for word in into:
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            _, _, valid, beat = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            ctx.set(dut.mode, TxHeaders.OFF)
            if valid:
                got.append(beat.as_bits())

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(scenario)
    sim.run()
    ((left, beside),) = to_frames(tx_layouts.tx_beat(config), got)
    assert left == frame[64:] and beside["request"]["kind"] == TxKind.STREAM


def test_the_mode_changes_while_beats_wait():
    """Then too a frame passes or is dropped as a whole, and what is offered stays (which the bench checks)."""
    rng = random.Random(8)
    config = Config(width=16)
    dut = TxHeader(config, TAPS)
    frames = [rng.randbytes(rng.randrange(1, 60)) for _ in range(150)]
    tap = tap_beat(config, tx_side(TAPS))

    async def toggling(ctx):
        while True:
            ctx.set(dut.mode, rng.choice([TxHeaders.OFF, TxHeaders.ALWAYS]))
            await ctx.tick()

    into = [b for tag, f in enumerate(frames) for b in to_beats(tap, 16, f, side={"user": tag << 1})]
    device, sides, dropped = run_streams(
        dut,
        [(dut.i, into)],
        [(dut.o, 0), (dut.sides, 0), (dut.dropped, 0)],
        backpressure=0.7,
        processes=[toggling],
        extra_cycles=3000,
    )
    passed = [unpack(tx_side(TAPS), word)["user"] >> 1 for word in sides]
    assert sorted(passed + dropped) == list(range(len(frames))) and len(passed) > 30 < len(dropped)
    assert [f for f, _ in to_frames(tx_layouts.tx_beat(config), device)] == [frames[tag] for tag in passed]


# --- transmit, around ----------------------------------------------------------------------------------
class TxLoopDevice(wiring.Component):
    """Ports of TxDevice: a frame leaves if `status` of its request, the handle's low bits, says so.

    Completions and frames come as from hw.finish: a completion is there one cycle after the last beat has gone by,
    frames leave through a register. `late`: a completion may come behind its frame's last beat, but no later frame
    begins before it is there.
    """

    late = False

    def __init__(self, config):
        self.config = config
        super().__init__(TxDevice.interface(config))

    def elaborate(self, platform):
        m = Module()
        m.submodules.commands = commands = StandIn(self.config)
        connect(m, flipped(self.commands), commands.commands)
        connect(m, commands.responses, flipped(self.responses))
        m.submodules.beats = beats = Queue(tx_layouts.tx_beat(self.config), depth=8)
        m.submodules.done = done = Queue(tx_layouts.tx_completion(), depth=4)
        m.submodules.offered = offered = Queue(tx_layouts.tx_completion(), depth=4)
        connect(m, flipped(self.tx), beats.i)
        connect(m, offered.o, flipped(self.completions))
        if self.late:
            wait = Signal(2)
            m.d.sync += wait.eq(wait + 1)
            m.d.comb += [offered.i.p.eq(done.o.p), offered.i.valid.eq(done.o.valid & (wait == 0))]
            m.d.comb += done.o.ready.eq(offered.i.ready & (wait == 0))
        else:
            done = offered
        first = Signal(init=1)
        with m.If(beats.o.valid & beats.o.ready):
            m.d.sync += first.eq(beats.o.p.last)
        beat, request = beats.o.p, beats.o.p.request
        status = Mux(request.kind == TxKind.PASS, TxStatus.PASSED, request.handle[:3])
        leaves = status <= TxStatus.ENCRYPTED
        room = self.wire.ready | ~self.wire.valid
        go = Signal()
        m.d.comb += [
            go.eq(beats.o.valid & done.i.ready & (room | ~leaves) & (~first | (done.level == 0) if self.late else 1)),
            beats.o.ready.eq(go),
            done.i.valid.eq(go & beat.last),
            done.i.p.status.eq(status),
            done.i.p.handle.eq(request.handle),
        ]
        with m.If(room):
            m.d.sync += self.wire.valid.eq(go & leaves)
        with m.If(go & leaves):
            m.d.sync += [getattr(self.wire.p, name).eq(getattr(beat, name)) for name in ("data", "keep", "last")]
        return m


class TxLoop(wiring.Component):
    """The transmit half of the adapter around TxLoopDevice."""

    def __init__(self, config):
        self.config = config
        side = tx_side(TAPS)
        super().__init__({
            "tap": In(stream.Signature(tap_beat(config, side))),
            "mac": In(stream.Signature(transmitted(TAPS))),
            "o": Out(stream.Signature(tap_beat(config, side))),
            "cpl": Out(stream.Signature(transmitted(TAPS))),
            "failures": Out(32),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.header = header = TxHeader(self.config, TAPS)
        m.submodules.device = device = TxLoopDevice(self.config)
        m.submodules.back = back = TxReturn(self.config, TAPS)
        connect(m, flipped(self.tap), header.i)
        connect(m, header.o, device.tx)
        connect(m, header.sides, back.sides)
        connect(m, header.dropped, back.dropped)
        connect(m, device.wire, back.i)
        connect(m, device.completions, back.completions)
        connect(m, flipped(self.mac), back.mac)
        connect(m, back.o, flipped(self.o))
        connect(m, back.cpl, flipped(self.cpl))
        m.d.comb += header.mode.eq(TxHeaders.MARKED)
        m.d.sync += self.failures.eq(self.failures + back.failed)
        return m


@pytest.mark.parametrize("waits", WAITS)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("width", [16, pytest.param(64, marks=pytest.mark.slow)])
def test_every_tag_comes_back_once(width, late, waits, monkeypatch):
    rng = random.Random(f"{width} {waits}")
    monkeypatch.setattr(TxLoopDevice, "late", late)
    config = Config(width=width)
    dut = TxLoop(config)
    tap = tap_beat(config, tx_side(TAPS))
    frames, left, tags, failures = [], [], [], 0
    for tag in range(100):
        side = random_side(rng, tx_side(TAPS)) | {"user": tag << 1 | rng.getrandbits(1)}
        status = rng.choice([0, 1, 1, 2, 3, 7])
        body = rng.randbytes(rng.choice([1, width, rng.randrange(1, 150)]))
        way = rng.randrange(4)
        if way == 0:
            frame = body[:12]
        else:
            frame = tx_header(TxRequest(TxKind.STREAM, rng.getrandbits(21) << 3 | status)) + body
            frame = frame[: rng.randrange(14, 65)] if way == 1 else frame
        frames.append((frame, side))
        if way == 0 or (way > 1 and status <= 1):
            left.append((frame[64 * bool(way) :], {"side": side}))
        else:
            tags.append(tag)
            failures += way > 1 and status > 2
    completion = transmitted(TAPS)
    mac = [pack(completion, {"ts": rng.getrandbits(96), "tag": 128 | k & 127}) for k in range(300)]
    counted = []

    async def count(ctx):
        async for _, _, failed in ctx.tick().sample(dut.failures):
            counted[:] = [failed]

    idle, backpressure = waits
    out, completed = run_streams(
        dut,
        [
            (dut.tap, [b for f, side in frames for b in to_beats(tap, width, f, side=side)]),
            (dut.mac, [completion.from_bits(word) for word in mac]),
        ],
        [(dut.o, sum(-(-len(f) // width) for f, _ in left)), (dut.cpl, len(tags) + len(mac))],
        idle=idle,
        backpressure=backpressure,
        processes=[count],
        extra_cycles=20,
    )
    assert to_frames(tap, out) == left
    own = [unpack(completion, word) for word in completed if word not in mac]
    assert [word for word in completed if word in mac] == mac
    assert sorted(c["tag"] for c in own) == tags and {c["ts"] for c in own} == {0}
    assert counted == [failures]


# --- the top -----------------------------------------------------------------------------------------
@pytest.fixture
def top(monkeypatch):
    monkeypatch.setattr(hw.corundum.top, "RxDevice", StandIn)
    monkeypatch.setattr(hw.corundum.top, "TxDevice", TxLoopDevice)
    return CorundumTop(PRESETS["tiny"], TAPS)


def test_registers(top):
    master = AxiLiteMaster(top.s_axil_app_ctrl, 1)
    adapter = 2 * BLOCK_BYTES

    async def frame(ctx, data, tag):
        beats = list(to_beats(tap_beat(top.config, tx_side(TAPS)), 16, data, side={"user": tag << 1}))
        axi = top.s_axis_if_tx
        for word in beats:
            fields = unpack(tap_beat(top.config, tx_side(TAPS)), word.as_bits())
            for name in ("data", "keep", "last"):
                ctx.set(getattr(axi, f"t{name}"), fields[name])
            ctx.set(axi.tuser, fields["side"]["user"])
            ctx.set(axi.tvalid, 1)
            await ctx.tick().until(axi.tready)
            ctx.set(axi.tvalid, 0)

    async def scenario(ctx):
        for base, direction, distance in ((0, 1, BLOCK_BYTES), (BLOCK_BYTES, 2, BLOCK_BYTES), (adapter, 3, 0)):
            assert await master.read(ctx, base) == (0x6B544C53, Answer.OKAY)
            assert await master.read(ctx, base + 0x00C) == (direction, Answer.OKAY)
            assert await master.read(ctx, base + 0x010) == (distance, Answer.OKAY)
        for base in (0, BLOCK_BYTES):
            assert await master.read(ctx, base + READ_WINDOW + 8 * 7) == (21, Answer.OKAY)
            assert await master.write(ctx, base + DOORBELL.offset, Opcode.QUERY) is Answer.OKAY
            await ctx.tick().repeat(20)
            assert await master.read(ctx, base + STATUS.offset) == (2, Answer.OKAY)
        control = adapter + ADAPTER_CONTROL.offset
        assert await master.read(ctx, control) == (0, Answer.OKAY)
        assert await master.write(ctx, control, 0xFFFFFFEF, strobe=0xE) is Answer.OKAY
        assert await master.read(ctx, control) == (0, Answer.OKAY)
        assert await master.write(ctx, control, 0xFFFFFFEF) is Answer.OKAY
        assert await master.read(ctx, control) == (0x21, Answer.OKAY)
        assert await master.read(ctx, adapter + ADAPTER_HEADERS.offset) == (0x401001, Answer.OKAY)
        for place in (0, 0x00C, ADAPTER_HEADERS.offset, ADAPTER_MALFORMED.offset, ADAPTER_LAST_DROP.offset):
            assert await master.write(ctx, adapter + place, 1) is Answer.SLVERR
        for place in (adapter + 0x040, adapter + 0x110, adapter + 0x800, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 0x100):
            assert await master.write(ctx, place, 1) is Answer.DECERR
            assert await master.read(ctx, place) == (0, Answer.DECERR)

        ctx.set(top.m_axis_if_tx_cpl.ready, 1)
        assert await master.read(ctx, adapter + ADAPTER_LAST_DROP.offset) == (0, Answer.OKAY)
        await frame(ctx, bytes(80), 1)
        await frame(ctx, bytes(80), 2)
        await frame(ctx, tx_header(TxRequest(TxKind.STREAM, 0xABCDE5)) + bytes(80), 3)
        await ctx.tick().repeat(20)
        assert await master.read(ctx, adapter + ADAPTER_MALFORMED.offset) == (2, Answer.OKAY)
        assert await master.read(ctx, adapter + ADAPTER_LAST_DROP.offset) == (1 << 31 | 0xABCDE55, Answer.OKAY)

    sim = Simulator(top)
    sim.add_clock(1e-8)
    sim.add_testbench(scenario)
    sim.run()
