"""Traffic of many connections, some busier than others."""

import numpy as np

from model.contract import TAG_SIZE
from model.cycles.packets import HEADERS, Array, Packets, Records


def zipf(connections: int, exponent: float, count: int, rng: np.random.Generator, burst: int = 1) -> Array:
    """The connections of `count` packets, 0 the busiest: number k has a share proportional to (k + 1)^-exponent.

    Exponent 0: all alike. `burst` packets of a connection follow one another.
    """
    shares = np.cumsum(np.arange(1, connections + 1, dtype=np.float64) ** -exponent)
    drawn = np.searchsorted(shares, rng.random(-(-count // burst)) * shares[-1], side="right")
    return np.repeat(np.minimum(drawn, connections - 1), burst)[:count].astype(np.int64)


def population(
    connection: Array, segment: int, record: int, rng: np.random.Generator, headers: int = HEADERS
) -> Packets:
    """Packets of `segment` bytes of those connections; TLS 1.3 records of `record` bytes, each stream met anywhere in
    one."""
    used, owner, many = np.unique(connection, return_inverse=True, return_counts=True)
    order = np.argsort(owner, kind="stable")
    number = np.empty(len(connection), np.int64)
    number[order] = np.arange(len(connection)) - np.repeat(np.cumsum(many) - many, many)
    body = record + 1
    wire = 5 + body + TAG_SIZE
    begin = rng.integers(0, wire, len(used))
    each = -(-(begin + many * segment) // wire)
    of = np.repeat(np.arange(len(used)), each)
    start = (np.arange(len(of)) - np.repeat(np.cumsum(each) - each, each)) * wire
    ones = np.ones(len(of), np.int64)
    packets = Packets.plain(np.full(len(connection), headers), np.full(len(connection), segment))
    packets.hold(owner, begin[owner] + number * segment, Records(of, start, 5 * ones, body * ones))
    packets.connection = connection
    return packets
