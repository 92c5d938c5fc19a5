"""Commands: through every room that keeps something for a connection."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.add_end import AddEnd
from hw.config import Config
from hw.counters import Counters
from hw.erase import Erase
from hw.handles import Handles
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
        counted = (TxStatus, TxStatus.ENCRYPTED) if self.transmit else (Status, Status.DECRYPTED)
        m.submodules.counters = counters = Counters(*counted)
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

        def send(out, then):
            m.d.comb += out.valid.eq(1)
            with m.If(out.ready):
                m.next = then

        def finish(code):
            m.d.sync += result.eq(code)
            m.next = "respond"

        of_connection = [Opcode.DEL, Opcode.RESYNC, Opcode.QUERY]
        if not self.transmit and config.rx_policy is not RxPolicy.PUBLISHED:
            of_connection.append(Opcode.ACK)

        with m.FSM():
            with m.State("idle"):
                m.d.sync += [answer.eq(0), erase.eq(0), handle.eq(command.handle)]
                with m.If(self.sweeping):
                    m.d.sync += [handle.eq(erasing.swept), erase.eq(1)]
                    m.next = "sweep"
                with m.Elif(self.commands.valid & (command.opcode == Opcode.ADD)):
                    m.d.sync += handle.eq(handles.next)
                    m.next = "add"
                with m.Elif(self.commands.valid & ~end.ending):
                    with m.Switch(command.opcode):
                        with m.Case(*of_connection):
                            m.next = "read handle"
                        with m.Case(Opcode.READ):
                            m.next = "read"
                        with m.Case(Opcode.SEED):
                            m.next = "seed"
                        with m.Default():
                            finish(Result.BAD_COMMAND)

            # ADD. The key goes out first: the rest is done while H is made of it.
            with m.State("add"):
                version_known = (command.version == 0x0303) | (command.version == 0x0304)
                with m.If(~version_known | ((command.key_bytes != 16) & (command.key_bytes != 32))):
                    finish(Result.UNSUPPORTED)
                with m.Elif(~handles.any_free):
                    finish(Result.NO_SPACE)
                with m.Else():
                    m.d.sync += erasing.install()
                    m.next = "keys"

            def allocate():
                m.d.comb += handles.allocate.eq(1)
                m.next = "open"

            with m.State("keys"):
                m.d.comb += self.keys.valid.eq(1)
                with m.If(self.keys.ready):
                    if self.transmit:
                        allocate()
                    else:
                        m.next = "insert"
            if not self.transmit:
                with m.State("insert"):
                    m.d.comb += self.table.p.insert.eq(1)
                    send(self.table, "inserted")
                with m.State("inserted"):
                    m.d.comb += self.table_answers.ready.eq(1)
                    with m.If(self.table_answers.valid):
                        with m.If(self.table_answers.p == Result.OK):
                            allocate()
                        with m.Else():
                            m.d.sync += [result.eq(self.table_answers.p), erase.eq(1)]
                            m.next = "discard"
                with m.State("discard"):  # H; no powers of it are kept
                    m.d.comb += self.subkey.ready.eq(1)
                    with m.If(self.subkey.valid):
                        m.next = "forget"
                with m.State("forget"):
                    send(self.keys, "respond")
            with m.State("open"):
                m.d.comb += self.tracker.p.kind.eq(layouts.TrackerOperation.INIT)
                send(self.tracker, "opened")
            with m.State("opened"):
                m.d.comb += self.tracker_answers.ready.eq(1)
                with m.If(self.tracker_answers.valid):
                    m.next = "hand over"
                    if not self.transmit:
                        m.d.comb += self.opened.eq(1)
            with m.State("hand over"):
                with m.If(~end.ending):
                    m.d.comb += [end.hand_over.eq(1), self.commands.ready.eq(1)]
                    m.next = "idle"

            erasing.states(send, handles)

            with m.State("read handle"):
                m.next = "handle compared"
            with m.State("handle compared"):
                m.next = "handle"
            with m.State("handle"):
                with m.If(~handles.live):
                    finish(Result.STALE_HANDLE)
                with m.Elif(command.opcode == Opcode.DEL):
                    m.next = "remove"
                with m.Else():
                    m.next = "ask tracker"

            # No frame finds the connection any more, but those that did may still be inside.
            def removed():
                m.d.sync += [until.eq(passed + self.entered), result.eq(Result.OK), erase.eq(1)]
                m.next = "drain"

            if self.transmit:
                with m.State("remove"):
                    m.d.comb += self.tracker.p.kind.eq(layouts.TrackerOperation.CLEAR)
                    send(self.tracker, "removed")
                with m.State("removed"):
                    m.d.comb += self.tracker_answers.ready.eq(1)
                    with m.If(self.tracker_answers.valid):
                        removed()
            else:
                with m.State("remove"):
                    send(self.table, "removed")
                with m.State("removed"):
                    m.d.comb += self.table_answers.ready.eq(1)
                    with m.If(self.table_answers.valid):
                        removed()
            with m.State("drain"):
                with m.If(drained):
                    m.d.comb += handles.free.eq(1)
                    m.next = "erase key" if self.transmit else "erase"

            with m.State("ask tracker"):
                kind = self.tracker.p.kind
                m.d.comb += kind.eq(layouts.TrackerOperation.QUERY)
                with m.Switch(command.opcode):
                    with m.Case(Opcode.RESYNC):
                        m.d.comb += kind.eq(layouts.TrackerOperation.RESYNC)
                    with m.Case(Opcode.ACK):
                        m.d.comb += kind.eq(layouts.TrackerOperation.ACK)
                send(self.tracker, "tracker answers")
            with m.State("tracker answers"):
                m.d.comb += self.tracker_answers.ready.eq(1)
                with m.If(self.tracker_answers.valid):
                    m.d.sync += result.eq(self.tracker_answers.p.result)
                    with m.If(command.opcode == Opcode.QUERY):
                        m.d.sync += answer.state.eq(self.tracker_answers.p.state)
                    m.next = "respond"

            with m.State("read"):
                m.d.sync += answer.value.eq(counters.value)
                policy = 0 if self.transmit else list(RxPolicy).index(config.rx_policy)
                with m.Switch(command.address):
                    for address, value in {
                        READ_IDENTIFICATION: IDENTIFICATION,
                        READ_VERSION: CONTRACT_VERSION,
                        READ_WIDTH: config.width,
                        READ_CONNECTIONS: config.connections,
                        READ_CIPHERS: CIPHERS,
                        READ_FREE: handles.free_count,
                        READ_POLICY: policy,
                    }.items():
                        with m.Case(address):
                            m.d.sync += answer.value.eq(value)
                finish(Result.OK)

            with m.State("seed"):
                finish(Result.BAD_COMMAND)
                if not self.transmit:
                    with m.If(handles.free_count == config.connections):
                        m.d.sync += self.hash_key.eq(command.hash_key)
                        finish(Result.OK)

            with m.State("respond"):
                with m.If(~end.ending):
                    m.d.comb += [
                        self.responses.valid.eq(1),
                        self.responses.p.eq(answer),
                        self.responses.p.result.eq(result),
                    ]
                    with m.If(self.responses.ready):
                        m.d.comb += self.commands.ready.eq(1)
                        m.next = "idle"

        end.states()
        return m
