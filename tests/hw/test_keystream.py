"""The keystream room against `cryptography`: mixed keys, stalled outputs, full rate, derivation of H."""

import random

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hw import layouts
from hw.aes import AesPipeline
from hw.config import Config
from hw.keystream import J0_DEPTH, Keystream
from tests.hw.testbench import run_streams

CONNECTIONS = 8


def little(value: bytes) -> int:
    return int.from_bytes(value, "little")


class Scenario:
    """Keys for every index, and random requests with what should come of them."""

    def __init__(
        self, width: int, count: int, *, seed: int = 0, j0_every: float = 0.3, erased: bool = False, sbox: str = "rom",
        run: int = 1,
    ):  # fmt: skip
        rng, index = random.Random(seed), 0
        config = Config(width=width, connections=CONNECTIONS, sbox=sbox)
        self.config = config
        self.dut = Keystream(config)
        self.pause = 0  # cycles between the last H and the first request
        self.keys, self.requests, self.keystream, self.j0, self.subkeys = [], [], [], [], []
        secrets = []
        for index in range(CONNECTIONS):
            key, iv = rng.randbytes(rng.choice((16, 32))), rng.randbytes(12)
            if erased:
                key, iv = bytes(16), bytes(12)
            secrets.append((key, iv))
            self.keys.append({
                "index": index, "aes256": len(key) == 32, "key": little(key), "iv": little(iv), "derive": 1,
            })  # fmt: skip
            subkey = little(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(bytes(16)))
            layout = layouts.subkey_operation(config)
            self.subkeys.append(layout.const({"index": index, "subkey": subkey}).as_value().value)

        layout = layouts.aligned_beat(config)
        for number in range(count):
            if rng.random() < 0.1:
                self.requests.append({"end": 1, "index": 3, "mask": 1, "j0_lanes": 1, "rotate": 2, "beat": 1})
                self.keystream.append(1)
                continue
            index = rng.randrange(CONNECTIONS) if number % run == 0 else index
            nonce = rng.randbytes(8)
            counter = rng.choice((1, 2, 255, 256, rng.randrange(1, 1100)))
            mask = rng.choice(((1 << width) - 1, rng.getrandbits(width)))
            lane = rng.randrange(config.lanes)
            wants_j0 = rng.random() < j0_every
            if wants_j0:
                counter = (1 - lane) % 0x10000
                mask &= -1 << 16 * (lane + 1)
            request = {
                "end": 0, "index": index, "nonce": little(nonce), "counter": counter,
                "j0_lanes": wants_j0 << lane, "mask": mask & (1 << width) - 1,
                "rotate": rng.randrange(width), "beat": rng.randrange(1 << config.pointer_bits),
            }  # fmt: skip
            key, iv = secrets[index]
            iv = bytes(a ^ b for a, b in zip(iv, bytes(4) + nonce, strict=True))
            start = 1 if wants_j0 else counter
            text = (
                Cipher(algorithms.AES(key), modes.CTR(iv + start.to_bytes(4, "big"))).encryptor().update(bytes(width))
            )
            if wants_j0:
                self.j0.append(little(text[:16]))
                text = (bytes(16 * lane) + text)[:width]
            expected = bytes(byte if request["mask"] >> k & 1 else 0 for k, byte in enumerate(text))
            self.requests.append(request)
            self.keystream.append(layout.const({
                "end": 0, "rotate": request["rotate"], "beat": request["beat"], "data": little(expected),
                "mask": request["mask"],
            }).as_value().value)  # fmt: skip

    async def feed(self, ctx):
        """The requests, as soon as H of every key is out; no pause of its own."""
        for _ in range(CONNECTIONS):
            await ctx.tick().until(self.dut.subkey.valid & self.dut.subkey.ready)
        for _ in range(self.pause):
            await ctx.tick()
        for request in self.requests:
            ctx.set(self.dut.i.p, request)
            ctx.set(self.dut.i.valid, 1)
            await ctx.tick().until(self.dut.i.ready)
            ctx.set(self.dut.i.valid, 0)

    @property
    def answers(self):
        return [self.subkeys, self.keystream, self.j0]

    def run(self, *, processes=(), **options):
        """Outputs: subkeys, keystream, E(J0)."""
        dut = self.dut
        streams = [dut.subkey, dut.o, dut.j0]
        wanted = [(port, len(answer)) for port, answer in zip(streams, self.answers, strict=True)]
        return run_streams(dut, [(dut.keys, self.keys)], wanted, processes=[self.feed, *processes], **options)


@pytest.mark.default_cases(3)
@pytest.mark.parametrize(("width", "sbox"), [(16, "rom"), (64, "rom"), (32, "bram"), (16, "bram")])
def test_random_requests_and_stalls(width, sbox):
    scenario = Scenario(width, 150, seed=width, sbox=sbox)
    got = scenario.run(seed=width, idle=0.3, backpressure=0.4, extra_cycles=50)
    assert got == scenario.answers


@pytest.mark.parametrize("sbox", ["rom", "bram"])
def test_erased_keys_are_zero(sbox):
    scenario = Scenario(16, 20, erased=True, sbox=sbox)
    assert scenario.run() == scenario.answers


@pytest.mark.parametrize("sbox", ["rom", "bram"])
def test_key_that_was_there_is_erased(sbox):
    """What comes behind an erased key is the same whatever the key was."""
    results = []
    for secret in bytes(range(32)), bytes(range(32, 64)):
        scenario = Scenario(16, 20, erased=True, sbox=sbox)
        there = [{"index": k, "aes256": 1, "key": little(secret), "iv": 5, "derive": 1} for k in range(CONNECTIONS)]
        erase = [{"index": k, "aes256": 0, "key": 0, "iv": 0, "derive": 0} for k in range(CONNECTIONS)]
        scenario.keys = there + erase
        layout, subkey = layouts.subkey_operation(scenario.config), little(AesPipeline.model(secret, bytes(16)))
        scenario.pause = (80 if sbox == "bram" else 2) * CONNECTIONS
        subkeys, *outputs = scenario.run()
        assert subkeys == [layout.const({"index": k, "subkey": subkey}).as_value().value for k in range(CONNECTIONS)]
        results.append(outputs)
    assert results[0] == results[1]


def sample_cycles(dut, events):
    """Process: notes in which cycle a request was taken and a beat given."""

    async def run(ctx):
        cycle = 0
        while True:
            _, _, i_valid, i_ready, o_valid = await ctx.tick().sample(dut.i.valid, dut.i.ready, dut.o.valid)
            events.append((cycle, i_valid and i_ready, o_valid))
            cycle += 1

    return run


def test_a_beat_a_cycle():
    scenario = Scenario(32, 100, j0_every=0.5)
    events = []
    scenario.run(processes=[sample_cycles(scenario.dut, events)])
    taken = [cycle for cycle, accepted, _ in events if accepted]
    given = [cycle for cycle, _, valid in events if valid]
    assert taken == list(range(taken[0], taken[0] + 100))
    assert given == [cycle + scenario.dut.delay for cycle in taken]


@pytest.mark.default_cases(1)
@pytest.mark.parametrize(("run", "change"), [(100, 7), (9, 1), (1, 9)])
def test_late_keys_change(run, change):
    """`run` requests have the same key, and a change costs so many cycles."""
    scenario = Scenario(32, 120, j0_every=0.5, sbox="bram", run=run)
    events = []
    assert scenario.run(processes=[sample_cycles(scenario.dut, events)]) == scenario.answers
    taken = [cycle for cycle, accepted, _ in events if accepted]
    given = [cycle for cycle, _, valid in events if valid]
    assert taken[-1] - taken[0] < 120 + 7 + change * 120 // run
    assert min(g - t for g, t in zip(given, taken, strict=True)) >= scenario.dut.delay


def sink(port, store, open_when):
    """Process: takes what `port` gives while `open_when()` holds."""

    async def run(ctx):
        while True:
            ctx.set(port.ready, open_when())
            _, _, valid, ready, payload = await ctx.tick().sample(port.valid, port.ready, port.p)
            if valid and ready:
                store.append(payload if isinstance(payload, int) else payload.as_bits())

    return run


@pytest.mark.parametrize(("j0_every", "sbox"), [(0.1, "rom"), (0.9, "rom"), (0.5, "bram")])
def test_each_output_may_stand_still(j0_every, sbox):
    """j0 stands still until nothing moves any more, then runs; the other way round behind that."""
    scenario = Scenario(16, 200, j0_every=j0_every, seed=5, sbox=sbox)
    dut, keystream, j0, phase = scenario.dut, [], [], [0]
    late, places = sbox == "bram", J0_DEPTH
    wanting = [k for k, request in enumerate(scenario.requests) if request["j0_lanes"] and not request["end"]]
    before = wanting[places] if places < len(wanting) else len(scenario.requests)

    async def director(ctx):
        await ctx.tick().repeat(2500 if late else 500)
        assert not j0
        assert len(keystream) == before  # all requests in front of the first J0 without a place
        phase[0] = 1
        await ctx.tick().repeat(100)
        phase[0] = 2

    outputs = [sink(dut.o, keystream, lambda: phase[0] != 1), sink(dut.j0, j0, lambda: phase[0] > 0)]
    run_streams(
        dut, [(dut.keys, scenario.keys)], [(dut.subkey, CONNECTIONS)],
        processes=[scenario.feed, director, *outputs], extra_cycles=4000 if late else 1000,
    )  # fmt: skip
    assert (keystream, j0) == (scenario.keystream, scenario.j0)


@pytest.mark.parametrize("width", [16, 64])
def test_new_keys_while_requests_run(width):
    """Keys of indices without requests change all the time; a derivation costs no request its slot."""
    scenario = Scenario(width, 150, seed=8)
    rng = random.Random(8)
    busy = [request for request in scenario.requests if request["end"] or request["index"] < 4]
    answers = [a for a, r in zip(scenario.keystream, scenario.requests, strict=True) if r["end"] or r["index"] < 4]
    scenario.requests, scenario.keystream = busy, answers
    fresh = [rng.randbytes(32) for _ in range(6)]
    extra = [{"index": 4 + k % 4, "aes256": 1, "key": little(key), "iv": 0, "derive": 1} for k, key in enumerate(fresh)]
    layout = layouts.subkey_operation(scenario.config)
    scenario.keys += extra
    scenario.subkeys += [
        layout.const({"index": 4 + k % 4, "subkey": little(AesPipeline.model(key, bytes(16)))}).as_value().value
        for k, key in enumerate(fresh)
    ]
    scenario.j0 = []  # requests were dropped, so E(J0) is not compared here
    events = []
    got = scenario.run(processes=[sample_cycles(scenario.dut, events)])
    assert got[:2] == scenario.answers[:2]
    taken = [cycle for cycle, accepted, _ in events if accepted]
    assert taken[-1] - taken[0] + 1 == len(busy)


def test_model():
    rng = random.Random(7)
    key, iv, nonce = rng.randbytes(32), rng.randbytes(12), rng.randbytes(8)
    data, j0 = Keystream.model(key, iv, nonce, 1, 1, 0xFFFF_0000, 2)
    block = iv[:4] + bytes(a ^ b for a, b in zip(iv[4:], nonce, strict=True))
    assert j0 == AesPipeline.model(key, block + (1).to_bytes(4, "big"))
    assert data == bytes(16) + AesPipeline.model(key, block + (2).to_bytes(4, "big"))
