"""What the supervisor does with tiny processes on real servers, beyond what `make test` asks."""

import os
import signal
from pathlib import Path

from local.environment import ADMIN_KEY
from tests.local.running import ALL_REAL, running, wait_until_gone


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
    with running(folder / "data", SLOW_SECONDS="300") as system:
        system.wait_for("slow work begins")
        system.wait_for("ready in")

        system.send(signal.SIGINT)
        system.wait_for("stopping")
        system.send(signal.SIGINT)
        code = system.wait_end()

    assert code == 0
    assert "slow work is done" not in system.log
    assert "database system is shut down" in system.log


def test_when_shell_and_kernel_both_tell_of_a_closed_terminal_then_work_is_waited_for(
    folder: Path,
) -> None:
    with running(folder / "data", SLOW_SECONDS="5") as system:
        system.wait_for("slow work begins")
        system.wait_for("ready in")

        system.send(signal.SIGHUP)
        system.wait_for("stopping")
        system.send(signal.SIGHUP)
        code = system.wait_end()

    assert code == 0
    assert "slow work is done" in system.log


def environment_of(pid: int) -> bytes:
    """What a process was started with; nothing of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_only_the_money_worker_is_given_the_key_that_can_pay(folder: Path) -> None:
    with running(folder / "data") as system:
        system.wait_for("ready in")
        key = ALL_REAL[ADMIN_KEY].encode()

        holders = [
            command for pid, command in system.descendants().items() if key in environment_of(pid)
        ]

    assert len(holders) == 1
    assert "money@" in holders[0]
