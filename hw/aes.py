"""AES (FIPS 197): S-box, and a pipeline in which the key schedule travels beside the data."""

from amaranth.hdl import Cat, Const, MemoryData, MemoryInstance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


def _times(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, section 4.2)."""
    z = 0
    for bit in range(8):
        if b >> bit & 1:
            z ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
    return z


def _sbox() -> list[int]:
    """Inverse in GF(2^8), then the affine transformation (section 5.1.1)."""
    table = []
    for value in range(256):
        inverse = next((c for c in range(256) if _times(value, c) == 1), 0)
        result = 0x63
        for turn in range(5):
            result ^= (inverse << turn | inverse >> (8 - turn)) & 0xFF
        table.append(result)
    return table


SBOX = _sbox()
RCON = [1 << k if k < 8 else (0x1B << (k - 8)) for k in range(10)]
ROUNDS = 14
SHORTCUT = 4
"""Stages AES-128 passes through unchanged, so that the last stage is the last round for both."""


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


class Round(wiring.Component):
    """One stage: a round of every lane, and one step of the key schedule (FIPS 197, sections 5.1 and 5.2).

    The state is kept in rows, two lanes side by side where there are two, so that MixColumns is byte-wise
    arithmetic on words of at most 64 bits without rotations. Row r of a group: bits 32 * lane + 8 * column.

    Members
    -------
    i_rows, o_rows : array (groups, 4)    a cycle apart
    i_keys, o_keys : 256    the last eight words of the schedule; words 4..7 are this round's key
    i_aes256, o_aes256 : 1
    """

    def __init__(self, stage, groups, lanes):
        self._stage = stage
        self._groups = groups
        self._lanes = lanes
        rows = {d + "_rows": m(32 * lanes).array(groups, 4) for d, m in (("i", In), ("o", Out))}
        super().__init__(rows | {
            "i_keys": In(256),
            "o_keys": Out(256),
            "i_aes256": In(1),
            "o_aes256": Out(1),
        })  # fmt: skip

    def _expand(self, m, sbox):
        """The next four words of the schedule."""
        stage = self._stage
        lower, upper = self.i_keys[:128], self.i_keys[128:]
        substituted = Signal(32)
        for k in range(4):
            sbox.read(upper[96 + 8 * k : 104 + 8 * k], substituted[8 * k : 8 * k + 8])
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

    def elaborate(self, platform):
        m = Module()
        stage, lanes = self._stage, self._lanes
        sbox = Sbox()
        m.submodules.sbox = sbox.memory
        ones = int("01" * 4 * lanes, 16)

        key = self.i_keys[128:]
        for g in range(self._groups):
            substituted, sums, tops = [], [], []
            for r in range(4):
                row = Signal(32 * lanes, name=f"sub{g}_{r}")
                for lane in range(lanes):
                    for c in range(4):
                        source, target = 32 * lane + 8 * ((c + r) % 4), 32 * lane + 8 * c
                        sbox.read(self.i_rows[g][r][source : source + 8], row[target : target + 8])
                substituted.append(row)
            for r in range(4) if stage < ROUNDS - 1 else ():
                pair = substituted[r] ^ substituted[(r + 1) % 4]
                sums.append(Signal(32 * lanes, name=f"sum{g}_{r}"))
                tops.append(Signal(32 * lanes, name=f"top{g}_{r}"))
                m.d.comb += [sums[r].eq(pair), tops[r].eq(pair >> 7 & ones)]
            for r in range(4):
                round_key = Cat(*[key[32 * c + 8 * r : 32 * c + 8 * r + 8] for c in range(4)] * lanes)
                if stage == ROUNDS - 1:
                    value = substituted[r] ^ round_key
                else:
                    top = tops[r]
                    doubled = left(sums[r] & ones * 0x7F, 1) ^ top ^ left(top, 1) ^ left(top, 3) ^ left(top, 4)
                    value = doubled ^ substituted[(r + 1) % 4] ^ sums[(r + 2) % 4] ^ round_key
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


class AesPipeline(wiring.Component):
    """Encrypts `lanes` blocks a cycle under one key, which may be another one each cycle.

    Contract: one beat a cycle, `delay` cycles later, always; nothing holds it up. AES-128 and AES-256 have
    the same delay. Source: FIPS 197.

    Parameters
    ----------
    lanes : int
        Blocks a beat, 1 or an even number.
    tag : shape
        What travels beside each beat; its reset value is what comes out of an empty pipeline.

    Members
    -------
    blocks : In(128) array of `lanes`    byte 0 in bits 7:0
    key : In(256)    byte 0 in bits 7:0; AES-128: the upper half is not looked at
    aes256 : In(1)
    i_tag : In(tag)
    o : Out(128) array of `lanes`
    o_tag : Out(tag)
    """

    delay = ROUNDS + 1

    def __init__(self, lanes, tag=0):
        self._lanes = lanes
        self._tag = tag
        super().__init__({
            "blocks": In(128).array(lanes),
            "key": In(256),
            "aes256": In(1),
            "i_tag": In(tag),
            "o": Out(128).array(lanes),
            "o_tag": Out(tag),
        })  # fmt: skip

    @staticmethod
    def model(key: bytes, block: bytes) -> bytes:
        """The cipher as FIPS 197 writes it (algorithms 1 and 2)."""
        size = len(key) // 4
        words = [key[4 * k : 4 * k + 4] for k in range(size)]
        for k in range(size, 4 * (size + 7)):
            word = words[-1]
            if k % size == 0:
                word = bytes(SBOX[b] for b in word[1:] + word[:1])
                word = bytes([word[0] ^ RCON[k // size - 1]]) + word[1:]
            elif size > 6 and k % size == 4:
                word = bytes(SBOX[b] for b in word)
            words.append(bytes(a ^ b for a, b in zip(words[k - size], word, strict=True)))
        keys = [b"".join(words[k : k + 4]) for k in range(0, len(words), 4)]

        state = bytes(a ^ b for a, b in zip(block, keys[0], strict=True))
        for number, key in enumerate(keys[1:], 1):
            state = bytes(SBOX[state[(5 * k) % 16]] for k in range(16))
            if number < len(keys) - 1:
                state = bytes(
                    _times(2, state[k])
                    ^ _times(3, state[k & 12 | (k + 1) & 3])
                    ^ state[k & 12 | (k + 2) & 3]
                    ^ state[k & 12 | (k + 3) & 3]
                    for k in range(16)
                )
            state = bytes(a ^ b for a, b in zip(state, key, strict=True))
        return state

    def elaborate(self, platform):
        m = Module()
        width = 2 - self._lanes % 2
        groups = self._lanes // width

        # whitening with the first four words; AES-128 starts with its key in both halves of the window
        rows = []
        for g in range(groups):
            rows.append([])
            for r in range(4):
                register = Signal(32 * width, name=f"white{g}_{r}", reset_less=True)
                m.d.sync += register.eq(Cat(
                    self.blocks[width * g + lane][32 * c + 8 * r : 32 * c + 8 * r + 8]
                    ^ self.key[32 * c + 8 * r : 32 * c + 8 * r + 8]
                    for lane in range(width) for c in range(4)
                ))  # fmt: skip
                rows[g].append(register)
        keys, aes256 = Signal(256, reset_less=True), Signal(reset_less=True)
        low, high = self.key[:128], self.key[128:]
        m.d.sync += [keys.eq(Cat(low, Mux(self.aes256, high, low))), aes256.eq(self.aes256)]

        for stage in range(ROUNDS):
            m.submodules[f"round{stage}"] = unit = Round(stage, groups, width)
            m.d.comb += [unit.i_rows[g][r].eq(rows[g][r]) for g in range(groups) for r in range(4)]
            m.d.comb += [unit.i_keys.eq(keys), unit.i_aes256.eq(aes256)]
            rows, keys, aes256 = unit.o_rows, unit.o_keys, unit.o_aes256

        for lane in range(self._lanes):
            g, shift = lane // width, 32 * (lane % width)
            m.d.comb += self.o[lane].eq(
                Cat(rows[g][k % 4][shift + 8 * (k // 4) : shift + 8 * (k // 4) + 8] for k in range(16))
            )

        tag = self.i_tag
        for stage in range(self.delay):
            register = Signal(self._tag, name=f"tag{stage}")
            m.d.sync += register.eq(tag)
            tag = register
        m.d.comb += self.o_tag.eq(tag)
        return m
