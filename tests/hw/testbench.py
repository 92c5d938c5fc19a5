"""A testbench for rooms in pysim: clock, reset, sources, sinks, random waits and a watchdog."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from amaranth.hdl import Signal, Value
from amaranth.sim import Simulator


class Stalled(AssertionError):
    """The room produced less than was expected of it within the cycles it had."""


class Source:
    """Offers payloads one by one, each after a wait."""

    def __init__(self, stream: Any, payloads: Iterable[Any], idle: float, rng: random.Random):
        self.stream = stream
        self.payloads = iter(payloads)
        self.idle = idle
        self.rng = rng
        self.valid = False
        self.next = next(self.payloads, None)

    def drive(self, ctx: Any) -> None:
        if self.next is not None and not self.rng.random() < self.idle:
            ctx.set(self.stream.payload, self.next)
            ctx.set(self.stream.valid, 1)
            self.valid = True
            self.next = next(self.payloads, None)

    def clock(self, ctx: Any, ready: int) -> None:
        if self.valid and not ready:
            return
        was, self.valid = self.valid, False
        self.drive(ctx)
        if was and not self.valid:
            ctx.set(self.stream.valid, 0)


class Sink:
    def __init__(self, stream: Any, backpressure: float, rng: random.Random):
        self.stream = stream
        self.backpressure = backpressure
        self.rng = rng
        self.ready = False
        self.held: Any = None

    def drive(self, ctx: Any) -> None:
        self.ready = self.rng.random() >= self.backpressure
        ctx.set(self.stream.ready, self.ready)


def run_streams(
    dut: Any,
    inputs: Sequence[tuple[Any, Iterable[Any]]],
    outputs: Sequence[tuple[Any, int]],
    *,
    idle: float = 0.0,
    backpressure: float = 0.0,
    seed: int = 0,
    cycles: int = 20_000,
    sample: Callable[[Any], Any] | None = None,
    processes: Iterable[Callable[[Any], Any]] = (),
    extra_cycles: int = 0,
    lead: int = 0,
) -> list[list[Any]]:
    """Feed every input stream, collect every output stream; return the outputs' payloads in the order given.

    `inputs` holds (stream, payloads) pairs, `outputs` (stream, how many to wait for) pairs. A payload for a struct
    is a dict or an int; what is collected is an int (or `sample(payload)`). A source holds valid and payload until
    the transfer, as the stream rules ask; waits are random with the probabilities `idle` (source) and `backpressure`
    (sink). A sink also checks that valid, once up, holds with its payload. Raises Stalled after `cycles` cycles,
    naming the seed. `extra_cycles` go on after everything has arrived, to catch payloads nobody asked for. The first
    `lead` inputs are used up before the others are offered.
    """
    in_list = list(inputs)
    out_list = list(outputs)
    got: list[list[Any]] = [[] for _ in out_list]
    take = sample or (lambda payload: payload)
    over = Signal()

    # One process for all streams: in a testbench the design would settle after each value set.
    async def streams(ctx):
        sources = [Source(s, payloads, idle, random.Random(f"{seed}/i{k}")) for k, (s, payloads) in enumerate(in_list)]
        sinks = [Sink(s, backpressure, random.Random(f"{seed}/o{k}")) for k, (s, _) in enumerate(out_list)]
        readies = [s.ready for s, _ in in_list]
        valids = [s.valid for s, _ in out_list]
        payloads = [s.payload if sample else Value.cast(s.payload) for s, _ in out_list]
        offered = sources[:lead] or sources
        for end in (*offered, *sinks):
            end.drive(ctx)
        cycle, left = 0, extra_cycles
        async for _, _, *values in ctx.tick().sample(*readies, *valids, *payloads):
            for source, ready in zip(offered, values, strict=False):
                source.clock(ctx, ready)
            if len(offered) < len(sources) and not any(s.valid or s.next is not None for s in offered):
                for source in sources[lead:]:
                    source.drive(ctx)
                offered = sources
            out = values[len(sources) :]
            for sink, store, valid, payload in zip(sinks, got, out[: len(sinks)], out[len(sinks) :], strict=True):
                value = take(payload)
                if sink.held is not None:
                    assert valid and value == sink.held, f"valid or payload did not hold (seed={seed})"
                sink.held = value if valid and not sink.ready else None
                if valid and sink.ready:
                    store.append(value)
                sink.drive(ctx)
            cycle += 1
            if all(len(g) >= n for g, (_, n) in zip(got, out_list, strict=True)):
                ctx.set(over, left == 0)
                left -= 1
            elif cycle > cycles:
                have = [f"{len(g)} of {n}" for g, (_, n) in zip(got, out_list, strict=True)]
                raise Stalled(f"{type(dut).__name__}: {cycles} cycles, outputs have {', '.join(have)} (seed={seed})")

    async def until_over(ctx):
        await ctx.posedge(over)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_process(streams)
    for process in processes:
        sim.add_testbench(process, background=True)
    sim.add_testbench(until_over)
    sim.run()
    return got
