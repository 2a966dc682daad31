"""From a fresh checkout in a closed home to a job, on every Python and for every kind of user."""

import os
import stat
from pathlib import Path

import pytest

from tests.machines.machine import NOBODY, Machine, fresh_checkout
from tests.machines.pythons import WANTED, Interpreter, found_pythons, reachable
from tests.support.proofs import not_proved

IS_ROOT = os.geteuid() == 0


def machine_for(folder: Path, uid: int, python: Interpreter) -> Machine:
    """A checkout below a home that nobody else may enter."""
    home = folder / "home"
    checkout = fresh_checkout(home / "checkout")
    machine = Machine(checkout=checkout, home=home, uid=uid, before=python.before)
    home.chmod(0o700)
    if uid:
        machine.owns(home)
    return machine


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["ourselves", "ordinary user"])
@pytest.mark.parametrize("version", WANTED)
def test_a_fresh_checkout_in_a_closed_home_takes_jobs_and_does_so_again(
    folder: Path, measure: list[str], version: str, uid: int
) -> None:
    if version not in found_pythons():
        not_proved(f"there is no Python {version}")
    if uid and not IS_ROOT:
        not_proved("only root can become an ordinary user")
    python = reachable(version, uid, folder)
    machine = machine_for(folder, uid, python)

    with machine.running(f"PYTHON={python.path}") as first:
        first_seconds = first.wait_ready()
        first.stop()
    with machine.running(f"PYTHON={python.path}") as later:
        later_seconds = later.wait_ready()
        later.stop()

    assert "Installed in" in first.log
    assert "Installed in" not in later.log
    assert stat.S_IMODE(machine.home.stat().st_mode) == 0o700
    whom = "an ordinary user" if uid else "root" if IS_ROOT else "this user"
    measure.append(
        f"Python {version} as {whom}: first start {first_seconds:.1f} s with an empty cache,"
        f" later start {later_seconds:.1f} s"
    )
