"""AES with stored round keys against the `cryptography` package: keys change with the blocks."""

import random

import pytest
from amaranth.sim import Simulator
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hw.aes_stored import StoredAes
from hw.config import Config
from tests.hw.test_key_expansion import placed, schedule

CONNECTIONS = 8


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("lanes", [2, 4, 1])
def test_keys_change_with_the_blocks(lanes):
    """Nine blocks or more under each key, without a pause; words are read as soon as may be."""
    rng = random.Random(lanes)
    keys = [rng.randbytes(rng.choice((16, 32))) for _ in range(CONNECTIONS)]
    dut = StoredAes(Config(width=16 * lanes, connections=CONNECTIONS, sbox="bram"), tag=16)
    turns = [(rng.randrange(CONNECTIONS), rng.choice((9, 9, 10, 14))) for _ in range(20)]
    first = [12 + sum(count for _, count in turns[:k]) for k in range(len(turns))]  # cycle of each turn's first beat
    beats = {cycle: index for (index, n), start in zip(turns, first, strict=True) for cycle in range(start, start + n)}
    blocks = {cycle: [rng.randbytes(16) for _ in range(lanes)] for cycle in beats}
    swaps = {start - 1 for start in first}
    # The even row's last word two cycles ahead of the swap, its first not ahead of the swap before.
    loads = {
        start - 8 + word: (index, word) for (index, _), start in zip(turns, first, strict=True) for word in range(8)
    }
    got = []

    async def bench(ctx):
        for index, key in enumerate(keys):
            for (row, word), value in placed(schedule(key)).items():
                write = {"en": 1, "row": row, "word": word, "index": index, "data": int.from_bytes(value, "little")}
                ctx.set(dut.write, write)
                await ctx.tick()
        ctx.set(dut.write, {"en": 0})
        await ctx.tick().repeat(8)
        for cycle in range(first[-1] + turns[-1][1] + dut.delay):
            index, word = loads.get(cycle, (0, 0))
            ctx.set(dut.select, {
                "load": cycle in loads, "index": index, "word": word % 4, "row": word // 4, "swap": cycle in swaps,
            })  # fmt: skip
            if cycle in beats:
                ctx.set(dut.aes256, len(keys[beats[cycle]]) == 32)
                for lane, block in enumerate(blocks[cycle]):
                    ctx.set(dut.blocks[lane], int.from_bytes(block, "little"))
            ctx.set(dut.i_tag, cycle if cycle in beats else 0)
            if (source := ctx.get(dut.o_tag)) != 0:
                assert source == cycle - dut.delay
                got.append((source, [ctx.get(dut.o[lane]).to_bytes(16, "little") for lane in range(lanes)]))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert [cycle for cycle, _ in got] == list(beats)
    for cycle, values in got:
        encryptor = Cipher(algorithms.AES(keys[beats[cycle]]), modes.ECB()).encryptor()
        assert values == [encryptor.update(block) for block in blocks[cycle]]
