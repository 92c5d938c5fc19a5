"""Where a device that does not wait for its crypto may give a packet up (docs/contract.md, section 6)."""

from model.loss_tracker import LossConnection
from model.tracker import Connection, seq_diff


def places(connection: Connection | LossConnection, seq: int, payload: bytes) -> list[int]:
    """Sequence numbers, in the order of the packet; empty where it is treated as by any other device."""
    end = (seq + len(payload)) % 2**32
    if isinstance(connection, Connection):
        if connection.out_of_sync:
            return [seq] if seq_diff(end, connection.seen) > 0 else []
        if seq != connection.expected:
            return []
        header, start = connection._header, (seq + connection.remaining) % 2**32
        number = (connection.number + (connection._record is not None)) % 2**64
    else:
        records, head = connection._records, connection._head
        if seq != connection.seen or connection._conflict or connection._chains and not connection._blind:
            return []
        if connection._blind:
            return [seq]
        last = next((record for record in records if record.end == head.place), None)
        ahead = seq_diff(head.place, seq)
        inside = last is not None and not last.raw and ahead == last.missing > 0
        if not inside and not (ahead == -head.lead and connection._room):
            return []
        header, start, number = bytes(head.data[n] for n in range(head.lead)), head.place, connection._number
    cipher, found = connection._cipher, []
    at = seq_diff(start, seq) if not header else -len(header)
    while at < len(payload):
        if at >= 0 and not header:
            found.append((seq + at) % 2**32)
        text = header + payload[max(at, 0) :][: cipher.header_size - len(header)]
        if len(text) < cipher.header_size or not (opened := cipher.open(text, number)):
            break
        at += cipher.header_size + opened.size
        header, number = b"", (number + 1) % 2**64
    return found
