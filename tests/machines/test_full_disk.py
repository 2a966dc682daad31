"""A disk that is full: said in one sentence, nothing half-made, and good again with room."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.environment import ROOT
from tests.machines.machine import Machine, fresh_checkout
from tests.machines.pythons import found_pythons
from tests.machines.test_refusals import ADDRESSES
from tests.support.ports import free_port
from tests.support.proofs import needs, not_proved

pytestmark = needs(os.geteuid() == 0, "only root can mount a small disk")


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=711", "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        not_proved("nothing can be mounted, so no disk is full")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def resize(place: Path, megabytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(place)], check=True)


def machine_at(home: Path) -> Machine:
    return Machine(checkout=ROOT, home=home, environ={"ENV_FILE": ""})


def test_given_no_room_for_data_when_started_then_it_is_said_and_with_room_it_starts(
    folder: Path,
) -> None:
    machine = machine_at(folder)
    with small_disk(folder / "disk", 20) as disk:
        data = {"DATA_DIR": str(disk / "data")}

        answer = machine.make("run", PORT=str(free_port()), **data)

        assert answer.returncode != 0
        sentence, _makes_own = answer.stderr.splitlines()
        assert f"The disk of {disk / 'data'} is full" in sentence
        assert list(disk.iterdir()) == []

        resize(disk, 400)
        with machine.running(**data) as product:
            product.wait_ready()
            product.stop()


def test_given_no_room_for_data_it_is_said_as_well_where_both_servers_are_given(
    folder: Path,
) -> None:
    with small_disk(folder / "disk", 20) as disk:
        data = {"DATA_DIR": str(disk / "some" / "data")}

        answer = machine_at(folder).make("run", PORT=str(free_port()), **data, **ADDRESSES)

        assert answer.returncode != 0
        sentence, _makes_own = answer.stderr.splitlines()
        assert f"The disk of {disk / 'some/data'} is full" in sentence
        assert list(disk.iterdir()) == []


def test_given_a_disk_that_fills_up_when_there_is_room_again_then_jobs_are_taken_again(
    folder: Path,
) -> None:
    with (
        small_disk(folder / "disk", 400) as disk,
        machine_at(folder).running(DATA_DIR=str(disk / "data")) as product,
    ):
        product.wait_ready()
        ballast = disk / "ballast"
        fill(ballast)

        product.wait_until(takes_jobs=False)
        ballast.unlink()

        product.wait_until(takes_jobs=True)
        product.stop()


def fill(path: Path) -> None:
    """Until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            return


def test_given_no_room_to_install_when_set_up_then_it_is_said_and_does_not_count_as_done(
    folder: Path,
) -> None:
    with small_disk(folder / "disk", 80) as disk:
        machine = Machine(checkout=fresh_checkout(disk / "checkout"), home=folder)
        python = next(iter(found_pythons().values()))

        answer = machine.make("run", f"PYTHON={python}", PORT=str(free_port()))

        assert answer.returncode != 0
        assert "Traceback" not in answer.stderr
        assert f"The disk of {disk / 'checkout'} is full" in answer.stderr
        assert not (disk / "checkout/.venv/installed.json").exists()
        assert not (disk / "checkout/.data").exists()
