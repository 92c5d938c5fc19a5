"""Generated Verilog in other people's simulators, with other people's bus models: captures through the AXI ports.

`make verilog` installs what is needed; Icarus comes with the system, and is so slow that it gets each capture's first
packets only: `--packets N` says how many.
"""

import itertools

import pytest

pytest.importorskip("cocotb_tools.runner", reason="cocotb is not installed: 'make verilog' does it")
pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not installed: 'make verilog' does it")

from hw.axi.top import TOPS  # noqa: E402
from tests.verilog.simulators import NAMES, SIMULATORS, NotInstalled, build, play  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.filterwarnings("default")]

WAITS = [pair for pair in itertools.product((0, 0.4), repeat=2) if any(pair)]


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """`built(simulator, top)`: made once; skips where the simulator is not there."""
    made = {}

    def get(simulator, top):
        if (simulator, top) not in made:
            try:
                made[simulator, top] = build(simulator, top, tmp_path_factory.mktemp(f"{simulator}-{top}"))
            except NotInstalled as why:
                pytest.skip(str(why))
        return made[simulator, top]

    return get


@pytest.fixture
def packets(request):
    """`packets(simulator)`: how many of a capture that simulator gets; 0: all."""
    return lambda simulator: request.config.getoption("--packets", 40) if simulator == "icarus" else 0


def told(simulator, top, name, report):
    for run in report:
        speed = round(run["cycles"] / run["seconds"])
        print(f"EQUAL {simulator} {top} {name}: {run['direction']} {run['packets']} packets, ", end="")
        print(f"{run['cycles']} cycles, {speed} a second")


@pytest.mark.parametrize("capture", NAMES)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_captures_through_the_ports(built, packets, simulator, capture, tmp_path):
    """Both directions of every capture at once."""
    report = play(built(simulator, "duplex"), "duplex", capture, tmp_path, packets=packets(simulator))
    assert [run["direction"] for run in report] == ["receive", "transmit"]
    told(simulator, "duplex", capture, report)


@pytest.mark.parametrize("idle, backpressure", WAITS)
@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_idle_and_backpressure(built, packets, simulator, top, idle, backpressure, tmp_path):
    name = "tls12-aes256-small"
    waits = {"idle": idle, "backpressure": backpressure}
    report = play(built(simulator, top), top, name, tmp_path, packets=packets(simulator), seed=3, **waits)
    told(simulator, top, f"{name}, idle {idle}, backpressure {backpressure}", report)
