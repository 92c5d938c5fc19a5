"""Key logs and key schedules.

RFC 8448, section 3 (simple 1-RTT handshake): the traffic secrets, keys and IVs printed there. TLS 1.2 PRF:
the SHA-256 vector of https://mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/. That whole TLS 1.2
keys are right, SHA-384 suites included, is shown by the recorded sessions, which decrypt.
"""

import pytest

from sim.errors import InputError
from sim.secrets import Aead, KeyLog, prf, suite, tls12_keys, tls13_keys

RANDOM = "aa" * 32


@pytest.mark.parametrize(
    ("secret", "key", "iv"),
    [
        # {server} derive write traffic keys for handshake data
        (
            "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
            "3fce516009c21727d0f2e4e86ee403bc",
            "5d313eb2671276ee13000b30",
        ),
        # {client} derive write traffic keys for handshake data
        (
            "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
            "dbfaa693d1762c5b666af5d950258d01",
            "5bd3c71b836e0b76bb73265f",
        ),
        # {server} derive write traffic keys for application data
        (
            "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
            "9f02283b6c9c07efc26bb9f2ac92e356",
            "cf782b88dd83549aadf1e984",
        ),
        # {client} derive write traffic keys for application data
        (
            "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
            "17422dda596ed5d9acd890e3c63f5051",
            "5b78923dee08579033e523d9",
        ),
    ],
)
def test_rfc8448_traffic_keys(secret, key, iv):
    keys = tls13_keys(bytes.fromhex(secret), suite(0x1301))
    assert (keys.key.hex(), (keys.salt + keys.iv).hex(), len(keys.salt)) == (key, iv, 4)


def test_tls12_prf_sha256():
    out = prf(
        bytes.fromhex("9bbe436ba940f017b17652849a71db35"),
        b"test label",
        bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c"),
        100,
        "sha256",
    )
    assert out.hex() == (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa0"
        "22f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
    )


def test_tls12_keys_are_cut_from_the_key_block_in_order():
    master, client, server = bytes(48), b"c" * 32, b"s" * 32
    for code, key_size, hash_name in ((0xC02F, 16, "sha256"), (0xC030, 32, "sha384")):
        block = prf(master, b"key expansion", server + client, 2 * key_size + 8, hash_name)
        keys = tls12_keys(master, client, server, suite(code))
        parts = [keys["client"].key, keys["server"].key, keys["client"].salt, keys["server"].salt]
        assert b"".join(parts) == block
        assert keys["client"].iv == bytes(8)
    chacha = tls12_keys(master, client, server, suite(0xCCA8))["server"]
    assert (chacha.aead, chacha.salt, len(chacha.iv)) == (Aead.CHACHA20_POLY1305, b"", 12)


def test_key_log_takes_comments_unknown_labels_and_several_sources():
    log = KeyLog()
    log.add(f"\ufeff# comment\n\nCLIENT_RANDOM {RANDOM} {'0b' * 48}\nRSA 1122 33\nFUTURE x y\r\n", "a")
    log.add(f"SERVER_TRAFFIC_SECRET_0 {RANDOM.upper()} {'0c' * 32}\n", "b")
    assert len(log) == 1 and bytes.fromhex(RANDOM) in log
    assert log.get(bytes.fromhex(RANDOM), "CLIENT_RANDOM") == b"\x0b" * 48
    assert log.get(bytes.fromhex(RANDOM), "SERVER_TRAFFIC_SECRET_0") == b"\x0c" * 32
    assert log.get(bytes(32), "CLIENT_RANDOM") is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("CLIENT_RANDOM abc", "line 2: 2 words"),
        (f"CLIENT_RANDOM {RANDOM} {'zz' * 48}", "line 2: CLIENT_RANDOM: not hexadecimal"),
        (f"CLIENT_RANDOM aabb {'00' * 48}", "client random of 2 bytes, not 32"),
        (f"CLIENT_RANDOM {RANDOM} {'00' * 32}", "secret of 32 bytes, not 48"),
        (f"SERVER_TRAFFIC_SECRET_0 {RANDOM} {'00' * 40}", "secret of 40 bytes, not 32 or 48"),
    ],
)
def test_malformed_lines_are_named(line, message):
    with pytest.raises(InputError, match=f"my.keys, {message}" if message.startswith("line") else message):
        KeyLog().add(f"# first\n{line}\n", "my.keys")


def test_suites_are_named():
    assert suite(0xC013).name == "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA" and suite(0xC013).aead is None
    assert suite(0xFAFA).name == "0xFAFA"
    assert suite(0x009D).name == "TLS_RSA_WITH_AES_256_GCM_SHA384"
