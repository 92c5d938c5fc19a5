"""The AES pipeline: FIPS 197's examples, and mixed keys against the `cryptography` package."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hw.aes import KINDS, AesPipeline
from hw.sbox import SBOX, substitute
from hw.subkey import SubkeyCipher


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


@pytest.mark.parametrize("sbox", ["rom", "logic"])
def test_subkeys(sbox):
    """Keys of both sizes back to back, the upper half of the short ones noise; nothing is left behind."""
    rng = random.Random(9)
    keys = [bytes.fromhex(key) for key, *_ in FIPS_197] + [bytes(16), bytes(32)]
    keys += [rng.randbytes(rng.choice((16, 32))) for _ in range(12)]
    dut = SubkeyCipher(sbox)

    async def bench(ctx):
        for key in keys:
            ctx.set(dut.key, int.from_bytes((key + rng.randbytes(16))[:32], "little"))
            ctx.set(dut.aes256, len(key) == 32)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.key, rng.getrandbits(256))
            cycles = 1
            while not ctx.get(dut.done):
                assert ctx.get(dut.o) == 0
                await ctx.tick()
                cycles += 1
            assert cycles <= dut.delay
            assert ctx.get(dut.o).to_bytes(16, "little") == reference(key, [bytes(16)])[0] == dut.model(key)
            for _ in range(rng.randrange(3)):
                await ctx.tick()
                assert ctx.get(dut.inside) == 0

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


FIPS_197_SBOX = bytes.fromhex(  # figure 7
    "637c777bf26b6fc53001672bfed7ab76ca82c97dfa5947f0add4a2af9ca472c0"
    "b7fd9326363ff7cc34a5e5f171d8311504c723c31896059a071280e2eb27b275"
    "09832c1a1b6e5aa0523bd6b329e32f8453d100ed20fcb15b6acbbe394a4c58cf"
    "d0efaafb434d338545f9027f503c9fa851a3408f929d38f5bcb6da2110fff3d2"
    "cd0c13ec5f974417c4a77e3d645d197360814fdc222a908846eeb814de5e0bdb"
    "e0323a0a4906245cc2d3ac629195e479e7c8376d8dd54ea96c56f4ea657aae08"
    "ba78252e1ca6b4c6e8dd741f4bbd8b8a703eb5664803f60e613557b986c11d9e"
    "e1f8981169d98e949b1e87e9ce5528df8ca1890dbfe6426841992d0fb054bb16"
)


@pytest.mark.parametrize("sbox", KINDS)
def test_fips_197(sbox):
    examples = [tuple(bytes.fromhex(field) for field in example) for example in FIPS_197]
    assert encrypt([(key, [plain]) for key, plain, _ in examples], 1, sbox) == [[cipher] for *_, cipher in examples]
    assert [AesPipeline.model(key, plain) for key, plain, _ in examples] == [cipher for *_, cipher in examples]


@pytest.mark.parametrize("late", [False, True])
def test_sbox_of_gates(late):
    m = Module()
    word, o = Signal(16), Signal(16)
    m.d.sync += o.eq(substitute(m, word, "substituted", late=late))
    results = []

    async def bench(ctx):
        for value in range(256):
            ctx.set(word, value | (value ^ 0xFF) << 8)
            await ctx.tick().repeat(1 + late)
            results.append(ctx.get(o))

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert results == [FIPS_197_SBOX[value] | FIPS_197_SBOX[value ^ 0xFF] << 8 for value in range(256)]


def test_sbox():
    assert list(FIPS_197_SBOX) == SBOX
    assert (SBOX[0x00], SBOX[0x01], SBOX[0x53], SBOX[0xFF]) == (0x63, 0x7C, 0xED, 0x16)
    assert sorted(SBOX) == list(range(256))


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", KINDS)
@pytest.mark.parametrize("lanes", [2, 4, 1])
def test_another_key_each_cycle(lanes, sbox):
    rng = random.Random(lanes)
    count = 8 if sbox == "logic" else 300 // lanes  # gates are slow here; all their inputs are tried above
    jobs = [(rng.randbytes(rng.choice((16, 32))), [rng.randbytes(16) for _ in range(lanes)]) for _ in range(count)]
    assert encrypt(jobs, lanes, sbox) == [reference(*job) for job in jobs]
