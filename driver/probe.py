"""What the driver reads from the device before it registers: identity, capabilities, occupancy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model.commands import Command, Read, Response
from model.contract import (
    CONTRACT_VERSION,
    COUNTERS,
    IDENTIFICATION,
    READ_CIPHERS,
    READ_CONNECTIONS,
    READ_COUNTERS,
    READ_FREE,
    READ_IDENTIFICATION,
    READ_POLICY,
    READ_VERSION,
    READ_WIDTH,
    Result,
    RxPolicy,
)


class Commanded(Protocol):
    """Either direction of a device, as far as its commands go."""

    def command(self, command: Command) -> Response: ...


class ProbeError(Exception):
    """The device is not one this driver knows."""


@dataclass(frozen=True)
class Capabilities:
    width: int
    """Bytes a beat."""
    connections: int
    versions: frozenset[int]
    key_sizes: frozenset[int]
    rx_policy: RxPolicy


def read(device: Commanded, address: int) -> int:
    response = device.command(Read(address))
    if response.result is not Result.OK:
        raise ProbeError(f"READ of word {address} answered {response.result.name}")
    return response.value


def probe(device: Commanded) -> Capabilities:
    """Identify the device; ProbeError if it is another one or speaks another contract."""
    identification, version = read(device, READ_IDENTIFICATION), read(device, READ_VERSION)
    if identification != IDENTIFICATION:
        raise ProbeError(f"identification {identification:#x}, not {IDENTIFICATION:#x}: another device")
    if version != CONTRACT_VERSION:
        raise ProbeError(f"contract version {version}, the driver has {CONTRACT_VERSION}")
    ciphers = read(device, READ_CIPHERS)
    return Capabilities(
        width=read(device, READ_WIDTH),
        connections=read(device, READ_CONNECTIONS),
        versions=frozenset(v for bit, v in ((8, 0x0303), (9, 0x0304)) if ciphers >> bit & 1),
        key_sizes=frozenset(k for bit, k in ((0, 16), (1, 32)) if ciphers >> bit & 1),
        rx_policy=list(RxPolicy)[read(device, READ_POLICY)],
    )


def resources(device: Commanded, capabilities: Capabilities, name: str = "tls_rx") -> dict[str, dict[str, int]]:
    """Capacity as `devlink resource show` has it: size and occupancy."""
    occupied = capabilities.connections - read(device, READ_FREE)
    return {name: {"size": capabilities.connections, "occ": occupied}}


def device_counters(device: Commanded, names: Sequence[str] = COUNTERS) -> dict[str, int]:
    """The device's own counters by name."""
    return {name: read(device, READ_COUNTERS + number) for number, name in enumerate(names)}
