"""The key schedule of AES (FIPS 197, section 5.2), a word a cycle: round keys on their way into memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.aes_round import ROUNDS, SHORTCUT, left
from hw.config import Config
from hw.sbox import substitute

READ_AHEAD = 8
"""The row from which on a reader who takes a row every two cycles may begin: a row is written in four."""


class KeyExpansion(wiring.Component):
    """Writes the round keys of a key into the rows of `write`, in order.

    Contract: one key at a time, `busy` from the cycle behind `start`; nothing of it is kept when it falls. AES-128 has
    no rows 1 to SHORTCUT, so that its last round is in row ROUNDS as well. `erase`: every row is written with zero.

    Members
    -------
    start : In(1)
    key : In(256)       with `start`; byte 0 in bits 7:0; AES-128: the upper half is not looked at
    aes256, erase : In(1)
    index : In          of the connection
    busy : Out(1)
    ahead : Out(1)      pulse: who reads the rows from the next cycle on, one every two cycles, reads those of this key,
                        if writes pass one register for four rows on their way
    write : Out(layouts.round_key_write)
    """

    def __init__(self, config: Config):
        super().__init__({
            "start": In(1),
            "key": In(256),
            "aes256": In(1),
            "erase": In(1),
            "index": In(config.index_bits),
            "busy": Out(1),
            "ahead": Out(1),
            "write": Out(layouts.round_key_write(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        # The words at `words[0]` on are what the next ones are made of: eight of AES-256, four of AES-128.
        words = [Signal(32, name=f"word{k}", reset_less=True) for k in range(8)]
        carry = Signal(32, reset_less=True)  # what is added to words[0]: the word before, every fourth one transformed
        turn = Signal(32, reset_less=True)  # the word that is transformed
        found = Signal(32, reset_less=True)
        aes256, erase, odd, rcon = Signal(), Signal(), Signal(), Signal(8)
        index = Signal.like(self.index)
        phase, row, emits = Signal(2), Signal(range(ROUNDS + 1)), Signal()

        substituted = substitute(m, turn, "substituted", late=True)
        rotated = Cat(found[8:], found[:8])
        made = Signal(32)
        m.d.comb += made.eq(words[0] ^ carry)

        m.d.sync += [
            found.eq(substituted),
            self.write.en.eq(emits),
            self.write.row.eq(row),
            self.write.word.eq(phase),
            self.write.index.eq(index),
            self.write.data.eq(Mux(erase, 0, words[0])),
            self.ahead.eq(emits & (row == READ_AHEAD) & (phase == 0)),
        ]
        with m.If(self.busy):
            m.d.sync += phase.eq(phase + 1)
        with m.If(emits):
            m.d.sync += [word.eq(following) for word, following in zip(words, [*words[1:], made], strict=True)]
            m.d.sync += [words[3].eq(Mux(aes256, words[4], made)), carry.eq(made)]
        with m.If(emits & (phase == 0)):
            # The last of these four words, ahead of the three before it, so that its S-box costs no cycle.
            m.d.sync += turn.eq(words[0] ^ words[1] ^ words[2] ^ words[3] ^ carry)
        with m.If(phase == 3):
            plain = aes256 & odd
            m.d.sync += [carry.eq(Mux(plain, found, rotated ^ rcon)), odd.eq(~odd), emits.eq(self.busy)]
            with m.If(~plain):
                m.d.sync += rcon.eq(left(rcon, 1) ^ Mux(rcon[7], 0x1B, 0))
            with m.If(emits):
                m.d.sync += row.eq(Mux(~aes256 & (row == 0), SHORTCUT + 1, row + 1))
                with m.If(row == ROUNDS):
                    m.d.sync += [self.busy.eq(0), emits.eq(0), carry.eq(0), turn.eq(0)]
                    m.d.sync += [word.eq(0) for word in words]
        with m.If(self.start):
            m.d.sync += [
                *(word.eq(self.key.word_select(k, 32)) for k, word in enumerate(words)),
                turn.eq(Mux(self.aes256, self.key[224:], self.key[96:128])),
                self.busy.eq(1),
                aes256.eq(self.aes256 | self.erase),
                erase.eq(self.erase),
                index.eq(self.index),
                phase.eq(1),
                row.eq(0),
                odd.eq(0),
                rcon.eq(1),
            ]
        return m
