"""A TLS record header (RFC 5246, section 6.2; RFC 8446, section 5.1; RFC 5288, section 3) and its limits."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data

from hw import layouts
from model.contract import (
    EXPLICIT_NONCE_SIZE,
    HEADER_SIZE,
    MAX_LENGTH,
    MIN_LENGTH,
    TAG_SIZE,
    TLS_VERSION_BYTES,
)

HEADER_BYTES = HEADER_SIZE + EXPLICIT_NONCE_SIZE


class RecordHeader:
    """What a whole header says, of a signal that holds one.

    Members
    -------
    content_type, explicit_nonce : Value    as byte strings
    size : Value                            of the header, explicit nonce included
    body_length : Signal                    ciphertext bytes without the tag
    good : Value                            version bytes and length are within the limits
    plausible(count) -> Value               the same of its first `count` bytes, the rest being zero
    """

    def __init__(self, m: Module, header, tls13):
        view = data.View(
            data.StructLayout({"content_type": 8, "version": 16, "length": 16, "explicit_nonce": 64}), header
        )
        length = Cat(view.length[8:], view.length[:8])
        self.content_type = view.content_type
        self.explicit_nonce = view.explicit_nonce
        self.size = Mux(tls13, HEADER_SIZE, HEADER_BYTES)
        self.body_length = Signal(layouts.EXT_BITS)
        m.d.comb += self.body_length.eq(length - Mux(tls13, TAG_SIZE, TAG_SIZE + EXPLICIT_NONCE_SIZE))
        low, high = [(length >= MIN_LENGTH[v]) & (length <= MAX_LENGTH[v]) for v in (0x0303, 0x0304)]
        version = Const(int.from_bytes(TLS_VERSION_BYTES.to_bytes(2), "little"), 16)
        self.good = (view.version == version) & Mux(tls13, high, low)
        self._version = view.version, version
        self._length_high = view.length[:8], Mux(tls13, MAX_LENGTH[0x0304] >> 8, MAX_LENGTH[0x0303] >> 8)

    def plausible(self, count):
        version, right = self._version
        high, highest = self._length_high
        return (
            ((count < 2) | (version[:8] == right[:8]))
            & ((count < 3) | (version == right))
            & ((count < HEADER_SIZE - 1) | (high <= highest))
            & ((count < HEADER_SIZE) | self.good)
        )
