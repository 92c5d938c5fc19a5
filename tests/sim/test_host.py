"""What the host does on the driver's word."""

import pytest

from driver.netdev import NetDevice
from hw.config import Config
from model.contract import RxPolicy, Status
from model.device import GoldenDevice
from sim.connections import follow
from sim.host import Host
from sim.packets import parse_segment
from sim.run import Settings, run
from sim.summary import summarize
from tests.sim.sessions import capture_of, frames, session, with_checksum

NAME = "tls13-aes128-clean"


def conflicting() -> tuple[list[bytes], int]:
    """A session with a copy of a segment in front of it, whose record header claims one byte more; its place."""
    capture, keys = session(NAME)
    followed = follow(capture, keys)
    host = Host(followed, NetDevice(GoldenDevice(policy=RxPolicy.FULL)))
    for index, packet in enumerate(capture.packets):
        received = host.packet(index)
        segment = parse_segment(packet.frame)
        if received and segment and received.decrypted:
            frame, at = packet.frame, segment.start
            if frame[at : at + 3] == b"\x17\x03\x03" and frame[at + 4] < 255:
                forged = with_checksum(frame[: at + 4] + bytes([frame[at + 4] + 1]) + frame[at + 5 :])
                return [*frames(capture)[:index], forged, *frames(capture)[index:]], index
    raise AssertionError("no segment begins with a header")


@pytest.mark.parametrize("policy", [RxPolicy.KERNEL, RxPolicy.FULL])
def test_a_conflict_aborts_the_socket_before_the_packet_goes_up(policy: RxPolicy):
    kept, at = conflicting()
    followed = follow(capture_of(kept), session(NAME)[1])
    netdev = NetDevice(GoldenDevice(policy=policy))
    host = Host(followed, netdev)
    for index in range(at + 1):
        host.packet(index)
    (socket,) = (s for s in host.sockets.values() if s.packets_decrypted)
    assert not socket.closed and netdev.tracker_state(socket.sk)
    before = socket.packets
    up = host.packet(at + 1)
    assert up and up.descriptor and up.descriptor.status is Status.CONFLICT and not up.decrypted
    assert socket.aborted == "ECONNABORTED" and socket.closed and netdev.tracker_state(socket.sk) is None
    for index in range(at + 2, len(kept)):
        host.packet(index)
    assert socket.packets == before and socket.answer[-2] == "ECONNABORTED"


def test_an_aborted_connection_is_reported():
    kept, _ = conflicting()
    outcome = run(follow(capture_of(kept), session(NAME)[1]), Settings(config=Config(rx_policy=RxPolicy.FULL)))
    errors = [c["error"] for c in summarize(outcome)["connections"]]
    assert any(e.startswith("ECONNABORTED: ") for e in errors) and not outcome.equal
