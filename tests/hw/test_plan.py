"""hw.plan against its model: every cut of short records, and long ones at random."""

import random

import pytest
from amaranth.lib import data

from hw import layouts
from hw.config import Config
from hw.plan import Plan, plan_layout
from tests.hw.testbench import run_streams


def fragments(rng):
    for body in (0, 1, 15, 16, 17, 33):
        for first in range(16, body + 32):
            for end in sorted({first + 1, (first + body + 33) // 2, body + 32}):
                if first < end <= body + 32:
                    yield body, first, end - first
    for _ in range(60):
        body = rng.randrange(16386)
        first = rng.randrange(16, body + 32)
        yield body, first, rng.randrange(1, body + 33 - first)


@pytest.mark.parametrize("width", [16, 32, 64])
def test_plan_is_the_model(width):
    rng = random.Random(width)
    config = Config(width=width, connections=8)
    cases = [(b, f, c, rng.randrange(54, 200)) for b, f, c in fragments(rng)]
    items = [{"body_length": b, "ext_first": f, "count": min(c, 9000), "position": p} for b, f, c, p in cases]
    dut = Plan(config, layouts.work(config))
    (got,) = run_streams(dut, [(dut.i, items)], [(dut.o, len(items))], idle=0.2, backpressure=0.3, seed=width)
    for item, bits in zip(items, got, strict=True):
        plan = data.Const(plan_layout(config, layouts.work(config)), bits)
        want = Plan.model(config.lanes, item["body_length"], item["ext_first"], item["count"], item["position"])
        assert plan.beats == want["beats"], item
        assert plan.has_length == want["has_length"], item
        assert plan.exponent == want["exponent"], item
        assert plan.start == want["start"], item
        assert plan.counter == (want["lane0"] + 1) & 0xFFFF, item
        assert plan.has_aad == (want["first"] == 0), item
        if want["first"] == 0:
            assert plan.aad_lane == -want["lane0"], item


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_cuts_of_a_record_cover_every_block_once(lanes):
    """Blocks shared by two fragments are the cut ones only; AAD and length block belong to one fragment each."""
    body = 70
    for cut in range(17, body + 32):
        a = Plan.model(lanes, body, 16, cut - 16, 0)
        b = Plan.model(lanes, body, cut, body + 32 - cut, 0)
        assert a["first"] == 0 and b["last"] == 6 and b["first"] > 0
        assert a["has_length"] + b["has_length"] == 1
        assert b["exponent"] == 1
        assert a["exponent"] == 7 - a["last"]


def test_layout_of_exponents_holds_the_largest_record():
    n = -(-16385 // 16)
    assert n + 2 < 1 << layouts.EXPONENT_BITS
