"""Both engines on the receive device: equal results in equal cycles."""

from collections.abc import Callable

import pytest

from hw.config import Config
from model.commands import Query
from model.contract import Status
from sim.engine import Engine, make_engine
from sim.engine.compiled import CompiledBench
from sim.traffic import TLS13, Stream


def test_engines_agree_to_the_cycle(device_engine: Callable[..., Engine]):
    compiled = device_engine(16)
    if not isinstance(compiled.bench, CompiledBench):
        pytest.skip("no C++ compiler")
    stream = Stream(TLS13, seed=3)
    wire = stream.record(bytes(300)) + stream.record(b"", content_type=21) + stream.record(bytes(range(200)))
    events = [stream.add(), *stream.frames(wire, mss=190), Query(0)]
    with make_engine("pysim", Config(width=16)) as pysim:
        for idle, backpressure in ((0.0, 0.0), (0.3, 0.5)):
            a, b = (e.run(events, idle, backpressure, seed=2) for e in (pysim, compiled))
            assert a.deliveries == b.deliveries and a.responses == b.responses and a.cycles == b.cycles
            assert (a.first_out == b.first_out).all() and (a.command_out == b.command_out).all()
            assert {d.descriptor.status for d in a.deliveries} == {Status.DECRYPTED}
            pysim.reset()
            compiled.reset()
