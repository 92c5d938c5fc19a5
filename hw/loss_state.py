"""What the loss tracker keeps of a connection, in `hw.loss_track`."""

from amaranth.hdl import Cat, Mux
from amaranth.lib import data

from hw import layouts
from hw.record_header import HEADER_BYTES
from model.contract import CHAINS, GAPS, HEADER_SIZE, HOLES, OPEN_RECORDS

SLOT = range(OPEN_RECORDS)

head_layout = data.StructLayout({
    "place": 32,
    "mask": HEADER_BYTES,  # bytes that have been seen
    "data": 8 * HEADER_BYTES,  # byte 0 in bits 7:0, zero where not seen
})  # fmt: skip

slot_layout = data.StructLayout({
    "place": 32,  # of the record's header
    "header": 8 * HEADER_BYTES,
    "number": 64,
    "missing": layouts.EXT_BITS,  # bytes of body and tag that are not counted yet
})  # fmt: skip

gap_layout = data.StructLayout({
    "head": head_layout,
    "number": 64,
    "target": 32,  # where its record must end
})  # fmt: skip

chain_layout = data.StructLayout({
    "start": 32,
    "head": head_layout,  # the next header
    "count": 32,  # headers seen
    "owned": OPEN_RECORDS,  # slots of its records
    "provable": 1,
    "has_last": 1,  # the record in front of `head` is in slot `last`
    "last": SLOT,
})  # fmt: skip

chains_layout = data.ArrayLayout(chain_layout, CHAINS)
"""In the order of the stream; zero behind `chain_count`."""

entry_layout = data.StructLayout({
    "tls13": 1,
    "seen": 32,
    "floor": 32,  # what the host has acknowledged
    "marked": 32,
    "conflict": 1,
    "blind": 1,
    "number": 64,  # of the record at the frontier
    "head": head_layout,  # the frontier
    "live": OPEN_RECORDS,  # slots of records before the frontier
    "raw": OPEN_RECORDS,  # slots of records that were given up
    "has_last": 1,  # the record in front of the frontier is in slot `last`
    "last": SLOT,
    "holes": HOLES,  # places in use
    "gaps": GAPS,
    "chain_count": range(CHAINS + 1),
    "tracking": 1,  # the last chain follows the stream
    "tail": 8 * (HEADER_SIZE - 1),  # bytes before `seen`, the newest in the highest byte
    "tail_count": range(HEADER_SIZE),
})  # fmt: skip


def lead(mask):
    """Bytes seen without a gap from the first on: ones of `mask` below its first zero."""
    count = len(mask)
    for n in reversed(range(len(mask))):
        count = Mux(mask[n], count, n)
    return count


def whole(tls13):
    """Mask of a whole header."""
    return Mux(tls13, (1 << HEADER_SIZE) - 1, (1 << HEADER_BYTES) - 1)


def merged(head, window, cover):
    """(mask, data) of a header with the bytes of a packet it had not seen yet."""
    fresh = cover & ~head.mask
    return head.mask | fresh, head.data | (window & Cat(bit.replicate(8) for bit in fresh))
