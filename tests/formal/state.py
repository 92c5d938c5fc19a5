"""What is kept of a connection changes when the tracker says so, and at no other time."""

from hw import verdict
from tests.formal.frames import moved, put
from tests.formal.properties import proved
from tests.formal.prover import Bench, Fault, Induction
from tests.formal.streams import FULL


@proved(
    "verdict", "a sum is kept only when the tracker says so: at the end of a frame, or with its fragment", Induction(1),
    Fault("hw.verdict", "store.eq(item.store & item.counted)", "store.eq(item.counted)", 6),
    Fault("hw.verdict", "(done & item.keep_sum & counted)", "(item.keep_sum & counted)", 6),
)  # fmt: skip
def sums_kept(bench: Bench) -> None:
    dut = verdict.Verdict(FULL)
    inside = put(bench, dut)
    item, write = dut.i.p, inside.write
    end = moved(dut.i) & item.end & item.keep_sum
    fragment = bench.past(moved(dut.i) & ~item.end & item.store & item.counted)
    bench.check(~write.en | end | fragment)
