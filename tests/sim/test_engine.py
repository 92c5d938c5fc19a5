"""Both engines on the stand-in device: what goes in comes out, in the same cycles."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hw.config import Config
from model.commands import Add, Delete, Query, Read, Resync, Seed, Tuple4
from model.contract import Checksum, Result, Status
from sim.engine import Engine, Event, SimulationError, SimulationStalled, Waveform, make_engine
from sim.engine.toolchain import can_compile
from tests.sim.standin import SILENT, StandIn

WAITS = [(0.0, 0.0), (0.3, 0.0), (0.0, 0.6), (0.4, 0.4)]

needs_compiler = pytest.mark.skipif(not can_compile(), reason="no C++ compiler")


def engine(name: str, width: int) -> Engine:
    here = Path(__file__).parent
    sources = [here / "standin.py", here.parents[1] / "hw" / "layouts.py", here.parents[1] / "hw" / "stream.py"]
    return make_engine(name, Config(width=width, connections=8), device=StandIn, sources=sources)


@pytest.fixture(params=["pysim", pytest.param("compiled", marks=needs_compiler)])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def device(name: str) -> Iterator[Engine]:
    with engine(name, 16) as e:
        yield e


def frames(lengths: list[int], seed: int = 1) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(n) for n in lengths]


def traffic(seed: int) -> list[Event]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(1, 150)) if rng.random() < 0.7 else Read(0) for _ in range(60)]


@pytest.mark.parametrize("idle, backpressure", WAITS)
@pytest.mark.parametrize("width", [16, 32, 64])
def test_lengths(name: str, width: int, idle: float, backpressure: float):
    sent = frames(list(range(1, 201)))
    with engine(name, width) as e:
        result = e.run(sent, idle, backpressure, seed=5)
    assert [d.frame for d in result.deliveries] == sent
    beats = np.array([-(-len(f) // width) for f in sent])
    assert (result.last_in - result.first_in >= beats - 1).all()
    assert (result.first_out > result.first_in).all() and (result.last_out > result.last_in).all()
    if not idle and not backpressure:
        assert (result.last_in - result.first_in == beats - 1).all()
        assert result.cycles == beats.sum() + 1  # the queue's one cycle
    assert (np.diff(result.first_out) > 0).all() and result.last_out[-1] < result.cycles


def test_descriptor(device: Engine):
    descriptors = [d.descriptor for d in device.run(frames([40] * 5)).deliveries]
    assert [d.handle for d in descriptors] == [0, 1, 2, 3, 4]
    assert [d.matched for d in descriptors] == [False, True, False, True, False]
    assert {(d.status, d.checksum) for d in descriptors} == {(Status.BYPASS, Checksum.BAD)}


def test_commands(device: Engine):
    tuple4 = Tuple4(bytes(4), 1, bytes(4), 2)
    add = Add(tuple4, 0x0304, bytes(range(1, 17)), bytes(4), bytes(8), 0, 0xABCDEF)
    r = device.run([add, Delete(3), Resync(1, 2, 1 << 63), Query(9), Read(7), Seed(5)]).responses
    assert r[0].handle == 0xABCDEF and r[0].value == int.from_bytes(bytes(range(1, 9)), "little")
    assert r[1].result is Result.STALE_HANDLE and r[1].state is None
    assert r[2].value == 1 << 63
    state = r[3].state
    assert state and (state.expected_seq, state.remaining, state.header_count) == (9, 9, 3)
    assert state.skipping is True and state.out_of_sync is False
    assert [x.value for x in r[4:]] == [21, 5]
    assert device.command(Read(1)).value == 6  # commands so far: the session goes on


@pytest.mark.parametrize("idle, backpressure", WAITS)
def test_ordered(device: Engine, idle: float, backpressure: float):
    events = traffic(2)
    result = device.run(events, idle, backpressure, seed=8)
    sent = [0]
    reads: list[int] = []
    for event in events:
        if isinstance(event, bytes):
            sent[0] += 1
        else:
            reads.append(sent[0])
    assert [r.value for r in result.responses] == reads
    k = reads[5]  # nothing of a frame is sent before the answer to the command in front of it
    assert result.last_out[k - 1] < result.command_in[5] <= result.command_out[5] < result.first_in[k]


def test_unordered_does_not_drain(device: Engine):
    sent = frames([1500] * 3)
    result = device.run([sent[0], Read(0), *sent[1:]], ordered=False, backpressure=0.5)
    assert result.responses[0].value == 1
    assert result.last_in[0] < result.command_in[0] < result.last_out[0]
    assert result.command_in[0] < result.first_in[1]


def test_frames_and_commands_side_by_side(device: Engine):
    result = device.run([*frames([1500] * 3), Read(0), Read(0)], ordered=None)
    assert [r.value for r in result.responses] == [0, 0]  # both were answered before a frame had left
    assert result.command_in[1] < result.last_in[0]


@needs_compiler
@pytest.mark.parametrize("idle, backpressure", WAITS)
@pytest.mark.parametrize("ordered", [True, False])
def test_engines_agree_to_the_cycle(idle: float, backpressure: float, ordered: bool):
    results = []
    for name in ("pysim", "compiled"):
        with engine(name, 16) as e:
            results.append([e.run(traffic(s), idle, backpressure, seed=s, ordered=ordered) for s in (3, 4)])
    for a, b in zip(*results, strict=True):
        assert a.deliveries == b.deliveries and a.responses == b.responses and a.cycles == b.cycles
        for field in ("first_in", "last_in", "first_out", "last_out", "command_in", "command_out"):
            assert (getattr(a, field) == getattr(b, field)).all(), field


def test_watchdog_names_frame_command_and_seed(device: Engine):
    with pytest.raises(SimulationStalled, match=r"command 1 of 2 has no answer.*seed=77") as caught:
        device.run([*frames([30]), Read(0), Read(SILENT), *frames([30])], seed=77, watchdog=300)
    assert (caught.value.frame, caught.value.command, caught.value.seed) == (1, 1, 77)
    with pytest.raises(SimulationError, match="reset"):
        device.run(frames([30]))
    device.reset()
    assert device.command(Read(0)).value == 0


def test_empty_frame_and_bad_probability_are_refused(device: Engine):
    with pytest.raises(ValueError, match="frame 1 is empty"):
        device.run([b"x", b""])
    with pytest.raises(ValueError, match="backpressure"):
        device.run([b"x"], backpressure=1.0)


def test_nothing_to_do(device: Engine):
    result = device.run([])
    assert (result.deliveries, result.responses, result.cycles) == ([], [], 0)


def test_waveform(device: Engine, tmp_path: Path):
    device.run(frames([100, 200]))
    path = tmp_path / "second.vcd"
    again = device.run(traffic(1), 0.2, 0.2, seed=9, waveform=Waveform(path, 5, 20))
    text = path.read_text()
    assert "$enddefinitions" in text and "host" in text
    device.reset()
    device.run(frames([100, 200]))
    assert device.run(traffic(1), 0.2, 0.2, seed=9).cycles == again.cycles


def test_close_twice(device: Engine):
    device.close()
    device.close()
    with pytest.raises(SimulationError, match="closed"):
        device.run([b"x"])
