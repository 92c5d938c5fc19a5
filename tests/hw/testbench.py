"""A testbench for rooms in pysim: clock, reset, sources, sinks, random waits and a watchdog."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from amaranth.sim import Simulator


class Stalled(AssertionError):
    """The room produced less than was expected of it within the cycles it had."""


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
) -> list[list[Any]]:
    """Feed every input stream, collect every output stream; return the outputs' payloads in the order given.

    `inputs` holds (stream, payloads) pairs, `outputs` (stream, how many to wait for) pairs. A payload for a struct
    is a dict or an int; what is collected is an int (or `sample(payload)`). A source holds valid and payload until
    the transfer, as the stream rules ask; waits are random with the probabilities `idle` (source) and `backpressure`
    (sink). A sink also checks that valid, once up, holds with its payload. Raises Stalled after `cycles` cycles,
    naming the seed. `extra_cycles` go on after everything has arrived, to catch payloads nobody asked for.
    """
    in_list = list(inputs)
    out_list = list(outputs)
    got: list[list[Any]] = [[] for _ in out_list]
    take = sample or (lambda p: p if isinstance(p, int) else p.as_bits() if hasattr(p, "as_bits") else p)

    def source(stream, payloads, rng):
        async def run(ctx):
            for payload in payloads:
                while rng.random() < idle:
                    await ctx.tick()
                ctx.set(stream.payload, payload)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                ctx.set(stream.valid, 0)

        return run

    def sink(stream, store, rng):
        async def run(ctx):
            held = None
            while True:
                ready = rng.random() >= backpressure
                ctx.set(stream.ready, ready)
                _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
                value = take(payload)
                if held is not None:
                    assert valid and value == held, f"valid or payload did not hold (seed={seed})"
                held = value if valid and not ready else None
                if valid and ready:
                    store.append(value)

        return run

    async def watchdog(ctx):
        for _ in range(cycles):
            if all(len(g) >= n for g, (_, n) in zip(got, out_list, strict=True)):
                for _ in range(extra_cycles):
                    await ctx.tick()
                return
            await ctx.tick()
        have = [f"{len(g)} of {n}" for g, (_, n) in zip(got, out_list, strict=True)]
        raise Stalled(f"{type(dut).__name__}: {cycles} cycles, outputs have {', '.join(have)} (seed={seed})")

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for k, (stream, payloads) in enumerate(in_list):
        sim.add_testbench(source(stream, payloads, random.Random(f"{seed}/i{k}")), background=True)
    for k, ((stream, _), store) in enumerate(zip(out_list, got, strict=True)):
        sim.add_testbench(sink(stream, store, random.Random(f"{seed}/o{k}")), background=True)
    for process in processes:
        sim.add_testbench(process, background=True)
    sim.add_testbench(watchdog)
    sim.run()
    return got
