"""The transmit engine on a device that is none: order, encoding, and what it says to a device that does wrong."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.config import Config
from hw.stream import Queue
from model.commands import Read
from model.contract import Result, TxKind, TxStatus
from model.tx_commands import Sent, TxRequest
from sim.engine import SimulationError, SimulationStalled, make_engine, make_tx_engine
from sim.schedule import TxFrame
from tests.sim.standin import StandIn

FRAMES = [bytes([n] * (60 + 7 * n)) for n in range(12)]


class TxStandIn(wiring.Component):
    """Frames go through a queue; the completion's status is the request's kind, its handle a hash of the other fields.

    A frame is sent if `sent` of its request says so. READ gives the completions so far.
    """

    def __init__(self, config, sent=lambda request: (request.kind == 0) | (request.kind == 1)):
        self.config = config
        self.sent = sent
        super().__init__({
            "tx": In(stream.Signature(tx_layouts.tx_beat(config))),
            "wire": Out(stream.Signature(layouts.beat(config))),
            "completions": Out(stream.Signature(tx_layouts.tx_completion())),
            "commands": In(stream.Signature(layouts.command(config))),
            "responses": Out(stream.Signature(layouts.response())),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        beat, request = self.tx.p, self.tx.p.request
        m.submodules.queue = queue = Queue(layouts.beat(self.config), depth=64)
        m.submodules.done = done = Queue(tx_layouts.tx_completion(), depth=8)
        wiring.connect(m, queue.o, wiring.flipped(self.wire))
        wiring.connect(m, done.o, wiring.flipped(self.completions))
        sent = self.sent(request)
        m.d.comb += [
            self.tx.ready.eq((queue.i.ready | ~sent) & (done.i.ready | ~beat.last)),
            queue.i.valid.eq(self.tx.valid & sent & (done.i.ready | ~beat.last)),
            queue.i.p.data.eq(beat.data),
            queue.i.p.keep.eq(beat.keep),
            queue.i.p.last.eq(beat.last),
            done.i.valid.eq(self.tx.valid & beat.last & (queue.i.ready | ~sent)),
            done.i.p.status.eq(request.kind),
            done.i.p.handle.eq(
                request.handle
                ^ request.adopt
                ^ request.segment_size
                ^ request.record_seq
                ^ request.record_number
                ^ request.record_number[40:]
                ^ request.header
                ^ request.header[80:]
            ),
        ]
        count = Signal(64)
        with m.If(self.completions.valid & self.completions.ready):
            m.d.sync += count.eq(count + 1)
        busy = self.responses.valid
        m.d.comb += self.commands.ready.eq(~busy)
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [busy.eq(1), self.responses.p.value.eq(count)]
        with m.Elif(busy & self.responses.ready):
            m.d.sync += busy.eq(0)
        return m


def hashed(r: TxRequest) -> int:
    header = int.from_bytes(r.header, "little")
    value = r.handle ^ r.adopt ^ r.segment_size ^ r.record_seq ^ r.record_number ^ r.record_number >> 40
    return (value ^ header ^ header >> 80) & 0xFFFFFF


@pytest.fixture(params=[16, 64])
def engine(request):
    with make_tx_engine("pysim", Config(width=request.param), device=TxStandIn) as made:
        yield made


@pytest.mark.parametrize("waits", [{}, {"idle": 0.3, "backpressure": 0.6}])
def test_frames_requests_and_completions(engine, waits):
    requests = [
        TxRequest(
            TxKind(n % 5), 0x010203 * n, 0, bool(n & 1), 0xFEDCBA98 + n, 0xF123456789ABCDEF - n, bytes(range(n, n + 13))
        )
        for n in range(12)
    ]
    result = engine.run([TxFrame(f, r) for f, r in zip(FRAMES, requests, strict=True)], seed=3, **waits)
    assert result.sent == [
        [Sent(f if r.kind < 2 else None, TxStatus(r.kind), hashed(r))] for f, r in zip(FRAMES, requests, strict=True)
    ]
    left = sum(r.kind < 2 for r in requests)
    assert len(result.first_out) == len(result.last_out) == left and len(result.completed) == 12
    assert (result.first_in <= result.last_in).all() and (result.first_out <= result.last_out).all()


def test_commands_are_in_order(engine):
    frame = TxFrame(FRAMES[0], TxRequest())
    result = engine.run([Read(0), frame, frame, Read(0), frame, Read(0)], backpressure=0.5, seed=1)
    assert [r.value for r in result.responses] == [0, 2, 3]
    assert all(r.result is Result.OK for r in result.responses)
    assert engine.command(Read(0)).value == 3
    assert engine.transmit(FRAMES[1], TxRequest()) == [Sent(FRAMES[1], TxStatus.PASSED, 0)]
    engine.reset()
    assert engine.command(Read(0)).value == 0


def test_a_frame_that_should_not_have_left():
    with make_tx_engine("pysim", Config(), device=lambda c: TxStandIn(c, sent=lambda r: 1)) as engine:
        with pytest.raises(SimulationError, match="1 frames left, 0 are said to have"):
            engine.run([TxFrame(FRAMES[0], TxRequest(TxKind.REPLAY))], settle=50)
        with pytest.raises(SimulationError, match="reset the engine first"):
            engine.run([])


def test_a_frame_that_should_have_left():
    with make_tx_engine("pysim", Config(), device=lambda c: TxStandIn(c, sent=lambda r: 0)) as engine:
        with pytest.raises(SimulationStalled, match="frame 0 of 1 that are complete has not left"):
            engine.run([TxFrame(FRAMES[0], TxRequest())], watchdog=50)


def test_a_segment_too_few():
    """The stand-in does not cut."""
    from sim.traffic import Stream
    from tests.model.tx_rig import TxRig

    stream = Stream()
    stream.record(bytes(500))
    frame = TxRig(stream).frame(0, 500)
    with make_tx_engine("pysim", Config(), device=TxStandIn) as engine:
        events = [TxFrame(FRAMES[0], TxRequest()), TxFrame(frame, TxRequest(segment_size=100))]
        with pytest.raises(SimulationStalled, match="frame 1 of 2 is not complete") as stalled:
            engine.run(events, watchdog=50)
        assert stalled.value.frame == 1


def test_another_component_is_refused():
    with pytest.raises(TypeError, match="a transmit device has streams"):
        make_tx_engine("pysim", Config(), device=StandIn)
    with pytest.raises(TypeError, match="a device has streams"):
        make_engine("pysim", Config(), device=TxStandIn)
