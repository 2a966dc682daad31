"""``python -m local.supervisor``: the whole product on one machine, one log, ended by Ctrl-C.

What ``DATABASE_URL``, ``REDIS_URL``, ``LNBITS_URL`` and the model keys name is used;
the rest is brought along.
"""

import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from local.children import OURSELVES, Children, Recipe, StopRequested, StopSignals
from local.data_dir import DataDir
from local.environment import (
    OPS_TOKEN,
    VAULT_KEYS,
    Apps,
    System,
    Table,
    honest_work,
    judge,
    read_system,
    stand_in,
)
from local.log import MergedLog
from local.processes import LOOPBACK, Program, StartError, check_port
from local.servers.postgresql import PostgreSQL
from local.servers.server import LATER_MEGABYTES, Server, insist_on_room
from local.servers.valkey import Valkey

START_SECONDS = 60.0
APP_GRACE_SECONDS = 30.0
STAND_IN_GRACE_SECONDS = 5.0
SERVER_GRACE_SECONDS = 20.0

VAULT_KEYS_FILE = "vault.keys"
OPS_TOKEN_FILE = "ops.token"  # noqa: S105 - where it is kept

_STAND_IN = "stand-in"
_SERVERS = (PostgreSQL.name, Valkey.name)
_APPS = ("web", "worker-money", "worker-models", "beat", "migrate")
_EXAMPLE = '{"request": "Write a haiku about honest work."}'


class Supervisor:
    """One start of one system, from the first check to the last process ended."""

    def __init__(
        self,
        system: System,
        data: DataDir,
        servers: Mapping[str, Server],
        children: Children,
        make_table: Apps,
    ) -> None:
        """``servers`` by the variable that tells the others their address."""
        self._system = system
        self._data = data
        self._servers = servers
        self._children = children
        self._make_table = make_table
        self._began_at = time.monotonic()
        self._apps: list[str] = []

    def run(self) -> None:
        """Bring it all up and keep it up; returns when all has ended because somebody wanted it."""
        try:
            self._bring_up()
            self._children.run_until_stopped()
        except StopRequested:
            self._children.say(
                f"stopping: running work has {APP_GRACE_SECONDS:.0f} s (Ctrl-C again hurries)"
            )
        finally:
            self._bring_down()

    def _bring_up(self) -> None:
        table = self._make_table(self._system, self._bring_servers())
        self._migrate(table.migrate)
        if self._system.brings_stand_in:
            self._insist_on([_STAND_IN])
        self._bring_apps(table)

    def _migrate(self, program: Program) -> None:
        """Nothing of ours runs before the tables are what it knows."""
        code = self._children.run_to_end(program)
        if code != 0:
            said = self._children.last_line(program.name) or f"exit {code}"
            raise StartError(f"The database could not be brought up to date: {said}")

    def _bring_servers(self) -> dict[str, str]:
        """Start what was not given; the environment with all addresses filled in.

        The stand-in may still be starting: the migrations have no need of it.
        """
        environ = dict(self._system.environ)
        environ["DATA_DIR"] = str(self._data.path)
        if self._system.makes_secrets:
            environ |= kept_secrets(self._data, environ)
        servers = self._servers
        for server in servers.values():
            server.prepare()
        if self._system.brings_stand_in:
            self._bring_stand_in(environ)
        self._children.start(*(server.program for server in servers.values()))
        self._insist_on([server.name for server in servers.values()])
        return environ | {variable: server.url for variable, server in servers.items()}

    def _bring_stand_in(self, environ: dict[str, str]) -> None:
        port = self._system.stand_in_port()
        environ["STAND_IN_URL"] = f"http://{LOOPBACK}:{port}"
        self._children.start(partial(stand_in, self._system, port))

    def _insist_on(self, names: list[str]) -> None:
        missing = self._children.wait_ready(names, within=START_SECONDS)
        if missing:
            raise StartError(
                f"Not ready after {START_SECONDS:.0f} s: {', '.join(missing)}; the log is above."
            )

    def _bring_apps(self, table: Table) -> None:
        self._apps = [program.name for program in table.apps]
        self._children.start(*(_always(program) for program in table.apps))
        missing = self._children.wait_ready(self._apps, within=START_SECONDS)
        if missing:
            self._children.say(f"still not ready, and tried again and again: {', '.join(missing)}")
            missing = self._children.wait_ready(self._apps, within=float("inf"))
        self._announce()

    def _announce(self) -> None:
        seconds = time.monotonic() - self._began_at
        address = self._system.address
        header = "-H 'Content-Type: application/json'"
        curl = f"curl -s {address}/api/jobs {header} -d {shlex.quote(_EXAMPLE)}"
        if self._system.settings.lightning_is_stand_in:
            self._children.say("Lightning is played by a stand-in: no real money moves.")
        if self._system.settings.has_stand_in_model:
            self._children.say("A model is played by a stand-in: no real work is done.")
        if self._system.makes_secrets and not self._system.environ.get(OPS_TOKEN):
            kept = self._data.path / OPS_TOKEN_FILE
            self._children.say(f"instant resources: OPS_TOKEN, to register creators, is in {kept}")
        self._children.say(
            f"ready in {seconds:.1f} s at {address} (data in {self._data.path}); try:"
        )
        self._children.say(curl)

    def _bring_down(self) -> None:
        """First those who may be in the middle of something, last those who remember it."""
        self._children.stop(self._apps, grace=APP_GRACE_SECONDS)
        self._children.stop([_STAND_IN], grace=STAND_IN_GRACE_SECONDS)
        self._children.stop([Valkey.name], grace=SERVER_GRACE_SECONDS)
        self._children.stop([PostgreSQL.name], grace=SERVER_GRACE_SECONDS)
        self._children.say("stopped")


def kept_secrets(data: DataDir, environ: Mapping[str, str]) -> dict[str, str]:
    """What was not given of the vault's key and the operator's token, the same at every start."""
    files = {VAULT_KEYS: VAULT_KEYS_FILE, OPS_TOKEN: OPS_TOKEN_FILE}
    return {
        name: data.kept(file, lambda: secrets.token_urlsafe(32))
        for name, file in files.items()
        if not environ.get(name)
    }


def _always(program: Program) -> Recipe:
    return lambda: program


def supervise(
    environ: Mapping[str, str],
    make_table: Apps = honest_work,
    judged_by: Callable[[System], None] = judge,
) -> int:
    """Run the system that this environment describes until a signal ends it; its exit code.

    0 when it was asked to end, 1 when something broke, 2 when what was asked for cannot be; then
    standard error has one sentence, or one for each setting that is wrong.
    """
    try:
        system = read_system(environ)
        judged_by(system)
        _run(system, make_table)
    except StartError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a disk that is full, a folder that was taken away
        print(f"{error.filename or 'Honest Work'}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before there was anything to stop
        return 1
    return 0


def _run(system: System, make_table: Apps) -> None:
    with DataDir(system.data_dir) as data:
        insist_on_room(data.path, LATER_MEGABYTES)
        servers = _wanted_servers(system, data)
        _check_ports(system)
        for server in servers.values():  # all, before anything is made
            server.check()
        log = MergedLog(sys.stdout.buffer, [OURSELVES, *_APPS, _STAND_IN, *_SERVERS])
        children = Children(log, StopSignals())
        Supervisor(system, data, servers, children, make_table).run()


def _wanted_servers(system: System, data: DataDir) -> dict[str, Server]:
    wanted: dict[str, Server] = {}
    if system.brings_postgres:
        wanted["DATABASE_URL"] = PostgreSQL(data)
    if system.brings_valkey:
        wanted["REDIS_URL"] = Valkey(data)
    return wanted


def _check_ports(system: System) -> None:
    check_port(system.settings.host, system.settings.port)
    wanted = system.wanted_stand_in_port() if system.brings_stand_in else None
    if wanted is not None:
        check_port(LOOPBACK, wanted, variable="STAND_IN_PORT")


def main() -> int:
    return supervise(os.environ)


if __name__ == "__main__":
    sys.exit(main())
