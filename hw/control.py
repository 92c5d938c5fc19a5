"""Commands: through every room that keeps something for a connection."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.add_end import AddEnd
from hw.config import Config
from hw.counters import Counters
from hw.erase import Erase
from hw.handles import Handles
from hw.one_hot import Machine
from model.contract import (
    CIPHERS,
    CONTRACT_VERSION,
    DEFAULT_HASH_KEY,
    HASH_KEY_BITS,
    IDENTIFICATION,
    INDEX_BITS,
    READ_CIPHERS,
    READ_CONNECTIONS,
    READ_COUNTERS,
    READ_FREE,
    READ_IDENTIFICATION,
    READ_POLICY,
    READ_VERSION,
    READ_WIDTH,
    Opcode,
    Result,
    RxPolicy,
    Status,
    TxStatus,
)


class Control(wiring.Component):
    """Carries out commands (docs/contract.md, section 4).

    Contract: each command is answered once, in order. A frame that finds a connection finds everything: ADD shows it to
    the flow table last; DEL takes it out first and waits until the frames that found it have left, so nothing is erased
    under a frame. Keys go out to the keystream room and nowhere else. While the powers of an ADD are made the next
    ADD is begun; every other command waits until all before it are answered. A reset leaves memories as they are: if a
    connection was installed since power-on, every index is erased as by DEL before the first command is taken, and
    `sweeping` says so.

    Parameters
    ----------
    config : Config
    transmit : bool
        No flow table: connections are found by their handles.

    Members
    -------
    commands, responses : streams        layouts.command, layouts.response
    table, table_answers : streams       lookup; receive only
    tracker, tracker_answers : streams   track
    keys, subkey : streams               keystream; `subkey` is H of the key written last
    powers : stream, powers_done : In(1) ghash
    hash_key : Out(HASH_KEY_BITS)        receive only
    opened : Out(1)                      receive only; the tracker has a new connection at `opened_index`
    opened_index : Out(index_bits)
    show : Out(1)                        receive only; the connection at `show_index` has everything
    show_index : Out(index_bits)
    sweeping : Out(1)                    what rooms keep of connections is from before the reset: none is live
    entered, left : In(1)                pulses: a frame passed lookup (transmit: the tracker); a frame left
    status, length : In                  of the frame that left, with `left`
    """

    def __init__(self, config: Config, *, transmit: bool = False):
        self.config = config
        self.transmit = transmit
        table = {
            "table": Out(stream.Signature(layouts.table_operation(config))),
            "table_answers": In(stream.Signature(4)),
            "hash_key": Out(HASH_KEY_BITS, init=DEFAULT_HASH_KEY),
            "opened": Out(1),
            "opened_index": Out(config.index_bits),
            "show": Out(1),
            "show_index": Out(config.index_bits),
        }  # fmt: skip
        super().__init__({
            **({} if transmit else table),
            "commands": In(stream.Signature(layouts.command(config))),
            "responses": Out(stream.Signature(layouts.response())),
            "tracker": Out(stream.Signature(layouts.tracker_operation(config))),
            "tracker_answers": In(stream.Signature(layouts.tracker_answer())),
            "keys": Out(stream.Signature(layouts.key_operation(config))),
            "subkey": In(stream.Signature(layouts.subkey_operation(config))),
            "powers": Out(stream.Signature(layouts.subkey_operation(config))),
            "powers_done": In(1),
            "sweeping": Out(1),
            "entered": In(1),
            "left": In(1),
            "status": In(4),
            "length": In(layouts.OFFSET_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.handles = handles = Handles(config)
        if self.transmit:
            counters = Counters(list(TxStatus), TxStatus.ENCRYPTED, late=config.late)
        else:
            statuses = [status for status in Status if status is not Status.OVERLOAD]
            more = [Status.OVERLOAD] if config.passes_raw else []
            counters = Counters(statuses, Status.DECRYPTED, more, late=config.late)
        m.submodules.counters = counters
        m.d.comb += [
            counters.left.eq(self.left),
            counters.status.eq(self.status),
            counters.length.eq(self.length),
        ]

        command = self.commands.p
        handle = Signal(layouts.HANDLE_BITS)  # of the connection the command is about
        index = handle[: config.index_bits]
        result = Signal(Result)
        erase = Signal()  # key, powers and tracker state are to be zeroed
        answer = Signal(layouts.response())  # but for its result
        end = AddEnd(m, self, handle)

        erasing = Erase(m, self, config)
        m.d.comb += self.sweeping.eq(erasing.sweeping)

        # Frames between lookup and the way out, to know when those of a deleted connection are gone.
        passed, gone, until = (Signal(layouts.PACKET_BITS) for _ in range(3))
        m.d.sync += [passed.eq(passed + self.entered), gone.eq(gone + self.left)]
        drained = Signal()
        behind = Signal(layouts.PACKET_BITS)
        m.d.comb += [behind.eq(gone - until), drained.eq(~behind[-1])]

        m.d.comb += [
            handles.query.eq(handle),
            counters.number.eq(command.address - READ_COUNTERS),
            self.tracker.p.index.eq(index),
            self.tracker.p.generation.eq(handle[INDEX_BITS:]),
            self.tracker.p.tls13.eq(command.version == 0x0304),
            self.tracker.p.seq.eq(command.seq),
            self.tracker.p.record_number.eq(command.record_number),
            self.keys.p.index.eq(index),
            self.powers.p.index.eq(Mux(end.ending, end.added, handle)),
        ]
        if not self.transmit:
            m.d.comb += [
                self.table.p.key.ipv6.eq(command.ipv6),
                self.table.p.key.remote_address.eq(command.remote_address),
                self.table.p.key.local_address.eq(command.local_address),
                self.table.p.key.remote_port.eq(command.remote_port),
                self.table.p.key.local_port.eq(command.local_port),
                self.table.p.handle.eq(handle),
                self.table.p.hidden.eq(1),
                self.opened_index.eq(index),
                self.show_index.eq(end.added),
            ]
        with m.If(~erase):
            m.d.comb += [
                self.keys.p.aes256.eq(command.key_bytes == 32),
                self.keys.p.key.eq(command.key),
                self.keys.p.iv.eq(command.iv),
                self.keys.p.derive.eq(1),
            ]
        with m.If(end.ending):
            m.d.comb += self.powers.p.subkey.eq(self.subkey.p.subkey)

        machine = Machine(m, one_hot=config.late)

        staged = []  # not here: a statement between If and Elif parts them, and in a state is the state's

        def known(value, name):
            """`config.late`: from a register; the command has been there for a cycle where it matters."""
            if not config.late:
                return value
            register = Signal(len(value), name=name)
            staged.append(register.eq(value))
            return register

        def is_opcode(*codes):
            return known(
                reduce(or_, (command.opcode == code for code in codes)), "is_" + "_".join(code.name for code in codes)
            )

        there = self.commands.valid
        if config.late:
            there = known(self.commands.valid & ~self.commands.ready, "command_there")

        def send(out, then):
            m.d.comb += out.valid.eq(1)
            with m.If(out.ready):
                machine.to(then)

        def finish(code):
            m.d.sync += result.eq(code)
            machine.to("respond")

        of_connection = [Opcode.DEL, Opcode.RESYNC, Opcode.QUERY]
        if not self.transmit and config.rx_policy is not RxPolicy.PUBLISHED:
            of_connection.append(Opcode.ACK)

        with machine:
            with machine.state("idle"):
                m.d.sync += [answer.eq(0), erase.eq(0), handle.eq(command.handle)]
                with m.If(self.sweeping):
                    m.d.sync += [handle.eq(erasing.swept), erase.eq(1)]
                    machine.to("sweep")
                with m.Elif(there & is_opcode(Opcode.ADD)):
                    m.d.sync += handle.eq(handles.next)
                    machine.to("add")
                with m.Elif(there & ~end.ending):
                    if config.late:
                        with m.If(is_opcode(*of_connection)):
                            machine.to("read handle")
                        with m.If(is_opcode(Opcode.READ)):
                            machine.to("read")
                        with m.If(is_opcode(Opcode.SEED)):
                            machine.to("seed")
                        known_codes = is_opcode(*of_connection, Opcode.READ, Opcode.SEED)
                        with m.If(~known_codes):
                            finish(Result.BAD_COMMAND)
                    else:
                        with m.Switch(command.opcode):
                            with m.Case(*of_connection):
                                machine.to("read handle")
                            with m.Case(Opcode.READ):
                                machine.to("read")
                            with m.Case(Opcode.SEED):
                                machine.to("seed")
                            with m.Default():
                                finish(Result.BAD_COMMAND)

            # ADD. The key goes out first: the rest is done while H is made of it.
            with machine.state("add"):
                version_known = (command.version == 0x0303) | (command.version == 0x0304)
                unsupported = ~version_known | ((command.key_bytes != 16) & (command.key_bytes != 32))
                with m.If(known(unsupported, "unsupported")):
                    finish(Result.UNSUPPORTED)
                with m.Elif(~handles.any_free):
                    finish(Result.NO_SPACE)
                with m.Else():
                    m.d.sync += erasing.install()
                    machine.to("keys")

            def allocate():
                if config.late:
                    machine.to("allocate")
                else:
                    m.d.comb += handles.allocate.eq(1)
                    machine.to("open")

            if config.late:
                with machine.state("allocate"):
                    m.d.comb += handles.allocate.eq(1)
                    machine.to("open")

            with machine.state("keys"):
                m.d.comb += self.keys.valid.eq(1)
                with m.If(self.keys.ready):
                    if self.transmit:
                        allocate()
                    else:
                        machine.to("insert")
            if not self.transmit:
                with machine.state("insert"):
                    m.d.comb += self.table.p.insert.eq(1)
                    send(self.table, "inserted")
                with machine.state("inserted"):
                    m.d.comb += self.table_answers.ready.eq(1)
                    with m.If(self.table_answers.valid):
                        with m.If(self.table_answers.p == Result.OK):
                            allocate()
                        with m.Else():
                            m.d.sync += [result.eq(self.table_answers.p), erase.eq(1)]
                            machine.to("discard")
                with machine.state("discard"):  # H; no powers of it are kept
                    m.d.comb += self.subkey.ready.eq(1)
                    with m.If(self.subkey.valid):
                        machine.to("forget")
                with machine.state("forget"):
                    send(self.keys, "respond")
            with machine.state("open"):
                m.d.comb += self.tracker.p.kind.eq(layouts.TrackerOperation.INIT)
                send(self.tracker, "opened")
            with machine.state("opened"):
                m.d.comb += self.tracker_answers.ready.eq(1)
                with m.If(self.tracker_answers.valid):
                    machine.to("hand over")
                    if not self.transmit:
                        m.d.comb += self.opened.eq(1)
            with machine.state("hand over"):
                with m.If(~end.ending):
                    m.d.comb += [end.hand_over.eq(1), self.commands.ready.eq(1)]
                    machine.to("idle")

            erasing.states(machine, send, handles)

            with machine.state("read handle"):
                machine.to("handle compared")
            with machine.state("handle compared"):
                machine.to("handle")
            with machine.state("handle"):
                with m.If(~handles.live):
                    finish(Result.STALE_HANDLE)
                with m.Elif(is_opcode(Opcode.DEL)):
                    machine.to("remove")
                with m.Else():
                    machine.to("ask tracker")

            # No frame finds the connection any more, but those that did may still be inside.
            def removed():
                m.d.sync += [until.eq(passed + self.entered), result.eq(Result.OK), erase.eq(1)]
                machine.to("drain")

            if self.transmit:
                with machine.state("remove"):
                    m.d.comb += self.tracker.p.kind.eq(layouts.TrackerOperation.CLEAR)
                    send(self.tracker, "removed")
                with machine.state("removed"):
                    m.d.comb += self.tracker_answers.ready.eq(1)
                    with m.If(self.tracker_answers.valid):
                        removed()
            else:
                with machine.state("remove"):
                    send(self.table, "removed")
                with machine.state("removed"):
                    m.d.comb += self.table_answers.ready.eq(1)
                    with m.If(self.table_answers.valid):
                        removed()
            with machine.state("drain"):
                with m.If(drained):
                    if config.late:
                        machine.to("free")
                    else:
                        m.d.comb += handles.free.eq(1)
                        machine.to("erase key" if self.transmit else "erase")
            if config.late:
                with machine.state("free"):
                    m.d.comb += handles.free.eq(1)
                    machine.to("erase key" if self.transmit else "erase")

            with machine.state("ask tracker"):
                kind = self.tracker.p.kind
                m.d.comb += kind.eq(layouts.TrackerOperation.QUERY)
                with m.Switch(command.opcode):
                    with m.Case(Opcode.RESYNC):
                        m.d.comb += kind.eq(layouts.TrackerOperation.RESYNC)
                    with m.Case(Opcode.ACK):
                        m.d.comb += kind.eq(layouts.TrackerOperation.ACK)
                send(self.tracker, "tracker answers")
            with machine.state("tracker answers"):
                m.d.comb += self.tracker_answers.ready.eq(1)
                with m.If(self.tracker_answers.valid):
                    m.d.sync += result.eq(self.tracker_answers.p.result)
                    with m.If(is_opcode(Opcode.QUERY)):
                        m.d.sync += answer.state.eq(self.tracker_answers.p.state)
                    machine.to("respond")

            if config.late:  # until there is a counter
                with machine.state("read"):
                    machine.to("read counter")
                with machine.state("read counter"):
                    machine.to("read value")
            with machine.state("read value" if config.late else "read"):
                m.d.sync += answer.value.eq(counters.value)
                policy = 0 if self.transmit else list(RxPolicy).index(config.rx_policy)
                values = {
                    READ_IDENTIFICATION: IDENTIFICATION,
                    READ_VERSION: CONTRACT_VERSION,
                    READ_WIDTH: config.width,
                    READ_CONNECTIONS: config.connections,
                    READ_CIPHERS: CIPHERS,
                    READ_FREE: handles.free_count,
                    READ_POLICY: policy,
                }
                if config.late:
                    for address, value in values.items():
                        with m.If(known(command.address == address, f"asked_{address}")):
                            m.d.sync += answer.value.eq(value)
                else:
                    with m.Switch(command.address):
                        for address, value in values.items():
                            with m.Case(address):
                                m.d.sync += answer.value.eq(value)
                finish(Result.OK)

            with machine.state("seed"):
                finish(Result.BAD_COMMAND)
                if not self.transmit:
                    with m.If(handles.free_count == config.connections):
                        m.d.sync += self.hash_key.eq(command.hash_key)
                        finish(Result.OK)

            with machine.state("respond"):
                with m.If(~end.ending):
                    m.d.comb += [
                        self.responses.valid.eq(1),
                        self.responses.p.eq(answer),
                        self.responses.p.result.eq(result),
                    ]
                    with m.If(self.responses.ready):
                        m.d.comb += self.commands.ready.eq(1)
                        machine.to("idle")

        m.d.sync += staged
        end.states()
        return m
