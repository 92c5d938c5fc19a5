"""What the pictures of a run draw: packets and records of each stream, received and sent."""

from driver.transmit import Way
from model.contract import Status
from model.ktls import Handling
from sim.annotate import MEANING, resync_texts
from sim.picture import Box, Strip, Strips
from sim.placement import Placed, RecordMap
from sim.tx_host import Sending, TxSocket
from sim.tx_run import TxOutcome

HANDLING_CLASS = {Handling.OFFLOADED: "offloaded", Handling.MIXED: "mixed", Handling.SOFTWARE: "software"}
WAY_CLASS = {
    Way.PLAIN: "pre",
    Way.STREAM: "dec",
    Way.REBUILT: "rebuilt",
    Way.PREFIXED: "prefixed",
    Way.SOFTWARE: "raw",
    Way.SKIPPED: "pre",
    Way.DROPPED: "bad",
}
WAY_MEANING = {
    Way.PLAIN: "nothing to encrypt",
    Way.STREAM: "in order, encrypted by the device",
    Way.REBUILT: "out of order, encrypted by the device behind the record's preceding bytes",
    Way.PREFIXED: "out of order, encrypted by the device from the middle of its record",
    Way.SOFTWARE: "encrypted by software",
    Way.SKIPPED: "from before offload started",
    Way.DROPPED: "dropped",
}


# --- received --------------------------------------------------------------------------------------
def received_boxes(placed: list[Placed], records: RecordMap) -> list[Box]:
    return [_received(p, records) for p in placed]


def _received(placed: Placed, records: RecordMap) -> Box:
    status = placed.status
    decrypted = placed.received.decrypted
    kind = "dec" if decrypted else "bad" if status is Status.BAD_CHECKSUM else "pre" if placed.before_keys else "raw"
    what = f"{status.name}: {MEANING[status]}" if status is not None else "too long for the device"
    if placed.before_keys:
        what = "before the keys were installed"
    descriptor = placed.received.descriptor
    if descriptor is not None:
        what = "\n".join([what, *resync_texts(descriptor)])
    touched = [record.number for record in records.touched(placed.start, placed.end)]
    title = _title(placed.packet, placed.start, placed.end, what, touched)
    return Box(placed.packet, placed.start, placed.end, kind, decrypted, title)


def received_records(records: RecordMap) -> Strips:
    strips: list[Strip] = []
    for start, record in zip(records.starts, records.records, strict=True):
        title = f"record {record.number}, {record.length} bytes, {record.handling}"
        strips.append(Strip(start, start + record.length, f"rec-{HANDLING_CLASS[record.handling]}", title))
    return Strips(strips)


# --- sent ------------------------------------------------------------------------------------------
def sent_boxes(outcome: TxOutcome) -> dict[TxSocket, list[Box]]:
    """Packets of the offloaded stretch of every connection."""
    out: dict[TxSocket, list[Box]] = {}
    records = {socket: sent_records(socket) for socket in outcome.sockets.values()}
    for number, sending in enumerate(outcome.sendings, 1):
        if sending is not None and sending.socket is not None and sending.place is not None:
            out.setdefault(sending.socket, []).append(_sent(number, sending, sending.place, records[sending.socket]))
    return out


def _sent(number: int, sending: Sending, start: int, records: Strips) -> Box:
    transmitted = sending.transmitted
    end = start + sending.size
    what = WAY_MEANING[transmitted.way]
    if transmitted.replayed_bytes:
        what += f"; {transmitted.replayed_bytes} bytes over the bus for it"
    title = _title(number, start, end, what, []) + "".join(f"\n{r.title}" for r in records.within(start, end)[:3])
    return Box(number, start, end, WAY_CLASS[transmitted.way], transmitted.way is Way.STREAM, title)


def sent_records(socket: TxSocket) -> Strips:
    stream = socket.stream
    if stream is None:
        return Strips([])
    records = [
        Strip(r.place - stream.start, r.end - stream.start, "", f"record {r.number}, {len(r.plain)} bytes")
        for r in stream.records
    ]
    return Strips(records)


def _title(packet: int, start: int, end: int, what: str, records: list[int]) -> str:
    which = f"record {records[0]}" if len(records) == 1 else ""
    if len(records) > 1:
        which = f"records {records[0]} to {records[-1]}"
    return f"packet {packet}, bytes {start} to {end}\n{what}\n{which}".rstrip()
