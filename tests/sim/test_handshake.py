"""Handshakes of every shape, made by OpenSSL on the spot: the keys must begin at the right place from both ends."""

import hashlib
import ipaddress
import random
import ssl

import pytest

from sim.connections import follow
from sim.run import Settings, run
from tests.sim.live import CLIENT, SERVER, Live

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
rng = random.Random(1)
DOWN, UP = rng.randbytes(50_000), rng.randbytes(20_000)


def check(live: Live, connections: int = 1) -> None:
    """Both hosts' applications read what was sent, and all of it came through the device."""
    for host, data in ((CLIENT, DOWN), (SERVER, UP)):
        outcome = run(follow(live.capture, live.key_log, str(ipaddress.ip_address(host))), Settings())
        assert outcome.equal, outcome.mismatches
        assert len(outcome.sockets) == connections
        for socket in outcome.sockets:
            assert socket.reason == "" and socket.receiver is not None
            assert socket.receiver.error is None
            assert socket.receiver.application.sha256 == hashlib.sha256(data).hexdigest()
            assert socket.packets_decrypted == socket.packets


@pytest.mark.parametrize("mss", [17, 536, 1460, 8000])
@pytest.mark.parametrize("version", [V12, V13])
def test_full_handshake(tmp_path, version, mss):
    live = Live(tmp_path, version)
    live.connect(DOWN, UP, mss=mss)
    check(live)


@pytest.mark.parametrize("version", [V12, V13])
def test_client_certificate(tmp_path, version):
    live = Live(tmp_path, version, client_certificate=True)
    live.connect(DOWN, UP)
    check(live)


@pytest.mark.parametrize("version", [V12, V13])
def test_resumption(tmp_path, version):
    """In TLS 1.2 the server's Finished message comes first then: the client ends the handshake."""
    live = Live(tmp_path, version)
    session = live.connect(DOWN, UP)
    live.connect(DOWN, UP, session)
    check(live, 2)


def test_hello_retry_request(tmp_path):
    live = Live(tmp_path, V13, curve="secp521r1")
    live.connect(DOWN, UP)
    check(live)


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"])
def test_tls12_suites(tmp_path, cipher):
    live = Live(tmp_path, V12, ciphers=cipher)
    live.connect(DOWN, UP)
    check(live)


def test_tls12_chacha_is_read_in_software(tmp_path):
    live = Live(tmp_path, V12, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")
    live.connect(DOWN, UP)
    outcome = run(follow(live.capture, live.key_log), Settings())
    (socket,) = outcome.sockets
    assert outcome.equal and not socket.offloaded
    assert socket.reason == "cipher TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 is not AES-GCM"
    assert socket.receiver.application.sha256 == hashlib.sha256(DOWN).hexdigest()


def test_cbc_is_named(tmp_path):
    live = Live(tmp_path, V12, ciphers="ECDHE-ECDSA-AES128-SHA256")
    live.connect(DOWN, UP)
    (connection,) = follow(live.capture, live.key_log).connections
    assert connection.reason == (
        "cipher TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 is not AES-GCM, and the software path does not know it"
    )
