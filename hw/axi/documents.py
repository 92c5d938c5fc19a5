"""The register map as a C header and as a page: both from model/registers.py."""

from model.contract import CONTRACT_VERSION, IDENTIFICATION, Opcode, Result
from model.registers import (
    ADAPTER,
    ADAPTER_NUMBER,
    ANSWER,
    BLOCK_BYTES,
    COMMAND,
    COUNTER_WORDS,
    DOORBELL,
    IDENTITY,
    POP,
    READ_WINDOW,
    READ_WINDOW_WORDS,
    READ_WORDS,
    REGISTER_MAP_VERSION,
    REGISTERS,
    STATUS,
    Direction,
    Register,
)

RULES = f"""\
A direction has a block of {BLOCK_BYTES:#x} bytes. A device with both has the receive block at 0 and the transmit
block behind it; `DIRECTION` says which a block is and `NEXT` where the next one begins.

**Access.** Registers are words of 32 bits; the low two bits of an address are ignored. Registers of several words
have the lowest word first, and a byte string (addresses, keys) its first byte in bits 7:0 of the first word. Byte
strobes are honoured: a byte without its strobe stays, and DOORBELL and POP do nothing without strobe 0. The answers:

- `SLVERR`, and nothing has happened: a write to a register that is read only; to the command window while `BUSY`; to
  DOORBELL while `BUSY` or `RESPONSE`; to POP without `RESPONSE`; a read of the low half of a word of the READ window
  while `BUSY` or `RESPONSE`.
- `DECERR`: an address without a register.
- `OKAY`: all else.

**A command.** Write what it needs into the command window, which keeps what it has from one command to the next;
write its opcode to DOORBELL; read STATUS until `RESPONSE`; read the response window; write to POP. The response window
is zero without a response. DEL is answered when the connection's last frame has left: not before the host takes it.

**Keys.** What is marked *secret* reads as zero at all times and is erased when the device has taken the command.

**The READ window** has the words of the READ space (docs/contract.md, section 4): identification, capabilities,
counters. Reading the low half asks the device, which answers within a few cycles, and keeps the high half for the next
read of any high half. Writes wait meanwhile. Words of the space that have no meaning read as zero.

Whoever shares a block between threads needs a lock: for a command from its first write to POP, for a word of the READ
space over both halves.
"""

ADAPTER_RULES = """\
With top `corundum` a third block follows, for the adapter ([corundum.md](corundum.md)). It has the identity registers,
these, and nothing else:
"""


def _rows(registers: tuple[Register, ...]) -> list[str]:
    rows = ["| offset | register | access | |", "| --- | --- | --- | --- |"]
    for r in registers:
        where = f"`{r.offset:#05x}`" if r.words == 1 else f"`{r.offset:#05x}`..`{r.end - 4:#05x}`"
        text = f"{r.described}; *secret*" if r.secret else r.described
        rows.append(f"| {where} | `{r.name}` | {r.access.value} | {text} |")
    return rows


def markdown() -> str:
    """docs/registers.md."""
    lines = [
        "# Control registers",
        "",
        "Made by `ktls-nic generate --with-extras` from `model/registers.py`: edit that.",
        "",
        RULES,
    ]
    for title, registers in (
        ("Identity", IDENTITY),
        ("Control", (STATUS, DOORBELL, POP)),
        ("Command window", COMMAND),
        ("Response window", ANSWER),
    ):
        lines += [f"## {title}", "", *_rows(registers), ""]
    end = READ_WINDOW + 8 * READ_WINDOW_WORDS
    lines += [
        "## READ window",
        "",
        f"`{READ_WINDOW:#05x}` to `{end - 4:#05x}`, read only: word a of the READ space at `{READ_WINDOW:#05x}` + 8 a.",
        "",
        "| offset | word | in the block of |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{READ_WINDOW + 8 * a:#05x}` | `{name}` | both |" for name, a in READ_WORDS.items()]
    for direction, words in COUNTER_WORDS.items():
        lines += [f"| `{READ_WINDOW + 8 * a:#05x}` | `{n}` | {direction.name.lower()} |" for n, a in words.items()]
    lines += ["", "## Adapter block", "", ADAPTER_RULES, *_rows(ADAPTER)]
    for title, codes in (("Opcodes", Opcode), ("Results", Result)):
        lines += ["", f"## {title}", "", "| code | |", "| --- | --- |", *(f"| {c.value} | {c.name} |" for c in codes)]
    return "\n".join(lines) + "\n"


def c_header() -> str:
    """Offsets and codes for a driver in C."""
    lines = [
        "/* Control registers of ktls-nic. Made by `ktls-nic generate`; docs/registers.md has the rules. */",
        "#ifndef KTLS_NIC_REGISTERS_H",
        "#define KTLS_NIC_REGISTERS_H",
    ]

    def define(values: dict[str, int], title: str, form: str) -> None:
        lines.extend(["", f"/* {title} */"])
        lines.extend(f"#define KTLS_NIC_{name:<32} {format(value, form)}" for name, value in values.items())

    fixed = {
        "ID": IDENTIFICATION,
        "REGISTER_MAP_VERSION": REGISTER_MAP_VERSION,
        "CONTRACT_VERSION": CONTRACT_VERSION,
        "BLOCK_BYTES": BLOCK_BYTES,
        **{f"DIRECTION_{d.name}": d for d in Direction},
        "DIRECTION_ADAPTER": ADAPTER_NUMBER,
    }
    define(fixed, "what IDENTIFICATION, VERSION, CONTRACT and DIRECTION hold", "#x")
    define({f"REG_{r.name}": r.offset for r in REGISTERS}, "registers, byte offset in their block", "#05x")
    define(
        {f"REG_{r.name}": r.offset for r in ADAPTER}, "of the adapter's block, behind IDENTIFICATION to NEXT", "#05x"
    )
    define({f"WORDS_{r.name}": r.words for r in REGISTERS if r.words > 1}, "their words, where more than one", "d")
    fields = {f"{r.name}_{f.name}": f.mask for r in (*REGISTERS, *ADAPTER) for f in r.fields}
    define(fields, "fields, as masks of their register", "#x")
    words = {f"READ_{name}": READ_WINDOW + 8 * a for name, a in READ_WORDS.items()}
    define(words, "words of the READ window, 64 bits each", "#05x")
    for direction, names in COUNTER_WORDS.items():
        prefix = "RX" if direction is Direction.RECEIVE else "TX"
        counters = {f"READ_{prefix}_{name}": READ_WINDOW + 8 * a for name, a in names.items()}
        define(counters, f"counters, {direction.name.lower()} block", "#05x")
    define({f"OP_{code.name}": code for code in Opcode}, "opcodes, for DOORBELL", "d")
    define({f"RESULT_{code.name}": code for code in Result}, "RESPONSE_RESULT", "d")
    lines += ["", "#endif", ""]
    return "\n".join(lines)
