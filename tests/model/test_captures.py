"""Recorded TLS sessions through golden device and stack: the sender's bytes, by the hash recorded with them."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from model.commands import Add, Delivery, Resync, Tuple4
from model.contract import Checksum, Result
from model.crypto_info import CryptoInfo
from model.device import GoldenDevice
from model.frame import parse
from model.ktls import KtlsReceiver
from model.reencrypt import Reencryptor
from sim.capture import read_capture
from sim.connections import Connection, follow
from sim.secrets import Aead, KeyLog

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
SESSIONS = sorted(p.stem for p in CAPTURES.glob("*.pcap"))


def deliver(stack: KtlsReceiver, delivery: Delivery) -> None:
    packet = parse(delivery.frame)
    assert packet
    descriptor, payload = delivery.descriptor, delivery.frame[packet.payload : packet.end]
    good = descriptor.checksum is Checksum.GOOD
    stack.segment(packet.seq, payload, descriptor.decrypted, packet.fin, good)


@pytest.mark.parametrize("session", SESSIONS)
def test_session(session: str):
    capture = read_capture(CAPTURES / f"{session}.pcap")
    key_log = KeyLog()
    key_log.add((CAPTURES / f"{session}.keys").read_text(), session)
    followed = follow(capture, key_log)
    recorded = {c["server_port"]: c for c in json.loads((CAPTURES / f"{session}.json").read_text())["connections"]}

    device = GoldenDevice()
    stacks: dict[Connection, KtlsReceiver] = {}
    software: dict[Connection, KtlsReceiver] = {}
    passed: dict[Connection, list[tuple[bytes, Delivery]]] = defaultdict(list)
    for packet, segment, owner, incoming in zip(
        capture.packets, followed.segments, followed.owners, followed.incoming, strict=True
    ):
        if incoming and segment and owner:
            delivery = device.receive(packet.frame)
            passed[owner].append((packet.frame, delivery))
            if owner in stacks:
                deliver(stacks[owner], delivery)
        for connection in followed.connections:
            at = connection.installation
            if at is None or at.after != packet.number or at.keys.aead is not Aead.AES_GCM:
                continue
            keys, peer, host = at.keys, connection.peer, connection.host
            response = device.command(
                Add(
                    Tuple4(*peer, *host),
                    keys.version,
                    keys.key,
                    keys.salt,
                    keys.iv,
                    at.record_number,
                    at.start_seq,
                )
            )
            assert response.result is Result.OK

            def resync(seq: int, number: int, handle: int = response.handle) -> None:
                device.command(Resync(handle, seq, number))

            info = CryptoInfo(keys.version, keys.key, keys.salt, keys.iv, at.record_number.to_bytes(8, "big"))
            stacks[connection] = KtlsReceiver(info, at.start_seq, resync)
            software[connection] = KtlsReceiver(info, at.start_seq)
            for _, delivery in passed[connection]:  # what the socket had queued when the keys came
                deliver(stacks[connection], delivery)

    assert len(stacks) == (0 if "chacha" in session else len(recorded))
    for connection, stack in stacks.items():
        expected = recorded[connection.server[1]]
        assert stack.error is None, stack.reason
        assert stack.application.size == expected["server_to_client_bytes"]
        assert stack.application.sha256 == expected["server_to_client_sha256"]
        reencryptor = Reencryptor(stack.info, stack.records)
        for frame, delivery in passed[connection]:
            wire = reencryptor.frame(delivery.frame) if delivery.descriptor.decrypted else delivery.frame
            assert wire == frame
            packet = parse(frame)
            assert packet
            software[connection].segment(
                packet.seq,
                frame[packet.payload : packet.end],
                fin=packet.fin,
                checksum_good=packet.checksum is Checksum.GOOD,
            )
        assert software[connection].application.sha256 == stack.application.sha256
        assert software[connection].control == stack.control
        assert any(r.handling == "offloaded" for r in stack.records)
