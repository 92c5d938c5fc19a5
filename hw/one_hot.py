"""State machines with a register for each state, for designs whose wires are slow."""

from contextlib import contextmanager
from functools import reduce
from operator import or_

from amaranth.hdl import Module, Signal, Value


class OneHot:
    """States and pulses, each a register: what a state does hangs on one register, not on a number to be decoded.

    A name that is asked for (`machine["walk"]`) is a register that is 1 in the cycle behind an arc to it that was
    taken. A state that waits has an arc to itself; a pulse is a name that no arc leads away from. `close` comes last.

    Members
    -------
    states : set[str]    the names that are no pulses
    """

    def __init__(self, m: Module, first: str, name: str = "in"):
        self._m = m
        self._name = name
        self._at = {first: self._register(first, init=1)}
        self._arcs: dict[str, list[Value]] = {}
        self.states: set[str] = set()

    def _register(self, state: str, init: int = 0) -> Signal:
        return Signal(name=f"{self._name}_{state.replace(' ', '_')}", init=init)

    def __getitem__(self, state: str) -> Signal:
        if state not in self._at:
            self._at[state] = self._register(state)
        return self._at[state]

    def go(self, source: str, *targets: str, when: Value | None = None) -> None:
        """An arc; the conditions under which a state is left or stays are to exclude one another."""
        here = self[source]
        self.states.add(source)
        for target in targets:
            self._arcs.setdefault(target, []).append(here if when is None else here & when)

    def close(self) -> None:
        unreached = self._at.keys() - self._arcs.keys()
        if unreached:
            raise ValueError(f"no arc leads to {', '.join(sorted(unreached))}")
        for target, arcs in self._arcs.items():
            self._m.d.sync += self[target].eq(reduce(or_, arcs))


class Machine:
    """States as `m.FSM` has them, or with `one_hot` a register for each: then no state is a number to be decoded.

    `with machine: with machine.state("idle"): ...; machine.to("walk")`. The first state is where a reset leads.
    """

    def __init__(self, m: Module, *, one_hot: bool):
        self._m = m
        self._fsm = None if one_hot else m.FSM()
        self._at: dict[str, Signal] = {}
        self._here: Signal | None = None
        self._targets: list[Signal] = []

    def __enter__(self):
        if self._fsm is not None:
            self._fsm.__enter__()
        return self

    def __exit__(self, *failure):
        if self._fsm is not None:
            self._fsm.__exit__(*failure)

    def _register(self, state: str) -> Signal:
        if state not in self._at:
            self._at[state] = Signal(name=f"in_{state.replace(' ', '_')}", init=not self._at)
        return self._at[state]

    @contextmanager
    def state(self, name: str):
        if self._fsm is not None:
            with self._m.State(name):
                yield
            return
        self._here, self._targets = self._register(name), []
        with self._m.If(self._here):
            yield

    def to(self, state: str) -> None:
        """In a state: the next one; the last word counts, as with `m.next`."""
        if self._fsm is not None:
            self._m.next = state
            return
        assert self._here is not None
        target = self._register(state)
        self._m.d.sync += [other.eq(0) for other in (self._here, *self._targets)]
        self._m.d.sync += target.eq(1)
        self._targets.append(target)
