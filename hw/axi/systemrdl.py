"""The register map of a top as SystemRDL 2.0, from model/registers.py."""

from enum import IntEnum

from hw import layouts
from hw.axi.registers import member_widths
from hw.axi.top import TOPS
from hw.config import Config
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
    READ_WORDS,
    REGISTER_MAP_VERSION,
    STATUS,
    Access,
    Direction,
    Field,
    Register,
)

_SOFTWARE = {Access.READ: "r", Access.WRITE: "w", Access.BOTH: "rw"}
_HARDWARE = {Access.READ: "w", Access.WRITE: "r", Access.BOTH: "r"}
_ENCODED = {"DOORBELL": Opcode, "RESPONSE_RESULT": Result}
_WIDTHS = member_widths(layouts.command(Config())) | member_widths(layouts.response())


def blocks_of(top: str) -> list[tuple[str, int]]:
    """Name and DIRECTION of the blocks, in the order of their addresses; each has BLOCK_BYTES."""
    directions = TOPS["duplex" if top == "corundum" else top]
    return [(d.name.lower(), int(d)) for d in directions] + ([("adapter", ADAPTER_NUMBER)] if top == "corundum" else [])


def fields_of(register: Register, word: int) -> tuple[Field, ...]:
    """What is in a word of a register; one without fields of its own has one, VALUE."""
    if register.fields:
        return register.fields
    bits = _WIDTHS[register.member] if register.member else 32 * register.words
    return (Field("VALUE", 0, min(32, bits - 32 * word)),)


def system_rdl(top: str) -> str:
    """The registers of a top, as the address map `ktls_nic_<top>`.

    A register of several words is an array of them; where the last one is narrower than the others it stands beside
    the array, as NAME_LAST. Words of the READ window have 64 bits, which are read as 32, the low half first.
    """
    blocks = blocks_of(top)
    lines = [
        "// Control registers of ktls-nic. Made by `ktls-nic generate`; docs/registers.md has the rules.",
        *_enumeration("opcode_e", Opcode, 8),
        *_enumeration("result_e", Result, _WIDTHS["result"]),
        f"addrmap ktls_nic_{top} {{",
        '    name = "ktls-nic";',
        "    lsb0; littleendian; addressing = compact;",
        "    default regwidth = 32; default accesswidth = 32;",
    ]
    for number, (name, direction) in enumerate(blocks):
        distance = BLOCK_BYTES if number + 1 < len(blocks) else 0
        body = [line for each in _block(direction, distance) for line in each]
        lines += [
            "",
            "    regfile {",
            *(f"        {line}" for line in body),
            f"    }} {name} @{number * BLOCK_BYTES:#x};",
        ]
    return "\n".join([*lines, "};", ""])


def _block(direction: int, distance: int) -> list[list[str]]:
    values = {
        "IDENTIFICATION": IDENTIFICATION,
        "VERSION": REGISTER_MAP_VERSION,
        "CONTRACT": CONTRACT_VERSION,
        "DIRECTION": direction,
        "NEXT": distance,
    }
    found = [_register(r, reset=values[r.name]) for r in IDENTITY]
    if direction == ADAPTER_NUMBER:
        return found + [_register(r) for r in ADAPTER]
    found += [_register(r) for r in (STATUS, DOORBELL, POP, *COMMAND, *ANSWER)]
    words = {f"READ_{name}": address for name, address in READ_WORDS.items()}
    words |= {f"READ_{name}": address for name, address in COUNTER_WORDS[Direction(direction)].items()}
    for name, address in sorted(words.items(), key=lambda item: item[1]):
        field = "field { sw = r; hw = w; } VALUE[63:0];"
        found.append([f"reg {{ regwidth = 64; {field} }} {name} @{READ_WINDOW + 8 * address:#x};"])
    return found


def _register(register: Register, reset: int | None = None) -> list[str]:
    last = register.words - 1
    if fields_of(register, 0) == fields_of(register, last):
        array = f"[{register.words}]" if last else ""
        return _instance(register, f"{register.name}{array} @{register.offset:#x}", fields_of(register, 0), reset)
    array = f"[{last}]" if last > 1 else ""
    return [
        *_instance(register, f"{register.name}{array} @{register.offset:#x}", fields_of(register, 0), reset),
        *_instance(register, f"{register.name}_LAST @{register.end - 4:#x}", fields_of(register, last), reset),
    ]


def _instance(register: Register, where: str, fields: tuple[Field, ...], reset: int | None) -> list[str]:
    lines = ["reg {", *([f"    desc = {_text(register.text)};"] if register.text else [])]
    software = _SOFTWARE[register.access]
    hardware = _HARDWARE[register.access] if reset is None else "na"
    if reset is None and register.access is Access.BOTH:
        reset = 0
    for field in fields:
        properties = [f"sw = {software}", f"hw = {hardware}"]
        if register.name in _ENCODED:
            properties.append(f"encode = {_ENCODED[register.name].__name__.lower()}_e")
        if field.text:
            properties.append(f"desc = {_text(field.text)}")
        begin = "" if reset is None else f" = {reset:#x}"
        bits = f"[{field.low + field.width - 1}:{field.low}]"
        lines.append(f"    field {{ {'; '.join(properties)}; }} {field.name}{bits}{begin};")
    return [*lines, f"}} {where};"]


def _enumeration(name: str, codes: type[IntEnum], bits: int) -> list[str]:
    return [f"enum {name} {{", *(f"    {c.name} = {bits}'d{c.value};" for c in codes), "};"]


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
