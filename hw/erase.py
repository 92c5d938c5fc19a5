"""Erasing what rooms keep of a connection: behind DEL, behind an ADD that found no place, and behind a reset."""

from amaranth.hdl import Module, Signal

from hw import layouts
from hw.config import Config


class Erase:
    """States "erase" to "clear handle" of the commands' machine, and what a reset leaves to be erased.

    A reset leaves memories as they are. If a connection was installed since power-on, every index is erased before the
    first command is taken.

    Members
    -------
    sweeping : Value      memories hold connections from before the reset
    swept : Signal        the index that is erased next then
    """

    def __init__(self, m: Module, control, config: Config):
        self.m = m
        self.control = control
        self._installed = Signal(reset_less=True, name="installed")  # memories may hold a connection
        self._unswept = Signal(init=1, name="unswept")  # since the reset
        self.sweeping = self._unswept & self._installed
        self.swept = Signal(config.index_bits)
        self._connections = config.connections

    def install(self):
        """Statements where a connection is installed."""
        return [self._installed.eq(1), self._unswept.eq(0)]

    def states(self, machine, send, handles):
        """Tracker state, key, powers: all zero. `send(stream, next state)` offers an operation until it is taken."""
        m, control = self.m, self.control
        with machine.state("erase"):
            m.d.comb += control.tracker.p.kind.eq(layouts.TrackerOperation.CLEAR)
            send(control.tracker, "erased")
        with machine.state("erased"):
            m.d.comb += control.tracker_answers.ready.eq(1)
            with m.If(control.tracker_answers.valid):
                machine.to("erase key")
        with machine.state("erase key"):
            send(control.keys, "erase powers")
        with machine.state("erase powers"):
            send(control.powers, "powers erased")
        with machine.state("powers erased"):
            with m.If(control.powers_done):
                machine.to("respond")
                with m.If(control.sweeping):
                    m.d.sync += self.swept.eq(self.swept + 1)
                    with m.If(self.swept == self._connections - 1):
                        m.d.sync += [self._installed.eq(0), self._unswept.eq(0)]
                    machine.to("idle")

        with machine.state("sweep"):
            machine.to("clear handle")
        with machine.state("clear handle"):
            m.d.comb += handles.clear.eq(1)
            machine.to("erase")
