"""TCP connections of a capture, and where the kernel would install each one's receive keys.

The capture is followed before anything is simulated: nothing here depends on the device, because keys are
installed only behind the handshake, which the device passes as it was on the wire.

When and where keys are installed (as Linux with OpenSSL does it): the handshake is over for the host when it
has received the peer's Finished message and sent its own; `tls_dev_add` is called right behind the later of
those two packets, before the next packet of the capture. `start_seq` is the copied_seq: the first byte
behind the record with the peer's Finished message, because OpenSSL reads record by record and nothing behind
it before the keys are in the kernel. What stands there has number 0 under a TLS 1.3 application key and
number 1 under a TLS 1.2 key (Finished was number 0). Records of the application epoch that arrive before that
moment have passed the device raw; start_seq still names the first of them, as the kernel's does, and the
device is resynchronised later.

What the host sends is encrypted under its own application keys from behind its Finished message: `Transmission`.
Where offload begins in it, sim/sent.py decides.
"""

import ipaddress
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sim.capture import Capture
from sim.errors import InputError
from sim.handshake import Handshake
from sim.packets import ACK, FIN, RST, SYN, Endpoint, Segment, addresses, parse_segment
from sim.secrets import Aead, KeyLog, TrafficKeys

MIDDLE = "handshake not in the capture (starts in the middle)"


def describe(endpoint: Endpoint) -> str:
    """`10.0.0.1:443`, `[fd00::1]:443`."""
    address = ipaddress.ip_address(endpoint[0])
    return f"[{address}]:{endpoint[1]}" if address.version == 6 else f"{address}:{endpoint[1]}"


@dataclass(frozen=True, slots=True)
class Installation:
    """Receive keys going into the kernel right behind packet `after`."""

    after: int
    start_seq: int
    record_number: int
    keys: TrafficKeys


@dataclass(frozen=True, slots=True)
class Transmission:
    """From `start_seq` on, record `record_number`, what the host sends is under these keys."""

    start_seq: int
    record_number: int
    keys: TrafficKeys


@dataclass(eq=False)
class Connection:
    """One TCP connection; `client` is the side that opened it."""

    client: Endpoint
    server: Endpoint
    host: Endpoint
    first: int
    version: str = ""
    cipher: str = ""
    reason: str = ""
    """Why it cannot be offloaded as far as the capture tells; empty if it can."""
    installation: Installation | None = None
    tx_reason: str = ""
    """Why what the host sends cannot be offloaded; empty if it can."""
    transmission: Transmission | None = None
    closed: int | None = None
    """The packet that closed the socket (FIN both ways, RST); None: open until the capture ends."""
    received: int = 0
    """Packets to the host that carry payload."""
    hole: int = 0
    """Bytes that arrived behind a hole the capture never fills."""

    @property
    def peer(self) -> Endpoint:
        return self.server if self.host == self.client else self.client

    @property
    def host_role(self) -> str:
        return "client" if self.host == self.client else "server"

    @property
    def peer_role(self) -> str:
        return "server" if self.host == self.client else "client"

    @property
    def name(self) -> str:
        return f"{describe(self.client)} > {describe(self.server)}"


@dataclass
class Followed:
    """A capture with what each packet is. The lists run parallel to `capture.packets`."""

    capture: Capture
    hosts: frozenset[bytes]
    connections: list[Connection] = field(default_factory=list)
    segments: list[Segment | None] = field(default_factory=list)
    owners: list[Connection | None] = field(default_factory=list)
    incoming: list[bool] = field(default_factory=list)
    outgoing: list[bool] = field(default_factory=list)
    """Sent by the host; a packet of others' is neither."""
    warnings: list[str] = field(default_factory=list)


class _Stream:
    """In-order bytes of one direction. Places count from the first byte behind the SYN; first copy wins."""

    def __init__(self) -> None:
        self.base: int | None = None
        self.position = 0
        self.fin: int | None = None
        self._later: dict[int, bytes] = {}
        self._reached: list[tuple[int, int]] = []

    @property
    def ended(self) -> bool:
        return self.fin is not None and self.position >= self.fin

    @property
    def waiting(self) -> int:
        """Bytes that cannot be delivered because some before them are missing."""
        return sum(len(data) - max(self.position - at, 0) for at, data in self._later.items())

    def place(self, seq: int) -> int:
        """Place of a sequence number, by the nearest wrap."""
        assert self.base is not None
        delta = (seq - self.base - self.position + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        return self.position + delta

    def seq(self, place: int) -> int:
        assert self.base is not None
        return self.base + place & 0xFFFFFFFF

    def feed(self, number: int, segment: Segment, frame: bytes) -> bytes:
        """Take a segment of packet `number`; the bytes that follow on in order."""
        if self.base is None:
            return b""
        at = self.place(segment.seq)
        if segment.flags & FIN:
            self.fin = at + segment.size
        if segment.size == 0:
            return b""
        data = frame[segment.start : segment.end]
        if at > self.position:
            if len(self._later.get(at, b"")) < len(data):
                self._later[at] = data
            return b""
        if at + len(data) <= self.position:
            return b""
        out = [data[self.position - at :]]
        self.position = at + len(data)
        while self._later:
            first = min(self._later)
            if first > self.position:
                break
            data = self._later.pop(first)
            if first + len(data) > self.position:
                out.append(data[self.position - first :])
                self.position = first + len(data)
        self._reached.append((self.position, number))
        return b"".join(out)

    def reached(self, place: int) -> int:
        """The packet with which the bytes in front of `place` were complete."""
        return self._reached[bisect_left(self._reached, (place, 0))][1]

    def first_behind(self, number: int) -> int | None:
        """The first packet behind packet `number` that brought bytes."""
        return next((n for _, n in self._reached if n > number), None)


def _looks_like_client_hello(segment: Segment, frame: bytes) -> bool:
    head = frame[segment.start : segment.start + 6]
    return segment.size >= 6 and head[0] == 22 and head[1] == 3 and head[5] == 1


class _Follower:
    """Drives one connection's streams and handshake."""

    def __init__(self, connection: Connection, key_log: KeyLog):
        self.connection = connection
        self.streams = {"client": _Stream(), "server": _Stream()}
        self.handshake = Handshake(key_log)
        self.syn_seq: int | None = None

    @property
    def whole(self) -> bool:
        return all(s.base is not None for s in self.streams.values())

    def take(self, number: int, segment: Segment, frame: bytes) -> None:
        connection = self.connection
        sender = "client" if segment.source == connection.client else "server"
        incoming = segment.destination == connection.host
        if incoming:
            # what the host sent may carry a checksum its NIC was yet to fill in; what it received may not
            if not segment.checksum_good(frame):
                return
            if segment.size:
                connection.received += 1
        stream = self.streams[sender]
        if segment.flags & SYN:
            stream.base = segment.seq + 1 & 0xFFFFFFFF
            if segment.flags & ACK and sender == "server":  # a SYN-ACK knows the client's place too
                client = self.streams["client"]
                client.base = segment.ack if client.base is None else client.base
            return
        if stream.base is None and sender == "client" and _looks_like_client_hello(segment, frame):
            stream.base = segment.seq
            self.streams["server"].base = segment.ack
        if segment.flags & RST and connection.closed is None:
            connection.closed = number
        data = stream.feed(number, segment, frame)
        if data:
            self.handshake.feed(sender, data)
        if all(s.ended for s in self.streams.values()) and connection.closed is None:
            connection.closed = number

    def finish(self) -> None:
        """The capture is over: say what was found."""
        connection, handshake = self.connection, self.handshake
        connection.version = handshake.version_name
        connection.cipher = handshake.suite.name if handshake.suite else ""
        received = self.streams[connection.peer_role]
        connection.hole = received.waiting
        self._finish_tx()
        start = handshake.start(connection.peer_role)
        keys = handshake.keys(connection.peer_role)
        if start is None or keys is None:
            connection.reason = self._why_not(start, connection.peer_role)
            return
        after = received.reached(start)
        own, sent = handshake.start(connection.host_role), self.streams[connection.host_role]
        if own is not None:
            after = max(after, sent.reached(own))
        else:
            # its own Finished could not be read; it is in the first thing it sends behind the peer's
            after = sent.first_behind(after) or after
        number = handshake.number(connection.peer_role)
        connection.installation = Installation(after, received.seq(start), number, keys)
        if keys.aead is not Aead.AES_GCM:
            connection.reason = f"cipher {connection.cipher} is not AES-GCM"

    def _finish_tx(self) -> None:
        connection, handshake, role = self.connection, self.handshake, self.connection.host_role
        start, keys = handshake.start(role), handshake.keys(role)
        if start is None or keys is None:
            connection.tx_reason = self._why_not(start, role)
            return
        connection.transmission = Transmission(self.streams[role].seq(start), handshake.number(role), keys)
        if keys.aead is not Aead.AES_GCM:
            connection.tx_reason = f"cipher {connection.cipher} is not AES-GCM"

    def _why_not(self, start: int | None, sender: str) -> str:
        handshake = self.handshake
        if handshake.problem:
            return handshake.problem
        if not self.whole:
            return MIDDLE
        holes = [role for role, stream in self.streams.items() if stream.waiting]
        if start is None and holes:
            missing = " and the ".join(holes)
            return f"handshake not whole in the capture (bytes from the {missing} are missing)"
        if handshake.version is None:
            empty = all(s.position == 0 for s in self.streams.values())
            return "no data" if empty else "handshake not whole in the capture (no ServerHello)"
        if handshake.keys(sender) is None:
            return f"no secrets in the key log for what the {sender} sends"
        return "handshake does not finish in the capture"


def follow(
    capture: Capture,
    key_log: KeyLog,
    host: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Followed:
    """Find the capture's connections, seen from the host with address `host`.

    Without `host` it is the side that opened the connections: the address most SYNs come from, and any other
    that sends SYNs from the same Ethernet address.
    """
    segments = [parse_segment(p.frame) for p in capture.packets]
    hosts, warnings = _find_hosts(capture, segments, host)
    followed = Followed(capture, hosts, segments=segments, warnings=warnings)
    macs = {
        p.frame[6:12]
        for p in capture.packets
        if (pair := addresses(p.frame)) and pair[0] in hosts and pair[1] not in hosts
    }
    followers: dict[tuple[Endpoint, Endpoint], _Follower] = {}
    every: list[_Follower] = []
    for packet, segment in zip(capture.packets, segments, strict=True):
        owner = None
        if segment is None:
            followed.incoming.append(_for_host(packet.frame, hosts, macs))
            followed.outgoing.append(_from_host(packet.frame, hosts, macs))
        else:
            follower = _find(followers, every, segment, packet.number, packet.frame, hosts, key_log)
            if follower is None:
                followed.incoming.append(False)
                followed.outgoing.append(False)
            else:
                owner = follower.connection
                followed.incoming.append(segment.destination == owner.host)
                followed.outgoing.append(segment.source == owner.host)
                follower.take(packet.number, segment, packet.frame)
        followed.owners.append(owner)
        progress(packet.number)
    for follower in every:
        follower.finish()
        followed.connections.append(follower.connection)
    return followed


def _find(
    followers: dict[tuple[Endpoint, Endpoint], _Follower],
    every: list[_Follower],
    segment: Segment,
    number: int,
    frame: bytes,
    hosts: frozenset[bytes],
    key_log: KeyLog,
) -> _Follower | None:
    """The follower of a segment's connection, a new one where the segment opens it."""
    source, destination = segment.source, segment.destination
    if source[0] not in hosts and destination[0] not in hosts:
        return None
    key = (source, destination) if source < destination else (destination, source)
    follower = followers.get(key)
    opening = segment.flags & (SYN | ACK) == SYN
    if follower is not None:
        if not opening or (follower.syn_seq == segment.seq and follower.connection.closed is None):
            return follower
        if follower.connection.closed is None:
            follower.connection.closed = number - 1  # its ports are used anew
    if opening or _looks_like_client_hello(segment, frame):
        client, server = source, destination
    elif segment.flags & SYN:
        client, server = destination, source
    else:  # in the middle: ports tell best who is who
        client, server = (destination, source) if source[1] < destination[1] else (source, destination)
    host = client if client[0] in hosts else server
    follower = _Follower(Connection(client, server, host, number), key_log)
    follower.syn_seq = segment.seq if opening else None
    followers[key] = follower
    every.append(follower)
    return follower


def _for_host(frame: bytes, hosts: frozenset[bytes], macs: set[bytes]) -> bool:
    """Whether a frame without a TCP segment arrives at the host's NIC."""
    pair = addresses(frame)
    if pair is not None and pair[0] in hosts:
        return False
    if pair is not None and pair[1] in hosts:
        return True
    if len(frame) < 14 or frame[6:12] in macs:
        return False
    return bool(frame[0] & 1) or frame[0:6] in macs


def _from_host(frame: bytes, hosts: frozenset[bytes], macs: set[bytes]) -> bool:
    """Whether a frame without a TCP segment leaves the host's NIC."""
    pair = addresses(frame)
    return pair[0] in hosts if pair is not None else frame[6:12] in macs


def _find_hosts(
    capture: Capture, segments: list[Segment | None], host: str | None
) -> tuple[frozenset[bytes], list[str]]:
    if host is not None:
        try:
            address = ipaddress.ip_address(host).packed
        except ValueError:
            raise InputError(f"--host {host}: not an IP address") from None
        seen = Counter(a for s in segments if s for a in (s.source[0], s.destination[0]))
        if address not in seen:
            there = ", ".join(str(ipaddress.ip_address(a)) for a, _ in seen.most_common(8)) or "none"
            raise InputError(f"--host {host}: no TCP packet from or to it in the capture (but: {there})")
        return frozenset([address]), []
    openers: Counter[bytes] = Counter()
    macs: dict[bytes, set[bytes]] = {}
    peers: dict[bytes, set[bytes]] = {}
    for packet, segment in zip(capture.packets, segments, strict=True):
        if segment and (segment.flags & (SYN | ACK) == SYN or _looks_like_client_hello(segment, packet.frame)):
            source = segment.source[0]
            openers[source] += 1
            macs.setdefault(source, set()).add(packet.frame[6:12])
            peers.setdefault(source, set()).add(segment.destination[0])
    if openers:
        first = openers.most_common(1)[0][0]
        same = {a for a in openers if macs[a] & macs[first] and first not in peers[a] and a not in peers[first]}
        hosts = frozenset(same | {first})
        others = [str(ipaddress.ip_address(a)) for a in openers if a not in hosts and not peers[a] & hosts]
        warnings = []
        if others:
            chosen = ", ".join(str(ipaddress.ip_address(a)) for a in hosts)
            warnings.append(
                f"simulating the NIC of {chosen}; {', '.join(others)} opened connections too: choose with --host"
            )
        return hosts, warnings
    receivers: Counter[bytes] = Counter()
    for segment in segments:
        if segment:
            receivers[segment.destination[0]] += segment.size
    if not receivers:
        return frozenset(), ["no TCP packets in the capture"]
    chosen = receivers.most_common(1)[0][0]
    return frozenset([chosen]), [
        f"no connection opens in the capture; simulating the NIC of {ipaddress.ip_address(chosen)}, which "
        "receives most: choose with --host"
    ]
