"""The device on a bus: commands by reads and writes of its registers (docs/registers.md)."""

from collections.abc import Callable, Iterator
from typing import Protocol

from driver.fields import command_fields, response_from_fields
from model.commands import Command, Delivery, Read, Response
from model.contract import CONTRACT_VERSION, IDENTIFICATION, Result
from model.registers import (
    ADAPTER_NUMBER,
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
    Direction,
    Register,
)
from model.tx_commands import Sent, TxRequest

_IDENTITY = {register.name: register.offset for register in IDENTITY}
_WORD = (1 << 32) - 1


class BusError(Exception):
    """The device answered SLVERR or DECERR."""


class DeviceError(Exception):
    """What answers on the bus is not the device this driver knows, or does not answer a command."""


class Bus(Protocol):
    """Words of 32 bits by byte address. Both raise BusError for an answer that is not OKAY."""

    def read32(self, address: int) -> int: ...

    def write32(self, address: int, value: int) -> None: ...


def _blocks(bus: Bus) -> Iterator[tuple[int, int]]:
    """DIRECTION and address of each register block; DeviceError if this is not the device."""
    base = 0
    while True:
        for name, known in (
            ("IDENTIFICATION", IDENTIFICATION),
            ("VERSION", REGISTER_MAP_VERSION),
            ("CONTRACT", CONTRACT_VERSION),
        ):
            value = bus.read32(base + _IDENTITY[name])
            if value != known:
                raise DeviceError(f"{name} of the block at {base:#x} is {value:#x}, not {known:#x}")
        yield bus.read32(base + _IDENTITY["DIRECTION"]), base
        distance = bus.read32(base + _IDENTITY["NEXT"])
        if not distance:
            return
        base += distance


def find_blocks(bus: Bus) -> dict[Direction, int]:
    """Where the register block of each direction begins; DeviceError if this is not the device."""
    blocks: dict[Direction, int] = {}
    for number, base in _blocks(bus):
        if number == ADAPTER_NUMBER:
            continue
        try:
            direction = Direction(number)
        except ValueError:
            raise DeviceError(f"DIRECTION of the block at {base:#x} is {number}") from None
        if direction in blocks:
            raise DeviceError(f"two blocks of direction {direction.name}")
        blocks[direction] = base
    return blocks


def find_adapter(bus: Bus) -> int | None:
    """Where the register block of the adapter to Corundum begins; None: there is none."""
    return next((base for number, base in _blocks(bus) if number == ADAPTER_NUMBER), None)


class BusCommands:
    """The commands of one direction. One at a time: callers on several threads need a lock.

    Parameters
    ----------
    bus : Bus
    base : int
        Of the direction's block, from `find_blocks`.
    polls : int
        Reads of STATUS after which a command counts as lost. DEL takes as long as the host does to take the
        connection's frames.
    """

    def __init__(self, bus: Bus, base: int, *, polls: int = 1_000_000):
        self._bus = bus
        self._base = base
        self._polls = polls
        # what whoever had the device before us has left
        if bus.read32(base + STATUS.offset) & (BUSY | RESPONSE):
            self._wait()
            bus.write32(base + POP.offset, 1)

    def command(self, command: Command) -> Response:
        if isinstance(command, Read) and command.address < READ_WINDOW_WORDS:
            place = self._base + READ_WINDOW + 8 * command.address
            low = self._bus.read32(place)
            return Response(Result.OK, value=low | self._bus.read32(place + 4) << 32)
        fields = command_fields(command)
        opcode = fields.pop("opcode")
        for register in COMMAND:
            if register.member in fields:
                self._write(register, fields[register.member])
        self._bus.write32(self._base + DOORBELL.offset, opcode)
        self._wait()
        response = response_from_fields(command, {r.member: self._read(r) for r in ANSWER})
        self._bus.write32(self._base + POP.offset, 1)
        return response

    def _wait(self) -> None:
        for _ in range(self._polls):
            if self._bus.read32(self._base + STATUS.offset) & RESPONSE:
                return
        raise DeviceError(f"no response after {self._polls} reads of STATUS")

    def _write(self, register: Register, value: int) -> None:
        if value >> 32 * register.words:
            raise ValueError(f"{value:#x} does not fit into {register.name}")
        for k in range(register.words):
            self._bus.write32(self._base + register.offset + 4 * k, value >> 32 * k & _WORD)

    def _read(self, register: Register) -> int:
        words = (self._bus.read32(self._base + register.offset + 4 * k) for k in range(register.words))
        return sum(word << 32 * k for k, word in enumerate(words))


class BusDevice(BusCommands):
    """A `model.commands.Device`: commands over the bus, frames by whatever carries them.

    `receive` puts a frame in at the wire and returns it as the host gets it.
    """

    def __init__(self, bus: Bus, base: int, receive: Callable[[bytes], Delivery], *, polls: int = 1_000_000):
        super().__init__(bus, base, polls=polls)
        self._receive = receive

    def receive(self, frame: bytes) -> Delivery:
        return self._receive(frame)


class BusTxDevice(BusCommands):
    """A `model.tx_commands.TxDevice`, likewise."""

    def __init__(
        self, bus: Bus, base: int, transmit: Callable[[bytes, TxRequest], list[Sent]], *, polls: int = 1_000_000
    ):
        super().__init__(bus, base, polls=polls)
        self._transmit = transmit

    def transmit(self, frame: bytes, request: TxRequest) -> list[Sent]:
        return self._transmit(frame, request)
