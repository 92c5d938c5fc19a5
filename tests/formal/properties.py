"""What is proved: a claim about a room, how it is shown, and faults that must make it false."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from tests.formal.prover import Bench, Fault, Method, changed, replaced
from tests.formal.stubs import any_parts, counted, one_row, shallow


@dataclass(frozen=True)
class Property:
    room: str
    claim: str
    method: Method
    faults: tuple[Fault, ...]
    build: Callable[[Bench], Any]
    parts: str
    """Stand-ins of stubs.py: `any`, `counted`, `row`, `shallow` (queues of four places); `real`: none."""
    fast: bool

    def __str__(self):
        return f"{self.room}: {self.claim}"

    @contextmanager
    def bench(self, fault: Fault | None = None) -> Iterator[Bench]:
        bench = Bench()
        with changed(fault) if fault else nullcontext():
            parts = {
                "any": lambda: any_parts(bench),
                "shallow": lambda: shallow(4),
                "counted": lambda: counted(bench),
                "row": lambda: one_row(bench, bench.connection),
                "real": dict,
            }[self.parts]()
            with replaced(parts):
                self.build(bench)
                yield bench


PROPERTIES: list[Property] = []


def table() -> str:
    """For docs/formal.md."""
    rows = [f"| {p.room} | {p.claim} | {p.method} | {len(p.faults)} |" for p in PROPERTIES]
    return "\n".join(["| room | what | how | faults |", "| --- | --- | --- | --- |", *rows])


def proved(
    room: str, claim: str, method: Method, *faults: Fault, parts: str = "any", fast: bool = False
) -> Callable[[Callable[[Bench], Any]], Callable[[Bench], Any]]:
    """Register what the function builds in the bench it is given. `fast`: about a second each, for the default run."""

    def register(build: Callable[[Bench], Any]) -> Callable[[Bench], Any]:
        PROPERTIES.append(Property(room, claim, method, faults, build, parts, fast))
        return build

    return register
