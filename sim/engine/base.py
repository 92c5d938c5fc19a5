"""The device under simulation: frames and commands in, deliveries and responses out, on either bench."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from amaranth.lib import wiring

from hw import layouts
from hw.config import Config
from model.commands import Command, Delivery, Response
from sim.engine.bench import (
    WATCHDOG,
    Barrier,
    Batch,
    Bench,
    Cycles,
    Feed,
    Options,
    Progress,
    SimulationError,
    SimulationStalled,
    Want,
    Waveform,
)
from sim.engine.component import check_outcome, make_bench
from sim.engine.encode import decode_frames, decode_responses, encode_commands, encode_frames

Event = bytes | Command
DeviceFactory = Callable[[Config], wiring.Component]


@dataclass(frozen=True)
class BatchResult:
    """Outputs of one run, frames and commands each in their order. Cycles count from the start of the run.

    Attributes
    ----------
    deliveries : list[Delivery]
    responses : list[Response]
    first_in, last_in : Cycles
        Cycle in which the frame's first and last beat entered the device.
    first_out, last_out : Cycles
        Cycle in which they left.
    command_in, command_out : Cycles
        Cycle in which the command was taken and its response given.
    cycles : int
        Cycles of the run.
    """

    deliveries: list[Delivery]
    responses: list[Response]
    first_in: Cycles
    last_in: Cycles
    first_out: Cycles
    last_out: Cycles
    command_in: Cycles
    command_out: Cycles
    cycles: int


class Engine:
    """A session with one simulated device; state persists from run to run. Also a `model.commands.Device`.

    Parameters
    ----------
    config : Config
    bench : Bench
        The device's component with members `rx`, `host`, `commands`, `responses`.
    """

    def __init__(self, config: Config, bench: Bench):
        self.config = config
        self.bench = bench
        self.total_cycles = 0
        self._broken = False
        names = {p.name for p in bench.ports if p.is_stream}
        if not {"rx", "host", "commands", "responses"} <= names:
            raise TypeError(f"a device has streams rx, host, commands, responses; this one has {sorted(names)}")

    def run(
        self,
        events: Sequence[Event],
        idle: float = 0.0,
        backpressure: float = 0.0,
        seed: int = 0,
        ordered: bool = True,
        waveform: Waveform | Path | None = None,
        *,
        watchdog: int = WATCHDOG,
        settle: int = 0,
        progress: Progress | None = None,
    ) -> BatchResult:
        """Send the events and wait until every frame has left and every command is answered.

        Parameters
        ----------
        idle, backpressure : float
            Probability in a cycle that a source that could begin to offer does not; that a sink is not ready.
        ordered : bool
            A command waits until all that was sent before it is out, and what follows waits for its response.
            Else a command is only offered after the last beat before it was taken, and the other way round.
        waveform : Waveform | Path | None
            Write a VCD file. The session is replayed for it if it has run before, so it costs as much again.
        watchdog : int
            Cycles without output after which SimulationStalled is raised; the session needs a reset then.
        settle : int
            Cycles to go on after the last output, to catch a frame or response too many.
        """
        if self._broken:
            raise SimulationError("the last run failed halfway; reset the engine first")
        frames: list[bytes] = []
        commands: list[Command] = []
        rx_barriers: list[Barrier] = []
        command_barriers: list[Barrier] = []
        beats, barred = 0, 0
        for event in events:
            if isinstance(event, bytes):
                if len(commands) > barred:
                    needs = {"responses" if ordered else "commands": len(commands)}
                    rx_barriers.append((beats, needs))
                    barred = len(commands)
                frames.append(event)
                beats += -(-len(event) // self.config.width)
            else:
                needs = {"host": len(frames), "responses": len(commands)} if ordered else {"rx": len(frames)}
                command_barriers.append((len(commands), needs))
                commands.append(event)

        end = 9 * self.config.width  # position of `last` in a beat
        beat_items = encode_frames(frames, self.config)
        batch = Batch(
            feeds={
                "rx": Feed(beat_items, end, rx_barriers),
                "commands": Feed(encode_commands(commands, self.config), None, command_barriers),
            },
            wants={
                "host": Want(len(frames), len(beat_items) + 16, end),
                "responses": Want(len(commands), len(commands)),
            },
            options=Options(idle, backpressure, seed, watchdog, settle),
        )
        if isinstance(waveform, Path):
            waveform = Waveform(waveform)
        self._broken = True
        outcome = self.bench.run(batch, waveform=waveform, progress=progress)
        self.total_cycles += outcome.cycles
        check_outcome(outcome.status, outcome.stream, seed)
        host, answers = outcome.taken["host"], outcome.taken["responses"]
        if outcome.status == "stalled":
            raise self._stalled(len(frames), len(commands), host.units, answers.units, outcome.cycles, batch.options)
        self._broken = False
        out = decode_frames(host.items, self.config)
        if len(out.frames) != len(frames):
            raise SimulationError(f"{len(out.frames)} frames left for {len(frames)} that entered (seed={seed})")
        lengths = np.fromiter((len(f) for f in frames), dtype=np.int64, count=len(frames))
        in_last = np.cumsum((lengths + self.config.width - 1) // self.config.width) - 1
        in_first = np.concatenate((np.zeros(1, np.int64), in_last[:-1] + 1))[: len(frames)]
        fed = outcome.fed["rx"]
        return BatchResult(
            deliveries=[Delivery(f, d) for f, d in zip(out.frames, out.descriptors, strict=True)],
            responses=decode_responses(answers.items, commands),
            first_in=fed[in_first],
            last_in=fed[in_last],
            first_out=host.cycles[out.first],
            last_out=host.cycles[out.last],
            command_in=outcome.fed["commands"],
            command_out=answers.cycles,
            cycles=outcome.cycles,
        )

    def _stalled(
        self, frames: int, commands: int, frames_out: int, responses: int, cycle: int, options: Options
    ) -> SimulationStalled:
        frame = frames_out if frames_out < frames else None
        command = responses if responses < commands else None
        missing = [
            *([f"frame {frame} of {frames} has not left"] if frame is not None else []),
            *([f"command {command} of {commands} has no answer"] if command is not None else []),
        ]
        return SimulationStalled(
            f"no output for {options.watchdog} cycles: {', '.join(missing) or 'input is not taken'} "
            f"(cycle {cycle}, idle {options.idle}, backpressure {options.backpressure}, seed={options.seed})",
            cycle=cycle,
            seed=options.seed,
            frame=frame,
            command=command,
        )

    def command(self, command: Command) -> Response:
        return self.run([command]).responses[0]

    def receive(self, frame: bytes) -> Delivery:
        return self.run([frame]).deliveries[0]

    def reset(self) -> None:
        """Back to power-on."""
        self.bench.reset()
        self.total_cycles = 0
        self._broken = False

    def close(self) -> None:
        """Free the simulation; may be called again."""
        self.bench.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def device_sources() -> list[Path]:
    """Every file that RxDevice is made from."""
    root = Path(layouts.__file__).parent
    return [*sorted(root.rglob("*.py")), root.parent / "model" / "contract.py"]


def make_engine(
    name: str,
    config: Config,
    *,
    device: DeviceFactory | None = None,
    sources: Iterable[Path] | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Engine:
    """An engine with a device of that configuration.

    Parameters
    ----------
    name : str
        "compiled" (Verilator and a C++ compiler; built once and cached), "pysim", or "auto": compiled if
        it can be built here, else pysim.
    device : DeviceFactory | None
        What to simulate; None: `hw.device.RxDevice`.
    sources : Iterable[Path] | None
        Files a device other than RxDevice is made from, so that a known model is found without elaboration.
    cache_dir : Path | None
        Where models are kept; None: `toolchain.default_cache_dir()`.
    progress : Progress | None
        Told what a build is doing.
    """
    if device is None:
        from hw.device import RxDevice

        device, sources = RxDevice, device_sources()
    chosen = device
    identity = f"{getattr(chosen, '__module__', '')}.{getattr(chosen, '__qualname__', '')} {config!r}"
    bench = make_bench(
        name,
        lambda: chosen(config),
        sources=sources or (),
        identity=identity,
        cache_dir=cache_dir,
        progress=progress,
    )
    return Engine(config, bench)
