"""Generated Verilog in other people's simulators, with other people's bus models: captures through the AXI ports.

`make verilog` installs what is needed. Icarus comes with the system, and is so slow that it gets each capture's first
packets only: `--packets N` says how many (0: all; tests/verilog/record.py plays those). `--seed N`: other pauses.
"""

import pytest

pytest.importorskip("cocotb_tools.runner", reason="cocotb is not installed: 'make verilog' does it")
pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not installed: 'make verilog' does it")

from hw.axi.top import TOPS  # noqa: E402
from tests.verilog.cases import NAMES, SEED, SIMULATORS, WAITS, WAITS_CAPTURE, WAITS_PACKETS  # noqa: E402
from tests.verilog.simulators import NotInstalled, build, play  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.filterwarnings("default")]


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


@pytest.fixture
def seed(request):
    return request.config.getoption("--seed", SEED)


def told(simulator, top, name, report):
    speed = round(report["cycles"] / report["seconds"])
    print(f"EQUAL {simulator} {top} {name}: {report}, {speed} cycles a second")


@pytest.mark.parametrize("capture", NAMES)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_captures_through_the_ports(built, packets, simulator, capture, tmp_path):
    """Both directions of every capture at once."""
    report = play(built(simulator, "duplex"), "duplex", capture, tmp_path, packets=packets(simulator))
    assert report["receive"]["packets"] and report["transmit"]["packets"]
    told(simulator, "duplex", capture, report)


@pytest.mark.parametrize("idle, backpressure", WAITS)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_idle_and_backpressure(built, simulator, idle, backpressure, seed, tmp_path):
    """Every port pauses at random; what is compared is the same as without."""
    waits = {"idle": idle, "backpressure": backpressure, "seed": seed}
    report = play(built(simulator, "duplex"), "duplex", WAITS_CAPTURE, tmp_path, packets=WAITS_PACKETS, **waits)
    assert report["receive"]["offloaded"] and report["transmit"]["offloaded"]
    told(simulator, "duplex", f"{WAITS_CAPTURE}, {waits}", report)


@pytest.mark.parametrize("top", sorted(TOPS.keys() - {"duplex"}))
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_direction_alone(built, packets, simulator, top, seed, tmp_path):
    waits = {"idle": 0.4, "backpressure": 0.4, "seed": seed}
    name = "tls12-aes256-small"
    report = play(built(simulator, top), top, name, tmp_path, packets=packets(simulator), **waits)
    told(simulator, top, f"{name}, {waits}", report)
