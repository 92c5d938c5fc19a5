"""`--out`: the capture as the host receives it, every packet with a comment on what the device did."""

from pathlib import Path

from model.commands import Descriptor
from model.contract import Status
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
    Status.CONFLICT: "raw: contradicts a record header that packets were decrypted by; nothing is decrypted any more",
    Status.OVERLOAD: "raw: it came while the crypto was behind",
    Status.CLOSED: "raw: could be decrypted, but a record of the connection was not authentic",
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
            text = describe(received.descriptor)
            if connection is not None and placed is not None:
                text += _records(placed, maps.get(connection))
            writer.write(received.frame, packet.time_ns, packet.wire_length, text, True)


def describe(descriptor: Descriptor | None) -> str:
    if descriptor is None:
        return "ktls-nic: too long for the device, raw"
    status = descriptor.status
    handle = f", handle {descriptor.handle:#x}" if descriptor.matched else ""
    said = "".join(f", {text}" for text in resync_texts(descriptor))
    return f"ktls-nic: {status.name} ({MEANING[status]}){handle}, checksum {descriptor.checksum.name}{said}"


def resync_texts(descriptor: Descriptor) -> list[str]:
    """What the device said of record headers behind a gap."""
    asks = f"asks the host whether a record begins at sequence number {descriptor.request}"
    proves = "a whole record proves the headers found behind a gap"
    return [asks] * (descriptor.request is not None) + [proves] * descriptor.proven


def _records(placed: Placed, records: RecordMap | None) -> str:
    touched = records.touched(placed.start, placed.end) if records else []
    if not touched:
        return f", stream bytes {placed.start}..{placed.end}"
    numbers = (
        f"record {touched[0].number}" if len(touched) == 1 else f"records {touched[0].number}..{touched[-1].number}"
    )
    return f", stream bytes {placed.start}..{placed.end}, {numbers}"
