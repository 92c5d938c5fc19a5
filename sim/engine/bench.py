"""Benches: run one component with stream ports on arrays of payloads, whole batches a call.

What the engines share: the shape of a batch, the random waits, and the rules of a cycle. `PysimBench` and
`CompiledBench` follow the same rules with the same random numbers, so a batch takes the same cycles on both:

1. A source that holds nothing takes its next item if no barrier stands before it and its draw says so.
2. A sink is ready if its draw says so.
3. Everything settles; transfers are what is valid and ready; then the clock rises.

A batch begins with one cycle in which nothing is offered.
"""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Value
from amaranth.lib import stream, wiring

Words = npt.NDArray[np.uint32]
"""Payloads, one a row, in words of 32 bits, lowest word first."""
Cycles = npt.NDArray[np.int64]

Progress = Callable[[str, float], None]
"""Called with what is going on and the share of it that is done, 0 to 1."""

WATCHDOG = 20_000
"""Cycles without a transfer at any output after which a batch counts as stalled."""


class SimulationError(Exception):
    """The simulated component broke a rule, or the engine cannot go on."""


class SimulationStalled(SimulationError):
    """No output for as many cycles as the watchdog has.

    Attributes
    ----------
    frame, command : int | None
        Number in the batch of the first frame or command without its output.
    cycle : int
        Cycle of the batch at which the watchdog gave up.
    seed : int
    """

    def __init__(self, message: str, *, cycle: int, seed: int, frame: int | None = None, command: int | None = None):
        super().__init__(message)
        self.cycle = cycle
        self.seed = seed
        self.frame = frame
        self.command = command


@dataclass(frozen=True)
class Port:
    """A stream member of a component, or a plain one; one of an interface has both names, `interface_member`."""

    name: str
    width: int
    is_input: bool
    is_stream: bool = True
    always_valid: bool = False
    always_ready: bool = False
    path: tuple[str, ...] = ()

    @property
    def words(self) -> int:
        return (self.width + 31) // 32

    def of(self, component: wiring.Component) -> Any:
        """The member of that component."""
        member: Any = component
        for name in self.path:
            member = getattr(member, name)
        return member


def ports_of(component: wiring.Component) -> list[Port]:
    """The component's members as ports, in the order of its signature."""
    return list(_ports(component.signature, component, ()))


def _ports(signature: Any, interface: Any, path: tuple[str, ...]) -> Iterator[Port]:
    for name, member in signature.members.items():
        here = (*path, name)
        if member.dimensions:
            raise TypeError(f"{'.'.join(here)}: arrays of members cannot be driven by a bench")
        is_input = member.flow == wiring.In
        inner = getattr(interface, name)
        if member.is_port:
            yield Port("_".join(here), len(Value.cast(inner)), is_input, is_stream=False, path=here)
            continue
        kind: Any = member.signature
        if isinstance(kind, wiring.FlippedSignature):
            kind = kind.flip()
        if not isinstance(kind, stream.Signature):
            yield from _ports(member.signature, inner, here)
            continue
        yield Port(
            "_".join(here),
            len(Value.cast(inner.payload)),
            is_input,
            always_valid=kind.always_valid,
            always_ready=kind.always_ready,
            path=here,
        )


def probe_ports(factory: Callable[[], wiring.Component]) -> list[Port]:
    """`ports_of` a component that is made for nothing else."""
    component = factory()
    component._MustUse__used = True  # pyright: ignore  (else Amaranth warns that it was never elaborated)
    return ports_of(component)


def to_words(payloads: Sequence[int], words: int) -> Words:
    """Integers to rows of words."""
    raw = b"".join(p.to_bytes(4 * words, "little") for p in payloads)
    return np.frombuffer(raw, dtype="<u4").reshape(len(payloads), words)


def from_words(rows: Words) -> list[int]:
    """Rows of words to integers."""
    size = 4 * rows.shape[1]
    raw = np.ascontiguousarray(rows).tobytes()
    return [int.from_bytes(raw[k : k + size], "little") for k in range(0, len(raw), size)]


Barrier = tuple[int, Mapping[str, int]]


@dataclass
class Feed:
    """What goes into one input stream.

    A unit is what barriers count: an item, or with `mark` a run of items up to one with payload bit `mark` set.
    A barrier (item, needs) holds the item back until every stream named in `needs`, input or output, has passed
    that many units since the start of the batch.
    """

    items: Words
    mark: int | None = None
    barriers: Sequence[Barrier] = ()


@dataclass
class Want:
    """What must come out of an output stream before the batch is over: `units`, in at most `capacity` items."""

    units: int
    capacity: int
    mark: int | None = None


@dataclass(frozen=True)
class Waveform:
    """A VCD file of cycles `first` to `last` of the batch (pysim: of the whole session)."""

    path: Path
    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class Options:
    idle: float = 0.0
    backpressure: float = 0.0
    seed: int = 0
    watchdog: int = WATCHDOG
    settle: int = 0
    """Cycles to go on after the last wanted output: what still comes is a surplus."""

    def __post_init__(self):
        for name in ("idle", "backpressure"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} {getattr(self, name)}: must be a probability below 1")


@dataclass
class Batch:
    """What one run does. An input without an entry stays silent, an output without one must."""

    feeds: Mapping[str, Feed]
    wants: Mapping[str, Want]
    options: Options = Options()
    settings: Mapping[str, int] = field(default_factory=dict[str, int])
    """Values of plain input members; they stay until set again."""


@dataclass
class Taken:
    """What came out of a stream, and in which cycles of the batch."""

    items: Words
    cycles: Cycles
    units: int


@dataclass
class Outcome:
    """How a run ended: "done", "stalled", or at output `stream` "surplus" or "unstable" (it did not hold).

    `fed` holds the cycles at which the input items were taken.
    """

    status: str
    cycles: int
    fed: dict[str, Cycles]
    taken: dict[str, Taken]
    stream: str | None = None


class Bench(abc.ABC):
    """One instance of a component under simulation: a session that keeps its state from run to run."""

    ports: list[Port]

    @property
    def inputs(self) -> list[Port]:
        return [p for p in self.ports if p.is_stream and p.is_input]

    @property
    def outputs(self) -> list[Port]:
        return [p for p in self.ports if p.is_stream and not p.is_input]

    @property
    def settings(self) -> list[Port]:
        return [p for p in self.ports if not p.is_stream and p.is_input]

    @property
    def states(self) -> list[Port]:
        return [p for p in self.ports if not p.is_stream and not p.is_input]

    @abc.abstractmethod
    def run(self, batch: Batch, *, waveform: Waveform | None = None, progress: Progress | None = None) -> Outcome: ...

    @abc.abstractmethod
    def get(self, name: str) -> int:
        """Value of a plain output member."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Back to power-on."""

    @abc.abstractmethod
    def close(self) -> None: ...

    def _check(self, batch: Batch) -> None:
        for what, given, known in (
            ("input", batch.feeds, self.inputs),
            ("output", batch.wants, self.outputs),
            ("setting", batch.settings, self.settings),
        ):
            unknown = set(given) - {p.name for p in known}
            if unknown:
                raise ValueError(f"no {what} named {', '.join(sorted(unknown))}")
        for port in self.inputs:
            if port.name in batch.feeds:
                shape = batch.feeds[port.name].items.shape
                if shape[1:] != (port.words,):
                    raise ValueError(f"{port.name}: items of {port.words} words expected, shape is {shape}")

    def _barrier_rows(self, feed: Feed) -> Cycles:
        """Barriers as rows: item, then units needed of each input and each output."""
        names = [p.name for p in (*self.inputs, *self.outputs)]
        rows = np.zeros((len(feed.barriers), 1 + len(names)), dtype=np.int64)
        for row, (item, needs) in zip(rows, feed.barriers, strict=True):
            row[0] = item
            for name, units in needs.items():
                row[1 + names.index(name)] = units
        if np.any(np.diff(rows[:, 0]) < 0):
            raise ValueError("barriers must be in the order of their items")
        return rows


_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def random_state(seed: int, stream: int) -> int:
    """First state of a stream's generator."""
    return (seed * 0xD1B54A32D192ED03 + (stream + 1) * 0x8CB92BA72F3D8DD7) & _MASK


def random_draw(state: int) -> tuple[int, int]:
    """SplitMix64: the next state, and 32 random bits."""
    state = (state + _GOLDEN) & _MASK
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return state, (z ^ (z >> 31)) >> 32


def threshold(probability: float) -> int:
    """A draw below this happens with the probability."""
    return int(probability * (1 << 32))
