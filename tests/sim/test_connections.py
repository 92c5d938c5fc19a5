"""Following connections: what is found in the recorded sessions, whole and damaged, from both ends."""

import dataclasses
import ipaddress

import pytest

from sim.connections import MIDDLE, Followed, follow
from sim.errors import InputError
from sim.packets import SYN, parse_segment
from sim.secrets import KeyLog
from tests.sim.conftest import NAMES
from tests.sim.sessions import capture_of, frames, key_log, session, shift_sequence

CLIENT, SERVER = ipaddress.ip_address("10.77.0.1").packed, ipaddress.ip_address("10.77.0.2").packed
ONE = "tls13-aes128-clean"


def only(followed: Followed):
    (connection,) = followed.connections
    return connection


def payload_positions(capture, source=SERVER):
    """Indices of the packets with payload from `source`."""
    out = []
    for index, packet in enumerate(capture.packets):
        segment = parse_segment(packet.frame)
        if segment and segment.source[0] == source and segment.size:
            out.append(index)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_session_is_found_with_keys(name):
    capture, log = session(name)
    followed = follow(capture, log)
    assert len(followed.connections) == (16 if "16conn" in name else 1)
    version = "TLS 1.2" if "tls12" in name else "TLS 1.3"
    for connection in followed.connections:
        assert connection.version == version
        assert connection.installation is not None
        assert connection.installation.record_number == (1 if "tls12" in name else 0)
        assert connection.host_role == "client" and connection.closed is not None and connection.hole == 0
        assert bool(connection.reason) == ("chacha" in name)
    assert not followed.warnings


@pytest.mark.parametrize("name", NAMES)
def test_keys_go_in_behind_the_last_handshake_packet_and_before_application_data(name):
    capture, log = session(name)
    followed = follow(capture, log)
    for connection in followed.connections:
        keys = connection.installation
        assert followed.owners[keys.after - 1] is connection
        last = followed.segments[keys.after - 1]
        # a TLS 1.3 client ends the handshake by sending, a TLS 1.2 client by receiving
        assert (last.source == connection.client) == (connection.version == "TLS 1.3")
        following = [
            s
            for s, owner in zip(followed.segments[keys.after :], followed.owners[keys.after :], strict=True)
            if owner is connection and s.source == connection.peer and s.size
        ]
        assert following[0].seq == keys.start_seq


@pytest.mark.parametrize("name", [ONE, "tls13-aes128-loss", "tls13-aes256-v6"])
def test_without_handshake_secrets_the_place_is_found_by_trial(name):
    capture, log = session(name)
    whole = only(follow(capture, log)).installation
    trial = only(follow(capture, key_log(name, lambda label: "TRAFFIC_SECRET_0" in label))).installation
    assert trial == whole


def test_one_direction_is_enough():
    capture, log = session(ONE)
    whole = only(follow(capture, log)).installation
    found = only(follow(capture, key_log(ONE, lambda label: label == "SERVER_TRAFFIC_SECRET_0"))).installation
    assert found == whole


def test_missing_secret_of_the_sender_is_named():
    capture, _ = session(ONE)
    found = only(follow(capture, key_log(ONE, lambda label: "CLIENT" in label)))
    assert found.installation is None
    assert found.reason == "no secrets in the key log for what the server sends"


@pytest.mark.parametrize(("name", "number"), [(ONE, 0), ("tls12-aes128-clean", 1)])
def test_from_the_servers_side(name, number):
    capture, log = session(name)
    connection = only(follow(capture, log, "10.77.0.2"))
    assert connection.host_role == "server" and connection.installation.record_number == number
    assert connection.installation.keys != only(follow(capture, log)).installation.keys


def test_no_secrets_for_this_session_names_the_client_random():
    capture, log = session(ONE)
    other = only(follow(capture, session("tls13-aes128-loss")[1]))
    random = next(iter(log._secrets)).hex()
    assert other.reason == f"no secrets in the key log for client random {random}"
    assert (other.version, other.cipher) == ("TLS 1.3", "TLS_AES_128_GCM_SHA256")
    assert only(follow(capture, KeyLog())).reason == f"no key log for client random {random}"


@pytest.mark.parametrize("name", [ONE, "tls12-aes128-clean"])
def test_wrong_secrets_are_said_to_be_wrong(name):
    capture, log = session(name)
    for secrets in log._secrets.values():
        for label in secrets:
            secrets[label] = bytes(len(secrets[label]))
    found = only(follow(capture, log))
    assert found.installation is None and "does not decrypt: the key log" in found.reason


def test_start_in_the_middle():
    capture, log = session(ONE)
    found = only(follow(capture_of(frames(capture)[40:]), log))
    assert found.reason == MIDDLE and found.installation is None


def test_start_behind_the_syn_is_early_enough():
    capture, log = session(ONE)
    whole = frames(capture)
    hello = payload_positions(capture, CLIENT)[0]
    found = only(follow(capture_of(whole[hello:]), log))
    expected = only(follow(capture, log)).installation
    assert found.installation == dataclasses.replace(expected, after=expected.after - hello)


def test_lost_server_hello():
    capture, log = session(ONE)
    kept = frames(capture)
    del kept[payload_positions(capture)[0]]
    found = only(follow(capture_of(kept), log))
    assert found.reason == "handshake not whole in the capture (bytes from the server are missing)"
    assert found.installation is None and found.hole > 0


@pytest.mark.parametrize("name", [ONE, "tls12-aes128-clean"])
def test_handshake_packets_out_of_order_and_twice(name):
    capture, log = session(name)
    expected = only(follow(capture, log)).installation
    mixed = frames(capture)
    first, second = payload_positions(capture)[:2]
    mixed[first], mixed[second] = mixed[second], mixed[first]
    mixed.insert(second, mixed[first])
    mixed.insert(second, mixed[first])
    found = only(follow(capture_of(mixed), log)).installation
    assert dataclasses.replace(found, after=0) == dataclasses.replace(expected, after=0)


@pytest.mark.parametrize("inside", [10, 2000, 100_000])
def test_sequence_numbers_wrap(inside):
    capture, log = session(ONE)
    start = only(follow(capture, log)).installation.start_seq
    by = -(start + inside) & 0xFFFFFFFF
    moved = capture_of(shift_sequence(f, SERVER, by) for f in frames(capture))
    found = only(follow(moved, log))
    assert found.installation.start_seq == 2**32 - inside
    assert found.closed is not None and found.hole == 0


def test_ports_used_again():
    capture, log = session(ONE)
    twice = follow(capture_of(frames(capture) * 2), log)
    first, second = twice.connections
    assert second.installation.after == first.installation.after + len(capture.packets)
    assert first.closed is not None and first.closed < second.first


def test_cut_packets_are_lost_packets():
    capture, log = session(ONE)
    cut = [f[:96] for f in frames(capture)]
    found = only(follow(capture_of(cut, wire=1514), log))
    assert found.installation is None and found.reason.startswith("handshake not whole in the capture")


def test_not_tls():
    capture, log = session(ONE)
    changed = []
    for frame in frames(capture):
        segment = parse_segment(frame)
        if segment and segment.size and segment.source[0] == CLIENT:
            frame = frame[: segment.start] + b"GET / HTTP/1.1\r\n\r\n".ljust(segment.size, b"x") + frame[segment.end :]
        changed.append(frame)
    found = only(follow(capture_of(changed), log))
    assert found.reason.startswith("not TLS (byte 0 of the stream: 47 45 54")


def test_host_must_be_an_address_of_the_capture():
    capture, log = session(ONE)
    with pytest.raises(InputError, match="not an IP address"):
        follow(capture, log, "server")
    with pytest.raises(InputError, match=r"no TCP packet from or to it in the capture \(but: 10.77"):
        follow(capture, log, "10.0.0.9")


def test_what_arrives_at_the_nic():
    capture, log = session("tls13-aes128-mixed-vlan")
    followed = follow(capture, log)
    mac = next(p.frame[6:12] for p, s in zip(capture.packets, followed.segments, strict=True) if s and s.flags & SYN)
    for packet, segment, incoming in zip(capture.packets, followed.segments, followed.incoming, strict=True):
        # frames of no TCP connection too: neighbour discovery and the like
        arrives = segment.destination[0] == CLIENT if segment else packet.frame[6:12] != mac
        assert incoming == arrives
