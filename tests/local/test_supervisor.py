"""`make run`: everything comes up, nothing is left behind, and running work is waited for.

More of the supervisor is in tests/machines, because each start takes seconds.
"""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from local.data_dir import DataDir
from local.environment import ROOT
from tests.local.running import (
    PATIENCE_SECONDS,
    environment,
    running,
    running_in_a_terminal,
    wait_until_gone,
)
from tests.local.tiny import DONE_FILE
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
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
        timeout=120,
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


def test_given_running_work_when_the_terminal_is_closed_then_it_is_finished_all_the_same(
    folder: Path,
) -> None:
    with running_in_a_terminal(folder / "data", SLOW_SECONDS="1.5") as system:
        system.wait_for("slow work begins")
        system.wait_for("ready in")

        system.close_terminal()
        code = system.process.wait(timeout=PATIENCE_SECONDS)

    assert code == 0
    assert (folder / "data" / DONE_FILE).exists()


def test_when_the_supervisor_is_killed_then_no_process_is_left_and_it_can_be_started_again(
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
    with running(folder / "data") as system:
        system.wait_for("ready in")
        system.send(signal.SIGTERM)
        assert system.wait_end() == 0


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
