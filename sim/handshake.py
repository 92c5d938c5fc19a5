"""Following a TLS handshake in two byte streams to the point where the application keys begin.

Sources: RFC 5246 (section 7), RFC 8446 (sections 4 and 5). Both streams are fed in order, without holes; what
is found is the version, the suite, each sender's application keys, and for each sender where the first record
behind its Finished message stands, and that record's number.
"""

import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from sim.secrets import (
    HANDSHAKE_SECRETS,
    MASTER_SECRET,
    TLS12,
    TLS13,
    TRAFFIC_SECRETS,
    VERSION_NAMES,
    Aead,
    KeyLog,
    Suite,
    TrafficKeys,
    suite,
    tls12_keys,
    tls13_keys,
)

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, FINISHED = 1, 2, 20
SUPPORTED_VERSIONS = 43
HELLO_RETRY_REQUEST = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
MAX_LENGTH = 16384 + 2048


class Problem(Exception):
    """Why the connection cannot be followed, as the reason a person reads."""


@dataclass(frozen=True, slots=True)
class Record:
    start: int
    """Place of the header in the stream, from 0."""
    header: bytes
    body: bytes

    @property
    def kind(self) -> int:
        return self.header[0]

    @property
    def end(self) -> int:
        return self.start + 5 + len(self.body)


class RecordReader:
    """Cuts a byte stream into records."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0

    def feed(self, data: bytes) -> list[Record]:
        self._buffer += data
        records = []
        at = 0
        while len(self._buffer) - at >= 5:
            kind, version, length = struct.unpack_from("!BHH", self._buffer, at)
            if not 20 <= kind <= 24 or version >> 8 != 3 or length > MAX_LENGTH:
                where = f"byte {self._start + at} of the stream"
                raise Problem(f"not TLS ({where}: {self._buffer[at : at + 5].hex(' ')})")
            if len(self._buffer) - at < 5 + length:
                break
            header, body = bytes(self._buffer[at : at + 5]), bytes(self._buffer[at + 5 : at + 5 + length])
            records.append(Record(self._start + at, header, body))
            at += 5 + length
        del self._buffer[:at]
        self._start += at
        return records


def open_tls13(keys: TrafficKeys, number: int, record: Record) -> tuple[int, bytes] | None:
    """Inner type and content of a TLS 1.3 record, None if it is not authentic under this key and number."""
    static_iv = keys.salt + keys.iv
    nonce = (int.from_bytes(static_iv, "big") ^ number).to_bytes(12, "big")
    cipher = AESGCM(keys.key) if keys.aead is Aead.AES_GCM else ChaCha20Poly1305(keys.key)
    try:
        inner = cipher.decrypt(nonce, record.body, record.header).rstrip(b"\0")
    except (InvalidTag, ValueError):
        return None
    return (inner[-1], inner[:-1]) if inner else None


def opens_tls12(keys: TrafficKeys, number: int, record: Record) -> bool:
    """Whether a TLS 1.2 record is authentic under this key and number."""
    explicit = 8 if keys.aead is Aead.AES_GCM else 0
    plain_size = len(record.body) - explicit - 16
    if plain_size < 0:
        return False
    aad = struct.pack("!Q", number) + record.header[:3] + struct.pack("!H", plain_size)
    try:
        if explicit:
            AESGCM(keys.key).decrypt(keys.salt + record.body[:8], record.body[8:], aad)
        else:
            nonce = (int.from_bytes(keys.iv, "big") ^ number).to_bytes(12, "big")
            ChaCha20Poly1305(keys.key).decrypt(nonce, record.body, aad)
    except InvalidTag:
        return False
    return True


@dataclass
class _Side:
    """What one sender has sent so far."""

    reader: RecordReader = field(default_factory=RecordReader)
    pending: list[Record] = field(default_factory=list)
    messages: bytearray = field(default_factory=bytearray)
    changed_cipher: bool = False
    handshake_keys: TrafficKeys | None = None
    handshake_number: int = 0
    application_keys: TrafficKeys | None = None
    start: int | None = None
    number: int = 0


class Handshake:
    """Both streams of one connection; feed until `finished` or `problem`."""

    def __init__(self, key_log: KeyLog):
        self._key_log = key_log
        self._sides = {"client": _Side(), "server": _Side()}
        self._client_random: bytes | None = None
        self.version: int | None = None
        self.suite: Suite | None = None
        self.problem = ""

    @property
    def version_name(self) -> str:
        return VERSION_NAMES.get(self.version, f"0x{self.version:04x}") if self.version else ""

    def keys(self, sender: str) -> TrafficKeys | None:
        return self._sides[sender].application_keys

    def start(self, sender: str) -> int | None:
        """Place in the sender's stream of the first record behind its Finished message."""
        return self._sides[sender].start

    def number(self, sender: str) -> int:
        """Number of that record under the application keys."""
        return self._sides[sender].number

    def wants(self, sender: str) -> bool:
        return not self.problem and self._sides[sender].start is None

    def feed(self, sender: str, data: bytes) -> None:
        if not self.wants(sender):
            return
        try:
            side = self._sides[sender]
            side.pending += side.reader.feed(data)
            self._progress(sender)
            if sender == "server" and self.wants("client"):
                self._progress("client")  # may have waited for the ServerHello
        except Problem as e:
            self.problem = str(e)
        except (struct.error, IndexError):
            self.problem = f"malformed handshake message of the {sender}"

    def _progress(self, sender: str) -> None:
        side = self._sides[sender]
        while side.pending and side.start is None:
            record = side.pending[0]
            if record.kind == HANDSHAKE and not side.changed_cipher:
                side.messages += record.body
                self._read_messages(sender, side)
            elif self.version is None:
                # a server's ChangeCipherSpec in front of its ServerHello follows a HelloRetryRequest
                if record.kind != ALERT and (record.kind, sender) != (CHANGE_CIPHER_SPEC, "server"):
                    return  # early data or its ChangeCipherSpec: the ServerHello says how to read on
            elif self.version == TLS12:
                self._tls12(side, record)
            elif record.kind == APPLICATION_DATA:
                self._tls13(sender, side, record)
            side.pending.pop(0)

    def _tls12(self, side: _Side, record: Record) -> None:
        if record.kind == CHANGE_CIPHER_SPEC:
            side.changed_cipher = True
        elif record.kind == HANDSHAKE:  # the Finished message: number 0 under the new keys
            if side.application_keys and not opens_tls12(side.application_keys, 0, record):
                raise Problem("the Finished message does not decrypt: the key log has another master secret")
            side.start, side.number = record.end, 1

    def _tls13(self, sender: str, side: _Side, record: Record) -> None:
        if side.handshake_keys is None:
            if side.application_keys and open_tls13(side.application_keys, 0, record):
                side.start = record.start
            return
        opened = open_tls13(side.handshake_keys, side.handshake_number, record)
        if opened is None:
            if side.handshake_number == 0 and sender == "client":
                return  # 0-RTT data
            raise Problem(f"a handshake record of the {sender} does not decrypt: the key log is wrong")
        side.handshake_number += 1
        kind, content = opened
        if kind == HANDSHAKE:
            side.messages += content
            if self._read_messages(sender, side):
                side.start = record.end

    def _read_messages(self, sender: str, side: _Side) -> bool:
        """Take whole messages; True when Finished was among them."""
        finished = False
        while len(side.messages) >= 4:
            size = 4 + int.from_bytes(side.messages[1:4], "big")
            if len(side.messages) < size:
                break
            kind, body = side.messages[0], bytes(side.messages[4:size])
            del side.messages[:size]
            if kind == CLIENT_HELLO and sender == "client":
                self._client_random = body[2:34]
            elif kind == SERVER_HELLO and sender == "server":
                self._server_hello(body)
            finished |= kind == FINISHED
        return finished

    def _server_hello(self, body: bytes) -> None:
        (version,) = struct.unpack_from("!H", body)
        server_random = body[2:34]
        if server_random == HELLO_RETRY_REQUEST:
            return
        at = 35 + body[34]
        (code,) = struct.unpack_from("!H", body, at)
        for kind, value in _extensions(body[at + 3 :]):
            if kind == SUPPORTED_VERSIONS:
                (version,) = struct.unpack("!H", value)
        self.version, self.suite = version, suite(code)
        if self._client_random is None:
            raise Problem("handshake not whole in the capture (no ClientHello)")
        if version not in (TLS12, TLS13):
            raise Problem(f"{self.version_name} is neither TLS 1.2 nor TLS 1.3")
        if self.suite.aead is None:
            raise Problem(f"cipher {self.suite.name} is not AES-GCM, and the software path does not know it")
        self._derive(self._client_random, server_random, self.suite)

    def _derive(self, client_random: bytes, server_random: bytes, suite: Suite) -> None:
        shown = client_random.hex()
        if client_random not in self._key_log:
            why = "no secrets in the key log" if len(self._key_log) else "no key log"
            raise Problem(f"{why} for client random {shown}")
        if self.version == TLS12:
            master = self._key_log.get(client_random, MASTER_SECRET)
            if master is None:
                raise Problem(f"no {MASTER_SECRET} line in the key log for client random {shown}")
            for sender, keys in tls12_keys(master, client_random, server_random, suite).items():
                self._sides[sender].application_keys = keys
            return
        for sender, side in self._sides.items():
            for label, name in ((HANDSHAKE_SECRETS, "handshake_keys"), (TRAFFIC_SECRETS, "application_keys")):
                secret = self._key_log.get(client_random, label[sender])
                if secret is None:
                    continue
                if len(secret) != (48 if suite.hash == "sha384" else 32):
                    raise Problem(f"{label[sender]} in the key log has the wrong size for {suite.name}")
                setattr(side, name, tls13_keys(secret, suite))


def _extensions(data: bytes) -> list[tuple[int, bytes]]:
    if len(data) < 2:
        return []
    found, at = [], 2
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("!HH", data, at)
        found.append((kind, data[at + 4 : at + 4 + size]))
        at += 4 + size
    return found
