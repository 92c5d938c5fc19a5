"""Lookup: from the addresses and ports of a frame to the handle of its connection."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.byteorder import big_endian
from hw.config import Config
from hw.flow_table import FlowTable, Kind
from hw.flow_table_late import LateFlowTable
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
    a candidate that hits 5 cycles after it was offered and one for each step of its hash, one every 3 cycles, or
    as many as its hash has steps: 3 for IPv4 and 10 for IPv6 at W=16. W=64: 1 and 2 steps; one that does not hit every
    2 cycles, IPv6 every 3. An operation waits for the frame
    in front at most and takes the way of the frames, so it holds for every frame behind it; no frame is searched for
    meanwhile. `Config.late`: one more for each, and what LateFlowTable takes. Reset: see `FlowTable`.

    Members
    -------
    i : In(stream.Signature(headers(config)))
    o : Out(stream.Signature(track_request(config)))
    table : In(stream.Signature(table_operation(config)))
    answer : Out(stream.Signature(4))   contract.Result, one for each operation
    show : In(1)                        pulse: what was inserted hidden at `show_index` is found from now on
    show_index : In(config.index_bits)
    hash_key : In(HASH_KEY_BITS)        may only change while the table is empty and no operation is under way
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(headers(config))),
            "o": Out(stream.Signature(track_request(config))),
            "table": In(stream.Signature(table_operation(config))),
            "answer": Out(stream.Signature(4)),
            "show": In(1),
            "show_index": In(config.index_bits),
            "hash_key": In(HASH_KEY_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        late = self._config.late
        m.submodules.toeplitz = toeplitz = Toeplitz(self._config.hash_words, late=late)
        m.submodules.flows = flows = (LateFlowTable if late else FlowTable)(self._config)
        wiring.connect(m, flows.o, wiring.flipped(self.o))
        wiring.connect(m, flows.answer, wiring.flipped(self.answer))

        serve_table = Signal()  # the operation is what is hashed, not the frame
        serving = Signal()  # the same, held while it is
        steps, ipv4_steps = toeplitz.steps(HASH_WORDS), toeplitz.steps(IPV4_WORDS)
        place = Signal(range(steps))
        last = Signal()  # the hash has no step behind `place`
        key = Signal(flow_key())
        words = hash_words(key) + [Const(0, 32)] * (steps * toeplitz.words - HASH_WORDS)
        groups = Array(Cat(reversed(words[k : k + toeplitz.words])) for k in range(0, len(words), toeplitz.words))
        offered = Signal(flow_key()) if late else key
        with m.If(serve_table):
            m.d.comb += offered.eq(self.table.p.key)
        with m.Else():
            for name in ("ipv6", "remote_address", "local_address", "remote_port", "local_port"):
                m.d.comb += offered[name].eq(self.i.p[name])
        if late:
            m.d.sync += key.eq(offered)
        chosen = None
        if late:
            turns = Signal(steps, init=1)  # `place`, a bit each
            with m.If(toeplitz.enable):
                m.d.sync += turns.eq(Mux(last, 1, turns << 1))
            chosen = reduce(or_, (groups[k] & turns[k].replicate(len(groups[k])) for k in range(steps)))
        m.d.comb += [
            serve_table.eq(serving),
            toeplitz.key.eq(self.hash_key),
            toeplitz.place.eq(place),
            toeplitz.first.eq(place == 0),
            toeplitz.word.eq(groups[place] if not late else chosen),
            last.eq(place == Mux(key.ipv6, steps, ipv4_steps) - 1),
            flows.hash.eq(toeplitz.hash),
            flows.i.p.key.eq(key),
            flows.i.p.handle.eq(self.table.p.handle),
            flows.i.p.hidden.eq(self.table.p.hidden),
            flows.show.eq(self.show),
            flows.show_index.eq(self.show_index),
        ]
        for name in ("base", "packet", "seq", "payload_offset", "payload_length"):
            m.d.comb += flows.i.p.request[name].eq(self.i.p[name])

        def hand_over():
            m.d.comb += [
                flows.i.valid.eq(1),
                flows.i.p.kind.eq(Mux(serve_table, Kind.INSERT, Kind.FIND)),
                self.table.ready.eq(serve_table & flows.i.ready),
                self.i.ready.eq(~serve_table & flows.i.ready),
            ]
            m.d.sync += place.eq(0)
            m.next = "hand over"
            with m.If(flows.i.ready):
                m.d.sync += serving.eq(0)
                m.next = "choose"

        def step():
            m.d.comb += toeplitz.enable.eq(1)
            m.d.sync += place.eq(place + 1)
            m.next = "hash"
            with m.If(last):
                if self._config.hash_ahead or late:
                    m.next = "hand over"
                else:
                    hand_over()

        def hand_over_unhashed(valid, serve):
            m.d.comb += [
                flows.i.valid.eq(valid),
                flows.i.p.kind.eq(Mux(serve, Kind.REMOVE, Kind.PASS)),
                self.table.ready.eq(serve & flows.i.ready),
                self.i.ready.eq(~serve & flows.i.ready),
            ]

        with m.FSM():
            with m.State("choose"):
                m.d.comb += serve_table.eq(self.table.valid)
                if late:  # whose turn it is comes from a register, and what is hashed
                    m.d.sync += serving.eq(self.table.valid)
                    with m.If(self.table.valid | self.i.valid):
                        m.next = "begin"
                else:
                    with m.If(Mux(self.table.valid, self.table.p.insert, self.i.valid & self.i.p.candidate)):
                        m.d.sync += serving.eq(self.table.valid)
                        step()
                    with m.Else():
                        hand_over_unhashed(self.table.valid | self.i.valid, self.table.valid)

            if late:
                with m.State("begin"):
                    with m.If(Mux(serving, self.table.p.insert, self.i.p.candidate)):
                        step()
                    with m.Else():
                        hand_over_unhashed(1, serving)
                        with m.If(flows.i.ready):
                            m.d.sync += serving.eq(0)
                            m.next = "choose"

            with m.State("hash"):
                step()

            with m.State("hand over"):
                hand_over()
        return m
