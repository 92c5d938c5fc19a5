"""Stand-ins for what a room is made of: they may do whatever the real part may, and more.

A proof about a room with them holds for the room with the real parts, if those keep what is assumed here; `streams.py`
proves that of the queue, and assumes nothing of the others.
"""

from typing import Any

from amaranth.hdl import Assume, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import aes, gf128
from hw.stream import Queue
from tests.formal.prover import Bench

CORE = "core"
"""In the names of what comes out of stand-ins of cipher and multiplier."""


def any_parts(bench: Bench) -> dict[int, Any]:
    """For `prover.replaced`: queues that give anything by the rules of streams, ciphers and products of any value."""

    def anything(m: Module, *outputs: Any, name: str = "free") -> None:
        for output in outputs:
            m.d.comb += Value.cast(output).eq(bench.free(len(Value.cast(output)), name))

    class AnyQueue(wiring.Component):
        def __init__(self, shape: Any, *, depth: int, buffered: bool = False):
            super().__init__({
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 2)),
            })  # fmt: skip

        def elaborate(self, platform: Any) -> Module:
            m = Module()
            payload = Value.cast(self.o.p)
            stalled, was = Signal(), Signal(len(payload))
            anything(m, self.i.ready, self.o.valid, self.o.p, self.level)
            m.d.sync += [stalled.eq(self.o.valid & ~self.o.ready), was.eq(payload)]
            m.d.comb += Assume(~stalled | (self.o.valid & (payload == was)))
            return m

    class AnyCipher(wiring.Component):
        """Right tags, two cycles later, beside blocks of any value."""

        delay = 2

        def __init__(self, lanes: int, tag: Any = 0, *_: Any):
            self._tag = tag
            super().__init__({
                "blocks": In(128).array(lanes),
                "key": In(256),
                "aes256": In(1),
                "i_tag": In(tag),
                "o": Out(128).array(lanes),
                "o_tag": Out(tag),
            })  # fmt: skip

        def elaborate(self, platform: Any) -> Module:
            m = Module()
            seen = Signal(256)
            anything(m, *self.o, name=CORE)
            m.d.comb += seen.eq(self.key)  # so that the netlist shows that it comes here
            first = Signal(self._tag)
            second = Signal(self._tag)
            m.d.sync += [first.eq(self.i_tag), second.eq(first)]
            m.d.comb += self.o_tag.eq(second)
            return m

    multiplier = gf128.Multiplier

    class AnyProduct(wiring.Component):
        delay = multiplier.delay

        def __init__(self, tag: Any = 0, terms: int = 1):
            real = multiplier(tag, terms)
            real._MustUse__used = True  # pyright: ignore
            super().__init__(dict(real.signature.members.items()))

        def elaborate(self, platform: Any) -> Module:
            m = Module()
            anything(m, self.o, name=CORE)
            anything(m, self.o_tag)
            return m

    return {id(Queue): AnyQueue, id(aes.AesPipeline): AnyCipher, id(multiplier): AnyProduct}


def shallow(most: int) -> dict[int, Any]:
    """For `prover.replaced`: the real queue with at most so many places."""

    class Shallow(Queue):
        def __init__(self, shape: Any, *, depth: int, buffered: bool = False):
            super().__init__(shape, depth=min(depth, most), buffered=buffered)

    return {id(Queue): Shallow}
