"""Benches on the RTL: rates, latency and installs in cycles, beside the figures the design asks for."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hw.config import Config
from model.commands import Tuple4
from model.contract import HEADER_SIZE, MAX_SEGMENTED, TAG_SIZE, Result, Status, TxKind
from model.tx_commands import TxRequest
from sim.engine import BatchResult, Engine, Event, TxBatchResult, TxEngine, make_engine, make_tx_engine
from sim.schedule import TxEvent, TxFrame
from sim.traffic import IDENTIFICATION, TLS13, Sealed, Stream

SEGMENTS = (64, 256, 1448, 9000)
RECORDS = {"16KB": 16384, "1KB": 1024, "64B": 64}
CONNECTIONS = 256
SEGMENT_TARGETS = {
    16: {64: 12.8, 256: 15.0, 1448: 15.7, 9000: 15.9},
    64: {64: 32.0, 256: 51.0, 1448: 60.0, 9000: 63.0},
}
RECORD_TARGETS = {16: {"16KB": 0.995, "1KB": 0.95, "64B": 0.60}, 64: {"16KB": 0.985, "1KB": 0.88, "64B": 0.45}}
LARGEST = MAX_SEGMENTED - 52
"""Payload bytes of the largest frame to cut: an IP packet with 52 bytes of headers."""
LATENCY_TARGET = 62
INSTALL_TARGET = 96
"""design section 9: payload bytes a cycle; shares of the 1448-byte figure; cycles beyond the frame's beats."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Row:
    """One figure. `target` is None where the design names none."""

    name: str
    value: float
    unit: str
    target: float | None

    def json(self) -> dict[str, object]:
        return asdict(self)


def connection(number: int, seed: int) -> Stream:
    """A TLS 1.3 stream, AES-256 for every second one, of its own addresses and alignment."""
    local = Tuple4(bytes([10, 1, number >> 8, number & 255]), 1024 + number, b"\x0a\0\0\1", 443)
    return Stream(
        TLS13, tuple4=local, seed=seed + number, key_size=32 if number % 2 else 16, start_seq=1000 + 77 * number
    )


def segments_of(stream: Stream, record: int, segment: int, count: int) -> list[bytes]:
    """`count` in-order frames of `segment` payload bytes, of records of `record` bytes."""
    wire = b""
    while len(wire) < segment * count:
        wire += stream.record(stream.rng.randbytes(record))
    return stream.frames(wire, mss=segment)[:count]


def interleaved(queues: Sequence[list[bytes]]) -> Iterator[bytes]:
    """One frame of each connection in turn."""
    for round_ in itertools.zip_longest(*queues):
        yield from (frame for frame in round_ if frame is not None)


def rate(result: BatchResult | TxBatchResult, payload: Sequence[int], skip: int) -> float:
    """Payload bytes a cycle at the way out, in the steady state behind the first `skip` frames."""
    cycles = int(result.last_out[-1] - result.last_out[skip])
    return sum(payload[skip + 1 :]) / cycles


def _measure(engine: Engine, streams: Sequence[Stream], record: int, segment: int, count: int) -> float:
    """Rate of `count` frames over the streams in turn. Every frame must come back decrypted."""
    engine.reset()
    adds: list[Event] = [s.add() for s in streams]
    for response in engine.run(adds).responses:
        assert response.result is Result.OK, response
    each = -(-count // len(streams))
    frames: list[Event] = list(interleaved([segments_of(s, record, segment, each) for s in streams]))
    result = engine.run(frames)
    wrong = [d.descriptor.status for d in result.deliveries if d.descriptor.status is not Status.DECRYPTED]
    assert not wrong, f"{len(wrong)} of {len(frames)} frames were not decrypted, the first one {wrong[0].name}"
    return rate(result, [segment] * len(frames), min(40, len(frames) // 4))


def _latency(engine: Engine, seed: int, segment: int, record: int) -> int:
    """Cycles from first byte in to first byte out of a frame alone, beyond the frame's own beats; the worst of 12."""
    engine.reset()
    stream = connection(0, seed)
    engine.run([stream.add()])
    frames = segments_of(stream, record, segment, 12)
    worst = 0
    for frame in frames:
        result = engine.run([frame])
        beats = -(-len(frame) // engine.config.width)
        worst = max(worst, int(result.first_out[0] - result.first_in[0]) - beats)
    return worst


def _install(engine: Engine | TxEngine, seed: int) -> int:
    """Cycles from one answer to the next, of ADDs offered back to back: command to live. The worst of 16."""
    engine.reset()
    adds = [connection(n, seed).add() for n in range(17)]
    result = engine.run(adds)
    return int(max(result.command_out[1:] - result.command_out[:-1]))


@dataclass(frozen=True)
class Direction:
    """What a direction's figures are measured by; the arguments are those of the receive ones.

    The design's targets for rates are the receive direction's; it names no latency for transmit. `cut`, if the
    direction cuts frames, gives the rate of large ones by engine, stream, record size and segment size.
    """

    name: str
    make: Callable[..., Any]
    measure: Callable[[Any, Sequence[Stream], int, int, int], float]
    latency: Callable[[Any, int, int, int], int]
    latency_target: float | None
    cut: Callable[[Any, Stream, int, int], float] | None = None


def _bench(direction: Direction, widths: Sequence[int], engine: str, seed: int, progress: Progress | None) -> list[Row]:
    rows: list[Row] = []
    tell = progress or (lambda text, share: None)
    for w, width in enumerate(widths):
        with direction.make(engine, Config(width=width, connections=CONNECTIONS), progress=progress) as device:
            prefix = f"{direction.name}/w{width}"
            segment_rates: dict[int, float] = {}
            for k, segment in enumerate(SEGMENTS):
                tell(f"W={width}: segments of {segment} B", (w + k / 8) / len(widths))
                count = 160 if segment == 9000 else 600
                value = direction.measure(device, [connection(0, seed)], 16384, segment, count)
                segment_rates[segment] = value
                target = SEGMENT_TARGETS.get(width, {}).get(segment)
                rows.append(Row(f"{prefix}/segment_{segment}", round(value, 2), "payload B/cycle", target))
            for k, (name, record) in enumerate(RECORDS.items()):
                tell(f"W={width}: records of {name}", (w + (4 + k) / 8) / len(widths))
                share = direction.measure(device, [connection(0, seed)], record, 1448, 400) / segment_rates[1448]
                target = RECORD_TARGETS.get(width, {}).get(name)
                rows.append(Row(f"{prefix}/records_{name}", round(share, 3), "of segment_1448", target))
            tell(f"W={width}: {CONNECTIONS} connections in turn", (w + 7 / 8) / len(widths))
            streams = [connection(n, seed) for n in range(CONNECTIONS)]
            round_robin = direction.measure(device, streams, 16384, 1448, 4 * CONNECTIONS) / segment_rates[1448]
            rows.append(Row(f"{prefix}/round_robin_{CONNECTIONS}", round(round_robin, 3), "of one connection", 1.0))
            if direction.cut:
                for segment in SEGMENTS:
                    value = direction.cut(device, connection(0, seed), 16384, segment)
                    rows.append(Row(f"{prefix}/cut_{segment}", round(value, 2), "payload B/cycle", None))
            for segment in SEGMENTS:
                beyond = direction.latency(device, seed, segment, 16384)
                target = direction.latency_target
                rows.append(Row(f"{prefix}/latency_{segment}", beyond, "cycles beyond beats", target))
            rows.append(Row(f"{prefix}/install", _install(device, seed), "cycles", INSTALL_TARGET))
    return rows


def bench_rx(
    widths: Sequence[int] = (16, 64),
    engine: str = "compiled",
    seed: int = 1,
    progress: Progress | None = None,
) -> list[Row]:
    """Every receive figure for each width."""
    receive = Direction("rx", make_engine, _measure, _latency, LATENCY_TARGET)
    return _bench(receive, widths, engine, seed, progress)


# --- transmit --------------------------------------------------------------------------------------
def plaintext(record: Sealed) -> bytes:
    """A TLS 1.3 record as the host's stack has it: header, plaintext, inner type, and anything where the tag goes."""
    body = record.payload + bytes([record.content_type])
    return record.wire[:HEADER_SIZE] + body + bytes(range(TAG_SIZE))


def tx_segments_of(stream: Stream, record: int, segment: int, count: int) -> tuple[list[bytes], list[bytes]]:
    """`count` in-order frames of plaintext as the host sends them, and what they are on the wire."""
    wire, plain = b"", b""
    while len(wire) < segment * count:
        wire += stream.record(stream.rng.randbytes(record))
        plain += plaintext(stream.records[-1])
    return stream.frames(plain, mss=segment, bad_tcp=True)[:count], stream.frames(wire, mss=segment)[:count]


def _tx_add(engine: TxEngine, streams: Sequence[Stream]) -> list[int]:
    """The handles of the streams, which are the only ones on the device."""
    engine.reset()
    adds: list[TxEvent] = [s.add() for s in streams]
    responses = engine.run(adds).responses
    assert all(r.result is Result.OK for r in responses), responses
    return [r.handle for r in responses]


def _tx_measure(engine: TxEngine, streams: Sequence[Stream], record: int, segment: int, count: int) -> float:
    """Rate of `count` frames over the streams in turn. What leaves must be what software would have sent."""
    each = -(-count // len(streams))
    handles = _tx_add(engine, streams)
    given: list[list[bytes]] = []
    wire: list[list[bytes]] = []
    for stream in streams:
        plain, sealed = tx_segments_of(stream, record, segment, each)
        given.append(plain)
        wire.append(sealed)
    requests = itertools.cycle([TxRequest(TxKind.STREAM, handle) for handle in handles])
    events: list[TxEvent] = [TxFrame(f, r) for f, r in zip(interleaved(given), requests, strict=False)]
    result = engine.run(events)
    left = [one.frame for sent in result.sent for one in sent]
    wrong = sum(a != b for a, b in zip(left, interleaved(wire), strict=True))
    assert not wrong, f"{wrong} of {len(left)} frames are not what software would have sent"
    return rate(result, [segment] * len(events), min(40, len(events) // 4))


def _tx_cut(engine: TxEngine, stream: Stream, record: int, segment: int) -> float:
    """Rate of frames of up to 64 KB in order, cut into segments. What leaves must be what software would have sent."""
    (handle,) = _tx_add(engine, [stream])
    share = LARGEST // segment * segment  # each segment is full
    given, _ = tx_segments_of(stream, record, share, -(-160 * 1448 // share) + 2)
    result = engine.run([TxFrame(f, TxRequest(TxKind.STREAM, handle, segment)) for f in given])
    wire = [
        stream.frame(seq, payload, identification=IDENTIFICATION + k % (share // segment))
        for k, (seq, payload) in enumerate(stream.segments(stream.wire[: share * len(given)], mss=segment))
    ]
    left = [one.frame for sent in result.sent for one in sent]
    wrong = sum(a != b for a, b in zip(left, wire, strict=True))
    assert not wrong, f"{wrong} of {len(left)} segments are not what software would have sent"
    return rate(result, [segment] * len(wire), share // segment)


def _tx_latency(engine: TxEngine, seed: int, segment: int, record: int) -> int:
    """As `_latency`."""
    stream = connection(0, seed)
    (handle,) = _tx_add(engine, [stream])
    worst = 0
    for frame in tx_segments_of(stream, record, segment, 12)[0]:
        result = engine.run([TxFrame(frame, TxRequest(TxKind.STREAM, handle))])
        beats = -(-len(frame) // engine.config.width)
        worst = max(worst, int(result.first_out[0] - result.first_in[0]) - beats)
    return worst


def bench_tx(
    widths: Sequence[int] = (16, 64),
    engine: str = "compiled",
    seed: int = 1,
    progress: Progress | None = None,
) -> list[Row]:
    """Every transmit figure for each width."""
    transmit = Direction("tx", make_tx_engine, _tx_measure, _tx_latency, None, _tx_cut)
    return _bench(transmit, widths, engine, seed, progress)


def bench_simulation(width: int = 16, seed: int = 1, progress: Progress | None = None) -> list[Row]:
    """Cycles and capture bytes a second of both engines on the same frames, measured in one run."""
    config = Config(width=width, connections=CONNECTIONS)
    frames = {"pysim": 24, "compiled": 6000}
    speed: dict[str, float] = {}
    rows: list[Row] = []
    for name, count in frames.items():
        with make_engine(name, config, progress=progress) as engine:
            stream = connection(0, seed)
            events: list[Event] = [*segments_of(stream, 16384, 1448, count)]
            engine.run([stream.add()])
            started = time.perf_counter()
            result = engine.run(events)
            seconds = time.perf_counter() - started
            speed[name] = result.cycles / seconds
            size = sum(len(e) for e in events if isinstance(e, bytes))
            target = 100_000 if name == "compiled" and width == 16 else None
            rows.append(Row(f"sim/w{width}/{name}", round(speed[name]), "cycles/s", target))
            rows.append(Row(f"sim/w{width}/{name}_bytes", round(size / seconds), "capture B/s", None))
    rows.append(Row(f"sim/w{width}/ratio", round(speed["compiled"] / speed["pysim"]), "compiled/pysim", 500))
    return rows
