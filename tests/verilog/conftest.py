"""The option of the Verilog benches; it is known where they are named on the command line."""


def pytest_addoption(parser):
    parser.addoption("--packets", type=int, default=40, help="packets of each capture that Icarus gets; 0: all")
