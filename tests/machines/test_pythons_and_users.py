"""From a fresh checkout in a closed home to a job, on every Python and for every kind of user."""

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.machines.machine import NOBODY, Machine, fresh_checkout
from tests.machines.pythons import WANTED, found_pythons, pythons

IS_ROOT = os.geteuid() == 0
INSIDE = (
    'mount --bind "$2" "$3" && mount -t tmpfs -o mode=755 tmpfs "$1" && mkdir -p "$2"'
    ' && mount --move "$3" "$2" && shift 3 && exec "$@"'
)
"""In a mount namespace of its own: what lies below a closed folder is reachable at its place."""


def machine_for(folder: Path, uid: int) -> Machine:
    """A checkout below a home that nobody else may enter."""
    home = folder / "home"
    machine = Machine(checkout=fresh_checkout(home / "checkout"), home=home, uid=uid)
    home.chmod(0o700)
    if uid:
        machine.owns(home)
    return machine


def reachable(folder: Path, version: str, machine: Machine) -> tuple[str, Machine]:
    """An interpreter that the user of this machine can start, and the machine that has it."""
    user = Machine(checkout=folder, home=folder, uid=machine.uid)
    for python in pythons(version):
        if _starts(user, python):
            return python, machine
    python = pythons(version)[-1]
    closed = next(
        path for path in reversed(Path(python).parents) if not path.stat().st_mode & 0o001
    )
    opened = closed / Path(python).relative_to(closed).parts[0]
    place = folder / "opened"
    place.mkdir()
    before = ("unshare", "--mount", "sh", "-c", INSIDE, "sh", *map(str, (closed, opened, place)))
    return python, replace(machine, before=before)


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
    python, machine = reachable(folder, version, machine_for(folder, uid))

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
