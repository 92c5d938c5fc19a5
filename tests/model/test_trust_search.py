"""No sequence of segments gets round the trust rules: all short ones, many long ones (docs/trust.md)."""

import random

import pytest

from model import loss_tracker
from model.contract import RxPolicy
from tests.model.search import UNIT, Search, Sender, Step, honest_steps, steps

BOTH = pytest.mark.parametrize("policy", [RxPolicy.KERNEL, RxPolicy.FULL])
TABLES = ("OPEN_RECORDS", "HOLES", "CHAINS", "GAPS")
CUTS = [(0,), (0, 11), (0, 5), (0, 5, 11), (0, 3, 5, 6)]


def test_published_rules_have_an_attack_of_three_segments():
    sender = Sender((1, 1, 1))
    search = Search(RxPolicy.PUBLISHED, sender, steps(sender), acks=False)
    found = search.run(3)
    assert found and [step.taken for step in found.path] == [False, True, True]
    assert found.hw.number == 3 and not found.hw.error and found.sw.error


def exhaust(policy: RxPolicy, lengths: tuple[int, ...], depth: int, acks: bool, most: int | None = None) -> int:
    sender = Sender(lengths)
    search = Search(policy, sender, steps(sender), acks)
    found = search.run(depth, most)
    assert found is None, str(found)
    return search.states


@BOTH
@pytest.mark.parametrize("acks", [False, True])
def test_every_short_attack(policy: RxPolicy, acks: bool):
    assert exhaust(policy, (1, 2, 1), 3, acks, most=1500) == 1500


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("lengths", [(1, 1, 1), (1, 2, 1), (2, 1, 1, 2)])
def test_every_attack_of_four_segments(policy: RxPolicy, lengths: tuple[int, ...]):
    states = exhaust(policy, lengths, 4, acks=True, most=20_000)
    print(f"{policy} {lengths}: {states} states of up to 4 segments")


def few(sender: Sender) -> list[Step]:
    """Whole records of the sender, singly; lies about one record more; copies one and two places further."""

    def wanted(step: Step) -> bool:
        if step.name.startswith("copy"):
            number = int(step.name.split()[-1])
            return step.place in sender.starts[number + 1 : number + 3]
        if "claiming" in step.name:
            return step.name.endswith(f" {2 * UNIT}")
        return step.hint or (step.place in sender.starts and step.place + len(step.payload) in sender.starts)

    return [step for step in steps(sender) if wanted(step)]


@pytest.mark.slow
@BOTH
def test_every_attack_of_six_segments(policy: RxPolicy):
    sender = Sender((1, 1, 1))
    search = Search(policy, sender, few(sender), acks=True)
    found = search.run(6)
    assert found is None, str(found)
    print(f"{policy}: {search.states} states of up to 6 segments")


def wander(count: int, seed: int, monkeypatch: pytest.MonkeyPatch, honest: bool) -> int:
    """Long sequences at random, tables of any size."""
    states = 0
    for n in range(seed, seed + count):
        rng = random.Random(n)
        policy = rng.choice([RxPolicy.KERNEL, RxPolicy.FULL, RxPolicy.FULL])
        for table in TABLES:
            monkeypatch.setattr(loss_tracker, table, rng.choice([1, 2, 3, 16, 16, 16]))
        sender = Sender(tuple(rng.choice([1, 1, 2, 3]) for _ in range(rng.randint(3, 5))))
        cuts = rng.choice(CUTS)
        choice = honest_steps(sender, cuts) if honest else steps(sender, cuts, refused=True)
        search = Search(policy, sender, choice, acks=rng.random() < 0.5)
        found = search.wander(rng, rng.randint(4, 16))
        assert found is None, f"seed {n}, {policy}:\n{found}"
        states += search.states
    return states


@pytest.mark.parametrize("honest", [False, True])
def test_long_attacks(monkeypatch: pytest.MonkeyPatch, honest: bool):
    assert wander(250, 0, monkeypatch, honest) > 500


def test_late_packet_with_a_raw_tail_and_the_whole_record_of_a_gap(monkeypatch: pytest.MonkeyPatch):
    """Honest, and found by the search below: the tail's number was guessed before the frontier moved."""
    wander(1, 34854, monkeypatch, honest=True)


@pytest.mark.slow
@pytest.mark.parametrize("honest", [False, True])
@pytest.mark.parametrize("seed", range(10_000, 60_000, 10_000))
def test_many_long_attacks(monkeypatch: pytest.MonkeyPatch, honest: bool, seed: int):
    wander(10_000, seed, monkeypatch, honest)
