"""Run any component with stream ports: payloads in, payloads out, on either engine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.lib import wiring

from sim.engine.bench import (
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
    from_words,
    to_words,
)
from sim.engine.compiled import CompiledBench
from sim.engine.pysim import PysimBench
from sim.engine.toolchain import can_compile

ENGINES = ("auto", "compiled", "pysim")


def make_bench(
    name: str,
    factory: Callable[[], wiring.Component],
    *,
    sources: Iterable[Path] = (),
    identity: str = "",
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Bench:
    """A bench for `factory()`; the engine "auto" is compiled where a model can be built, else pysim."""
    if name not in ENGINES:
        raise ValueError(f"engine {name!r}: must be one of {', '.join(ENGINES)}")
    if name == "pysim" or (name == "auto" and not can_compile()):
        return PysimBench(factory)
    return CompiledBench(factory, sources=sources, identity=identity, cache_dir=cache_dir, progress=progress)


def check_outcome(status: str, stream: str | None, seed: int) -> None:
    """Raise for what no component may do."""
    if status == "surplus":
        raise SimulationError(f"{stream}: more came out than was wanted (seed={seed})")
    if status == "unstable":
        raise SimulationError(f"{stream}: valid or payload did not hold until ready (seed={seed})")


@dataclass(frozen=True)
class ComponentResult:
    """Payloads of each output, the cycles in which items were taken and given, and the batch's cycles."""

    outputs: dict[str, list[int]]
    taken_in: dict[str, Cycles]
    given_out: dict[str, Cycles]
    cycles: int


class ComponentEngine:
    """A component under simulation; its state persists from run to run.

    Parameters
    ----------
    factory : Callable[[], wiring.Component]
        Makes the component. Its members are streams and plain ports.
    engine : str
        "auto", "compiled" or "pysim".
    """

    def __init__(
        self,
        factory: Callable[[], wiring.Component],
        engine: str = "auto",
        *,
        cache_dir: Path | None = None,
        progress: Progress | None = None,
    ):
        self.bench = make_bench(engine, factory, cache_dir=cache_dir, progress=progress)

    def run(
        self,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, int],
        *,
        idle: float = 0.0,
        backpressure: float = 0.0,
        seed: int = 0,
        settle: int = 0,
        watchdog: int = 20_000,
        settings: Mapping[str, int] | None = None,
        waveform: Waveform | Path | None = None,
    ) -> ComponentResult:
        """Feed payloads, collect as many as `outputs` says of each stream.

        `settle` cycles go on after the last; what comes then is an error, as is what was not asked for.
        """
        words = {p.name: p.words for p in self.bench.inputs}
        unknown = set(inputs) - set(words)
        if unknown:
            raise ValueError(f"no input named {', '.join(sorted(unknown))}")
        batch = Batch(
            feeds={name: Feed(to_words(payloads, words[name])) for name, payloads in inputs.items()},
            wants={name: Want(count, count) for name, count in outputs.items()},
            options=Options(idle, backpressure, seed, watchdog, settle),
            settings=settings or {},
        )
        if waveform is not None and not isinstance(waveform, Waveform):
            waveform = Waveform(waveform)
        outcome = self.bench.run(batch, waveform=waveform)
        check_outcome(outcome.status, outcome.stream, seed)
        if outcome.status == "stalled":
            have = [f"{n}: {len(outcome.taken[n].items)} of {count}" for n, count in outputs.items()]
            fed = [f"{n}: {len(outcome.fed[n])} of {len(p)}" for n, p in inputs.items()]
            raise SimulationStalled(
                f"no output for {watchdog} cycles; taken in {', '.join(fed)}; given out {', '.join(have)} "
                f"(cycle {outcome.cycles}, seed={seed})",
                cycle=outcome.cycles,
                seed=seed,
            )
        return ComponentResult(
            outputs={n: from_words(t.items) for n, t in outcome.taken.items()},
            taken_in=outcome.fed,
            given_out={n: np.array(t.cycles) for n, t in outcome.taken.items()},
            cycles=outcome.cycles,
        )

    def get(self, name: str) -> int:
        """Value of a plain output after the last run."""
        return self.bench.get(name)

    def reset(self) -> None:
        self.bench.reset()

    def close(self) -> None:
        self.bench.close()
