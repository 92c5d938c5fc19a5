"""The options of the Verilog benches; they are known where the benches are named on the command line."""

from tests.verilog.cases import SEED


def pytest_addoption(parser):
    parser.addoption("--packets", type=int, default=40, help="packets of each capture that Icarus gets; 0: all")
    parser.addoption("--seed", type=int, default=SEED, help="of the pauses in the idle x backpressure matrix")
