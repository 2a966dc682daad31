# ruff: noqa: TID251 - an entry point is started here
"""Starts a supervised system as a person would, listens to its log, and sees its processes."""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from local.environment import ROOT
from tests.support.canary import assert_tells_nothing
from tests.support.ports import free_port

PATIENCE_SECONDS = 120.0
"""For what takes some seconds on a quiet machine."""
HEARS_OF_CLOSED_TERMINALS = ("env", "--default-signal=HUP")
"""Put before a command: below ``nohup`` it would not."""
ALL_REAL = {
    "LNBITS_URL": "http://127.0.0.1:9",
    "LNBITS_INVOICE_KEY": "an-invoice-key",
    "LNBITS_ADMIN_KEY": "the-admin-key",
    "ANTHROPIC_API_KEY": "a-model-key",
}
"""An outside that needs no stand-in."""


class System:
    """One running supervisor."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: IO[bytes]) -> None:
        self.process = process
        self.port = port
        self.log = ""
        self._selector = selectors.DefaultSelector()
        self._output = output
        self._selector.register(self._output, selectors.EVENT_READ)

    def wait_for(self, pattern: str) -> str:
        """The first line of the log, from the beginning, that matches."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = re.search(rf"^.*(?:{pattern}).*$", self.log, re.MULTILINE)
            if found:
                return found.group()
            if not self._listen(deadline):
                break
        raise AssertionError(f"no line matches {pattern!r} in:\n{self.log}")

    def wait_end(self) -> int:
        """Its exit code, with the whole log read."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._listen(deadline):
            assert time.monotonic() < deadline, f"it does not end:\n{self.log}"
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def close_terminal(self) -> None:
        """As somebody closes a window: there is a signal, and nothing can be written any more."""
        self._selector.unregister(self._output)
        self._output.close()
        self.send(signal.SIGHUP)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def descendants(self) -> dict[int, str]:
        """The processes that it started and theirs: id and command line."""
        parents = _parents()
        family = {self.process.pid}
        while grown := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= grown
        return {pid: _command_line(pid) for pid in family - {self.process.pid}}

    def main_process(self, part_of_command: str) -> int:
        """The child whose command line holds this."""
        parents = _parents()
        return next(
            pid
            for pid, command in self.descendants().items()
            if part_of_command in command and parents.get(pid) == self.process.pid
        )

    def _listen(self, deadline: float) -> bool:
        """Read on; False at the end of the log."""
        if not self._selector.select(max(0.0, deadline - time.monotonic())):
            return True
        data = os.read(self._output.fileno(), 65_536)
        self.log += data.decode()
        return bool(data)


@contextmanager
def running(data_dir: Path, *, port: int | None = None, **environ: str) -> Iterator[System]:
    """A system of tiny processes on real servers; whatever happens it is gone afterwards."""
    port = port or free_port()
    process = _start(data_dir, port, environ, log=subprocess.PIPE)
    assert process.stdout is not None
    system = System(process, port, process.stdout)
    try:
        yield system
        assert_tells_nothing(system.log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def running_in_a_terminal(data_dir: Path, **environ: str) -> Iterator[System]:
    """The same, with its log on a terminal that can be closed."""
    port = free_port()
    screen, terminal = os.openpty()
    with os.fdopen(screen, "rb", buffering=0) as output:
        with os.fdopen(terminal, "wb") as log:
            process = _start(data_dir, port, environ, log=log)
        try:
            yield System(process, port, output)
        finally:
            process.kill()
            process.wait()


def _start(
    data_dir: Path, port: int, environ: dict[str, str], *, log: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*HEARS_OF_CLOSED_TERMINALS, sys.executable, "-m", "tests.local.tiny"],
        cwd=ROOT,
        env=environment(data_dir, port, **environ),
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def environment(data_dir: Path, port: int, **environ: str) -> dict[str, str]:
    """Nothing of this machine's settings but what starts a Python."""
    plain = {
        name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}
    }
    ours = {"DATA_DIR": str(data_dir), "PORT": str(port), "ENV_FILE": ""}
    return plain | ALL_REAL | ours | environ


def is_running(pid: int) -> bool:
    """Whether the process still does anything: one that only waits to be reaped does not."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    """Looks until none of these processes runs; an AssertionError names those that stay."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while alive := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < deadline, [_command_line(pid) for pid in alive]
        os.sched_yield()


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int(_stat(int(folder.name))[1])
            except OSError:
                continue
    return parents


def _stat(pid: int) -> list[str]:
    """State, parent, and so on: what follows the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _command_line(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""
