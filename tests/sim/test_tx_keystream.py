"""No counter block of a connection ever serves two plaintexts, told from what the RTL lets out."""

import random
from dataclasses import replace

import pytest

from driver.tx_context import TxResync
from hw.config import Config
from model.commands import Resync
from model.contract import TxKind, TxStatus
from model.tx_commands import Sent
from model.tx_device import GoldenTxDevice
from sim.engine import TxEngine
from sim.replay import Settings
from sim.schedule import TxEvent, TxFrame, TxRecorder
from sim.traffic import TLS12, TLS13, Stream
from sim.tx_run import run_tx
from tests.hw.test_tx_track import requests_of
from tests.model.tx_rig import TxRig, prefix_size
from tests.sim.conftest import NAMES
from tests.sim.counter_blocks import CounterBlocks, Record
from tests.sim.test_tx_run import CHACHA, HOSTS, followed, random_retransmissions
from tests.sim.tx_compare import compare

SESSIONS = [n for n in NAMES if n != CHACHA]
SHORT = ["tls12-aes128-tx-loss", "tls12-aes256-small", "tls13-aes256-v6"]


class Watched:
    """An engine from power-on whose inputs and outputs are kept; closing it is a reset."""

    def __init__(self, engine: TxEngine) -> None:
        self._engine = engine
        self.reset = self.close = engine.reset
        self.reset()
        self.kept: list[tuple[TxEvent, object]] = []

    def run(self, events, **options):
        result = self._engine.run(events, **options)
        sent, responses = iter(result.sent), iter(result.responses)
        self.kept += [(e, next(sent) if isinstance(e, TxFrame) else next(responses)) for e in events]
        return result

    def show(self, blocks: CounterBlocks) -> None:
        for event, output in self.kept:
            (blocks.frame if isinstance(event, TxFrame) else blocks.command)(event, output)


def learn_sockets(blocks: CounterBlocks, sockets) -> None:
    """The records that offloaded sockets of a capture send."""
    for socket in sockets:
        if not socket.offloaded:
            continue
        stream = socket.stream
        prefix = 13 if stream.info.version == TLS12 else 5
        records = [Record(r.place - stream.start, r.number, len(r.plain), prefix) for r in stream.records]
        blocks.stream(stream.info.key, stream.start_seq, records)


def learn_rig(blocks: CounterBlocks, rig: TxRig) -> None:
    records = zip(rig.starts, rig.stream.records, strict=True)
    blocks.stream(
        rig.stream.key,
        rig.stream.start_seq,
        [Record(start, r.number, len(r.wire), prefix_size(rig.stream)) for start, r in records],
    )


def check_session(engine: TxEngine, name: str, host: str) -> None:
    """A session by each mechanism, as it was and with retransmissions of random stretches thrown in: the same keys
    every time, so one and the same keystream."""
    rng = random.Random(f"{name}{host}")
    blocks = CounterBlocks()
    width = engine.config.width
    for resync in TxResync:
        watched = Watched(engine)
        outcome = run_tx(
            followed(name, host),
            Settings("compiled", Config(width=width), 0.1, 0.1, seed=3),
            resync,
            lambda w=watched: w,
        )
        assert not outcome.mismatches, [str(m) for m in outcome.mismatches[:5]]
        learn_sockets(blocks, outcome.sockets.values())
        watched.show(blocks)

        recorder = TxRecorder(GoldenTxDevice(engine.config.connections, width))
        count, tx_host = random_retransmissions(followed(name, host), recorder, resync, rng)
        assert count
        learn_sockets(blocks, tx_host.sockets.values())
        watched = Watched(engine)
        for batch in recorder.schedule.batches(512):
            watched.run([e.event for e in batch])
        for entry, (_, output) in zip(recorder.schedule.entries, watched.kept, strict=True):
            assert output == entry.output
        watched.show(blocks)
    # all but what software encrypted, six times
    assert blocks.again > blocks.bytes / 2 > 0


@pytest.mark.parametrize("name", SHORT)
def test_recorded_sessions(tx_device_engine, name):
    check_session(tx_device_engine(16), name, HOSTS[0])


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("width", [16, 64])
def test_all_recorded_sessions(tx_device_engine, width, name, host):
    check_session(tx_device_engine(width), name, host)


def check_requests(engine: TxEngine, seed: int, frames: int) -> CounterBlocks:
    """True requests of a few connections in turn, with refused ones and resyncs between."""
    rng = random.Random(f"keystream/{seed}")
    golden = GoldenTxDevice(engine.config.connections)
    blocks = CounterBlocks()
    queues: list[list[TxEvent]] = []
    events: list[TxEvent] = []
    for number in range(6):
        stream = Stream(
            rng.choice([TLS12, TLS13]),
            seed=1000 * seed + number,
            key_size=rng.choice([16, 32]),
            ipv6=rng.random() < 0.4,
            start_seq=rng.choice([rng.randrange(2**32), 2**32 - 3000]),
            record_number=rng.choice([0, 255, 2**32 - 2, 2**64 - 20]),
        )
        sizes = rng.choice([(0, 1, 13, 60), (300, 900), (9000,)])
        for _ in range(40 if max(sizes) < 100 else 8):
            stream.record(stream.rng.randbytes(rng.choice(sizes)))
        rig = TxRig(stream, golden)
        learn_rig(blocks, rig)
        events.append(stream.add())
        requests = requests_of(rng, rig, frames)
        queue: list[TxEvent] = [TxFrame(f, replace(r, segment_size=rng.choice([0, 0, 50, 536]))) for f, r in requests]
        for _ in range(3):
            record = rng.choice(stream.records)
            at = rng.randrange(len(queue))
            again = rig.starts[stream.records.index(record)]
            end = min(again + 500, len(rig.wire))
            queue[at:at] = [
                Resync(rig.handle, record.seq, record.number),
                TxFrame(rig.frame(again, end), rig.request(TxKind.STREAM)),
            ]
        queues.append(queue)
    while any(queues):
        queue = rng.choice(queues)
        if queue:
            events.append(queue.pop(0))
    sent, responses = compare(engine, events, seed=seed, backpressure=0.1 * (seed % 3))
    outputs = iter(sent)
    answers = iter(responses)
    for event in events:
        if isinstance(event, TxFrame):
            blocks.frame(event, next(outputs))
        else:
            blocks.command(event, next(answers))
    return blocks


@pytest.mark.parametrize("seed", range(6))
def test_random_retransmissions(tx_device_engine, seed):
    blocks = check_requests(tx_device_engine(16), seed, 60)
    assert blocks.bytes > blocks.again > 5000


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
def test_random_retransmissions_at_length(tx_device_engine, width):
    for seed in range(100, 300):
        check_requests(tx_device_engine(width), seed, 100)


def test_the_watcher_notices():
    """Other plaintext at the same place; the next record under this one's number; a tag that changes."""
    stream = Stream(TLS13, seed=1)
    stream.record(bytes(range(100)))
    stream.record(bytes(range(100, 200)))
    rig = TxRig(stream)

    def blocks() -> CounterBlocks:
        made = CounterBlocks()
        learn_rig(made, rig)
        made.command(stream.add(), rig.device.command(stream.add()))
        made._keys[rig.handle] = stream.key
        return made

    def prefix(
        start: int, end: int, change: int | None = None, number: int | None = None
    ) -> tuple[TxFrame, list[Sent]]:
        record = rig.record_of(start)
        frame = bytearray(rig.frame(start, end))
        if change is not None:
            frame[len(frame) - end + start + change] ^= 1
        options = {} if number is None else {"record_number": number}
        event = TxFrame(bytes(frame), rig.request(TxKind.PREFIX, record, **options))
        sent = rig.device.transmit(event.frame, event.request)
        assert sent[0].status is TxStatus.ENCRYPTED
        return event, sent

    whole = len(stream.records[0].wire)
    good = blocks()
    good.frame(*prefix(0, whole))
    good.frame(*prefix(3, whole - 20))
    good.frame(*prefix(whole, whole + 60))
    assert (good.bytes, good.again) == (whole - 5 + whole - 25 + 55, whole - 25)
    with pytest.raises(AssertionError, match="two plaintexts for one counter block: record 0"):
        good.frame(*prefix(0, whole - 16, change=30))
    with pytest.raises(AssertionError, match="keystream used twice: record 1"):
        bad = blocks()
        bad.frame(*prefix(0, whole))
        bad.frame(*prefix(whole, whole + 60, number=0))
    with pytest.raises(AssertionError, match="two ciphertexts or tags of one record: record 0"):
        event, (sent,) = prefix(0, whole)
        good.frame(event, [Sent(sent.frame[:-1] + bytes([sent.frame[-1] ^ 1]), sent.status, sent.handle)])
