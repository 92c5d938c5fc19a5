"""Where received packets lie in their connection's stream, and which records they touch."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass

from driver.netdev import Received
from model.contract import Status
from model.ktls import RecordLog
from sim.connections import Connection
from sim.host import Socket
from sim.run import Outcome


@dataclass(frozen=True, slots=True)
class Placed:
    """A received packet with payload. Places count bytes from the first record under the installed keys."""

    packet: int
    start: int
    end: int
    before_keys: bool
    """It came up before the keys were installed: nothing could be decrypted."""
    received: Received

    @property
    def status(self) -> Status | None:
        descriptor = self.received.descriptor
        return descriptor.status if descriptor else None


class RecordMap:
    """A socket's records by their place in the stream."""

    def __init__(self, records: list[RecordLog]):
        self.records = records
        self.starts: list[int] = []
        at = 0
        for record in records:
            self.starts.append(at)
            at += record.length
        self.end = at

    def touched(self, start: int, end: int) -> list[RecordLog]:
        """Records with bytes in [start, end)."""
        if end <= 0 or start >= self.end:
            return []
        first = max(bisect_right(self.starts, max(start, 0)) - 1, 0)
        return self.records[first : bisect_left(self.starts, end)]

    def beginning(self, start: int, end: int) -> list[int]:
        """Places in [start, end) where a record begins."""
        return self.starts[bisect_left(self.starts, start) : bisect_left(self.starts, end)]


def place_packets(outcome: Outcome) -> dict[Connection, list[Placed]]:
    """Received packets with payload of every connection that got keys, in order of arrival."""
    followed = outcome.followed
    out: dict[Connection, list[Placed]] = defaultdict(list)
    last: dict[Connection, int] = {}
    rows = zip(followed.capture.packets, outcome.received, followed.segments, followed.owners, strict=True)
    for packet, received, segment, owner in rows:
        if received is None or segment is None or owner is None or segment.size == 0:
            continue
        keys = owner.installation
        if keys is None:
            continue
        near = last.get(owner, 0)
        start = near + ((segment.seq - keys.start_seq - near + 0x80000000 & 0xFFFFFFFF) - 0x80000000)
        last[owner] = start
        out[owner].append(Placed(packet.number, start, start + segment.size, packet.number <= keys.after, received))
    return out


def record_maps(outcome: Outcome) -> dict[Connection, RecordMap]:
    return {s.connection: RecordMap(_records(s)) for s in outcome.sockets if s.receiver is not None}


def _records(socket: Socket) -> list[RecordLog]:
    return socket.receiver.records if socket.receiver else []
