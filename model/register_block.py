"""The registers of one direction (docs/registers.md) in plain Python: no clock, no bus."""

from collections.abc import Callable, Mapping

from model.contract import CONTRACT_VERSION, IDENTIFICATION, Result
from model.registers import (
    ANSWER,
    BUSY,
    COMMAND,
    DOORBELL,
    IDENTITY,
    POP,
    READ_WINDOW,
    READ_WINDOW_WORDS,
    REGISTER_MAP_VERSION,
    RESPONSE,
    STATUS,
    Access,
    Answer,
    Direction,
    Register,
)

_WORD = (1 << 32) - 1


class RegisterBlock:
    """What a bus sees. The owner plays the device: takes `pending` and gives its `answer`.

    Parameters
    ----------
    direction : Direction
    widths : mapping of str to int
        Bits of the command's members, and of those of the response.
    read_word : callable
        Word of the READ space by address; what the device answers to READ.
    distance : int
        To the next block, bytes; 0: none.

    Members
    -------
    pending : (opcode, fields) or None
        The command the device has.
    """

    def __init__(
        self,
        direction: Direction,
        widths: Mapping[str, int],
        read_word: Callable[[int], tuple[Result, int]],
        *,
        distance: int = 0,
    ):
        self._widths = widths
        self._read_word = read_word
        self._constants = {
            "IDENTIFICATION": IDENTIFICATION,
            "VERSION": REGISTER_MAP_VERSION,
            "CONTRACT": CONTRACT_VERSION,
            "DIRECTION": int(direction),
            "NEXT": distance,
        }
        self._window = {register.member: 0 for register in COMMAND}
        self._response: Mapping[str, int] | None = None
        self._high = 0
        self.pending: tuple[int, dict[str, int]] | None = None

    def answer(self, fields: Mapping[str, int]) -> None:
        """The device has carried out `pending`; fields of the response by member."""
        if self.pending is None:
            raise ValueError("there is no command to answer")
        self.pending = None
        self._response = fields
        for register in COMMAND:
            if register.secret:
                self._window[register.member] = 0

    def read(self, address: int) -> tuple[int, Answer]:
        place = address & ~3
        if READ_WINDOW <= place < READ_WINDOW + 8 * READ_WINDOW_WORDS:
            if place & 4:
                return self._high, Answer.OKAY
            if self.pending or self._response is not None:
                return 0, Answer.SLVERR
            result, value = self._read_word((place - READ_WINDOW) // 8)
            self._high = value >> 32
            return (value & _WORD, Answer.OKAY) if result is Result.OK else (0, Answer.SLVERR)
        found = _find(place)
        if found is None:
            return 0, Answer.DECERR
        register, word = found
        value = 0
        if register in IDENTITY:
            value = self._constants[register.name]
        elif register is STATUS:
            value = (BUSY if self.pending else 0) | (RESPONSE if self._response is not None else 0)
        elif register in COMMAND and register.access is Access.BOTH:
            value = self._window[register.member]
        elif register in ANSWER and self._response is not None:
            value = self._response[register.member]
        return value >> 32 * word & _WORD, Answer.OKAY

    def write(self, address: int, data: int, strobe: int = 0xF) -> Answer:
        place = address & ~3
        if READ_WINDOW <= place < READ_WINDOW + 8 * READ_WINDOW_WORDS:
            return Answer.SLVERR
        found = _find(place)
        if found is None:
            return Answer.DECERR
        register, word = found
        if register in COMMAND:
            return self._write_window(register, word, data, strobe)
        if register is DOORBELL and not self.pending and self._response is None:
            if strobe & 1:
                self.pending = (data & 0xFF, dict(self._window))
            return Answer.OKAY
        if register is POP and self._response is not None:
            if strobe & 1:
                self._response = None
            return Answer.OKAY
        return Answer.SLVERR

    def _write_window(self, register: Register, word: int, data: int, strobe: int) -> Answer:
        if self.pending:
            return Answer.SLVERR
        mask = sum(0xFF << 8 * lane for lane in range(4) if strobe >> lane & 1)
        old = self._window[register.member]
        new = old & ~(mask << 32 * word) | (data & mask) << 32 * word
        self._window[register.member] = new & ((1 << self._widths[register.member]) - 1)
        return Answer.OKAY


_BY_PLACE = {
    r.offset + 4 * word: (r, word)
    for r in (*IDENTITY, STATUS, DOORBELL, POP, *COMMAND, *ANSWER)
    for word in range(r.words)
}


def _find(place: int) -> tuple[Register, int] | None:
    return _BY_PLACE.get(place)
