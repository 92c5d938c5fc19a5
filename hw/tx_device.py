"""The transmit device: the rooms put together."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.align import Align
from hw.config import Config
from hw.control import Control
from hw.encrypt import Encrypt
from hw.finish import Finish
from hw.ghash import Ghash
from hw.ingress import Ingress
from hw.keystream import Keystream
from hw.seal import Seal
from hw.segment import Segment
from hw.stream import Queue, Slice
from hw.tx_track import TxTrack


class TxDevice(wiring.Component):
    """Encrypts the TLS records in the frames of its connections (docs/contract-tx.md).

    Contract: frames leave in the order they came. Plaintext of a connection never leaves: a frame with a handle is
    encrypted, or has no payload, or is dropped. A frame with a segment size is cut before anything else sees it: from
    there on each segment is a frame.

    Members
    -------
    tx : In(stream.Signature(tx_layouts.tx_beat))                    from the host, with the request
    wire : Out(stream.Signature(layouts.beat))                    to the wire
    completions : Out(stream.Signature(tx_layouts.tx_completion()))  one for each segment, in order
    commands : In(stream.Signature(layouts.command))
    responses : Out(stream.Signature(layouts.response))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(self.interface(config))

    @staticmethod
    def interface(config: Config) -> wiring.Signature:
        return wiring.Signature({
            "tx": In(stream.Signature(tx_layouts.tx_beat(config))),
            "wire": Out(stream.Signature(layouts.beat(config))),
            "completions": Out(stream.Signature(tx_layouts.tx_completion())),
            "commands": In(stream.Signature(layouts.command(config))),
            "responses": Out(stream.Signature(layouts.response())),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.segment = segment = Segment(config)
        m.submodules.requests = requests = Queue(tx_layouts.tx_request(), depth=layouts.MAX_PACKETS + 1)
        m.submodules.ingress = ingress = Ingress(config, transmit=True)
        m.submodules.track = track = TxTrack(config)
        planned = track.o
        if config.late:
            m.submodules.handed = handed = Slice(tx_layouts.tx_work(config))
            wiring.connect(m, track.o, handed.i)
            planned = handed.o
        m.submodules.align = align = Align(config, transmit=True)
        m.submodules.keystream = keystream = Keystream(config)
        m.submodules.encrypt = encrypt = Encrypt(config)
        m.submodules.ghash = ghash = Ghash(config)
        m.submodules.seal = seal = Seal(config)
        m.submodules.finish = finish = Finish(config)
        m.submodules.control = control = Control(config, transmit=True)

        for source, sink in (
            (wiring.flipped(self.tx), segment.i),
            (ingress.headers, track.i),
            (requests.o, track.requests),
            (ingress.checksum, track.checksum),
            (planned, align.i),
            (align.keystream, keystream.i),
            (align.hashed, encrypt.i),
            (align.items, seal.i),
            (keystream.o, encrypt.keystream),
            (encrypt.o, ghash.i),
            (encrypt.delta, seal.delta),
            (encrypt.aligned, finish.keystream),
            (keystream.j0, seal.j0),
            (ghash.o, seal.hash),
            (seal.patches, finish.patches),
            (seal.orders, finish.orders),
            (ingress.o, finish.i),
            (finish.o, wiring.flipped(self.wire)),
            (finish.completions, wiring.flipped(self.completions)),
            (track.buffer, ingress.track),
            (align.buffer, ingress.align),
            (wiring.flipped(self.commands), control.commands),
            (control.responses, wiring.flipped(self.responses)),
            (control.tracker, track.operations),
            (track.answers, control.tracker_answers),
            (control.keys, keystream.keys),
            (keystream.subkey, control.subkey),
            (control.powers, ghash.subkeys),
        ):
            wiring.connect(m, source, sink)

        # A segment's request is queued with its first beat, and waits for its headers.
        beat = segment.o
        first = Signal(init=1)
        room = requests.i.ready | ~first
        transfer = beat.valid & beat.ready
        m.d.comb += [
            ingress.i.p.data.eq(beat.p.data),
            ingress.i.p.keep.eq(beat.p.keep),
            ingress.i.p.last.eq(beat.p.last),
            ingress.i.valid.eq(beat.valid & room),
            beat.ready.eq(ingress.i.ready & room),
            requests.i.p.eq(beat.p.request),
            requests.i.valid.eq(transfer & first),
            control.powers_done.eq(ghash.done),
            track.sweeping.eq(control.sweeping),
            control.entered.eq(track.i.valid & track.i.ready),
            control.left.eq(finish.left),
            control.status.eq(finish.counted.status),
            control.length.eq(finish.counted.payload_length),
            track.written.eq(ingress.written),
            track.ended.eq(ingress.ended),
            align.written.eq(ingress.written),
            align.ended.eq(ingress.ended),
        ]
        with m.If(transfer):
            m.d.sync += first.eq(beat.p.last)
        return m
