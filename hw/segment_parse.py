"""Parser of frames that may be cut: what every segment's headers are made from."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data

from hw.byteorder import big_endian
from hw.config import Config
from hw.parse import Parse, register
from hw.sum_tree import SumTree
from model.contract import MAX_SEGMENTED

MAX_IPV4_WORDS = 30
CHANGING_WORDS = (1, 2, 5)
"""16-bit words of an IPv4 header that differ from segment to segment: total length, identification, checksum."""


def segment_plan(config: Config):
    """segment parser -> cutter, one per frame whose request has a segment size."""
    return data.StructLayout({
        "parsed": 1,  # docs/contract.md section 1, an IP packet of up to MAX_SEGMENTED bytes
        "ipv6": 1,
        "l3_offset": 7,
        "l4_offset": 7,
        "payload_offset": 8,
        "payload_length": 16,
        "seq": 32,
        "flags": 8,  # byte 13 of the TCP header
        "identification": 16,  # IPv4
        "sum": 17,  # IPv4: of the header's words without CHANGING_WORDS, folded once
    })  # fmt: skip


class SegmentParse(Parse):
    """Headers of each frame to cut, as `Parse`, but with packets of up to MAX_SEGMENTED bytes.

    Contract: as `Parse`; one output.

    Members
    -------
    i : In(stream.Signature(beat(config)))
    o : Out(stream.Signature(segment_plan(config)))
    """

    OUTPUTS = {"o": segment_plan}

    def _fits(self, s):
        return s.end_offset - s.l3_offset <= MAX_SEGMENTED

    def _header_sum(self, m, ip):
        """From stage 2: identification and sum of an IPv4 header, valid at stage 7."""
        words = Signal(16 * MAX_IPV4_WORDS)
        ihl = ip.place[:4]
        for k in range(MAX_IPV4_WORDS):
            if k not in CHANGING_WORDS:
                m.d.comb += words.word_select(k, 16).eq(Mux(k < Cat(Const(0, 1), ihl), big_endian(ip.l3, 2 * k, 2), 0))
        m.submodules.tree = tree = SumTree(MAX_IPV4_WORDS)
        assert tree.delay == 3, "the sum is folded from stage 5 to 6"
        m.d.comb += tree.words.eq(words)
        fold = register(m, 6, sum=tree.sum[:16] + tree.sum[16:])
        identification = big_endian(ip.l3, 4, 2)
        for stage in range(3, 7):
            identification = register(m, stage, identification=identification).identification
        return register(m, 7, identification=identification, header_sum=fold.sum)

    def _outputs(self, m: Module, ip, s, to_plans):  # pyright: ignore[reportIncompatibleMethodOverride]
        v4 = self._header_sum(m, ip)
        length = self._payload_length(s)
        m.d.comb += [
            to_plans.valid.eq(s.valid),
            to_plans.p.parsed.eq(s.good & ~length[17]),
            to_plans.p.ipv6.eq(s.ipv6),
            to_plans.p.l3_offset.eq(s.l3_offset),
            to_plans.p.l4_offset.eq(s.l4_offset),
            to_plans.p.payload_offset.eq(s.payload_offset),
            to_plans.p.payload_length.eq(length),
            to_plans.p.seq.eq(s.seq),
            to_plans.p.flags.eq(s.flags),
            to_plans.p.identification.eq(v4.identification),
            to_plans.p.sum.eq(v4.header_sum),
        ]

    @staticmethod
    def model(frame: bytes) -> dict | None:
        """Fields of `segment_plan`; None if the frame is not parsed. `sum` is not folded; IPv6: two of no use."""
        fields = Parse.fields(frame)
        if fields is None or fields["end_offset"] - fields["l3_offset"] > MAX_SEGMENTED:
            return None
        l3, l4 = fields["l3_offset"], fields["l4_offset"]
        words = [int.from_bytes(frame[k : k + 2], "big") for k in range(l3, l4, 2)]
        names = ("ipv6", "l3_offset", "l4_offset", "payload_offset", "payload_length", "seq")
        return {name: fields[name] for name in names} | {
            "parsed": 1,
            "flags": frame[l4 + 13],
            "identification": words[2],
            "sum": sum(word for k, word in enumerate(words) if k not in CHANGING_WORDS),
        }
