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
    Outcome,
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


@dataclass(frozen=True)
class Missing:
    """The first frame and command of a batch without output, and what to say of them."""

    frame: int | None
    frames: str
    command: int | None
    commands: int

    def texts(self) -> list[str]:
        return [
            *([f"frame {self.frame} {self.frames}"] if self.frame is not None else []),
            *([f"command {self.command} of {self.commands} has no answer"] if self.command is not None else []),
        ]


class RxPass:
    """What one run does to a receive device: events as feeds and wants, the outcome as a result."""

    def __init__(self, events: Sequence[Event], config: Config, ordered: bool | None):
        self.config = config
        self.frames: list[bytes] = []
        self.commands: list[Command] = []
        rx_barriers: list[Barrier] = []
        command_barriers: list[Barrier] = []
        beats, barred = 0, 0
        for event in events:
            frames, commands = len(self.frames), len(self.commands)
            if isinstance(event, bytes):
                if commands > barred:
                    rx_barriers.append((beats, {"responses" if ordered else "commands": commands}))
                    barred = commands
                self.frames.append(event)
                beats += -(-len(event) // config.width)
            else:
                needs = {"host": frames, "responses": commands} if ordered else {"rx": frames}
                command_barriers.append((commands, needs))
                self.commands.append(event)
        end = 9 * config.width  # position of `last` in a beat
        beat_items = encode_frames(self.frames, config)
        self.feeds = {
            "rx": Feed(beat_items, end, () if ordered is None else rx_barriers),
            "commands": Feed(encode_commands(self.commands, config), None, () if ordered is None else command_barriers),
        }
        self.wants = {
            "host": Want(len(self.frames), len(beat_items) + 16, end),
            "responses": Want(len(self.commands), len(self.commands)),
        }

    def missing(self, outcome: Outcome) -> Missing:
        left, answers = outcome.taken["host"].units, outcome.taken["responses"].units
        return Missing(
            frame=left if left < len(self.frames) else None,
            frames=f"of {len(self.frames)} has not left",
            command=answers if answers < len(self.commands) else None,
            commands=len(self.commands),
        )

    def result(self, outcome: Outcome, options: Options) -> BatchResult:
        """Of a run that was done."""
        host = outcome.taken["host"]
        out = decode_frames(host.items, self.config)
        if len(out.frames) != len(self.frames):
            raise SimulationError(
                f"{len(out.frames)} frames left for {len(self.frames)} that entered (seed={options.seed})"
            )
        first, last = beats_of(self.frames, self.config.width)
        fed = outcome.fed["rx"]
        return BatchResult(
            deliveries=[Delivery(f, d) for f, d in zip(out.frames, out.descriptors, strict=True)],
            responses=decode_responses(outcome.taken["responses"].items, self.commands),
            first_in=fed[first],
            last_in=fed[last],
            first_out=host.cycles[out.first],
            last_out=host.cycles[out.last],
            command_in=outcome.fed["commands"],
            command_out=outcome.taken["responses"].cycles,
            cycles=outcome.cycles,
        )


def beats_of(frames: Sequence[bytes], width: int) -> tuple[Cycles, Cycles]:
    """Positions of each frame's first and last beat in the stream of all beats."""
    lengths = np.fromiter((len(f) for f in frames), dtype=np.int64, count=len(frames))
    last = np.cumsum((lengths + width - 1) // width) - 1
    return np.concatenate((np.zeros(1, np.int64), last[:-1] + 1))[: len(frames)], last


def check(outcome: Outcome, missing: Sequence[Missing], options: Options) -> None:
    """Raise if the run came to no good end; `missing` says what of each device's output is not there."""
    check_outcome(outcome.status, outcome.stream, options.seed)
    if outcome.status != "stalled":
        return
    texts = [text for one in missing for text in one.texts()]
    raise SimulationStalled(
        f"no output for {options.watchdog} cycles: {', '.join(texts) or 'input is not taken'} "
        f"(cycle {outcome.cycles}, idle {options.idle}, backpressure {options.backpressure}, seed={options.seed})",
        cycle=outcome.cycles,
        seed=options.seed,
        frame=next((one.frame for one in missing if one.frame is not None), None),
        command=next((one.command for one in missing if one.command is not None), None),
    )


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
        ordered: bool | None = True,
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
        ordered : bool | None
            A command waits until all that was sent before it is out, and what follows waits for its response.
            Else a command is only offered after the last beat before it was taken, and the other way round.
            None: frames and commands do not wait for each other.
        waveform : Waveform | Path | None
            Write a VCD file. The session is replayed for it if it has run before, so it costs as much again.
        watchdog : int
            Cycles without output after which SimulationStalled is raised; the session needs a reset then.
        settle : int
            Cycles to go on after the last output, to catch a frame or response too many.
        """
        if self._broken:
            raise SimulationError("the last run failed halfway; reset the engine first")
        this = RxPass(events, self.config, ordered)
        options = Options(idle, backpressure, seed, watchdog, settle)
        if isinstance(waveform, Path):
            waveform = Waveform(waveform)
        self._broken = True
        outcome = self.bench.run(Batch(this.feeds, this.wants, options), waveform=waveform, progress=progress)
        self.total_cycles += outcome.cycles
        check(outcome, [this.missing(outcome)], options)
        result = this.result(outcome, options)
        self._broken = False
        return result

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
