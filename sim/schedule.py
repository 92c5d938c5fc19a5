"""What went into a device in one pass, with what came out: to be played again on another."""

from dataclasses import dataclass, field

from model.commands import Command, Delivery, Device, Response
from model.tx_commands import Sent, TxDevice, TxRequest

Event = bytes | Command


@dataclass(frozen=True, slots=True)
class TxFrame:
    """A frame on its way to the transmit device."""

    frame: bytes
    request: TxRequest


TxEvent = TxFrame | Command


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame or command and its output. `packet` is the packet number it is, or was given behind."""

    event: Event | TxFrame
    output: Delivery | Response | list[Sent]
    packet: int

    @property
    def is_frame(self) -> bool:
        return isinstance(self.event, bytes | TxFrame)

    @property
    def frame(self) -> bytes:
        """Of a frame, its bytes; of a command none."""
        event = self.event
        return event if isinstance(event, bytes) else event.frame if isinstance(event, TxFrame) else b""

    @property
    def sent(self) -> list[Sent]:
        """What came of a frame on its way to the transmit device."""
        return self.output if isinstance(self.output, list) else []


@dataclass
class Schedule:
    entries: list[Entry] = field(default_factory=list[Entry])

    def batches(self, frames: int) -> list[list[Entry]]:
        """Cut into runs of at most `frames` frames; commands stay with the frames in front of them."""
        out: list[list[Entry]] = [[]]
        count = 0
        for entry in self.entries:
            if entry.is_frame and count == frames:
                out.append([])
                count = 0
            count += entry.is_frame
            out[-1].append(entry)
        return out if out[0] else []


class Recorder:
    """A device that writes down what another is asked and answers; `packet` is kept up by who drives it."""

    def __init__(self, device: Device):
        self._device = device
        self.schedule = Schedule()
        self.packet = 0

    def command(self, command: Command) -> Response:
        response = self._device.command(command)
        self.schedule.entries.append(Entry(command, response, self.packet))
        return response

    def receive(self, frame: bytes) -> Delivery:
        delivery = self._device.receive(frame)
        self.schedule.entries.append(Entry(frame, delivery, self.packet))
        return delivery


class TxRecorder:
    """The same for a transmit device."""

    def __init__(self, device: TxDevice):
        self._device = device
        self.schedule = Schedule()
        self.packet = 0

    def command(self, command: Command) -> Response:
        response = self._device.command(command)
        self.schedule.entries.append(Entry(command, response, self.packet))
        return response

    def transmit(self, frame: bytes, request: TxRequest) -> list[Sent]:
        sent = self._device.transmit(frame, request)
        self.schedule.entries.append(Entry(TxFrame(frame, request), sent, self.packet))
        return sent


class Diverged(Exception):
    """The stack asked the replayed device for something else than was asked when it was recorded."""


class Replay:
    """A device whose outputs are known: a stack on top of it sees what an RTL device delivered."""

    def __init__(self, entries: list[Entry]):
        self._entries = iter(entries)

    def _next(self, event: Event) -> Entry:
        entry = next(self._entries, None)
        if entry is None or entry.event != event:
            there = "nothing" if entry is None else _kind(entry.event)
            packet = "the end" if entry is None else f"packet {entry.packet}"
            raise Diverged(f"at {packet} the stack gives {_kind(event)} where the golden pass gave {there}")
        return entry

    def command(self, command: Command) -> Response:
        output = self._next(command).output
        assert isinstance(output, Response)
        return output

    def receive(self, frame: bytes) -> Delivery:
        output = self._next(frame).output
        assert isinstance(output, Delivery)
        return output


def _kind(event: Event | TxFrame) -> str:
    return "a frame" if isinstance(event, bytes | TxFrame) else type(event).__name__.upper()
