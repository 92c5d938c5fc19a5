"""docs/verilog.md: what was played is everything, and it was equal."""

import pytest

from tests.verilog import page
from tests.verilog.cases import NAMES, WAITS


@pytest.fixture
def data():
    return page.load()


def test_the_page_is_up_to_date(data):
    """`make verilog-page` writes it."""
    assert page.PAGE.read_text() == page.markdown(data)


def same(one, other):
    """What two simulators said of the same run of the same Verilog.

    The two directions are threads that share the register port; whose command comes first when both have one is up to
    them, and costs a cycle or two of the other's.
    """
    if one["source"] != other["source"]:
        return one["equal"] and other["equal"]
    counts = [{d: {**run[d], "cycles": 0} for d in ("receive", "transmit") if d in run} for run in (one, other)]
    near = abs(one["cycles"] - other["cycles"]) <= other["cycles"] / 1000
    return one["equal"] and other["equal"] and near and counts[0] == counts[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_capture_is_equal_in_both_simulators(data, name):
    runs = data["captures"][name]
    assert all(same(run, runs["verilator"]) for run in runs.values())


@pytest.mark.parametrize("pair", WAITS)
def test_a_point_of_the_matrix_is_equal_in_both_simulators(data, pair):
    runs = data["waits"][page.point(*pair)]
    assert all(same(run, runs["verilator"]) for run in runs.values())


def test_waits_are_felt(data):
    cycles = [data["waits"][page.point(*pair)]["verilator"]["cycles"] for pair in WAITS]
    assert cycles[0] == min(cycles) and cycles[-1] > 3 * cycles[0]
