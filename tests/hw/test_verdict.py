"""hw.verdict: sums kept over frames, failures, and frames that change nothing."""

import random

import pytest
from amaranth.lib import data

from hw import layouts
from hw.config import Config
from hw.verdict import Verdict
from model.contract import Status
from tests.hw.testbench import run_streams


@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_verdicts(stalls):
    rng = random.Random(7)
    config = Config(width=16, connections=8)
    sums = [0] * 8  # kept by connection
    items, hashes, j0s, want = [], [], [], []
    for _ in range(150):
        index = rng.randrange(8)
        status = rng.choice([Status.DECRYPTED, Status.DECRYPTED, Status.GAP, Status.BAD_CHECKSUM])
        total, failed = sums[index], False
        n = rng.randrange(4)
        for k in range(n):
            continues = k == 0 and rng.random() < 0.6
            completes = k < n - 1 or rng.random() < 0.5
            has_j0 = not continues
            value, j0, tag = (rng.getrandbits(128) for _ in range(3))
            total = (total if continues else 0) ^ value ^ tag ^ (j0 if has_j0 else 0)
            if completes and rng.random() < 0.8:
                value, total = value ^ total, 0  # an authentic record
            failed |= completes and total != 0
            items.append(
                {
                    "index": index,
                    "has_j0": int(has_j0),
                    "tag": tag,
                    "completes": int(completes),
                    "continues": int(continues),
                }
            )
            hashes.append(value)
            if has_j0:
                j0s.append(j0)
        keep = n > 0 and not items[-1]["completes"] and status != Status.BAD_CHECKSUM
        if keep:
            sums[index] = total
        items.append({"end": 1, "descriptor": {"status": status}, "keep_sum": int(keep)})
        can_fail = status in (Status.DECRYPTED, Status.GAP)
        want.append(Status.AUTH_FAILED if failed and can_fail else status)

    dut = Verdict(config)
    (out,) = run_streams(
        dut,
        [(dut.i, items), (dut.hash, hashes), (dut.j0, j0s)],
        [(dut.o, len(want))],
        idle=stalls,
        backpressure=stalls,
        seed=3,
    )
    got = [Status(data.Const(layouts.release_order(config), bits).descriptor.status) for bits in out]
    assert got == want
    assert {Status.AUTH_FAILED, Status.DECRYPTED, Status.GAP, Status.BAD_CHECKSUM} <= set(got)
