"""TLS sessions made on the spot by Python's ssl module over memory, as captures: any handshake OpenSSL can do."""

import datetime
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from model.commands import Tuple4
from sim.capture import Capture
from sim.secrets import KeyLog
from sim.traffic import ACK, FIN, SYN, tcp_frame
from tests.sim.sessions import capture_of

CLIENT, SERVER = b"\x0a\0\0\1", b"\x0a\0\0\2"


def certificate(folder: Path) -> Path:
    """A self-signed certificate with its key, as one PEM file."""
    path = folder / "live.pem"
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "live.test")])
        now = datetime.datetime.now(datetime.UTC)
        built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        built = built.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        path.write_bytes(
            built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return path


@dataclass
class Live:
    """Two contexts that log their secrets, and the connections made with them."""

    folder: Path
    version: ssl.TLSVersion
    ciphers: str = ""
    client_certificate: bool = False
    curve: str = ""
    frames: list[bytes] = field(default_factory=list)
    ports: int = 40000

    def __post_init__(self) -> None:
        pem = certificate(self.folder)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.check_hostname, self.client.verify_mode = False, ssl.CERT_NONE
        self.server.load_cert_chain(pem)
        for context in (self.server, self.client):
            context.minimum_version = context.maximum_version = self.version
            if self.ciphers:
                context.set_ciphers(self.ciphers)
        if self.client_certificate:
            self.client.load_cert_chain(pem)
            self.server.load_verify_locations(pem)
            self.server.verify_mode = ssl.CERT_REQUIRED
        if self.curve:
            self.server.set_ecdh_curve(self.curve)
        self.keys = self.folder / "live.keys"
        self.client.keylog_filename = str(self.keys)

    def connect(
        self, down: bytes, up: bytes, session: ssl.SSLSession | None = None, mss: int = 1000
    ) -> ssl.SSLSession | None:
        """One connection: `up` from the client, then `down` from the server; the session to resume."""
        self.ports += 1
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = {
            "client": self.client.wrap_bio(to_client, to_server, session=session),
            "server": self.server.wrap_bio(to_server_copy := ssl.MemoryBIO(), to_client_raw := ssl.MemoryBIO(), True),
        }
        seq = {"client": 1_000, "server": 2**32 - 5_000}

        def send(sender: str, payload: bytes, flags: int = ACK) -> None:
            other = "server" if sender == "client" else "client"
            endpoints = {"client": (CLIENT, self.ports), "server": (SERVER, 443)}
            tuple4 = Tuple4(*endpoints[sender], *endpoints[other])
            ack = seq[other] if flags & ACK else 0
            self.frames.append(tcp_frame(tuple4, seq[sender], payload, flags=flags, ack=ack))
            seq[sender] = seq[sender] + len(payload) + bool(flags & (SYN | FIN)) & 0xFFFFFFFF

        def flush() -> None:
            for sender, out, into in (("client", to_server, to_server_copy), ("server", to_client_raw, to_client)):
                data = out.read()
                for at in range(0, len(data), mss):
                    send(sender, data[at : at + mss])
                into.write(data)

        send("client", b"", SYN)
        send("server", b"", SYN | ACK)
        send("client", b"")
        done: set[str] = set()
        while len(done) < 2:
            for name, end in ends.items():
                try:
                    end.do_handshake()
                    done.add(name)
                except ssl.SSLWantReadError:
                    pass
                flush()
        for sender, data in (("client", up), ("server", down)):
            for at in range(0, len(data), 16384):
                ends[sender].write(data[at : at + 16384])
            flush()
            other = ends["server" if sender == "client" else "client"]
            left = len(data)
            while left:
                left -= len(other.read(left))
        resumable = ends["client"].session
        for name in ("client", "server"):
            try:
                ends[name].unwrap()
            except ssl.SSLError:
                pass
            flush()
        send("client", b"", FIN | ACK)
        send("server", b"", FIN | ACK)
        return resumable

    @property
    def capture(self) -> Capture:
        return capture_of(self.frames)

    @property
    def key_log(self) -> KeyLog:
        log = KeyLog()
        log.add(self.keys.read_text(), "live.keys")
        return log
