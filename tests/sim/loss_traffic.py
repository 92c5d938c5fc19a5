"""Connections under loss, with a stack that answers: the events are made while a golden device takes them."""

import copy
import random
from dataclasses import dataclass, field

from model.commands import Ack, Command, Delete, Delivery, Query, Response, Resync
from model.device import GoldenDevice
from sim.traffic import TLS12, TLS13, Stream

Event = bytes | Command

HEADER = b"\x17\x03\x03"
SIZES = ((0, 1, 5, 60), (10, 64, 300), (300, 700, 900), (1000, 2000), (16384,), (30, 400, 5000))
MSS = (64, 300, 536, 1448, 1448, 1448, 4000)


def decoy(stream: Stream, rng: random.Random, size: int) -> bytes:
    """An authentic record in whose ciphertext something like a record header stands, where `size` has room for it."""
    nonce = rng.randbytes(8) if stream.version == TLS12 else None
    twin = copy.copy(stream)
    twin.records = []
    keystream = twin.record(bytes(size), explicit_nonce=nonce)[13 if stream.version == TLS12 else 5 :][:size]
    text = bytearray(rng.randbytes(size))
    at = rng.randrange(max(size - 5, 1))
    looks = HEADER + rng.choice([17, 60, 300, 1417, 16401]).to_bytes(2, "big")
    text[at : at + 5] = looks[: size - at]
    return stream.record(bytes(a ^ b for a, b in zip(text, keystream, strict=True)), explicit_nonce=nonce)


@dataclass
class Peer:
    """The sending side of one connection and the receiving stack: what is on its way, what has come."""

    rng: random.Random
    stream: Stream
    wire: bytes
    handle: int
    loss: float
    forgery: float
    acks: float
    waiting: list[tuple[int, int, int]] = field(default_factory=list)
    """(turns to wait, first byte, end) of what is sent again."""
    at: int = 0
    contiguous: int = 0
    received: list[tuple[int, int]] = field(default_factory=list)
    answers: list[tuple[int, Resync]] = field(default_factory=list)
    """(turns to wait, answer)."""

    @property
    def done(self) -> bool:
        return self.at >= len(self.wire) and not self.waiting and not self.answers

    def seq(self, at: int) -> int:
        return (self.stream.start_seq + at) % 2**32

    def frame(self) -> bytes | None:
        """The next frame that arrives, if one does."""
        rng = self.rng
        self.waiting = [(turns - 1, a, b) for turns, a, b in self.waiting]
        due = next((w for w in self.waiting if w[0] <= 0), None)
        if due is None and self.at >= len(self.wire):
            due = self.waiting[0] if self.waiting else None
        if due:
            self.waiting.remove(due)
            _, start, end = due
            if rng.random() < 0.2:  # cut otherwise than the first time
                end = min(max(end + rng.randrange(-60, 100), start + 1), len(self.wire))
                start = max(start - rng.choice([0, 0, 30]), 0)
            elif rng.random() < 0.3 and end - start > 1:
                cut = rng.randrange(start + 1, end)
                self.waiting.append((rng.randint(1, 9), cut, end))
                end = cut
        elif self.at < len(self.wire):
            start = self.at
            end = self.at = min(start + rng.choice(MSS), len(self.wire))
            x = rng.random()
            if x < self.loss:
                self.waiting.append((rng.randint(1, 40), start, end))
                return None
            if x < 1.3 * self.loss:
                self.waiting.append((rng.randint(1, 6), start, end))  # twice
        else:
            return None
        payload = self.wire[start:end]
        x = rng.random()
        if x < 0.02:
            self.waiting.append((rng.randint(1, 20), start, end))
            return self.stream.frame(self.seq(start), payload, bad_tcp=True)
        if x < 0.02 + self.forgery:
            return self.forged(start, payload)
        self.arrived(start, end)
        return self.stream.frame(self.seq(start), payload)

    def forged(self, start: int, payload: bytes) -> bytes:
        """Someone else's bytes, with a checksum that is right; TCP takes them if they come first."""
        rng = self.rng
        bad = bytearray(payload)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        starts = [r.seq for r in self.stream.records]
        for seq in rng.sample(starts, min(len(starts), 3)):  # rather at a header
            at = (seq - self.seq(start)) % 2**32
            if at + 5 < len(bad) and rng.random() < 0.5:
                bad[at + rng.choice([0, 3, 4])] ^= 1 << rng.randrange(8)
        if rng.random() < 0.5:
            start = max(start - rng.randrange(1500), 0)
        self.arrived(start, start + len(bad))
        return self.stream.frame(self.seq(start), bytes(bad))

    def arrived(self, start: int, end: int) -> None:
        self.received.append((start, end))
        for a, b in sorted(self.received):
            if a <= self.contiguous < b:
                self.contiguous = b
        self.received = [(a, b) for a, b in self.received if b > self.contiguous]

    def told(self, delivery: Delivery) -> None:
        """The stack looks at a descriptor: asked about a header, it answers when it has read so far."""
        descriptor, rng = delivery.descriptor, self.rng
        if descriptor.handle != self.handle or not descriptor.matched:
            return
        turns = rng.choice([0, 1, 5, 30])
        if descriptor.request is not None and rng.random() < 0.8:
            number = next((r.number for r in self.stream.records if r.seq == descriptor.request), None)
            if number is not None or rng.random() < 0.3:
                wrong = rng.choice([0, 0, 0, 0, 0, 1])
                command = Resync(self.handle, descriptor.request, ((number or 0) + wrong) % 2**64)
                self.answers.append((turns, command))
        elif not descriptor.decrypted and rng.random() < 0.1:
            # the kernel's hint: the next record behind what it has just read
            record = next((r for r in self.stream.records if (r.seq - self.seq(self.contiguous)) % 2**32 < 2**31), None)
            if record:
                self.answers.append((turns, Resync(self.handle, record.seq, record.number)))

    def commands(self) -> list[Command]:
        rng = self.rng
        self.answers = [(turns - 1, command) for turns, command in self.answers]
        out: list[Command] = [command for turns, command in self.answers if turns < 0]
        self.answers = [(turns, command) for turns, command in self.answers if turns >= 0]
        if rng.random() < self.acks:
            out.append(Ack(self.handle, self.seq(self.contiguous)))
        if rng.random() < self.acks / 4:
            out.append(Query(self.handle))
        return out


def make_peer(rng: random.Random, size: int, ipv6: bool) -> Peer:
    stream = Stream(
        rng.choice([TLS12, TLS13]),
        seed=rng.randrange(10**6),
        key_size=rng.choice([16, 32]),
        ipv6=ipv6,
        start_seq=rng.choice([rng.randrange(2**32), 2**32 - 3000]),
        record_number=rng.choice([0, 5, 2**32 - 2, 2**64 - 3]),
    )
    sizes = rng.choice(SIZES)
    wire = b""
    while len(wire) < size:
        if rng.random() < 0.1:
            wire += decoy(stream, rng, rng.choice([n for n in sizes if n > 5] or [64]))
        else:
            wire += stream.record(rng.randbytes(rng.choice(sizes)), rng.choice([23, 23, 23, 21]))
    loss = rng.choice([0.0, 0.01, 0.05, 0.2])
    return Peer(rng, stream, wire, 0, loss, rng.choice([0, 0, 0.005, 0.03]), rng.choice([0, 0.02, 0.25]))


def loss_events(
    golden: GoldenDevice, rng: random.Random, connections: int = 3, size: int = 60_000
) -> tuple[list[Event], list[Delivery], list[Response]]:
    """Events, and what the golden device made of them. A connection that is through may be followed by another."""
    peers: list[Peer] = []
    events: list[Event] = []
    deliveries: list[Delivery] = []
    responses: list[Response] = []

    def command(one: Command) -> Response:
        events.append(one)
        responses.append(golden.command(one))
        return responses[-1]

    def install(number: int) -> Peer:
        peer = make_peer(rng, size, ipv6=number % 3 == 1)
        peer.handle = command(peer.stream.add()).handle
        return peer

    peers = [install(number) for number in range(connections)]
    more = 2
    while peers:
        peer = rng.choice(peers)
        frame = peer.frame()
        if frame is not None:
            events.append(frame)
            deliveries.append(golden.receive(frame))
            peer.told(deliveries[-1])
        for one in peer.commands():
            command(one)
        if peer.done or rng.random() < 0.001:
            command(Query(peer.handle))
            command(Delete(peer.handle))
            peers.remove(peer)
            if more:
                more -= 1
                peers.append(install(more))
    return events, deliveries, responses
