"""The bench on Amaranth's own simulator: needs nothing but Python, hundreds of cycles a second."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

from sim.engine.bench import (
    Batch,
    Bench,
    Cycles,
    Outcome,
    Port,
    Progress,
    SimulationError,
    Taken,
    Waveform,
    from_words,
    probe_ports,
    random_draw,
    random_state,
    threshold,
    to_words,
)

PROGRESS_CYCLES = 200
"""Cycles between two calls of the progress function."""


class _Source:
    def __init__(self, number: int, port: Port, member: Any, batch: Batch, rows: Cycles):
        feed = batch.feeds.get(port.name)
        self.name = port.name
        self.payload = Value.cast(member.payload)
        self.valid = member.valid
        self.items = from_words(feed.items) if feed else []
        self.mark = feed.mark if feed else None
        self.barriers = rows.tolist()
        self.random = random_state(batch.options.seed, number)
        self.cycles: list[int] = []
        self.units = 0
        self.barrier = 0
        self.holding = False

    @property
    def finished(self) -> bool:
        return len(self.cycles) == len(self.items)


class _Sink:
    def __init__(self, number: int, port: Port, member: Any, batch: Batch):
        want = batch.wants.get(port.name)
        self.name = port.name
        self.always_ready = port.always_ready
        self.ready_signal = member.ready
        self.capacity = want.capacity if want else 0
        self.wanted = want.units if want else 0
        self.mark = want.mark if want else None
        self.random = random_state(batch.options.seed, number)
        self.items: list[int] = []
        self.cycles: list[int] = []
        self.units = 0
        self.ready = False
        self.held: int | None = None


def _marked(payload: int, mark: int | None) -> bool:
    return mark is None or bool(payload >> mark & 1)


class _Run:
    """A batch under way: the same steps as `Simulation::run` in harness.cpp."""

    def __init__(self, bench: "PysimBench", component: Any, batch: Batch):
        inputs, outputs = bench.inputs, bench.outputs
        self.batch = batch
        self.sources = [
            _Source(k, p, p.of(component), batch, bench.barrier_rows(batch, p.name)) for k, p in enumerate(inputs)
        ]
        self.sinks = [_Sink(len(inputs) + k, p, p.of(component), batch) for k, p in enumerate(outputs)]
        self.settings = [
            (Value.cast(p.of(component)), batch.settings[p.name]) for p in bench.settings if p.name in batch.settings
        ]
        self.idle = threshold(batch.options.idle)
        self.backpressure = threshold(batch.options.backpressure)
        self.cycle = 0
        self.progress = 0
        self.done = -1
        self.status: str | None = None
        self.stream: str | None = None

    def _free_to_go(self, source: _Source) -> bool:
        while source.barrier < len(source.barriers):
            item, *needs = source.barriers[source.barrier]
            if item > len(source.cycles):
                return True
            if any(s.units < n for s, n in zip((*self.sources, *self.sinks), needs, strict=True)):
                return False
            source.barrier += 1
        return True

    def rest(self, ctx: Any) -> None:
        for source in self.sources:
            ctx.set(source.valid, 0)
        for sink in self.sinks:
            if not sink.always_ready:
                ctx.set(sink.ready_signal, 0)

    def drive(self, ctx: Any) -> None:
        for source in self.sources:
            wait = False
            if self.idle:
                source.random, drawn = random_draw(source.random)
                wait = drawn < self.idle
            if not source.holding and not source.finished and not wait and self._free_to_go(source):
                ctx.set(source.payload, source.items[len(source.cycles)])
                source.holding = True
            ctx.set(source.valid, source.holding)
        for sink in self.sinks:
            sink.ready = True
            if sink.always_ready:
                continue
            if self.backpressure:
                sink.random, drawn = random_draw(sink.random)
                sink.ready = drawn >= self.backpressure
            ctx.set(sink.ready_signal, sink.ready)
        if all(s.finished for s in self.sources) and all(s.units >= s.wanted for s in self.sinks):
            if self.done < 0:
                self.done = self.cycle
            if self.cycle - self.done >= self.batch.options.settle:
                self.status = "done"
                self.rest(ctx)
        elif self.cycle - self.progress > self.batch.options.watchdog:
            self.status = "stalled"

    def sample(self, readies: Sequence[int], valids: Sequence[int], payloads: Sequence[int]) -> None:
        for sink, valid, payload in zip(self.sinks, valids, payloads, strict=True):
            if sink.held is not None and (not valid or payload != sink.held):
                self.status, self.stream = "unstable", sink.name
                return
            sink.held = None
            if not valid:
                continue
            if not sink.ready:
                sink.held = payload
                continue
            if len(sink.items) == sink.capacity:
                self.status, self.stream = "surplus", sink.name
                return
            sink.items.append(payload)
            sink.cycles.append(self.cycle)
            sink.units += _marked(payload, sink.mark)
            self.progress = self.cycle
        for source, ready in zip(self.sources, readies, strict=True):
            if source.holding and ready:
                source.units += _marked(source.items[len(source.cycles)], source.mark)
                source.cycles.append(self.cycle)
                source.holding = False
        self.cycle += 1


class PysimBench(Bench):
    """A component on pysim.

    A waveform starts at power-on, for amaranth.sim cannot begin one later: the session is replayed for it.
    """

    def __init__(self, factory: Callable[[], wiring.Component]):
        self._factory = factory
        self.ports = probe_ports(factory)
        for port in self.inputs:
            if port.always_valid:
                raise TypeError(f"{port.name}: an always-valid input cannot be driven by batches")
        self._history: list[Batch] = []
        self._simulator: Simulator | None = None  # made by the first run
        self._run_now: _Run | None = None
        self._states: dict[str, int] = {}
        self._closed = False

    def _open(self) -> Simulator:
        self._component = component = self._factory()
        self._run_now = None
        simulator = Simulator(component)
        simulator.add_clock(1e-8)
        members: list[Any] = [p.of(component) for p in self.inputs]
        out_members: list[Any] = [p.of(component) for p in self.outputs]
        sampled = [
            *(Value.cast(m.ready) for m in members),
            *(Value.cast(m.valid) for m in out_members),
            *(Value.cast(m.payload) for m in out_members),
        ]
        n, k = len(members), len(out_members)
        states = [(p.name, Value.cast(p.of(component))) for p in self.states]

        async def testbench(ctx: Any) -> None:
            started = None
            async for _, _, *values in ctx.tick().sample(*sampled):
                run = self._run_now
                if run is None:
                    continue
                if run is not started:
                    started = run
                    for value, setting in run.settings:
                        ctx.set(value, setting)
                else:
                    run.sample(values[:n], values[n : n + k], values[n + k :])
                if run.status is None:
                    run.drive(ctx)
                if run.status is not None:
                    self._states = {name: ctx.get(value) for name, value in states}
                    self._run_now = None

        simulator.add_testbench(testbench)
        self._simulator = simulator
        return simulator

    def barrier_rows(self, batch: Batch, name: str) -> Cycles:
        feed = batch.feeds.get(name)
        return self._barrier_rows(feed) if feed else np.zeros((0, 1), dtype=np.int64)

    def run(self, batch: Batch, *, waveform: Waveform | None = None, progress: Progress | None = None) -> Outcome:
        self._check(batch)
        self._live()
        if not waveform:
            self._history.append(batch)
            return self._run(self._simulator or self._open(), batch, progress)
        simulator = self._open()
        writer: AbstractContextManager[Any] = simulator.write_vcd(str(waveform.path))
        with writer:
            for earlier in self._history:
                self._run(simulator, earlier, None)
            self._history.append(batch)
            return self._run(simulator, batch, progress)

    def _live(self) -> None:
        if self._closed:
            raise SimulationError("the engine is closed")

    def _run(self, simulator: Simulator, batch: Batch, progress: Progress | None) -> Outcome:
        run = self._run_now = _Run(self, self._component, batch)
        told = 0
        total = sum(w.units for w in batch.wants.values()) or 1
        while run.status is None:
            simulator.advance()
            if progress and run.cycle >= told + PROGRESS_CYCLES:
                told = run.cycle
                progress(f"{run.cycle} cycles", min(sum(s.units for s in run.sinks) / total, 1.0))
        return Outcome(
            status=run.status,
            cycles=run.cycle,
            fed={s.name: np.array(s.cycles, dtype=np.int64) for s in run.sources},
            taken={
                s.name: Taken(to_words(s.items, p.words), np.array(s.cycles, dtype=np.int64), s.units)
                for s, p in zip(run.sinks, self.outputs, strict=True)
            },
            stream=run.stream,
        )

    def get(self, name: str) -> int:
        return self._states[name]

    def reset(self) -> None:
        self._live()
        self._history.clear()
        self._simulator = self._run_now = None

    def close(self) -> None:
        self._closed = True
        self._simulator = self._run_now = None
