"""Reading pcap and pcapng, compared with scapy's reader, and what is said about damaged files."""

import gzip
import struct
from pathlib import Path

import pytest
from scapy.utils import RawPcapNgReader, RawPcapReader

from sim.capture import read_capture
from sim.errors import InputError
from sim.pcapng import PcapngWriter
from tests.sim.conftest import CAPTURES, NAMES

CLEAN = CAPTURES / "tls13-aes128-clean.pcap"


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_scapy_reads(name):
    path = CAPTURES / f"{name}.pcap"
    with RawPcapReader(str(path)) as reader:
        theirs = [(data, meta.sec * 10**9 + meta.usec * 1000, meta.wirelen) for data, meta in reader]
    ours = [(p.frame, p.time_ns, p.wire_length) for p in read_capture(path).packets]
    assert ours == theirs


def _pcap(order="<", magic=0xA1B2C3D4, link_type=1, packets=((1, 2, b"x" * 60),)):
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    for seconds, fraction, frame in packets:
        out += struct.pack(order + "IIII", seconds, fraction, len(frame), len(frame)) + frame
    return out


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_byte_orders_and_resolutions(tmp_path, order, magic, unit):
    path = tmp_path / "x.pcap"
    path.write_bytes(_pcap(order, magic))
    (packet,) = read_capture(path).packets
    assert (packet.number, packet.time_ns, packet.frame) == (1, 10**9 + 2 * unit, b"x" * 60)


def test_gzip(tmp_path):
    path = tmp_path / "x.pcap.gz"
    path.write_bytes(gzip.compress(CLEAN.read_bytes()))
    assert read_capture(path).packets == read_capture(CLEAN).packets


def test_pcapng_round_trip_with_key_log_and_comments(tmp_path):
    original = read_capture(CLEAN)
    path = tmp_path / "x.pcapng"
    with PcapngWriter(path, "CLIENT_RANDOM 00 11\n", "made by a test") as writer:
        for p in original.packets:
            writer.write(p.frame, p.time_ns, p.wire_length, f"packet {p.number}", p.number % 2 == 0)
    again = read_capture(path)
    assert again.packets == original.packets
    assert again.key_log == "CLIENT_RANDOM 00 11\n"
    with RawPcapNgReader(str(path)) as reader:
        theirs = list(reader)
    assert [data for data, _ in theirs] == [p.frame for p in original.packets]
    assert [meta.comments for _, meta in theirs[:2]] == [[b"packet 1"], [b"packet 2"]]
    assert [meta.direction for _, meta in theirs[:2]] == [2, 1]


def _block(kind, body, order="<"):
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


@pytest.mark.parametrize("order", "<>")
def test_pcapng_blocks_of_every_kind(tmp_path, order):
    pack = struct.pack
    resolution = pack(order + "HHB3x", 9, 1, 9)
    offset = pack(order + "HHq", 14, 8, 100)
    path = tmp_path / "x.pcapng"
    path.write_bytes(
        _block(0x0A0D0D0A, pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
        + _block(1, pack(order + "HHI", 1, 0, 20) + resolution + offset, order)
        + _block(10, pack(order + "II", 0x544C534B, 4) + b"# a\n", order)
        + _block(10, pack(order + "II", 0x544C534B, 3) + b"# b", order)
        + _block(10, pack(order + "II", 0x57474B4C, 4) + b"wire", order)
        + _block(0xBAD, b"unknown", order)
        + _block(6, pack(order + "IIIII", 0, 0, 7, 3, 3) + b"abc", order)
        + _block(2, pack(order + "HHIIII", 0, 0, 0, 8, 4, 9) + b"abcd", order)
        + _block(3, pack(order + "I", 30) + b"s" * 20, order)
    )
    capture = read_capture(path)
    assert [(p.number, p.frame, p.wire_length) for p in capture.packets] == [
        (1, b"abc", 3),
        (2, b"abcd", 9),
        (3, b"s" * 20, 30),
    ]
    assert capture.packets[0].time_ns == 100 * 10**9 + 7
    assert capture.key_log == "# a\n# b\n"
    assert capture.cut == [2, 3]
    assert "2 packets are cut" in capture.warnings[0] and "packet 2: 4 of 9 bytes" in capture.warnings[0]


@pytest.mark.parametrize("keep", [1, 8, 15, 16, 17, 60])
def test_truncated_pcap_keeps_what_is_whole(tmp_path, keep):
    data = CLEAN.read_bytes()
    whole = read_capture(CLEAN).packets
    at = 24 + sum(16 + len(p.frame) for p in whole[:100])
    path = tmp_path / "x.pcap"
    path.write_bytes(data[: at + keep])
    capture = read_capture(path)
    assert capture.packets == whole[:100]
    assert "packet 101" in capture.truncated and f"file byte {at + keep}" in capture.truncated
    assert capture.warnings == [capture.truncated]


def test_truncated_pcapng(tmp_path):
    path = tmp_path / "x.pcapng"
    with PcapngWriter(path) as writer:
        for _ in range(3):
            writer.write(bytes(60), 0, 60, "", True)
    path.write_bytes(path.read_bytes()[:-30])
    capture = read_capture(path)
    assert len(capture.packets) == 2
    assert "ends inside packet 3" in capture.truncated


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"GIF89a", "neither pcap nor pcapng"),
        (_pcap()[:10], "ends inside the file header"),
        (_pcap()[:24], "no packets"),
        (_pcap(link_type=113), r"link type 113 \(Linux cooked capture \(SLL\)\): only Ethernet"),
        (_pcap(link_type=4711), r"link type 4711 \(unknown\)"),
        (_pcap()[:24] + b"\xff" * 16, r"packet 1 \(file byte 24\) claims 4294967295 bytes"),
        (b"\x1f\x8bjunk", "damaged gzip"),
        (_block(0x0A0D0D0A, struct.pack("<IHHq", 7, 1, 0, -1)), "damaged section header"),
        (
            _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + _block(6, bytes(20)),
            "damaged block of type 6 before packet 1",
        ),
        (
            _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
            + _block(1, struct.pack("<HHI", 105, 0, 0))
            + _block(6, struct.pack("<IIIII", 0, 0, 0, 4, 4) + b"abcd"),
            "link type 105",
        ),
    ],
)  # fmt: skip
def test_bad_files_say_what_is_wrong(tmp_path, data, message):
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_capture(path)


def test_directory_and_missing_file(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        read_capture(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        read_capture(Path(tmp_path / "none"))
