"""Simulation engines: one testbench interface over Amaranth's simulator and over a compiled model."""

from sim.engine.base import BatchResult, Engine, Event, make_engine
from sim.engine.bench import Progress, SimulationError, SimulationStalled, Waveform
from sim.engine.component import ENGINES, ComponentEngine, ComponentResult
from sim.engine.duplex import DuplexEngine, make_duplex_engine
from sim.engine.toolchain import BuildError
from sim.engine.tx import TxBatchResult, TxEngine, make_tx_engine

__all__ = [
    "ENGINES",
    "BatchResult",
    "BuildError",
    "ComponentEngine",
    "ComponentResult",
    "DuplexEngine",
    "Engine",
    "Event",
    "Progress",
    "SimulationError",
    "SimulationStalled",
    "TxBatchResult",
    "TxEngine",
    "Waveform",
    "make_duplex_engine",
    "make_engine",
    "make_tx_engine",
]
