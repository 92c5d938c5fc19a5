"""Lookup: from the addresses and ports of a frame to the handle of its connection."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.byteorder import big_endian
from hw.config import Config
from hw.flow_table import FlowTable, Kind
from hw.layouts import flow_key, headers, table_operation, track_request
from hw.toeplitz import Toeplitz
from model.contract import HASH_KEY_BITS, HASH_WORDS

IPV4_WORDS = 3


def hash_words(key):
    """The message of the hash; an IPv4 flow has zeros from word 3 on."""
    remote, local = key.remote_address, key.local_address
    return [
        (key.remote_port << 16) | key.local_port,
        big_endian(remote, 12, 4),
        big_endian(local, 12, 4),
        key.ipv6,
        *(big_endian(remote, k, 4) for k in (0, 4, 8)),
        *(big_endian(local, k, 4) for k in (0, 4, 8)),
    ]


class Lookup(wiring.Component):
    """The flow table in the frames' way.

    Contract: frames leave in order. One that is no candidate leaves two cycles after it was taken, one a cycle;
    an IPv4 candidate that hits 8 cycles after it was offered, one every 3 cycles, IPv6 15 and 10. An operation
    waits for the frame in front at most and takes the way of the frames, so it holds for every frame behind
    it; no frame is searched for meanwhile. Reset: see `FlowTable`.

    Members
    -------
    i : In(stream.Signature(headers(config)))
    o : Out(stream.Signature(track_request(config)))
    table : In(stream.Signature(table_operation(config)))
    answer : Out(stream.Signature(4))   contract.Result, one for each operation
    hash_key : In(HASH_KEY_BITS)        may only change while the table is empty and no operation is under way
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(headers(config))),
            "o": Out(stream.Signature(track_request(config))),
            "table": In(stream.Signature(table_operation(config))),
            "answer": Out(stream.Signature(4)),
            "hash_key": In(HASH_KEY_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.toeplitz = toeplitz = Toeplitz()
        m.submodules.flows = flows = FlowTable(self._config)
        wiring.connect(m, flows.o, wiring.flipped(self.o))
        wiring.connect(m, flows.answer, wiring.flipped(self.answer))

        serve_table = Signal()  # the operation is what is hashed, not the frame
        serving = Signal()  # the same, held while it is
        place = Signal(range(HASH_WORDS))
        key = Signal(flow_key())
        words = Array(hash_words(key))
        with m.If(serve_table):
            m.d.comb += key.eq(self.table.p.key)
        with m.Else():
            for name in ("ipv6", "remote_address", "local_address", "remote_port", "local_port"):
                m.d.comb += key[name].eq(self.i.p[name])
        m.d.comb += [
            serve_table.eq(serving),
            toeplitz.key.eq(self.hash_key),
            toeplitz.place.eq(place),
            toeplitz.first.eq(place == 0),
            toeplitz.word.eq(words[place]),
            flows.hash.eq(toeplitz.hash),
            flows.i.p.key.eq(key),
            flows.i.p.handle.eq(self.table.p.handle),
        ]
        for name in ("base", "packet", "seq", "payload_offset", "payload_length"):
            m.d.comb += flows.i.p.request[name].eq(self.i.p[name])

        with m.FSM():
            with m.State("choose"):
                m.d.comb += serve_table.eq(self.table.valid)
                with m.If(Mux(self.table.valid, self.table.p.insert, self.i.valid & self.i.p.candidate)):
                    m.d.comb += toeplitz.enable.eq(1)
                    m.d.sync += [serving.eq(self.table.valid), place.eq(1)]
                    m.next = "hash"
                with m.Else():
                    m.d.comb += [
                        flows.i.valid.eq(self.table.valid | self.i.valid),
                        flows.i.p.kind.eq(Mux(self.table.valid, Kind.REMOVE, Kind.PASS)),
                        self.table.ready.eq(self.table.valid & flows.i.ready),
                        self.i.ready.eq(~self.table.valid & flows.i.ready),
                    ]

            def hand_over():
                m.d.comb += [
                    flows.i.valid.eq(1),
                    flows.i.p.kind.eq(Mux(serving, Kind.INSERT, Kind.FIND)),
                    self.table.ready.eq(serving & flows.i.ready),
                    self.i.ready.eq(~serving & flows.i.ready),
                ]
                m.next = "hand over"
                with m.If(flows.i.ready):
                    m.d.sync += serving.eq(0)
                    m.next = "choose"

            with m.State("hash"):
                m.d.comb += toeplitz.enable.eq(1)
                m.d.sync += place.eq(place + 1)
                with m.If(place == Mux(key.ipv6, HASH_WORDS, IPV4_WORDS) - 1):
                    m.d.sync += place.eq(0)
                    hand_over()

            with m.State("hand over"):
                hand_over()
        return m
