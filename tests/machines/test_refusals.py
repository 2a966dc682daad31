"""What cannot run is refused by `make run`, and by each process started without it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from local.data_dir import DataDir
from local.environment import ROOT
from tests.local.conftest import taken_port as taken_port
from tests.local.running import environment
from tests.machines.machine import PATIENCE_SECONDS, Machine
from tests.support.ports import free_port

ADDRESSES = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "STAND_IN_URL": "http://127.0.0.1:9",
}
BROKEN = {
    "settings": ({"LNBITS_URL": "http://lnbits"}, "LNBITS_URL is set but LNBITS_INVOICE_KEY is"),
    "rate": ({"WORK_MODEL": "claude-nobody-knows"}, "WORK_MODEL=claude-nobody-knows has no known"),
    "broker": ({"REDIS_URL": "localhost:6379"}, "REDIS_URL: "),
    "fee": ({"EVAL_FEE_SATS": "1"}, "EVAL_FEE_SATS=1 is below the worst cost"),
}
NOT_REAL = ("LNBITS_URL", "LNBITS_INVOICE_KEY", "LNBITS_ADMIN_KEY", "ANTHROPIC_API_KEY")
CELERY = ("-W", "ignore::UserWarning", "-m", "celery", "-q", "-A")
PROCESSES = {
    "web": ("-m", "gunicorn", "--worker-class", "gthread", "--no-control-socket", "app.wsgi:app"),
    "worker-money": (*CELERY, "workers.celery_app", "worker", "-Q", "ticks,money", "-P", "threads"),
    "worker-models": (*CELERY, "workers.celery_app", "worker", "-Q", "models", "-P", "threads"),
    "beat": (*CELERY, "workers.beat", "beat", "--schedule", "/dev/null"),
    "check": ("-m", "workers.check"),
}


@pytest.fixture
def machine(folder: Path) -> Machine:
    return Machine(checkout=ROOT, home=folder, environ={"ENV_FILE": ""})


def refused(machine: Machine, data_dir: Path, **environ: str) -> list[str]:
    """The lines that `make run` says, but for make's own last one; nothing is made."""
    port = {"PORT": str(free_port()), "DATA_DIR": str(data_dir)}

    answer = machine.make("run", **(port | environ))

    assert answer.returncode != 0
    assert answer.stdout == ""
    *said, makes_own = answer.stderr.splitlines()
    assert makes_own.startswith("make: *** ")
    return said


@pytest.mark.parametrize(("environ", "sentence"), BROKEN.values(), ids=BROKEN)
def test_make_run_refuses_settings_that_cannot_run(
    machine: Machine, folder: Path, environ: dict[str, str], sentence: str
) -> None:
    said = refused(machine, folder / "data", **environ)

    assert said[0] == "These settings cannot run:"
    assert sentence in said[1]
    assert len(said) == 2
    assert not (folder / "data").exists()


def test_make_run_refuses_a_broken_settings_file(machine: Machine, folder: Path) -> None:
    (folder / "settings").write_text("PORT 8000\n")

    (said,) = refused(machine, folder / "data", ENV_FILE=str(folder / "settings"))

    assert "line 1" in said
    assert not (folder / "data").exists()


def test_make_run_refuses_a_taken_port(machine: Machine, folder: Path, taken_port: int) -> None:
    (said,) = refused(machine, folder / "data", PORT=str(taken_port))

    assert f"Port {taken_port} " in said
    assert not (folder / "data").exists()


def test_make_run_refuses_data_that_another_instance_uses(machine: Machine, folder: Path) -> None:
    with DataDir(folder / "data"):
        (said,) = refused(machine, folder / "data")

    assert "is in use by another instance" in said


CASES = [
    (name, broken)
    for name in PROCESSES
    for broken in BROKEN
    if name != "beat" or broken == "settings"  # it knows names and intervals: no model, no fee
]


@pytest.mark.parametrize(("name", "broken"), CASES)
def test_each_process_says_itself_why_it_does_not_start(
    folder: Path, name: str, broken: str
) -> None:
    environ, sentence = BROKEN[broken]
    role = {"WORKER_ROLE": name.removeprefix("worker-")} if name.startswith("worker-") else {}

    answer = started(folder, name, **role, **environ)

    assert answer.returncode != 0
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
    assert "ready" not in answer.stdout


ROLES = {
    "unknown": ("worker-models", "hooks", "WORKER_ROLE=hooks is no role of a worker"),
    "not a worker's": ("worker-models", "web", "WORKER_ROLE=web is no role of a worker"),
    "missing": ("worker-money", "", "serves ticks and money (-Q), and only WORKER_ROLE=money may"),
    "wrong": ("worker-money", "models", "only WORKER_ROLE=money may"),
}


@pytest.mark.parametrize(("name", "role", "sentence"), ROLES.values(), ids=ROLES)
def test_a_worker_refuses_a_role_that_cannot_do_what_it_serves(
    folder: Path, name: str, role: str, sentence: str
) -> None:
    answer = started(folder, name, WORKER_ROLE=role)

    assert answer.returncode != 0
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
    assert "ready" not in answer.stdout


def test_a_worker_whose_start_breaks_unexpectedly_logs_why_and_ends(folder: Path) -> None:
    nonsense = {"DATABASE_URL": "postgresql://h/x?plugin=none", "LOG_FORMAT": "json"}

    answer = started(folder, "worker-money", WORKER_ROLE="money", **nonsense)

    (line,) = (line for line in answer.stdout.splitlines() if "cannot start" in line)
    assert answer.returncode == 1
    assert json.loads(line)["level"] == "error"
    assert "NoSuchModuleError" in json.loads(line)["exception"]
    assert " ready" not in answer.stdout


def started(folder: Path, name: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What this process said, started without `make run`, and how it ended."""
    plain = environment(folder, free_port(), **dict.fromkeys(NOT_REAL, ""))
    return subprocess.run(
        [sys.executable, *PROCESSES[name]],
        cwd=ROOT,
        env=plain | ADDRESSES | environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
