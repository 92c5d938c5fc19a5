"""One connection of the golden device that goes on under loss: docs/contract.md, section 5.

As in `model.tracker`, records are decided with AESGCM of `cryptography` on their assembled ciphertext, and ranges of
them decrypted with AES-CTR.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from model.commands import Add, Resync, TrackerState
from model.contract import CHAINS, GAPS, HEADER_SIZE, HOLES, MAX_RECORD, OPEN_RECORDS, REACH, TAG_SIZE, RxPolicy, Status
from model.record import RecordCipher
from model.tracker import Taken, part_of, seq_diff

_SEQ = (1 << 32) - 1
_NUMBER = (1 << 64) - 1


class _Header:
    """A record header at a known place, as its bytes are seen for the first time."""

    __slots__ = ("data", "place", "size")

    def __init__(self, place: int, size: int) -> None:
        self.place = place & _SEQ
        self.size = size
        self.data: dict[int, int] = {}

    @property
    def complete(self) -> bool:
        return len(self.data) == self.size

    @property
    def lead(self) -> int:
        """Bytes seen without a gap from the first on."""
        return next((n for n in range(self.size) if n not in self.data), self.size)

    @property
    def text(self) -> bytes:
        return bytes(self.data[n] for n in range(self.size))

    def overlap(self, seq: int, payload: bytes) -> list[tuple[int, int]]:
        """(byte of the header, its value) for what of the header lies in the packet."""
        first = seq_diff(self.place, seq)
        return [(n, payload[first + n]) for n in range(self.size) if 0 <= first + n < len(payload)]

    def capture(self, seq: int, payload: bytes) -> None:
        for n, byte in self.overlap(seq, payload):
            self.data.setdefault(n, byte)

    def agrees(self, seq: int, payload: bytes) -> bool:
        """Whether the packet says the same of the header's bytes, as far as they are known."""
        return all(self.data.get(n, byte) == byte for n, byte in self.overlap(seq, payload))


class _Record:
    """A record whose header is known, and what has been counted of its body and tag."""

    __slots__ = ("aad", "body", "end", "header", "missing", "nonce", "number", "parts", "raw", "size", "start")

    def __init__(self, header: _Header, number: int, nonce: bytes, aad: bytes, size: int, raw: bool) -> None:
        self.header = header
        self.start = header.place
        self.body = (header.place + header.size) & _SEQ
        self.end = (self.body + size) & _SEQ
        self.number = number
        self.nonce = nonce
        self.aad = aad
        self.size = size  # body and tag
        self.missing = size
        self.parts: dict[int, bytes] = {}
        self.raw = raw
        """Given up: bytes of it passed raw, so that software will check it."""

    @property
    def sealed(self) -> bytes:
        return b"".join(self.parts[at] for at in sorted(self.parts))


class _Portion(NamedTuple):
    """Bytes [at, at + length) of the payload, which are bytes of the record's body and tag from `start` on."""

    record: _Record
    start: int
    at: int
    length: int


@dataclass
class _Gap:
    """A header that was passed over on the strength of a self-proof: the record behind it must end at `target`."""

    header: _Header
    number: int
    target: int


@dataclass
class _Chain:
    """A chain of headers found beyond the frontier; `head` is the next one's place, `count` those seen."""

    start: int
    head: _Header
    count: int = 0
    records: list[_Record] = field(default_factory=list[_Record])
    provable: bool = True

    @property
    def last(self) -> _Record | None:
        """The record in front of `head`, unless the host has acknowledged it."""
        return next((r for r in self.records[-1:] if r.end == self.head.place), None)


@dataclass
class _Walk:
    """What walking one packet came to."""

    portions: list[_Portion] = field(default_factory=list[_Portion])
    complete: list[_Record] = field(default_factory=list[_Record])
    partial: bool = False
    """The packet has bytes before the first header that is known."""
    headers: bool = False
    """It has header bytes of the live chain."""
    stop: Status | None = None


class LossConnection:
    """Keys and tracker of one connection under the policies `KERNEL` and `FULL`.

    Members
    -------
    take_in(seq, payload, given_up_at=None) -> Taken
        A packet with a good checksum. `given_up_at`: from there on, in sequence, the device did not look at it if it
        begins at `seen`.
    acknowledge(ack)
        The host has acknowledged everything before `ack`.
    """

    def __init__(self, add: Add, policy: RxPolicy) -> None:
        self._cipher = RecordCipher(add.version, add.key, add.salt, add.iv)
        self._full = policy is RxPolicy.FULL
        self._largest = HEADER_SIZE + self._cipher.limits[1]
        self.seen = add.start_seq & _SEQ
        self._floor = self.seen  # acknowledged by the host
        self._marked = self.seen
        self._conflict = False
        self._closed = False  # a tag was wrong
        self._blind = False
        self._number = add.record_number
        self._head = self._header(add.start_seq)
        self._holes: list[tuple[int, int]] = []
        self._records: list[_Record] = []
        self._gaps: list[_Gap] = []
        self._chains: list[_Chain] = []
        self._tracking = False  # the last chain still follows the stream
        self._tail = b""  # last bytes of the newest packet beyond the frontier, where no chain is tracked

    def _header(self, place: int) -> _Header:
        return _Header(place, self._cipher.header_size)

    # --- commands ----------------------------------------------------------------------------------
    def state(self) -> TrackerState:
        return TrackerState(
            expected_seq=self._head.place,
            seen_seq=self.seen,
            record_number=self._number,
            remaining=min(max(seq_diff(self._head.place, self.seen), 0), 0xFFFF),
            header_count=self._head.lead,
            out_of_sync=self._blind,
            skipping=bool(self._gaps),
        )

    def acknowledge(self, ack: int) -> None:
        if seq_diff(ack, self._floor) > 0 and seq_diff(ack, self.seen) <= 0:
            self._floor = ack
        for records in (self._records, *(c.records for c in self._chains)):
            records[:] = [r for r in records if seq_diff(r.end, ack) > 0]
        self._gaps = [g for g in self._gaps if not g.header.complete or seq_diff(g.target, ack) > 0]

    def resync(self, command: Resync) -> bool:
        """Whether the command was obeyed; False: IGNORED."""
        in_sync = not self._blind and seq_diff(self.seen, self._head.place + self._head.lead) <= 0
        if in_sync or self._conflict:
            return False
        chain = next((c for c in self._chains if c.count and c.start == command.seq), None)
        if chain is None and seq_diff(command.seq, self.seen) < 0:
            return False
        # The host has read everything before this place: what was thought of it, true or not, is over.
        self._records = []
        self._gaps = []
        if chain:
            del self._chains[: self._chains.index(chain)]
            self._adopt(command.record_number)
            return True
        self._chains = []
        self._restart()
        self._head = self._header(command.seq)
        self._number = command.record_number
        self._blind = False
        return True

    # --- what has passed ---------------------------------------------------------------------------
    def _untouched(self, start: int, end: int) -> bool:
        """No byte of [start, end) has passed."""
        return seq_diff(start, self.seen) >= 0 or any(
            seq_diff(start, a) >= 0 and seq_diff(end, b) <= 0 for a, b in self._holes
        )

    def _pass(self, seq: int, end: int) -> None:
        """[seq, end) passes: it is cut out of the holes, and a gap in front of it becomes one.

        What finds no place is left out: it counts as passed.
        """
        holes: list[tuple[int, int]] = []
        added: list[tuple[int, int]] = []
        for a, b in self._holes:
            if seq_diff(seq, b) >= 0 or seq_diff(end, a) <= 0:
                holes.append((a, b))
                continue
            left, right = seq_diff(seq, a) > 0, seq_diff(b, end) > 0
            if left:
                holes.append((a, seq))
            if right:
                (added if left else holes).append((end, b))
        if seq_diff(seq, self.seen) > 0:
            added.append((self.seen, seq))
        self._holes = (holes + added)[:HOLES]
        if seq_diff(end, self.seen) > 0:
            self.seen = end

    # --- packets -----------------------------------------------------------------------------------
    def take_in(self, seq: int, payload: bytes, given_up_at: int | None = None) -> Taken:
        if self._conflict:
            return Taken(Status.CONFLICT)
        end = (seq + len(payload)) & _SEQ
        if not 0 < (end - self._floor) & _SEQ < REACH:
            return Taken(Status.RETRANSMISSION)  # acknowledged, or where no window reaches
        if given_up_at is not None and seq == self.seen:
            self._give_up(seq, payload, end, given_up_at)
            return Taken(Status.OVERLOAD, given_up_at=given_up_at)
        fresh = seq_diff(seq, self._floor) >= 0 and self._untouched(seq, end)
        taken = self._track(seq, payload, end, fresh)
        if self._conflict:
            return Taken(Status.CONFLICT)
        if self._closed and not fresh:
            # the header of a record whose tag failed is not kept: who knows whether this contradicts it
            return Taken(Status.CONFLICT)
        if taken.status is Status.AUTH_FAILED and not self._closed:
            self._closed = True
        elif taken.status in (Status.DECRYPTED, Status.AUTH_FAILED) and self._closed:
            return taken._replace(status=Status.CLOSED, payload=None)
        return taken

    def _give_up(self, seq: int, payload: bytes, end: int, at: int) -> None:
        """[at, end) passes and nobody looks at it: a record begins at `at`, or all of it is out of sync."""
        part = part_of(seq, payload, at)
        if self._blind:
            may = not part
            self._chains = []
        else:
            marked = self._marked
            if part and self._track(seq, part, at, fresh=True).status is Status.AUTH_FAILED:
                self._closed = True
            self._marked = marked  # the packet is raw
            may = self._head.place == at and not (self._head.lead or self._blind or self._chains)
        if not may:
            raise ValueError(f"given up at {at}, where no record begins")
        self._restart()
        self._blind = True
        self._pass(seq, end)

    def _track(self, seq: int, payload: bytes, end: int, fresh: bool) -> Taken:
        top = seq_diff(seq, self.seen) >= 0
        follows = seq == self.seen
        against = None if fresh else self._contradicted(seq, payload)
        walk = self._walk(seq, payload, end, fresh, top) if against is None else _Walk(stop=against)
        beyond = walk.stop in (Status.WAIT, Status.OUT_OF_SYNC)
        scan = beyond and fresh and top and (self._full or self._blind)
        if not scan:
            self._overlook(end)
        self._pass(seq, end)
        if walk.stop is Status.WAIT and fresh and not top and self._full:
            self._prepend(seq, payload)
        if scan and walk.stop:
            taken = self._scan(seq, payload, end, follows, walk.stop)
        else:
            taken = self._verdict(payload, walk)
        if taken.status is Status.DECRYPTED and seq_diff(end, self._marked) > 0:
            self._marked = end
        # whatever the packet's status, a record that ends in it is judged: its header is not kept any more
        if not all(self._authentic(record) for record in walk.complete):
            return taken._replace(status=Status.AUTH_FAILED, payload=None)
        return taken

    def _overlook(self, end: int) -> None:
        """A packet that is not searched ends here: bytes behind `seen` in it are in no chain's sight."""
        if seq_diff(end, self.seen) <= 0:
            return
        self._tail = b""
        if self._tracking:
            head = self._chains[-1].head
            if seq_diff(end, head.place + head.lead) > 0:
                self._drop(len(self._chains) - 1)

    def _contradicted(self, seq: int, payload: bytes) -> Status | None:
        """The status of a packet that says something else about a header than is known of it."""
        for n, chain in enumerate(self._chains):
            headers = [r.header for r in chain.records] + [chain.head]
            if not all(h.agrees(seq, payload) for h in headers):
                del self._chains[n:]
                self._restart()
                break
        kept = [r.header for r in self._records] + [g.header for g in self._gaps] + [self._head]
        against = [h for h in kept if not h.agrees(seq, payload)]
        if any(seq_diff(self._marked, h.place) > 0 for h in against):
            self._conflict = True
            return Status.CONFLICT
        if against:
            self._let_go()
            return Status.OUT_OF_SYNC
        return None

    def _let_go(self) -> None:
        """Nothing hangs on what lies behind the last marked packet: the frontier is in front of it again, blind."""
        known = [(r.start, r.number) for r in self._records] + [(g.header.place, g.number) for g in self._gaps]
        gone = [(ahead, number) for place, number in known if (ahead := -seq_diff(self._marked, place)) >= 0]
        self._records = [r for r in self._records if seq_diff(self._marked, r.start) > 0]
        self._gaps = [g for g in self._gaps if seq_diff(self._marked, g.header.place) > 0]
        self._blind = True
        if gone:
            ahead, self._number = min(gone)
            self._head = self._header(self._marked + ahead)

    # --- the live chain ----------------------------------------------------------------------------
    def _walk(self, seq: int, payload: bytes, end: int, fresh: bool, top: bool) -> _Walk:
        """Which records the packet's bytes belong to; headers in it are captured, and the frontier moves."""
        walk = _Walk()
        record = next((r for r in self._records if seq_diff(seq, r.body) >= 0 and seq_diff(seq, r.end) < 0), None)
        if not fresh:
            walk.stop = Status.RETRANSMISSION
        elif record:
            length = min(seq_diff(record.end, seq), len(payload))
            if not self._full:
                at = (record.end - record.missing) & _SEQ
                if top and seq != at:
                    record.raw = True
                elif not top and (record.raw or seq != at):
                    walk.stop = Status.RETRANSMISSION
            self._count(walk, _Portion(record, seq_diff(seq, record.body), 0, length), payload)
        self._link(seq, payload)
        for gap in self._gaps:
            self._fill(gap, seq, payload, end, walk)
            if walk.stop is Status.CONFLICT:
                return walk
        past = seq_diff(seq, self._head.place)
        reaches = seq_diff(end, self._head.place) > 0
        if not self._blind and past < self._head.size and reaches:
            self._advance(seq, payload, end, past, walk)
        elif fresh and reaches:
            walk.stop = Status.OUT_OF_SYNC if self._blind else Status.WAIT
            if not self._full and not self._blind and (end - self._head.place) & _SEQ > MAX_RECORD:
                self._blind = True
                walk.stop = Status.OUT_OF_SYNC
        elif fresh and not walk.portions:
            walk.stop = Status.GAP
        return walk

    def _fill(self, gap: _Gap, seq: int, payload: bytes, end: int, walk: _Walk) -> None:
        """What of a gap's header is in the packet; once it is complete it must lead to where the chain was taken up."""
        header = gap.header
        if header.complete or not header.overlap(seq, payload):
            return
        header.capture(seq, payload)
        if not header.complete:
            return
        opened = self._cipher.open(header.text, gap.number)
        record = _Record(header, gap.number, *opened, raw=True) if opened else None
        if record is None or record.end != gap.target:
            self._conflict = True
            walk.stop = Status.CONFLICT
            return
        at = seq_diff(record.body, seq)
        # All of it in this packet: nothing of it has to pass raw, so it must be judged. But behind a raw record, whose
        # number may have been guessed before its place was known, the packet stays raw.
        behind_raw = any(p.record.raw for p in walk.portions)
        record.raw = walk.stop is not None or behind_raw or at + record.size > len(payload)
        if 0 <= at < len(payload):
            self._count(walk, _Portion(record, 0, at, min(len(payload) - at, record.size)), payload)

    def _advance(self, seq: int, payload: bytes, end: int, past: int, walk: _Walk) -> None:
        """Headers from the frontier on. Their bytes in this packet are the first ones seen."""
        if past < 0 and not walk.portions and walk.stop is None:
            walk.partial = True
        while seq_diff(self._head.place, end) < 0:
            header = self._head
            header.capture(seq, payload)
            walk.headers = True
            if not header.complete:
                if seq_diff(header.place + header.size, end) < 0 and walk.stop is None:
                    walk.stop = Status.WAIT  # bytes behind a header that is not whole
                return
            opened = self._cipher.open(header.text, self._number)
            if opened is None:
                self._blind = True
                walk.stop = Status.BAD_HEADER
                return
            if not self._room:
                self._blind = True
                walk.stop = Status.OUT_OF_SYNC
                return
            record = _Record(header, self._number, *opened, raw=False)
            at = seq_diff(record.body, seq)
            behind = end if seq_diff(end, record.body) > 0 else record.body
            passed = seq_diff(record.end, behind) > 0 and not self._untouched(behind, record.end)
            record.raw = walk.stop is not None or passed or (walk.partial and self._full)
            self._records.append(record)
            if at < len(payload):
                self._count(walk, _Portion(record, 0, at, min(len(payload) - at, record.size)), payload)
            self._number = (self._number + 1) & _NUMBER
            self._head = self._header(record.end)
            self._settle()
            if self._blind:
                return

    def _settle(self) -> None:
        """The frontier has a new place: whether its header can still be seen, or has been."""
        place = self._head.place
        if self._full:
            while self._chains and seq_diff(self._chains[0].start, place) < 0:
                self._drop(0)
            if self._chains and self._chains[0].count and self._chains[0].start == place:
                self._adopt(self._number)
                return
        if not self._untouched(place, place + self._head.size):
            self._blind = True

    @property
    def _room(self) -> bool:
        return len(self._records) + sum(len(c.records) for c in self._chains) < OPEN_RECORDS

    def _count(self, walk: _Walk, portion: _Portion, payload: bytes) -> None:
        record, start, at, length = portion
        walk.portions.append(portion)
        if record.raw or walk.stop is not None:
            return
        record.parts[start] = payload[at : at + length]
        record.missing -= length
        if record.missing == 0:
            self._records = [r for r in self._records if r is not record]
            walk.complete.append(record)

    def _verdict(self, payload: bytes, walk: _Walk) -> Taken:
        if walk.stop is not None:
            return Taken(walk.stop)
        if not walk.headers and all(p.record.raw for p in walk.portions):
            return Taken(Status.GAP)
        if walk.partial or (not self._full and any(p.record.raw for p in walk.portions)):
            return Taken(Status.GAP)
        return Taken(Status.DECRYPTED, self._decrypted(payload, walk.portions))

    def _authentic(self, record: _Record) -> bool:
        try:
            self._cipher.aead.decrypt(record.nonce, record.sealed, record.aad)
        except InvalidTag:
            return False
        return True

    def _decrypted(self, payload: bytes, portions: list[_Portion]) -> bytes:
        out = bytearray(payload)
        for record, start, at, length in portions:
            body = min(length, record.size - TAG_SIZE - start)
            if body > 0:
                out[at : at + body] = self._cipher.xor(record.nonce, start, payload[at : at + body])
        return bytes(out)

    # --- beyond the frontier -----------------------------------------------------------------------
    def _restart(self) -> None:
        """Nothing is tracked: search from the next packet on."""
        self._tracking = False
        self._tail = b""

    def _drop(self, n: int) -> None:
        if n == len(self._chains) - 1:
            self._restart()
        del self._chains[n]

    def _adopt(self, number: int) -> None:
        """The first chain's first record has this number: the frontier is where the chain has come to."""
        chain = self._chains[0]
        if record := chain.last:
            record.number = (number + chain.count - 1) & _NUMBER
            opened = self._cipher.open(record.header.text, record.number)
            assert opened
            record.nonce, record.aad, _ = opened
        for record in chain.records:
            record.raw = True
        self._records += chain.records
        self._head = chain.head
        self._number = (number + chain.count) & _NUMBER
        self._blind = False
        self._drop(0)

    def _link(self, seq: int, payload: bytes) -> None:
        """Headers that chains wait for come late; a chain that leads to the next one takes it in."""
        waiting = len(self._chains) - self._tracking
        for n in reversed(range(waiting)):
            chain = self._chains[n]
            chain.head.capture(seq, payload)
            while chain.head.complete:
                opened = self._cipher.open(chain.head.text, chain.count)
                if opened is None or not self._room:
                    self._drop(n)
                    break
                record = _Record(chain.head, 0, *opened, raw=True)
                chain.records.append(record)
                chain.count += 1
                chain.head = self._header(record.end)
                following = self._chains[n + 1] if n + 1 < len(self._chains) else None
                if following and following.count and following.start == record.end:
                    chain.records += following.records
                    chain.count += following.count
                    chain.head = following.head
                    del self._chains[n + 1]
                elif self._untouched(record.end, record.end + chain.head.size):
                    chain.head.capture(seq, payload)
                else:
                    self._drop(n)
                    break

    def _prepend(self, seq: int, payload: bytes) -> None:
        """A late packet beyond the frontier: the first thing in it that looks like the header in front of a chain."""
        at = self._cipher.find(payload)
        while at is not None and at + self._cipher.header_size <= len(payload):
            header = self._header((seq + at) & _SEQ)
            size = HEADER_SIZE + (payload[at + 3] << 8 | payload[at + 4])
            end = (header.place + size) & _SEQ
            chain = next((c for c in self._chains if c.count and c.start == end), None)
            if chain:
                if self._room:
                    header.capture(seq, payload)
                    chain.start = header.place
                    chain.count += 1
                    chain.records.insert(0, _Record(header, 0, b"", b"", size - header.size, raw=True))
                return
            at = self._cipher.find(payload, at + 1)

    def _scan(self, seq: int, payload: bytes, end: int, follows: bool, status: Status) -> Taken:
        """A packet beyond the frontier and beyond everything seen: look for headers."""
        position = seq
        request: int | None = None
        portions: list[_Portion] = []
        spoiled = False  # a chain that had bytes of this packet was dropped
        if not follows:
            self._tail = b""
        if self._tracking:
            head = self._chains[-1].head
            if seq_diff(seq, head.place + head.lead) > 0:
                if self._full:
                    self._tracking = False  # the chain waits for this header
                else:
                    self._drop(len(self._chains) - 1)
        while seq_diff(end, position) > 0:
            if not self._tracking:
                found = self._search(seq, payload, position) if self._chain_free() else None
                if found is None:
                    break
                chain = _Chain(found, self._header(found))
                self._chains.append(chain)
                self._tracking = True
                for n, byte in enumerate(self._tail):
                    offset = seq_diff(seq - len(self._tail) + n, found)
                    if 0 <= offset < self._cipher.header_size:
                        chain.head.data[offset] = byte
                position = found if seq_diff(found, seq) > 0 else seq
            chain = self._chains[-1]
            head = chain.head
            if seq_diff(head.place, position) > 0:
                length = min(seq_diff(head.place, position), seq_diff(end, position))
                if record := chain.last:
                    at = seq_diff(position, seq)
                    portions.append(_Portion(record, seq_diff(position, record.body), at, length))
                position = (position + length) & _SEQ
                continue
            head.capture(seq, payload)
            position = (head.place + head.lead) & _SEQ
            if not head.complete:
                break
            links = self._links()
            number = (links[-1].number + 1 + chain.count) & _NUMBER if links else 0
            opened = self._cipher.open(head.text, number)
            if opened is None or not self._room:
                self._drop(len(self._chains) - 1)
                spoiled |= bool(portions)
                portions.clear()
                if opened:
                    break  # no room for another header
                position = head.place + 1 if seq_diff(head.place, seq) >= 0 else seq
                continue
            chain.records.append(_Record(head, number, *opened, raw=False))
            chain.count += 1
            if chain.count == 1:
                request = chain.start
            chain.head = self._header(chain.records[-1].end)
        if not self._tracking:
            self._tail = (self._tail + payload)[-(HEADER_SIZE - 1) :]
            return Taken(status, request=request)
        return self._prove(payload, portions, Taken(status, request=request), spoiled)

    def _chain_free(self) -> bool:
        if len(self._chains) == CHAINS and self._blind:
            self._drop(0)
        return len(self._chains) < CHAINS

    def _search(self, seq: int, payload: bytes, position: int) -> int | None:
        """Place of the first thing from `position` on that looks like a header of application data."""
        first = seq_diff(position, seq)
        data = payload if first else self._tail + payload
        base = seq if first else (seq - len(self._tail)) & _SEQ
        at = self._cipher.find(data, first)
        return None if at is None else (base + at) & _SEQ

    def _prove(self, payload: bytes, portions: list[_Portion], taken: Taken, spoiled: bool) -> Taken:
        """Count on the quiet; a whole record that is authentic under the number guessed puts the chain to work."""
        if self._blind or not self._full:
            return taken
        chain = self._chains[-1]
        complete: list[_Record] = []
        for record, start, at, length in portions:
            record.parts[start] = payload[at : at + length]
            record.missing -= length
            if record.missing == 0:
                complete.append(record)
        links = self._links()
        if not complete or spoiled or not self._provable(chain, links):
            return taken
        place = chain.count - len(chain.records) + chain.records.index(complete[0])
        if complete[0].number != (links[-1].number + 1 + place) & _NUMBER:
            return taken
        if not all(self._authentic(record) for record in complete):
            chain.provable = False
            return taken
        self._gaps += links
        self._number = (links[-1].number + 1 + chain.count) & _NUMBER
        self._head = chain.head
        for earlier in self._chains[:-1]:
            for record in earlier.records:
                record.raw = True
            self._records += earlier.records
        self._chains = []
        self._restart()
        done = portions[-1].at + portions[-1].length == len(payload) and portions[-1].record in complete
        # a header of an earlier packet may have got its number from another guess
        first = portions[0].record
        place = chain.count - len(chain.records) + chain.records.index(first)
        guessed = first.number == (links[-1].number + 1 + place) & _NUMBER
        marked = not done and portions[0].at == 0 and guessed
        for record in chain.records:
            if record not in complete:
                record.raw = not (marked and record is chain.records[-1] and record.parts.keys() <= {0})
                self._records.append(record)
        if not marked:
            return taken._replace(proven=True)
        return Taken(Status.DECRYPTED, self._decrypted(payload, portions), request=taken.request, proven=True)

    def _links(self) -> list[_Gap]:
        """What lies in front of the chains, if it is one record each, or full records; empty if it cannot be."""
        gaps: list[_Gap] = []
        header, number = self._head, self._number
        for chain in self._chains:
            while seq_diff(chain.start, header.place) > MAX_RECORD:
                target = (header.place + self._largest) & _SEQ
                if len(gaps) == GAPS:
                    return []
                if seq_diff(chain.start, target) % self._largest or not self._untouched(target, target + header.size):
                    return []
                gaps.append(_Gap(header, number, target))
                header, number = self._header(target), (number + 1) & _NUMBER
            if seq_diff(chain.start, header.place) <= 0 or len(gaps) == GAPS:
                return []
            gaps.append(_Gap(header, number, chain.start))
            header, number = chain.head, (number + 1 + chain.count) & _NUMBER
        return gaps

    def _provable(self, chain: _Chain, links: list[_Gap]) -> bool:
        """Whether a whole record of the chain proves it: its number is the one that follows from what is in front."""
        if not chain.provable or not links:
            return False
        return len(self._gaps) + len(links) <= GAPS
