# ruff: noqa: TID251 - entry points are started here
"""A stranger's machine: a fresh checkout, an empty home, a plain environment, another user."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

from local.environment import ROOT
from local.processes import kill_group
from tests.local.running import wait_until_gone
from tests.machines.pythons import as_user
from tests.support import wire
from tests.support.canary import assert_tells_nothing
from tests.support.life import REQUEST
from tests.support.ports import free_port

PATIENCE_SECONDS = 400.0
"""For a first start on a busy machine that installs everything."""
STOP_SECONDS = 120
"""Running work is waited for, for half a minute at most."""
NOBODY = 65534


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and as whom commands run."""

    checkout: Path
    home: Path
    uid: int = 0
    """0: as ourselves."""
    environ: dict[str, str] = field(default_factory=dict)
    before: Sequence[str] = ()
    """What the command is started by, for example in a mount namespace of its own."""

    def make(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run make to its end."""
        return subprocess.run(
            self._argv(["make", *arguments]),
            cwd=self.checkout,
            env=self._environment(environ),
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    @contextmanager
    def running(self, *arguments: str, **environ: str) -> Iterator["Running"]:
        """`make run` in the background; afterwards it is gone, whatever happened.

        It has told its log nothing that is confidential.
        """
        port = free_port()
        log = self.home / f"{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._argv(["make", "run", *arguments]),
                cwd=self.checkout,
                env=self._environment({"PORT": str(port)} | environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            product = Running(process=process, port=port, log_file=log)
            yield product
            assert_tells_nothing(product.log)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            print(log.read_text(errors="replace")[-6000:])  # noqa: T201 - for whoever reads why
            raise
        finally:
            if process.poll() is None:
                kill_group(process)
                process.wait()

    def owns(self, *paths: Path) -> None:
        """Give what we made to the user of this machine."""
        for path in paths:
            for each in (path, *path.rglob("*")):
                os.chown(each, self.uid, self.uid, follow_symlinks=False)

    def _argv(self, command: list[str]) -> list[str]:
        return [*self.before, *as_user(self.uid), *command]

    def _environment(self, environ: dict[str, str]) -> dict[str, str]:
        plain = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        return plain | self.environ | environ


@dataclass(kw_only=True)
class Running:
    """A product that was started with `make run`."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path
    began_at: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_ready(self) -> float:
        """Seconds from the command to a product that takes jobs."""
        self.wait_for(" ready in ")
        seconds = time.monotonic() - self.began_at
        assert self.create_job() == 201
        return seconds

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(pattern, self.log):
            assert self.process.poll() is None, f"it ended:\n{self.log}"
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.log}"
            self._wait_briefly()

    def create_job(self) -> int:
        """The status that a new job is answered with."""
        jobs = f"http://127.0.0.1:{self.port}/api/jobs"
        return wire.post(jobs, json={"request": REQUEST}).status_code

    def takes_jobs(self) -> bool:
        try:
            return self.create_job() == 201
        except requests.RequestException:
            return False

    def wait_until(self, *, takes_jobs: bool) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.takes_jobs() is not takes_jobs:
            assert self.process.poll() is None, f"it ended:\n{self.log}"
            assert time.monotonic() < deadline, self.log
            self._wait_briefly()

    def stop(self) -> int:
        """As Ctrl-C in a terminal does; make's exit code, when nothing is left."""
        family = family_of(self.process.pid)
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(STOP_SECONDS)
        wait_until_gone(family)
        return code

    def _wait_briefly(self) -> None:
        try:
            self.process.wait(0.05)
        except subprocess.TimeoutExpired:
            return


def family_of(pid: int) -> list[int]:
    family = [pid]
    for member in family:
        family += _children(member)
    return family


def _children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def fresh_checkout(place: Path) -> Path:
    """A copy of what git knows, or would take: nothing installed, nothing left over."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    return place
