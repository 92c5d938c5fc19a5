"""Credit: admission into a pipeline that cannot be stopped."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Credit(wiring.Component):
    """Places left in a queue of `depth`, those taken by payloads still on their way counted as taken.

    Members
    -------
    take : In(1)    a payload sets out for the queue; only while `free`
    give : In(1)    a payload leaves the queue
    free : Out(1)
    """

    def __init__(self, depth):
        self._depth = depth
        super().__init__({"take": In(1), "give": In(1), "free": Out(1)})

    def elaborate(self, platform):
        m = Module()
        used = Signal(range(self._depth + 1))
        m.d.sync += used.eq(used + self.take - self.give)
        m.d.comb += self.free.eq(used != self._depth)
        return m


class FlagCredit(wiring.Component):
    """A Credit whose `free` comes from a register.

    Members
    -------
    as of Credit
    """

    def __init__(self, depth):
        self._depth = depth
        super().__init__({"take": In(1), "give": In(1), "free": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        used = Signal(range(self._depth + 1))
        with m.If(self.take & ~self.give):
            m.d.sync += [used.eq(used + 1), self.free.eq(used != self._depth - 1)]
        with m.Elif(self.give & ~self.take):
            m.d.sync += [used.eq(used - 1), self.free.eq(1)]
        return m


class DistantCredit(FlagCredit):
    """A FlagCredit that counts `take` and `give` a cycle later, so both may come from afar; one place is never used.

    Members
    -------
    as of Credit
    """

    def elaborate(self, platform):
        m = Module()
        used, taken, given = Signal(range(self._depth + 1)), Signal(), Signal()
        following = (used + taken - given)[: len(used)]
        m.d.sync += [
            taken.eq(self.take),
            given.eq(self.give),
            used.eq(following),
            self.free.eq(following < self._depth - 1),
        ]
        return m
