"""The list of seeded faults holds, and the runner tells a fault that is found from one that is not."""

import random
from pathlib import Path

import pytest

from tests.mutation.__main__ import ROOT, check, copy_to
from tests.mutation.faults import FAULTS, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_can_be_put_in(fault):
    text = (ROOT / fault.path).read_text()
    assert text.count(fault.old) == 1, f"{fault.path} has this {text.count(fault.old)} times: {fault.old}"
    compile(text.replace(fault.old, fault.new), fault.path, "exec")
    assert fault.old != fault.new
    for test in fault.tests.split():
        assert Path(ROOT, test).exists()


def test_names_are_unique():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.slow
def test_faults_are_found(tmp_path):
    """A few, drawn; `python -m tests.mutation` tries all. The last is a change that makes no difference."""
    copy_to(tmp_path)
    quick = [fault for fault in FAULTS if "loss" not in fault.tests]  # those build models
    for fault in random.Random(1).sample(quick, 4):
        assert check(tmp_path, fault).outcome == "caught", fault.name
    nothing = Fault("nothing", "hw/handles.py", "m = Module()", "m = Module( )", "tests/hw/test_handles.py")
    assert check(tmp_path, nothing).outcome == "survived"
