"""A state machine with a register for each state, for designs whose wires are slow."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Signal, Value


class OneHot:
    """States and pulses, each a register: what a state does hangs on one register, not on a number to be decoded.

    A name that is asked for (`machine["walk"]`) is a register that is 1 in the cycle behind an arc to it that was
    taken. A state that waits has an arc to itself; a pulse is a name that no arc leads away from. `close` comes last.
    """

    def __init__(self, m: Module, first: str, name: str = "in"):
        self._m = m
        self._name = name
        self._at = {first: self._register(first, init=1)}
        self._arcs: dict[str, list[Value]] = {}

    def _register(self, state: str, init: int = 0) -> Signal:
        return Signal(name=f"{self._name}_{state.replace(' ', '_')}", init=init)

    def __getitem__(self, state: str) -> Signal:
        if state not in self._at:
            self._at[state] = self._register(state)
        return self._at[state]

    def go(self, source: str, *targets: str, when: Value | None = None) -> None:
        """An arc; the conditions under which a state is left or stays are to exclude one another."""
        here = self[source]
        for target in targets:
            self._arcs.setdefault(target, []).append(here if when is None else here & when)

    def close(self) -> None:
        unreached = self._at.keys() - self._arcs.keys()
        if unreached:
            raise ValueError(f"no arc leads to {', '.join(sorted(unreached))}")
        for target, arcs in self._arcs.items():
            self._m.d.sync += self[target].eq(reduce(or_, arcs))
