"""`--out`: the capture as the host receives it, every packet with a comment on what the device did."""

from pathlib import Path

from model.contract import Checksum, Status
from sim.pcapng import PcapngWriter
from sim.placement import Placed, RecordMap, place_packets, record_maps
from sim.run import Outcome

MEANING = {
    Status.BYPASS: "not for the TLS engine",
    Status.DECRYPTED: "every record portion decrypted, every record that ends here authentic",
    Status.BAD_CHECKSUM: "raw: wrong IP or TCP checksum",
    Status.RETRANSMISSION: "raw: bears bytes already handled",
    Status.GAP: "raw: behind lost or late bytes, belongs to a record that was given up",
    Status.WAIT: "raw: a record header in front of it is missing",
    Status.OUT_OF_SYNC: "raw: the device does not know where records begin",
    Status.BAD_HEADER: "raw: a record header outside the limits",
    Status.AUTH_FAILED: "raw: a record that ends here is not authentic",
}


def write_annotated(outcome: Outcome, path: Path, key_log: str) -> None:
    """Write all packets of the capture, those sent by the host too, so that their numbers stay the same."""
    followed = outcome.followed
    places = {p.packet: (c, p) for c, placed in place_packets(outcome).items() for p in placed}
    maps = record_maps(outcome)
    comment = f"received through ktls-nic (engine {outcome.settings.engine}) from {followed.capture.path.name}"
    with PcapngWriter(path, key_log, comment) as writer:
        for packet, received in zip(followed.capture.packets, outcome.received, strict=True):
            if received is None:
                writer.write(packet.frame, packet.time_ns, packet.wire_length, "ktls-nic: not received", False)
                continue
            connection, placed = places.get(packet.number, (None, None))
            text = describe(received.descriptor and received.descriptor.status, received.descriptor)
            if connection is not None and placed is not None:
                text += _records(placed, maps.get(connection))
            writer.write(received.frame, packet.time_ns, packet.wire_length, text, True)


def describe(status: Status | None, descriptor: object) -> str:
    if status is None:
        return "ktls-nic: too long for the device, raw"
    checksum = getattr(descriptor, "checksum", Checksum.NONE)
    handle = f", handle {getattr(descriptor, 'handle', 0):#x}" if getattr(descriptor, "matched", False) else ""
    return f"ktls-nic: {status.name} ({MEANING[status]}){handle}, checksum {checksum.name}"


def _records(placed: Placed, records: RecordMap | None) -> str:
    touched = records.touched(placed.start, placed.end) if records else []
    if not touched:
        return f", stream bytes {placed.start}..{placed.end}"
    numbers = (
        f"record {touched[0].number}" if len(touched) == 1 else f"records {touched[0].number}..{touched[-1].number}"
    )
    return f", stream bytes {placed.start}..{placed.end}, {numbers}"
