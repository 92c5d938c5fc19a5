"""The key schedule against the examples of FIPS 197, and what is left of a key."""

import random

import pytest
from amaranth.sim import Simulator

from hw.aes_round import ROUNDS, SHORTCUT
from hw.config import Config
from hw.key_expansion import READ_AHEAD, KeyExpansion

CONFIG = Config(width=16, connections=8, sbox="bram")
AES128 = "2b7e151628aed2a6abf7158809cf4f3c"  # FIPS 197, appendix A.1, with the first and last words of its rounds
AES128_WORDS = {
    4: "a0fafe17",
    7: "2a6c7605",
    8: "f2c295f2",
    40: "d014f9a8",
    43: "b6630ca6",
}
AES256 = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"  # appendix A.3
AES256_WORDS = {8: "9ba35411", 12: "a8b09c1a", 15: "b75d5b9a", 16: "d59aecb8", 56: "fe4890d1", 59: "706c631e"}


def schedule(key: bytes) -> list[bytes]:
    """Words as FIPS 197 writes it (algorithm 2), with an S-box found by search."""

    def times(a, b):
        return (b & 1 and a) ^ (b > 1 and times(a << 1 ^ (a >> 7) * 0x11B, b >> 1))

    def sub(value):
        inverse = next((c for c in range(256) if times(value, c) == 1), 0)
        return 0x63 ^ inverse ^ (lambda w: w ^ w >> 1 ^ w >> 2 ^ w >> 3)((inverse << 8 | inverse) >> 4) & 0xFF

    size = len(key) // 4
    words, rcon = [key[4 * k :][:4] for k in range(size)], 1
    for k in range(size, 4 * (size + 7)):
        word = words[-1]
        if k % size == 0:
            word = bytes(map(sub, word[1:] + word[:1]))
            word, rcon = bytes([word[0] ^ rcon]) + word[1:], times(rcon, 2)
        elif size == 8 and k % size == 4:
            word = bytes(map(sub, word))
        words.append(bytes(a ^ b for a, b in zip(words[k - size], word, strict=True)))
    return words


def expand(jobs):
    """Writes of each (key, erase), in order, and when `ahead` came, counted in writes."""
    dut, rng, results = KeyExpansion(CONFIG), random.Random(1), []

    async def bench(ctx):
        for number, (key, erase) in enumerate(jobs):
            ctx.set(dut.key, int.from_bytes((key + rng.randbytes(16))[:32], "little"))
            ctx.set(dut.aes256, len(key) == 32)
            ctx.set(dut.erase, erase)
            ctx.set(dut.index, number % 8)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.key, rng.getrandbits(256))
            writes, ahead, was_busy = {}, None, 1
            while was_busy:
                was_busy = ctx.get(dut.busy)
                await ctx.tick()
                if ctx.get(dut.write.en):
                    assert ctx.get(dut.write.index) == number % 8
                    place = ctx.get(dut.write.row), ctx.get(dut.write.word)
                    assert place not in writes
                    writes[place] = ctx.get(dut.write.data).to_bytes(4, "little")
                if ctx.get(dut.ahead):
                    assert ahead is None
                    ahead = len(writes)
            assert not ctx.get(dut.write.en)
            results.append((writes, ahead))

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    return results


def placed(words: list[bytes]) -> dict:
    """Row and word of each word of a schedule."""
    skipped = SHORTCUT if len(words) == 44 else 0
    return {(k // 4 + skipped * (k > 3), k % 4): word for k, word in enumerate(words)}


@pytest.mark.parametrize(("key", "known"), [(AES128, AES128_WORDS), (AES256, AES256_WORDS)])
def test_fips_197(key, known):
    words = schedule(bytes.fromhex(key))
    assert {k: words[k].hex() for k in known} == known
    ((writes, _),) = expand([(bytes.fromhex(key), 0)])
    assert writes == placed(words)


def test_keys_one_after_the_other():
    """Of both sizes, and zeros in every row in between."""
    rng = random.Random(3)
    jobs = [(rng.randbytes(rng.choice((16, 32))), rng.random() < 0.3) for _ in range(24)]
    zeros = {(row, word): bytes(4) for row in range(ROUNDS + 1) for word in range(4)}
    for (key, erase), (writes, ahead) in zip(jobs, expand(jobs), strict=True):
        assert writes == (zeros if erase else placed(schedule(key)))
        assert ahead == 1 + list(writes).index((READ_AHEAD, 0))
