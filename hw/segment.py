"""Segmentation: frames larger than the host's segment size leave as segments."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.cutter import Cutter
from hw.layouts import beat
from hw.segment_headers import CWR, FIN, PSH, SegmentHeaders
from hw.segment_parse import SegmentParse
from hw.stream import Queue
from hw.tx_layouts import tx_beat, tx_request
from model.contract import TxKind

DEPTH = 32
"""Beats waiting for their plan: the parser has it at most 128 / W + 9 cycles after the frame's first beat."""


class Segment(wiring.Component):
    """Cuts frames by docs/contract-tx.md, section 5; hands on all others unchanged.

    Contract: a beat a cycle in as long as nothing is cut. The first beat shows at `o` 3 cycles after it was taken; with
    a segment size (W = 16) 14 if it is IPv4 without options, else at most 22. Segments: see `Cutter`. 32 beats are
    stored, never a whole frame.

    `request` of what leaves: `segment_size` stays only with the segments of a PASS frame, whose TCP checksum has to be
    made, and is 0 with everything else; PREFIX is RETRANSMIT from the second segment on; `adopt` stays only with the
    segment that ends with the IP packet. The TCP checksum is still the frame's.

    Members
    -------
    i : In(stream.Signature(tx_beat(config)))
    o : Out(stream.Signature(tx_beat(config)))
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(tx_beat(config))),
            "o": Out(stream.Signature(tx_beat(config))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.beats = beats = Queue(beat(self._config), depth=DEPTH)
        m.submodules.requests = requests = Queue(tx_request(), depth=DEPTH)
        m.submodules.parse = parse = SegmentParse(self._config)
        m.submodules.cutter = cutter = Cutter(self._config)
        wiring.connect(m, beats.o, cutter.i)
        wiring.connect(m, requests.o, cutter.requests)
        wiring.connect(m, parse.o, cutter.plans)
        wiring.connect(m, cutter.o, wiring.flipped(self.o))

        first = Signal(init=1)
        transfer = Signal()
        sized = self.i.p.request.segment_size != 0
        ready = Cat(beats.i.ready, requests.i.ready | ~first, parse.i.ready | ~sized).all()
        m.d.comb += [
            self.i.ready.eq(ready),
            transfer.eq(self.i.valid & ready),
            beats.i.valid.eq(transfer),
            requests.i.valid.eq(transfer & first),
            requests.i.p.eq(self.i.p.request),
            parse.i.valid.eq(transfer & sized),
        ]
        for branch in (beats.i, parse.i):
            m.d.comb += [getattr(branch.p, name).eq(getattr(self.i.p, name)) for name in ("data", "keep", "last")]
        with m.If(transfer):
            m.d.sync += first.eq(self.i.p.last)
        return m

    @staticmethod
    def model(frame: bytes, request: dict) -> list[tuple[bytes, dict]]:
        """Each outgoing frame with its request; `request` holds fields of `tx_request`."""
        size = request.get("segment_size", 0)
        plan = SegmentParse.model(frame) if size else None
        if plan is None or plan["payload_length"] <= size:
            return [(frame, request | {"segment_size": 0})]
        l3, l4, start = (plan[f"{name}_offset"] for name in ("l3", "l4", "payload"))
        out = []
        for segment in SegmentHeaders.model(plan, size):
            if out and start >= len(frame):
                break
            headers = bytearray(frame[: plan["payload_offset"]])
            if plan["ipv6"]:
                headers[l3 + 4 : l3 + 6] = segment["ip_length"].to_bytes(2, "big")
            else:
                headers[l3 + 2 : l3 + 4] = segment["ip_length"].to_bytes(2, "big")
                headers[l3 + 4 : l3 + 6] = segment["identification"].to_bytes(2, "big")
                headers[l3 + 10 : l3 + 12] = segment["checksum"].to_bytes(2, "big")
            headers[l4 + 4 : l4 + 8] = segment["seq"].to_bytes(4, "big")
            headers[l4 + 13] &= ~((not segment["last"]) * (FIN | PSH) | (not segment["first"]) * CWR)
            changed = {"segment_size": size if request.get("kind", TxKind.PASS) == TxKind.PASS else 0}
            if request.get("kind") == TxKind.PREFIX and out:
                changed["kind"] = TxKind.RETRANSMIT
            changed["adopt"] = request.get("adopt", 0) & segment["last"]
            out.append((bytes(headers) + frame[start : start + segment["length"]], request | changed))
            start += segment["length"]
        return out
