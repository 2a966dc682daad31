# ruff: noqa: TID251 - an entry point is started here
"""The product as `make run` starts it, with everything that it brings along, and its processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from config.settings import Settings
from local.environment import ROOT
from local.processes import LOOPBACK, Program, kill_group, spawn
from local.servers.temporary import temporary_folder
from tests.journeys.waiting import wait_until
from tests.local.running import is_running, wait_until_gone
from tests.support import wire
from tests.support.canary import assert_tells_nothing
from tests.support.confidential import keys_in
from tests.support.ports import free_port

START_SECONDS = 120
STOP_SECONDS = 120
LOG_SHOWN = 6000
ENTRY_POINT = "local.supervisor"

COMMANDS = {
    "web": "gunicorn",
    "worker-money": "money@",
    "worker-models": "models@",
    "beat": "workers.beat",
    "stand-in": "local.stand_in",
    "postgres": "postgres",
    "valkey": "valkey-server",
}
"""What stands in the command line of each process that the supervisor starts."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """One running system."""

    url: str
    stand_in_url: str
    data_dir: Path
    supervisor: subprocess.Popen[bytes]
    log_file: Path
    commands: Mapping[str, str] = field(default_factory=lambda: COMMANDS)
    confidential: list[str] = field(default_factory=list)
    """What callers asked for, and its own keys: they stand in no log."""

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def pid(self, name: str) -> int | None:
        """The process of this name that runs now."""
        running = (pid for pid in _children(self.supervisor.pid) if is_running(pid))
        return next((pid for pid in running if self.commands[name] in _command_line(pid)), None)

    def environ(self, name: str) -> dict[str, str]:
        """The environment that the supervisor gave a process."""
        pid = self.pid(name)
        assert pid is not None, f"{name} does not run"
        pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if pair)

    def kill(self, name: str) -> None:
        """As the kernel does when memory is short: no process hears of it before it is gone."""
        pid = self.pid(name)
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
        wait_until_gone([pid])

    def kill_all_of(self, name: str) -> None:
        """The same to a process and all that it has started."""
        pid = self.pid(name)
        assert pid is not None, f"{name} does not run"
        family = [pid, *_children(pid)]
        os.killpg(pid, signal.SIGKILL)
        wait_until_gone(family)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Stop a process in the middle of whatever it does; it goes on afterwards, if it lives."""
        pid = self.pid(name)
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(f"{name} stands still", lambda: _state(pid), lambda state: state == "T")
            yield
        finally:
            if is_running(pid):
                os.kill(pid, signal.SIGCONT)

    def is_ready(self) -> bool:
        """Whether the supervisor says so: the web answers, and both workers and beat live."""
        assert self.supervisor.poll() is None, f"the product did not start:\n{self.log}"
        return " ready in " in self.log

    def stop(self) -> int:
        """Ask it to end, as Ctrl-C does; its exit code, when nothing of it is left."""
        family = self.family()
        self.supervisor.send_signal(signal.SIGINT)
        code = self.supervisor.wait(STOP_SECONDS)
        wait_until_gone(family)
        return code

    def lose_power(self) -> None:
        """End all of it at one moment, as a machine does: nobody sees another one die."""
        family = [self.supervisor.pid]
        for pid in family:  # from the top: who stands still starts nobody, and buries nobody
            os.kill(pid, signal.SIGSTOP)
            wait_until(f"{pid} does nothing", partial(_state, pid), lambda state: state in "TZ")
            family += _children(pid)
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        self.supervisor.wait()
        wait_until_gone(family)

    def family(self) -> list[int]:
        """Every process that it consists of."""
        family = [self.supervisor.pid]
        for pid in family:
            family += _children(pid)
        return family


@contextmanager
def running_product(entry_point: str = ENTRY_POINT, **settings: str) -> Iterator[Product]:
    """Run it on ports and data of its own.

    Afterwards it is gone, must have ended well, and has told its log nothing that is confidential.
    """
    with temporary_folder() as folder, started_product(folder, entry_point, **settings) as product:
        yield product
        assert product.stop() == 0


@contextmanager
def started_product(
    folder: Path, entry_point: str = ENTRY_POINT, **settings: str
) -> Iterator[Product]:
    """Run it on the data that is in this folder, or will be; how it ends is the test's affair.

    Afterwards it is gone, and has told its log nothing that is confidential.
    """
    product = _start(folder, entry_point, settings)
    try:
        wait_until("the product is ready", product.is_ready, seconds=START_SECONDS)
        assert wire.get(f"{product.url}/api/healthz").ok
        product.confidential.extend(keys_in(Settings.load(product.environ("web"))))
        yield product
        assert_tells_nothing(product.log, confidential=product.confidential)
    except AssertionError:
        print(product.log[-LOG_SHOWN:])  # noqa: T201 - for whoever reads why
        raise
    finally:
        kill_group(product.supervisor)
        product.supervisor.wait()


def _start(folder: Path, entry_point: str, settings: dict[str, str]) -> Product:
    port = settings.get("PORT") or str(free_port())
    stand_in_port = free_port()
    machine = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    ours = {
        "ENV_FILE": "",
        "DATA_DIR": str(folder / "data"),
        "PORT": port,
        "STAND_IN_PORT": str(stand_in_port),
    }
    program = Program(
        name="supervisor",
        argv=[sys.executable, "-m", entry_point],
        environ=machine | ours | settings,
        cwd=ROOT,
    )
    log_file = folder / "log"
    with log_file.open("wb") as log:
        supervisor = spawn(program, output=log)
    return Product(
        url=f"http://{LOOPBACK}:{port}",
        stand_in_url=settings.get("STAND_IN_URL", f"http://{LOOPBACK}:{stand_in_port}"),
        data_dir=folder / "data",
        supervisor=supervisor,
        log_file=log_file,
    )


def _children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
