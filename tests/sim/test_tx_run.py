"""The transmit half of a run, without RTL: every recorded session sent again, by every mechanism; then the RTL half on
engines that are golden models with a fault."""

import random
from dataclasses import replace
from unittest.mock import patch

import pytest

from driver.transmit import TransmitSide, Way, _with_payload
from driver.tx_context import TxResync
from hw.config import Config
from model.commands import Read
from model.contract import READ_COUNTERS, TxStatus
from model.frame import parse
from model.record import RecordCipher
from model.tx_commands import Sent
from model.tx_device import GoldenTxDevice
from sim.connections import follow
from sim.packets import parse_segment
from sim.replay import Settings
from sim.run import not_received
from sim.summary import summarize
from sim.tx_host import TxHost
from sim.tx_run import run_tx
from tests.sim.conftest import NAMES
from tests.sim.sessions import before_segmentation, capture_of, frames, key_log, session

LOSSY = "tls12-aes128-tx-loss"
CLEAN = "tls13-aes128-clean"
CHACHA = "tls13-chacha-not-offloadable"
HOSTS = ["10.77.0.1", "10.77.0.2"]


def sent(name, host=None, resync=TxResync.PREFIX, **settings):
    return run_tx(followed(name, host), Settings(**settings), resync)


def followed(name, host=None):
    if host and "v6" in name:
        host = {"10.77.0.1": "fd77::1", "10.77.0.2": "fd77::2"}[host]
    return follow(*session(name), host)


def socket_of(outcome):
    (socket,) = outcome.sockets.values()
    return socket


# --- every session ---------------------------------------------------------------------------------
@pytest.mark.parametrize("resync", TxResync)
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_wire_is_as_captured(name, host, resync):
    outcome = sent(name, host, resync)
    assert not outcome.mismatches, [str(m) for m in outcome.mismatches[:3]]
    assert outcome.identical[None] == outcome.packets and outcome.different[None] == 0
    counters = outcome.counters
    assert counters["tx_tls_drop_device"] == counters["tx_tls_drop_no_sync_data"] == 0
    assert counters["tx_tls_encrypted_packets"] == outcome.device_counters["encrypted"]
    assert counters["tx_tls_encrypted_bytes"] == outcome.device_counters["encrypted_bytes"]
    assert counters["tx_tls_ctx"] == counters["tx_tls_del"] == len(outcome.offloaded)
    for socket in outcome.sockets.values():
        assert socket.offloaded is (name != CHACHA)
        assert outcome.identical[socket.connection] == socket.packets > 0
        if socket.offloaded:
            assert socket.packets_encrypted + socket.ways[Way.SOFTWARE] == socket.packets
            assert socket.ways[Way.DROPPED] == 0


def test_what_each_mechanism_moves_over_the_bus():
    moved = {resync: socket_of(sent(LOSSY, resync=resync)) for resync in TxResync}
    bytes_moved = {resync: socket.replayed_bytes for resync, socket in moved.items()}
    assert bytes_moved[TxResync.NEXT_RECORD] == 0 and moved[TxResync.NEXT_RECORD].ways[Way.SOFTWARE] == 11
    assert 0 < bytes_moved[TxResync.PREFIX] <= 0.05 * bytes_moved[TxResync.REBUILD]
    for resync, socket in moved.items():
        assert socket.out_of_order == 11
        if resync is not TxResync.NEXT_RECORD:
            # the in-order position survives: what is new is never out of order
            assert socket.ways[Way.STREAM] == socket.packets - 11


def test_json_of_a_connection():
    run = not_received(followed(LOSSY), Settings())
    run.tx = run_tx(run.followed, run.settings)
    summary = summarize(run)
    assert summary["direction"] == "tx" and summary["tx_resync"] == "prefix"
    (connection,) = summary["connections"]
    assert connection["offloaded"] and connection["rx"] is None
    assert connection["tx"] == {
        "packets": 296,
        "packets_encrypted": 296,
        "wire_identical": 296,
        "wire_mismatches": 0,
        "out_of_order": 11,
        "fallback": 0,
        "dropped": 0,
        "replayed_bytes": 352,
    }
    assert summary["packets"]["total"] == summary["packets"]["sent"] == summary["packets"]["wire_identical"] == 306


def test_chacha_stays_in_software_and_says_why():
    socket = socket_of(sent(CHACHA))
    assert socket.reason == "cipher TLS_CHACHA20_POLY1305_SHA256 is not AES-GCM" and socket.understood


def test_full_table_leaves_the_rest_in_software():
    outcome = sent("tls13-aes128-16conn", config=Config(connections=8))
    assert not outcome.mismatches
    reasons = {s.reason for s in outcome.sockets.values() if not s.offloaded}
    assert reasons == {"table full"} and len(outcome.offloaded) >= 8


# --- captures that lack something ------------------------------------------------------------------
def test_frames_captured_before_their_checksum_was_made():
    capture, log = session(CLEAN)

    def blank(frame):
        segment = parse_segment(frame)
        if segment is None or segment.source[0] != b"\x0a\x4d\x00\x01" or not segment.size:
            return frame
        return frame[: segment.tcp + 16] + b"\x12\x34" + frame[segment.tcp + 18 :]

    outcome = run_tx(follow(capture_of(map(blank, frames(capture))), log), Settings())
    assert not outcome.mismatches and socket_of(outcome).offloaded
    assert any("captured before their checksum was made" in w for w in outcome.warnings)
    whole = run_tx(follow(capture, log), Settings())
    bearing = {n for n, s in enumerate(whole.sendings, 1) if s and s.place is not None}
    assert {n: f for n, f in outcome.wire.items() if n in bearing} == {
        n: f for n, f in whole.wire.items() if n in bearing
    }


def test_frames_captured_before_they_were_cut_into_segments():
    """What segmentation offload leaves in a capture of the sending host."""
    capture, log = session("tls12-aes128-clean")
    merged = before_segmentation(frames(capture), b"\x0a\x4d\x00\x02")
    assert max(map(len, merged)) > 9216
    outcome = run_tx(follow(capture_of(merged), log, "10.77.0.2"), Settings())
    assert not outcome.mismatches, [str(m) for m in outcome.mismatches[:3]]
    assert outcome.device_counters["encrypted"] > socket_of(outcome).packets_encrypted > 0
    assert all(len(f) <= 9216 for left in outcome.wire.values() for f in left)


def test_damaged_and_missing_packets_of_the_host():
    """A capture on the other side: the damaged one is not sent, and what was lost is a jump."""
    capture, log = session(LOSSY)
    kept = frames(capture)
    bearing = [n for n, f in enumerate(kept) if (s := parse_segment(f)) and s.size > 1000]
    damaged, lost = bearing[20], bearing[40]
    # both are sent again later: their bytes are known
    again = [kept[damaged], kept[lost]]
    kept[damaged] = kept[damaged][:-1] + bytes([kept[damaged][-1] ^ 1])
    kept = kept[:lost] + kept[lost + 1 : bearing[60]] + again + kept[bearing[60] :]
    outcome = run_tx(follow(capture_of(kept), log), Settings())
    assert not outcome.mismatches
    assert "1 packet of the host not sent: is damaged in the capture" in outcome.warnings
    socket = socket_of(outcome)
    assert socket.offloaded and socket.out_of_order > 11


def test_a_capture_that_ends_in_a_record_ends_offload_before_it():
    capture, log = session(LOSSY)
    whole = socket_of(run_tx(follow(capture, log), Settings())).stream
    outcome = run_tx(follow(capture_of(frames(capture)[:200]), log), Settings())
    assert not outcome.mismatches
    stream = socket_of(outcome).stream
    assert stream.start == whole.start and 0 < stream.end < whole.end


def test_a_wrong_secret_is_said():
    capture, log = session(CLEAN)
    for secrets in log._secrets.values():
        secrets["CLIENT_TRAFFIC_SECRET_0"] = bytes(32)
    outcome = run_tx(follow(capture, log), Settings())
    assert not outcome.mismatches
    assert socket_of(outcome).reason == "no record of what the host sends decrypts"
    log = key_log(CLEAN, lambda label: not label.startswith("CLIENT_"))
    reason = socket_of(run_tx(follow(capture, log), Settings())).reason
    assert reason == "no secrets in the key log for what the client sends"


# --- keystream -------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", [n for n in NAMES if n != CHACHA])
def test_one_counter_block_never_serves_two_plaintexts(name, host):
    """All sessions, with retransmissions of random stretches thrown in, by each mechanism in turn."""
    issued: dict[tuple[RecordCipher, bytes], tuple[bytearray, bytearray]] = {}
    original = RecordCipher.xor

    def logged(cipher, nonce, start, body):
        known, seen = issued.setdefault((cipher, nonce), (bytearray(1 << 15), bytearray(1 << 15)))
        end = start + len(body)
        both = [at for at in range(start, end) if seen[at]]
        assert all(known[at] == body[at - start] for at in both), (nonce.hex(), start)
        known[start:end], seen[start:end] = body, b"\1" * len(body)
        return original(cipher, nonce, start, body)

    rng = random.Random(f"{name}{host}")
    with patch.object(RecordCipher, "xor", logged):
        for resync in TxResync:
            issued.clear()
            count, _ = random_retransmissions(followed(name, host), GoldenTxDevice(), resync, rng)
            assert count > 0
            assert issued


def random_retransmissions(capture, device, resync, rng):
    """Send the capture with others of its bytes between its packets; the number of those, and the host."""
    netdev = TransmitSide(device, resync)
    host = TxHost(capture, netdev)
    count = 0
    for index, packet in enumerate(capture.capture.packets):
        sending = host.packet(index)
        if sending is None or sending.place is None:
            continue
        assert sending.transmitted.frames == sending.expected
        socket, parsed = sending.socket, parse(packet.frame)
        first = socket.tls.context.records_list[0]
        low = max(socket.stream.start, (first.start_seq - socket.stream.seq(0)) % 2**32)
        high = socket.stream.start + sending.place + sending.size
        if low >= high or socket.closed:
            continue
        a = rng.randrange(low, high)
        b = min(high, a + rng.randrange(1, 4000))
        plain = socket.stream.plaintext(a, b - a)
        frame = _with_payload(packet.frame, parsed, socket.stream.seq(a), plain)
        transmitted = netdev.xmit(frame, socket.sk)
        assert transmitted.way not in (Way.DROPPED, Way.PLAIN)
        count += 1
    assert netdev.counters.drop_device == 0
    return count, host


# --- the RTL half of a run -------------------------------------------------------------------------
class Result:
    def __init__(self):
        self.sent, self.responses, self.cycles = [], [], 0


class GoldenEngine:
    """A golden model behind an engine's interface; `fault` may change what comes of frame `number`."""

    def __init__(self, fault=lambda number, sent: sent, answer=lambda event, response: response):
        self.fault, self.answer = fault, answer
        self.waveforms = []
        self.reset()

    def reset(self):
        self.device = GoldenTxDevice()
        self.number = 0

    def close(self):
        self.device = None

    def run(self, events, idle=0.0, backpressure=0.0, seed=0, ordered=True, waveform=None):
        result = Result()
        if waveform:
            self.waveforms.append(waveform)
        for event in events:
            if hasattr(event, "request"):
                self.number += 1
                result.sent.append(self.fault(self.number, self.device.transmit(event.frame, event.request)))
            else:
                result.responses.append(self.answer(event, self.device.command(event)))
            result.cycles += 10
        return result


def replay(tmp_path, **kwargs):
    engine = GoldenEngine(**kwargs)
    settings = Settings("pysim", waveforms=tmp_path)
    return run_tx(follow(*session(LOSSY)), settings, TxResync.REBUILD, lambda: engine), engine


def test_an_equal_engine(tmp_path):
    outcome, engine = replay(tmp_path)
    assert not outcome.mismatches and outcome.compared == outcome.packets == 306
    assert outcome.waveform is None and not engine.waveforms and outcome.cycles > 0


def test_a_flipped_byte_is_named_by_packet_and_byte(tmp_path):
    def flip(number, sent):
        if number != 100:
            return sent
        frame = bytearray(sent[0].frame)
        frame[200] ^= 0xFF
        return [replace(sent[0], frame=bytes(frame))]

    outcome, engine = replay(tmp_path, fault=flip)
    first = outcome.mismatches[0]
    assert (first.where, first.byte, first.field) == ("STREAM frame", 200, "data")
    assert outcome.mismatched == 1 and outcome.different[None] == 1
    assert engine.waveforms == [outcome.waveform] and "-tx-batch" in outcome.waveform.name
    assert any(m.where == "frame on the wire" and m.packet == first.packet for m in outcome.mismatches)


def test_a_frame_too_few_or_too_many(tmp_path):
    def swap(number, sent):
        if number == 100:
            return [Sent(None, TxStatus.DROPPED_TAG, sent[0].handle)]
        if sent[0].status is TxStatus.REPLAYED:
            return [replace(one, frame=b"plaintext", status=TxStatus.ENCRYPTED) for one in sent]
        return sent

    outcome, _ = replay(tmp_path, fault=swap)
    said = [str(m) for m in outcome.mismatches]
    assert any("completion of STREAM frame: status: expected ENCRYPTED, got DROPPED_TAG" in s for s in said)
    assert any("STREAM frame: sent: expected 1514 bytes, got nothing" in s for s in said)
    assert any("REPLAY frame" in s and "sent: expected nothing, got 9 bytes" in s for s in said)
    assert any("wire: frames: expected 1, got 0 (stream)" in s for s in said)


def test_a_wrong_counter_is_named(tmp_path):
    def wrong(event, response):
        return replace(response, value=response.value + 1) if event == Read(READ_COUNTERS) else response

    outcome, _ = replay(tmp_path, answer=wrong)
    assert any("answer to READ address 0x10: value: expected" in str(m) for m in outcome.mismatches)
