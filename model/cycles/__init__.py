"""The cycle model: when each packet enters and leaves the device, without simulating it."""

from model.cycles.chain import Timing, simulate
from model.cycles.packets import Packets, packets_of
from model.cycles.rooms import Direction, Rooms, rooms_of

__all__ = ["Direction", "Packets", "Rooms", "Timing", "packets_of", "rooms_of", "simulate"]
