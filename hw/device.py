"""The receive device: the rooms put together."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.align import Align
from hw.config import Config
from hw.control import Control
from hw.ghash import Ghash
from hw.ingress import Ingress
from hw.keystream import Keystream
from hw.lookup import Lookup
from hw.loss_track import LossTrack
from hw.overload import Overload
from hw.release import Release
from hw.stream import Hold, Queue, Slice
from hw.track import Track
from hw.verdict import Verdict
from model.contract import RxPolicy


class RxDevice(wiring.Component):
    """Receives frames, decrypts and authenticates the TLS records in them (docs/contract.md).

    Contract: frames leave in the order they came, once each, unchanged unless their descriptor says DECRYPTED.

    Members
    -------
    rx : In(stream.Signature(layouts.beat))              from the wire
    host : Out(stream.Signature(layouts.output_beat))    to the host
    commands : In(stream.Signature(layouts.command))
    responses : Out(stream.Signature(layouts.response))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(self.interface(config))

    @staticmethod
    def interface(config: Config) -> wiring.Signature:
        return wiring.Signature({
            "rx": In(stream.Signature(layouts.beat(config))),
            "host": Out(stream.Signature(layouts.output_beat(config))),
            "commands": In(stream.Signature(layouts.command(config))),
            "responses": Out(stream.Signature(layouts.response())),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        published = config.rx_policy is RxPolicy.PUBLISHED
        m.submodules.control = control = Control(config)
        m.submodules.ingress = ingress = Ingress(config)
        m.submodules.lookup = lookup = Lookup(config)
        # the flow table searches for the next frame while the tracker is busy with this one
        request, depth = layouts.track_request(config), config.found_depth
        m.submodules.found = found = Slice(request) if config.late and depth == 2 else Queue(request, depth=depth)
        m.submodules.track = track = (Track if published else LossTrack)(config)
        planned, operations = track.o, control.table
        if config.late:
            m.submodules.handed = handed = Slice(layouts.work(config))
            m.submodules.operation = operation = Hold(layouts.table_operation(config))
            wiring.connect(m, track.o, handed.i)
            wiring.connect(m, control.table, operation.i)
            planned, operations = handed.o, operation.o
        m.submodules.align = align = Align(config)
        m.submodules.keystream = keystream = Keystream(config)
        m.submodules.ghash = ghash = Ghash(config)
        m.submodules.verdict = verdict = Verdict(config)
        m.submodules.release = release = Release(config)

        for source, sink in (
            (wiring.flipped(self.rx), ingress.i),
            (ingress.headers, lookup.i),
            (ingress.checksum, track.checksum),
            (lookup.o, found.i),
            (found.o, track.i),
            (planned, align.i),
            (align.keystream, keystream.i),
            (align.hashed, ghash.i),
            (align.items, verdict.i),
            (ghash.o, verdict.hash),
            (keystream.j0, verdict.j0),
            (keystream.o, release.keystream),
            (verdict.o, release.orders),
            (ingress.o, release.i),
            (release.o, wiring.flipped(self.host)),
            (track.buffer, ingress.track),
            (align.buffer, ingress.align),
            (wiring.flipped(self.commands), control.commands),
            (control.responses, wiring.flipped(self.responses)),
            (operations, lookup.table),
            (lookup.answer, control.table_answers),
            (control.tracker, track.operations),
            (track.answers, control.tracker_answers),
            (control.keys, keystream.keys),
            (keystream.subkey, control.subkey),
            (control.powers, ghash.subkeys),
            *([] if published else [(verdict.proofs, track.proofs)]),
        ):
            wiring.connect(m, source, sink)
        m.d.comb += [
            control.powers_done.eq(ghash.done),
            lookup.hash_key.eq(control.hash_key),
            lookup.show.eq(control.show),
            lookup.show_index.eq(control.show_index),
            verdict.opened.eq(control.opened),
            verdict.opened_index.eq(control.opened_index),
            control.entered.eq(lookup.o.valid & lookup.o.ready),  # what waits in front of the tracker has entered
            control.left.eq(release.left),
            control.status.eq(release.counted.descriptor.status),
            control.length.eq(release.counted.payload_length),
        ]
        if config.passes_raw:
            m.submodules.overload = overload = Overload(config)
            m.d.comb += [
                overload.written.eq(ingress.written),
                overload.taken.eq(ingress.taken),
                overload.ended.eq(ingress.ended),
                overload.frame.eq(track.frame),
                track.overload.eq(overload.overload),
            ]
        for reader in (track, align):
            m.d.comb += [reader.written.eq(ingress.written), reader.ended.eq(ingress.ended)]
        return m
