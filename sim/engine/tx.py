"""The transmit device under simulation: frames with requests and commands in, frames and completions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from hw.config import Config
from model.commands import Command, Response
from model.contract import TxStatus
from model.segmentation import segments
from model.tx_commands import Sent, TxRequest
from sim.engine.base import DeviceFactory, device_sources
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
    SimulationStalled,
    Want,
    Waveform,
)
from sim.engine.component import check_outcome, make_bench
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
        ordered: bool = True,
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
        frames: list[TxFrame] = []
        commands: list[Command] = []
        counts: list[int] = []
        tx_barriers: list[Barrier] = []
        command_barriers: list[Barrier] = []
        width, beats, barred, completions, room = self.config.width, 0, 0, 0, 16
        for event in events:
            if isinstance(event, TxFrame):
                if len(commands) > barred:
                    tx_barriers.append((beats, {"responses" if ordered else "commands": len(commands)}))
                    barred = len(commands)
                frames.append(event)
                beats += -(-len(event.frame) // width)
                pieces = segments(event.frame, event.request.segment_size)
                counts.append(len(pieces))
                completions += len(pieces)
                room += sum(-(-len(p) // width) for p in pieces)
            else:
                needs = {"completions": completions, "responses": len(commands)} if ordered else {"tx": len(frames)}
                command_barriers.append((len(commands), needs))
                commands.append(event)

        end = 9 * width  # position of `last` in a beat
        beat_items = encode_tx_frames([f.frame for f in frames], [f.request for f in frames], self.config)
        options = Options(idle, backpressure, seed, watchdog, settle)
        batch = Batch(
            feeds={
                "tx": Feed(beat_items, end, tx_barriers),
                "commands": Feed(encode_commands(commands, self.config), None, command_barriers),
            },
            wants={
                "wire": Want(0, room, end),
                "completions": Want(completions, completions),
                "responses": Want(len(commands), len(commands)),
            },
            options=options,
        )
        if isinstance(waveform, Path):
            waveform = Waveform(waveform)
        self._broken = True
        outcome = self.bench.run(batch, waveform=waveform, progress=progress)
        self.total_cycles += outcome.cycles
        self._check(outcome, counts, len(commands), options)
        done = decode_completions(outcome.taken["completions"].items)
        leaving = sum(status in SENT for status, _ in done)
        items, cycles, total = outcome.taken["wire"].items, outcome.taken["wire"].cycles, outcome.cycles
        left = outcome.taken["wire"].units
        if left < leaving:
            # completions may come before the last bytes they are of
            rest = Batch(feeds={}, wants={"wire": Want(leaving - left, room, end)}, options=options)
            more = self.bench.run(rest, progress=progress)
            self.total_cycles += more.cycles
            self._check(more, counts, len(commands), options, left, leaving)
            items = np.concatenate((items, more.taken["wire"].items))
            cycles = np.concatenate((cycles, more.taken["wire"].cycles + total))
            total += more.cycles
        wire, first, last = decode_wire(items, self.config)
        if len(wire) != leaving or (len(items) and (not len(last) or last[-1] != len(items) - 1)):
            raise SimulationError(f"{len(wire)} frames left, {leaving} are said to have (seed={seed})")
        self._broken = False
        out = iter(wire)
        each = iter([Sent(next(out) if status in SENT else None, status, handle) for status, handle in done])
        lengths = np.fromiter((len(f.frame) for f in frames), dtype=np.int64, count=len(frames))
        in_last = np.cumsum((lengths + width - 1) // width) - 1
        in_first = np.concatenate((np.zeros(1, np.int64), in_last[:-1] + 1))[: len(frames)]
        fed = outcome.fed["tx"]
        return TxBatchResult(
            sent=[[next(each) for _ in range(count)] for count in counts],
            responses=decode_responses(outcome.taken["responses"].items, commands),
            first_in=fed[in_first],
            last_in=fed[in_last],
            first_out=cycles[first],
            last_out=cycles[last],
            completed=outcome.taken["completions"].cycles,
            command_in=outcome.fed["commands"],
            command_out=outcome.taken["responses"].cycles,
            cycles=total,
        )

    def _check(
        self, outcome: Outcome, counts: list[int], commands: int, options: Options, left: int = 0, leaving: int = 0
    ) -> None:
        check_outcome(outcome.status, outcome.stream, options.seed)
        if outcome.status != "stalled":
            return
        missing: list[str] = []
        frame = command = None
        if leaving:
            missing.append(f"frame {left + outcome.taken['wire'].units} of {leaving} that are complete has not left")
        else:
            done, answers = outcome.taken["completions"].units, outcome.taken["responses"].units
            if done < sum(counts):
                frame = int(np.searchsorted(np.cumsum(counts), done, side="right"))
                missing.append(f"frame {frame} of {len(counts)} is not complete")
            if answers < commands:
                command = answers
                missing.append(f"command {command} of {commands} has no answer")
        raise SimulationStalled(
            f"no output for {options.watchdog} cycles: {', '.join(missing) or 'input is not taken'} (cycle "
            f"{outcome.cycles}, idle {options.idle}, backpressure {options.backpressure}, seed={options.seed})",
            cycle=outcome.cycles,
            seed=options.seed,
            frame=frame,
            command=command,
        )

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
    identity = f"{getattr(chosen, '__module__', '')}.{getattr(chosen, '__qualname__', '')} {config!r}"
    bench = make_bench(
        name, lambda: chosen(config), sources=sources, identity=identity, cache_dir=cache_dir, progress=progress
    )
    return TxEngine(config, bench)
