"""Handles: indices with generations, in the order docs/contract.md, section 4, gives them out."""

from collections import deque
from typing import Generic, TypeVar

from model.contract import GENERATION_BITS, INDEX_BITS

T = TypeVar("T")


class Handles(Generic[T]):
    """What is installed, by handle."""

    def __init__(self, connections: int) -> None:
        self._entries: list[T | None] = [None] * connections
        self._generations = [0] * connections
        self._free = deque(range(connections))

    @property
    def free(self) -> int:
        """Handles free."""
        return len(self._free)

    def add(self, entry: T) -> int:
        """The handle `entry` is installed under; one must be free."""
        index = self._free.popleft()
        self._entries[index] = entry
        return self._generations[index] << INDEX_BITS | index

    def get(self, handle: int) -> T | None:
        """What was installed under `handle`; None if the handle is stale."""
        index, generation = handle & ((1 << INDEX_BITS) - 1), handle >> INDEX_BITS
        if index >= len(self._entries) or self._generations[index] != generation:
            return None
        return self._entries[index]

    def delete(self, handle: int) -> T | None:
        """Take out what `handle` names and return it; None if the handle is stale."""
        entry = self.get(handle)
        if entry is not None:
            index = handle & ((1 << INDEX_BITS) - 1)
            self._entries[index] = None
            self._generations[index] = (self._generations[index] + 1) % (1 << GENERATION_BITS)
            self._free.append(index)
        return entry
