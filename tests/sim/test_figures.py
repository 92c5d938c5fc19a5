"""The kernel document's figures: which segments are decrypted, by the document's words, and as pictures."""

from pathlib import Path

import pytest

from model.contract import RxPolicy
from sim.cli import main
from sim.figures import FIGURES, SEGMENTS, play

GOOD, BAD = FIGURES
ALL = set(range(1, SEGMENTS + 1))


def raw(figure, policy):
    drawn = play(figure, policy)
    assert drawn.application
    return {n for n, decrypted in enumerate(drawn.decrypted, 1) if not decrypted}


@pytest.mark.parametrize("policy", [RxPolicy.PUBLISHED, RxPolicy.KERNEL])
def test_reorder_of_a_non_header_segment(policy):
    """Segment 3, which bears the next header, and 2, which comes late, are passed as received; 1, 4 and 5 decrypted."""
    assert raw(GOOD, policy) == {2, 3}


def test_reorder_of_a_header_segment():
    """The device loses its place with the header in 2, finds a header, asks, and resumes at a segment boundary."""
    missing = raw(BAD, RxPolicy.KERNEL)
    assert missing == set(range(2, max(missing) + 1)) and 5 < max(missing) < SEGMENTS - 2


def test_full_recovers_what_is_late():
    assert raw(GOOD, RxPolicy.FULL) == set()
    assert raw(BAD, RxPolicy.FULL) == {3, 4, 5}  # beyond a header that is not known yet
    # a late packet completes its record
    assert [s.kind for s in play(BAD, RxPolicy.FULL).records.within(0, 1)] == ["rec-offloaded"]


def test_command_writes_them(tmp_path, capsys):
    assert main(["bench", "loss", "--figures", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / f"{f.name}.svg") for f in FIGURES]
    for figure in FIGURES:
        text = (tmp_path / f"{figure.name}.svg").read_text()
        assert f"{figure.title}: kernel" in text and f"{figure.title}: full" in text
        for policy in (RxPolicy.KERNEL, RxPolicy.FULL):
            assert f"{figure.title}: {policy.value}" in text
        boxes = sum(len(play(figure, policy).decrypted) for policy in (RxPolicy.KERNEL, RxPolicy.FULL))
        assert text.count('<rect class="dec"') + text.count('<rect class="raw"') == boxes


def test_those_in_docs_are_what_the_command_writes(tmp_path):
    docs = Path(__file__).parents[2] / "docs"
    main(["bench", "loss", "--figures", str(tmp_path)])
    for figure in FIGURES:
        assert (docs / f"{figure.name}.svg").read_text() == (tmp_path / f"{figure.name}.svg").read_text()
