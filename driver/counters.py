"""The driver's TLS counters, under the names `ethtool -S` shows and the kernel document gives them."""

from dataclasses import dataclass, fields

from model.commands import Descriptor
from model.contract import Status


@dataclass
class RxCounters:
    """Receive counters. `ethtool()` gives them as `rx_tls_*`."""

    decrypted_packets: int = 0
    """Packets the device decrypted."""
    decrypted_bytes: int = 0
    """TCP payload bytes of those packets, record headers and tags included, as mlx5 counts them."""
    ctx: int = 0
    """Contexts added to the device."""
    # `del` in ethtool's name is a keyword here
    deleted: int = 0
    """Contexts deleted from the device."""
    resync_req_pkt: int = 0
    """Packets that carried a resync request of the device."""
    resync_req_start: int = 0
    """Asynchronous resync requests started with the stack."""
    resync_req_end: int = 0
    """Those the stack was given the sequence number for."""
    resync_req_skip: int = 0
    """Those that were called off: the device was back in sync, or the connection gone."""
    resync_res_ok: int = 0
    """Answers of the stack the device took."""
    resync_res_skip: int = 0
    """Answers of the stack the device did not take: stale, or not needed any more."""
    err: int = 0
    """Packets not decrypted because a record header or a tag in them was wrong."""

    def count(self, descriptor: Descriptor, payload: int) -> None:
        """A packet has come up with this descriptor and `payload` TCP payload bytes."""
        if descriptor.decrypted:
            self.decrypted_packets += 1
            self.decrypted_bytes += payload
        elif descriptor.status in (Status.AUTH_FAILED, Status.BAD_HEADER, Status.CONFLICT):
            self.err += 1
        if descriptor.request is not None:
            self.resync_req_pkt += 1

    def ethtool(self) -> dict[str, int]:
        names = {"deleted": "del"}
        return {f"rx_tls_{names.get(f.name, f.name)}": getattr(self, f.name) for f in fields(self)}


@dataclass
class ResyncCounters:
    """Resynchronisations of one connection."""

    requests: int = 0
    """Places the device asked about."""
    confirmed: int = 0
    """Answers and hints of the stack that the device took."""
    self_proven: int = 0
    """Chains of headers that proved themselves."""
    ignored: int = 0
    """Answers and hints the device did not take."""

    def count(self, descriptor: Descriptor) -> None:
        self.requests += descriptor.request is not None
        self.self_proven += descriptor.proven


@dataclass
class TxCounters:
    """Transmit counters. `ethtool()` gives them as `tx_tls_*`; those the kernel document has not are mlx5's or ours."""

    encrypted_packets: int = 0
    """Packets (segments, where a frame was cut) the device encrypted."""
    encrypted_bytes: int = 0
    """TCP payload bytes of those packets, record headers and tags included, as mlx5 counts them."""
    ctx: int = 0
    """Contexts added to the device."""
    deleted: int = 0
    """Contexts deleted from the device."""
    ooo: int = 0
    """Packets of a TLS stream that did not come in the expected order, and whose record was found."""
    skip_no_sync_data: int = 0
    """Packets from before offload started, sent again: they pass as they are."""
    drop_no_sync_data: int = 0
    """Packets dropped because their record is not known: acknowledged already, as a rule."""
    drop_bypass_req: int = 0
    """Packets dropped because they hold bytes from before and from behind the start of offload."""
    drop_device: int = 0
    """Packets the device dropped; 0, or the driver has lost track of it."""
    dump_packets: int = 0
    """Frames of preceding record bytes that went to the device to be digested."""
    dump_bytes: int = 0
    """Those bytes."""
    prefix_packets: int = 0
    """Packets that went to the device with their record's place, number and header."""
    prefix_bytes: int = 0
    """Bytes of those descriptors."""
    fallback_packets: int = 0
    """Packets that software encrypted."""
    fallback_bytes: int = 0
    """TCP payload bytes of those packets."""
    resync: int = 0
    """Places of a next record that the device took."""

    def ethtool(self) -> dict[str, int]:
        names = {"deleted": "del"}
        return {f"tx_tls_{names.get(f.name, f.name)}": getattr(self, f.name) for f in fields(self)}
