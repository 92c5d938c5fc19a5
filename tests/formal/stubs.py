"""Stand-ins for what a room is made of: they may do whatever the real part may, and more.

A proof about a room with them holds for the room with the real parts, if those keep what is assumed here; `streams.py`
proves that of the queue, and assumes nothing of the others.
"""

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Assume, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import aes, gf128
from hw.rotate import shift_right_bytes
from hw.stream import FlagQueue, Queue
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

    return {id(Queue): AnyQueue, id(FlagQueue): AnyQueue, id(aes.AesPipeline): AnyCipher, id(multiplier): AnyProduct}


def any_room(bench: Bench, kind: Any) -> Any:
    """A room of this kind that does anything."""

    class AnyRoom(kind):
        def elaborate(self, platform: Any) -> Module:
            m = Module()
            for _, member, value in self.signature.flatten(self):
                if member.flow == Out:
                    m.d.comb += Value.cast(value).eq(bench.free(len(Value.cast(value))))
            return m

    return AnyRoom


def counted(bench: Bench) -> dict[int, Any]:
    """For `prover.replaced`: queues that give anything by the rules of streams, and whose level is right (order.py)."""

    class Counted(wiring.Component):
        def __init__(self, shape: Any, *, depth: int, buffered: bool = False):
            self._depth = depth
            super().__init__({
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 2)),
            })  # fmt: skip

        def elaborate(self, platform: Any) -> Module:
            m = Module()
            moves = [stream.valid & stream.ready for stream in (self.i, self.o)]
            for output in (self.o.valid, self.o.p):
                m.d.comb += Value.cast(output).eq(bench.free(len(Value.cast(output))))
            m.d.comb += [self.i.ready.eq(self.level != self._depth), Assume(self.o.valid == (self.level != 0))]
            m.d.sync += self.level.eq(self.level + moves[0] - moves[1])
            m.d.comb += Assume(self.level <= self._depth)  # of a state in the induction: it begins at 0
            stalled, was = Signal(), Signal(len(Value.cast(self.o.p)))
            m.d.sync += [stalled.eq(self.o.valid & ~self.o.ready), was.eq(self.o.p)]
            m.d.comb += Assume(~stalled | (Value.cast(self.o.p) == was))
            return m

    return {id(Queue): Counted}


def shallow(most: int) -> dict[int, Any]:
    """For `prover.replaced`: the real queue with at most so many places."""

    class Shallow(Queue):
        def __init__(self, shape: Any, *, depth: int, buffered: bool = False):
            super().__init__(shape, depth=min(depth, most), buffered=buffered)

    return {id(Queue): Shallow}


def one_row(bench: Bench, connection: Value) -> dict[int, Any]:
    """For `prover.replaced`: memories of which one row is there, any one of a connection; the others answer anything.

    Members of one: `kept`, what the row holds; `writes`, that it is written in this cycle; `writing`, with what.
    """

    class OneRow(Elaboratable):
        def __init__(self, *, shape: Any, depth: int, init: Any):
            self._depth, self._shape = depth, shape
            self.kept = Signal(shape, name=bench.name("kept"))
            self.writes = Signal(name=bench.name("writes"))

        def _port(self, **more: Any) -> Any:
            return SimpleNamespace(addr=Signal(range(self._depth)), data=Signal(self._shape), en=Signal(**more))

        def read_port(self) -> Any:
            self._reader = self._port(init=1)
            return self._reader

        def write_port(self) -> Any:
            self._writer = self._port()
            return self._writer

        @property
        def writing(self) -> Value:
            return Value.cast(self._writer.data)

        def elaborate(self, platform: Any) -> Module:
            m = Module()
            reader, writer = self._reader, self._writer
            below = (self._depth - 1).bit_length() - len(connection)  # bits that number a connection's rows
            some = bench.free(below)
            some_was = Signal.like(some)
            m.d.sync += some_was.eq(some)
            m.d.comb += Assume(bench.first | (some == some_was))
            row = Cat(some, connection)
            m.d.comb += self.writes.eq(writer.en & (writer.addr == row))
            with m.If(self.writes):
                m.d.sync += Value.cast(self.kept).eq(writer.data)
            other = bench.free(len(Value.cast(self.kept)))
            was, mine = Signal.like(Value.cast(self.kept)), Signal()
            with m.If(reader.en):
                m.d.sync += [mine.eq(reader.addr == row), was.eq(self.kept)]
            m.d.comb += Value.cast(reader.data).eq(Mux(mine, was, other))
            return m

    def any_bytes(value: Any, count: Any, size: int) -> Value:
        return bench.free(8 * size)

    return {id(memory): SimpleNamespace(Memory=OneRow), id(shift_right_bytes): any_bytes}
