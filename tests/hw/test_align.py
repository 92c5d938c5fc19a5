"""hw.align: which bytes reach keystream and GHASH, where, and under which counter."""

import random

import pytest
from amaranth.lib import data

from hw import layouts
from hw.align import Align
from hw.config import Config
from hw.plan import Plan
from model.contract import Status
from tests.hw.testbench import run_streams


def buffer_of(dut, frame: bytes, base: int, width: int):
    """The packet buffer as seen through the pair port: `frame` stands at beat `base`, garbage elsewhere."""
    rng = random.Random(1)

    def beat(number):
        part = frame[number * width : (number + 1) * width] if number >= 0 else b""
        return part + rng.randbytes(width - len(part))

    async def run(ctx):
        size = 1 << len(dut.buffer.address)
        while True:
            _, _, address = await ctx.tick().sample(dut.buffer.address)
            number = (address - base + size // 2) % size - size // 2
            ctx.set(dut.buffer.data, int.from_bytes(beat(number) + beat(number + 1), "little"))

    return run


def record(rng, tls13: bool, body_length: int):
    return {
        "tls13": int(tls13),
        "record_number": rng.getrandbits(64),
        "explicit_nonce": 0 if tls13 else rng.getrandbits(64),
        "content_type": rng.choice([21, 22, 23, 100]),
        "body_length": body_length,
    }


def aad_of(r):
    if r["tls13"]:
        return bytes([r["content_type"], 3, 3]) + (r["body_length"] + 16).to_bytes(2, "big")
    number = r["record_number"].to_bytes(8, "big")
    return number + bytes([r["content_type"], 3, 3]) + r["body_length"].to_bytes(2, "big")


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 32, 64])
def test_fragments_reach_keystream_and_ghash(width, sbox):
    rng = random.Random(width)
    config = Config(width=width, connections=8, sbox=sbox)
    frame = rng.randbytes(2000)
    base = rng.randrange(1 << config.pointer_bits)
    items, fragments = [], []
    for _ in range(25):  # frames, all with the same bytes
        position = rng.randrange(54, 100)
        while position < 1900:
            body = rng.choice([0, 1, 15, 16, 40, 64, 500, 16384])
            r = record(rng, rng.random() < 0.5, body)
            first = 16 if rng.random() < 0.6 else rng.randrange(16, body + 32)
            count = min(rng.choice([1, 20, 64, 300, 1400]), body + 32 - first, 2000 - position)
            fragment = {
                **r,
                "base": base,
                "index": rng.randrange(8),
                "ext_first": first,
                "position": position,
                "count": count,
                "completes": int(first + count == body + 32),
                "continues": int(first != 16),
            }
            items.append(fragment)
            fragments.append(fragment)
            position += count + rng.choice([5, 13, 40])
            if rng.random() < 0.3:
                break
        items.append({"end": 1, "base": base, "descriptor": {"status": Status.GAP, "handle": 5}, "keep_sum": 1})

    plans = [Plan.model(config.lanes, f["body_length"], f["ext_first"], f["count"], f["position"]) for f in fragments]
    beats = sum(p["beats"] for p in plans)
    ends = len(items) - len(fragments)
    dut = Align(config)

    async def written(ctx):
        ctx.set(dut.written, (base + len(frame) // width + 1) % (1 << config.pointer_bits))
        ctx.set(dut.ended, 0)

    keystream, ghash, verdict = run_streams(
        dut,
        [(dut.i, items)],
        [(dut.keystream, beats + ends), (dut.hashed, beats), (dut.items, len(items))],
        idle=0.1,
        backpressure=0.2,
        seed=width,
        processes=[buffer_of(dut, frame, base, width), written],
        extra_cycles=50,
    )
    assert (len(keystream), len(ghash), len(verdict)) == (beats + ends, beats, len(items))
    requests = [data.Const(layouts.keystream_request(config), bits) for bits in keystream]
    hashes = iter([data.Const(layouts.hash_beat(config), bits) for bits in ghash])
    verdicts = [data.Const(layouts.verdict_item(config), bits) for bits in verdict]

    assert sum(r.end for r in requests) == ends
    requests = iter([r for r in requests if not r.end])
    for item, v in zip(items, verdicts, strict=True):
        assert v.end == item.get("end", 0)
        if v.end:
            assert v.descriptor.status == Status.GAP and v.descriptor.handle == 5 and v.keep_sum == 1
            continue
        plan = Plan.model(config.lanes, item["body_length"], item["ext_first"], item["count"], item["position"])
        seen = []
        blocks = []
        for number in range(plan["beats"]):
            r = next(requests)
            h = next(hashes)
            assert (r.index, h.index) == (item["index"], item["index"])
            nonce = r.nonce.to_bytes(8, "little")
            expected = item["record_number"].to_bytes(8, "big")
            assert nonce == (expected if item["tls13"] else item["explicit_nonce"].to_bytes(8, "little"))
            signed_beat = r.beat - (1 << config.pointer_bits) * (r.beat >> config.pointer_bits - 1)
            for j in range(width):
                if r.mask >> j & 1:
                    at = signed_beat * width + r.rotate + j
                    ext = 16 * (((r.counter + j // 16) & 0xFFFF) - 1) + j % 16
                    assert ext - item["ext_first"] == at - item["position"]
                    seen.append(ext)
            for lane in range(config.lanes):
                if r.j0_lanes >> lane & 1:
                    assert number == 0 and (r.counter + lane) & 0xFFFF == 1
            assert bool(r.j0_lanes) == (number == 0 and plan["first"] == 0)
            left = plan["beats"] - 1 - number
            assert (h.first, h.last, h.left) == (number == 0, left == 0, min(left, layouts.GHASH_STRIDE))
            if h.first:
                assert h.exponent == plan["exponent"]
            blocks += list(h.blocks.to_bytes(width, "little")[16 * k : 16 * k + 16] for k in range(config.lanes))
        body_end = 16 + item["body_length"]
        end = item["ext_first"] + item["count"]
        assert seen == list(range(item["ext_first"], min(end, body_end)))

        wire = {item["ext_first"] + k: frame[item["position"] + k] for k in range(item["count"])}
        want = []
        for k in range(plan["lane0"], plan["last"] + 1):
            if k < plan["first"]:
                want.append(bytes(16))
            elif k == 0:
                want.append(aad_of(item).ljust(16, b"\0"))
            elif plan["has_length"] and k == plan["last"]:
                bits = 8 * len(aad_of(item))
                want.append(bits.to_bytes(8, "big") + (8 * item["body_length"]).to_bytes(8, "big"))
            else:
                want.append(bytes(wire.get(e, 0) if e < body_end else 0 for e in range(16 * k, 16 * k + 16)))
        assert blocks == want
        assert v.tag.to_bytes(16, "little") == bytes(wire.get(body_end + t, 0) for t in range(16))
        assert (v.index, v.has_j0) == (item["index"], plan["first"] == 0)
        assert (v.completes, v.continues) == (item["completes"], item["continues"])


@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("enough", ["written", "ended"])
def test_waits_for_the_bytes_of_the_fragment(enough, sbox):
    """The beat with the fragment's last byte must be written, or the frame must have ended without it."""
    config = Config(width=16, connections=8, sbox=sbox)
    item = {"base": 0, "packet": 3, "body_length": 40, "ext_first": 16, "position": 60, "count": 40}
    dut = Align(config)
    counted = []

    async def buffer(ctx):
        ctx.set(dut.written, 6)  # bytes 0..95; the fragment ends with byte 99
        ctx.set(dut.ended, 3)
        for _ in range(30):
            await ctx.tick()
            counted.append(ctx.get(dut.items.valid))
        ctx.set(dut.written, 7) if enough == "written" else ctx.set(dut.ended, 4)

    (items,) = run_streams(dut, [(dut.i, [item])], [(dut.items, 1)], processes=[buffer], cycles=60)
    assert len(items) == 1 and not any(counted)
