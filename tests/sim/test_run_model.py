"""Whole runs without RTL: golden model against software path on every recorded session, and the RTL half of a run on
engines that are golden models with a fault."""

import json
from dataclasses import replace

import pytest

from hw.config import Config
from model.commands import Delivery, Read
from model.contract import RxPolicy, Status
from model.device import GoldenDevice
from sim.connections import follow
from sim.run import Settings, run
from sim.summary import summarize
from tests.sim.conftest import CAPTURES, NAMES
from tests.sim.sessions import capture_of, frames, key_log, session

CLEAN = [
    "tls12-aes128-clean",
    "tls12-aes128-tx-loss",
    "tls12-aes256-small",
    "tls13-aes128-16conn",
    "tls13-aes128-clean",
    "tls13-aes128-mixed-vlan",
    "tls13-aes256-v6",
]
ONE = "tls13-aes128-clean"


def judge(name: str, way: str) -> dict[int, tuple[str, int]]:
    """SHA-256 and length of the application bytes, by server port."""
    recorded = json.loads((CAPTURES / f"{name}.json").read_text())["connections"]
    return {c["server_port"]: (c[f"{way}_sha256"], c[f"{way}_bytes"]) for c in recorded}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("host", "way"), [("10.77.0.1", "server_to_client"), ("10.77.0.2", "client_to_server")])
def test_applications_read_what_was_sent(name, host, way):
    if "v6" in name:
        host = {"10.77.0.1": "fd77::1", "10.77.0.2": "fd77::2"}[host]
    outcome = run(follow(*session(name), host), Settings())
    assert outcome.equal, outcome.mismatches
    assert outcome.unchecked == 0
    assert outcome.reencrypted == outcome.counters["rx_tls_decrypted_packets"]
    expected = judge(name, way)
    assert len(outcome.sockets) == len(expected)
    for socket in outcome.sockets:
        application = socket.receiver.application
        assert (application.sha256, application.size) == expected[socket.connection.server[1]]
        assert socket.receiver.error is None and socket.receiver.eof


@pytest.mark.parametrize("name", CLEAN)
def test_clean_sessions_are_wholly_offloaded(name):
    summary = summarize(run(follow(*session(name)), Settings()))
    for connection in summary["connections"]:
        rx = connection["rx"]
        assert connection["offloaded"] and connection["reason"] == ""
        assert rx["records"] == rx["records_offloaded"] > 0
        assert rx["packets_decrypted"] == rx["packets"]


def test_chacha_stays_in_software_and_says_why():
    summary = summarize(run(follow(*session("tls13-chacha-not-offloadable")), Settings()))
    (connection,) = summary["connections"]
    assert not connection["offloaded"]
    assert connection["reason"] == "cipher TLS_CHACHA20_POLY1305_SHA256 is not AES-GCM"
    assert connection["rx"]["records"] == connection["rx"]["records_software"] > 0
    assert summary["counters"]["rx_tls_ctx"] == 0


def test_loss_leads_to_mixed_records_and_resynchronisation():
    settings = Settings(config=Config(rx_policy=RxPolicy.PUBLISHED))
    summary = summarize(run(follow(*session("tls13-aes128-decoy")), settings))
    rx = summary["connections"][0]["rx"]
    assert rx["records"] == rx["records_offloaded"] + rx["records_mixed"] + rx["records_software"]
    assert rx["resync_requests"] > 0
    assert summary["counters"]["rx_tls_resync_res_ok"] > 0


def test_counters_of_driver_and_device_agree():
    outcome = run(follow(*session("tls13-aes128-16conn")), Settings())
    driver, device = outcome.counters, outcome.device_counters
    assert driver["rx_tls_decrypted_packets"] == device["decrypted"]
    assert driver["rx_tls_decrypted_bytes"] == device["decrypted_bytes"]
    assert driver["rx_tls_ctx"] == driver["rx_tls_del"] == 16
    assert sum(device[s.name.lower()] for s in Status) == outcome.packets
    assert outcome.resources == {"tls_rx": {"size": 256, "occ": 0}}


def test_full_table_leaves_the_rest_in_software():
    outcome = run(follow(*session("tls13-aes128-16conn")), Settings(config=Config(connections=8)))
    assert outcome.equal
    offloaded = [s for s in outcome.sockets if s.offloaded]
    others = [s for s in outcome.sockets if not s.offloaded]
    assert len(offloaded) >= 8 and others
    assert {s.reason for s in others} == {"table full"}
    expected = judge("tls13-aes128-16conn", "server_to_client")
    for socket in outcome.sockets:
        assert socket.receiver.application.sha256 == expected[socket.connection.server[1]][0]


def test_connections_that_lack_something_do_not_disturb_the_others():
    capture, log = session("tls13-aes128-16conn")
    followed = follow(capture, log)
    del log._secrets[next(iter(log._secrets))]
    headless = followed.connections[3]
    start = [n for n, owner in enumerate(followed.owners) if owner is headless][:6]
    kept = [f for n, f in enumerate(frames(capture)) if n not in start]
    outcome = run(follow(capture_of(kept), log), Settings())
    assert outcome.equal
    reasons = sorted(s.reason for s in outcome.sockets if s.reason)
    assert [r.split(" (")[0].split(" for ")[0] for r in reasons] == [
        "handshake not in the capture",
        "no secrets in the key log",
    ]
    expected = judge("tls13-aes128-16conn", "server_to_client")
    read = [s for s in outcome.sockets if s.read]
    assert len(read) == 14
    for socket in read:
        assert socket.receiver.application.sha256 == expected[socket.connection.server[1]][0]


def test_application_data_in_front_of_the_keys_is_read_in_software_and_the_device_catches_up():
    """Keys that come late: start_seq lies behind what has arrived (facts, section 4.6)."""
    capture, log = session(ONE)
    followed = follow(capture, log)
    (connection,) = followed.connections
    connection.installation = replace(connection.installation, after=connection.installation.after + 20)
    outcome = run(followed, Settings())
    assert outcome.equal
    (socket,) = outcome.sockets
    assert socket.receiver.application.sha256 == judge(ONE, "server_to_client")[4433][0]
    rx = summarize(outcome)["connections"][0]["rx"]
    assert rx["resync_requests"] >= 1 and 0 < rx["records_offloaded"] < rx["records"]


def test_a_wrong_application_secret_fails_the_same_in_both_passes():
    capture, log = session(ONE)
    for secrets in log._secrets.values():
        secrets["SERVER_TRAFFIC_SECRET_0"] = bytes(32)
    outcome = run(follow(capture, log), Settings())
    assert outcome.equal
    (socket,) = outcome.sockets
    assert socket.receiver.error == "EBADMSG" and not socket.read
    assert outcome.device_counters["auth_failed"] > 0 and outcome.counters["rx_tls_err"] > 0


def test_software_without_handshake_secrets():
    capture, _ = session(ONE)
    log = key_log(ONE, lambda label: label.endswith("TRAFFIC_SECRET_0"))
    outcome = run(follow(capture, log), Settings())
    assert outcome.sockets[0].receiver.application.sha256 == judge(ONE, "server_to_client")[4433][0]


# --- the RTL half of a run, on engines made of golden models ------------------------------------------
class SimulationError(Exception):
    frame: int | None = None


class Result:
    def __init__(self):
        self.deliveries, self.responses, self.cycles = [], [], 0


class GoldenEngine:
    """A golden model behind an engine's interface; `fault` may change what it says."""

    def __init__(self, config=None, fault=lambda number, delivery: delivery, answer=lambda event, response: response):
        self.config = config or Config()
        self.fault, self.answer = fault, answer
        self.waveforms = []
        self.reset()

    def reset(self):
        self.device = GoldenDevice(self.config.connections, self.config.width, policy=self.config.rx_policy)
        self.number = 0

    def close(self):
        self.device = None

    def run(self, events, idle=0.0, backpressure=0.0, seed=0, ordered=True, waveform=None):
        result = Result()
        if waveform:
            self.waveforms.append(waveform)
        for event in events:
            if isinstance(event, bytes):
                self.number += 1
                result.deliveries.append(self.fault(self.number, self.device.receive(event)))
            else:
                result.responses.append(self.answer(event, self.device.command(event)))
            result.cycles += 10
        return result


def replay(tmp_path, **kwargs):
    engine = GoldenEngine(**kwargs)
    settings = Settings("pysim", waveforms=tmp_path)
    return run(follow(*session(ONE)), settings, lambda: engine), engine


def test_an_equal_engine(tmp_path):
    outcome, engine = replay(tmp_path)
    assert outcome.equal and outcome.compared == outcome.packets == 229
    assert outcome.waveform is None and not engine.waveforms
    summary = summarize(outcome)
    assert summary["packets"]["mismatches"] == 0 and summary["cycles"] > 0 and summary["cycles_per_second"] > 0


def test_a_flipped_byte_is_named_by_packet_and_byte(tmp_path):
    def flip(number, delivery):
        if number != 100:
            return delivery
        frame = bytearray(delivery.frame)
        frame[200] ^= 0xFF
        return Delivery(bytes(frame), delivery.descriptor)

    outcome, engine = replay(tmp_path, fault=flip)
    followed = outcome.followed
    packet = [p.number for p, i in zip(followed.capture.packets, followed.incoming, strict=True) if i][99]
    first = outcome.mismatches[0]
    assert (first.packet, first.where, first.byte, first.field) == (packet, "frame", 200, "data")
    assert str(first).startswith(f"packet {packet}: frame byte 200: data: expected ")
    assert outcome.mismatched == 1 and not outcome.equal
    assert engine.waveforms == [outcome.waveform] and outcome.waveform.parent == tmp_path
    # applications above the RTL and the wire property notice it too
    said = [str(m) for m in outcome.mismatches]
    assert any("application SHA-256" in s for s in said)
    assert any("encrypted again" in s for s in said)


def test_a_wrong_descriptor_is_named_by_field(tmp_path):
    def wrong(number, delivery):
        if number != 100:
            return delivery
        return Delivery(delivery.frame, replace(delivery.descriptor, status=Status.GAP))

    outcome, _ = replay(tmp_path, fault=wrong)
    assert "descriptor: status: expected DECRYPTED, got GAP" in str(outcome.mismatches[0])


def test_a_wrong_counter_is_named(tmp_path):
    def wrong(event, response):
        return replace(response, value=response.value + 1) if event == Read(16) else response

    outcome, _ = replay(tmp_path, answer=wrong)
    assert "answer to READ address 0x10: value: expected" in str(outcome.mismatches[0])
    assert outcome.mismatches[0].packet == len(outcome.followed.capture.packets)


def test_an_engine_that_stalls_is_a_mismatch_not_a_crash(tmp_path):
    def stall(number, delivery):
        if number == 50:
            error = SimulationError("no output for 20000 cycles")
            error.frame = 1
            raise error
        return delivery

    outcome, _ = replay(tmp_path, fault=stall)
    assert not outcome.equal and "no output for 20000 cycles" in str(outcome.mismatches[0])
    assert outcome.mismatches[0].packet is not None


def test_an_engine_that_gives_another_handle_ends_in_a_comparison(tmp_path):
    def wrong(event, response):
        return replace(response, handle=response.handle + 1) if type(event).__name__ == "Add" else response

    outcome, _ = replay(tmp_path, answer=wrong)
    said = [str(m) for m in outcome.mismatches]
    assert any("handle: expected" in s for s in said)
    assert any("the stack gives DELETE" in s or "the stack gives QUERY" in s for s in said)


def test_same_seed_same_stimulus(tmp_path):
    seen = []

    class Seeds(GoldenEngine):
        def run(self, events, idle=0.0, backpressure=0.0, seed=0, ordered=True, waveform=None):
            seen.append((seed, backpressure, len(events)))
            return super().run(events)

    for _ in range(2):
        run(follow(*session(ONE)), Settings("pysim", backpressure=0.3, seed=7), Seeds)
    half = len(seen) // 2
    assert seen[:half] == seen[half:] and {b for _, b, _ in seen} == {0.3}
