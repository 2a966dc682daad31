"""Environments of their own for what a test installs beside the product, cached between runs.

Only the standard library, so that any Python can start it. Calling twice, or from two processes at
once, is safe: the first one installs, everybody else waits and finds the stamp.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV_OF_SETUP = ROOT / ".boot" / "bin" / "uv"
UV_LOCK = ROOT / "local" / "uv.lock"
UV_SETTINGS = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", "UV_LINK_MODE": "copy"}
OURS_ALONE = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")


class CannotInstall(Exception):
    """Something cannot be installed here; the message says in one sentence what is missing."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What shall be installed: every file of a lock, on one of these Pythons."""

    name: str
    """For a person, and in the name of the folder."""
    lock: Path
    fitting: tuple[str, ...]
    """Versions of Python on which it works, such as ``3.12``; the first found is taken."""
    proof: str
    """What must import before an environment counts; it also writes most of the bytecode, once."""
    scratch: Mapping[str, str]
    """Variables that name folders which importing it makes, relative to the environment."""


def python_of(wanted: Wanted, environ: Mapping[str, str]) -> Path:
    """Interpreter of the environment that holds it, installed first if need be.

    At once when it is there already; some 10 to 60 s the first time. Raises CannotInstall.
    """
    child_environ = {name: value for name, value in environ.items() if name not in OURS_ALONE}
    python, version = _fitting_python(wanted, child_environ)
    folder = cache_folder(environ) / f"{wanted.name}-py{version}"
    with locked(folder):
        if not _is_installed(folder, wanted.lock):
            announce(f"Installing {wanted.name} into {folder} (once) ...")
            installation = _Installation(
                wanted=wanted, folder=folder, base_python=python, environ=child_environ
            )
            installation.make()
    return folder / "bin" / "python"


def cache_folder(environ: Mapping[str, str]) -> Path:
    chosen = environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "honestwork"


def _fitting_python(wanted: Wanted, environ: Mapping[str, str]) -> tuple[str, str]:
    for python in (sys.executable, *(f"python{version}" for version in wanted.fitting), "python3"):
        # asked by running it: the shims of version managers are on PATH for every version
        version = _answer_of(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], environ
        )
        if version in wanted.fitting:
            return python, version
    versions = " or ".join(sorted(wanted.fitting))
    raise CannotInstall(
        f"{wanted.name} needs Python {versions}, and none of them is on PATH: "
        f"install python{wanted.fitting[0]} to run its tests."
    )


def _is_installed(folder: Path, lock: Path) -> bool:
    stamp = folder / "stamp"
    is_complete = stamp.is_file() and stamp.read_text() == digest_of(lock)
    return is_complete and (folder / "bin" / "python").exists()


def digest_of(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Installation:
    """One attempt to fill ``folder``; whatever is run is written to a log beside it."""

    wanted: Wanted
    folder: Path
    base_python: str
    environ: Mapping[str, str]

    def make(self) -> None:
        """Raises CannotInstall."""
        self._log.write_bytes(b"")
        for way in (self._fill_with_uv, self._fill_with_pip):
            shutil.rmtree(self.folder, ignore_errors=True)
            if way() and self._imports():
                (self.folder / "stamp").write_text(digest_of(self.wanted.lock))
                return
        raise CannotInstall(
            f"{self.wanted.name} could not be installed; what was tried is in {self._log}."
        )

    @property
    def _log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def _python(self) -> str:
        return str(self.folder / "bin" / "python")

    def _fill_with_uv(self) -> bool:
        with tempfile.TemporaryDirectory(prefix="uv-", dir=self.folder.parent) as scratch:
            uv = self._find_uv(scratch)
            if uv is None:
                return False
            # the system's certificates first: uv's own do not know a company's proxy
            return any(
                self._runs(uv, *trust, "venv", "--python", self.base_python, str(self.folder))
                and self._runs(
                    *(uv, *trust, "pip", "sync", "--require-hashes"),
                    *("--python", self._python, str(self.wanted.lock)),
                )
                for trust in (["--system-certs"], [])
            )

    def _find_uv(self, scratch: str) -> str | None:
        """The one of ``make setup``, else one of the same hashes that pip fetches."""
        if self._runs(str(UV_OF_SETUP), "--version"):
            return str(UV_OF_SETUP)
        fetch = ("install", "--quiet", "--target", scratch, "--require-hashes")
        if self._runs(*self._any_pip(), *fetch, "--requirement", str(UV_LOCK)):
            return str(Path(scratch) / "bin" / "uv")
        return None

    def _fill_with_pip(self) -> bool:
        # without pip inside: Debian's Python has no ensurepip, and the outer pip can reach in;
        # without deps: the lock is complete, and pip misses hashes for extras that add nothing
        return self._runs(
            self.base_python, "-m", "venv", "--without-pip", str(self.folder)
        ) and self._runs(
            *(*self._any_pip(), "--python", self._python, "install", "--quiet", "--no-deps"),
            *("--require-hashes", "--requirement", str(self.wanted.lock)),
        )

    def _any_pip(self) -> list[str]:
        """The first pip to be found: an environment made by uv has none of its own."""
        for candidate in (self.base_python, sys.executable, "python3"):
            pip = [candidate, "-m", "pip", "--disable-pip-version-check"]
            if _answer_of([*pip, "--version"], self.environ):
                return pip
        raise CannotInstall("No Python here has pip: install python3-pip (or python3-venv).")

    def _imports(self) -> bool:
        return self._runs(self._python, "-c", self.wanted.proof)

    def _runs(self, *command: str) -> bool:
        scratch = {name: str(self.folder / path) for name, path in self.wanted.scratch.items()}
        environ = {**self.environ, **UV_SETTINGS, **scratch}
        with self._log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            try:
                done = subprocess.run(command, env=environ, stdout=log, stderr=log, check=False)
            except OSError as error:
                log.write(f"{error}\n".encode())
                return False
        return done.returncode == 0


def _answer_of(command: list[str], environ: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            command, env=dict(environ), capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else fills this folder meanwhile, in any process of this machine."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def announce(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
