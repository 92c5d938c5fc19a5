"""Both directions under simulation at once: each device's events in one batch, on one component."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from amaranth.lib import wiring

from hw.config import Config
from sim.engine.base import BatchResult, Event, RxPass, check, device_sources
from sim.engine.bench import WATCHDOG, Batch, Bench, Feed, Options, Outcome, Progress, SimulationError, Want
from sim.engine.component import make_bench
from sim.engine.tx import TxBatchResult, TxPass
from sim.schedule import TxEvent

RECEIVE, TRANSMIT = "receive", "transmit"


class DuplexEngine:
    """A session with a device of both directions; state persists from run to run.

    Parameters
    ----------
    config : Config
    bench : Bench
        Its component has the members `receive` and `transmit`, which have those of the two devices.
    """

    def __init__(self, config: Config, bench: Bench):
        self.config = config
        self.bench = bench
        self._broken = False

    def run(
        self,
        events: Sequence[Event],
        tx_events: Sequence[TxEvent],
        idle: float = 0.0,
        backpressure: float = 0.0,
        seed: int = 0,
        ordered: bool | None = True,
        *,
        watchdog: int = WATCHDOG,
        progress: Progress | None = None,
    ) -> tuple[BatchResult, TxBatchResult]:
        """Receive and send the events, both from the first cycle on and neither waiting for the other.

        Parameters: see `sim.engine.base.Engine.run`. `cycles` of the results are those until both were done.
        """
        if self._broken:
            raise SimulationError("the last run failed halfway; reset the engine first")
        rx, tx = RxPass(events, self.config, ordered), TxPass(tx_events, self.config, ordered)
        options = Options(idle, backpressure, seed, watchdog)
        self._broken = True
        batch = Batch(
            {**_feeds(RECEIVE, rx.feeds), **_feeds(TRANSMIT, tx.feeds)},
            {**_wants(RECEIVE, rx.wants), **_wants(TRANSMIT, tx.wants)},
            options,
        )
        outcome = self.bench.run(batch, progress=progress)
        received, sent = _part(RECEIVE, outcome), _part(TRANSMIT, outcome)
        check(outcome, [rx.missing(received), tx.missing(sent)], options)
        more = None
        if rest := tx.rest(sent):
            whole = self.bench.run(Batch({}, _wants(TRANSMIT, rest), options), progress=progress)
            more = _part(TRANSMIT, whole)
            check(whole, [tx.missing_rest(sent, more)], options)
        results = rx.result(received, options), tx.result(sent, more, options)
        self._broken = False
        return results

    def reset(self) -> None:
        """Back to power-on."""
        self.bench.reset()
        self._broken = False

    def close(self) -> None:
        """Free the simulation; may be called again."""
        self.bench.close()

    def __enter__(self) -> "DuplexEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _feeds(part: str, feeds: Mapping[str, Feed]) -> dict[str, Feed]:
    return {
        f"{part}_{name}": replace(
            feed,
            barriers=[(item, {f"{part}_{n}": units for n, units in needs.items()}) for item, needs in feed.barriers],
        )
        for name, feed in feeds.items()
    }


def _wants(part: str, wants: Mapping[str, Want]) -> dict[str, Want]:
    return {f"{part}_{name}": want for name, want in wants.items()}


def _part(part: str, outcome: Outcome) -> Outcome:
    """What happened at the streams of one device, under its own names."""
    start = f"{part}_"
    return replace(
        outcome,
        fed={name.removeprefix(start): fed for name, fed in outcome.fed.items() if name.startswith(start)},
        taken={name.removeprefix(start): taken for name, taken in outcome.taken.items() if name.startswith(start)},
    )


def make_duplex_engine(
    name: str,
    config: Config,
    *,
    device: Callable[[Config], wiring.Component] | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> DuplexEngine:
    """An engine with a device of both directions (None: `hw.duplex.Duplex`). See `make_engine`."""
    sources: list[Path] = []
    if device is None:
        from hw.duplex import Duplex

        device, sources = Duplex, device_sources()
    chosen = device
    identity = f"{getattr(chosen, '__module__', '')}.{getattr(chosen, '__qualname__', '')} {config!r}"
    bench = make_bench(
        name, lambda: chosen(config), sources=sources, identity=identity, cache_dir=cache_dir, progress=progress
    )
    return DuplexEngine(config, bench)
