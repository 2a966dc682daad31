"""From a fresh checkout in a closed home to a job, on every Python and for every kind of user."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.machines.machine import NOBODY, Machine, fresh_checkout
from tests.machines.pythons import WANTED, found_pythons

IS_ROOT = os.geteuid() == 0
INSIDE = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
"""In a mount namespace of its own: an interpreter below a closed folder becomes reachable."""


def machine_for(folder: Path, uid: int) -> Machine:
    """A checkout below a home that nobody else may enter."""
    home = folder / "home"
    machine = Machine(checkout=fresh_checkout(home / "checkout"), home=home, uid=uid)
    home.chmod(0o700)
    if uid:
        machine.owns(home)
    return machine


def reachable(folder: Path, python: str, machine: Machine) -> tuple[str, Machine]:
    """An interpreter that the user of this machine can start, and the machine that has it."""
    user = Machine(checkout=folder, home=folder, uid=machine.uid)
    if _starts(user, python):
        return python, machine
    program = "import sys; print(sys.base_prefix)"
    prefix = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
    place = folder / "python"
    place.mkdir()
    before = ("unshare", "--mount", "sh", "-c", INSIDE, "sh", prefix.stdout.strip(), str(place))
    elsewhere = Machine(
        checkout=machine.checkout, home=machine.home, uid=machine.uid, before=before
    )
    return str(place / "bin" / Path(python).name), elsewhere


def _starts(machine: Machine, python: str) -> bool:
    command = machine._argv([python, "-c", "pass"])
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["ourselves", "ordinary user"])
@pytest.mark.parametrize("version", WANTED)
def test_a_fresh_checkout_in_a_closed_home_takes_jobs_and_does_so_again(
    folder: Path, measure: list[str], version: str, uid: int
) -> None:
    if version not in found_pythons():
        pytest.skip(f"Python {version} is not here: not proved on it")
    if uid and not IS_ROOT:
        pytest.skip("only root can become another user: proved as ourselves only")
    python, machine = reachable(folder, found_pythons()[version], machine_for(folder, uid))

    with machine.running(f"PYTHON={python}") as first:
        first_seconds = first.wait_ready()
        first.stop()
    with machine.running(f"PYTHON={python}") as later:
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
