"""The registers of one direction: identity, command and response windows, the READ space."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.axi.lite import RegisterBus
from hw.config import Config
from model.contract import CONTRACT_VERSION, IDENTIFICATION, Opcode, Result
from model.registers import (
    ANSWER,
    COMMAND,
    DOORBELL,
    IDENTITY,
    POP,
    READ_WINDOW,
    READ_WINDOW_WORDS,
    REGISTER_MAP_VERSION,
    STATUS,
    Access,
    Answer,
    Direction,
)


def member_widths(layout, prefix: str = "") -> dict[str, int]:
    """Widths of a layout's innermost fields by dotted name."""
    widths = {}
    for name, field in layout:
        if isinstance(field.shape, type(layout)):
            widths |= member_widths(field.shape, f"{prefix}{name}.")
        else:
            widths[prefix + name] = field.width
    return widths


def check_table(table, layout, *, besides: tuple[str, ...] = ()) -> None:
    """Raise unless layout and table have the same members, and each register is wide enough for its own."""
    widths = {name: width for name, width in member_widths(layout).items() if name not in besides}
    registers = {register.member: register for register in table}
    if widths.keys() != registers.keys():
        odd = ", ".join(sorted(widths.keys() ^ registers.keys()))
        raise ValueError(f"model/registers.py and hw/layouts.py do not agree on: {odd}")
    for name, width in widths.items():
        if width > 32 * registers[name].words:
            raise ValueError(f"register {registers[name].name} has no room for the {width} bits of {name}")


class Registers(wiring.Component):
    """A block of registers (docs/registers.md) and the command streams behind it.

    Contract: writes and reads are answered in the same cycle; reads of the command and response windows in the next;
    a read of the READ window, and writes that come meanwhile, once the device has answered READ. What is written to the
    command window is in it two cycles later. Keys can be read at no address; they are erased when the device has taken
    the command.

    Parameters
    ----------
    config : Config
    direction : Direction
    distance : int
        To the next block, bytes; 0: none.

    Members
    -------
    bus : In(RegisterBus)
    commands : Out(stream.Signature(layouts.command))
    responses : In(stream.Signature(layouts.response))
    """

    def __init__(self, config: Config, direction: Direction, *, distance: int = 0):
        self._direction = direction
        self._distance = distance
        check_table(COMMAND, layouts.command(config), besides=("opcode",))
        check_table(ANSWER, layouts.response())
        super().__init__({
            "bus": In(RegisterBus()),
            "commands": Out(stream.Signature(layouts.command(config))),
            "responses": In(stream.Signature(layouts.response())),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        bus, commands, responses = self.bus, self.commands, self.responses

        offered = Signal()  # the device has not taken the command
        erase = Signal()  # it took it in the cycle before
        awaited = Signal()  # it has not answered
        busy = Signal()
        reading = Signal()  # the command is a READ of the READ window
        answered = Signal()  # `response` holds what was answered
        response = Signal(layouts.response())
        opcode = Signal(8)
        word = Signal(range(READ_WINDOW_WORDS))
        high = Signal(32)  # upper half of the word of the READ space that was read last
        window = {r.member: Signal(len(Value.cast(commands.p[r.member])), name=r.member) for r in COMMAND}

        m.d.comb += [
            busy.eq(offered | awaited),
            commands.valid.eq(offered),
            responses.ready.eq(awaited),
            commands.p.opcode.eq(Mux(reading, Opcode.READ, opcode)),
        ]
        for register in COMMAND:
            value = window[register.member]
            if register.member == "address":
                value = Mux(reading, word, value)
            m.d.comb += commands.p[register.member].eq(value)

        m.d.sync += erase.eq(commands.valid & commands.ready & ~reading)
        with m.If(commands.valid & commands.ready):
            m.d.sync += offered.eq(0)
        with m.If(erase):
            m.d.sync += [window[r.member].eq(0) for r in COMMAND if r.secret]
        with m.If(responses.valid & responses.ready):
            m.d.sync += awaited.eq(0)
            with m.If(reading):
                m.d.sync += high.eq(responses.p.value[32:])
            with m.Else():
                m.d.sync += [response.eq(responses.p), answered.eq(1)]
        with m.If(reading & ~busy):
            m.d.sync += reading.eq(0)

        # --- writes; into the window from registers: a decision that enables hundreds of bits takes a cycle
        places = {address: (r, k) for r in COMMAND for k, address in enumerate(_words(r))}
        chosen, written = Signal(len(places)), Signal(len(places))
        strobe, strobe_before, data_before = bus.write_strobe, Signal(4), Signal(32)
        m.d.sync += [written.eq(chosen), strobe_before.eq(strobe), data_before.eq(bus.write_data)]
        for number, (register, k) in enumerate(places.values()):
            for lane in range(4):
                part = window[register.member][32 * k + 8 * lane : 32 * k + 8 * lane + 8]
                if len(part):
                    with m.If(written[number] & strobe_before[lane]):
                        m.d.sync += part.eq(data_before[8 * lane : 8 * lane + 8])
        with m.If(bus.write & ~reading):
            m.d.comb += bus.write_done.eq(1)
            with m.Switch(bus.write_address[2:]):
                for register in (*IDENTITY, STATUS, *ANSWER):
                    with m.Case(*_words(register)):
                        m.d.comb += bus.write_answer.eq(Answer.SLVERR)
                with m.Case(*range(READ_WINDOW // 4, READ_WINDOW // 4 + 2 * READ_WINDOW_WORDS)):
                    m.d.comb += bus.write_answer.eq(Answer.SLVERR)
                for number, address in enumerate(places):
                    with m.Case(address):
                        with m.If(busy):
                            m.d.comb += bus.write_answer.eq(Answer.SLVERR)
                        m.d.comb += chosen[number].eq(~busy)
                with m.Case(*_words(DOORBELL)):
                    with m.If(busy | answered):
                        m.d.comb += bus.write_answer.eq(Answer.SLVERR)
                    with m.Elif(strobe[0]):
                        m.d.sync += [opcode.eq(bus.write_data[:8]), offered.eq(1), awaited.eq(1)]
                with m.Case(*_words(POP)):
                    with m.If(~answered):
                        m.d.comb += bus.write_answer.eq(Answer.SLVERR)
                    with m.Elif(strobe[0]):
                        m.d.sync += answered.eq(0)
                with m.Default():
                    m.d.comb += bus.write_answer.eq(Answer.DECERR)

        # --- reads
        constants = {
            "IDENTIFICATION": IDENTIFICATION,
            "VERSION": REGISTER_MAP_VERSION,
            "CONTRACT": CONTRACT_VERSION,
            "DIRECTION": self._direction,
            "NEXT": self._distance,
        }
        # which word of the windows is meant comes from registers: there are dozens of them
        shown = {address: (r, k) for r in (*COMMAND, *ANSWER) for k, address in enumerate(_words(r))}
        again, meant = Signal(), Signal(len(shown))
        m.d.sync += [
            again.eq(bus.read & ~bus.read_done),
            meant.eq(Cat(bus.read_address[2:] == address for address in shown)),
        ]
        parts: list[Value] = [Const(0, 32)]
        for number, (register, k) in enumerate(shown.values()):
            if register.access is Access.BOTH:
                parts.append(window[register.member][32 * k : 32 * k + 32] & meant[number].replicate(32))
            elif register.access is Access.READ:
                word_shown = _member(response, register.member)[32 * k : 32 * k + 32]
                parts.append(word_shown & (meant[number] & answered).replicate(32))
        m.d.comb += bus.read_done.eq(1)
        with m.Switch(bus.read_address[2:]):
            for register in IDENTITY:
                with m.Case(*_words(register)):
                    m.d.comb += bus.read_data.eq(constants[register.name])
            with m.Case(*_words(STATUS)):
                m.d.comb += bus.read_data.eq((busy & ~reading) | answered << 1)
            with m.Case(*_words(DOORBELL), *_words(POP)):
                pass
            with m.Case(*shown):
                m.d.comb += [bus.read_data.eq(reduce(or_, parts)), bus.read_done.eq(again)]
            with m.Case(*range(READ_WINDOW // 4, READ_WINDOW // 4 + 2 * READ_WINDOW_WORDS, 2)):
                with m.If(reading & awaited):
                    ok = responses.p.result == Result.OK
                    m.d.comb += [
                        bus.read_done.eq(bus.read & responses.valid),
                        bus.read_data.eq(Mux(ok, responses.p.value[:32], 0)),
                        bus.read_answer.eq(Mux(ok, Answer.OKAY, Answer.SLVERR)),
                    ]
                with m.Elif(~reading & (busy | answered)):
                    m.d.comb += bus.read_answer.eq(Answer.SLVERR)
                with m.Else():
                    m.d.comb += bus.read_done.eq(0)
                    with m.If(bus.read & ~reading & ~bus.write):  # not beside a doorbell, nor a word on its way
                        m.d.sync += [
                            word.eq(bus.read_address[3:]),  # the window stands at a multiple of its size
                            offered.eq(1),
                            awaited.eq(1),
                            reading.eq(1),
                        ]
            with m.Case(*range(READ_WINDOW // 4 + 1, READ_WINDOW // 4 + 2 * READ_WINDOW_WORDS, 2)):
                m.d.comb += bus.read_data.eq(high)
            with m.Default():
                m.d.comb += bus.read_answer.eq(Answer.DECERR)
        return m


def _words(register) -> range:
    """Word addresses of a register in its block."""
    return range(register.offset // 4, register.end // 4)


def _member(view, path: str) -> Value:
    for name in path.split("."):
        view = view[name]
    return Value.cast(view)
