"""The flow table: where an entry goes, which handle it gets (docs/contract.md, section 4)."""

from typing import Generic, TypeVar

from model.commands import Tuple4
from model.contract import (
    HASH_BITS,
    HASH_KEY_BITS,
    HASH_WORDS,
    STASH,
    WAYS,
    Result,
    buckets,
)
from model.frame import tuple_key
from model.handles import Handles

T = TypeVar("T")

Place = tuple[int, int]
"""(table, bucket); the stash is table 2, bucket 0."""


def hash_message(tuple4: Tuple4) -> int:
    """The ten words as one number, word 0 in the most significant bits."""
    remote, local = tuple4.remote_address, tuple4.local_address
    ipv6 = len(remote) == 16
    words = [
        tuple4.remote_port << 16 | tuple4.local_port,
        int.from_bytes(remote[-4:], "big"),
        int.from_bytes(local[-4:], "big"),
        int(ipv6),
    ]
    for address in (remote, local):
        words += [int.from_bytes(address[i : i + 4], "big") if ipv6 else 0 for i in (0, 4, 8)]
    message = 0
    for word in words:
        message = message << 32 | word
    return message


def toeplitz(key: int, message: int) -> int:
    """48 bits of hash of the 320 bits of `message`."""
    result = 0
    for i in range(HASH_WORDS * 32):
        if message >> (HASH_WORDS * 32 - 1 - i) & 1:
            result ^= key >> (HASH_KEY_BITS - HASH_BITS - i)
    return result & ((1 << HASH_BITS) - 1)


class FlowTable(Generic[T]):
    """Installed connections by key and by handle.

    Members
    -------
    by_key : dict of bytes to (handle, T)
        `model.frame.Frame.key` to what was installed.
    """

    def __init__(self, connections: int, hash_key: int) -> None:
        self.connections = connections
        self.hash_key = hash_key
        self.by_key: dict[bytes, tuple[int, T]] = {}
        self._handles: Handles[tuple[bytes, Place, T]] = Handles(connections)
        self._used: dict[Place, int] = {}

    @property
    def free(self) -> int:
        """Handles free."""
        return self._handles.free

    @property
    def empty(self) -> bool:
        return not self.by_key

    def _place(self, tuple4: Tuple4) -> Place | None:
        """Where a new entry goes. Which way of a bucket it is shows nowhere, so ways are only counted."""
        value = toeplitz(self.hash_key, hash_message(tuple4))
        count = buckets(self.connections)
        for place, limit in (
            ((0, (value & 0xFFFF) % count), WAYS),
            ((1, (value >> 16 & 0xFFFF) % count), WAYS),
            ((2, 0), STASH),
        ):
            if self._used.get(place, 0) < limit:
                return place
        return None

    def add(self, tuple4: Tuple4, entry: T) -> tuple[Result, int]:
        """Install `entry`; the result and the handle (0 unless OK)."""
        if not self._handles.free:
            return Result.NO_SPACE, 0
        key = tuple_key(tuple4)
        if key in self.by_key:
            return Result.EXISTS, 0
        place = self._place(tuple4)
        if place is None:
            return Result.NO_SPACE, 0
        handle = self._handles.add((key, place, entry))
        self._used[place] = self._used.get(place, 0) + 1
        self.by_key[key] = handle, entry
        return Result.OK, handle

    def get(self, handle: int) -> T | None:
        """What was installed under `handle`; None if the handle is stale."""
        found = self._handles.get(handle)
        return found[2] if found else None

    def delete(self, handle: int) -> bool:
        """Take out what `handle` names; False if the handle is stale."""
        found = self._handles.delete(handle)
        if found is None:
            return False
        key, place, _ = found
        self._used[place] -= 1
        del self.by_key[key]
        return True
