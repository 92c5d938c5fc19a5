"""Commands, responses and descriptors as driver, golden model and simulation pass them around."""

from dataclasses import dataclass, field
from typing import Protocol

from model.contract import DEFAULT_HASH_KEY, Checksum, Result, Status


@dataclass(frozen=True, slots=True)
class Tuple4:
    """Addresses and ports of a received packet: `remote` is the sender, `local` this host.

    Addresses are 4 bytes (IPv4) or 16 bytes (IPv6), network order.
    """

    remote_address: bytes
    remote_port: int
    local_address: bytes
    local_port: int


@dataclass(frozen=True, slots=True)
class Add:
    """Install a connection's receive direction.

    `version` is 0x0303 or 0x0304; `key` 16 or 32 bytes; `salt` 4 bytes; `iv` 8 bytes (TLS 1.3: the rest of the
    static IV; TLS 1.2: not used, the nonce is on the wire); `start_seq` is the TCP sequence number of the first
    byte of the record header whose number is `record_number`.
    """

    tuple4: Tuple4
    version: int
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    record_number: int
    start_seq: int


@dataclass(frozen=True, slots=True)
class Delete:
    handle: int


@dataclass(frozen=True, slots=True)
class Resync:
    """A record header, number `record_number`, stands at TCP sequence number `seq`."""

    handle: int
    seq: int
    record_number: int


@dataclass(frozen=True, slots=True)
class Query:
    handle: int


@dataclass(frozen=True, slots=True)
class Read:
    address: int


@dataclass(frozen=True, slots=True)
class Seed:
    """Set the hash key (HASH_KEY_BITS bits); BAD_COMMAND unless the table is empty."""

    key: int = DEFAULT_HASH_KEY


@dataclass(frozen=True, slots=True)
class Ack:
    """The host acknowledges everything before TCP sequence number `seq`."""

    handle: int
    seq: int


Command = Add | Delete | Resync | Query | Read | Seed | Ack


@dataclass(frozen=True, slots=True)
class TrackerState:
    """What QUERY returns."""

    expected_seq: int
    seen_seq: int
    record_number: int
    remaining: int  # bytes of the record in progress still to come (body and tag); 0 outside one
    header_count: int  # bytes collected of a header (and explicit nonce) cut by a segment boundary
    out_of_sync: bool
    skipping: bool


@dataclass(frozen=True, slots=True)
class Response:
    """`handle` of ADD, `state` of QUERY, `value` (64 bits) of READ; else zero or None."""

    result: Result
    handle: int = 0
    value: int = 0
    state: TrackerState | None = None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Per-packet completion. `handle` is 0 unless `matched`.

    `request`: place of something like a record header, for the host to confirm with RESYNC. `proven`: a chain of
    headers behind a gap has proved itself in this packet. `given_up_at`: where an OVERLOAD packet was given up, a TCP
    sequence number in it.
    """

    status: Status
    checksum: Checksum
    matched: bool
    handle: int
    request: int | None = None
    proven: bool = False
    given_up_at: int | None = None

    @property
    def decrypted(self) -> bool:
        return self.status is Status.DECRYPTED


@dataclass(frozen=True, slots=True)
class Delivery:
    """A packet as the host receives it."""

    frame: bytes
    descriptor: Descriptor


class Device(Protocol):
    """What the driver drives: golden model or a simulated RTL device."""

    def command(self, command: Command) -> Response: ...

    def receive(self, frame: bytes) -> Delivery: ...
