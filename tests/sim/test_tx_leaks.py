"""Plaintext of an offloaded connection never leaves the RTL, whatever is asked of it; what is dropped is counted.

Requests as drivers make them, right ones and wrong ones: handles that are stale, out of range or another connection's,
sequence numbers that nothing expects, frames cut short or no TCP, headers outside the limits, kinds that are none.
Completions, counters and answers must be the golden device's, and no 8 bytes in a row that a host wrote may leave.

Not among them, for the device cannot tell: kind PASS with plaintext; a live handle of a connection of the other TLS
version or at the same sequence number; and for TLS 1.2 plaintext where the device expects a record header (a length
within the limits and wrong, bytes of another place): its first 5 bytes are checked as soon as they are there, the 8 of
the explicit nonce behind them may be anything.
"""

import random
from collections import Counter
from dataclasses import replace

import pytest

from model.commands import Add, Delete, Query, Resync
from model.contract import MAX_FRAME, Result, TxKind, TxStatus
from model.tx_commands import Sent, TxRequest
from model.tx_device import GoldenTxDevice
from sim.engine import TxEngine
from sim.schedule import TxEvent, TxFrame
from sim.traffic import ACK, FIN, RST, SYN, TLS12, TLS13, Stream
from tests.model.tx_rig import TxRig, plain_record, prefix_size
from tests.sim.tx_compare import compare

RUN = 8
DROPS = {s for s in TxStatus if s.name.startswith("DROPPED")}


class Secrets:
    """Every run of 8 bytes of the rigs' plaintext, and of what stands where tags go."""

    def __init__(self, rigs: list[TxRig]) -> None:
        self._runs: set[bytes] = set()
        for rig in rigs:
            for record in rig.stream.records:
                plain = plain_record(rig.stream, record)[prefix_size(rig.stream) :]
                self._runs |= {plain[i : i + RUN] for i in range(len(plain) - RUN + 1)}

    def leaked(self, frame: bytes) -> int | None:
        """Where in the frame the first run is."""
        return next((i for i in range(len(frame) - RUN + 1) if frame[i : i + RUN] in self._runs), None)


class Host:
    """A driver without scruples, over some connections of one TLS version; the events it gives are in `events`."""

    def __init__(self, rng: random.Random, version: int, count: int, connections: int) -> None:
        self.rng = rng
        self.golden = GoldenTxDevice(connections)  # says which handles there are and where positions stand
        self.events: list[TxEvent] = []
        self.rigs: list[TxRig] = []
        plaintext = random.Random(rng.random())  # nonces, which do leave, come from the streams' own
        for number in range(count):
            stream = Stream(
                version,
                seed=rng.randrange(2**32),
                key_size=rng.choice([16, 32]),
                ipv6=rng.random() < 0.4,
                start_seq=((number + 1) * 2**32 // count - 900) % 2**32,
                record_number=rng.choice([0, 1, 2**32 - 2, 2**64 - 50]),
            )
            for size in rng.choices(rng.choice([(0, 1, 7, 40), (100, 700), (900, 3000)]), k=12):
                stream.record(plaintext.randbytes(size), rng.choice([23, 23, 22]))
            self.rigs.append(TxRig(stream, self.golden))
            self.events.append(stream.add())
        self.stale = [5000, 0x7FFFFF, 0x10000 * 200]

    def command(self, command: Add | Delete | Resync | Query):
        self.events.append(command)
        return self.golden.command(command)

    def step(self) -> None:
        rng = self.rng
        rig = rng.choice(self.rigs)
        x = rng.random()
        if x < 0.02:
            record = rng.choice(rig.stream.records)
            self.command(Resync(rng.choice([rig.handle, rig.handle, *self.stale]), record.seq, record.number))
        elif x < 0.03:
            self.command(Delete(rig.handle))
            self.stale.append(rig.handle)
            rig.handle = self.command(rig.stream.add()).handle
        elif x < 0.04:
            self.command(Query(rig.handle))
        else:
            frame, request = self.frame(rig)
            self.golden.transmit(frame, request)
            self.events.append(TxFrame(frame, request))

    def frame(self, rig: TxRig) -> tuple[bytes, TxRequest]:
        rng = self.rng
        if rng.random() < 0.03:  # what is nobody's passes
            return rng.randbytes(rng.randrange(14, 400)), TxRequest()
        start, kind = self.place(rig)
        end = min(start + rng.choice([0, 1, 9, 40, 300, 1448, 1448, 9000]), len(rig.wire))
        size = rng.choice([0, 0, 0, 40, 100, 536, 1448])
        request = rig.request(kind, rig.record_of(start), adopt=rng.random() < 0.1, segment_size=size)
        if rng.random() < 0.3:
            request = self.wrong(rig, request)
        return self.bytes(rig, start, end), request

    def place(self, rig: TxRig) -> tuple[int, TxKind]:
        """A start in the stream, mostly one where the kind finds its position."""
        rng, state, end = self.rng, rig.state, len(rig.wire)
        stream, replay = ((seq - rig.stream.start_seq) % 2**32 for seq in (state.expected_seq, state.seen_seq))
        anywhere = rng.randrange(end)
        kind = rng.choice([TxKind.STREAM] * 4 + [TxKind.PREFIX] * 2 + [TxKind.REPLAY, TxKind.RETRANSMIT])
        at = {
            TxKind.STREAM: stream,
            TxKind.RETRANSMIT: replay,
            TxKind.REPLAY: rng.choice([*rig.starts, replay]),
            TxKind.PREFIX: anywhere,
        }[kind]
        return (at if at < end and rng.random() < 0.93 else anywhere), kind

    def wrong(self, rig: TxRig, request: TxRequest) -> TxRequest:
        rng = self.rng
        limits = (0, 16, 0x4012, 0xFFFF)
        match rng.choice("hhhonknlr"):
            case "h":
                return replace(request, handle=rng.choice([*self.stale, rng.randrange(2**24)]))
            case "o":
                return replace(request, handle=rng.choice(self.rigs).handle)
            case "k":
                return replace(request, kind=rng.choice([*list(TxKind)[1:], 5, 6, 7]))
            case "n":
                return replace(request, record_number=rng.choice([0, 2**64 - 1, rng.randrange(2**64)]))
            case "l":  # no record header, or one of no length there is
                header = bytearray(request.header)
                if rng.random() < 0.5:
                    header[rng.choice([1, 2])] ^= 1 << rng.randrange(8)
                else:
                    header[3:5] = rng.choice(limits).to_bytes(2, "big")
                return replace(request, kind=TxKind.PREFIX, header=bytes(header))
            case _:  # another record's place, or (TLS 1.3: a header is less than 8 bytes) no record's
                record = rng.choice(rig.stream.records)
                shift = rng.randrange(-20, 20) if rig.stream.version == TLS13 else 0
                return replace(request, record_seq=(record.seq + shift) % 2**32)

    def bytes(self, rig: TxRig, start: int, end: int) -> bytes:
        """The frame, perhaps with other headers, cut short, no TCP, or with a broken record header in it."""
        rng = self.rng
        options: dict = {"flags": rng.choice([ACK] * 16 + [SYN, RST | ACK, FIN | ACK])}
        if rng.random() < 0.2:
            options |= {
                "vlans": rng.choice([(), ((0x8100, 5),), ((0x88A8, 1), (0x8100, 2))]),
                "tcp_options": bytes(4 * rng.randrange(11)),
                "trailer": rng.choice([b"", bytes(7)]),
            }
        payload = bytearray(rig.plain[start:end])
        inside = [at - start for at in rig.starts if start <= at and at + 5 <= end]
        if inside and rng.random() < 0.04:
            payload[rng.choice(inside) + rng.choice([1, 2])] ^= 1 << rng.randrange(8)
        if rng.random() < 0.01:
            payload = bytearray(rig.plain[start:] + rng.randbytes(MAX_FRAME + 1))[: MAX_FRAME + rng.choice([1, 300])]
        frame = bytearray(rig.stream.frame(rig.at(start), bytes(payload), bad_tcp=True, **options))
        x = rng.random()
        if x < 0.03:
            return bytes(frame[: rng.randrange(1, len(frame))])
        if x < 0.05:
            frame[rng.choice([12, 14, 20, 23])] ^= 1 << rng.randrange(8)  # EtherType, version, fragment or protocol
        return bytes(frame)


def check(engine: TxEngine, seed: int, frames: int) -> Counter[TxStatus]:
    """A run of some connections from power-on; the statuses that were seen."""
    rng = random.Random(f"leaks/{seed}")
    host = Host(rng, [TLS12, TLS13][seed % 2], rng.choice([2, 5, 20]), engine.config.connections)
    while sum(isinstance(e, TxFrame) for e in host.events) < frames:
        host.step()
    waits = {"idle": rng.random() / 2, "backpressure": rng.random() / 2} if seed % 3 else {}
    sent, _ = compare(engine, host.events, seed=seed, **waits)
    check_sent(Secrets(host.rigs), [e for e in host.events if isinstance(e, TxFrame)], sent, seed)
    return Counter(one.status for several in sent for one in several)


def check_sent(secrets: Secrets, given: list[TxFrame], sent: list[list[Sent]], seed: int) -> None:
    for number, (event, several) in enumerate(zip(given, sent, strict=True)):
        for one in several:
            if one.status in DROPS or one.status is TxStatus.REPLAYED:
                assert one.frame is None
            else:
                assert one.frame is not None
                where = secrets.leaked(one.frame)
                assert where is None, f"frame {number}, {event.request}: plaintext at byte {where} (seed={seed})"


@pytest.fixture(scope="module")
def engine(tx_device_engine) -> TxEngine:
    return tx_device_engine(16)


def test_nothing_leaks_and_every_drop_is_counted(engine):
    seen: Counter[TxStatus] = Counter()
    for seed in range(12):
        seen += check(engine, seed, 200)
    assert set(seen) == set(TxStatus) and seen[TxStatus.ENCRYPTED] > 1000 and min(seen.values()) >= 30, seen


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
def test_nothing_leaks_in_thousands_of_cases(tx_device_engine, width):
    seen: Counter[TxStatus] = Counter()
    for seed in range(1000, 1150):
        seen += check(tx_device_engine(width), seed, 400)
    assert seen.total() >= 60_000 and set(seen) == set(TxStatus) and min(seen.values()) >= 1000, seen


def test_the_watcher_notices():
    stream = Stream(TLS12, seed=1)
    stream.record(bytes(range(40)))
    rig = TxRig(stream)
    secrets = Secrets([rig])
    wire = stream.frame(rig.at(0), rig.wire)
    assert secrets.leaked(wire) is None
    assert secrets.leaked(rig.frame(0, len(rig.wire))) == len(wire) - 40 - 16
    assert secrets.leaked(wire[:70] + bytes(range(3, 11)) + wire[78:]) == 70
    assert secrets.leaked(wire[:70] + bytes(range(3, 10)) + wire[77:]) is None
    event = TxFrame(rig.frame(0, 9), rig.request(TxKind.STREAM))
    with pytest.raises(AssertionError, match="plaintext at byte 70"):
        check_sent(secrets, [event], [[Sent(wire[:70] + bytes(range(8)) + wire[78:], TxStatus.ENCRYPTED, 0)]], 0)


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_deleted_and_added_under_traffic(engine, version):
    """Keys change while the connection's own frames are inside: each leaves as the old keys' owner sends it, or not."""
    streams = [Stream(version, seed=n, key_size=32) for n in (7, 8)]
    for stream in streams:
        stream.bulk([700] * 60)
    rig, other = TxRig(streams[0]), TxRig(streams[1])
    size = len(rig.wire)
    ends = [*range(977, size, 977), size]
    frames = [TxFrame(rig.frame(a, b), rig.request(TxKind.STREAM)) for a, b in zip([0, *ends], ends, strict=False)]
    wire = [rig.stream.frame(rig.at(a), rig.wire[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    rest = [
        Stream(version, seed=100 + n).add() for n in range(engine.config.connections - 1)
    ]  # handles are used in turn
    for at in (0, 1, 7, 20):
        engine.reset()
        assert engine.run([streams[0].add(), *rest]).responses[0].handle == rig.handle
        events = [*frames[:at], Delete(rig.handle), streams[1].add(), *frames[at:]]
        result = engine.run(events, ordered=False, seed=at)
        assert [r.result for r in result.responses] == [Result.OK] * 2
        sent = [one for (one,) in result.sent]
        gone = next(k for k, one in enumerate(sent) if one.frame is None)
        assert [one.frame for one in sent[:gone]] == wire[:gone]
        assert {(one.status, one.frame) for one in sent[gone:]} == {(TxStatus.DROPPED_HANDLE, None)}
        handle = result.responses[1].handle
        assert handle == rig.handle + 0x10000
        request = replace(other.request(TxKind.STREAM), handle=handle)
        end = min(len(other.wire), 3000)
        assert engine.transmit(other.frame(0, end), request) == [
            Sent(streams[1].frame(other.at(0), other.wire[:end]), TxStatus.ENCRYPTED, handle)
        ]
