"""The compiled bench: a component through Verilator, driven by harness.cpp, millions of cycles a call."""

import ctypes
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from amaranth.lib import wiring

from sim.engine.bench import (
    Batch,
    Bench,
    Outcome,
    Progress,
    SimulationError,
    Taken,
    Waveform,
    probe_ports,
    random_state,
    threshold,
    to_words,
)
from sim.engine.toolchain import Builder, Model, load

SLICE = 200_000
"""Cycles a call into the library; between calls progress is told and an interrupt is seen."""

_DONE, _MORE, _STALLED, _SURPLUS, _UNSTABLE = range(5)
_STATUS = {_DONE: "done", _STALLED: "stalled", _SURPLUS: "surplus", _UNSTABLE: "unstable"}


class _Source(ctypes.Structure):  # mirrors harness.cpp, as do the two below
    _fields_ = [
        ("items", ctypes.c_void_p),
        ("count", ctypes.c_uint64),
        ("barriers", ctypes.c_void_p),
        ("barrier_count", ctypes.c_uint64),
        ("cycles", ctypes.c_void_p),
        ("mark", ctypes.c_int64),
        ("random", ctypes.c_uint64),
        ("sent", ctypes.c_uint64),
        ("units", ctypes.c_uint64),
        ("barrier", ctypes.c_uint64),
        ("valid", ctypes.c_uint64),
    ]


class _Sink(ctypes.Structure):
    _fields_ = [
        ("items", ctypes.c_void_p),
        ("cycles", ctypes.c_void_p),
        ("capacity", ctypes.c_uint64),
        ("wanted", ctypes.c_uint64),
        ("mark", ctypes.c_int64),
        ("random", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("units", ctypes.c_uint64),
        ("held", ctypes.c_uint64),
    ]


class _Control(ctypes.Structure):
    _fields_ = [
        ("cycle", ctypes.c_int64),
        ("limit", ctypes.c_int64),
        ("progress", ctypes.c_int64),
        ("done", ctypes.c_int64),
        ("watchdog", ctypes.c_int64),
        ("settle", ctypes.c_int64),
        ("idle", ctypes.c_uint64),
        ("backpressure", ctypes.c_uint64),
        ("trace_first", ctypes.c_int64),
        ("trace_last", ctypes.c_int64),
        ("stream", ctypes.c_int64),
    ]


class CompiledBench(Bench):
    """A component on the compiled engine.

    A waveform needs a second model, built when the first one is asked for; the session is then replayed on it
    from power-on.

    Parameters
    ----------
    factory : Callable[[], wiring.Component]
        Makes the component. It is called to see the ports even when the model is in the cache.
    sources, identity
        See `Builder.build`.
    """

    def __init__(
        self,
        factory: Callable[[], wiring.Component],
        *,
        sources: Iterable[Path] = (),
        identity: str = "",
        cache_dir: Path | None = None,
        progress: Progress | None = None,
    ):
        self._factory = factory
        self._sources = list(sources)
        self._identity = identity
        self._builder = Builder(cache_dir, progress=progress)
        self.ports = probe_ports(factory)
        for port in self.inputs:
            if port.always_valid:
                raise TypeError(f"{port.name}: an always-valid input cannot be driven by batches")
        self._history: list[Batch] = []
        self._simulation: int | None = None
        self._traced = False
        self.model: Model
        self._open(traced=False)

    def _open(self, *, traced: bool) -> None:
        self.close()
        self._traced = traced
        self.model = self._builder.build(
            self._factory, self.ports, traced=traced, sources=self._sources, identity=self._identity
        )
        self._library = load(self.model.path)
        self._simulation = self._library.simulation_new()

    def _live(self) -> int:
        if self._simulation is None:
            raise SimulationError("the engine is closed")
        return self._simulation

    def run(self, batch: Batch, *, waveform: Waveform | None = None, progress: Progress | None = None) -> Outcome:
        self._check(batch)
        self._live()
        if waveform and not self._traced:
            self._open(traced=True)
            for earlier in self._history:
                self._run(earlier, None, None)
        self._history.append(batch)
        return self._run(batch, waveform, progress)

    def _run(self, batch: Batch, waveform: Waveform | None, progress: Progress | None) -> Outcome:
        simulation = self._live()
        options = batch.options
        for name, value in batch.settings.items():
            number = [p.name for p in self.settings].index(name)
            words = to_words([value], self.settings[number].words)
            self._library.simulation_set(simulation, number, words.ctypes.data)

        alive: list[np.ndarray] = []  # the structures hold bare addresses

        def address(array: np.ndarray) -> int:
            alive.append(array)
            return array.ctypes.data

        sources = (_Source * max(len(self.inputs), 1))()
        fed: dict[str, np.ndarray] = {}
        for k, port in enumerate(self.inputs):
            source = sources[k]
            source.random = random_state(options.seed, k)
            source.mark = -1
            fed[port.name] = np.zeros(0, dtype=np.int64)
            if feed := batch.feeds.get(port.name):
                items = np.ascontiguousarray(feed.items, dtype=np.uint32)
                rows = self._barrier_rows(feed)
                fed[port.name] = np.full(len(items), -1, dtype=np.int64)
                source.items, source.count = address(items), len(items)
                source.barriers, source.barrier_count = address(rows), len(rows)
                source.cycles = address(fed[port.name])
                source.mark = -1 if feed.mark is None else feed.mark

        sinks = (_Sink * max(len(self.outputs), 1))()
        stores: list[tuple[np.ndarray, np.ndarray]] = []
        for k, port in enumerate(self.outputs):
            sink = sinks[k]
            want = batch.wants.get(port.name)
            capacity = want.capacity if want else 0
            store = (np.empty((capacity, port.words), np.uint32), np.empty(capacity, np.int64))
            stores.append(store)
            sink.items, sink.cycles, sink.capacity = address(store[0]), address(store[1]), capacity
            sink.random = random_state(options.seed, len(self.inputs) + k)
            sink.wanted = want.units if want else 0
            sink.mark = -1 if want is None or want.mark is None else want.mark

        control = _Control(done=-1, watchdog=options.watchdog, settle=options.settle, stream=-1)
        control.idle, control.backpressure = threshold(options.idle), threshold(options.backpressure)
        control.trace_first = waveform.first if waveform else 0
        control.trace_last = waveform.last if waveform and waveform.last is not None else (1 << 62)
        if waveform and not self._library.simulation_trace(simulation, str(waveform.path).encode()):
            raise SimulationError(f"cannot write the waveform {waveform.path}")
        total = sum(w.units for w in batch.wants.values()) or 1
        try:
            status = _MORE
            while status == _MORE:
                control.limit = control.cycle + SLICE
                status = self._library.simulation_run(simulation, sources, sinks, ctypes.byref(control))
                if progress:
                    have = sum(sinks[k].units for k in range(len(self.outputs)))
                    progress(f"{control.cycle} cycles", min(have / total, 1.0))
        finally:
            if waveform:
                self._library.simulation_trace(simulation, None)

        taken = {
            port.name: Taken(items[: sinks[k].count], cycles[: sinks[k].count], sinks[k].units)
            for k, (port, (items, cycles)) in enumerate(zip(self.outputs, stores, strict=True))
        }
        return Outcome(
            status=_STATUS[status],
            cycles=control.cycle,
            fed={port.name: fed[port.name][: sources[k].sent] for k, port in enumerate(self.inputs)},
            taken=taken,
            stream=self.outputs[control.stream].name if control.stream >= 0 else None,
        )

    def get(self, name: str) -> int:
        number = [p.name for p in self.states].index(name)
        words = np.zeros(self.states[number].words, dtype=np.uint32)
        self._library.simulation_get(self._live(), number, words.ctypes.data)
        return int.from_bytes(words.tobytes(), "little")

    def reset(self) -> None:
        self._live()
        self._history.clear()
        self._library.simulation_delete(self._simulation)
        self._simulation = self._library.simulation_new()

    def close(self) -> None:
        if self._simulation is not None:
            self._library.simulation_delete(self._simulation)
            self._simulation = None
