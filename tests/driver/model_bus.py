"""Golden devices behind the plain-Python registers, as a bus of the driver."""

from dataclasses import fields

from driver.bus import BusError
from hw import layouts
from hw.config import Config
from model.commands import Ack, Add, Delete, Query, Read, Resync, Seed, TrackerState, Tuple4
from model.contract import Opcode
from model.register_block import RegisterBlock
from model.registers import BLOCK_BYTES, STATUS, Answer


def widths():
    return {name: field.width for name, field in layouts.command(Config())}


def to_command(opcode, f):
    """The command that a device reads out of its fields; None for an opcode without one."""

    def text(name, size):
        return f[name].to_bytes(size, "little")

    def address(name):
        return text(name, 16)[0 if f["ipv6"] else 12 :]

    match opcode:
        case Opcode.ADD:
            nonce = text("iv", 12)
            return Add(
                Tuple4(address("remote_address"), f["remote_port"], address("local_address"), f["local_port"]),
                f["version"],
                text("key", 32)[: f["key_bytes"]],
                nonce[:4],
                nonce[4:],
                f["record_number"],
                f["seq"],
            )
        case Opcode.DEL:
            return Delete(f["handle"])
        case Opcode.RESYNC:
            return Resync(f["handle"], f["seq"], f["record_number"])
        case Opcode.QUERY:
            return Query(f["handle"])
        case Opcode.READ:
            return Read(f["address"])
        case Opcode.SEED:
            return Seed(f["hash_key"])
        case Opcode.ACK:
            return Ack(f["handle"], f["seq"])
    return None


def to_fields(response):
    state = response.state or TrackerState(**{f.name: 0 for f in fields(TrackerState)})
    return {
        "result": response.result,
        "handle": response.handle,
        "value": response.value,
        **{f"state.{f.name}": int(getattr(state, f.name)) for f in fields(state)},
    }


class ModelBus:
    """`devices` by direction, receive first; a command takes `delay` reads of STATUS.

    Members
    -------
    log : list of (str, int)      accesses, "r" or "w" and the address
    """

    def __init__(self, devices, delay=0):
        self._devices = list(devices.values())
        self._delay = self._left = delay
        self.log = []
        self.blocks = [
            RegisterBlock(
                direction,
                widths(),
                lambda address, device=device: self._read_word(device, address),
                distance=BLOCK_BYTES if number + 1 < len(devices) else 0,
            )
            for number, (direction, device) in enumerate(devices.items())
        ]

    @staticmethod
    def _read_word(device, address):
        response = device.command(Read(address))
        return response.result, response.value

    def read32(self, address):
        self.log.append(("r", address))
        number, offset = divmod(address, BLOCK_BYTES)
        block = self.blocks[number]
        if offset == STATUS.offset and block.pending:
            if self._left:
                self._left -= 1
            else:
                self._left = self._delay
                block.answer(to_fields(self._devices[number].command(to_command(*block.pending))))
        value, answer = block.read(offset)
        return self._checked(value, answer)

    def write32(self, address, value):
        self.log.append(("w", address))
        number, offset = divmod(address, BLOCK_BYTES)
        self._checked(0, self.blocks[number].write(offset, value))

    @staticmethod
    def _checked(value, answer):
        if answer is not Answer.OKAY:
            raise BusError(answer.name)
        return value
