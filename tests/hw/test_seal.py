"""hw.seal against its model: tags in place, over frames, positions and retransmissions; frames that change nothing."""

import random
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from amaranth.lib import data

from hw import layouts, tx_layouts
from hw.config import Config
from hw.seal import Seal
from model.contract import TAG_RING, TxStatus
from tests.hw.testbench import run_streams


@dataclass(frozen=True)
class Place:
    """A position of a connection (docs/contract-tx.md, section 3), as far as sealing goes."""

    number: int
    open: bool = False  # inside a record's body or tag
    taken: int = 0  # tag bytes
    blind: bool = False

    def next(self):
        return Place((self.number + 1) % 2**64)


class Frames:
    """Frames of a few connections as the tracker and align would describe them, and what `Seal.model` says."""

    def __init__(self, seed, config):
        self.rng = random.Random(seed)
        self.config = config
        first = self.rng.choice([0, 5, 2**64 - 9])
        self.stream = {index: Place(first) for index in range(3)}
        self.replay = dict(self.stream)
        self.known = Counter()
        self.kept = {}
        self.items, self.hashes, self.j0s, self.deltas = [], [], [], []
        self.patches, self.orders = [], []
        self.seen = Counter()

    def prefix(self, index):
        """A position inside a record whose tag is known, or before its body."""
        stream = self.stream[index]
        back = self.rng.randrange(self.known[index] + 1)
        if not back and not (stream.taken and not stream.blind):
            back = self.rng.randrange(3)
            return Place((stream.number - back) % 2**64, open=True, blind=True)
        return Place((stream.number - back) % 2**64, open=True, taken=self.rng.choice([0, 0, 1, 15]), blind=True)

    def tag_known(self, index, place):
        stream = self.stream[index]
        back = (stream.number - place.number) % 2**64
        in_progress = back == 0 and stream.taken > 0 and not stream.blind
        return in_progress or 1 <= back <= self.known[index], in_progress

    def frame(self):
        rng = self.rng
        index = rng.randrange(3)
        kind = rng.choice(["stream"] * 4 + ["replay", "retransmit", "prefix", "prefix"])
        good = rng.random() < 0.8
        replay = kind != "stream"
        adopt = kind in ("retransmit", "prefix") and rng.random() < 0.3
        place = self.replay[index] if replay else self.stream[index]
        if kind == "prefix":
            place = self.prefix(index) if rng.random() < 0.8 else Place(place.number)
        known = self.known[index]
        cursor = rng.randrange(120)
        fragments, values = [], []
        count = rng.choice([0, 1, 1, 2, 3, 3 * TAG_RING])
        for k in range(count):
            has_tag, in_progress = self.tag_known(index, place)
            may_take = not place.blind or (replay and has_tag)
            if not may_take and place.taken:
                break  # refused before this fragment
            completes = may_take and (k < count - 1 or rng.random() < 0.4)
            end = 16 if completes else 0
            if place.taken or (not completes and may_take and rng.random() < 0.6):
                end = 16 if completes or place.taken == 15 else rng.randrange(place.taken + 1, 16)
            completes = end == 16
            value, j0 = rng.getrandbits(128), rng.getrandbits(128)
            if place.taken:
                value = 0
            if not place.open:
                self.j0s.append(j0)
            self.hashes.append(value)
            body = 0 if place.taken else rng.choice([0, 1, 40])
            item = {
                "index": index,
                "has_j0": int(not place.open),
                "continues": int(place.open),
                "completes": int(completes),
                "replay": int(replay),
                "blind": int(place.blind),
                "in_progress": int(place.blind and in_progress),
                "record_number": place.number,
                "tag_first": place.taken,
                "tag_end": end,
                "tag_position": (cursor + body - place.taken) % 2**15,
            }
            self.items.append(item)
            signed = cursor + body - place.taken
            fragments.append(item | {"tag_position": signed, "value": value if place.open else value ^ j0})
            if place.blind and end:
                self.seen["in progress" if in_progress else "kept"] += good and kind != "replay"
            values.append(value)
            cursor += body + max(end - place.taken, 0) + rng.choice([5, 13])
            if completes:
                known = 0 if place.blind else min(known + 1, TAG_RING)
                place = place.next()
            else:
                place = replace(place, open=True, taken=end or place.taken)
                break
        self.end(index, kind, good, replay, adopt, place, known, fragments)

    def end(self, index, kind, good, replay, adopt, place, known, fragments):
        rng = self.rng
        status = TxStatus.REPLAYED if kind == "replay" else TxStatus.ENCRYPTED
        if not good:
            status = rng.choice([TxStatus.DROPPED_TAG, TxStatus.DROPPED_MALFORMED, TxStatus.DROPPED_HEADER])
        sealed = int(status == TxStatus.ENCRYPTED)
        tx = {"status": status, "handle": rng.getrandbits(24), "send": sealed, "seal": sealed}
        tx |= {"sum": rng.randrange(1, 0x10000), "offset": rng.randrange(9000), "payload_length": rng.randrange(9000)}
        keep = good and fragments and not fragments[-1]["completes"] and not place.blind
        end = {"end": 1, "keep_sum": int(bool(keep)), "adopt": int(adopt and good), "tx": tx}
        delta = rng.choice([0xFFFF, 1, rng.randrange(1, 0x10000)])
        self.items.append(end)
        self.deltas.append(delta)
        patches, checksum = Seal.model(self.kept, fragments, end, delta)
        self.patches.append({start + k: byte for start, tag in patches for k, byte in enumerate(tag)})
        fields = {k: tx[k] for k in ("status", "handle", "send", "seal", "offset", "payload_length")}
        self.orders.append(fields | {"checksum": checksum})
        if good:
            if replay:
                self.replay[index] = place
                if adopt:
                    self.stream[index], self.known[index] = place, 0
                    self.seen["adopted open"] += place.open and not place.blind
                    self.seen["adopted in tag"] += place.taken > 0 and not place.blind
            else:
                self.stream[index], self.known[index] = place, known
            if fragments and len(fragments) > TAG_RING:
                self.seen["ring over"] += 1
        elif len(fragments) > TAG_RING:
            self.seen["ring over, dropped"] += 1
        self.seen["tag over frames"] += bool(fragments) and fragments[0]["tag_first"] > 0
        if good and adopt is False and replay is False and place.blind:
            self.stream[index] = Place(place.number)  # RESYNC, or the rest of the stream would be refused
            self.known[index] = 0


def decode_patches(got, config):
    """Tag bytes by place, a dict for each frame."""
    frames, frame = [], {}
    for bits in got:
        item = data.Const(layouts.aligned_beat(config), bits)
        if item.end:
            assert not item.mask
            frames.append(frame)
            frame = {}
            continue
        beat = item.beat - (1 << config.pointer_bits if item.beat >> (config.pointer_bits - 1) else 0)
        assert item.mask, "a patch without bytes"
        for k in range(config.width):
            byte = item.data >> 8 * k & 0xFF
            if item.mask >> k & 1:
                place = beat * config.width + item.rotate + k
                assert place not in frame
                frame[place] = byte
            else:
                assert byte == 0
    assert not frame
    return frames


def compare(got, want):
    assert len(got) == len(want)
    for number, (frame, expected) in enumerate(zip(got, want, strict=True)):
        assert frame == expected, f"frame {number}"


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("count", [150, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("width, stalls", [(16, 0.0), (16, 0.3), (32, 0.3), (64, 0.0), (64, 0.3)])
def test_frames_against_the_model(width, stalls, count):
    config = Config(width=width, connections=8)
    frames = Frames(f"{width}/{stalls}", config)
    for _ in range(count):
        frames.frame()
    dut = Seal(config)
    has_tag = sum(item.get("tag_end", 0) != item.get("tag_first", 0) for item in frames.items)
    patches, orders = run_streams(
        dut,
        [(dut.i, frames.items), (dut.hash, frames.hashes), (dut.j0, frames.j0s), (dut.delta, frames.deltas)],
        [(dut.patches, has_tag + len(frames.orders)), (dut.orders, len(frames.orders))],
        idle=stalls,
        backpressure=stalls,
        seed=width,
        extra_cycles=20,
    )
    compare(decode_patches(patches, config), frames.patches)
    layout = tx_layouts.finish_order(config)
    for number, (got, want) in enumerate(zip(orders, frames.orders, strict=True)):
        order = data.Const(layout, got)
        assert {name: getattr(order, name) for name in want} == want, f"frame {number}"
    wanted = ("kept", "in progress", "adopted open", "adopted in tag", "ring over", "ring over, dropped")
    for case in (*wanted, "tag over frames"):
        assert frames.seen[case], (case, frames.seen)


def test_rate_and_delay():
    """Fragments that need nothing from memory a cycle each; an order `delay` cycles behind its frame's end."""
    dut = Seal(Config(width=16, connections=8))
    count = 60
    fragment = {"has_j0": 1, "completes": 1, "replay": 1, "tag_end": 16, "tag_position": 77}
    items = [fragment] * count + [{"end": 1}]
    taken, shown = [], []

    async def watch(ctx):
        cycle = 0
        async for _, _, transfer, valid in ctx.tick().sample(dut.i.valid & dut.i.ready, dut.orders.valid):
            taken.extend([cycle] * transfer)
            shown.extend([cycle] * valid)
            cycle += 1

    run_streams(
        dut,
        [(dut.i, items), (dut.hash, [1] * count), (dut.j0, [2] * count), (dut.delta, [1])],
        [(dut.patches, count + 1), (dut.orders, 1)],
        processes=[watch],
    )
    assert taken[-1] - taken[0] == count
    assert shown[0] - taken[-1] == dut.delay


@pytest.mark.parametrize("closed", ["orders", "patches"])
def test_an_output_closed_for_long(closed):
    """All comes out in the end, and nothing twice."""
    config = Config(width=32, connections=8)
    frames = Frames(5, config)
    for _ in range(60):
        frames.frame()
    has_tag = sum(item.get("tag_end", 0) != item.get("tag_first", 0) for item in frames.items)
    dut = Seal(config)
    got = []

    async def late(ctx):
        stream = getattr(dut, closed)
        await ctx.tick().repeat(400)
        ctx.set(stream.ready, 1)
        async for _, _, valid, payload in ctx.tick().sample(stream.valid, stream.payload):
            if valid:
                got.append(payload.as_bits())

    other = dut.patches if closed == "orders" else dut.orders
    total = has_tag + len(frames.orders) if closed == "orders" else len(frames.orders)
    run_streams(
        dut,
        [(dut.i, frames.items), (dut.hash, frames.hashes), (dut.j0, frames.j0s), (dut.delta, frames.deltas)],
        [(other, total)],
        processes=[late],
        extra_cycles=200,
    )
    if closed == "patches":
        compare(decode_patches(got, config), frames.patches)
    else:
        assert len(got) == len(frames.orders)
