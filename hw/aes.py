"""AES (FIPS 197): a pipeline in which the key schedule travels beside the data."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.aes_round import RCON, ROUNDS, GateRound, Round
from hw.sbox import SBOX, times

KINDS = {"rom": Round, "logic": GateRound}
"""Rounds by `Config.sbox`; with "bram" the cipher is hw/aes_stored.py."""


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
    sbox : str
        Of Config: "rom" or "logic".

    Members
    -------
    blocks : In(128) array of `lanes`    byte 0 in bits 7:0
    key : In(256)    byte 0 in bits 7:0; AES-128: the upper half is not looked at
    aes256 : In(1)
    i_tag : In(tag)
    o : Out(128) array of `lanes`
    o_tag : Out(tag)
    """

    delay = 1 + ROUNDS

    def __init__(self, lanes, tag=0, sbox="rom"):
        self._lanes = lanes
        self._tag = tag
        self._sbox = sbox
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
                    times(2, state[k])
                    ^ times(3, state[k & 12 | (k + 1) & 3])
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

        # whitening with the first four words; AES-128 begins with its key in both halves
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
        high = Mux(self.aes256, high, low)
        m.d.sync += [keys.eq(Cat(low, high)), aes256.eq(self.aes256)]

        for stage in range(ROUNDS):
            m.submodules[f"round{stage}"] = unit = KINDS[self._sbox](stage, groups, width)
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
