"""How a local process is started, found ready, and kept from outliving us."""

import ctypes
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOOPBACK = "127.0.0.1"
LOCAL_PORTS = range(20_000, 32_000)
"""Below the ports of outgoing connections, which could take ours at any moment."""

Probe = Callable[[int], bool]
"""Is the process with this id ready? Asked again and again, so it answers at once."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartError(Exception):
    """The system cannot start; the message is one sentence for the person at the terminal."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        """``exit_code`` 2 says that what was asked for is wrong, 1 that something broke."""
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who a process runs as, when it is somebody else than we are."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Program:
    """One process: how it is started, when it counts as ready, how it is asked to stop."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when we die without a word."""
    ready_line: re.Pattern[str] | None = None
    """It is ready when it has printed this."""
    probe: Probe | None = None
    """It is ready when this says so. Neither: it is ready as soon as it runs."""


def spawn(program: Program, *, output: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, where a terminal's Ctrl-C does not reach it.

    From the main thread only: Linux ends the child when the *thread* that started it ends.
    """
    account = program.account
    return subprocess.Popen(
        program.argv,
        env=program.environ,
        cwd=program.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=() if account else None,
        # We have one thread here. Runs after setuid, which would clear it.
        preexec_fn=_end_with(os.getpid(), program.orphan_signal),  # noqa: PLW1509
    )


def _end_with(parent: int, orphan_signal: signal.Signals) -> Callable[[], None]:
    def arrange() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it is over; then whatever it left in its process group is ended with it.

    The group goes before the process is reaped: until then nobody else can have got its number.
    """
    if process.returncode is not None:
        return True
    if hasattr(os, "waitid"):
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        kill_group(process)
    return process.poll() is not None


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that we have not reaped yet, and all that it started in its group, at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
        process.kill()


def check_port(host: str, port: int, *, variable: str = "PORT") -> None:
    """Raise StartError when we could not listen there; ``variable`` is where it was asked for."""
    try:
        _listen_briefly(host, port)
    except PermissionError as error:
        raise StartError(
            f"Port {port} needs rights that this user has not: choose another with {variable}=…",
            exit_code=2,
        ) from error
    except socket.gaierror as error:
        raise StartError(
            f"HOST={host} is no address that this machine knows.", exit_code=2
        ) from error
    except OSError as error:
        raise StartError(
            f"Port {port} on {host} cannot be used ({os.strerror(error.errno or 0).lower()}): "
            f"stop what listens there, or choose another with {variable}=…",
            exit_code=2,
        ) from error


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether we could listen there now; a moment later somebody else may do so."""
    try:
        _listen_briefly(host, port)
    except OSError:
        return False
    return True


def free_port() -> int:
    """A loopback port that nobody holds now; somebody may still be quicker than the caller.

    Whoever has bound one holds it, also without listening there yet.
    """
    for port in secrets.SystemRandom().sample(LOCAL_PORTS, k=500):
        if _is_held_by_nobody(port):
            return port
    raise StartError("No free port between 20000 and 32000 on this machine.")


def _is_held_by_nobody(port: int) -> bool:
    with socket.socket() as trying:  # not SO_REUSEADDR: that shares with who does not listen
        try:
            trying.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _listen_briefly(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)


class HttpProbe:
    """Asks for a page without ever waiting for the answer; true once that answer was 200.

    A server that listens but is still loading is asked once, not once for every look.
    """

    def __init__(self, host: str, port: int, path: str) -> None:
        self._address = (host, port)
        self._question = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
        )
        self._socket: socket.socket | None = None

    def __call__(self, _pid: int) -> bool:
        try:
            if self._socket is None:
                self._ask()
            return self._answered()
        except OSError:
            self._hang_up()
            return False

    def _ask(self) -> None:
        self._socket = socket.create_connection(self._address, timeout=0.5)
        self._socket.sendall(self._question)
        self._socket.settimeout(0)

    def _answered(self) -> bool:
        assert self._socket is not None
        try:
            status_line = self._socket.recv(4096).partition(b"\r\n")[0]
        except BlockingIOError:
            return False
        self._hang_up()
        return b" 200" in status_line

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
