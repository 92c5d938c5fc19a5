"""H of a new key, on an AES of its own (FIPS 197): a round a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.aes import AesPipeline
from hw.aes_round import ROUNDS, SHORTCUT, Sbox, left
from hw.sbox import substitute


class SubkeyCipher(wiring.Component):
    """E(key, 0).

    Contract: `done` pulses `delay` cycles behind `start` at most, with the block at `o`; one at a time. Nothing of the
    key, and nothing made of it, is kept from then on.

    Parameters
    ----------
    sbox : str
        Of Config: "rom" or "logic".

    Members
    -------
    start : In(1)
    key : In(256)    with `start`; byte 0 in bits 7:0; AES-128: the upper half is not looked at
    aes256 : In(1)
    o : Out(128)     zero but with `done`
    done : Out(1)
    inside : Value   the registers with key and block
    """

    delay = ROUNDS + 1

    def __init__(self, sbox: str = "rom"):
        self._sbox = sbox
        self._words, self._state = Signal(256), Signal(128)
        self.inside = Cat(self._words, self._state)
        super().__init__({
            "start": In(1),
            "key": In(256),
            "aes256": In(1),
            "o": Out(128),
            "done": Out(1),
        })  # fmt: skip

    @staticmethod
    def model(key: bytes) -> bytes:
        return AesPipeline.model(key, bytes(16))

    def _substitute(self, m, word):
        """SubBytes of every byte of a word."""
        if self._sbox == "logic":
            return substitute(m, word, "substituted")
        sbox = Sbox()
        m.submodules.sbox = sbox.memory
        data = Signal.like(word, name="substituted")
        for k in range(len(word) // 8):
            sbox.read(word[8 * k : 8 * k + 8], data[8 * k : 8 * k + 8])
        return data

    def elaborate(self, platform):
        m = Module()
        busy, stage, aes256 = Signal(), Signal(range(ROUNDS)), Signal()
        # The last eight words of the schedule; words 4..7 are this round's key. AES-128 begins with its key in both
        # halves, at the stage in front of its first round.
        words, state, rcon = self._words, self._state, Signal(8)
        last = Signal()
        lower, upper = words[:128], words[128:]

        source = Signal(160)
        shifted = Cat(state[8 * (5 * k % 16) : 8 * (5 * k % 16) + 8] for k in range(16))
        m.d.comb += [source.eq(Cat(shifted, upper[96:])), last.eq(stage == ROUNDS - 1)]
        substituted = self._substitute(m, source)
        byte = [substituted[8 * k : 8 * k + 8] for k in range(20)]

        mixed = []
        for k in range(16):
            column = k & 12
            first, second, third, fourth = (byte[column | (k + n & 3)] for n in range(4))
            doubled = Signal(8, name=f"doubled{k}")
            m.d.comb += doubled.eq(left(first ^ second, 1) ^ Mux(first[7] ^ second[7], 0x1B, 0))
            mixed.append(Mux(last, first, doubled ^ second ^ third ^ fourth))

        word, rotated = substituted[128:], Cat(byte[17], byte[18], byte[19], byte[16])
        step, base = Signal(32), Signal(128)
        m.d.comb += [
            step.eq(Mux(aes256 & stage[0], word, rotated ^ rcon)),
            base.eq(Mux(aes256, lower, upper)),
        ]
        expanded = base ^ left(base, 32) ^ left(base, 64) ^ left(base, 96) ^ Cat(step, step, step, step)

        with m.If(self.start):
            m.d.sync += [
                busy.eq(1),
                aes256.eq(self.aes256),
                stage.eq(Mux(self.aes256, 0, SHORTCUT - 1)),
                words.eq(Cat(self.key[:128], Mux(self.aes256, self.key[128:], self.key[:128]))),
                state.eq(self.key[:128]),
                rcon.eq(1),
            ]
        with m.Elif(busy):
            m.d.sync += [stage.eq(stage + 1), words.eq(Cat(upper, expanded))]
            with m.If(aes256 | (stage >= SHORTCUT)):
                m.d.sync += state.eq(Cat(mixed) ^ upper)
            with m.If(~aes256 | stage[0]):
                m.d.sync += rcon.eq(left(rcon, 1) ^ Mux(rcon[7], 0x1B, 0))
            with m.If(last):
                m.d.sync += [busy.eq(0), words.eq(0), self.done.eq(1)]
        with m.Else():
            m.d.sync += state.eq(0)
        with m.If(self.done):
            m.d.sync += self.done.eq(0)
        m.d.comb += self.o.eq(Mux(self.done, state, Const(0, 128)))
        return m
