"""The SystemRDL export, as systemrdl-compiler reads it, against the table, the layouts and the registers' model."""

import pytest
from systemrdl import RDLCompiler
from systemrdl.messages import MessagePrinter
from systemrdl.node import RegfileNode, RegNode

from hw import layouts, tx_layouts
from hw.axi.registers import member_widths
from hw.axi.systemrdl import blocks_of, system_rdl
from hw.config import PRESETS
from hw.verilog import TOPS, make_top
from model.contract import CONTRACT_VERSION, IDENTIFICATION, Opcode, Result
from model.register_block import RegisterBlock
from model.registers import (
    ADAPTER,
    ADAPTER_LAST_DROP,
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
    Answer,
    Direction,
)

WIDTHS = member_widths(layouts.command(PRESETS["tiny"])) | member_widths(layouts.response())


class Messages(MessagePrinter):
    """Whatever the compiler has to say."""

    def __init__(self):
        self.said = []

    def print_message(self, severity, text, src_ref):
        self.said.append(f"{severity}: {text}")


@pytest.fixture
def read(tmp_path):
    """`read(top)`: the compiler's node of the address map."""

    def compiled(top):
        path = tmp_path / "registers.rdl"
        path.write_text(system_rdl(top))
        messages = Messages()
        compiler = RDLCompiler(message_printer=messages)
        compiler.compile_file(str(path))
        root = compiler.elaborate(top_def_name=f"ktls_nic_{top}")
        assert messages.said == []
        return root.top

    return compiled


def words_in(node):
    """(bits, software access, fields by name as (low, width)) of each register by its byte address."""
    found = {}
    for register in node.descendants(unroll=True):
        if isinstance(register, RegNode):
            fields = {f.inst_name: (f.low, f.width) for f in register.fields()}
            (access,) = {f.get_property("sw").name for f in register.fields()}
            assert register.absolute_address not in found
            name = register.inst_name.removesuffix("_LAST")
            found[register.absolute_address] = (name, register.get_property("regwidth"), access, fields)
    return found


def words_wanted(top):
    """The same from the table and the layouts."""
    access = {Access.READ: "r", Access.WRITE: "w", Access.BOTH: "rw"}
    wanted = {}
    for number, (_, direction) in enumerate(blocks_of(top)):
        base = number * BLOCK_BYTES
        both = (STATUS, DOORBELL, POP, *COMMAND, *ANSWER)
        for register in (*IDENTITY, *(ADAPTER if direction == 3 else both)):
            bits = WIDTHS[register.member] if register.member else 32 * register.words
            for word in range(register.words):
                fields = {f.name: (f.low, f.width) for f in register.fields}
                fields = fields or {"VALUE": (0, min(32, bits - 32 * word))}
                place = base + register.offset + 4 * word
                wanted[place] = (register.name, 32, access[register.access], fields)
        if direction != 3:
            for name, word in (READ_WORDS | COUNTER_WORDS[Direction(direction)]).items():
                wanted[base + READ_WINDOW + 8 * word] = (f"READ_{name}", 64, "r", {"VALUE": (0, 64)})
    return wanted


@pytest.mark.parametrize("top", TOPS)
def test_registers_are_those_of_the_table(read, top):
    assert words_in(read(top)) == words_wanted(top)


@pytest.mark.parametrize("top", TOPS)
def test_blocks_say_which_they_are_and_where_the_next_one_begins(read, top):
    files = [node for node in read(top).children() if isinstance(node, RegfileNode)]
    assert [(f.inst_name, f.absolute_address) for f in files] == [
        (name, number * BLOCK_BYTES) for number, (name, _) in enumerate(blocks_of(top))
    ]
    for file, (_, direction) in zip(files, blocks_of(top), strict=True):
        fixed = {r.inst_name: r.get_child_by_name("VALUE").get_property("reset") for r in list(file.registers())[:5]}
        assert fixed == {
            "IDENTIFICATION": IDENTIFICATION,
            "VERSION": REGISTER_MAP_VERSION,
            "CONTRACT": CONTRACT_VERSION,
            "DIRECTION": direction,
            "NEXT": 0 if file is files[-1] else BLOCK_BYTES,
        }


@pytest.mark.parametrize("top", TOPS)
def test_all_of_it_is_within_reach_of_the_address_bus(read, top):
    component = make_top(PRESETS["tiny"], top)
    component._MustUse__used = True
    (bus,) = [v for path, _, v in component.signature.flatten(component) if path[-1] in ("araddr", "awaddr")][:1]
    assert max(words_in(read(top))) < 1 << len(bus)


def test_codes_are_those_of_the_contract(read):
    block = read("duplex").get_child_by_name("transmit")
    for register, field, codes in (("DOORBELL", "OPCODE", Opcode), ("RESPONSE_RESULT", "VALUE", Result)):
        encode = block.get_child_by_name(register).get_child_by_name(field).get_property("encode")
        assert {member.name: member.value for member in encode} == {code.name: code.value for code in codes}


def test_fields_of_the_last_drop_are_those_of_a_completion():
    places = [(f.low, f.width) for f in ADAPTER_LAST_DROP.fields][:2]
    assert places == [(field.offset, field.width) for _, field in tx_layouts.tx_completion()]


def test_registers_behave_as_it_says(read):
    """Every register of a block in plain Python: its fields can be written and read, and nothing else."""
    block = RegisterBlock(Direction.RECEIVE, WIDTHS, lambda word: (Result.OK, (1 << 64) - 1))
    for place, (name, bits, access, fields) in words_in(read("rx")).items():
        mask = sum(((1 << width) - 1) << low for low, width in fields.values())
        if name not in ("DOORBELL", "POP"):
            assert block.write(place, 0xFFFFFFFF) is (Answer.SLVERR if access == "r" else Answer.OKAY), name
        value, answer = block.read(place)
        assert answer is Answer.OKAY
        if bits == 64:
            value |= block.read(place + 4)[0] << 32
            assert value == mask, name
        if access == "r":
            assert value & ~mask == 0, name
        else:
            assert value == (mask if access == "rw" else 0), name
