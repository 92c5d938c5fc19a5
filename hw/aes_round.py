"""A round of AES (FIPS 197): S-box, MixColumns and a step of the key schedule."""

from amaranth.hdl import Cat, Const, MemoryData, MemoryInstance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.sbox import SBOX, substitute

RCON = [1 << k if k < 8 else (0x1B << (k - 8)) for k in range(10)]
ROUNDS = 14
SHORTCUT = 4
"""Stages AES-128 passes through unchanged, so that the last stage is the last round for both."""


def delayed(m, value, cycles, name):
    """`value` so many cycles later, out of registers without reset."""
    for cycle in range(cycles):
        register = Signal(len(value), name=f"{name}{cycle + 1}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value


def left(value, bits: int):
    """Shifted within its width: Amaranth's << would widen a machine word of the simulators by a few bits."""
    return (value << bits)[: len(value)]


class Sbox:
    """One combinational ROM with many read ports: each adds one look-up."""

    def __init__(self):
        attrs = {"ram_style": "distributed", "rom_style": "distributed"}
        self.memory = MemoryInstance(data=MemoryData(shape=8, depth=256, init=SBOX), attrs=attrs)

    def read(self, address, data):
        self.memory.read_port(domain="comb", addr=address, data=data, en=Const(1), transparent_for=())


class RoundData(wiring.Component):
    """What a round does to the state of every lane (FIPS 197, section 5.1).

    The state is kept in rows, two lanes side by side where there are two, so that MixColumns is byte-wise
    arithmetic on words of at most 64 bits without rotations. Row r of a group: bits 32 * lane + 8 * column.

    Members
    -------
    i_rows, o_rows : array (groups, 4)
    """

    def __init__(self, stage, groups, lanes, members):
        self._stage = stage
        self._groups = groups
        self._lanes = lanes
        rows = {d + "_rows": m(32 * lanes).array(groups, 4) for d, m in (("i", In), ("o", Out))}
        super().__init__(rows | members)

    def _substitute(self, m, sbox, g):
        """SubBytes and ShiftRows of a group's rows."""
        lanes, substituted = self._lanes, []
        for r in range(4):
            row = Signal(32 * lanes, name=f"sub{g}_{r}")
            for lane in range(lanes):
                for c in range(4):
                    source, target = 32 * lane + 8 * ((c + r) % 4), 32 * lane + 8 * c
                    sbox.read(self.i_rows[g][r][source : source + 8], row[target : target + 8])
            substituted.append(row)
        return substituted

    def _mix(self, m, g, substituted, key):
        """MixColumns, which the last round does not have, and AddRoundKey."""
        lanes, last = self._lanes, self._stage == ROUNDS - 1
        ones = int("01" * 4 * lanes, 16)
        sums, tops = [], []
        for r in range(4) if not last else ():
            pair = substituted[r] ^ substituted[(r + 1) % 4]
            sums.append(Signal(32 * lanes, name=f"sum{g}_{r}"))
            tops.append(Signal(32 * lanes, name=f"top{g}_{r}"))
            m.d.comb += [sums[r].eq(pair), tops[r].eq(pair >> 7 & ones)]
        for r in range(4):
            round_key = Cat(*[key[32 * c + 8 * r : 32 * c + 8 * r + 8] for c in range(4)] * lanes)
            if last:
                yield substituted[r] ^ round_key
                continue
            top = tops[r]
            doubled = left(sums[r] & ones * 0x7F, 1) ^ top ^ left(top, 1) ^ left(top, 3) ^ left(top, 4)
            yield doubled ^ substituted[(r + 1) % 4] ^ sums[(r + 2) % 4] ^ round_key


class Round(RoundData):
    """One stage: a round of every lane, and one step of the key schedule (FIPS 197, sections 5.1 and 5.2).

    Members
    -------
    i_rows, o_rows : array (groups, 4)    a cycle apart
    i_keys, o_keys : 256    the last eight words of the schedule; words 4..7 are this round's key
    i_aes256, o_aes256 : 1
    """

    def __init__(self, stage, groups, lanes):
        members = {"i_keys": In(256), "o_keys": Out(256), "i_aes256": In(1), "o_aes256": Out(1)}
        super().__init__(stage, groups, lanes, members)

    def _sbox(self, m) -> Sbox | None:
        sbox = Sbox()
        m.submodules.sbox = sbox.memory
        return sbox

    def _expand(self, m, sbox):
        """The next four words of the schedule."""
        stage = self._stage
        lower, upper = self.i_keys[:128], self.i_keys[128:]
        substituted = self._substitute_word(m, sbox, upper[96:])
        rotated = Cat(substituted[8:], substituted[:8])
        rcon128 = RCON[max(stage - SHORTCUT + 1, 0)]

        step = Signal(32)
        if stage % 2:
            m.d.comb += step.eq(Mux(self.i_aes256, substituted, rotated ^ rcon128))
        else:
            m.d.comb += step.eq(rotated ^ Mux(self.i_aes256, RCON[stage // 2], rcon128))
        idle = stage < SHORTCUT - 1  # AES-128 waits with its key in words 4..7
        base = Signal(128)
        m.d.comb += base.eq(lower if idle else Mux(self.i_aes256, lower, upper))
        words = base ^ left(base, 32) ^ left(base, 64) ^ left(base, 96) ^ Cat(step, step, step, step)
        return Mux(self.i_aes256, words, upper) if idle else words

    def _substitute_word(self, m, sbox, word):
        """SubBytes of a word of the schedule."""
        substituted = Signal(32)
        for k in range(4):
            sbox.read(word[8 * k : 8 * k + 8], substituted[8 * k : 8 * k + 8])
        return substituted

    def elaborate(self, platform):
        m = Module()
        stage, lanes = self._stage, self._lanes
        sbox = self._sbox(m)

        key = self.i_keys[128:]
        for g in range(self._groups):
            substituted = self._substitute(m, sbox, g)
            for r, value in enumerate(self._mix(m, g, substituted, key)):
                if stage < SHORTCUT:
                    value = Mux(self.i_aes256, value, self.i_rows[g][r])
                register = Signal(32 * lanes, name=f"state{g}_{r}", reset_less=True)
                m.d.sync += register.eq(value)
                m.d.comb += self.o_rows[g][r].eq(register)

        if stage < ROUNDS - 1:
            keys, aes256 = Signal(256, reset_less=True), Signal(reset_less=True)
            m.d.sync += [
                keys.eq(Cat(key, self._expand(m, sbox))),
                aes256.eq(self.i_aes256),
            ]
            m.d.comb += [self.o_keys.eq(keys), self.o_aes256.eq(aes256)]
        return m


class GateRound(Round):
    """The same in one cycle, with S-boxes as gates."""

    def _sbox(self, m):
        return None

    def _substitute_word(self, m, sbox, word):
        return substitute(m, word, "substituted")

    def _substitute(self, m, sbox, g):
        rows = []
        for r in range(4):
            row = substitute(m, self.i_rows[g][r], f"sub{g}_{r}")
            lanes = [row[32 * lane : 32 * lane + 32] for lane in range(self._lanes)]
            rows.append(Cat(Cat(lane[8 * r :], lane[: 8 * r]) for lane in lanes))
        return rows


class BlockSbox:
    """Look-ups that are there a cycle later, in block RAM: one for two of them, as it has two ports."""

    def __init__(self, m):
        self._m = m
        self._count = 0

    def read(self, address, data):
        if self._count % 2 == 0:
            attrs = {"ram_style": "block", "rom_style": "block"}
            self._memory = MemoryInstance(data=MemoryData(shape=8, depth=256, init=SBOX), attrs=attrs)
            self._m.submodules[f"sbox{self._count // 2}"] = self._memory
        self._memory.read_port(domain="sync", addr=address, data=data, en=Const(1), transparent_for=())
        self._count += 1
