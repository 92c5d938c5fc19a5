"""Benches on the RTL: rates, latency and installs in cycles, beside the figures the design asks for."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from hw.config import Config
from model.commands import Add, Tuple4
from model.contract import HEADER_SIZE, MAX_SEGMENTED, TAG_SIZE, Result, Status, TxKind
from model.cycles.packets import HEADERS
from model.tx_commands import TxRequest
from sim.engine import (
    BatchResult,
    Engine,
    Event,
    TxBatchResult,
    TxEngine,
    make_engine,
    make_tx_engine,
)
from sim.schedule import TxEvent, TxFrame
from sim.traffic import IDENTIFICATION, TLS13, Sealed, Stream

SEGMENTS = (64, 256, 1448, 9000)
TINY = {"64B": 64, "16B": 16}
"""Records that saturate the crypto, beside which frames of no connection are measured."""
RECORDS = {"16KB": 16384, "1KB": 1024, "64B": 64}
CONNECTIONS = 256
INSTALLED = CONNECTIONS * 95 // 100
"""Connections behind the installs beside traffic: a table of 95 %."""
SEGMENT_TARGETS = {
    16: {64: 12.8, 256: 15.0, 1448: 15.7, 9000: 15.9},
    64: {64: 32.0, 256: 51.0, 1448: 60.0, 9000: 63.0},
}
RECORD_TARGETS = {16: {"16KB": 0.995, "1KB": 0.95, "64B": 0.60}, 64: {"16KB": 0.985, "1KB": 0.88, "64B": 0.45}}
LARGEST = MAX_SEGMENTED - 52
"""Payload bytes of the largest frame to cut: an IP packet with 52 bytes of headers."""
LATENCY_TARGET = 62
INSTALL_TARGET = 96
INTERVAL_TARGET = 32
"""design section 9: payload bytes a cycle; shares of the 1448-byte figure; cycles beyond the frame's beats.
Installs: from command to live, and from one to the next."""

DEFAULT = Config()
"""What a bench measures but for widths and connections, which it chooses."""

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


def beats(width: int, segment: int) -> int:
    """Beats of a frame of `segment` payload bytes."""
    return -(-(segment + HEADERS) // width)


def bus_limit(width: int, segment: int) -> float:
    """Payload bytes a cycle of frames of `segment` bytes, back to back."""
    return round(segment / beats(width, segment), 2)


def rate(last_out: Any, segment: int, skip: int | None = None) -> float:
    """Payload bytes a cycle, from the cycles in which frames of `segment` bytes had left.

    In the steady state: behind the first `skip` frames, 40 or a quarter of them if not given.
    """
    skip = min(40, len(last_out) // 4) if skip is None else skip
    return segment * (len(last_out) - skip - 1) / int(last_out[-1] - last_out[skip])


def all_decrypted(result: BatchResult) -> None:
    wrong = [d.descriptor.status for d in result.deliveries if d.descriptor.status is not Status.DECRYPTED]
    assert not wrong, f"{len(wrong)} of {len(result.deliveries)} frames were not decrypted, the first {wrong[0].name}"


def _run(engine: Engine, streams: Sequence[Stream], record: int, segment: int, count: int) -> BatchResult:
    """`count` frames over the streams in turn. Every frame must come back decrypted."""
    engine.reset()
    adds: list[Event] = [s.add() for s in streams]
    for response in engine.run(adds).responses:
        assert response.result is Result.OK, response
    each = -(-count // len(streams))
    frames: list[Event] = list(interleaved([segments_of(s, record, segment, each) for s in streams]))
    result = engine.run(frames)
    all_decrypted(result)
    return result


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


def install(engine: Engine | TxEngine, seed: int) -> int:
    """Cycles from one answer to the next, of ADDs each offered behind the answer before: command to live. The worst of
    16."""
    engine.reset()
    adds = [connection(n, seed).add() for n in range(17)]
    result = engine.run(adds)
    return int(max(result.command_out[1:] - result.command_out[:-1]))


def _installs(width: int, seed: int, segment: int = 1448) -> tuple[Stream, int, list[Add]]:
    """What ADDs up to a table of 95 % go beside: a stream, how many frames of it; and the ADDs."""
    count = 26 * INSTALLED // beats(width, segment)
    return connection(0, seed), count, [connection(n, seed).add() for n in range(1, INSTALLED)]


@dataclass(frozen=True)
class Installs:
    """ADDs back to back while frames came in at full rate: the longest one, the mean interval, the frames' rate."""

    longest: int
    interval: float
    rate: float

    @staticmethod
    def of(result: Any, segment: int, alone: float) -> "Installs":
        """The longest one counts from the cycle in which it was first offered."""
        assert all(response.result is Result.OK for response in result.responses)
        offered, answered = result.command_in[:-1] + 1, result.command_out
        during = result.last_out < answered[-1]
        out = result.last_out[during]
        return Installs(
            int(max(answered[1:] - offered)),
            float(answered[-1] - answered[0]) / (len(answered) - 1),
            segment * (len(out) - 41) / float(out[-1] - out[40]) / alone,
        )

    def rows(self, prefix: str) -> list[Row]:
        return [
            Row(f"{prefix}/install_longest", self.longest, "cycles", INSTALL_TARGET),
            Row(f"{prefix}/install_interval", round(self.interval, 1), "cycles", INTERVAL_TARGET),
            Row(f"{prefix}/install_rate", round(self.rate, 3), "of segment_1448", 1.0),
        ]


def _rx_installs(engine: Engine, seed: int, alone: float) -> Installs:
    engine.reset()
    stream, count, adds = _installs(engine.config.width, seed)
    engine.run([stream.add()])
    result = engine.run([*segments_of(stream, 16384, 1448, count), *adds], ordered=None)
    all_decrypted(result)
    return Installs.of(result, 1448, alone)


def not_offloaded(engine: Engine, seed: int) -> dict[int, float]:
    """Rates of frames of no connection, by segment size."""
    engine.reset()
    engine.run([connection(1, seed).add()])
    rates: dict[int, float] = {}
    for segment in (8, *SEGMENTS):
        frames = segments_of(connection(0, seed), 16384, segment, 160 if segment == 9000 else 600)
        rates[segment] = rate(engine.run([*frames]).last_out, segment, 40)
    return rates


def mixed(engine: Engine, seed: int, record: int) -> tuple[float, int]:
    """Frames of 1448 bytes, one of no connection and one of tiny records in turn: rate, and the worst latency of those
    that are of no connection, beyond their beats."""
    engine.reset()
    stream = connection(1, seed)
    engine.run([stream.add()])
    count, segment = 300, 1448
    raw = segments_of(connection(0, seed), 16384, segment, count)
    tiny = segments_of(stream, record, segment, count)
    frames: list[Event] = [frame for pair in zip(raw, tiny, strict=True) for frame in pair]
    result = engine.run(frames)
    beats = -(-len(raw[0]) // engine.config.width)
    worst = max((result.first_out - result.first_in)[40::2]) - beats
    return rate(result.last_out, segment, 40), int(worst)


def overloaded(engine: Engine, seed: int, record: int) -> tuple[float, int, float]:
    """Frames of 1448 bytes at the bus's pace, seven of tiny records and one of no connection in turn, and then one and
    one: the least share of the bus they keep, the worst latency of those of no connection beyond their beats, the least
    share of the others that is decrypted. Nobody answers what the device asks."""
    rates, latencies, shares = zip(*(_overloaded(engine, seed, record, tiny) for tiny in (7, 1)), strict=True)
    return min(rates), max(latencies), min(shares)


def _overloaded(engine: Engine, seed: int, record: int, tiny: int) -> tuple[float, int, float]:
    engine.reset()
    stream = connection(1, seed)
    engine.run([stream.add()])
    count, segment = 75, 1448
    raw = iter(segments_of(connection(0, seed), 16384, segment, count))
    frames: list[Event] = []
    for n, frame in enumerate(segments_of(stream, record, segment, tiny * count), 1):
        frames += [frame] if n % tiny else [frame, next(raw)]
    result = engine.run(frames)
    width = engine.config.width
    worst = max((result.first_out - result.first_in)[tiny :: tiny + 1]) - beats(width, segment)
    decrypted = sum(d.descriptor.status is Status.DECRYPTED for d in result.deliveries)
    return (
        rate(result.last_out, segment, 40) / (segment / beats(width, segment)),
        int(worst),
        decrypted / (tiny * count),
    )


@dataclass(frozen=True)
class Direction:
    """What a direction's figures are measured by; the arguments are those of the receive ones.

    The design's targets for rates are the receive direction's; it names no latency for transmit. `cut`, if the
    direction cuts frames, gives the rate of large ones by engine, stream, record size and segment size.
    """

    name: str
    make: Callable[..., Any]
    run: Callable[[Any, Sequence[Stream], int, int, int], BatchResult | TxBatchResult]
    latency: Callable[[Any, int, int, int], int]
    latency_target: float | None
    installs: Callable[[Any, int, float], Installs] | None = None
    cut: Callable[[Any, Stream, int, int], float] | None = None


@dataclass(frozen=True)
class Traffic:
    """What a rate is measured with: `frames` in-order frames of `segment` bytes, over the connections in turn."""

    name: str
    label: str
    connections: int
    record: int
    segment: int
    frames: int

    def streams(self, seed: int) -> list[Stream]:
        return [connection(n, seed) for n in range(self.connections)]


GRID = (
    *(
        Traffic(f"segment_{size}", f"segments of {size} B", 1, 16384, size, 160 if size == 9000 else 600)
        for size in SEGMENTS
    ),
    *(Traffic(f"records_{name}", f"records of {name}", 1, size, 1448, 400) for name, size in RECORDS.items()),
    Traffic(
        f"round_robin_{CONNECTIONS}", f"{CONNECTIONS} connections in turn", CONNECTIONS, 16384, 1448, 4 * CONNECTIONS
    ),
)


def rate_target(width: int, traffic: Traffic) -> float | None:
    if traffic.name.startswith("segment_"):
        return SEGMENT_TARGETS.get(width, {}).get(traffic.segment)
    if traffic.name.startswith("records_"):
        return RECORD_TARGETS.get(width, {}).get(traffic.name.removeprefix("records_"))
    return 1.0


def _bench(
    direction: Direction,
    widths: Sequence[int],
    engine: str,
    seed: int,
    progress: Progress | None,
    shape: Config = DEFAULT,
) -> list[Row]:
    rows: list[Row] = []
    tell = progress or (lambda text, share: None)
    for w, width in enumerate(widths):
        config = replace(shape, width=width, connections=CONNECTIONS)
        with direction.make(engine, config, progress=progress) as device:
            prefix = f"{direction.name}/w{width}"
            full = 0.0
            for k, t in enumerate(GRID):
                tell(f"W={width}: {t.label}", (w + k / len(GRID)) / len(widths))
                result = direction.run(device, t.streams(seed), t.record, t.segment, t.frames)
                value = rate(result.last_out, t.segment)
                target = rate_target(width, t)
                if t.name.startswith("segment_"):
                    rows.append(Row(f"{prefix}/{t.name}", round(value, 2), "payload B/cycle", target))
                    full = value if t.segment == 1448 else full
                else:
                    unit = "of segment_1448" if t.connections == 1 else "of one connection"
                    rows.append(Row(f"{prefix}/{t.name}", round(value / full, 3), unit, target))
            if direction.cut:
                for segment in SEGMENTS:
                    value = direction.cut(device, connection(0, seed), 16384, segment)
                    rows.append(Row(f"{prefix}/cut_{segment}", round(value, 2), "payload B/cycle", None))
            for segment in SEGMENTS:
                beyond = direction.latency(device, seed, segment, 16384)
                target = direction.latency_target
                rows.append(Row(f"{prefix}/latency_{segment}", beyond, "cycles beyond beats", target))
            rows.append(Row(f"{prefix}/install", install(device, seed), "cycles", INSTALL_TARGET))
            if direction.installs:
                tell(f"W={width}: installs", (w + 1) / len(widths))
                rows += direction.installs(device, seed, full).rows(prefix)
                rows += _overload_rows(device, seed, prefix, full)
    return rows


def _overload_rows(device: Engine, seed: int, prefix: str, full: float) -> list[Row]:
    """Frames of no connection alone, and between those of tiny records."""
    rows: list[Row] = []
    width = device.config.width
    for segment, value in not_offloaded(device, seed).items():
        bus = bus_limit(width, segment)
        rows.append(Row(f"{prefix}/not_offloaded_{segment}", round(value, 2), "payload B/cycle", bus))
    for name, record in TINY.items():
        value, worst = mixed(device, seed, record)
        rows.append(Row(f"{prefix}/mixed_{name}", round(value / full, 3), "of segment_1448", 1.0))
        rows.append(Row(f"{prefix}/mixed_{name}_latency", worst, "cycles beyond beats", LATENCY_TARGET))
    return rows


RECEIVE = Direction("rx", make_engine, _run, _latency, LATENCY_TARGET, _rx_installs)


def bench_rx(
    widths: Sequence[int] = (16, 64),
    engine: str = "compiled",
    seed: int = 1,
    progress: Progress | None = None,
    shape: Config = DEFAULT,
) -> list[Row]:
    """Every receive figure for each width."""
    return _bench(RECEIVE, widths, engine, seed, progress, shape)


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


def tx_add(engine: TxEngine, streams: Sequence[Stream]) -> list[int]:
    """The handles of the streams, which are the only ones on the device."""
    engine.reset()
    adds: list[TxEvent] = [s.add() for s in streams]
    responses = engine.run(adds).responses
    assert all(r.result is Result.OK for r in responses), responses
    return [r.handle for r in responses]


def tx_traffic(
    streams: Sequence[Stream], handles: Sequence[int], record: int, segment: int, count: int
) -> tuple[list[TxEvent], list[bytes]]:
    """`count` frames over the streams in turn, and what software would have sent."""
    each = -(-count // len(streams))
    given: list[list[bytes]] = []
    wire: list[list[bytes]] = []
    for stream in streams:
        plain, sealed = tx_segments_of(stream, record, segment, each)
        given.append(plain)
        wire.append(sealed)
    requests = itertools.cycle([TxRequest(TxKind.STREAM, handle) for handle in handles])
    events: list[TxEvent] = [TxFrame(f, r) for f, r in zip(interleaved(given), requests, strict=False)]
    return events, list(interleaved(wire))


def as_software(result: TxBatchResult, wire: Sequence[bytes]) -> None:
    left = [one.frame for sent in result.sent for one in sent]
    wrong = sum(a != b for a, b in zip(left, wire, strict=True))
    assert not wrong, f"{wrong} of {len(left)} frames are not what software would have sent"


def _tx_run(engine: TxEngine, streams: Sequence[Stream], record: int, segment: int, count: int) -> TxBatchResult:
    """`count` frames over the streams in turn. What leaves must be what software would have sent."""
    events, wire = tx_traffic(streams, tx_add(engine, streams), record, segment, count)
    result = engine.run(events)
    as_software(result, wire)
    return result


def _tx_cut(engine: TxEngine, stream: Stream, record: int, segment: int) -> float:
    """Rate of frames of up to 64 KB in order, cut into segments. What leaves must be what software would have sent."""
    (handle,) = tx_add(engine, [stream])
    share = LARGEST // segment * segment  # each segment is full
    given, _ = tx_segments_of(stream, record, share, -(-160 * 1448 // share) + 2)
    result = engine.run([TxFrame(f, TxRequest(TxKind.STREAM, handle, segment)) for f in given])
    wire = [
        stream.frame(seq, payload, identification=IDENTIFICATION + k % (share // segment))
        for k, (seq, payload) in enumerate(stream.segments(stream.wire[: share * len(given)], mss=segment))
    ]
    as_software(result, wire)
    return rate(result.last_out, segment, share // segment)


def _tx_latency(engine: TxEngine, seed: int, segment: int, record: int) -> int:
    """As `_latency`."""
    stream = connection(0, seed)
    (handle,) = tx_add(engine, [stream])
    worst = 0
    for frame in tx_segments_of(stream, record, segment, 12)[0]:
        result = engine.run([TxFrame(frame, TxRequest(TxKind.STREAM, handle))])
        beats = -(-len(frame) // engine.config.width)
        worst = max(worst, int(result.first_out[0] - result.first_in[0]) - beats)
    return worst


TRANSMIT = Direction("tx", make_tx_engine, _tx_run, _tx_latency, None, cut=_tx_cut)


def bench_tx(
    widths: Sequence[int] = (16, 64),
    engine: str = "compiled",
    seed: int = 1,
    progress: Progress | None = None,
    shape: Config = DEFAULT,
) -> list[Row]:
    """Every transmit figure for each width."""
    return _bench(TRANSMIT, widths, engine, seed, progress, shape)


def simulated(engine: Engine, count: int, seed: int) -> tuple[float, float]:
    """Cycles and bytes of frames a second, of `count` frames of 1448 bytes on a device just made."""
    stream = connection(0, seed)
    frames = segments_of(stream, 16384, 1448, count)
    engine.run([stream.add()])
    started = time.perf_counter()
    result = engine.run([*frames])
    seconds = time.perf_counter() - started
    return result.cycles / seconds, sum(map(len, frames)) / seconds


SPEED_TARGET = 100_000
"""Cycles a second of the compiled engine at W=16."""


def bench_simulation(
    width: int = 16, seed: int = 1, progress: Progress | None = None, shape: Config = DEFAULT
) -> list[Row]:
    """Cycles and capture bytes a second of both engines on the same frames, measured in one run."""
    config = replace(shape, width=width, connections=CONNECTIONS)
    frames = {"pysim": 24, "compiled": 6000}
    speed: dict[str, float] = {}
    rows: list[Row] = []
    for name, count in frames.items():
        with make_engine(name, config, progress=progress) as engine:
            speed[name], size = simulated(engine, count, seed)
            target = SPEED_TARGET if name == "compiled" and width == 16 else None
            rows.append(Row(f"sim/w{width}/{name}", round(speed[name]), "cycles/s", target))
            rows.append(Row(f"sim/w{width}/{name}_bytes", round(size), "capture B/s", None))
    rows.append(Row(f"sim/w{width}/ratio", round(speed["compiled"] / speed["pysim"]), "compiled/pysim", 500))
    return rows
