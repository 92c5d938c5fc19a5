"""A search over what an attacker on the path can do to one connection: docs/trust.md.

The trackers are the golden model's own; the cipher is a stub (a record is authentic if its bytes are the sender's
for that number), and so is the stack, so that tens of thousands of states take seconds.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag

from model import loss_tracker, tracker
from model.commands import Add, Resync, Tuple4
from model.contract import HEADER_SIZE, TAG_SIZE, RxPolicy, Status
from model.record import Opened, RecordCipher

UNIT = 22
"""Bytes of the shortest record of TLS 1.3, header included. Lengths and places are multiples."""
LIMITS = 17, 16401
START = 2**32 - UNIT
"""Sequence number of the first record: they wrap."""
SPAN = 24
"""Units of the stream that are looked at."""


def keystream(number: int) -> bytes:
    return bytes((number * 37 + 11 * i + 5) % 256 for i in range(SPAN * UNIT))


_STREAMS = [keystream(number) for number in range(2 * SPAN)]


def crypt(number: int, start: int, data: bytes) -> bytes:
    stream = _STREAMS[number][start : start + len(data)]
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))


class Sender:
    """Records of these lengths (units); none looks like a header inside, and no two are alike."""

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.records: list[bytes] = []
        for number, length in enumerate(lengths):
            size = length * UNIT - HEADER_SIZE
            body = bytes(0x40 + (number * 29 + i * 7) % 128 for i in range(size))
            self.records.append(b"\x17\x03\x03" + size.to_bytes(2, "big") + body)
        self.starts = [0, *itertools.accumulate(len(r) for r in self.records)]
        self.wire = b"".join(self.records)

    def authentic(self, number: int, record: bytes) -> bool:
        return number < len(self.records) and self.records[number] == record

    def plain(self, number: int) -> bytes:
        """The record as a stack has it that takes it decrypted."""
        record = self.records[number]
        body = record[HEADER_SIZE:-TAG_SIZE]
        return record[:HEADER_SIZE] + crypt(number, 0, body) + record[-TAG_SIZE:]


class StubCipher:
    """In place of `model.record.RecordCipher`."""

    header_size = HEADER_SIZE
    limits = LIMITS
    find = RecordCipher.find

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.aead = self

    def open(self, header: bytes, number: int) -> Opened | None:
        length = int.from_bytes(header[3:], "big")
        if header[1:3] != b"\x03\x03" or not LIMITS[0] <= length <= LIMITS[1]:
            return None
        return Opened(number.to_bytes(12, "big"), header, length)

    def xor(self, nonce: bytes, start: int, data: bytes) -> bytes:
        return crypt(int.from_bytes(nonce, "big"), start, data)

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        if not self.sender.authentic(int.from_bytes(nonce, "big"), aad + data):
            raise InvalidTag
        return b""


class Step(NamedTuple):
    """A segment: bytes at a place, and whether TCP takes it. `hint`: no segment, the stack tells where it is."""

    name: str
    place: int
    payload: bytes
    taken: bool
    hint: bool = False
    weight: int = 2
    """How often it is drawn."""


@dataclass(slots=True)
class Stack:
    """TCP and kTLS: the first copy of each byte; records read as soon as they are whole."""

    sender: Sender
    data: bytearray
    have: bytearray
    """0: nothing, 1: raw, 2: marked."""
    at: int = 0
    number: int = 0
    error: bool = False
    trusted_wrong: bool = False

    def clone(self) -> "Stack":
        return replace(self, data=bytearray(self.data), have=bytearray(self.have))

    @property
    def key(self) -> tuple[object, ...]:
        return bytes(self.data), bytes(self.have), self.at, self.number, self.error

    def take(self, place: int, payload: bytes, marked: bool) -> None:
        for n, byte in enumerate(payload, place):
            if not self.have[n]:
                self.have[n] = 1 + marked
                self.data[n] = byte

    @property
    def next_byte(self) -> int:
        gap = self.have.find(0)
        return len(self.have) if gap < 0 else gap

    def header(self) -> int | None:
        """Length of the record in progress, if its header has come."""
        if self.next_byte - self.at < HEADER_SIZE:
            return None
        return HEADER_SIZE + int.from_bytes(self.data[self.at + 3 : self.at + 5], "big")

    def read(self, header: Callable[[int, int], None] | None = None) -> None:
        while not self.error:
            length = self.header()
            if length is None:
                return
            size = length - HEADER_SIZE
            if self.data[self.at + 1 : self.at + 3] != b"\x03\x03" or not LIMITS[0] - 1 <= size <= LIMITS[1]:
                self.error = True
                return
            if header:
                header(self.at, self.number)
            end = self.at + length
            if self.next_byte < end:
                return
            have, record = self.have[self.at : end], bytes(self.data[self.at : end])
            if 1 not in have:
                true = self.number < len(self.sender.records) and self.at == self.sender.starts[self.number]
                self.trusted_wrong |= not true or record != self.sender.plain(self.number)
            else:
                wire = bytearray(record)
                for n in range(HEADER_SIZE, length - TAG_SIZE):
                    if have[n] == 2:
                        wire[n] ^= _STREAMS[self.number][n - HEADER_SIZE]
                if not self.sender.authentic(self.number, bytes(wire)):
                    self.error = True
                    return
            self.at = end
            self.number += 1


@dataclass(slots=True)
class Node:
    device: "tracker.Connection | loss_tracker.LossConnection"
    hw: Stack
    sw: Stack
    request: int | None
    path: tuple[Step, ...]

    @property
    def attacked(self) -> bool:
        """Something was taken on trust that is not the sender's, or the two paths differ."""
        hw, sw = self.hw, self.sw
        return hw.trusted_wrong or (hw.at, hw.number, hw.error) != (sw.at, sw.number, sw.error)

    def __str__(self) -> str:
        return "\n".join(f"{s.name} at {s.place}{'' if s.taken else ', refused'}" for s in self.path)


_SHARED = {"_cipher", "_full", "_largest"}
_IMMUTABLE = (int, bytes, str, tuple, NoneType, StubCipher)


def _clone(value: Any) -> Any:
    """A tracker, or anything in one, copied as far as it changes. (copy.deepcopy takes five times as long.)"""
    if isinstance(value, list):
        return [_clone(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return dict(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, _IMMUTABLE):
        return value
    other = object.__new__(type(value))
    for name in getattr(value, "__slots__", None) or vars(value):
        setattr(other, name, _clone(getattr(value, name)))
    return other


def _freeze(value: object) -> object:
    """Anything in a tracker as something to compare."""
    if isinstance(value, (int, bytes, str, bool, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(v) for v in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, dict):
        return tuple(sorted(value.items()))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    slots: Iterable[str] = getattr(value, "__slots__", None) or vars(value)
    return tuple(_freeze(getattr(value, name)) for name in slots if name not in _SHARED)


class Search:
    """Every sequence of steps, breadth first, and not twice into the same state; or one at random.

    Parameters
    ----------
    policy : RxPolicy
    sender : Sender
    steps : iterable of Step
        What the attacker chooses from.
    acks : bool
        The host acknowledges what it has after each segment.

    Members
    -------
    states : int
        Searched.
    """

    def __init__(self, policy: RxPolicy, sender: Sender, steps: Iterable[Step], acks: bool) -> None:
        self._sender = sender
        self._steps: Sequence[Step] = list(steps)
        self._acks = acks and policy is not RxPolicy.PUBLISHED
        self._policy = policy
        self.states = 0

    def root(self) -> Node:
        add = Add(Tuple4(b"", 0, b"", 0), 0x0304, bytes(16), bytes(4), bytes(8), 0, START)
        if self._policy is RxPolicy.PUBLISHED:
            device = tracker.Connection(add)
        else:
            device = loss_tracker.LossConnection(add, self._policy)
        device._cipher = StubCipher(self._sender)  # type: ignore[assignment]
        if isinstance(device, tracker.Connection):
            device._search._cipher = device._cipher
        stack = Stack(self._sender, bytearray(SPAN * UNIT), bytearray(SPAN * UNIT))
        return Node(device, stack, stack.clone(), None, ())

    def after(self, node: Node, step: Step) -> Node | None:
        """None: nothing happens, or the connection is aborted."""
        device, hw, sw = _clone(node.device), node.hw.clone(), node.sw.clone()
        request = node.request

        def header(at: int, number: int) -> None:
            nonlocal request
            if request == at:
                request = None
                device.resync(Resync(0, (START + at) % 2**32, number))

        if step.hint:
            length = hw.header()
            place, number = (hw.at, hw.number) if length is None else (hw.at + length, hw.number + 1)
            if hw.error or not device.resync(Resync(0, (START + place) % 2**32, number)):
                return None
        else:
            taken = device.take_in((START + step.place) % 2**32, step.payload)
            if taken.status is Status.CONFLICT:
                return None
            if taken.request is not None:
                request = (taken.request - START) % 2**32
            if step.taken:
                out = step.payload if taken.payload is None else taken.payload
                sw.take(step.place, step.payload, False)
                hw.take(step.place, out, taken.status is Status.DECRYPTED)
                sw.read()
                hw.read(header)
                if self._acks:
                    device.acknowledge((START + hw.next_byte) % 2**32)
        return Node(device, hw, sw, request, (*node.path, step))

    def run(self, depth: int, most: int | None = None) -> Node | None:
        """The first attack found; None: there is none of up to `depth` steps, or `most` states are searched."""
        level = [self.root()]
        met: set[int] = set()
        for _ in range(depth):
            following: list[Node] = []
            for node in level:
                for step in self._steps:
                    child = self.after(node, step)
                    if child is None:
                        continue
                    if child.attacked:
                        return child
                    if child.hw.error:
                        continue
                    key = hash((_freeze(child.device), child.hw.key, bytes(child.sw.data), child.request))
                    if key in met:
                        continue
                    met.add(key)
                    self.states += 1
                    following.append(child)
                    if most and self.states >= most:
                        return None
            level = following
        return None

    def wander(self, rng: random.Random, length: int) -> Node | None:
        """One sequence at random, mostly where the stream has come to; the attack, if it is one."""
        node = self.root()
        for _ in range(length):
            seen = (node.device.seen - START) % 2**32
            near = {node.hw.next_byte: 40, seen: 40}
            weights = [
                s.weight * near.get(s.place, 12 if seen < s.place <= seen + 2 * UNIT else 1) for s in self._steps
            ]
            child = self.after(node, *rng.choices(self._steps, weights))
            if child is None:
                continue
            self.states += 1
            node = child
            if node.attacked:
                return node
            if node.hw.error:
                break
        return None


def honest_steps(sender: Sender, cuts: Iterable[int]) -> Iterator[Step]:
    """Any segments of the sender's bytes. `cuts`: bytes behind each multiple of UNIT where one may begin and end."""
    wire = sender.wire
    edges = sorted({u + c for u in range(0, len(wire), UNIT) for c in cuts} | {len(wire)})
    for a, b in itertools.combinations(edges, 2):
        if b - a <= 2 * UNIT:
            yield Step(f"bytes to {b}", a, wire[a:b], True, weight=8)
    yield Step("hint", 0, b"", True, hint=True)


def steps(sender: Sender, cuts: Iterable[int] = (0,), refused: bool = False) -> Iterator[Step]:
    """What the attacker can send: the sender's bytes; records with a lying header; records at other places.

    `refused`: segments of the sender's bytes that TCP refuses, and flipped bytes, too.
    """
    yield from honest_steps(sender, cuts)
    if refused:
        for step in honest_steps(sender, cuts):
            if not step.hint:
                yield step._replace(name=f"{step.name}, late", taken=False, weight=1)
                flipped = bytes([step.payload[0] ^ 1]) + step.payload[1:-1] + bytes([step.payload[-1] ^ 1])
                yield step._replace(name=f"{step.name}, flipped", payload=flipped, weight=1)
    units = len(sender.wire) // UNIT
    for number, record in enumerate(sender.records):
        start = sender.starts[number]
        for length in (1, 2, 3):
            if length * UNIT != len(record):
                lie = record[:3] + (length * UNIT - HEADER_SIZE).to_bytes(2, "big") + record[5:UNIT]
                yield Step(f"record {number} claiming {length * UNIT}", start, lie, False)
        for place in range(0, (units + 1) * UNIT, UNIT):
            if place != start:
                yield Step(f"copy of record {number}", place, record, True)
                yield Step(f"copy of record {number}", place, record, False)
