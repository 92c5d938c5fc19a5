"""TLS secrets: NSS key logs, and the way from master and traffic secrets to keys, salts and IVs.

Sources: RFC 5246 (sections 5 and 6.3), RFC 5288, RFC 7905, RFC 8446 (section 7), draft-ietf-tls-keylogfile.
"""

import hmac
from dataclasses import dataclass, field
from enum import Enum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from sim.errors import InputError

TLS12, TLS13 = 0x0303, 0x0304
VERSION_NAMES = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", TLS12: "TLS 1.2", TLS13: "TLS 1.3"}

MASTER_SECRET = "CLIENT_RANDOM"
TRAFFIC_SECRETS = {"client": "CLIENT_TRAFFIC_SECRET_0", "server": "SERVER_TRAFFIC_SECRET_0"}
HANDSHAKE_SECRETS = {"client": "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "server": "SERVER_HANDSHAKE_TRAFFIC_SECRET"}
SECRET_SIZES = {
    MASTER_SECRET: (48,),
    **dict.fromkeys((*TRAFFIC_SECRETS.values(), *HANDSHAKE_SECRETS.values()), (32, 48)),
}


class Aead(Enum):
    AES_GCM = "AES-GCM"
    CHACHA20_POLY1305 = "ChaCha20-Poly1305"


@dataclass(frozen=True, slots=True)
class Suite:
    """What a cipher suite means for the record layer; `aead` is None where no code here decrypts it."""

    name: str
    aead: Aead | None
    key_size: int = 0
    hash: str = "sha256"


@dataclass(frozen=True, slots=True)
class TrafficKeys:
    """One direction's keys: `salt` and `iv` split as the kernel's tls_crypto_info has them.

    AES-GCM: salt of 4 bytes, iv of 8 (zero in TLS 1.2, where the nonce is on the wire). ChaCha20-Poly1305: no
    salt, iv of 12.
    """

    version: int
    aead: Aead
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    iv: bytes = field(repr=False)


def _suites() -> dict[int, Suite]:
    gcm = {
        0x009C: "RSA", 0x009E: "DHE_RSA", 0x00A0: "DH_RSA", 0x00A2: "DHE_DSS", 0x00A4: "DH_DSS",
        0x00A6: "DH_anon", 0x00A8: "PSK", 0x00AA: "DHE_PSK", 0x00AC: "RSA_PSK", 0xC02B: "ECDHE_ECDSA",
        0xC02D: "ECDH_ECDSA", 0xC02F: "ECDHE_RSA", 0xC031: "ECDH_RSA",
    }  # fmt: skip
    table = {
        0x1301: Suite("TLS_AES_128_GCM_SHA256", Aead.AES_GCM, 16),
        0x1302: Suite("TLS_AES_256_GCM_SHA384", Aead.AES_GCM, 32, "sha384"),
        0x1303: Suite("TLS_CHACHA20_POLY1305_SHA256", Aead.CHACHA20_POLY1305, 32),
        0x1304: Suite("TLS_AES_128_CCM_SHA256", None),
        0x1305: Suite("TLS_AES_128_CCM_8_SHA256", None),
        0xD001: Suite("TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256", Aead.AES_GCM, 16),
        0xD002: Suite("TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384", Aead.AES_GCM, 32, "sha384"),
    }
    for code, exchange in gcm.items():
        table[code] = Suite(f"TLS_{exchange}_WITH_AES_128_GCM_SHA256", Aead.AES_GCM, 16)
        table[code + 1] = Suite(f"TLS_{exchange}_WITH_AES_256_GCM_SHA384", Aead.AES_GCM, 32, "sha384")
    for code, exchange in enumerate(
        ("ECDHE_RSA", "ECDHE_ECDSA", "DHE_RSA", "PSK", "ECDHE_PSK", "DHE_PSK", "RSA_PSK"), 0xCCA8
    ):
        name = f"TLS_{exchange}_WITH_CHACHA20_POLY1305_SHA256"
        table[code] = Suite(name, Aead.CHACHA20_POLY1305, 32)
    # common suites nothing here decrypts: named so that the reason can be read
    for code, name in {
        0x002F: "RSA_WITH_AES_128_CBC_SHA", 0x0035: "RSA_WITH_AES_256_CBC_SHA",
        0x0033: "DHE_RSA_WITH_AES_128_CBC_SHA", 0x0039: "DHE_RSA_WITH_AES_256_CBC_SHA",
        0x003C: "RSA_WITH_AES_128_CBC_SHA256", 0x003D: "RSA_WITH_AES_256_CBC_SHA256",
        0x0067: "DHE_RSA_WITH_AES_128_CBC_SHA256", 0x006B: "DHE_RSA_WITH_AES_256_CBC_SHA256",
        0xC009: "ECDHE_ECDSA_WITH_AES_128_CBC_SHA", 0xC00A: "ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        0xC013: "ECDHE_RSA_WITH_AES_128_CBC_SHA", 0xC014: "ECDHE_RSA_WITH_AES_256_CBC_SHA",
        0xC023: "ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", 0xC024: "ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
        0xC027: "ECDHE_RSA_WITH_AES_128_CBC_SHA256", 0xC028: "ECDHE_RSA_WITH_AES_256_CBC_SHA384",
        0xC09C: "RSA_WITH_AES_128_CCM", 0xC09D: "RSA_WITH_AES_256_CCM",
        0xC09E: "DHE_RSA_WITH_AES_128_CCM", 0xC09F: "DHE_RSA_WITH_AES_256_CCM",
        0xC0AC: "ECDHE_ECDSA_WITH_AES_128_CCM", 0xC0AD: "ECDHE_ECDSA_WITH_AES_256_CCM",
    }.items():  # fmt: skip
        table[code] = Suite("TLS_" + name, None)
    return table


SUITES = _suites()


def suite(code: int) -> Suite:
    """The suite of a code from ServerHello; unknown ones are named by their number."""
    return SUITES.get(code) or Suite(f"0x{code:04X}", None)


class KeyLog:
    """Secrets by client random and label, from one or more key logs."""

    def __init__(self) -> None:
        self._secrets: dict[bytes, dict[str, bytes]] = {}

    def __len__(self) -> int:
        return len(self._secrets)

    def __contains__(self, client_random: bytes) -> bool:
        return client_random in self._secrets

    def get(self, client_random: bytes, label: str) -> bytes | None:
        return self._secrets.get(client_random, {}).get(label)

    def add(self, text: str, source: str) -> None:
        """Read a key log; InputError with the line of what is neither comment nor `LABEL hex hex`."""
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.strip().lstrip("\ufeff")
            if not line or line.startswith("#"):
                continue
            words = line.split()
            where = f"{source}, line {number}"
            if len(words) != 3:
                raise InputError(f"{where}: {len(words)} words where LABEL, client random and secret should stand")
            label, client_random, secret = words
            if label not in SECRET_SIZES:
                continue
            try:
                random_bytes, secret_bytes = bytes.fromhex(client_random), bytes.fromhex(secret)
            except ValueError:
                raise InputError(f"{where}: {label}: not hexadecimal") from None
            if len(random_bytes) != 32:
                raise InputError(f"{where}: {label}: client random of {len(random_bytes)} bytes, not 32")
            if len(secret_bytes) not in SECRET_SIZES[label]:
                sizes = " or ".join(map(str, SECRET_SIZES[label]))
                raise InputError(f"{where}: {label}: secret of {len(secret_bytes)} bytes, not {sizes}")
            self._secrets.setdefault(random_bytes, {})[label] = secret_bytes


def prf(secret: bytes, label: bytes, seed: bytes, size: int, hash_name: str) -> bytes:
    """TLS 1.2 pseudorandom function (RFC 5246, section 5)."""
    seed = label + seed
    a, out = seed, b""
    while len(out) < size:
        a = hmac.digest(secret, a, hash_name)
        out += hmac.digest(secret, a + seed, hash_name)
    return out[:size]


def hkdf_expand_label(secret: bytes, label: str, context: bytes, size: int, hash_name: str) -> bytes:
    """HKDF-Expand-Label (RFC 8446, section 7.1)."""
    full = b"tls13 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + bytes([len(context)]) + context
    algorithm = hashes.SHA384() if hash_name == "sha384" else hashes.SHA256()
    return HKDFExpand(algorithm, size, info).derive(secret)


def _split(version: int, aead: Aead, key: bytes, iv: bytes) -> TrafficKeys:
    if aead is Aead.CHACHA20_POLY1305:
        return TrafficKeys(version, aead, key, b"", iv)
    return TrafficKeys(version, aead, key, iv[:4], iv[4:].ljust(8, b"\0"))


def tls12_keys(
    master_secret: bytes, client_random: bytes, server_random: bytes, suite: Suite
) -> dict[str, TrafficKeys]:
    """Keys of both senders, "client" and "server", from the master secret."""
    assert suite.aead is not None
    iv_size = 4 if suite.aead is Aead.AES_GCM else 12
    block = prf(
        master_secret,
        b"key expansion",
        server_random + client_random,
        2 * (suite.key_size + iv_size),
        suite.hash,
    )
    keys, ivs = block[: 2 * suite.key_size], block[2 * suite.key_size :]
    return {
        "client": _split(TLS12, suite.aead, keys[: suite.key_size], ivs[:iv_size]),
        "server": _split(TLS12, suite.aead, keys[suite.key_size :], ivs[iv_size:]),
    }


def tls13_keys(traffic_secret: bytes, suite: Suite) -> TrafficKeys:
    """Keys of the sender a handshake or application traffic secret belongs to."""
    assert suite.aead is not None
    key = hkdf_expand_label(traffic_secret, "key", b"", suite.key_size, suite.hash)
    iv = hkdf_expand_label(traffic_secret, "iv", b"", 12, suite.hash)
    return _split(TLS13, suite.aead, key, iv)
