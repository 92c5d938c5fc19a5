"""Headers of segments: the fields that differ from segment to segment, and how they get into the frame's headers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.rotate import byte_mask
from hw.segment_parse import segment_plan

FIN, PSH, CWR = 0x01, 0x08, 0x80
IPV6_SIZE = 40
PATCH_BYTES = 10
IP_PLACE = 2
"""Of the first byte that may change in the IP header: IPv4 total length 2, identification 4, checksum 10; IPv6
payload length 4."""
TCP_PLACE = 4
"""Of the first in the TCP header: sequence number 4, flags 13."""
TCP_ENABLE = 0b10_0000_1111


def segment_header():
    """One segment's share of a frame."""
    return data.StructLayout({
        "first": 1,
        "last": 1,
        "length": 16,  # payload bytes
        "seq": 32,
        "ip_length": 16,  # IPv4 total length, IPv6 payload length
        "identification": 16,
        "checksum": 16,  # of the IPv4 header
    })  # fmt: skip


def header_patches():
    """Byte strings to be laid over the headers."""
    return data.StructLayout({
        "ip_at": 7,
        "ip": 8 * PATCH_BYTES,
        "ip_enable": PATCH_BYTES,
        "tcp_at": 7,
        "tcp": 8 * PATCH_BYTES,
    })  # fmt: skip


class SegmentHeaders(wiring.Component):
    """Counts a frame's segments off.

    Contract: `start` begins with a frame, whose `plan` and `size` then stay until `stop`; `start` only before the first
    frame and after `stop`, which ends the row of segments at once. One segment a cycle, the first at `o` 5 cycles
    after `start`.

    Members
    -------
    plan : In(segment_plan(config))
    size : In(16)                       payload bytes of a segment, >= 1
    start, stop : In(1)
    o : Out(stream.Signature(segment_header()))
    """

    def __init__(self, config: Config):
        super().__init__({
            "plan": In(segment_plan(config)),
            "size": In(16),
            "start": In(1),
            "stop": In(1),
            "o": Out(stream.Signature(segment_header())),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        plan = self.plan
        running = Signal()
        first = Signal()
        rest = Signal(16)
        seq = Signal(32)
        identification = Signal(16)
        overhead = Signal(9)  # what the IP length counts beside the payload
        step = Signal()
        last = Signal()
        names = ("first", "last", "length", "seq", "ip_length", "identification")
        stages = [Signal(segment_header(), name=f"segment_{name}") for name in ("length", "sum", "fold")]
        valid = [Signal(name=f"valid_{name}") for name in ("length", "sum", "fold")]
        total = Signal(18)
        fold = Signal(17)
        m.d.comb += [step.eq(~self.o.valid | self.o.ready), last.eq(rest <= self.size)]
        with m.If(step):
            length = Mux(last, rest, self.size)
            m.d.sync += [
                stages[0].first.eq(first),
                stages[0].last.eq(last),
                stages[0].length.eq(length),
                stages[0].seq.eq(seq),
                stages[0].ip_length.eq(length + overhead),
                stages[0].identification.eq(identification),
                total.eq(plan.sum + stages[0].ip_length + stages[0].identification),
                fold.eq(total[:16] + total[16:]),
                self.o.p.checksum.eq(~(fold[:16] + fold[16])),
            ]
            for before, after in zip(stages, [*stages[1:], self.o.p], strict=True):
                m.d.sync += [getattr(after, name).eq(getattr(before, name)) for name in names]
            m.d.sync += Cat(*valid, self.o.valid).eq(Cat(running, *valid))
            with m.If(running):
                m.d.sync += [
                    running.eq(~last),
                    first.eq(0),
                    rest.eq(rest - self.size),
                    seq.eq(seq + self.size),
                    identification.eq(identification + 1),
                ]
        with m.If(self.start):
            m.d.sync += [
                running.eq(1),
                first.eq(1),
                rest.eq(plan.payload_length),
                seq.eq(plan.seq),
                identification.eq(plan.identification),
                overhead.eq(plan.payload_offset - plan.l3_offset - Mux(plan.ipv6, IPV6_SIZE, 0)),
            ]
        with m.If(self.stop):
            m.d.sync += [running.eq(0), Cat(*valid, self.o.valid).eq(0)]
        return m

    @staticmethod
    def model(plan: dict, size: int) -> list[dict]:
        """All segments of a frame with `SegmentParse.model`'s plan."""
        out = []
        for at in range(0, plan["payload_length"], size):
            length = min(size, plan["payload_length"] - at)
            ip_length = length + plan["payload_offset"] - plan["l3_offset"] - (IPV6_SIZE if plan["ipv6"] else 0)
            identification = (plan["identification"] + len(out)) % 2**16
            out.append({
                "first": int(at == 0),
                "last": int(at + length == plan["payload_length"]),
                "length": length,
                "seq": (plan["seq"] + at) % 2**32,
                "ip_length": ip_length,
                "identification": identification,
                "checksum": -(plan["sum"] + ip_length + identification) % 0xFFFF,
            })  # fmt: skip
        return out


def _network(value):
    """The bytes of a field as they lie in the frame."""
    size = len(value)
    return Cat(value[k - 8 : k] for k in range(size, 0, -8))


def patches_of(plan, segment) -> dict:
    """Fields of `header_patches` for a segment."""
    clear = Mux(segment.last, 0, FIN | PSH) | Mux(segment.first, 0, CWR)
    changed = _network(segment.ip_length)
    return {
        "ip_at": plan.l3_offset + IP_PLACE,
        "ip": Cat(
            changed,
            Mux(plan.ipv6, changed, _network(segment.identification)),
            Const(0, 32),
            _network(segment.checksum),
        ),
        "ip_enable": Mux(plan.ipv6, 0b00_0000_1100, 0b11_0000_1111),
        "tcp_at": plan.l4_offset + TCP_PLACE,
        "tcp": Cat(_network(segment.seq), Const(0, 40), plan.flags & ~clear),
    }


def patched(m: Module, header, row, patches):
    """Beat `row` of the headers with the patches laid over it."""
    width = len(header) // 8
    bits = (width - 1).bit_length()
    for name, enabled in (("ip", patches.ip_enable), ("tcp", Const(TCP_ENABLE, PATCH_BYTES))):
        at = getattr(patches, f"{name}_at")
        enable = Signal(width + PATCH_BYTES, name=f"{name}_lanes")
        value = Signal(8 * (width + PATCH_BYTES), name=f"{name}_bytes")
        here = Signal(width, name=f"{name}_here")
        low = at[:bits]
        begins, goes_on = Signal(name=f"{name}_begins"), Signal(name=f"{name}_goes_on")
        m.d.comb += [
            enable.eq(enabled << low),
            value.eq(getattr(patches, name) << Cat(Const(0, 3), low)),
            begins.eq(row == at[bits:]),
            goes_on.eq(row == at[bits:] + 1),
            here.eq(Mux(begins, enable[:width], 0) | Mux(goes_on, enable[width:], 0)),
        ]
        mask = Signal(8 * width, name=f"{name}_mask")
        m.d.comb += mask.eq(byte_mask(here))
        header = (header & ~mask) | (Mux(begins, value[: 8 * width], value[8 * width :]) & mask)
    return header
