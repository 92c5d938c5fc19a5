"""A device that is none: frames go through a queue, commands are answered from their own fields."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.stream import Queue
from model.contract import Checksum, Opcode, Result, Status

SILENT = 0xFFFF
"""READ of this address is never answered."""


class StandIn(wiring.Component):
    """Ports of RxDevice, with a behaviour that shows order and encoding.

    READ of address 0 gives the frames seen, 1 the commands seen, others 3 times the address. ADD gives `seq`'s low
    bits as handle and the low 64 bits of the key as value. QUERY returns a state made of the handle. DEL is
    answered STALE_HANDLE, RESYNC with the record number as value, SEED with the low bits of the hash key.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "rx": In(stream.Signature(layouts.beat(config))),
            "host": Out(stream.Signature(layouts.output_beat(config))),
            "commands": In(stream.Signature(layouts.command(config))),
            "responses": Out(stream.Signature(layouts.response())),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(layouts.beat(self.config), depth=8)
        wiring.connect(m, wiring.flipped(self.rx), queue.i)
        ordinal = Signal(8)
        frames, commands = Signal(64), Signal(64)
        m.d.comb += [
            self.host.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.host.ready),
            self.host.p.data.eq(queue.o.p.data),
            self.host.p.keep.eq(queue.o.p.keep),
            self.host.p.last.eq(queue.o.p.last),
            self.host.p.descriptor.status.eq(Status.BYPASS),
            self.host.p.descriptor.checksum.eq(Checksum.BAD),
            self.host.p.descriptor.matched.eq(ordinal[0]),
            self.host.p.descriptor.handle.eq(ordinal),
        ]
        with m.If(self.host.valid & self.host.ready & self.host.p.last):
            m.d.sync += ordinal.eq(ordinal + 1)
        with m.If(self.rx.valid & self.rx.ready & self.rx.p.last):
            m.d.sync += frames.eq(frames + 1)

        answer, busy = self.responses.p, self.responses.valid
        command = self.commands.p
        m.d.comb += self.commands.ready.eq(~busy)
        with m.If(busy & self.responses.ready):
            m.d.sync += busy.eq(0)
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [
                commands.eq(commands + 1),
                busy.eq(~((command.opcode == Opcode.READ) & (command.address == SILENT))),
                answer.eq(0),
            ]
            with m.Switch(command.opcode):
                with m.Case(Opcode.ADD):
                    m.d.sync += [answer.handle.eq(command.seq), answer.value.eq(command.key)]
                with m.Case(Opcode.DEL):
                    m.d.sync += answer.result.eq(Result.STALE_HANDLE)
                with m.Case(Opcode.RESYNC):
                    m.d.sync += answer.value.eq(command.record_number)
                with m.Case(Opcode.SEED):
                    m.d.sync += answer.value.eq(command.hash_key)
                with m.Case(Opcode.QUERY):
                    m.d.sync += [
                        answer.state.expected_seq.eq(command.handle),
                        answer.state.remaining.eq(command.handle),
                        answer.state.header_count.eq(3),
                        answer.state.skipping.eq(1),
                    ]
                with m.Case(Opcode.READ):
                    with m.Switch(command.address):
                        with m.Case(0):
                            m.d.sync += answer.value.eq(frames)
                        with m.Case(1):
                            m.d.sync += answer.value.eq(commands)
                        with m.Default():
                            m.d.sync += answer.value.eq(command.address * 3)
        return m
