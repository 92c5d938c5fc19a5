"""The AES pipeline: FIPS 197's examples, and mixed keys against the `cryptography` package."""

import random

import pytest
from amaranth.sim import Simulator
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hw.aes import AesPipeline
from hw.aes_round import SBOX
from hw.config import SBOXES


def encrypt(jobs, lanes, sbox="rom"):
    """Blocks of each (key, blocks) job, one job a cycle; what lies in the unused half of a key is noise."""
    dut = AesPipeline(lanes, tag=16, sbox=sbox)
    rng = random.Random(0)
    results = []

    async def bench(ctx):
        for number in range(len(jobs) + dut.delay):
            if number < len(jobs):
                key, blocks = jobs[number]
                ctx.set(dut.key, int.from_bytes((key + rng.randbytes(16))[:32], "little"))
                ctx.set(dut.aes256, len(key) == 32)
                ctx.set(dut.i_tag, number + 1)
                for lane, block in enumerate(blocks):
                    ctx.set(dut.blocks[lane], int.from_bytes(block, "little"))
            else:
                ctx.set(dut.i_tag, 0)
            if number >= dut.delay:
                assert ctx.get(dut.o_tag) == number - dut.delay + 1
                results.append([ctx.get(dut.o[lane]).to_bytes(16, "little") for lane in range(lanes)])
            else:
                assert ctx.get(dut.o_tag) == 0
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    return results


def reference(key: bytes, blocks: list[bytes]) -> list[bytes]:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return [encryptor.update(block) for block in blocks]


FIPS_197 = [  # appendices B, C.1 and C.3
    ("2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"),
    (bytes(range(16)).hex(), "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
    (bytes(range(32)).hex(), "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089"),
]


@pytest.mark.parametrize("sbox", SBOXES)
def test_fips_197(sbox):
    examples = [tuple(bytes.fromhex(field) for field in example) for example in FIPS_197]
    assert encrypt([(key, [plain]) for key, plain, _ in examples], 1, sbox) == [[cipher] for *_, cipher in examples]
    assert [AesPipeline.model(key, plain) for key, plain, _ in examples] == [cipher for *_, cipher in examples]


def test_sbox():
    assert (SBOX[0x00], SBOX[0x01], SBOX[0x53], SBOX[0xFF]) == (0x63, 0x7C, 0xED, 0x16)
    assert sorted(SBOX) == list(range(256))


@pytest.mark.parametrize("sbox", SBOXES)
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_another_key_each_cycle(lanes, sbox):
    rng = random.Random(lanes)
    jobs = [
        (rng.randbytes(rng.choice((16, 32))), [rng.randbytes(16) for _ in range(lanes)]) for _ in range(300 // lanes)
    ]
    assert encrypt(jobs, lanes, sbox) == [reference(*job) for job in jobs]
