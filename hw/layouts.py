"""Layouts of what passes between the rooms, one per interface, and the constants they need.

Byte order: byte 0 of a frame is in bits 7:0 of a beat (AXI-Stream). Multi-byte protocol fields (sequence numbers,
ports, lengths, record numbers) are plain integers once parsed. Addresses, keys, nonces and GCM blocks are byte strings,
byte 0 in bits 7:0; only `hw.gf128` turns blocks into polynomials.
"""

from amaranth.lib import data, enum

from hw.config import Config
from model.contract import GENERATION_BITS, HASH_KEY_BITS, INDEX_BITS, OPEN_RECORDS

PACKET_BITS = 6
"""Width of a packet ordinal; fewer than 32 packets are in the device at once."""
MAX_PACKETS = 31
OFFSET_BITS = 14
"""Width of a byte offset in a frame that is handled (MAX_FRAME)."""
EXT_BITS = 15
"""Width of an extended record position: AAD block at 0..15, body from 16, tag behind the body."""
EXPONENT_BITS = 11
"""Width of a power of H: a record has at most 1025 body blocks, AAD block and length block."""
HANDLE_BITS = GENERATION_BITS + INDEX_BITS
GHASH_STRIDE = 4
"""Partial sums of the GHASH loop: its multiplier's latency is one less."""


def beat(config: Config):
    return data.StructLayout({
        "data": 8 * config.width,
        "keep": config.width,  # contiguous from bit 0, all ones before `last`
        "last": 1,
    })  # fmt: skip


def descriptor():
    return data.StructLayout({
        "status": 4,  # contract.Status
        "checksum": 2,  # contract.Checksum
        "matched": 1,
        "handle": HANDLE_BITS,
        "request": 1,  # something like a record header stands at `request_seq`
        "request_seq": 32,  # status OVERLOAD: where the frame was given up
        "proven": 1,  # a chain of headers has proved itself in this frame
    })  # fmt: skip


def output_beat(config: Config):
    return data.StructLayout({
        "data": 8 * config.width,
        "keep": config.width,
        "last": 1,
        "descriptor": descriptor(),  # constant over the packet
    })  # fmt: skip


def headers(config: Config):
    """parse -> lookup, one per frame."""
    return data.StructLayout({
        "base": config.pointer_bits,  # beat counter of the frame's first beat
        "packet": PACKET_BITS,  # ordinal of the frame
        "parsed": 1,  # docs/contract.md section 1; the rest is meaningless without it
        "candidate": 1,  # parsed, with payload, neither SYN nor RST
        "ipv6": 1,
        "remote_address": 128,  # IPv4: in bytes 12..15, the rest zero
        "local_address": 128,
        "remote_port": 16,
        "local_port": 16,
        "seq": 32,
        "payload_offset": OFFSET_BITS,
        "payload_length": OFFSET_BITS,
    })  # fmt: skip


def checksum_plan(config: Config):
    """parse -> checksum, one per frame: which bytes to sum."""
    return data.StructLayout({
        "parsed": 1,
        "ipv6": 1,
        "l3_offset": 7,
        "l4_offset": 7,
        "end_offset": OFFSET_BITS,  # end of the IP packet in the frame
        "pseudo": 20,  # sum of the pseudo header's 16-bit words
    })  # fmt: skip


def track_request(config: Config):
    """lookup -> track, one per frame."""
    return data.StructLayout({
        "base": config.pointer_bits,
        "packet": PACKET_BITS,
        "matched": 1,
        "handle": HANDLE_BITS,
        "seq": 32,
        "payload_offset": OFFSET_BITS,
        "payload_length": OFFSET_BITS,
    })  # fmt: skip


def work(config: Config):
    """track -> align: fragments of a frame in stream order, then one item with `end` set per frame.

    A fragment is a run of body and tag bytes of one record in one frame. Extended positions: docs/architecture.md.
    """
    return data.StructLayout({
        "end": 1,
        "base": config.pointer_bits,
        "packet": PACKET_BITS,
        # fragment
        "index": config.index_bits,
        "tls13": 1,
        "record_number": 64,
        "explicit_nonce": 64,  # byte string, byte 0 of the nonce in bits 7:0; TLS 1.2 only
        "content_type": 8,
        "body_length": EXT_BITS,  # ciphertext bytes without the tag
        "ext_first": EXT_BITS,  # extended position of the fragment's first byte, >= 16
        "position": OFFSET_BITS,  # of that byte in the frame
        "count": OFFSET_BITS,  # bytes of the fragment, > 0
        "completes": 1,  # the record's last byte is in the fragment
        "continues": 1,  # a part of the record was counted before
        "slot": range(OPEN_RECORDS),  # where the record's sum is kept, with `index`
        "counted": 1,  # 0: bytes of a raw record, in no sum
        "store": 1,  # the checksum is known to be good and the record goes on: keep its sum at once
        # end
        "descriptor": descriptor(),  # status before the verdict
        "keep_sum": 1,  # the last fragment's record goes on in a later frame: keep its sum
        "proof": 1,  # answer on `proofs` whether all records that ended in the frame are authentic
        "mark": 1,  # with `proof`: the frame is DECRYPTED if they are
        "repeated": 1,  # bytes of it have passed before
        "payload_length": OFFSET_BITS,
    })  # fmt: skip


def keystream_request(config: Config):
    """align -> keystream: one per aligned beat, and one with `end` per frame."""
    return data.StructLayout({
        "end": 1,
        "index": config.index_bits,
        "nonce": 64,  # byte string XORed into bytes 4..11 of the IV: record number (big-endian) or explicit nonce
        "counter": 16,  # GCM counter of lane 0, modulo 2^16; lane l has counter + l
        "j0_lanes": config.lanes,  # one bit: the lane of counter 1, E(J0); none: not in this beat
        "mask": config.width,  # bytes of this aligned beat that are body bytes of the fragment
        "rotate": config.rotate_bits,  # aligned byte 0 is byte `rotate` of frame beat `beat`
        "beat": config.pointer_bits,  # relative to the frame's first beat, modulo 2^pointer_bits (may be -1)
    })  # fmt: skip


def aligned_beat(config: Config):
    """An aligned beat on its way back to the frame's grid: keystream -> release, and what else goes over a frame."""
    return data.StructLayout({
        "end": 1,  # of a frame; nothing else then
        "rotate": config.rotate_bits,  # byte 0 is byte `rotate` of frame beat `beat`
        "beat": config.pointer_bits,  # relative to the frame's first beat, may be -1 modulo
        "data": 8 * config.width,  # zero outside the mask
        "mask": config.width,
    })  # fmt: skip


def hash_beat(config: Config):
    """align -> ghash: one aligned beat of a fragment; the fragment's last block is in the last lane."""
    return data.StructLayout({
        "index": config.index_bits,
        "blocks": 8 * config.width,  # AAD and length blocks in place; bytes outside the fragment zero
        "first": 1,
        "last": 1,
        "left": range(GHASH_STRIDE + 1),  # beats of the fragment behind this one, at most GHASH_STRIDE
        "exponent": EXPONENT_BITS,  # power of H that places the last block, >= 1; valid with `first`
    })  # fmt: skip


def verdict_item(config: Config):
    """align -> verdict: one per fragment, then one with `end` per frame."""
    return data.StructLayout({
        "end": 1,
        "index": config.index_bits,
        "has_j0": 1,  # E(J0) of the record comes with this fragment
        "tag": 128,  # the fragment's bytes of the received tag, in place, the rest zero
        "completes": 1,
        "continues": 1,
        "slot": range(OPEN_RECORDS),
        "counted": 1,
        "store": 1,
        "descriptor": descriptor(),
        "keep_sum": 1,
        "proof": 1,
        "mark": 1,
        "repeated": 1,
        "payload_length": OFFSET_BITS,
    })  # fmt: skip


def release_order(config: Config):
    """verdict -> release: one per frame."""
    return data.StructLayout({
        "descriptor": descriptor(),
        "payload_length": OFFSET_BITS,
    })  # fmt: skip


# --- control ---------------------------------------------------------------------------------------
def command(config: Config):
    return data.StructLayout({
        "opcode": 8,
        "handle": HANDLE_BITS,
        "ipv6": 1,
        "remote_address": 128,
        "local_address": 128,
        "remote_port": 16,
        "local_port": 16,
        "version": 16,  # 0x0303, 0x0304
        "key_bytes": 8,  # 16, 32
        "key": 256,
        "iv": 96,  # salt, then iv (TLS 1.2: iv zero)
        "record_number": 64,
        "seq": 32,
        "address": 16,
        "hash_key": HASH_KEY_BITS,
    })  # fmt: skip


def tracker_state():
    """QUERY's answer."""
    return data.StructLayout({
        "expected_seq": 32,
        "seen_seq": 32,
        "record_number": 64,
        "remaining": 16,
        "header_count": 4,
        "out_of_sync": 1,
        "skipping": 1,
    })  # fmt: skip


def response():
    return data.StructLayout({
        "result": 4,
        "handle": HANDLE_BITS,
        "value": 64,
        "state": tracker_state(),
    })  # fmt: skip


def flow_key():
    return data.StructLayout({
        "ipv6": 1,
        "remote_address": 128,
        "local_address": 128,
        "remote_port": 16,
        "local_port": 16,
    })  # fmt: skip


def table_operation(config: Config):
    """control -> lookup; answered in order by contract.Result on the response stream."""
    return data.StructLayout({
        "insert": 1,  # else remove
        "hidden": 1,  # insert: no frame finds it before it is shown
        "key": flow_key(),  # remove: not needed, found by handle
        "handle": HANDLE_BITS,
    })  # fmt: skip


class TrackerOperation(enum.Enum, shape=3):
    INIT = 0  # ADD
    CLEAR = 1  # DEL
    RESYNC = 2
    QUERY = 3
    ACK = 4  # the host has acknowledged everything before `seq`


def tracker_operation(config: Config):
    """control -> track; answered in order by {result, state}."""
    return data.StructLayout({
        "kind": TrackerOperation,
        "generation": GENERATION_BITS,  # of the handle, with INIT; transmit only
        "index": config.index_bits,
        "tls13": 1,
        "seq": 32,
        "record_number": 64,
    })  # fmt: skip


def tracker_answer():
    return data.StructLayout({"result": 4, "state": tracker_state()})


def key_operation(config: Config):
    """control -> keystream: write key and IV of an index (all zero: erase)."""
    return data.StructLayout({
        "index": config.index_bits,
        "aes256": 1,
        "key": 256,
        "iv": 96,
        "derive": 1,  # answer with H = E(key, 0) on `subkey`
    })  # fmt: skip


def round_key_write(config: Config):
    """A word of a connection's round key on its way into the memory of its row (hw/key_expansion.py)."""
    return data.StructLayout({
        "en": 1,
        "row": 4,  # 0: the first four words of the schedule; then the round
        "word": 2,
        "index": config.index_bits,
        "data": 32,  # byte 0 in bits 7:0
    })  # fmt: skip


def round_key_select(config: Config):
    """Which connection's round key is used (hw/aes_stored.py)."""
    return data.StructLayout({
        "load": 1,  # read a word
        "row": 1,  # of an even row, or of the one behind it
        "word": 2,
        "index": config.index_bits,
        "swap": 1,  # use what was read
    })  # fmt: skip


def subkey_operation(config: Config):
    """keystream / control -> ghash: make and store the powers of H (zero: erase). Answered by a done pulse."""
    return data.StructLayout({"index": config.index_bits, "subkey": 128})


def members(layout: data.StructLayout) -> dict:
    """Fields of a layout, to build a larger one from."""
    return {name: field.shape for name, field in layout}
