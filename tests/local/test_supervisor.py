"""`make run`: everything comes up, nothing is left behind, and running work is waited for."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from local.data_dir import DataDir
from local.environment import ADMIN_KEY, ROOT
from local.processes import free_port
from tests.local.running import ALL_REAL, environment, is_running, running, wait_until_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()


def refused(data_dir: Path, **environ: str) -> str:
    """What a start that must be refused says; it ends with 2 and does not wait for anything."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.local.tiny"],
        cwd=ROOT,
        env=environment(data_dir, free_port()) | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stdout + answer.stderr


def test_given_running_work_when_ctrl_c_is_pressed_then_it_is_finished_before_the_servers_stop(
    folder: Path,
) -> None:
    with running(folder / "data", SLOW_SECONDS="1.5") as system:
        system.wait_for("slow work begins")
        system.wait_for("ready in")

        os.killpg(system.process.pid, signal.SIGINT)  # what a terminal does
        code = system.wait_end()

    assert code == 0
    done, stopped = system.log.find("slow work is done"), system.log.find("fast shutdown request")
    assert 0 < done < stopped


def test_given_a_running_system_when_the_supervisor_is_killed_then_no_process_is_left(
    folder: Path,
) -> None:
    with running(folder / "data") as system:
        system.wait_for("ready in")
        get(system.port)
        family = system.descendants()

        system.send(signal.SIGKILL)
        wait_until_gone(list(family))

    commands = "\n".join(family.values())
    for name in ("gunicorn", "money@", "models@", " beat ", "postgres", "valkey-server"):
        assert name in commands


def test_given_a_killed_system_when_it_is_started_again_then_it_comes_up_on_the_same_data(
    folder: Path,
) -> None:
    with running(folder / "data") as system:
        system.wait_for("ready in")
        system.send(signal.SIGKILL)

    with running(folder / "data") as system:
        system.wait_for("ready in")
        system.send(signal.SIGTERM)
        assert system.wait_end() == 0


def test_when_processes_die_then_they_are_started_again_at_the_same_address(folder: Path) -> None:
    with running(folder / "data") as system:
        system.wait_for("ready in")
        before = {name: system.main_process(name) for name in ("gunicorn", "postgres", "valkey")}

        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        for name in ("web", "postgres", "valkey"):
            system.wait_for(rf"\| {name} ended \(SIGKILL\); again in 0.5 s")
        system.wait_for(r"(?s:again in .*)database system is ready")

        wait_until_gone(list(before.values()))
        system.send(signal.SIGTERM)
        assert system.wait_end() == 0


def test_when_ctrl_c_is_pressed_twice_then_running_work_is_not_waited_for(folder: Path) -> None:
    with running(folder / "data", SLOW_SECONDS="25") as system:
        system.wait_for("slow work begins")
        system.wait_for("ready in")

        system.send(signal.SIGINT)
        system.wait_for("stopping")
        system.send(signal.SIGINT)
        code = system.wait_end()

    assert code == 0
    assert "slow work is done" not in system.log
    assert "database system is shut down" in system.log


def test_only_the_money_worker_is_given_the_key_that_can_pay(folder: Path) -> None:
    with running(folder / "data") as system:
        system.wait_for("ready in")
        key = ALL_REAL[ADMIN_KEY].encode()

        holders = [
            command
            for pid, command in system.descendants().items()
            if is_running(pid) and key in Path(f"/proc/{pid}/environ").read_bytes()
        ]

    assert len(holders) == 1
    assert "money@" in holders[0]


def test_given_a_running_system_when_another_uses_its_data_then_that_one_is_refused(
    folder: Path,
) -> None:
    with DataDir(folder / "data"):
        said = refused(folder / "data")

    assert f"process {os.getpid()}" in said
    assert said.count("\n") == 1


def test_given_a_taken_port_when_started_then_one_sentence_names_it_and_nothing_is_made(
    folder: Path, taken_port: int
) -> None:
    said = refused(folder / "data", PORT=str(taken_port))

    assert str(taken_port) in said
    assert said.count("\n") == 1
    assert not (folder / "data").exists()


def test_given_settings_that_contradict_each_other_when_started_then_nothing_is_made(
    folder: Path,
) -> None:
    said = refused(folder / "data", LNBITS_INVOICE_KEY="", PORT="eighty")

    assert "PORT" in said
    assert not (folder / "data").exists()


def test_given_production_without_lightning_when_started_then_the_stand_in_does_not_replace_it(
    folder: Path,
) -> None:
    nothing = {"LNBITS_URL": "", "LNBITS_INVOICE_KEY": "", "LNBITS_ADMIN_KEY": ""}

    said = refused(folder / "data", APP_ENV="production", BTC_PRICE_USD_FALLBACK="", **nothing)

    assert "LNBITS_URL" in said


def test_given_migrations_that_fail_when_started_then_nothing_runs_on_the_old_tables(
    folder: Path,
) -> None:
    with running(folder / "data", MIGRATE_EXIT="3") as system:
        code = system.wait_end()

    assert code == 1
    assert "could not be brought up to date" in system.log
    assert "Listening at" not in system.log
