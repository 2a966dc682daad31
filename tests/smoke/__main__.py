# ruff: noqa: TID251 - an entry point
"""``python -m tests.smoke``: a newcomer's first minutes, in an empty HOME, with a PATH and no more.

As root there are two newcomers at once: root, and somebody who may do nothing else on this machine.
They share nothing but the machine. Each brings another Python if there is one: the newest that we
promise, and the one before; what everything else is tested with is the oldest.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from local.environment import ROOT
from local.processes import is_free
from tests.journeys.waiting import wait_until
from tests.local.running import is_running, wait_until_gone
from tests.machines.pythons import WANTED, Interpreter, as_user, found_pythons, reachable
from tests.support.canary import assert_tells_nothing
from tests.support.ports import free_port
from tests.support.proofs import NOT_PROVED, all_must_be_proved

INSTALL_SECONDS = 600
"""A first start fetches everything."""
STOP_SECONDS = 120
LINES = "docs/life-of-a-job.sh"


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Somebody with an empty home and a fresh clone in it."""

    home: Path
    account: pwd.struct_passwd | None
    """None: whoever we are."""
    version: str
    python: Interpreter

    @property
    def name(self) -> str:
        return f"{self.account.pw_name if self.account else 'ourselves'}, Python {self.version}"

    @property
    def uid(self) -> int:
        return self.account.pw_uid if self.account else 0

    @property
    def checkout(self) -> Path:
        return self.home / "honestwork"

    @property
    def log(self) -> Path:
        """What the product says."""
        return self.home / "log"

    @property
    def screen(self) -> Path:
        """What they see of their own pasted lines: answers that are theirs alone."""
        return self.home / "screen"

    def tell(self, text: str) -> None:
        """Print it as one piece, whoever else prints."""
        sys.stdout.write(f"as {self.name}: {text}\n")
        sys.stdout.flush()

    def start(self, *command: str, output: Path) -> subprocess.Popen[bytes]:
        """As from a terminal of their own."""
        with output.open("ab") as file:
            return subprocess.Popen(
                [*self.python.before, *as_user(self.uid), *command],
                cwd=self.checkout,
                env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def processes(self) -> list[int]:
        """All that run on anything below the home, whoever started them."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return [pid for pid in pids if is_running(pid) and self._is_here(pid)]

    def _is_here(self, pid: int) -> bool:
        proc, home = Path(f"/proc/{pid}"), str(self.home)
        try:
            told = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
            return home.encode() in told or str((proc / "cwd").readlink()).startswith(home)
        except OSError:
            return False


@contextmanager
def newcomer(account: pwd.struct_passwd | None, version: str) -> Iterator[Newcomer]:
    """In a home that nobody else may enter; whatever happens, nothing of theirs is left behind."""
    home = Path(tempfile.mkdtemp(prefix="newcomer-"))
    python = reachable(version, account.pw_uid if account else 0, home)
    somebody = Newcomer(home=home, account=account, version=version, python=python)
    try:
        _clone(somebody)
        yield somebody
    except BaseException:
        for file in (somebody.log, somebody.screen):
            somebody.tell(file.read_text(errors="replace") if file.exists() else f"no {file.name}")
        raise
    finally:
        for pid in somebody.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)


def _clone(somebody: Newcomer) -> None:
    """What is committed, as it comes from the host: whoever owns this checkout."""
    trusting = somebody.home / "gitconfig"
    trusting.write_text("[safe]\n\tdirectory = *\n")
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": str(trusting)}
    command = ["git", "clone", "--quiet", str(ROOT), str(somebody.checkout)]
    subprocess.run(command, check=True, env=environ)
    trusting.unlink()
    if somebody.account:
        subprocess.run(["chown", "-R", str(somebody.account.pw_uid), somebody.home], check=True)


def first_minutes(somebody: Newcomer) -> None:
    began = time.monotonic()
    port = free_port()
    make = somebody.start(
        "make", "run", f"PORT={port}", f"PYTHON={somebody.python.path}", output=somebody.log
    )

    def said() -> str:
        text = somebody.log.read_text(errors="replace")
        assert make.poll() is None, "`make run` has ended"
        return text if " ready in " in text else ""

    log = wait_until("`make run` is ready", said, seconds=INSTALL_SECONDS)
    somebody.tell(f"ready after {time.monotonic() - began:.1f} s")
    _paste_lines(somebody, port, log)
    _press_ctrl_c(somebody, make, port)
    somebody.tell(f"done after {time.monotonic() - began:.1f} s")


def _paste_lines(somebody: Newcomer, port: int, log: str) -> None:
    stand_in = re.findall(r"stand-in listens on (\S+)", log)[0]
    lines = (somebody.checkout / LINES).read_text()
    lines = lines.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port}")
    lines = lines.replace("http://127.0.0.1:8001", stand_in)
    pasted = somebody.start("bash", "-euo", "pipefail", "-c", f"{lines}\n", output=somebody.screen)
    assert pasted.wait(120) == 0, "the README's lines fail"
    assert re.search(r'"refundState": "paid"|^paid$', somebody.screen.read_text(), re.MULTILINE)


def _press_ctrl_c(somebody: Newcomer, make: subprocess.Popen[bytes], port: int) -> None:
    family = somebody.processes()
    os.killpg(make.pid, signal.SIGINT)  # a terminal tells all that are in the foreground
    make.wait(STOP_SECONDS)
    wait_until_gone(family)
    wait_until("nothing of theirs runs", somebody.processes, lambda left: left == [])
    assert is_free(port)
    log = somebody.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert_tells_nothing(log)


def come(account: pwd.struct_passwd | None, version: str) -> None:
    with newcomer(account, version) as somebody:
        first_minutes(somebody)


def main() -> int:
    missing = [version for version in WANTED if version not in found_pythons()]
    if all_must_be_proved() and (missing or os.geteuid() != 0):
        whom = f"there is no Python {missing[-1]}" if missing else "only root can be two users"
        sys.exit(NOT_PROVED + whom)
    accounts = [None, pwd.getpwnam("nobody")] if os.geteuid() == 0 else [None]
    newest_first = cycle(reversed(found_pythons()))
    with ThreadPoolExecutor(len(accounts)) as threads:
        list(threads.map(come, accounts, newest_first))
    return 0


if __name__ == "__main__":
    sys.exit(main())
