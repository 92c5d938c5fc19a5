"""docs/verilog.md: what was played is everything, and it was equal."""

import pytest

from tests.verilog import page
from tests.verilog.cases import NAMES, SIMULATORS, WAITS


@pytest.fixture
def data():
    return page.load()


def test_the_page_is_up_to_date(data):
    """`make verilog-page` writes it."""
    assert page.PAGE.read_text() == page.markdown(data)


def test_all_captures_are_equal_in_both_simulators(data):
    runs = {(name, simulator): data["captures"][name][simulator] for name in NAMES for simulator in SIMULATORS}
    assert [where for where, run in runs.items() if not run["equal"]] == []
    for name in NAMES:
        one, other = (data["captures"][name][simulator] for simulator in SIMULATORS)
        assert {**one, "seconds": 0} == {**other, "seconds": 0}, name


def test_the_whole_matrix_is_equal_in_both_simulators(data):
    for pair in WAITS:
        one, other = (data["waits"][page.point(*pair)][simulator] for simulator in SIMULATORS)
        assert one["equal"] and {**one, "seconds": 0} == {**other, "seconds": 0}, pair
    cycles = [data["waits"][page.point(*pair)]["icarus"]["cycles"] for pair in WAITS]
    assert cycles[0] == min(cycles) and cycles[-1] > 3 * cycles[0]
