"""Install a real LNbits into a cached environment of its own: ``python -m tests.lnbits.install``.

Only the standard library, so that any Python can start it. Calling twice, or from two processes at
once, is safe: the first one installs, everybody else waits and finds the stamp.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("requirements.lock")
FITTING = ("3.12", "3.11", "3.10")
"""LNbits 1.6.2 declares Python 3.10 to 3.12."""
PROOF = "import lnbits.app, bolt11, uvicorn, uvloop"
"""What must import before an environment counts; it also writes most of the bytecode, once."""
UV_OF_SETUP = ROOT / ".boot" / "bin" / "uv"
UV_LOCK = ROOT / "local" / "uv.lock"
UV_SETTINGS = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", "UV_LINK_MODE": "copy"}
OURS_ALONE = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")


class CannotInstall(Exception):
    """LNbits cannot be installed here; the message says in one sentence what is missing."""


def lnbits_python(environ: Mapping[str, str]) -> Path:
    """Interpreter of the environment that holds LNbits, installed first if need be.

    At once when it is there already; some 10 to 60 s the first time. Raises CannotInstall.
    """
    child_environ = {name: value for name, value in environ.items() if name not in OURS_ALONE}
    python, version = _fitting_python(child_environ)
    folder = _cache_folder(environ) / f"lnbits-1.6.2-py{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock")):
        if not _is_installed(folder):
            _announce(f"Installing LNbits into {folder} (once) ...")
            _Installation(folder=folder, base_python=python, environ=child_environ).make()
    return folder / "bin" / "python"


def _cache_folder(environ: Mapping[str, str]) -> Path:
    chosen = environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "honestwork"


def _fitting_python(environ: Mapping[str, str]) -> tuple[str, str]:
    for python in (sys.executable, *(f"python{version}" for version in FITTING), "python3"):
        # asked by running it: the shims of version managers are on PATH for every version
        version = _answer_of(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], environ
        )
        if version in FITTING:
            return python, version
    raise CannotInstall(
        "LNbits needs Python 3.10, 3.11 or 3.12, and none of them is on PATH: "
        "install python3.12 to run the tests against a real LNbits."
    )


def _is_installed(folder: Path) -> bool:
    stamp = folder / "stamp"
    is_complete = stamp.is_file() and stamp.read_text() == _digest()
    return is_complete and (folder / "bin" / "python").exists()


def _digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Installation:
    """One attempt to fill ``folder``; whatever is run is written to a log beside it."""

    folder: Path
    base_python: str
    environ: Mapping[str, str]

    def make(self) -> None:
        """Raises CannotInstall."""
        self._log.write_bytes(b"")
        for way in (self._fill_with_uv, self._fill_with_pip):
            shutil.rmtree(self.folder, ignore_errors=True)
            if way() and self._imports():
                (self.folder / "stamp").write_text(_digest())
                return
        raise CannotInstall(f"LNbits could not be installed; what was tried is in {self._log}.")

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
                    *("--python", self._python, str(LOCK)),
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
            *("--require-hashes", "--requirement", str(LOCK)),
        )

    def _any_pip(self) -> list[str]:
        """The first pip to be found: an environment made by uv has none of its own."""
        for candidate in (self.base_python, sys.executable, "python3"):
            pip = [candidate, "-m", "pip", "--disable-pip-version-check"]
            if _answer_of([*pip, "--version"], self.environ):
                return pip
        raise CannotInstall("No Python here has pip: install python3-pip (or python3-venv).")

    def _imports(self) -> bool:
        return self._runs(self._python, "-c", PROOF)

    def _runs(self, *command: str) -> bool:
        # importing LNbits makes its data folder, wherever it stands
        environ = {**self.environ, **UV_SETTINGS, "LNBITS_DATA_FOLDER": str(self.folder / "proof")}
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
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _announce(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def main() -> int:
    """Install, and print the interpreter's path."""
    try:
        python = lnbits_python(os.environ)  # noqa: TID251 - an entry point
    except CannotInstall as error:
        _announce(str(error))
        return 1
    sys.stdout.write(f"{python}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
