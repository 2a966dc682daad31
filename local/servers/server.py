"""What every embedded server has in common: how it is started, watched and stopped."""

import importlib.util
import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from local.data_dir import DataDir
from local.processes import (
    Program,
    StartError,
    free_port,
    has_ended,
    is_free,
    kill_group,
    spawn,
)

MEGABYTE = 1_000_000
LATER_MEGABYTES = 32
"""What a start on data that is there needs."""
START_SECONDS = 30.0
STOP_SECONDS = 20.0
_LOOK_EVERY_SECONDS = 0.02


class Server(ABC):
    """A database server in a data folder that we hold.

    ``start`` and ``stop`` wait; a supervisor calls ``prepare`` and runs ``program`` itself.
    ``durable=False`` is for tests: fast, and a crash of the machine may lose what was written.
    """

    name: ClassVar[str]

    def __init__(self, data: DataDir, *, durable: bool = True) -> None:
        self._data = data
        self._durable = durable
        self._port = 0
        self._was_ready = False
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def check(self) -> None:
        """Raise StartError when it could not start here or not on this data; makes nothing."""

    @abstractmethod
    def prepare(self) -> None:
        """Do what must be done before the first start, once. Raises StartError."""

    @abstractmethod
    def program(self) -> Program:
        """How to start it now; until it has been ready once, on another port if one is taken."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it listens, password included; known once it has been ready."""

    @abstractmethod
    def _answers(self, pid: int) -> bool: ...

    def is_ready(self, pid: int) -> bool:
        """Whether the server with this process id takes connections now."""
        ready = self._answers(pid)
        self._was_ready = self._was_ready or ready
        return ready

    def start(self) -> Self:
        """Start it and wait until it answers. Its log is ``<name>.log`` in the data folder."""
        self.check()
        self.prepare()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._process = self._launch()
            if self._came_up(self._process, deadline):
                return self
        self.stop()
        raise StartError(f"{self.name} did not start; see {self._log}.")

    def stop(self) -> None:
        """Stop it in order, keeping its data; nothing happens when it does not run."""
        process, self._process = self._process, None
        if process is None or has_ended(process):
            return
        process.send_signal(self.program().stop_signal)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            kill_group(process)
            process.wait()

    @property
    def pid(self) -> int | None:
        """The main process, when ``start`` was used."""
        return self._process.pid if self._process else None

    @property
    def _log(self) -> Path:
        return self._data.path / f"{self.name}.log"

    def _launch(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return spawn(self.program(), output=log)

    def _came_up(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """False when it ended: a port may be taken, a killed predecessor not quite gone."""
        while time.monotonic() < deadline:
            if self.is_ready(process.pid):
                return True
            if has_ended(process):
                return False
            _wait_briefly(process)
        return False

    def _choose_port(self) -> int:
        if self._port == 0 or (not self._was_ready and not is_free(self._port)):
            self._port = free_port()
        return self._port

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _wait_briefly(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=_LOOK_EVERY_SECONDS)
    except subprocess.TimeoutExpired:
        return


def insist_on_room(folder: Path, megabytes: int) -> None:
    """A disk that fills up while a server starts leaves worse than one that was not begun."""
    free = shutil.disk_usage(folder).free // MEGABYTE
    if free < megabytes:
        raise StartError(
            f"The disk of {folder} is full: {free} MB are free and a start needs {megabytes}; "
            "make room, or choose another folder with DATA_DIR=…"
        )


def package_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def plain_environment() -> dict[str, str]:
    """Nothing of ours: no key of a wallet or a model reaches a database server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
