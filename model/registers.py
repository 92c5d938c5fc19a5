"""The one table of the control registers that hardware, driver, C header and documentation share.

Numbers and names only. How a register behaves is in docs/registers.md, which is made from this table.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

from model.contract import (
    COUNTERS,
    HASH_KEY_BITS,
    READ_CIPHERS,
    READ_CONNECTIONS,
    READ_COUNTERS,
    READ_FREE,
    READ_IDENTIFICATION,
    READ_POLICY,
    READ_VERSION,
    READ_WIDTH,
    TX_COUNTERS,
)
from model.metadata import METADATA_VERSION, RX_METADATA_BYTES, TX_METADATA_BYTES

REGISTER_MAP_VERSION = 1
BLOCK_BYTES = 0x1000
"""A direction has one block of registers; a device with both has the receive block first."""


class Direction(IntEnum):
    RECEIVE = 1
    TRANSMIT = 2


ADAPTER_NUMBER = 3
"""DIRECTION of the block behind the two of a device behind Corundum's taps (docs/corundum.md)."""


class Answer(IntEnum):
    """AXI4's BRESP and RRESP."""

    OKAY = 0
    SLVERR = 2  # the register is there and refuses
    DECERR = 3  # no register at this address


class Access(Enum):
    READ = "read"
    WRITE = "write"  # reads as zero
    BOTH = "read, write"


@dataclass(frozen=True, slots=True)
class Field:
    """`width` bits of a register's word, from bit `low` up."""

    name: str
    low: int
    width: int
    text: str = ""

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.low

    @property
    def where(self) -> str:
        return f"bit {self.low}" if self.width == 1 else f"bits {self.low + self.width - 1}:{self.low}"


@dataclass(frozen=True, slots=True)
class Register:
    """`words` words of 32 bits from byte `offset` of the block, lowest word first.

    `member` is where its value goes in the command (hw.layouts.command) or comes from in the response; bits above
    that member's are ignored, and zero when read. `secret`: reads as zero and is erased when the device has taken the
    command. `fields`: its parts, where it has some; bits of none of them are ignored, and zero when read.
    """

    name: str
    offset: int
    access: Access
    text: str
    words: int = 1
    member: str = ""
    secret: bool = False
    fields: tuple[Field, ...] = ()

    @property
    def end(self) -> int:
        return self.offset + 4 * self.words

    @property
    def described(self) -> str:
        """The text, with those of its fields."""
        parts = "; ".join(f"{f.where} `{f.name}`{f': {f.text}' if f.text else ''}" for f in self.fields)
        return ": ".join(part for part in (self.text, parts) if part)


_READ, _WRITE, _BOTH = Access.READ, Access.WRITE, Access.BOTH

IDENTITY = (
    Register("IDENTIFICATION", 0x000, _READ, "0x6B544C53, `kTLS`"),
    Register("VERSION", 0x004, _READ, f"of this register map: {REGISTER_MAP_VERSION}"),
    Register("CONTRACT", 0x008, _READ, "version of the contract that commands and packets follow"),
    Register("DIRECTION", 0x00C, _READ, "what this block controls: 1 receive, 2 transmit, 3 adapter"),
    Register("NEXT", 0x010, _READ, "distance in bytes to the next block; 0: this is the last"),
)

_BUSY = Field("BUSY", 0, 1, "the device has a command")
_RESPONSE = Field("RESPONSE", 1, 1, "a response waits")
_OPCODE = Field("OPCODE", 0, 8, "give the device the command with this opcode")
STATUS = Register("STATUS", 0x040, _READ, "", fields=(_BUSY, _RESPONSE))
DOORBELL = Register("DOORBELL", 0x044, _WRITE, "", fields=(_OPCODE,))
POP = Register("POP", 0x048, _WRITE, "any value: discard the response")
BUSY, RESPONSE = _BUSY.mask, _RESPONSE.mask
"""Bits of STATUS."""

COMMAND = (
    Register("COMMAND_HANDLE", 0x100, _BOTH, "handle: DEL, RESYNC, QUERY, ACK", member="handle"),
    Register("COMMAND_ADDRESS", 0x104, _BOTH, "word of the READ space: READ", member="address"),
    Register("COMMAND_VERSION", 0x108, _BOTH, "0x0303 or 0x0304: ADD", member="version"),
    Register("COMMAND_IPV6", 0x10C, _BOTH, "bit 0: the addresses are IPv6", member="ipv6"),
    Register(
        "COMMAND_REMOTE_ADDRESS", 0x110, _BOTH, "byte string; IPv4 in its last 4 bytes", 4, member="remote_address"
    ),
    Register("COMMAND_LOCAL_ADDRESS", 0x120, _BOTH, "byte string; IPv4 in its last 4 bytes", 4, member="local_address"),
    Register("COMMAND_REMOTE_PORT", 0x130, _BOTH, "TCP port", member="remote_port"),
    Register("COMMAND_LOCAL_PORT", 0x134, _BOTH, "TCP port", member="local_port"),
    Register("COMMAND_SEQ", 0x138, _BOTH, "TCP sequence number: ADD, RESYNC, ACK", member="seq"),
    Register("COMMAND_KEY_BYTES", 0x13C, _BOTH, "16 or 32", member="key_bytes"),
    Register("COMMAND_KEY", 0x140, _WRITE, "byte string", 8, member="key", secret=True),
    Register("COMMAND_IV", 0x160, _WRITE, "byte string: salt, then iv (TLS 1.2: zero)", 3, member="iv", secret=True),
    Register("COMMAND_RECORD_NUMBER", 0x170, _BOTH, "of the record at SEQ: ADD, RESYNC", 2, member="record_number"),
    Register(
        "COMMAND_HASH_KEY",
        0x180,
        _WRITE,
        "key of the flow table's hash: SEED",
        (HASH_KEY_BITS + 31) // 32,
        member="hash_key",
        secret=True,
    ),
)
"""The command window; the opcode comes with DOORBELL."""

ANSWER = (
    Register("RESPONSE_RESULT", 0x200, _READ, "code of the result", member="result"),
    Register("RESPONSE_HANDLE", 0x204, _READ, "of ADD", member="handle"),
    Register("RESPONSE_VALUE", 0x208, _READ, "of READ", 2, member="value"),
    Register("RESPONSE_EXPECTED_SEQ", 0x210, _READ, "of QUERY, and what follows", member="state.expected_seq"),
    Register("RESPONSE_SEEN_SEQ", 0x214, _READ, "", member="state.seen_seq"),
    Register("RESPONSE_RECORD_NUMBER", 0x218, _READ, "", 2, member="state.record_number"),
    Register("RESPONSE_REMAINING", 0x220, _READ, "", member="state.remaining"),
    Register("RESPONSE_HEADER_COUNT", 0x224, _READ, "", member="state.header_count"),
    Register("RESPONSE_OUT_OF_SYNC", 0x228, _READ, "", member="state.out_of_sync"),
    Register("RESPONSE_SKIPPING", 0x22C, _READ, "", member="state.skipping"),
)
"""The response window."""

ADAPTER_CONTROL = Register(
    "ADAPTER_CONTROL",
    0x100,
    _BOTH,
    "",
    fields=(
        Field("RX_HEADERS", 0, 1, "headers in front of received frames"),
        Field("TX_HEADERS", 4, 2, "headers of frames to send: 0 none has one, 1 those marked, 2 all"),
    ),
)
ADAPTER_HEADERS = Register(
    "ADAPTER_HEADERS",
    0x104,
    _READ,
    "",
    fields=(
        Field("HEADER_VERSION", 0, 8, f"of the headers: {METADATA_VERSION}"),
        Field("RX_BYTES", 8, 8, f"of a received frame's header: {RX_METADATA_BYTES}"),
        Field("TX_BYTES", 16, 8, f"of the header of a frame to send: {TX_METADATA_BYTES}"),
    ),
)
ADAPTER_MALFORMED = Register(
    "ADAPTER_MALFORMED", 0x108, _READ, "frames to send that were dropped for their header (wraps)"
)
ADAPTER_LAST_DROP = Register(
    "ADAPTER_LAST_DROP",
    0x10C,
    _READ,
    "of the last frame the transmit device dropped",
    fields=(Field("DROP_STATUS", 0, 4), Field("DROP_HANDLE", 4, 24), Field("DROPPED", 31, 1, "there was one")),
)
ADAPTER = (ADAPTER_CONTROL, ADAPTER_HEADERS, ADAPTER_MALFORMED, ADAPTER_LAST_DROP)
"""What the adapter's block has behind IDENTITY, and all it has."""

REGISTERS = (*IDENTITY, STATUS, DOORBELL, POP, *COMMAND, *ANSWER)

READ_WINDOW = 0x800
"""Word a (64 bits) of the READ space stands at READ_WINDOW + 8 a, low half first."""
READ_WINDOW_WORDS = 64

READ_WORDS = {
    "IDENTIFICATION": READ_IDENTIFICATION,
    "VERSION": READ_VERSION,
    "WIDTH": READ_WIDTH,
    "CONNECTIONS": READ_CONNECTIONS,
    "CIPHERS": READ_CIPHERS,
    "FREE": READ_FREE,
    "POLICY": READ_POLICY,
}
"""Words of the READ space by name, but for the counters."""

COUNTER_WORDS = {
    direction: {name.upper(): READ_COUNTERS + number for number, name in enumerate(names)}
    for direction, names in ((Direction.RECEIVE, COUNTERS), (Direction.TRANSMIT, TX_COUNTERS))
}
