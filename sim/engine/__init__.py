"""Simulation engines: one testbench interface over Amaranth's simulator and over a compiled model."""

from sim.engine.base import BatchResult, Engine, Event, make_engine
from sim.engine.bench import Progress, SimulationError, SimulationStalled, Waveform
from sim.engine.component import ENGINES, ComponentEngine, ComponentResult
from sim.engine.toolchain import BuildError

__all__ = [
    "ENGINES",
    "BatchResult",
    "BuildError",
    "ComponentEngine",
    "ComponentResult",
    "Engine",
    "Event",
    "Progress",
    "SimulationError",
    "SimulationStalled",
    "Waveform",
    "make_engine",
]
