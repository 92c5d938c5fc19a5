"""Layouts of what passes between the rooms of the transmit direction, where it is not what passes on receive."""

from amaranth.lib import data

from hw.config import Config
from hw.layouts import HANDLE_BITS, OFFSET_BITS, hash_beat, members, work


def tx_request():
    """What the driver says with a frame (docs/contract-tx.md, section 1)."""
    return data.StructLayout({
        "kind": 3,  # contract.TxKind
        "handle": HANDLE_BITS,
        "adopt": 1,
        "segment_size": 16,  # behind segment: not 0 with the segments of a PASS frame, and nothing else
        "record_seq": 32,
        "record_number": 64,
        "header": 104,  # byte string: 5 bytes of record header, TLS 1.2: 8 of explicit nonce behind them
    })  # fmt: skip


def tx_beat(config: Config):
    """host -> device."""
    return data.StructLayout({
        "data": 8 * config.width,
        "keep": config.width,
        "last": 1,
        "request": tx_request(),  # constant over the frame
    })  # fmt: skip


def tx_completion():
    return data.StructLayout({"status": 4, "handle": HANDLE_BITS})  # contract.TxStatus


def tx_checksum():
    """checksum -> tx track, one per frame."""
    return data.StructLayout({
        "whole": 1,  # parsed, and the frame holds the whole IP packet
        "sum": 16,  # ones' complement sum of pseudo header and TCP segment without its checksum field
        "offset": OFFSET_BITS,  # of the checksum field in the frame
    })  # fmt: skip


def tx_work(config: Config):
    """tx track -> align: as `work`, with what sealing needs."""
    return data.StructLayout({
        **members(work(config)),
        "replay": 1,  # on position `replay`, else `stream`
        "blind": 1,  # the record's sum is not known; its tag is kept, or not wanted
        "in_progress": 1,  # blind, and `stream` is inside this record's tag: its sum is the tag
        "tx": tx_order(),  # with `end`
        "adopt": 1,  # with `end`: the sum of `replay` becomes that of `stream`
    })  # fmt: skip


def tx_order():
    """What becomes of a frame, before its tags and the rest of its checksum are known."""
    return data.StructLayout({
        "status": 4,  # contract.TxStatus
        "handle": HANDLE_BITS,
        "send": 1,
        "seal": 1,  # keystream, tags and checksum go in: ENCRYPTED, and segments of PASS, which have the last only
        "sum": 16,
        "offset": OFFSET_BITS,
        "payload_length": OFFSET_BITS,
    })  # fmt: skip


def plain_beat(config: Config):
    """align -> encrypt: `hash_beat` of plaintext, and what the checksum needs to take out of it."""
    return data.StructLayout({
        **members(hash_beat(config)),
        "end": 1,  # of a frame; nothing else then
        "tag": 8 * config.width,  # bytes of the beat that stand where the tag goes, the rest zero
        "odd": 1,  # aligned byte 0 stands at an odd place in the frame
    })  # fmt: skip


def seal_item(config: Config):
    """align -> seal: one per fragment, then one with `end` per frame."""
    return data.StructLayout({
        "end": 1,
        "index": config.index_bits,
        "has_j0": 1,
        "continues": 1,
        "completes": 1,
        "replay": 1,
        "blind": 1,
        "in_progress": 1,
        "record_number": 64,
        "tag_first": 5,  # tag bytes tag_first .. tag_end - 1 are in the fragment
        "tag_end": 5,
        "tag_position": OFFSET_BITS + 1,  # of tag byte 0 in the frame (modulo), also where it is in another frame
        # end
        "keep_sum": 1,
        "adopt": 1,
        "tx": tx_order(),
    })  # fmt: skip


def finish_order(config: Config):
    """seal -> finish, one per frame."""
    return data.StructLayout({
        "status": 4,
        "handle": HANDLE_BITS,
        "send": 1,
        "seal": 1,
        "checksum": 16,  # the TCP checksum as it goes out (big-endian integer)
        "offset": OFFSET_BITS,
        "payload_length": OFFSET_BITS,
    })  # fmt: skip
