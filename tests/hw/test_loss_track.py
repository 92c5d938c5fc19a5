"""hw.loss_track against the golden connection: loss, reordering, forgery and commands, frame by frame."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, loss_track
from hw.buffer import PacketBuffer
from hw.config import Config
from hw.loss_track import LossTrack
from hw.walk import CHEAP
from model import contract
from model.commands import Resync
from model.contract import TAG_SIZE, Checksum, Result, RxPolicy, Status
from model.loss_tracker import LossConnection
from sim.engine.bench import Batch, Feed, Options, Want, from_words, to_words
from sim.engine.component import check_outcome, make_bench
from sim.traffic import TLS12, TLS13, Stream
from tests.model.overload import places

END = 0
"""Bit of `layouts.work` that is `end`."""
NEVER, BEGUN = 15, 7
"""Fragments that no frame has, and cycles in which a frame is not searched yet but more than looked at."""


def request_layout(config: Config):
    """With `overload` raw the frame is late behind `after` of its fragments, and with `begun` not at once."""
    limit = {"after": range(NEVER + 1), "begun": 1} if config.passes_raw else {}
    return data.StructLayout(layouts.members(layouts.track_request(config)) | limit)


class Room(wiring.Component):
    """The tracker and a packet buffer, which keeps each frame until its end is out."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "frames": In(stream.Signature(layouts.beat(config))),
            "requests": In(stream.Signature(request_layout(config))),
            "checksums": In(stream.Signature(2)),
            "proofs": In(stream.Signature(1)),
            "operations": In(stream.Signature(layouts.tracker_operation(config))),
            "work": Out(stream.Signature(layouts.work(config))),
            "answers": Out(stream.Signature(layouts.tracker_answer())),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = PacketBuffer(self.config)
        m.submodules.track = track = LossTrack(self.config)
        for source, sink in (
            (wiring.flipped(self.frames), buffer.i),
            (wiring.flipped(self.checksums), track.checksum),
            (wiring.flipped(self.proofs), track.proofs),
            (wiring.flipped(self.operations), track.operations),
            (track.o, wiring.flipped(self.work)),
            (track.answers, wiring.flipped(self.answers)),
            (track.buffer, buffer.track),
        ):
            wiring.connect(m, source, sink)
        m.d.comb += [
            track.i.valid.eq(self.requests.valid),
            self.requests.ready.eq(track.i.ready),
            *(track.i.p[name].eq(self.requests.p[name]) for name, _ in layouts.track_request(self.config)),
        ]
        left = Signal(16)  # frames the tracker is done with: it may be more than a device holds ahead of the way out
        gone = Signal(16)
        m.d.comb += [
            track.written.eq(buffer.written),
            track.ended.eq(buffer.ended),
            buffer.o.ready.eq(left != gone),
        ]
        end = track.o.valid & track.o.ready & track.o.p.end
        with m.If(end):
            m.d.sync += left.eq(left + 1)
        if self.config.passes_raw:
            handed, limit = Signal(range(NEVER)), Signal(request_layout(self.config))
            cycles = Signal(range(BEGUN + 1))  # the tracker has been at the frame
            m.d.sync += cycles.eq(Mux(cycles == BEGUN, BEGUN, cycles + 1))
            with m.If(track.i.valid & track.i.ready):
                m.d.sync += [limit.eq(self.requests.p), cycles.eq(0)]
            m.d.comb += track.overload.eq((handed >= limit.after) & ((cycles == BEGUN) | ~limit.begun))
            with m.If(end):
                m.d.sync += handed.eq(0)
            with m.Elif(track.o.valid & track.o.ready & (handed != NEVER - 1)):
                m.d.sync += handed.eq(handed + 1)
        with m.If(buffer.o.valid & buffer.o.ready & buffer.o.p.last):
            m.d.sync += gone.eq(gone + 1)
        return m


class Golden(LossConnection):
    """The golden connection as the tracker alone sees it: tags are another room's business, but for a proof's."""

    proof: bool | None = None
    fresh = True
    walked: list[Any]
    proving = False

    def _authentic(self, record) -> bool:
        return not self.proving or super()._authentic(record)

    def _track(self, seq, payload, end, fresh):
        self.fresh = fresh
        return super()._track(seq, payload, end, fresh)

    def _verdict(self, payload, walk):
        self.walked = walk.portions
        return super()._verdict(payload, walk)

    def _prove(self, payload, portions, *rest):
        self.proving, self.proof, self.walked = True, None, portions
        before = self._chains[-1].provable
        taken = super()._prove(payload, portions, *rest)
        self.proving = False
        if taken.proven:
            self.proof = True
        elif before and self._chains and not self._chains[-1].provable:
            self.proof = False
        return taken


FEEDS = ("frames", "requests", "checksums", "proofs", "operations")


@dataclass
class Script:
    """What is fed to the room, in order, and what the golden connections say to it."""

    config: Config
    rng: random.Random
    feeds: dict[str, list[Any]] = field(default_factory=lambda: {n: [] for n in FEEDS})
    barriers: dict[str, list[Any]] = field(default_factory=lambda: {n: [] for n in FEEDS})
    frames: int = 0
    beats: int = 0
    want: list[Any] = field(default_factory=list[Any])
    answers: list[Any] = field(default_factory=list[Any])

    def operate(self, want, **operation) -> None:
        self.barriers["operations"].append((len(self.feeds["operations"]), {"work": self.frames}))
        self.feeds["operations"].append(operation)
        self.answers.append(want)

    def frame(self, index: int, golden: Golden, seq: int, payload: bytes, good: bool = True) -> Status:
        rng, width = self.rng, self.config.width
        offset = rng.randrange(54, 140)
        raw = rng.randbytes(offset) + payload + rng.randbytes(rng.choice([0, 0, 3]))
        n = self.frames
        base = self.beats % (1 << self.config.pointer_bits)
        inside = layouts.MAX_PACKETS - 1
        self.barriers["frames"].append((self.beats, {"work": max(n - inside, 0)}))
        for at in range(0, len(raw), width):
            part = raw[at : at + width]
            last = at + width >= len(raw)
            keep = (1 << len(part)) - 1
            self.feeds["frames"].append({"data": int.from_bytes(part, "little"), "keep": keep, "last": last})
            self.beats += 1
        self.barriers["requests"].append((n, {"answers": len(self.feeds["operations"])}))
        limit, given_up_at = self.limit(golden, seq, payload) if self.config.passes_raw else ({}, None)
        self.feeds["requests"].append({
            "base": base, "packet": n % 64, "matched": 1, "handle": rng.randrange(256) << 16 | index, "seq": seq,
            "payload_offset": offset, "payload_length": len(payload),
        } | limit)  # fmt: skip
        self.barriers["checksums"].append((n, {"frames": n + 1}))
        self.feeds["checksums"].append(Checksum.GOOD if good else Checksum.BAD)
        self.frames += 1
        if not good:
            self.want.append((Status.BAD_CHECKSUM, None, None, None, False, False))
            return Status.BAD_CHECKSUM
        golden.walked, golden.proof, golden.fresh = [], None, True
        taken = golden.take_in(seq, payload, given_up_at)
        fragments = None
        status, mark = taken.status, False
        if status in (Status.DECRYPTED, Status.OVERLOAD):
            fragments = sorted(
                (offset + p.at, p.length, p.record.number % 2**64, p.record.size - TAG_SIZE, p.start + 16)
                for p in golden.walked
            )
        if golden.proof is not None:
            self.barriers["proofs"].append((len(self.feeds["proofs"]), {"work": n + 1}))
            self.feeds["proofs"].append(int(golden.proof))
            mark = status is Status.DECRYPTED
        repeated = not golden.fresh and status is not Status.CONFLICT
        named = taken.request if taken.given_up_at is None else taken.given_up_at
        self.want.append((status, fragments, named, golden.proof, mark, repeated))
        return status

    def limit(self, golden: Golden, seq: int, payload: bytes) -> tuple[dict[str, int], int | None]:
        """When the frame is late, and where it is given up; None: not at all."""
        rng, may = self.rng, places(golden, seq, payload)
        if not may:
            return {"after": rng.choice([0, NEVER]), "begun": 0}, None
        if golden.state().out_of_sync and rng.random() < 0.3:
            return {"after": 0, "begun": rng.randrange(2)}, seq
        inside = may[0] != seq
        which = rng.randrange(len(may))
        if not golden.state().out_of_sync and rng.random() < 0.5 and CHEAP <= inside + which < NEVER:
            return {"after": inside + which, "begun": 0}, may[which]
        return {"after": NEVER, "begun": 0}, None


SOURCES = [*Path(loss_track.__file__).parent.glob("*.py"), Path(contract.__file__), Path(__file__)]
ENGINES: dict[Config, Any] = {}


def bench(config: Config):
    if config not in ENGINES:
        ENGINES[config] = make_bench("auto", lambda: Room(config), sources=SOURCES, identity=f"loss_track {config}")
    return ENGINES[config]


def run(script: Script, *, idle: float = 0.0, backpressure: float = 0.0, seed: int = 0):
    """Feed the script; compare each frame's end, its fragments and each answer."""
    config = script.config
    room = bench(config)
    room.reset()
    shapes = {
        "frames": layouts.beat(config), "requests": request_layout(config),
        "operations": layouts.tracker_operation(config),
    }  # fmt: skip
    words = {p.name: p.words for p in (*room.inputs, *room.outputs)}
    feeds = {}
    for name, items in script.feeds.items():
        bits = [shapes[name].const(i).as_bits() for i in items] if name in shapes else [int(i) for i in items]
        last = shapes["frames"]["last"].offset if name == "frames" else None
        feeds[name] = Feed(to_words(bits, words[name]), last, script.barriers.get(name, ()))
    outcome = room.run(
        Batch(
            feeds,
            {
                "work": Want(script.frames, script.frames * 64, END),
                "answers": Want(len(script.answers), len(script.answers)),
            },
            Options(idle, backpressure, seed, 20_000, 50),
        )
    )
    check_outcome(outcome.status, outcome.stream, seed)
    items = [data.Const(layouts.work(config), bits) for bits in from_words(outcome.taken["work"].items)]
    frames, fragments = [], []
    for item in items:
        if item.end:
            frames.append((item, fragments))
            fragments = []
        else:
            fragments.append(item)
    for n, (end, got) in enumerate(frames):
        status, portions, request, proof, mark, repeated = script.want[n]
        d = end.descriptor
        seen = {
            "status": Status.DECRYPTED if end.proof and end.mark and proof else Status(d.status),
            "request": d.request_seq if d.request or d.status == Status.OVERLOAD else None,
            "proof": bool(end.proof),
            "repeated": bool(end.repeated) and d.status != Status.CONFLICT,
        }
        expected = {"status": status, "request": request, "proof": proof is not None, "repeated": repeated}
        assert seen == expected, f"frame {n}, seed {seed}: {seen}, expected {expected}"
        assert not mark or end.mark, f"frame {n}, seed {seed}"
        if portions is not None:
            walked = [(f.position, f.count, f.record_number, f.body_length, f.ext_first) for f in got]
            assert walked == portions, f"frame {n}, seed {seed}: {walked}, expected {portions}"
    assert outcome.status == "done", (
        f"{outcome.status} after {len(frames)} of {script.frames} frames and {outcome.taken['answers'].units} of "
        f"{len(script.answers)} answers, seed {seed}"
    )
    answers = [data.Const(layouts.tracker_answer(), bits) for bits in from_words(outcome.taken["answers"].items)]
    for n, (answer, want) in enumerate(zip(answers, script.answers, strict=True)):
        if isinstance(want, Result):
            assert answer.result == want, f"answer {n}, seed {seed}"
        else:
            got = {name: getattr(answer.state, name) for name in want.__slots__}
            assert got == {name: int(getattr(want, name)) for name in want.__slots__}, f"answer {n}, seed {seed}"
    return outcome, frames


SIZES = {
    "tiny": (0, 1, 13, 60),
    "small": (300, 900),
    "middle": (3000, 4000),
    "full": (16384,),
    "mixed": (0, 60, 900, 5000, 16384),
}


class Sender:
    """Segments of one stream, impaired, and what a host would say to them."""

    def __init__(self, script: Script, index: int, version: int, sizes, *, loss: float, bytes_wanted: int):
        rng = self.rng = script.rng
        self.script, self.index = script, index
        self.stream = Stream(
            version, seed=rng.randrange(1 << 30), start_seq=rng.choice([1000, 2**32 - 3000]),
            record_number=rng.choice([0, 2**64 - 3]),
        )  # fmt: skip
        while len(wire := self.stream.wire) < bytes_wanted:
            self.stream.bulk([rng.choice(sizes)])
        if rng.random() < 0.3:
            wire += b"\x17\x03\x04\x00\x30" + bytes(60)  # no header
        self.golden = Golden(self.stream.add(), script.config.rx_policy)
        script.operate(
            Result.OK,
            kind=layouts.TrackerOperation.INIT,
            index=index,
            tls13=version == TLS13,
            seq=self.stream.start_seq,
            record_number=self.stream.record_number,
        )
        cuts, at = [], 0
        steps = rng.choice([(1448,), (1448, 1448, 500), (1, 2, 5, 40, 200, 1448), (9, 1448)])
        while at < len(wire):
            at += rng.choice(steps)
            cuts.append(at)
        self.segments = self._impaired(self.stream.segments(wire, cuts), loss)[:600]
        self.answers = 0.6

    def _impaired(self, segments, loss):
        rng = self.rng
        out, held = [], []
        for k, (seq, payload) in enumerate(segments):
            x = rng.random()
            if x < loss:
                held.append((rng.choice([1, 3, 10, 30, 10000]), (seq, payload)))
            else:
                out.append((seq, payload))
            if x > 1 - loss / 4:
                out.append((seq, payload))
            if rng.random() < loss / 4 and k:  # overlaps what came before
                before = segments[k - 1][1]
                keep = rng.randrange(1, len(before) + 1)
                out.append(((seq - keep) % 2**32, before[-keep:] + payload))
            held = [(n - 1, s) for n, s in held]
            out += [s for n, s in held if n <= 0]
            held = [(n, s) for n, s in held if n > 0]
        return out

    def forged(self, seq, payload):
        rng = self.rng
        kind = rng.randrange(4)
        if kind == 0:
            return seq, rng.randbytes(len(payload))
        if kind == 1:
            return (seq + rng.randrange(-3000, 40000)) % 2**32, payload
        if kind == 2:
            at = rng.randrange(len(payload))
            return seq, payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        header = b"\x17\x03\x03" + rng.choice([20, 30, 300, 16000]).to_bytes(2, "big")
        at = rng.randrange(len(payload))
        return seq, (payload[:at] + header + payload[at + 5 :])[: len(payload)]

    def packet(self, seq, payload, good=True):
        status = self.script.frame(self.index, self.golden, seq, payload, good)
        request = self.script.want[-1][2]
        if request is not None and self.rng.random() < self.answers:
            self.answer(request)
        return status

    def resync(self, seq, number):
        obeyed = self.golden.resync(Resync(0, seq, number))
        self.script.operate(
            Result.OK if obeyed else Result.IGNORED,
            kind=layouts.TrackerOperation.RESYNC, index=self.index, seq=seq, record_number=number,
        )  # fmt: skip

    def answer(self, request):
        """RESYNC as a host does it, where the request is right."""
        for record in self.stream.records:
            if record.seq == request:
                self.resync(record.seq, record.number)

    def query(self):
        self.script.operate(self.golden.state(), kind=layouts.TrackerOperation.QUERY, index=self.index)

    def step(self, forge: float, calm: bool):
        """The next segment; unless `calm`, what hosts do for no reason as well."""
        rng = self.rng
        seq, payload = self.segments.pop(0)
        self.answers = 0.05 if calm else 0.6
        self.packet(seq, payload, rng.random() > 0.03)
        if self.script.config.passes_raw and rng.random() < 0.2:
            self.hint()
        if calm:
            return
        if rng.random() < forge:
            self.packet(*self.forged(seq, payload), rng.random() > 0.1)
        x = rng.random()
        if x < 0.05:
            ack = (self.golden.seen - rng.choice([0, 0, 1448, 20000, -5000])) % 2**32
            self.golden.acknowledge(ack)
            self.script.operate(Result.OK, kind=layouts.TrackerOperation.ACK, index=self.index, seq=ack)
        elif x < 0.08:
            self.query()
        elif x < 0.10:
            record = rng.choice(self.stream.records)
            self.resync(record.seq, record.number)
        elif x < 0.12:
            self.hint()

    def hint(self):
        ahead = [r for r in self.stream.records if (r.seq - self.golden.seen) % 2**32 < 2**31]
        if ahead and self.golden.state().out_of_sync:
            self.resync(ahead[0].seq, ahead[0].number)


def traffic(config: Config, seed: int, *, size: str, loss: float, forge: float, frames: int, connections: int = 2):
    """Without forgery every other seed is calm: then chains live long enough to be linked, and to prove themselves."""
    rng = random.Random(seed)
    script = Script(config, rng)
    senders = [
        Sender(script, n * 3 + 1, rng.choice([TLS12, TLS13]), SIZES[size], loss=loss, bytes_wanted=frames * 400)
        for n in range(connections)
    ]
    while any(s.segments for s in senders) and script.frames < frames:
        rng.choice([s for s in senders if s.segments]).step(forge, calm=not forge and bool(seed % 2))
    for sender in senders:
        sender.query()
    return script


CASES = [(size, loss, forge) for size in SIZES for loss, forge in ((0.0, 0.0), (0.05, 0.0), (0.2, 0.0), (0.1, 0.1))]


def check_cases(config: Config, cases, seeds, frames: int) -> list[Any]:
    """What the golden connections said of each frame."""
    want = []
    for size, loss, forge in cases:
        for seed in seeds:
            script = traffic(config, seed, size=size, loss=loss, forge=forge, frames=frames)
            waits = 0.1 * (seed % 3)
            run(script, idle=waits, backpressure=waits, seed=seed)
            want += script.want
    return want


@pytest.mark.default_cases(1)  # a policy is a model to build
@pytest.mark.parametrize("policy", [RxPolicy.FULL, RxPolicy.KERNEL])
def test_loss_track_is_the_golden_connection(policy):
    cases = [("tiny", 0.2, 0.0), ("small", 0.1, 0.1), ("middle", 0.05, 0.0), ("middle", 0.2, 0.0), ("mixed", 0.2, 0.0)]
    check_cases(Config(width=16, connections=8, rx_policy=policy), cases, range(1, 4), 300)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("policy", [RxPolicy.FULL, RxPolicy.KERNEL])
def test_overloaded_frames(policy):
    """Frames are given up at a header behind some fragments, and out of sync as a whole; others are decrypted."""
    cases = [("tiny", 0.0, 0.0), ("tiny", 0.05, 0.0), ("small", 0.1, 0.1), ("middle", 0.05, 0.0), ("mixed", 0.2, 0.0)]
    frames = check_cases(Config(16, 8, rx_policy=policy, overload="raw"), cases, range(1, 3), 200)
    given_up = [len(fragments) for status, fragments, *_ in frames if status is Status.OVERLOAD]
    assert sum(n > 0 for n in given_up) > 20 < sum(n == 0 for n in given_up)
    assert Status.DECRYPTED in {status for status, *_ in frames}


class Line:
    """One connection under the policy `full`: records of 500 bytes, and frames of any range of them."""

    def __init__(self, records: int = 6):
        self.script = Script(Config(width=16, connections=8, rx_policy=RxPolicy.FULL), random.Random(1))
        self.stream = Stream(TLS13, seed=1, start_seq=1000, record_number=5)
        for _ in range(records):
            self.stream.bulk([500])
        self.golden = Golden(self.stream.add(), RxPolicy.FULL)
        kind = layouts.TrackerOperation.INIT
        self.script.operate(Result.OK, kind=kind, index=1, tls13=1, seq=1000, record_number=5)

    def place(self, record: int, offset: int = 0) -> int:
        """Where byte `offset` of a record stands in the stream, from 0 on."""
        return self.stream.records[record].seq - 1000 + offset

    def send(self, first: int, end: int, changed: int | None = None) -> Status:
        """Bytes [first, end) of the stream, bit 0 of the one at `changed` flipped; the golden connection's status."""
        payload = bytearray(self.stream.wire[first:end])
        if changed is not None:
            payload[changed - first] ^= 1
        return self.script.frame(1, self.golden, 1000 + first, bytes(payload))

    def run(self):
        return run(self.script)[1]


def test_range_over_the_edge_of_a_hole():
    """Half of it has passed."""
    line = Line()
    at = line.place(0, 100)
    line.send(0, at)
    line.send(at + 100, at + 300)
    assert line.send(at + 50, at + 150) is Status.RETRANSMISSION
    line.run()


def test_both_ends_of_a_hole_are_left():
    line = Line()
    at = line.place(0, 100)
    line.send(0, at)
    line.send(at + 300, line.place(1))
    for part in 100, 200, 0:
        assert line.send(at + part, at + part + 100) is Status.DECRYPTED
    line.run()


def test_record_that_passed_in_part_before_its_header():
    """It is not counted: what passed raw is software's to check."""
    line = Line()
    start = line.place(1)
    line.send(0, start)
    line.send(start + 100, start + 200)
    assert line.send(start, start + 100) is Status.DECRYPTED
    assert line.send(start + 200, line.place(2)) is Status.GAP
    line.run()


def test_late_portion_is_counted_where_its_record_is():
    """One record, one slot; the next one has another."""
    line = Line()
    line.send(0, line.place(0, 100))
    line.send(line.place(0, 200), line.place(1, 100))
    line.send(line.place(0, 100), line.place(0, 200))
    frames = line.run()
    slots = {}
    for _, fragments in frames:
        for fragment in fragments:
            assert fragment.counted
            slots.setdefault(int(fragment.record_number), set()).add(int(fragment.slot))
    assert {number: len(places) for number, places in slots.items()} == {5: 1, 6: 1}
    assert slots[5] != slots[6]


def test_gap_that_leads_elsewhere():
    """A header that a proof has passed over says another length than the record behind it has."""
    line = Line()
    line.send(0, line.place(1))
    line.send(line.place(1, 200), line.place(3, 100))
    assert line.script.want[-1][3] is True
    assert line.send(line.place(1), line.place(1, 200), changed=line.place(1, 4)) is Status.CONFLICT
    line.run()


def test_header_in_front_of_what_is_let_go():
    """Behind a forged header the device knows of no record from the gap in front of it on."""
    line = Line()
    line.send(0, line.place(1) - 100)
    line.send(line.place(1, 100), line.place(1, 200))
    line.send(line.place(2), line.place(3, 100))
    assert line.script.want[-1][3] is True
    assert line.send(line.place(3), line.place(3, 50), changed=line.place(3, 4)) is Status.OUT_OF_SYNC
    line.script.operate(line.golden.state(), kind=layouts.TrackerOperation.QUERY, index=1)
    assert line.send(line.place(1) - 100, line.place(1) - 50) is Status.DECRYPTED
    assert line.send(line.place(1) - 50, line.place(1, 100)) is Status.OUT_OF_SYNC
    line.run()


def test_contradicted_head_ends_its_chain():
    """The next header found is a new chain's, with a request of its own."""
    line = Line()
    line.send(0, line.place(1))
    line.send(line.place(2, 200), line.place(4, 2))  # under a wrong number: two headers are missing
    assert line.script.want[-1][3] is False
    line.send(line.place(3, 300), line.place(4, 2), changed=line.place(4))
    line.send(line.place(4, 2), line.place(5, 100))
    assert line.script.want[-1][2] == line.stream.records[5].seq
    line.run()


def test_no_proof_under_a_number_of_another_guess():
    """A header came late, and shows that the chain's record has been called by a number one too low."""
    line = Line()
    line.send(0, line.place(1))
    line.send(line.place(2, 200), line.place(3, 100))
    line.send(line.place(1), line.place(2))
    line.send(line.place(3, 100), line.place(4, 100))
    assert line.script.want[-1][3] is None
    line.run()


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("policy", [RxPolicy.KERNEL, RxPolicy.FULL])
def test_loss_track_is_the_golden_connection_in_much_traffic(policy, width):
    check_cases(Config(width=width, connections=8, rx_policy=policy), CASES, range(1, 7), 500)
