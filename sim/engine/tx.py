"""The transmit device under simulation: frames with requests and commands in, frames and completions out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from hw.config import Config
from model.commands import Command, Response
from model.contract import TxStatus
from model.segmentation import segments
from model.tx_commands import Sent, TxRequest
from sim.engine.base import DeviceFactory, Missing, beats_of, check, device_sources
from sim.engine.bench import (
    WATCHDOG,
    Barrier,
    Batch,
    Bench,
    Cycles,
    Feed,
    Options,
    Outcome,
    Progress,
    SimulationError,
    Want,
    Waveform,
)
from sim.engine.component import make_bench
from sim.engine.encode import decode_completions, decode_responses, decode_wire, encode_commands, encode_tx_frames
from sim.schedule import TxEvent, TxFrame

SENT = (TxStatus.PASSED, TxStatus.ENCRYPTED)


@dataclass(frozen=True)
class TxBatchResult:
    """Outputs of one run, frames and commands each in their order. Cycles count from the start of the run.

    Attributes
    ----------
    sent : list[list[Sent]]
        For each frame that entered, what it led to, segment by segment.
    responses : list[Response]
    first_in, last_in : Cycles
        Cycle in which the frame's first and last beat entered the device.
    first_out, last_out : Cycles
        Cycle in which they left; one each for every frame or segment on the wire.
    completed : Cycles
        Cycle of each completion.
    command_in, command_out : Cycles
        Cycle in which the command was taken and its response given.
    cycles : int
        Cycles of the run.
    """

    sent: list[list[Sent]]
    responses: list[Response]
    first_in: Cycles
    last_in: Cycles
    first_out: Cycles
    last_out: Cycles
    completed: Cycles
    command_in: Cycles
    command_out: Cycles
    cycles: int


class TxPass:
    """What one run does to a transmit device: events as feeds and wants, the outcome as a result."""

    def __init__(self, events: Sequence[TxEvent], config: Config, ordered: bool | None):
        self.config = config
        self.frames: list[TxFrame] = []
        self.commands: list[Command] = []
        self.counts: list[int] = []
        tx_barriers: list[Barrier] = []
        command_barriers: list[Barrier] = []
        width, beats, barred, completions, room = config.width, 0, 0, 0, 16
        for event in events:
            commands = len(self.commands)
            if isinstance(event, TxFrame):
                if commands > barred:
                    tx_barriers.append((beats, {"responses" if ordered else "commands": commands}))
                    barred = commands
                self.frames.append(event)
                beats += -(-len(event.frame) // width)
                pieces = segments(event.frame, event.request.segment_size)
                self.counts.append(len(pieces))
                completions += len(pieces)
                room += sum(-(-len(p) // width) for p in pieces)
            else:
                needs = {"completions": completions, "responses": commands} if ordered else {"tx": len(self.frames)}
                command_barriers.append((commands, needs))
                self.commands.append(event)
        end = 9 * width  # position of `last` in a beat
        beat_items = encode_tx_frames([f.frame for f in self.frames], [f.request for f in self.frames], config)
        self.feeds = {
            "tx": Feed(beat_items, end, () if ordered is None else tx_barriers),
            "commands": Feed(encode_commands(self.commands, config), None, () if ordered is None else command_barriers),
        }
        self.wants = {
            "wire": Want(0, room, end),
            "completions": Want(completions, completions),
            "responses": Want(len(self.commands), len(self.commands)),
        }

    def missing(self, outcome: Outcome) -> Missing:
        done, answers = outcome.taken["completions"].units, outcome.taken["responses"].units
        late = done < sum(self.counts)
        return Missing(
            frame=int(np.searchsorted(np.cumsum(self.counts), done, side="right")) if late else None,
            frames=f"of {len(self.counts)} is not complete",
            command=answers if answers < len(self.commands) else None,
            commands=len(self.commands),
        )

    def rest(self, outcome: Outcome) -> dict[str, Want]:
        """What is still to leave: completions may come before the last bytes they are of."""
        left = outcome.taken["wire"].units
        leaving = self._leaving(outcome)
        want = self.wants["wire"]
        return {"wire": Want(leaving - left, want.capacity, want.mark)} if left < leaving else {}

    def missing_rest(self, outcome: Outcome, more: Outcome) -> Missing:
        left = outcome.taken["wire"].units + more.taken["wire"].units
        return Missing(left, f"of {self._leaving(outcome)} that are complete has not left", None, len(self.commands))

    @staticmethod
    def _leaving(outcome: Outcome) -> int:
        return sum(status in SENT for status, _ in decode_completions(outcome.taken["completions"].items))

    def result(self, outcome: Outcome, more: Outcome | None, options: Options) -> TxBatchResult:
        """Of a run that was done, and of the one that took the rest."""
        done = decode_completions(outcome.taken["completions"].items)
        items, cycles, total = outcome.taken["wire"].items, outcome.taken["wire"].cycles, outcome.cycles
        if more:
            items = np.concatenate((items, more.taken["wire"].items))
            cycles = np.concatenate((cycles, more.taken["wire"].cycles + total))
            total += more.cycles
        leaving = self._leaving(outcome)
        wire, first, last = decode_wire(items, self.config)
        if len(wire) != leaving or (len(items) and (not len(last) or last[-1] != len(items) - 1)):
            raise SimulationError(f"{len(wire)} frames left, {leaving} are said to have (seed={options.seed})")
        out = iter(wire)
        each = iter([Sent(next(out) if status in SENT else None, status, handle) for status, handle in done])
        in_first, in_last = beats_of([f.frame for f in self.frames], self.config.width)
        fed = outcome.fed["tx"]
        return TxBatchResult(
            sent=[[next(each) for _ in range(count)] for count in self.counts],
            responses=decode_responses(outcome.taken["responses"].items, self.commands),
            first_in=fed[in_first],
            last_in=fed[in_last],
            first_out=cycles[first],
            last_out=cycles[last],
            completed=outcome.taken["completions"].cycles,
            command_in=outcome.fed["commands"],
            command_out=outcome.taken["responses"].cycles,
            cycles=total,
        )


class TxEngine:
    """A session with one simulated transmit device; state persists from run to run. Also a `TxDevice`.

    Parameters
    ----------
    config : Config
    bench : Bench
        The device's component with members `tx`, `wire`, `completions`, `commands`, `responses`.
    """

    def __init__(self, config: Config, bench: Bench):
        self.config = config
        self.bench = bench
        self.total_cycles = 0
        self._broken = False
        names = {p.name for p in bench.ports if p.is_stream}
        needed = ("tx", "wire", "completions", "commands", "responses")
        if not set(needed) <= names:
            raise TypeError(f"a transmit device has streams {', '.join(needed)}; this one has {sorted(names)}")

    def run(
        self,
        events: Sequence[TxEvent],
        idle: float = 0.0,
        backpressure: float = 0.0,
        seed: int = 0,
        ordered: bool | None = True,
        waveform: Waveform | Path | None = None,
        *,
        watchdog: int = WATCHDOG,
        settle: int = 0,
        progress: Progress | None = None,
    ) -> TxBatchResult:
        """Send the events; wait until every frame is complete and has left, and every command is answered.

        Parameters: see `sim.engine.base.Engine.run`.
        """
        if self._broken:
            raise SimulationError("the last run failed halfway; reset the engine first")
        this = TxPass(events, self.config, ordered)
        options = Options(idle, backpressure, seed, watchdog, settle)
        if isinstance(waveform, Path):
            waveform = Waveform(waveform)
        self._broken = True
        outcome = self.bench.run(Batch(this.feeds, this.wants, options), waveform=waveform, progress=progress)
        self.total_cycles += outcome.cycles
        check(outcome, [this.missing(outcome)], options)
        more = None
        if rest := this.rest(outcome):
            more = self.bench.run(Batch({}, rest, options), progress=progress)
            self.total_cycles += more.cycles
            check(more, [this.missing_rest(outcome, more)], options)
        result = this.result(outcome, more, options)
        self._broken = False
        return result

    def command(self, command: Command) -> Response:
        return self.run([command]).responses[0]

    def transmit(self, frame: bytes, request: TxRequest) -> list[Sent]:
        return self.run([TxFrame(frame, request)]).sent[0]

    def reset(self) -> None:
        """Back to power-on."""
        self.bench.reset()
        self.total_cycles = 0
        self._broken = False

    def close(self) -> None:
        """Free the simulation; may be called again."""
        self.bench.close()

    def __enter__(self) -> "TxEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_tx_engine(
    name: str,
    config: Config,
    *,
    device: DeviceFactory | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> TxEngine:
    """An engine with a transmit device of that configuration (None: `hw.tx_device.TxDevice`). See `make_engine`."""
    sources: list[Path] = []
    if device is None:
        from hw.tx_device import TxDevice

        device, sources = TxDevice, device_sources()
    chosen = device
    shape = replace(config, rx_policy=Config.rx_policy)  # nothing of a transmit device depends on it
    identity = f"{getattr(chosen, '__module__', '')}.{getattr(chosen, '__qualname__', '')} {shape!r}"
    bench = make_bench(
        name, lambda: chosen(config), sources=sources, identity=identity, cache_dir=cache_dir, progress=progress
    )
    return TxEngine(config, bench)
