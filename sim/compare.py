"""Differences as a person wants them: packet, byte, field, expected, got."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from model.commands import Command, Delivery, Response
from model.tx_commands import Sent


@dataclass(frozen=True)
class Mismatch:
    """One difference. `packet` is the capture's number; None where no packet is concerned."""

    packet: int | None
    where: str
    """What was compared: "frame", "descriptor", a command, a counter, a connection."""
    field: str
    expected: str
    got: str
    byte: int | None = None

    def __str__(self) -> str:
        packet = f"packet {self.packet}: " if self.packet is not None else ""
        byte = f" byte {self.byte}" if self.byte is not None else ""
        return f"{packet}{self.where}{byte}: {self.field}: expected {self.expected}, got {self.got}"


def _shown(value: object) -> str:
    name = getattr(value, "name", None)
    if isinstance(name, str):
        return name
    return f"{value:#x}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _fields(packet: int | None, where: str, expected: object, got: object, names: list[str]) -> Iterator[Mismatch]:
    for name in names:
        ours, theirs = getattr(expected, name), getattr(got, name)
        if ours != theirs:
            yield Mismatch(packet, where, name, _shown(ours), _shown(theirs))


def compare_deliveries(packet: int | None, expected: Delivery, got: Delivery) -> list[Mismatch]:
    """Every difference of one packet; of the frame's bytes the first."""
    found = list(
        _fields(
            packet,
            "descriptor",
            expected.descriptor,
            got.descriptor,
            [f.name for f in fields(expected.descriptor)],
        )
    )
    return found + compare_frames(packet, "frame", expected.frame, got.frame)


def compare_frames(packet: int | None, where: str, expected: bytes, got: bytes) -> list[Mismatch]:
    """Length and the first byte that differ."""
    found: list[Mismatch] = []
    if len(expected) != len(got):
        found.append(Mismatch(packet, where, "length", str(len(expected)), str(len(got))))
    at = next((i for i, (ours, theirs) in enumerate(zip(expected, got, strict=False)) if ours != theirs), None)
    if at is not None:
        found.append(Mismatch(packet, where, "data", expected[at : at + 8].hex(" "), got[at : at + 8].hex(" "), at))
    return found


def compare_sent(packet: int | None, kind: str, expected: list[Sent], got: list[Sent]) -> list[Mismatch]:
    """Every difference of what one frame of `kind` led to: completions, and what left."""
    found: list[Mismatch] = []
    if len(expected) != len(got):
        found.append(Mismatch(packet, f"{kind} frame", "segments", str(len(expected)), str(len(got))))
    for number, (ours, theirs) in enumerate(zip(expected, got, strict=False)):
        which = f"{kind} frame" + (f", segment {number}" if len(expected) > 1 else "")
        found += _fields(packet, f"completion of {which}", ours, theirs, ["status", "handle"])
        if ours.frame is None or theirs.frame is None:
            if ours.frame is not theirs.frame:
                found.append(Mismatch(packet, which, "sent", _size(ours.frame), _size(theirs.frame)))
        else:
            found += compare_frames(packet, which, ours.frame, theirs.frame)
    return found


def _size(frame: bytes | None) -> str:
    return "nothing" if frame is None else f"{len(frame)} bytes"


def compare_responses(packet: int | None, command: Command, expected: Response, got: Response) -> list[Mismatch]:
    """Every difference of one answer; `packet` is the one the command followed."""
    where = f"answer to {_describe(command)}"
    found = list(_fields(packet, where, expected, got, ["result", "handle", "value"]))
    if expected.state is None or got.state is None:
        if expected.state is not got.state:
            found.append(Mismatch(packet, where, "state", str(expected.state), str(got.state)))
    else:
        names = [f.name for f in fields(expected.state)]
        found += _fields(packet, where, expected.state, got.state, names)
    return found


def _describe(command: Command) -> str:
    shown = [
        f"{f.name} {getattr(command, f.name):#x}"
        for f in fields(command)
        if f.repr and isinstance(getattr(command, f.name), int) and f.name != "key"
    ]
    return " ".join([type(command).__name__.upper(), *shown])
