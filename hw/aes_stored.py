"""AES (FIPS 197) with round keys out of memories: for an ECP5, a round in two cycles."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.aes_round import ROUNDS, SHORTCUT, BlockSbox, RoundData, delayed
from hw.config import Config


class RoundKeys(wiring.Component):
    """The keys of two rounds: of every connection in block RAM, of the blocks at hand in registers.

    Contract: `select` has the words of a connection's keys one after the other, lowest first. With `swap`, two cycles
    behind the last word of the even row or later, that row is at `o[0]` from the next cycle on, and the odd one at
    `o[1]` from `apart` cycles later on. The next keys' first word may come with `swap`.

    Parameters
    ----------
    config : Config
    apart : int
        Cycles between the two rounds, 2 or more.

    Members
    -------
    write : In(layouts.round_key_write)    of `row`, bit 0 counts
    select : In(layouts.round_key_select)
    o : Out(128) array of 2                byte 0 in bits 7:0
    """

    def __init__(self, config: Config, apart: int):
        self._apart = apart
        self._depth = 8 * config.connections
        super().__init__({
            "write": In(layouts.round_key_write(config)),
            "select": In(layouts.round_key_select(config)),
            "o": Out(128).array(2),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=self._depth, init=[], attrs={"ram_style": "block"})
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write.en),
            write.addr.eq(Cat(self.write.word, self.write.row[0], self.write.index)),
            write.data.eq(self.write.data),
            read.addr.eq(Cat(self.select.word, self.select.row, self.select.index)),
        ]
        for row, swap in enumerate((self.select.swap, delayed(m, self.select.swap, self._apart, "swap"))):
            loaded, waiting = Signal(name=f"loaded{row}"), Signal(128, name=f"waiting{row}", reset_less=True)
            m.d.sync += loaded.eq(self.select.load & (self.select.row == row))
            with m.If(loaded):
                m.d.sync += waiting.eq(Cat(waiting[32:], read.data))
            with m.If(swap):
                m.d.sync += self.o[row].eq(waiting)
        return m


class SplitRound(RoundData):
    """A round of every lane in three cycles: S-box into a register, MixColumns and key into another.

    The way from there to the next round's S-box, a block RAM that may be far, has a cycle for itself.

    Members
    -------
    i_rows, o_rows : array (groups, 4)    `delay` cycles apart
    key : In(128)                         of this round, with `o_rows`
    """

    delay = 3

    def __init__(self, stage, groups, lanes):
        super().__init__(stage, groups, lanes, {"key": In(128)})

    def elaborate(self, platform):
        m = Module()
        sbox = BlockSbox(m)
        for g in range(self._groups):
            substituted = [delayed(m, row, 1, f"row{g}_{r}_") for r, row in enumerate(self._substitute(m, sbox, g))]
            mixed = self._mix(m, g, substituted, self.key)
            m.d.comb += [self.o_rows[g][r].eq(delayed(m, row, 1, f"mixed{g}_{r}_")) for r, row in enumerate(mixed)]
        return m


class StoredAes(wiring.Component):
    """Encrypts `lanes` blocks a cycle. The key may change, nine cycles after it did so before.

    Contract: one beat a cycle, `delay` cycles later, always; nothing holds it up. A beat has the key whose `swap` came
    last, at the latest in the cycle before. Keys stand still in registers beside the rounds, and change in a wave that
    goes from round to round with the first beat they are for. Source: FIPS 197.

    Parameters
    ----------
    config : Config
    tag : shape
        What travels beside each beat; its reset value is what comes out of an empty pipeline.

    Members
    -------
    blocks : In(128) array of `lanes`    byte 0 in bits 7:0
    aes256 : In(1)
    i_tag : In(tag)
    select : In(layouts.round_key_select)    see RoundKeys
    write : In(layouts.round_key_write)
    o : Out(128) array of `lanes`
    o_tag : Out(tag)
    """

    delay = 1 + ROUNDS * SplitRound.delay

    def __init__(self, config: Config, tag=0):
        self._config = config
        self._tag = tag
        lanes = config.lanes
        super().__init__({
            "blocks": In(128).array(lanes),
            "aes256": In(1),
            "i_tag": In(tag),
            "select": In(layouts.round_key_select(config)),
            "write": In(layouts.round_key_write(config)),
            "o": Out(128).array(lanes),
            "o_tag": Out(tag),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config, lanes = self._config, self._config.lanes
        width = 2 - lanes % 2
        groups = lanes // width
        row_bits = 32 * width

        def split(value):
            """Rows of each group."""
            return [[value[row_bits * (4 * g + r) :][:row_bits] for r in range(4)] for g in range(groups)]

        keys, select, write, coming = [], self.select, self.write, self.write
        for row in range(0, ROUNDS + 1, 2):
            m.submodules[f"key{row}"] = unit = RoundKeys(config, SplitRound.delay)
            if row % 4 == 0:  # one register for four: the rows are all over the chip
                coming, write = write, self._registered(m, write, f"write{row}")
            here = self._registered(m, coming.en & (coming.row[1:] == row // 2), f"here{row}")
            if row:
                for cycle in range(2 * SplitRound.delay):
                    select = self._registered(m, select, f"select{row}_{cycle}")
            m.d.comb += [unit.write.eq(write), unit.write.en.eq(here), unit.select.eq(select)]
            keys += unit.o

        white = Signal(128 * lanes, reset_less=True)
        m.d.sync += white.eq(Cat(
            self.blocks[width * g + lane][8 * (4 * c + r) :][:8] ^ keys[0][8 * (4 * c + r) :][:8]
            for g in range(groups) for r in range(4) for lane in range(width) for c in range(4)
        ))  # fmt: skip
        aes256 = delayed(m, self.aes256, 1 + SHORTCUT * SplitRound.delay, "aes256_")

        rows = split(white)
        for stage in range(ROUNDS):
            m.submodules[f"round{stage}"] = unit = SplitRound(stage, groups, width)
            m.d.comb += unit.key.eq(keys[stage + 1])
            m.d.comb += [unit.i_rows[g][r].eq(rows[g][r]) for g in range(groups) for r in range(4)]
            rows = unit.o_rows
            if stage == SHORTCUT - 1:
                # AES-128 has four rounds less and waits for its first one beside them.
                waited = delayed(m, white, unit.delay * SHORTCUT, "waited")
                rows = split(Mux(aes256, Cat(*(row for group in rows for row in group)), waited))

        for lane in range(lanes):
            g, shift = lane // width, 32 * (lane % width)
            m.d.comb += self.o[lane].eq(
                Cat(rows[g][k % 4][shift + 8 * (k // 4) : shift + 8 * (k // 4) + 8] for k in range(16))
            )
        tag = self.i_tag
        for stage in range(self.delay):
            tag = self._registered(m, tag, f"tag{stage}")
        m.d.comb += self.o_tag.eq(tag)
        return m

    @staticmethod
    def _registered(m, value, name):
        register = Signal(value.shape() if hasattr(value, "shape") else len(value), name=name)
        m.d.sync += register.eq(value)
        return register
