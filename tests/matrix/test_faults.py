"""A fault that did not happen proves nothing: the case is violated, not passed."""

import threading
from dataclasses import replace

import pytest

from tests.matrix import cases
from tests.matrix.cases import Bench, Case, Fault, Recording, Violated, Zombie, record, run
from tests.matrix.lives import LIVES

NEVER_PAID = next(life for life in LIVES if life.name == "never paid")


@pytest.fixture(scope="module")
def recording(bench: Bench) -> Recording:
    return record(bench, NEVER_PAID)


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
def test_a_fault_whose_point_is_never_reached_has_killed_nobody_and_is_violated(
    bench: Bench, recording: Recording, fault: Fault
) -> None:
    nowhere = replace(recording.points[0], occurrence=99)

    with pytest.raises(Violated, match="the point"):
        run(bench, Case(life=NEVER_PAID, point=nowhere, fault=fault), recording)


@pytest.fixture
def zombie(bench: Bench, recording: Recording) -> Zombie:
    """One that is to stop where a job was made."""
    [point, *_] = (p for p in recording.points if p.name.endswith(":after_commit"))
    case = Case(life=NEVER_PAID, point=point, fault=Fault.OVERTAKEN)
    return Zombie(bench, case, bench.stage(bench.anew(NEVER_PAID), second=True))


def test_whoever_was_to_be_killed_and_goes_on_unwoken_is_violated(
    zombie: Zombie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "HELD_SECONDS", 0)
    zombie.stop()
    zombie._thread.join()

    with pytest.raises(Violated, match="before it was woken"):
        zombie.wake()


def test_whoever_was_to_be_killed_and_never_ends_is_violated(
    zombie: Zombie, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie.stop()
    real, zombie._may_go_on = zombie._may_go_on, threading.Event()
    with monkeypatch.context() as hasty:
        hasty.setattr(cases, "PATIENCE_SECONDS", 0)

        with pytest.raises(Violated, match="does not end"):
            zombie.wake()

    real.set()
    zombie.let_go()
