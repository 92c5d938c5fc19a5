"""What is played through the ports of the Verilog, and in what."""

import itertools
from pathlib import Path

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "tests" / "data" / "captures"
NAMES = sorted(path.stem for path in CAPTURES.glob("*.pcap"))
SIMULATORS = ("icarus", "verilator")
PRESET = "tiny"

WAITS = tuple(itertools.product((0, 0.2, 0.5, 0.8), repeat=2))
"""The matrix: probabilities that a port that gives, and one that takes, pauses in a cycle."""
WAITS_CAPTURE, WAITS_PACKETS = "tls13-aes256-loss-reorder-corrupt", 40
"""What is played at each point of it: in both directions records that are offloaded, gaps and packets out of order."""
SEED = 1
