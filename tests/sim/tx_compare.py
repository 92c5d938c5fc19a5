"""The same events to the transmit device's RTL and to the golden device, every answer compared."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from model.commands import Command, Read, Response
from model.contract import READ_COUNTERS, READ_FREE, TX_COUNTERS
from model.tx_commands import Sent
from model.tx_device import GoldenTxDevice
from sim.engine import TxEngine
from sim.schedule import TxEvent, TxFrame

COUNTERS = [Read(READ_COUNTERS + n) for n in range(len(TX_COUNTERS))]


def golden_run(golden: GoldenTxDevice, events: Iterable[TxEvent]) -> tuple[list[list[Sent]], list[Response]]:
    sent: list[list[Sent]] = []
    responses: list[Response] = []
    for event in events:
        if isinstance(event, TxFrame):
            sent.append(golden.transmit(event.frame, event.request))
        else:
            responses.append(golden.command(event))
    return sent, responses


def compare(engine: TxEngine, events: Sequence[TxEvent], **waits: Any) -> tuple[list[list[Sent]], list[Response]]:
    """Run both from power-on; return what came out of the RTL.

    Apart from the golden device it is checked that a frame leaves if its completion says so, and that the counters
    are the completions, counted.
    """
    events = [*events, *COUNTERS, Read(READ_FREE)]
    want_sent, want_responses = golden_run(GoldenTxDevice(engine.config.connections, engine.config.width), events)
    engine.reset()
    result = engine.run(events, **waits)
    frames = [e for e in events if isinstance(e, TxFrame)]
    for number, (frame, got, want) in enumerate(zip(frames, result.sent, want_sent, strict=True)):
        assert got == want, f"frame {number}, {frame.request}: {difference(got, want)}"
    commands: list[Command] = [e for e in events if not isinstance(e, TxFrame)]
    for number, (command, got, want) in enumerate(zip(commands, result.responses, want_responses, strict=True)):
        assert got == want, f"command {number}, {command}"
    statuses = Counter(one.status.name.lower() for sent in result.sent for one in sent)
    counted = {name: r.value for name, r in zip(TX_COUNTERS, result.responses[-len(COUNTERS) - 1 :], strict=False)}
    del counted["encrypted_bytes"]
    assert counted == dict.fromkeys(counted, 0) | statuses
    return result.sent, result.responses


def difference(got: list[Sent], want: list[Sent]) -> str:
    """The first one, as a person would want it."""
    if [(s.status, s.handle) for s in got] != [(s.status, s.handle) for s in want]:
        return f"got {[s.status.name for s in got]}, want {[s.status.name for s in want]}"
    for segment, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        if ours.frame != theirs.frame:
            assert ours.frame is not None and theirs.frame is not None
            byte = next((k for k, (a, b) in enumerate(zip(ours.frame, theirs.frame, strict=False)) if a != b), None)
            return f"segment {segment}: byte {byte}, lengths {len(ours.frame)}, {len(theirs.frame)}"
    return ""
