"""The cycle model: when each packet enters and leaves the device, without simulating it."""

from model.cycles.chain import Timing, simulate
from model.cycles.context import ContextCache, Memory, Uses
from model.cycles.packets import Packets, packets_of
from model.cycles.rooms import Direction, Rooms, rooms_of

__all__ = [
    "ContextCache",
    "Direction",
    "Memory",
    "Packets",
    "Rooms",
    "Timing",
    "Uses",
    "packets_of",
    "rooms_of",
    "simulate",
]
