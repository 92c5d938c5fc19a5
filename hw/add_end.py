"""The end of an ADD, while the next one is begun."""

from amaranth.hdl import Module, Signal

from hw import layouts
from model.contract import Result


class AddEnd:
    """The machine beside that of the commands: powers of H are made, the connection is shown, ADD is answered.

    Contract: `hand_over` only while `ending` is 0. Until the answer is taken `ending` is 1, and nothing
    else is answered.

    Members
    -------
    hand_over : Signal    to be set for a cycle: the connection of `handle` has everything but its powers
    ending : Signal       the machine is busy
    added : Signal        handle of the connection whose powers are made
    """

    def __init__(self, m: Module, control, handle):
        self.m = m
        self.control = control
        self.handle = handle
        self.added = Signal(layouts.HANDLE_BITS)
        self.hand_over = Signal()
        self.ending = Signal()

    def states(self):
        m, control = self.m, self.control
        powers, responses = control.powers, control.responses
        with m.FSM(name="end"):
            with m.State("idle"):
                with m.If(self.hand_over):
                    m.d.sync += [self.added.eq(self.handle), self.ending.eq(1)]
                    m.next = "powers"
            with m.State("powers"):
                m.d.comb += [powers.valid.eq(control.subkey.valid), control.subkey.ready.eq(powers.ready)]
                with m.If(powers.valid & powers.ready):
                    m.next = "powers done"
            with m.State("powers done"):
                with m.If(control.powers_done):
                    if not control.transmit:
                        m.d.comb += control.show.eq(1)
                    m.next = "respond"
            with m.State("respond"):
                m.d.comb += [
                    responses.valid.eq(1),
                    responses.p.handle.eq(self.added),
                    responses.p.result.eq(Result.OK),
                ]
                with m.If(responses.ready):
                    m.d.sync += self.ending.eq(0)
                    m.next = "idle"
